"""Number formats: what a storage type can tell apart, widening to float64, rounding back.

widened     any float array as float64; integers and bools as they are
rounding    unit roundoff of a storage type: half the distance from 1 to its neighbour
tiny        smallest normal number: below it the rounding is absolute
Rounding    rounds a value as its storage type would; for float64 itself, a random last bit (Monte Carlo
            arithmetic, Parker 1997), since nothing wider is at hand to show what its rounding does
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ...ir.graph import ir

_WIDENED_KINDS = ("f", "V")


def is_float(dtype: np.dtype[Any]) -> bool:
    """Floats of numpy and of ml_dtypes (bfloat16, float8 ...), not complex ones."""
    return dtype.kind == "f" or (
        dtype.kind == "V" and dtype.type.__module__.startswith("ml_dtypes") and "int" not in dtype.name
    )


def widened(value: Any) -> Any:
    """Floats as float64, packed integers as int8/uint8; everything else (integers, bools, strings, sequences)
    as it is."""
    if isinstance(value, (list, tuple)):
        return [widened(item) for item in value]
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array
    if is_float(array.dtype):
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
            return array.astype(np.float64)
    if array.dtype.kind == "V" and array.dtype.type.__module__.startswith("ml_dtypes"):
        return array.astype(np.uint8 if array.dtype.name.startswith("u") else np.int8)
    return array


def storage_of(value: Any, declared: ir.DataType | None) -> ir.DataType:
    """The storage type of a value: the declared one, else the array's own (float64 stands for float32 unless
    declared)."""
    if declared is not None:
        return declared
    if isinstance(value, np.ndarray) and value.dtype != np.float64:
        return ir.DataType.from_numpy(value.dtype)
    return ir.DataType.FLOAT


def numpy_type(kind: ir.DataType) -> np.dtype[Any]:
    """numpy's type of an element type."""
    return np.dtype(kind.numpy())


def rounding(kind: ir.DataType) -> float:
    """Unit roundoff: 2^-24 for float32, 2^-11 for float16, 2^-8 for bfloat16, 2^-53 for float64."""
    return float(_info(kind).eps) / 2


def tiny(kind: ir.DataType) -> float:
    """The smallest normal number of a float type."""
    return float(_info(kind).smallest_normal)


def largest(kind: ir.DataType) -> float:
    """The largest number of a float type."""
    return float(_info(kind).max)


def _info(kind: ir.DataType) -> Any:
    return ml_dtypes.finfo(numpy_type(kind))  # type: ignore[no-untyped-call]


class Rounding:
    """Rounds a node's result to its storage type; with `weights`, weights are off by up to one rounding too,
    as any fold leaves them; with `converted`, all that was stored in 16 bits is, but for single numbers,
    which may be exponents."""

    def __init__(self, seed: int = 0, *, weights: bool = False, converted: bool = False) -> None:
        self.weights, self.converted = weights or converted, converted
        self._random = np.random.default_rng(seed)

    def jittered(self, value: np.ndarray, kind: ir.DataType) -> np.ndarray:
        """A weight, off by up to one rounding."""
        if not self.weights or value.dtype != np.float64 or not kind.is_floating_point():
            return value
        return np.asarray(value * (1 + rounding(kind) * self._random.uniform(-1, 1, value.shape)))

    def __call__(self, value: Any, kind: ir.DataType) -> Any:
        """The value as its type can hold it; what is no float stays."""
        if not isinstance(value, np.ndarray) or value.dtype != np.float64 or not kind.is_floating_point():
            return value
        if kind != ir.DataType.DOUBLE:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, as it does in its type
                return value.astype(numpy_type(kind)).astype(np.float64)
        return value * (1 + rounding(kind) * self._random.uniform(-1, 1, value.shape))
