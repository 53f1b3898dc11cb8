"""Does a folded weight, or another constant of a fold, keep its digits in the type that it is stored in?

A factor of ordinary size cannot lose anything that float32 holds, so large weights are read only where that
is not evident: in half precision, and for factors of extraordinary size. What slips through (large weights
themselves near the edge of their type) is found by the writer, which refuses to round a finite value to
infinity.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ..ir.graph import ir, label
from .affine import Affine, Float, any_true
from .linear import Linear
from .reasons import Refused

_ORDINARY = 2.0**16
_SMALL = 1 << 18  # elements that are looked at in any case


def check_range(linear: Linear, after: Affine) -> None:
    """Refuse a map whose folded weights would overflow, or fall below the normal numbers of their type.
    `after`: output vectors."""
    factor = np.abs(after.scale)
    shift = np.abs(after.shift)
    if _is_evident(linear, factor) and shift.max(initial=0.0) <= 1e30:
        return
    largest, smallest, rounding = limits(linear.store)
    folded = row_peaks(linear) * factor
    if any_true(folded > largest) or any_true(shift > largest):
        raise _overflow(linear, max(folded.max(), shift.max()))
    small = (folded > 0) & (folded < smallest)
    if not any_true(small):
        return
    reach = folded * math.prod(linear.view) / max(linear.outs, 1)
    lost = small & (reach > rounding * shift)
    if np.any(lost):
        raise _underflow(linear, int(lost.sum()), folded[lost].min())


def check_columns(linear: Linear, before: Float) -> None:
    """The same for the scale of a map in front: `before` is one number, or one for each input channel.
    Weights that are lost matter beside the largest of the operator."""
    factor = np.abs(before)
    if _is_evident(linear, factor):
        return
    largest, smallest, rounding = limits(linear.store)
    peaks = _peaks(linear, linear.columns)
    folded = peaks * factor
    if any_true(folded > largest):
        raise _overflow(linear, folded.max())
    small = (folded > 0) & (folded < smallest) & (peaks >= smallest)
    lost = small & (folded > rounding * folded.max(initial=0.0))
    if np.any(lost):
        raise _underflow(linear, int(lost.sum()), folded[lost].min())


def fits(values: Float, dtype: ir.DataType, *, factor: bool = False) -> bool:
    """Can a type hold these numbers: is none too large and, where they are factors, none so small that digits
    are lost?"""
    largest, smallest, _ = limits(dtype)
    size = np.abs(values)
    return not any_true(~(size <= largest)) and not (factor and any_true((size > 0) & (size < smallest)))


def check_constant(values: Float, dtype: ir.DataType, where: str, *, factor: bool = False) -> None:
    """Refuse a constant that its type cannot hold."""
    if not fits(values, dtype, factor=factor):
        largest, smallest, _ = limits(dtype)
        raise Refused(
            "kept.overflow",
            f"{where} would leave {dtype.name}: it would reach from {np.abs(values).min():.3g} to "
            f"{np.abs(values).max():.3g}, and the type from {smallest:.3g} to {largest:.3g}",
        )


def _is_evident(linear: Linear, factor: Float) -> bool:
    """Can nothing be lost, so that large weights need not be read?"""
    if linear.store == ir.DataType.FLOAT16 or math.prod(linear.view) <= _SMALL:
        return False
    size = factor[factor != 0]
    return not size.size or bool(size.max() <= _ORDINARY and size.min() >= 1 / _ORDINARY)


def _overflow(linear: Linear, worst: float) -> Refused:
    return Refused(
        "kept.overflow",
        f"a folded weight of {_named(linear)} would be {worst:.3g}, its type ends at "
        f"{limits(linear.store)[0]:.3g}",
    )


def _underflow(linear: Linear, channels: int, least: float) -> Refused:
    return Refused(
        "kept.overflow",
        f"the weights of {channels} channels of {_named(linear)} would fall to {least:.3g}, below "
        f"{limits(linear.store)[1]:.3g} where its type keeps all its digits",
    )


def _named(linear: Linear) -> str:
    return f"{linear.node.op_type} '{label(linear.node)}' ({linear.store.name})"


def row_peaks(linear: Linear) -> Float:
    """The largest |W| of every output channel, as W is stored."""
    return _peaks(linear, linear.rows)


def _peaks(linear: Linear, axes: tuple[int, ...]) -> Float:
    viewed = linear.tensor.numpy().reshape(linear.view)
    others = tuple(axis for axis in range(len(linear.view)) if axis not in axes)
    peaks: Float = np.maximum(viewed.max(axis=others, initial=0), -viewed.min(axis=others, initial=0)).astype(
        np.float64
    )
    return peaks.reshape(-1)


@cache
def limits(dtype: ir.DataType) -> tuple[float, float, float]:
    """(largest finite value, smallest normal value, half a unit of rounding) of a float type."""
    import ml_dtypes

    info = ml_dtypes.finfo(dtype.numpy())  # type: ignore[no-untyped-call]
    return float(info.max), float(info.smallest_normal), float(info.eps) / 2
