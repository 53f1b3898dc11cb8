"""How far rounding the weights of a cone may move its end: first-order error propagation, node by node.

With w = fl(w') each product is off by at most one rounding of itself, so

    variance of y = sum of w*x    is at most    u^2 * (sum of w^2 * x^2)     u: unit roundoff of the storage
                                  type

which is the same operator on squares. Through operators that are not linear a deviation goes by one random
draw. A right fold measures 0.2 to 1.1 of that deviation, in any depth; a wrong epsilon 17 and more.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...ir.graph import STANDARD, bodies, ir
from ...operators.table import op
from ..truth.call import Call
from ..truth.interpreter import Step
from ..truth.kernels import KERNELS, contrib, kernel_of
from ..truth.large_weights import Stored, Weight, changed
from ..truth.number_formats import rounding

# what puts tensors into sequences, and takes them out: their deviations go with them
SEQUENCES = (
    "SplitToSequence",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceInsert",
    "SequenceErase",
    "ConcatFromSequence",
)
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# the truth itself is in double, and what cancels in it is off by more than a rounding
UNIT_OF_DOUBLE = 2.0**-40
BOUNDED = ("Clip", "Max", "Min")  # a scale that moves past one is multiplied with its bounds
QUANTISED_BITS = 8  # of floats that stand for quantised numbers, as integers do
DRAWS = 4  # of a deviation through an operator that is not linear


def unit_of(kind: ir.DataType) -> float:
    """The unit of errors of a storage type."""
    return UNIT_OF_DOUBLE if kind == ir.DataType.DOUBLE else rounding(kind)


def draw(random: np.random.Generator, shape: tuple[int, ...] | None = None) -> Any:
    """Errors of about unit variance, each between plus and minus a few of it."""
    return random.uniform(-1.7, 1.7, shape)


class Deviations:
    """The deviations of one side's values, built up step by step. `is_uncertain` says which values are
    constants that may be off by a rounding, and which nodes have attributes that may; `all_readers`, that
    constants are rounded whatever reads them."""

    def __init__(
        self,
        model: ir.Model,
        is_uncertain: Callable[[ir.Value | ir.Node], bool],
        random: np.random.Generator,
        *,
        all_readers: bool = False,
    ) -> None:
        self.model, self.is_uncertain, self.random = model, is_uncertain, random
        self.all_readers = all_readers
        self.of: dict[ir.Value, Any] = {}  # of a sequence, a list

    def add(self, step: Step) -> None:
        """Carry the deviations of what a node reads to what it gives."""
        if step.node.op_type in SEQUENCES and step.node.domain in STANDARD:
            carried = [self._carried(v, a) for v, a in zip(step.node.inputs, step.arguments, strict=False)]
            self.of.update(zip(step.node.outputs, step.again(carried), strict=False))
            return
        for index, value in enumerate(step.node.outputs):
            result, kind = step.results[index], step.kinds[index]
            if isinstance(result, np.ndarray) and result.dtype == np.float64 and kind.is_floating_point():
                self.of[value] = self._deviation(step, index, unit_of(kind))

    def _carried(self, value: ir.Value | None, argument: Any) -> Any:
        """The deviation of an input that goes into a sequence or comes from one; an index is what it is."""
        if value in self.of:
            return self.of[value]
        if isinstance(argument, list):
            return [self._carried(None, part) for part in argument]
        is_float = isinstance(argument, np.ndarray) and argument.dtype == np.float64
        return np.zeros_like(argument) if is_float else argument

    def _deviation(self, step: Step, index: int, unit: float) -> np.ndarray:
        if bodies(step.node) or step.node.op_identifier() in self.model.functions:
            return np.asarray(np.abs(step.results[index]) * unit)
        spreads = [
            self._spread(step, value, argument, max(unit, _unit_of_input(step, place)))
            for place, (value, argument) in enumerate(zip(step.node.inputs, step.arguments, strict=False))
        ]
        attributes = self.is_uncertain(step.node)
        if not attributes and not any(spread is not None for spread in spreads):
            return np.zeros(step.results[index].shape)
        with np.errstate(all="ignore"):
            if (plain := _linear_kernel(step.node)) is not None:
                return np.asarray(np.sqrt(_linear(step, spreads, plain)))
            if kernel_of(step.node) is None:
                return np.asarray(np.abs(step.results[index]) * unit)
            # an attribute is stored in single precision, whatever the values are stored in
            unit = (unit if self.all_readers else rounding(ir.DataType.FLOAT)) if attributes else 0.0
            squares = [self._moved(step, spreads, index, unit) ** 2 for _ in range(DRAWS)]
        return np.asarray(np.sqrt(np.mean(squares, axis=0)))

    def _moved(self, step: Step, spreads: list[Weight | None], index: int, unit: float) -> np.ndarray:
        """By how much the result moves where every input is off by a draw from its deviation, and every float
        attribute by a draw of a rounding."""
        moved = [
            (a[:] if isinstance(a, Stored) else a) + s * draw(self.random, s.shape)
            if isinstance(s, np.ndarray)
            else a
            for a, s in zip(step.arguments, spreads, strict=False)
        ]
        kernel = kernel_of(step.node)
        assert kernel is not None
        spreads = [s[:] if isinstance(s, Stored) else s for s in spreads]
        again = kernel(self._with_attributes_off(step.call, unit) if unit else step.call, *moved)
        result = (again if isinstance(again, tuple) else (again,))[index]
        if result.shape != step.results[index].shape:  # it is a size that moved, as a Resize's scales
            return np.zeros(step.results[index].shape)  # which excuses no difference of numbers
        return np.asarray(result - step.results[index])

    def _with_attributes_off(self, call: Call, unit: float) -> Call:
        node = copy(call)
        node.get = lambda key, default=None: (  # type: ignore[method-assign,assignment]
            value * (1 + unit * draw(self.random))
            if isinstance(value := call.get(key, default), float)
            else value
        )
        return node

    def _spread(self, step: Step, value: ir.Value | None, argument: Any, unit: float) -> Weight | None:
        """How far an input of a node may be off: a constant by its rounding, a value by what it carries."""
        if value is None or not isinstance(argument, (np.ndarray, Stored)) or argument.dtype != np.float64:
            return None
        if value in self.of:
            deviation = self.of[value]
            return deviation if deviation.any() else None
        if not (self.all_readers or _takes_weights(step.node)) or not self.is_uncertain(value):
            return None
        if value.dtype is not None and value.dtype.bitwidth <= QUANTISED_BITS:
            return None  # quantised numbers are chosen, and no rewriting that is right rounds them again
        spread: Weight = changed(argument, lambda part: np.asarray(part * unit))  # of scalars, too
        return spread


def _unit_of_input(step: Step, place: int) -> float:
    """The unit of the type in which an input is stored, which may be narrower than the result."""
    kind = step.call.storage(place)
    return unit_of(kind) if kind.is_floating_point() else 0.0


def _takes_weights(node: ir.Node) -> bool:
    """Are constants among its inputs weights, or bounds, that a rewriting may have rounded?"""
    return op(node).linear or op(node).parametric or node.op_type in BOUNDED or node.domain == contrib.DOMAIN


def _linear_kernel(node: ir.Node) -> Callable[..., Any] | None:
    """The kernel on squares of a linear operator."""
    return KERNELS[node.op_type] if node.domain in STANDARD and node.op_type in LINEAR else None


def _linear(step: Step, spreads: list[Weight | None], kernel: Callable[..., Any]) -> np.ndarray:
    """Variance of a linear operator's result: the operator on squares, once per uncertain input."""
    attributes = {"alpha": step.call.get("alpha", 1.0) ** 2, "beta": step.call.get("beta", 1.0) ** 2}
    call = SimpleNamespace(
        get=lambda key, default=None: (
            attributes.get(key) if key in attributes else step.call.get(key, default)
        )
    )
    squares = [None if a is None else changed(a, np.square) for a in step.arguments]
    total = np.zeros(())
    for place, spread in enumerate(spreads):
        if spread is None:
            continue
        inputs = list(squares)
        inputs[place] = changed(spread, np.square)
        if place < 2:
            total = total + kernel(call, *inputs[:2])
        else:
            total = total + _bias(step, inputs[place], attributes["beta"])
    return np.broadcast_to(total, step.results[0].shape)


def _bias(step: Step, variance: Any, beta: float) -> Any:
    if step.node.op_type == "Gemm":
        return variance * beta
    return variance.reshape(-1, *(1,) * (step.results[0].ndim - 2))
