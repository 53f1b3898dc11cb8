"""The numbers that stand in a cone, on which its operators decide: bounds, thresholds, states that a loop
begins with, the largest numbers of types. Where the two sides differ in one, values on either side of it and
between show what that means.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import ir, is_op, named_type
from ...operators.table import op
from ...records import dataclass
from ..truth.kernels.convert import bounds
from ..truth.number_formats import largest, widened
from .cones import Half

SAME_NUMBER = 2.0**-7  # of its size: a constant as two types hold it
SAME_ATTRIBUTE = 2.0**-20  # attributes are stored in single precision, whatever values are stored in
FEW = 16  # elements of a constant that may be bounds or states
MOST_NUMBERS = 1 << 12  # of one side
MOST_BETWEEN = 8
NEAR_MIDDLE = 0.4836  # between two numbers: in the very middle two ways of rounding may meet a tie
_DECIDING = {"Max", "Min", "Clip", "Where", "Loop", "Scan"}
_SCATTERING = ("ScatterElements", "ScatterND")

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Numbers:
    """What the numbers of both sides of a cone ask for.

    ties      float constants of one element, which two sides may compare with in different ways
    far       the largest number that only one side has, 0 where there is none
    between   numbers between those that only one side has and their neighbours, on any side; those beyond a
              type that one side alone casts to
    """

    ties: frozenset[float]
    far: float
    between: tuple[float, ...] = ()
    between_integers: tuple[int, ...] = ()


def numbers_of(ours: Half, theirs: Half, mine: Constants, others: Constants) -> Numbers:
    """The numbers of a cone. Constants of two types are the same number if one is the other's rounding."""
    constants = _floats(ours, mine), _floats(theirs, others)
    attributes = _attributes(ours) | _ends(ours, mine), _attributes(theirs) | _ends(theirs, others)
    everything = [sorted({*constants[k], *attributes[k]}) for k in (0, 1)]
    apart = {
        number
        for k in (0, 1)
        for found, nearness in ((constants[k], SAME_NUMBER), (attributes[k], SAME_ATTRIBUTE))
        for number in found
        if not _has(everything[1 - k], number, nearness)
    }
    whole = _integers(ours, mine), _integers(theirs, others)
    odd = whole[0] ^ whole[1]
    beyond = (1.5 * largest(kind) for kind in _narrow_types(ours) ^ _narrow_types(theirs))
    near = {one + step for one in odd for step in (-1, 1)}
    return Numbers(
        ties=frozenset(constants[0] | constants[1]),
        far=max(map(abs, apart), default=0.0),
        between=(*beyond, *_middles({*everything[0], *everything[1]}, apart, NEAR_MIDDLE))[:MOST_BETWEEN],
        between_integers=tuple(int(n) for n in (*_middles(whole[0] | whole[1], odd), *sorted(near)))[
            :MOST_BETWEEN
        ],
    )


def _has(numbers: Sequence[float], number: float, nearness: float) -> bool:
    """Is a number among sorted ones, but for so much of its size?"""
    at = bisect_left(numbers, number)
    return any(
        abs(one - number) <= nearness * max(abs(one), abs(number)) for one in numbers[max(at - 1, 0) : at + 1]
    )


def _middles(numbers: Iterable[T], apart: set[T], share: float = 0.5) -> Iterator[float]:
    """The middles of neighbours, one of which only one side has."""
    for low, high in pairwise(sorted(numbers)):
        if low in apart or high in apart:
            yield low + (high - low) * share


def _floats(half: Half, constants: Constants) -> set[float]:
    """Float constants of one element, and the elements of small ones on which an operator decides."""
    found: set[float] = set()
    for tensor, decides in _small(half, constants):
        if tensor.dtype.is_floating_point() and (tensor.size == 1 or decides):
            values = np.asarray(widened(tensor.numpy())).reshape(-1)
            found.update(float(n) for n in values if np.isfinite(n))
    return found


def _integers(half: Half, constants: Constants) -> set[int]:
    """Integers that are plain numbers to the operator that reads them."""
    found: set[int] = set()
    for tensor, decides in _small(half, constants):
        if tensor.dtype.is_integer() and decides:
            found.update(int(n) for n in np.asarray(tensor.numpy()).reshape(-1))
    return found


def _small(half: Half, constants: Constants) -> Iterator[tuple[ir.TensorProtocol, bool]]:
    """Constants of few elements, and whether an operator of the cone decides by them or counts with them."""
    deciding = {
        value
        for node in half.nodes
        if node.op_type in _DECIDING or op(node).plain_integers or _bounds(node)
        for value in node.inputs
        if value is not None
    }
    for value in half.constants:
        tensor = constants.tensor(value)
        if tensor is not None and 0 < tensor.size <= FEW:
            yield tensor, value in deciding


def _bounds(node: ir.Node) -> bool:
    """Does a node put the larger or the smaller of two numbers into a place?"""
    given = node.attributes.get("reduction")
    if given is None or given.is_ref() or not is_op(node, *_SCATTERING):
        return False
    return given.as_string() in ("max", "min")


def _narrow_types(half: Half) -> set[ir.DataType]:
    """Types of at most 16 bits that the cone casts to."""
    kinds = (named_type(node) for node in half.nodes if node.op_type == "Cast")
    return {kind for kind in kinds if kind is not None and kind.is_floating_point() and kind.bitwidth <= 16}


def _ends(half: Half, constants: Constants) -> set[float]:
    """The numbers at which a QuantizeLinear of the cone reaches the ends of its type."""
    found: set[float] = set()
    for node in half.nodes:
        if is_op(node, "QuantizeLinear") and len(found) < MOST_NUMBERS:
            found.update(_ends_of(node, constants))
    return found


def _ends_of(node: ir.Node, constants: Constants) -> Iterator[float]:
    given = [None if value is None else constants.tensor(value) for value in node.inputs[1:3]]
    scale, zero = (*given, None)[:2]
    kind = zero.dtype if zero is not None else named_type(node, "output_dtype") or ir.DataType.UINT8
    if scale is None or not kind.is_integer() or not 0 < scale.size <= FEW:
        return
    offset = np.zeros(()) if zero is None else widened(zero.numpy()).astype(np.float64)
    steps = np.asarray(widened(scale.numpy()))
    if offset.size not in (1, steps.size):
        return
    for end in bounds(kind):
        yield from map(float, ((end - offset.reshape(-1)) * steps.reshape(-1)).tolist())


def _attributes(half: Half) -> set[float]:
    """Float attributes of the nodes of a cone."""
    found: set[float] = set()
    for node in half.nodes:
        for given in node.attributes.values():
            if given.is_ref() or len(found) > MOST_NUMBERS:
                continue
            if given.type == ir.AttributeType.FLOAT:
                found.add(given.as_float())
            elif given.type == ir.AttributeType.FLOATS:
                found.update(given.as_floats())
    return {number for number in found if np.isfinite(number)}
