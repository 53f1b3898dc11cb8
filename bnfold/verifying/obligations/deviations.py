"""How far rounding the weights of a cone may move its end: first-order error propagation, node by node.

With w = fl(w') each product is off by at most one rounding of itself, so

    variance of y = sum of w*x    is at most    u^2 * (sum of w^2 * x^2)     u: unit roundoff of the storage type

which is the same operator on squares. Through operators that are not linear a deviation goes by one random draw.
A right fold measures 0.2 to 1.1 of that deviation, in any depth; a wrong epsilon 17 and more.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...ir.graph import STANDARD, bodies, ir
from ..truth.interpreter import Step
from ..truth.kernels import KERNELS
from ..truth.large_weights import Stored, Weight, changed
from ..truth.number_formats import rounding

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# operators whose constants are weights that a rewriting may have rounded
FACTORS = (
    *("Add", "Sub", "Mul", "Div", "Sum", "PRelu", "DequantizeLinear", "RNN", "GRU", "LSTM"),
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization"),
    *("LayerNormalization", "RMSNormalization"),
)
# the truth itself is in double, and what cancels in it is off by more than a rounding
UNIT_OF_DOUBLE = 2.0**-40
DRAWS = 4  # of a deviation through an operator that is not linear


def unit_of(kind: ir.DataType) -> float:
    """The unit of errors of a storage type."""
    return UNIT_OF_DOUBLE if kind == ir.DataType.DOUBLE else rounding(kind)


class Deviations:
    """The deviations of one side's values, built up step by step. `is_weight` says which values are constants
    that may be off by a rounding."""

    def __init__(
        self, model: ir.Model, is_weight: Callable[[ir.Value], bool], random: np.random.Generator
    ) -> None:
        self.model, self.is_weight, self.random = model, is_weight, random
        self.of: dict[ir.Value, np.ndarray] = {}

    def add(self, step: Step) -> None:
        """Carry the deviations of what a node reads to what it gives."""
        for index, value in enumerate(step.node.outputs):
            result, kind = step.results[index], step.kinds[index]
            if isinstance(result, np.ndarray) and result.dtype == np.float64 and kind.is_floating_point():
                self.of[value] = self._deviation(step, index, unit_of(kind))

    def _deviation(self, step: Step, index: int, unit: float) -> np.ndarray:
        if bodies(step.node) or step.node.op_identifier() in self.model.functions:
            return np.asarray(np.abs(step.results[index]) * unit)
        spreads = [
            self._spread(step, value, argument, unit)
            for value, argument in zip(step.node.inputs, step.arguments, strict=False)
        ]
        if not any(spread is not None for spread in spreads):
            return np.zeros(step.results[index].shape)
        with np.errstate(all="ignore"):
            if step.node.domain in STANDARD and step.node.op_type in LINEAR:
                return np.asarray(np.sqrt(_linear(step, spreads)))
            if step.node.op_type not in KERNELS or step.node.domain not in STANDARD:
                return np.asarray(np.abs(step.results[index]) * unit)
            squares = [self._moved(step, spreads, index) ** 2 for _ in range(DRAWS)]
        return np.asarray(np.sqrt(np.mean(squares, axis=0)))

    def _moved(self, step: Step, spreads: list[Weight | None], index: int) -> np.ndarray:
        """By how much the result moves where every input is off by a draw from its deviation."""
        moved = [
            a + s * self.random.uniform(-1.7, 1.7, s.shape) if isinstance(s, np.ndarray) else a
            for a, s in zip(step.arguments, spreads, strict=False)
        ]
        again = KERNELS[step.node.op_type](step.call, *moved)
        return np.asarray((again if isinstance(again, tuple) else (again,))[index] - step.results[index])

    def _spread(self, step: Step, value: ir.Value | None, argument: Any, unit: float) -> Weight | None:
        """How far an input of a node may be off: a constant by its rounding, a value by what it carries."""
        if value is None or not isinstance(argument, (np.ndarray, Stored)) or argument.dtype != np.float64:
            return None
        if value in self.of:
            deviation = self.of[value]
            return deviation if deviation.any() else None
        if step.node.op_type not in (*LINEAR, *FACTORS) or not self.is_weight(value):
            return None
        return changed(argument, lambda part: np.abs(part) * unit)  # type: ignore[no-any-return]


def _linear(step: Step, spreads: list[Weight | None]) -> np.ndarray:
    """Variance of a linear operator's result: the operator on squares, once per uncertain input."""
    attributes = {"alpha": step.call.get("alpha", 1.0) ** 2, "beta": step.call.get("beta", 1.0) ** 2}
    call = SimpleNamespace(
        get=lambda key, default=None: (
            attributes.get(key) if key in attributes else step.call.get(key, default)
        )
    )
    squares = [None if a is None else changed(a, np.square) for a in step.arguments]
    kernel = KERNELS[step.node.op_type]
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
