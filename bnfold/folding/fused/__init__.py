"""What runtimes fuse: small subgraphs that they compute as one operator, such as GELU or a layer norm that is
written out.

A fold that moves a constant out of such a subgraph saves a multiplication and loses the fused kernel, which
costs far more. So the nodes inside are no affine nodes of ours (`kept.pattern`), unless the user asks for it.

terms.py     the language in which a subgraph is described, and its matching
table.py     PATTERNS: one row a subgraph, with the runtimes that fuse it
"""

from __future__ import annotations

from ...inference import Shapes
from ...ir.graph import GraphLike, ir
from .table import PATTERNS, Pattern
from .terms import Scope, whole

__all__ = ["PATTERNS", "Pattern", "inside"]

_BY_ROOT: dict[str, list[Pattern]] = {}  # the patterns that may end in an operator, in the table's order
for _pattern in PATTERNS:
    for _root in _pattern.term.roots:
        _BY_ROOT.setdefault(_root, []).append(_pattern)


def inside(graph: GraphLike, shapes: Shapes) -> dict[ir.Node, Pattern]:
    """The nodes of a graph that stand inside a pattern, each with the pattern."""
    found: dict[ir.Node, Pattern] = {}
    scope = Scope(shapes)
    for node in graph:
        for pattern in _BY_ROOT.get(node.op_type, ()):
            if nodes := whole(pattern.term, node, scope):
                for one in nodes:
                    found.setdefault(one, pattern)
                break
    return found
