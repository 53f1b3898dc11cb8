"""Does a folded weight keep its digits in the type that it is stored in?

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
    dtype = linear.store
    size = np.abs(after.scale[after.scale != 0])
    wide = dtype != ir.DataType.FLOAT16 and (
        not size.size or (size.max() <= _ORDINARY and size.min() >= 1 / _ORDINARY)
    )
    if wide and math.prod(linear.view) > _SMALL and np.abs(after.shift).max(initial=0.0) <= 1e30:
        return
    largest, smallest, rounding = limits(dtype)
    peak = row_peaks(linear)
    folded = peak * np.abs(after.scale)
    where = f"{linear.node.op_type} '{label(linear.node)}' ({dtype.name})"
    shift = np.abs(after.shift)
    if any_true(folded > largest) or any_true(shift > largest):
        worst = max(folded.max(), shift.max())
        raise Refused(
            "kept.overflow",
            f"a folded weight of {where} would be {worst:.3g}, its type ends at {largest:.3g}",
        )
    small = (folded > 0) & (folded < smallest)
    if not any_true(small):
        return
    reach = folded * math.prod(linear.view) / max(linear.outs, 1)
    lost = small & (reach > rounding * shift)
    if np.any(lost):
        raise Refused(
            "kept.overflow",
            f"the weights of {int(lost.sum())} channels of {where} would fall to {folded[lost].min():.3g}, "
            f"below {smallest:.3g} where its type keeps all its digits",
        )


def row_peaks(linear: Linear) -> Float:
    """The largest |W| of every output channel, as W is stored."""
    viewed = linear.tensor.numpy().reshape(linear.view)
    others = tuple(axis for axis in range(len(linear.view)) if axis not in linear.rows)
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
