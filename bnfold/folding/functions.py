"""Model-local functions across a call: where a function is called exactly once, its body may be put in the place of the call.

A fold stops at the boundary of a function, because a function is one piece of code for all its callers. Where it has one caller and a fold
stops exactly there, the boundary serves nobody: the call is replaced by the body, and the fold is tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..graph import graphs, ir

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
    """Functions called exactly once at whose boundary one of these nodes may have been stopped: it is in the body, or beside the call."""
    calls = [node for graph in graphs(model) for node in graph if node.op_identifier() in model.functions]
    once = {identifier for identifier, count in Counter(c.op_identifier() for c in calls).items() if count == 1}
    body_of = {function.graph: identifier for identifier, function in model.functions.items()}
    found: set[Identifier] = set()
    for node in stopped:
        if (inside := body_of.get(node.graph)) is not None:  # type: ignore[arg-type]
            found.add(inside)
        producers = {v.producer() for v in node.inputs if v is not None}
        users = {user for v in node.outputs for user, _ in v.uses()}
        found.update(n.op_identifier() for n in producers | users if n is not None and n.op_identifier() in model.functions)
    return {identifier for identifier in found & once if _same_operators(model, model.functions[identifier])}


def _same_operators(model: ir.Model, function: ir.Function) -> bool:
    """Do a function's nodes mean in the graph what they mean in the function?"""
    return all(model.opset_imports.get(domain, version) == version for domain, version in function.opset_imports.items())


def inline(model: ir.Model, chosen: set[Identifier]) -> None:
    """Put the bodies of these functions in the place of their calls. Names of the graph stay; inner ones are made unique."""
    from onnx_ir.passes.common import InlinePass

    InlinePass(criteria=lambda function: function.identifier() in chosen)(model)
