"""A large weight as it is stored, widened to float64 part by part: the whole of it in float64 is never in
memory.

    Stored(array)               what the interpreter gives to Conv, ConvTranspose, Gemm and MatMul in place of
                                a large weight
    stored[...]                 that part in float64
    stored.changed(np.square)   the same weight, every part put through a function of elements when it is
                                asked for
    parts(w, axis)              slices along an axis that together cover a weight; one slice where it is an
                                array already

A view of a weight (`reshape`, `T`) is a view of what is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...files.memory import at_most
from .number_formats import widened

PART_BYTES = 32 << 20  # of one part in float64
LEAST_BYTES = 4 << 20  # of a weight as it is stored; smaller ones are widened at once

Array = np.ndarray[Any, np.dtype[Any]]
_Change = Callable[[Array], Array]


class Stored:
    """An array of floats of fewer than 64 bits, seen as float64. `changes` are functions of elements, applied
    in order."""

    dtype = np.dtype(np.float64)

    def __init__(self, array: Array, changes: tuple[_Change, ...] = ()) -> None:
        self.array = array
        self.changes = changes

    @property
    def shape(self) -> tuple[int, ...]:
        """Dims, as of an array."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """The number of dims."""
        return self.array.ndim

    @property
    def T(self) -> Stored:  # noqa: N802 - numpy's name
        """Axes in reverse."""
        return Stored(self.array.T, self.changes)

    def reshape(self, *shape: int) -> Stored:
        """Other dims; what is stored must allow it without a copy, as contiguous arrays do."""
        return Stored(self.array.reshape(shape, copy=False), self.changes)

    def changed(self, change: _Change) -> Stored:
        """Every part goes through one more function of elements."""
        return Stored(self.array, (*self.changes, change))

    def __getitem__(self, place: Any) -> Array:
        part: Array = widened(self.array[place])
        for change in self.changes:
            part = change(part)
        return part


Weight = Array | Stored


def parts(weight: Weight, axis: int) -> Iterator[slice]:
    """Slices along an axis, each of which takes at most PART_BYTES in float64 (or is one step of that
    axis)."""
    length = weight.shape[axis]
    if not isinstance(weight, Stored):
        yield slice(0, length)
        return
    step = max(1, at_most(PART_BYTES) // max(8 * math.prod(weight.shape) // max(length, 1), 1))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def changed(value: Any, change: _Change) -> Any:
    """A function of elements applied to an array now, to a stored weight when its parts are asked for."""
    return value.changed(change) if isinstance(value, Stored) else change(value)
