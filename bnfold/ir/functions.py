"""Model-local functions in the place of their calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from graphlib import TopologicalSorter

from .graph import graphs, ir

MOST_NODES = 10_000  # that the bodies of functions with several callers may make
Identifier = tuple[str, str, str]


def nodes_added(model: ir.Model, chosen: Collection[Identifier]) -> int:
    """How many nodes there would be with these functions in the place of their calls; a function may call
    another, so that a small file may ask for any number."""
    called = {
        identifier: [c.op_identifier() for c in function.all_nodes() if c.op_identifier() in chosen]
        for identifier, function in model.functions.items()
    }
    sizes: dict[Identifier, int] = {}
    for one in TopologicalSorter(called).static_order():
        made = len(model.functions[one]) + sum(sizes[callee] for callee in called[one])
        sizes[one] = min(made, MOST_NODES + 1)
    made_here = (node.op_identifier() for node in model.graph.all_nodes())
    return max([sum(sizes[one] for one in made_here if one in chosen), *sizes.values()])


def calls(model: ir.Model) -> list[ir.Node]:
    """Every call of a function, wherever it stands."""
    return [node for graph in graphs(model) for node in graph if node.op_identifier() in model.functions]


def not_inlinable(model: ir.Model, called: Iterable[ir.Node]) -> set[Identifier]:
    """The functions of these calls that cannot take the place of all of them."""
    versions = defaultdict[str, set[int]](set)
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        for domain, version in imports.items():
            versions[domain].add(version)
    return {call.op_identifier() for call in called if not _inlinable(model, call, versions)}


def _inlinable(model: ir.Model, call: ir.Node, versions: Mapping[str, set[int]]) -> bool:
    """Would the body mean in the graph what it means in the function, and does the call take all of its
    outputs and give it no graphs? `versions` are those of each domain that anything in the model imports."""
    function = model.functions[call.op_identifier()]
    same = all(len(versions[domain]) == 1 for domain in function.opset_imports)
    given = [*call.attributes.values(), *(a for a in function.attributes.values() if a.value is not None)]
    graphs_given = any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in given)
    return same and not graphs_given and len(call.outputs) == len(function.outputs)


def inline(model: ir.Model, chosen: set[Identifier]) -> None:
    """Put the bodies of these functions in the place of their calls. Names of the graph stay; inner ones are
    made unique."""
    from .inlining import Inlining  # its import takes a while

    Inlining(model, chosen)(model)


def all_inlinable(model: ir.Model) -> set[Identifier]:
    """The functions of which every call may be replaced by the body; none where that makes too many nodes."""
    chosen = set(model.functions) - not_inlinable(model, calls(model))
    return chosen if nodes_added(model, chosen) <= MOST_NODES else set()
