"""Model-local functions across a call: the body may be put in the place of the call.

A fold stops at the boundary of a function, because a function is one piece of code for all its callers. Where
it has one caller and a fold stops exactly there, the boundary serves nobody: the call is replaced by the
body, and the fold is tried again. Where it has several callers, and a fold stops because they hand it its
parameters and weights, every call gets a body of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ..ir.functions import MOST_NODES, Identifier, calls, nodes_added, not_inlinable
from ..ir.graph import GraphLike, ir, usages

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

# Of these, reasons that each caller has its own constants or sizes for.
HANDED_OVER = {
    "kept.parameter-not-constant",
    "kept.weight-not-constant",
    "kept.bias-not-constant",
    "kept.unknown-rank",
}


def stopping(model: ir.Model, stopped: Mapping[ir.Node, str]) -> set[Identifier]:
    """Functions at whose boundary one of these nodes, each with the code of its reason, may have been
    stopped: it is in the body, or beside the call. Functions called from several places only where their
    callers hand over what it needs."""
    called = calls(model)
    count = Counter(c.op_identifier() for c in called)
    foreign = not_inlinable(model, called)
    body_of = {function.graph: identifier for identifier, function in model.functions.items()}
    handed, beside = set[Identifier](), set[Identifier]()
    for node in stopped:
        if (inside := body_of.get(node.graph)) is not None:  # type: ignore[arg-type]
            (handed if stopped[node] in HANDED_OVER else beside).add(inside)
        producers = {v.producer() for v in node.inputs if v is not None}
        users = {user for v in node.outputs for user, _ in usages(v)}
        beside.update(
            n.op_identifier()
            for n in producers | users
            if n is not None and n.op_identifier() in model.functions
        )
    _add_callers(handed, called, body_of)
    once = {identifier for identifier in handed | beside if count[identifier] == 1}
    several = {identifier for identifier in handed if count[identifier] > 1} - foreign
    return (once - foreign) | (several if nodes_added(model, several) <= MOST_NODES else set())


def _add_callers(
    handed: set[Identifier], called: Iterable[ir.Node], body_of: Mapping[GraphLike, Identifier]
) -> None:
    """Functions that hand on what they were handed themselves."""
    callers = defaultdict[Identifier, set[Identifier]](set)
    for call in called:
        if (outer := body_of.get(call.graph)) is not None:  # type: ignore[arg-type]
            callers[call.op_identifier()].add(outer)
    waiting = list(handed)
    while waiting:
        found = callers[waiting.pop()] - handed
        handed |= found
        waiting += found
