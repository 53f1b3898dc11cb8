"""Model-local functions across a call: the body may be put in the place of the call.

A fold stops at the boundary of a function, because a function is one piece of code for all its callers. Where
it has one caller and a fold stops exactly there, the boundary serves nobody: the call is replaced by the
body, and the fold is tried again. Where it has several callers, and a fold stops because they hand it its
parameters and weights, every call gets a body of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from ..ir.graph import graphs, ir

# A node that stays for one of these reasons may be foldable once the boundary beside it is gone.
STOPPED = {
    "kept.parameter-not-constant",
    "kept.graph-input",
    "kept.graph-output",
    "kept.weight-not-constant",
    "kept.bias-not-constant",
    "kept.non-linear",
    "kept.no-linear-neighbour",
    "kept.unknown-rank",
}

# Of these, reasons that each caller has its own constants for.
HANDED_OVER = {"kept.parameter-not-constant", "kept.weight-not-constant", "kept.bias-not-constant"}
MOST_NODES = 10_000  # that the bodies of a function with several callers may make

Identifier = tuple[str, str, str]


def stopping(model: ir.Model, stopped: Mapping[ir.Node, str]) -> set[Identifier]:
    """Functions at whose boundary one of these nodes, each with the code of its reason, may have been
    stopped: it is in the body, or beside the call. Functions called from several places only where their
    callers hand over what it needs."""
    calls = [node for graph in graphs(model) for node in graph if node.op_identifier() in model.functions]
    count = Counter(c.op_identifier() for c in calls)
    foreign = {c.op_identifier() for c in calls if not _inlinable(model, c)}
    body_of = {function.graph: identifier for identifier, function in model.functions.items()}
    handed, beside = set[Identifier](), set[Identifier]()
    for node in stopped:
        if (inside := body_of.get(node.graph)) is not None:  # type: ignore[arg-type]
            (handed if stopped[node] in HANDED_OVER else beside).add(inside)
        producers = {v.producer() for v in node.inputs if v is not None}
        users = {user for v in node.outputs for user, _ in v.uses()}
        beside.update(
            n.op_identifier()
            for n in producers | users
            if n is not None and n.op_identifier() in model.functions
        )
    once = {identifier for identifier in handed | beside if count[identifier] == 1}
    several = {identifier for identifier in handed if count[identifier] > 1} - foreign
    return (once - foreign) | (several if _added(model, several) <= MOST_NODES else set())


def _added(model: ir.Model, chosen: Collection[Identifier]) -> int:
    """How many nodes there would be with these functions in the place of their calls; a function may call
    another, so that a small file may ask for any number."""
    called = {
        identifier: [c.op_identifier() for c in function.all_nodes() if c.op_identifier() in chosen]
        for identifier, function in model.functions.items()
    }
    own = {identifier: len(function) for identifier, function in model.functions.items()}
    sizes = own
    for _ in model.functions:
        larger = {one: own[one] + sum(sizes[callee] for callee in called[one]) for one in own}
        if larger == sizes or max(larger.values()) > MOST_NODES:
            break
        sizes = larger
    calls = (node.op_identifier() for node in model.graph.all_nodes())
    return max(sum(larger[one] for one in calls if one in chosen), *larger.values())


def _inlinable(model: ir.Model, call: ir.Node) -> bool:
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
