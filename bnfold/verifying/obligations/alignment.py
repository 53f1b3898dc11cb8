"""Which values of two graphs may mean the same. A pair is a conjecture: an obligation proves it or drops it,
so that a wrong one costs time and never a wrong verdict.

    by_name         the same name; a rewriting that keeps names says so
    moved           the same readers, where merged nodes keep the name of the first for what the last gave
    by_structure    the same operators over the same inputs, whatever the weights hold and the values are
                    called
    by_value        the same numbers on one run, for models that have neither
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from ...ir.graph import GraphLike, ir, is_op
from ...records import dataclass
from .tokens import SideTokens, Token, Vocabulary

Pairs = dict[ir.Value, ir.Value]  # reference -> candidate
CLOSE = 1e-3  # relative distance of two values' projections that may be the same up to rounding
PROJECTIONS = 4
LONGEST_MERGE = 4  # nodes that one takes the place of


def computed(graph: GraphLike) -> list[ir.Value]:
    """The values that nodes of a graph compute, constants aside, in order."""
    return [v for node in graph if node.op_type != "Constant" for v in node.outputs if v.name]


def by_name(reference: GraphLike, candidate: GraphLike, outputs: Pairs) -> Pairs:
    """Outputs as the interface pairs them, and every value that has its name on both sides."""
    theirs = {v.name: v for v in computed(candidate)}
    pairs = dict(outputs)
    taken = set(pairs.values())
    for value in computed(reference):
        other = theirs.get(value.name)
        if value not in pairs and other is not None and other not in taken:
            pairs[value] = other
    return pairs


def moved(pairs: Pairs) -> Pairs:
    """The same pairs, but for values that other nodes read than the partner, where the only reader of a value
    gives another one, further on, that the partner's readers read: there the partner is that one. onnxsim
    writes so what a batch norm gave, under the name of the convolution before it."""
    found: Pairs = {}
    for value, other in pairs.items():
        at = _same_readers(value, other)
        found[value if at in pairs else at] = other
    return found


def _same_readers(value: ir.Value, other: ir.Value) -> ir.Value:
    """The first value, from this one on along single readers that take constants besides, that the same nodes
    read as the other; this one where there is none."""
    wanted, at = _read_by(other), value
    if not wanted or not wanted.isdisjoint(_read_by(value)):
        return value
    for _ in range(LONGEST_MERGE):
        users = list(at.uses())
        if len(users) != 1 or at.is_graph_output() or not _takes_constants(users[0].node, at):
            break
        at = users[0].node.outputs[0]
        if _read_by(at) == wanted:
            return at
    return value


def _takes_constants(node: ir.Node, value: ir.Value) -> bool:
    """Are there inputs besides this one, all of them constants?"""
    others = [v for v in node.inputs if v is not None and v is not value]
    makers = [v.producer() for v in others]
    return bool(others) and all(maker is None or is_op(maker, "Constant") for maker in makers)


def _read_by(value: ir.Value) -> set[tuple[str, str | None]]:
    """The operators that read a value, each with the names of what it gives; an output of the graph is read,
    too. Without the operators, a node that is merged under the name of the last would look like the last."""
    found: set[tuple[str, str | None]] = {
        (use.node.op_type, output.name) for use in value.uses() for output in use.node.outputs
    }
    return found | {("", None)} if value.is_graph_output() else found


def by_structure(ours: SideTokens, theirs: SideTokens, known: Pairs) -> Pairs:
    """Further pairs: values whose expressions are the same but for the values of weights, in order where
    several are alike."""
    words = Vocabulary(weightless=True)
    named, other = dict(ours.given), dict(theirs.given)
    words.skip([*named.values(), *other.values()])  # tokens of the inputs are those of the other vocabulary
    cuts_ours, cuts_theirs = {}, {}
    for a, b in known.items():
        cuts_ours[a] = cuts_theirs[b] = words.fresh()
    left = SideTokens(ours.model, ours.graph, ours.constants, named, cuts_ours).compute(words)
    right = SideTokens(theirs.model, theirs.graph, theirs.constants, other, cuts_theirs).compute(words)
    taken = set(known.values())
    waiting: dict[Token, list[ir.Value]] = {}
    for value in computed(theirs.graph):
        if value not in taken:
            waiting.setdefault(right.tokens[value], []).append(value)
    alike: dict[Token, list[ir.Value]] = {}
    for value in computed(ours.graph):
        if value not in known:
            alike.setdefault(left.tokens[value], []).append(value)
    return {
        value: match
        for token, values in alike.items()
        if len(values) == len(waiting.get(token, ()))
        for value, match in zip(values, waiting[token], strict=True)
    }


@dataclass(frozen=True)
class Print:
    """A value of one run, in a few numbers: its shape, and its projections on random directions over its
    size."""

    shape: tuple[int, ...]
    numbers: tuple[float, ...]


def fingerprint(values: np.ndarray) -> Print | None:
    """The print of an array of floats; None for what says nothing (empty, constant, not finite). Even one
    number says enough: it is what many a condition is made of."""
    if values.dtype != np.float64 or values.size == 0 or not np.isfinite(values).all():
        return None
    flat = values.reshape(-1)
    size = float(np.sqrt(np.mean(flat**2)))
    if size == 0.0 or (flat.size > 1 and float(np.ptp(flat)) == 0.0):
        return None
    random = np.random.default_rng(values.size)
    numbers = [size]
    for _ in range(PROJECTIONS):
        direction = random.standard_normal(min(values.size, 1 << 16))
        numbers.append(float(direction @ flat[: direction.size]) / (size * np.sqrt(direction.size)))
    return Print(tuple(values.shape), tuple(numbers))


def by_value(reference: Mapping[ir.Value, Print], candidate: Mapping[ir.Value, Print], known: Pairs) -> Pairs:
    """Further pairs: values with all but the same print, the nearest where several are near. Of several that
    are as near, as behind a Cast that changes nothing, the last: it is the one that is read on."""
    taken = set(known.values())
    shelves: dict[tuple[int, ...], list[tuple[float, int, ir.Value]]] = {}
    for place, (value, mark) in enumerate(candidate.items()):
        if value not in taken:
            shelves.setdefault(mark.shape, []).append((mark.numbers[0], place, value))
    for shelf in shelves.values():
        shelf.sort(key=lambda row: row[:2])
    pairs: Pairs = {}
    for value, mark in reversed(list(reference.items())):
        if value in known:
            continue
        match = _nearest(mark, shelves.get(mark.shape, []), candidate, taken)
        if match is not None:
            pairs[value] = match
            taken.add(match)
    return pairs


def _nearest(
    mark: Print,
    shelf: list[tuple[float, int, ir.Value]],
    candidate: Mapping[ir.Value, Print],
    taken: set[ir.Value],
) -> ir.Value | None:
    size = mark.numbers[0]
    best, distance = None, CLOSE
    at = bisect_left(shelf, (size * (1 - CLOSE), -1), key=lambda row: row[:2])
    while at < len(shelf) and shelf[at][0] <= size * (1 + CLOSE):
        value = shelf[at][2]
        other = candidate[value].numbers
        apart = max(
            abs(other[0] / size - 1), *(abs(a - b) for a, b in zip(mark.numbers[1:], other[1:], strict=True))
        )
        if value not in taken and apart <= distance:
            best, distance = value, apart
        at += 1
    return best
