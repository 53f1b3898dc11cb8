"""Pooling in float64, one tap after the other: no window is ever copied out.

AveragePool counts, per output, the taps that lie on the input (count_include_pad=0) or on the input and its
declared pads (1); what ceil_mode adds behind them never counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .windows import Array, Windows, windows


def max_pool(call: Any, x: Array) -> tuple[Array, ...]:
    """(values, indices into the flattened input as storage_order says)."""
    seen = windows(call, x.shape[2:], tuple(call.get("kernel_shape")))
    lowest = -math.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    padded = seen.padded(x, lowest)
    out = np.full(x.shape[:2] + seen.out, lowest, x.dtype)
    if len(call.wanted) < 2 or not call.wanted[1]:
        for tap in seen.taps():
            np.maximum(out, seen.at(padded, tap), out=out)
        return (out,)
    places = seen.padded(_places(x.shape, call.get("storage_order", 0)), 0)
    indices = np.zeros(out.shape, np.int64)
    for tap in seen.taps():
        here = seen.at(padded, tap)
        better = here > out
        out = np.where(better, here, out)
        indices = np.where(better, seen.at(places, tap), indices)
    return out, indices


def _places(shape: tuple[int, ...], column_major: int) -> Array:
    if not column_major:
        return np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    area = math.prod(shape[2:])
    within = np.arange(area, dtype=np.int64).reshape(shape[:1:-1]).transpose()
    return within + (np.arange(shape[0] * shape[1], dtype=np.int64) * area).reshape(
        *shape[:2], *(1,) * (len(shape) - 2)
    )


def average_pool(call: Any, x: Array) -> Array:
    """Mean over the taps that count; 0 where none does, as onnxruntime has it."""
    seen = windows(call, x.shape[2:], tuple(call.get("kernel_shape")))
    padded = seen.padded(x, 0.0)
    total = np.zeros(x.shape[:2] + seen.out)
    for tap in seen.taps():
        total += seen.at(padded, tap)
    return total / np.maximum(_counts(seen, include_pads=bool(call.get("count_include_pad", 0))), 1)


def _counts(seen: Windows, *, include_pads: bool) -> Array:
    result = np.ones(())
    axes = zip(
        seen.size, seen.before, seen.after, seen.kernel, seen.strides, seen.dilations, seen.out, strict=True
    )
    for size, before, after, kernel, stride, dilation, out in axes:
        low, high = (0, size + before + after) if include_pads else (before, before + size)
        at = np.arange(out)[:, None] * stride + np.arange(kernel)[None, :] * dilation
        result = result[..., None] * ((at >= low) & (at < high)).sum(axis=1)
    return result


def lp_pool(call: Any, x: Array) -> Array:
    """(Σ|x|^p)^(1/p)."""
    p = call.get("p", 2)
    seen = windows(call, x.shape[2:], tuple(call.get("kernel_shape")))
    padded = seen.padded(np.abs(x) ** p, 0.0)
    total = np.zeros(x.shape[:2] + seen.out)
    for tap in seen.taps():
        total += seen.at(padded, tap)
    return np.asarray(total ** (1.0 / p))


def _spatial(x: Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def global_lp_pool(call: Any, x: Array) -> Array:
    """Lp norm over all spatial axes."""
    p = call.get("p", 2)
    return np.asarray((np.abs(x) ** p).sum(axis=_spatial(x), keepdims=True) ** (1.0 / p))


TABLE: dict[str, Callable[..., Any]] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": lambda call, x: x.mean(axis=_spatial(x), keepdims=True),
    "GlobalMaxPool": lambda call, x: x.max(axis=_spatial(x), keepdims=True),
    "GlobalLpPool": global_lp_pool,
}
