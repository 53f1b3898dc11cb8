"""What hides everything that stands before it from any number of samples, so that running a cone proves
nothing: a decision, and a weight of zeros. What is decided on, or multiplied by zeros, is judged instead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import ir, is_op, label
from ...operators.table import op
from ...results.comparison import Figures
from ..nondeterminism import jumps
from ..truth.kernels.convert import bounds
from ..truth.number_formats import widened
from .border_values import CannotDischarge
from .cones import Half, NoCone
from .coverage import within
from .deviations import unit_of
from .scope import OPENINGS, Sides
from .tokens import Token

# their constants show in numbers, and what follows may undo another zero point
QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear")


# attributes that say which entry is taken, which the values of a run hardly show
FLAGS = {"select_last_index": 0, "sorted": 1, "largest": 1, "keepdims": 1, "center_point_box": 0}


def decided_by(sides: Sides, mine: Half, theirs: Half, opened: set[Token]) -> str:
    """What decides on both sides and differs, as a clause; empty where nothing does."""
    models = sides.context.reference, sides.context.candidate
    inner = chain(
        *(
            within(node, model)
            for side, model in zip((mine, theirs), models, strict=True)
            for node in side.nodes
        )
    )
    if branch := next((node for node in inner if is_op(node, "If")), None):
        return f"the branches of '{label(branch)}' are not the same"
    ours = [node for node in mine.nodes if _hides(sides, node, sides.context.ours)]
    others = [node for node in theirs.nodes if _hides(sides, node, sides.context.theirs)]
    if [n.op_identifier() for n in ours] != [n.op_identifier() for n in others]:
        return ""
    found = (_decides_otherwise(sides, a, b, opened) for a, b in zip(ours, others, strict=True))
    return next(filter(None, found), "")


def _hides(sides: Sides, node: ir.Node, constants: Constants) -> bool:
    """Does a node decide, or multiply by zeros? A fold of ours may move a factor into zeros, which stay
    zeros; that it is right is derived again besides (rederivation.py)."""
    return jumps(node) or (not sides.context.strict and _switches_off(node, constants))


def _switches_off(node: ir.Node, constants: Constants) -> bool:
    """Does a node multiply by a weight that is all zero?"""
    factors = node.inputs[:2] if op(node).multiaffine and not is_op(node, "Div") else ()
    tensors = (None if value is None else constants.tensor(value) for value in factors)
    return any(t is not None and t.dtype.is_floating_point() and not t.numpy().any() for t in tensors)


def _decides_otherwise(sides: Sides, mine: ir.Node, theirs: ir.Node, opened: set[Token]) -> str:
    """Two nodes that decide in the same way: by what else?"""
    inputs = [
        (a, b) for a, b in zip(mine.inputs, theirs.inputs, strict=False) if a is not None and b is not None
    ]
    apart = [(a, b) for a, b in inputs if not sides.identical(a, b)]
    for name, default in FLAGS.items() if not apart else ():
        if _flag(mine, name, default) != _flag(theirs, name, default):
            return f"'{name}' of '{label(theirs)}' is another one"
    through = _saturated(sides, mine, theirs)
    for a, b in apart:
        measured = _deciding(sides, a, b, opened, through)
        if measured is not None and not measured.passed:
            return f"'{a.name}' decides it, and is not the same: {measured.reason}"
    constants = [(sides.context.ours.tensor(a), sides.context.theirs.tensor(b)) for a, b in apart]
    if (
        constants
        and not is_op(mine, *QUANTISING)
        and all(_other_numbers(one, other) for one, other in constants)
    ):
        return f"the constant '{apart[0][0].name}' that decides it is another one"
    return ""


def _flag(node: ir.Node, name: str, default: int) -> object:
    """An attribute's value; the name of the function's attribute to which it refers."""
    given = node.attributes.get(name)
    if given is None:
        return default
    return given.ref_attr_name if given.is_ref() else given.value


def _saturated(sides: Sides, mine: ir.Node, theirs: ir.Node) -> Callable[[np.ndarray], np.ndarray] | None:
    """What QuantizeLinear sees of its input: nothing beyond the numbers that its type holds, so that a Relu
    in front of it may be its zero point."""
    if not is_op(mine, "QuantizeLinear") or len(mine.inputs) < 3 or len(theirs.inputs) < 3:
        return None
    if not all(
        a is not None and b is not None and sides.identical(a, b)
        for a, b in zip(mine.inputs[1:3], theirs.inputs[1:3], strict=True)
    ):
        return None
    scale, zero = (sides.context.ours.tensor(value) for value in mine.inputs[1:3])
    if scale is None or zero is None or scale.size != 1 or not zero.dtype.is_integer():
        return None
    step, offset = float(widened(scale.numpy()).reshape(())), float(zero.numpy().reshape(()))
    low, high = sorted((end - offset) * step for end in bounds(zero.dtype))
    return lambda values: np.clip(values, low, high)


def _deciding(
    sides: Sides,
    mine: ir.Value,
    theirs: ir.Value,
    opened: set[Token],
    through: Callable[[np.ndarray], np.ndarray] | None,
) -> Figures | None:
    """The figures of two values that decide; None where they cannot be had, or are no floats."""
    if sides.identical(mine, theirs) or mine.producer() not in sides.left.order:
        return None
    figures: Figures | None = None
    opened = set(opened)
    for _ in range(OPENINGS + 1):
        try:
            halves = sides.halves(mine, theirs, opened)
            figures = sides.judged(*halves, through)
        except (NoCone, CannotDischarge):
            break
        further = sides.further(*halves) - opened
        if figures.passed or not further:
            break
        opened |= further
    return figures


def _other_numbers(one: ir.TensorProtocol | None, other: ir.TensorProtocol | None) -> bool:
    """Are two constants further apart than a rounding or two?"""
    if one is None or other is None:
        return False
    a, b = np.asarray(widened(one.numpy())), np.asarray(widened(other.numpy()))
    if a.size != b.size or a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return a.size != b.size
    if not one.dtype.is_floating_point():
        return not np.array_equal(a.reshape(-1), b.reshape(-1))
    unit = max(unit_of(one.dtype), unit_of(other.dtype))
    return not np.allclose(b.reshape(-1), a.reshape(-1), rtol=4 * unit, atol=0.0)
