"""Bounds of what a channel may be, in float64, behind arithmetic.

A constant is a channel whose bounds are one number, so that everything is said once: a batch norm of scale 0,
a Relu of what is never positive, a product with 0. Unbounded is ±inf; 0 times unbounded is 0, as no value of
a network is infinite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..inference.evaluation import NoKernel, evaluated
from ..ir.graph import attribute, ir

Bounds = tuple[np.ndarray, np.ndarray]

INCREASING = frozenset(
    {"Relu", "Sigmoid", "HardSigmoid", "Tanh", "Clip", "Selu", "Softplus", "Softsign", "Erf", "Exp", "Atan"}
)  # f(a) <= f(b) for a <= b, whatever the attributes say
_WITH_ALPHA = frozenset({"LeakyRelu", "Elu", "Celu"})  # increasing where alpha is not negative


def _is_increasing(node: ir.Node) -> bool:
    if node.op_type in _WITH_ALPHA:
        return float(attribute(node, "alpha", 0.01)) >= 0
    if node.op_type == "HardSigmoid":
        return float(attribute(node, "alpha", 0.2)) >= 0
    return node.op_type in INCREASING


def unary(node: ir.Node, bounds: Bounds, rest: Sequence[np.ndarray | None], version: int) -> Bounds:
    """Behind an operator that works on every element alone; `rest` are its further inputs, constants."""
    low, high = bounds
    known = (low == high) & np.isfinite(low)
    with np.errstate(all="ignore"):
        if _is_increasing(node):
            ends = [_at(node, end, rest, version) for end in (low, high)]
        else:
            at = _at(node, np.where(known, low, 0.0), rest, version)
            ends = [None, None] if at is None else [np.where(known, at, -np.inf), np.where(known, at, np.inf)]
    if ends[0] is None or ends[1] is None:
        return np.full(low.shape, -np.inf), np.full(low.shape, np.inf)
    return _sound(ends[0], ends[1])


def _at(
    node: ir.Node, values: np.ndarray, rest: Sequence[np.ndarray | None], version: int
) -> np.ndarray | None:
    """The operator on float64 numbers."""
    wide = [None if one is None else np.asarray(one, np.float64) for one in rest]
    try:
        found = evaluated(node, [values, *wide], version)
    except NoKernel:
        return None
    if not found or found[0].shape != values.shape or found[0].dtype.kind != "f":
        return None
    return found[0].astype(np.float64)


def _sound(low: np.ndarray, high: np.ndarray) -> Bounds:
    """What is no number bounds nothing."""
    lost = np.isnan(low) | np.isnan(high)
    return np.where(lost, -np.inf, low), np.where(lost, np.inf, high)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def add(a: Bounds, b: Bounds) -> Bounds:
    """a + b."""
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Bounds, b: Bounds) -> Bounds:
    """a - b."""
    return a[0] - b[1], a[1] - b[0]


def multiply(a: Bounds, b: Bounds) -> Bounds:
    """a · b."""
    corners = np.stack([_product(x, y) for x in a for y in b])
    return corners.min(axis=0), corners.max(axis=0)


def divide(a: Bounds, b: Bounds) -> Bounds:
    """a / b where b is known and not 0; anything elsewhere."""
    known = (b[0] == b[1]) & (b[0] != 0) & np.isfinite(b[0])
    by = np.where(known, b[0], 1.0)
    low, high = np.minimum(a[0] / by, a[1] / by), np.maximum(a[0] / by, a[1] / by)
    return np.where(known, low, -np.inf), np.where(known, high, np.inf)


def larger(a: Bounds, b: Bounds) -> Bounds:
    """The larger of the two."""
    return np.maximum(a[0], b[0]), np.maximum(a[1], b[1])


def smaller(a: Bounds, b: Bounds) -> Bounds:
    """The smaller of the two."""
    return np.minimum(a[0], b[0]), np.minimum(a[1], b[1])


def power(a: Bounds, b: Bounds) -> Bounds:
    """a to the power b, where both are known."""
    known = (a[0] == a[1]) & (b[0] == b[1]) & np.isfinite(a[0]) & np.isfinite(b[0])
    value = np.power(np.where(known, a[0], 1.0), np.where(known, b[0], 1.0))
    return np.where(known, value, -np.inf), np.where(known, value, np.inf)


def leaky(a: Bounds, slope: Bounds) -> Bounds:
    """PRelu: a where it is positive, slope · a elsewhere."""
    below = multiply((np.minimum(a[0], 0.0), np.minimum(a[1], 0.0)), slope)
    above = np.maximum(a[0], 0.0), np.maximum(a[1], 0.0)
    low, high = below[0] + above[0], below[1] + above[1]
    positive = a[0] >= 0
    return np.where(positive, a[0], low), np.where(positive, a[1], high)


Arithmetic = Callable[[Bounds, Bounds], Bounds]
ARITHMETIC: dict[str, Arithmetic] = {
    "Add": add,
    "Sum": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Max": larger,
    "Min": smaller,
    "Pow": power,
    "PRelu": leaky,
}


def combined(op_type: str, operands: Sequence[Bounds]) -> Bounds:
    """Behind an operator of one or more operands, the bounds of each along the channels."""
    found = operands[0]
    with np.errstate(all="ignore"):
        for other in operands[1:]:
            found = _sound(*ARITHMETIC[op_type](found, other))
    return found
