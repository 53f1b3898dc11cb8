"""Model-local functions in the place of their calls."""

from __future__ import annotations

from collections.abc import Collection

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
    own = {identifier: len(function) for identifier, function in model.functions.items()}
    sizes = own
    for _ in model.functions:
        before, sizes = sizes, {one: own[one] + sum(sizes[callee] for callee in called[one]) for one in own}
        if sizes == before or max(sizes.values()) > MOST_NODES:
            break
    calls = (node.op_identifier() for node in model.graph.all_nodes())
    return max([sum(sizes[one] for one in calls if one in chosen), *sizes.values()])


def inlinable(model: ir.Model, call: ir.Node) -> bool:
    """Would the body mean in the graph what it means in the function, and does the call take all of its
    outputs and give it no graphs?"""
    function = model.functions[call.op_identifier()]
    imports = [model.opset_imports, *(f.opset_imports for f in model.functions.values())]
    same = all(
        other.get(domain, version) == version
        for domain, version in function.opset_imports.items()
        for other in imports
    )
    given = [*call.attributes.values(), *(a for a in function.attributes.values() if a.value is not None)]
    graphs_given = any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in given)
    return same and not graphs_given and len(call.outputs) == len(function.outputs)


def inline(model: ir.Model, chosen: set[Identifier]) -> None:
    """Put the bodies of these functions in the place of their calls. Names of the graph stay; inner ones are
    made unique."""
    from onnx_ir.passes.common import InlinePass

    InlinePass(criteria=lambda function: function.identifier() in chosen)(model)


def all_inlinable(model: ir.Model) -> set[Identifier]:
    """The functions of which every call may be replaced by the body; none where that makes too many nodes."""
    calls = [node for graph in graphs(model) for node in graph if node.op_identifier() in model.functions]
    foreign = {call.op_identifier() for call in calls if not inlinable(model, call)}
    chosen = set(model.functions) - foreign
    return chosen if nodes_added(model, chosen) <= MOST_NODES else set()
