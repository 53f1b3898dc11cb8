"""Between number types. A cast to a float type leaves float64 alone (the truth does not round); every other
cast is real.

QuantizeLinear rounds half to even and saturates; its scale and zero point are per tensor, per axis, or per
block (opset 21). Quantised types of 8 bits and less are real formats of their own: what they lose is part of
the model, so the truth loses it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.graph import element_type, ir
from ....operators.table import OPERATORS
from ..number_formats import largest as largest_of
from ..number_formats import numpy_type, widened
from .windows import Array

_BOUNDS = {
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT2: (-2, 1),
    ir.DataType.UINT2: (0, 3),
}


def to_type(x: Array, kind: ir.DataType, *, saturate: bool = True) -> Array:
    """x as a value of an element type: floats of 16 bits and more stay float64, types below 8 bits keep their
    low bits."""
    if kind == ir.DataType.STRING or x.dtype.kind in "OUS" or kind == ir.DataType.FLOAT8E8M0:
        raise ValueError(f"a cast of {x.dtype} to {kind.name.lower()} is not evaluated")
    if kind.is_floating_point():
        return _small_float(x, kind, saturate=saturate) if kind.bitwidth <= 8 else x.astype(np.float64)
    if kind not in _BOUNDS:
        return x.astype(numpy_type(kind))
    low, high = _BOUNDS[kind]
    kept = np.trunc(x).astype(np.int64) & (high - low)
    return np.where(kept > high, kept - (high - low + 1), kept).astype(np.int8 if low else np.uint8)


def _small_float(x: Array, kind: ir.DataType, *, saturate: bool) -> Array:
    """Rounded to 8 bits or fewer; what is too large becomes the largest number, or Inf or NaN where the node
    wants that."""
    values = x.astype(np.float32)
    if saturate:
        largest = np.float32(largest_of(kind))
        values = np.clip(values, -largest, largest)
    return np.asarray(widened(values.astype(numpy_type(kind))))


def cast(call: Any, x: Array) -> Array:
    """To the type named by `to`; a word before opset 6."""
    return to_type(x, element_type(call.get("to")), saturate=bool(call.get("saturate", 1)))


def cast_like(call: Any, x: Array, like: Array) -> Array:
    """To the type of the second input."""
    return to_type(x, call.storage(1), saturate=bool(call.get("saturate", 1)))


def _spread(values: Array, x: Array, axis: int, block: int) -> Array:
    """Scale or zero point in the shape of x: one for all, one per entry of an axis, one per block along
    it."""
    if values.ndim == 0 or values.size == 1:
        return values.reshape(())
    if values.ndim == 1:
        return values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    size = block or -(-x.shape[axis] // values.shape[axis])
    return np.repeat(values, size, axis=axis).take(range(x.shape[axis]), axis=axis)


def bounds(kind: ir.DataType) -> tuple[int, int]:
    """The least and the largest integer of a type."""
    if kind in _BOUNDS:
        return _BOUNDS[kind]
    limits = np.iinfo(numpy_type(kind))
    return int(limits.min), int(limits.max)


def quantize(call: Any, x: Array, scale: Array, zero: Array | None = None) -> Array:
    """saturate(round(x / scale) + zero point). The quotient is float32's, as in engines: ties belong to the
    format."""
    axis, block = call.get("axis", OPERATORS["QuantizeLinear"].axis), call.get("block_size", 0)
    wanted = call.get("output_dtype", 0)
    kind = ir.DataType(wanted) if wanted else (call.storage(2) if zero is not None else ir.DataType.UINT8)
    steps = x.astype(np.float32) / _spread(scale.astype(np.float32), x, axis, block)
    offset = 0 if zero is None else _spread(zero, x, axis, block)
    if kind.is_floating_point():
        return to_type(np.asarray(steps + offset), kind)
    low, high = bounds(kind)
    stored = (np.int8 if low else np.uint8) if kind in _BOUNDS else numpy_type(kind)
    return np.asarray(np.clip(np.rint(steps) + offset, low, high)).astype(stored)


def dequantize(call: Any, x: Array, scale: Array, zero: Array | None = None) -> Array:
    """(x - zero point)·scale."""
    axis, block = call.get("axis", OPERATORS["DequantizeLinear"].axis), call.get("block_size", 0)
    values = x.astype(np.float64)
    if zero is not None:
        values = values - _spread(zero.astype(np.float64), x, axis, block)
    return np.asarray(values * _spread(scale, x, axis, block))


TABLE: dict[str, Callable[..., Any]] = {
    "Cast": cast,
    "CastLike": cast_like,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
}
