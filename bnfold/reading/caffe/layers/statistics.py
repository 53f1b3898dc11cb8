"""Layers that compare or sum: Softmax, ArgMax, Reduction."""

from __future__ import annotations

import math

import numpy as np

from ..blob import shown
from ..layer import FLOAT, INT64, Layer, Value, dims
from ..registry import ENGINE, layer

SUMS = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


@layer("Softmax", param="softmax_param", inplace=True, ignoring={"engine": ENGINE})
def softmax(at: Layer, x: Value, *, axis: int = 1) -> Value:
    """exp(x) over its sum along an axis, 1 whatever the rank"""
    return at.op("Softmax", x, axis=at.axis(axis, len(dims(x)), ("softmax_param", "axis")))


@layer("ArgMax", param="argmax_param")
def argmax(
    at: Layer, x: Value, *, out_max_val: bool = False, top_k: int = 1, axis: int | None = None
) -> Value:
    """Positions of the largest values as floats, the later of equals first; along an axis, or over each item
    (then values too on demand)"""
    shape = dims(x)
    if axis is None:
        flat, where = at.reshape(x, (shape[0], math.prod(shape[1:]))), 1
    else:
        flat, where = x, at.axis(axis, len(shape), ("argmax_param", "axis"))
    size = dims(flat)[where]
    if not 1 <= top_k <= size:
        raise at.malformed(
            f"top_k is {top_k} of {size} values",
            "at least 1, and at most the number of values",
            at=("argmax_param", "top_k"),
        )
    values, indices = _largest(at, flat, where, top_k)
    if axis is not None:
        return values if out_max_val else at.cast(indices, FLOAT)
    rank = max(3, len(shape))
    parts = [
        at.reshape(part, (shape[0], 1, top_k, *(1,) * (rank - 3)))
        for part in [at.cast(indices, FLOAT), *([values] if out_max_val else [])]
    ]
    return (
        parts[0]
        if len(parts) == 1
        else at.op("Concat", *parts, shape=(shape[0], 2, *dims(parts[0])[2:]), axis=1)
    )


def _largest(at: Layer, x: Value, axis: int, k: int) -> tuple[Value, Value]:
    """The k largest values along an axis and their positions; TopK prefers the earlier of equals, so it looks
    at the axis reversed."""
    size = dims(x)[axis]
    shape = [k if i == axis else d for i, d in enumerate(dims(x))]
    backwards = at.cut(x, axis, size - 1, -1, -1)
    values, found = at.ops(
        "TopK",
        backwards,
        at.constant(np.array([k], np.int64), "k"),
        shapes=[shape, shape],
        dtypes=[FLOAT, INT64],
        axis=axis,
    )
    return values, at.op("Sub", at.constant(np.int64(size - 1), "last", np.int64), found, shape=shape)


@layer("Reduction", param="reduction_param")
def reduction(
    at: Layer, x: Value, *, operation: str = "SUM", axis: int = 0, coeff: float = 1.0, k: int = 1
) -> Value:
    """Sum, sum of magnitudes or squares, or mean over all axes from `axis` on, which disappear; times a
    coefficient"""
    at.expect("k", k, 1)
    if operation not in SUMS:
        raise at.unsupported(f"operation {operation}", "one of " + ", ".join(SUMS))
    shape = dims(x)
    first = at.axis(axis, len(shape), ("reduction_param", "axis"))
    if not shape:
        raise at.malformed(f"a bottom of shape {shown(shape)}", "at least one axis")
    y = at.reduce(SUMS[operation], x, list(range(first, len(shape))), keep=False)
    return at.op("Mul", y, at.scalar(coeff, "coeff")) if coeff != 1.0 else y
