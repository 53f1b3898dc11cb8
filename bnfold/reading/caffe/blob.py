"""A learned blob as it is stored: its shape, and where its values are.

Piece    so many values of one type in a buffer, at a stride
Blob     a shape and pieces; `tensor` gives them as float32, where they lie if that is what they are
Stored   one layer of a weights file: its name, type and blobs
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import NamedTuple

import numpy as np

from ...errors import Malformed, Mismatch
from ...ir.graph import ir
from ...ir.tensor import BLOCK, Deferred, Recipe, Window
from ...records import dataclass

Shape = tuple[int, ...]


class Piece(NamedTuple):
    """`size` values of a numpy type from byte `start`, `stride` bytes apart."""

    start: int
    size: int
    dtype: str
    stride: int


@dataclass
class Blob:
    """One stored blob. `shape` is as stored; `legacy` says that it is num, channels, height, width (C3D: with
    a length before the height); a `hole`
    is a blob that its file leaves out because the layer shares it."""

    buffer: memoryview
    shape: Shape = ()
    legacy: bool = False
    pieces: list[Piece] = field(default_factory=list)
    at: int = 0
    hole: bool = False

    @property
    def count(self) -> int:
        """How many values are there."""
        return sum(piece.size for piece in self.pieces)

    def fits(self, shape: Shape) -> bool:
        """Is this the shape that a layer expects? Legacy shapes are compared right-aligned."""
        if self.legacy:
            return self.shape == (1,) * (len(self.shape) - len(shape)) + shape
        return self.shape == shape

    def tensor(self, shape: Shape, name: str | None = None) -> Deferred:
        """The values under another shape of as many values, float32."""
        first = self.pieces[0] if self.pieces else Piece(0, 0, "<f4", 4)
        if len(self.pieces) == 1 and first.dtype == "<f4" and first.stride == 4:
            return Window(self.buffer, first.start, ir.DataType.FLOAT, shape, name)
        return Recipe(ir.DataType.FLOAT, shape, self._arrays, name)

    def _arrays(self) -> Iterator[np.ndarray]:
        for piece in self.pieces:
            for begin in range(0, piece.size, BLOCK):
                count = min(BLOCK, piece.size - begin)
                start = piece.start + begin * piece.stride
                values = np.ndarray((count,), piece.dtype, self.buffer, start, (piece.stride,))
                yield values.astype(np.float32)  # a double beyond float32 is infinite, as in Caffe

    def check(self) -> None:
        """Hold what the shape claims against the values that are there. Mismatch or Malformed with the byte
        offset."""
        if any(d < 0 for d in self.shape):
            raise Malformed(
                f"a shape of {shown(self.shape)} at byte {self.at:,}",
                expected="dimensions that are not negative",
            )
        if (claimed := math.prod(self.shape)) != self.count:
            raise Mismatch(
                f"a shape of {shown(self.shape)} ({claimed:,} values) and {self.count:,} values at "
                f"byte {self.at:,}",
                expected="as many values as the shape says",
            )

    def values(self) -> np.ndarray:
        """All values as a flat float64 array, for small blobs."""
        with np.errstate(over="ignore", invalid="ignore"):
            arrays = list(self._arrays())
        return np.concatenate(arrays).astype(np.float64) if arrays else np.empty(0)


class Stored(NamedTuple):
    """One layer of a weights file. `partial`: blobs that the layer shares with others may be missing, at the
    end too."""

    name: str
    type: str
    blobs: Sequence[Blob]
    partial: bool = False


def shown(shape: Sequence[float]) -> str:
    """A shape as people write it."""
    return "(" + ", ".join(str(d) for d in shape) + ")"
