"""Model-local functions across a call: where a function is called exactly once, its body may be put in the
place of the call.

A fold stops at the boundary of a function, because a function is one piece of code for all its callers. Where
it has one caller and a fold stops exactly there, the boundary serves nobody: the call is replaced by the
body, and the fold is tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

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

Identifier = tuple[str, str, str]


def stopping(model: ir.Model, stopped: Iterable[ir.Node]) -> set[Identifier]:
    """Functions called exactly once at whose boundary one of these nodes may have been stopped: it is in the
    body, or beside the call."""
    calls = [node for graph in graphs(model) for node in graph if node.op_identifier() in model.functions]
    count = Counter(c.op_identifier() for c in calls)
    once = {
        call.op_identifier() for call in calls if count[call.op_identifier()] == 1 and _inlinable(model, call)
    }
    body_of = {function.graph: identifier for identifier, function in model.functions.items()}
    found: set[Identifier] = set()
    for node in stopped:
        if (inside := body_of.get(node.graph)) is not None:  # type: ignore[arg-type]
            found.add(inside)
        producers = {v.producer() for v in node.inputs if v is not None}
        users = {user for v in node.outputs for user, _ in v.uses()}
        found.update(
            n.op_identifier()
            for n in producers | users
            if n is not None and n.op_identifier() in model.functions
        )
    return found & once


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
