"""Nodes whose results are not a function of their inputs, or not a continuous one.

random      each engine draws its own numbers: such a node gets seeded stand-ins, as an unknown one does, and
            a note says so
jumps       a difference in the last bit may flip a result by a whole step: where an output behind one fails,
            the values that decide are judged instead, and flips are accepted if those agree within the noise
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..ir.graph import ir, is_op, named_type, nodes
from ..operators.table import op
from ..results.comparison import DECIDED, Figures


def random_nodes(model: ir.Model) -> list[ir.Node]:
    """Nodes that draw random numbers."""
    return [node for node in nodes(model) if op(node).random]


def jumps(node: ir.Node) -> bool:
    """May this node turn a difference in the last bit into a whole step?"""
    if op(node).jumps:
        return True
    return is_op(node, "Cast") and (to := named_type(node)) is not None and not to.is_floating_point()


def deciding(model: ir.Model, output: str) -> list[str]:
    """The values of the main graph that jumps read on the way to an output; none if a linear operator stands
    behind a jump."""
    producers = {v.name: node for node in model.graph for v in node.outputs if v.name}
    waiting, seen, found = [output], set[str](), dict[str, None]()
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        inputs = [v.name for v in node.inputs if v is not None and v.name]
        if jumps(node):
            found.update(dict.fromkeys(n for n in inputs if n in producers))
        elif op(node).weighted:
            return []
        else:
            waiting.extend(inputs)
    return list(found)


def behind_a_decision(model: ir.Model, output: str) -> bool:
    """Does any jump stand on the way to an output?"""
    waiting, seen = [v for v in model.graph.outputs if v.name == output], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value in seen or node is None:
            continue
        seen.add(value)
        if jumps(node):
            return True
        waiting.extend(v for v in node.inputs if v is not None)
    return False


def judged_by_deciding_values(
    figures: Figures, model: ir.Model, judged: Callable[[list[str]], list[Figures] | None]
) -> Figures:
    """A failed value behind jumps passes if what decides the jumps passes: then the flips are ties within the
    noise."""
    names = deciding(model, figures.value)
    verdicts = judged(names) if names else None
    if not verdicts or len(verdicts) < len(names) or not all(f.passed for f in verdicts):
        return figures
    reason = f"{DECIDED}: {figures.reason}, where {', '.join(names)} decide and agree within the noise"
    return replace(figures, passed=True, noise=max(f.noise for f in verdicts), reason=reason)
