"""The order in which a graph is folded: that of its levels and names, so that the result does not depend on
the order in the file."""

from __future__ import annotations

from ..errors import Malformed
from ..ir.graph import GraphLike, bodies, ir, label


def canonical_order(graph: GraphLike) -> dict[ir.Node, float]:
    """Nodes by level (one more than the highest of their inputs), then by the name of their first output: a
    topological order that does not depend on the order in the file. Values captured by a body count as inputs
    of the node that has the body."""
    level: dict[ir.Node, int] = {}
    waiting = list(graph)
    while waiting:
        blocked = []
        for node in waiting:
            sources = [
                p
                for v in _read_by(node)
                if (p := v.producer()) is not None and p.graph is graph and p is not node
            ]
            if all(p in level for p in sources):
                level[node] = 1 + max((level[p] for p in sources), default=0)
            else:
                blocked.append(node)
        if len(blocked) == len(waiting):
            names = ", ".join(f"'{label(node)}'" for node in blocked[:3])
            raise Malformed(f"the nodes {names} feed each other in a circle")
        waiting = blocked
    ranked = sorted(level, key=lambda n: (level[n], next((v.name or "" for v in n.outputs), "")))
    return {node: place for place, node in enumerate(ranked)}


def _read_by(node: ir.Node) -> list[ir.Value]:
    """The values that a node reads, those captured by its bodies included."""
    found = [v for v in node.inputs if v is not None]
    waiting = bodies(node)
    while waiting:
        for inner in waiting.pop():
            found.extend(v for v in inner.inputs if v is not None)
            waiting.extend(bodies(inner))
    return found
