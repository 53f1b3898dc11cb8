"""Affine maps over the positions of a tensor, and their algebra.

    x ↦ s·x + t        s and t are float64 and broadcast against x

A map of a value of rank r is a *pattern*: an array of rank r whose dims are 1 where the map does not vary and
the full size where it does, so a map per channel of an NCHW tensor is (1, C, 1, 1). A map that is the same
everywhere has rank 0. Composition is written `@` and read right to left, as in mathematics: (f @ g)(x) =
f(g(x)).

numpy only; nothing here has heard of a graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..records import dataclass
from .reasons import Refused

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Affine:
    """x ↦ scale·x + shift; both are brought to one common pattern."""

    scale: Float
    shift: Float

    def __post_init__(self) -> None:
        scale, shift = np.asarray(self.scale, np.float64), np.asarray(self.shift, np.float64)
        if scale.shape != shift.shape:  # most have one shape, and networks have thousands of maps
            scale, shift = np.broadcast_arrays(scale, shift)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "shift", shift)

    @staticmethod
    def times(factor: Float) -> Affine:
        """x ↦ factor·x."""
        return Affine(factor, _everywhere(0.0, factor))

    @staticmethod
    def plus(addend: Float, sign: float = 1.0) -> Affine:
        """x ↦ sign·x + addend."""
        return Affine(_everywhere(sign, addend), addend)

    def __matmul__(self, inner: Affine) -> Affine:
        """self after inner. Raises Refused where their patterns do not broadcast."""
        if self.rank and inner.rank and self.scale.shape != inner.scale.shape:
            common_shape(self.scale.shape, inner.scale.shape)
        return Affine(self.scale * inner.scale, self.scale * inner.shift + self.shift)

    def __call__(self, x: ArrayLike) -> Float:  # noqa: D102
        return np.asarray(self.scale * np.asarray(x, np.float64) + self.shift)

    def meets(self, x: Float) -> bool:
        """Does the pattern broadcast with values?"""
        return all(m == n or 1 in (m, n) for m, n in zip(self.scale.shape[::-1], x.shape[::-1], strict=False))

    @property
    def rank(self) -> int:
        """Rank of the pattern; 0 for a map that is the same everywhere."""
        return self.scale.ndim

    @property
    def shifts(self) -> bool:
        """Is there a shift that is not zero?"""
        return any_true(self.shift)

    @property
    def scales(self) -> bool:
        """Is there a scale that is not one?"""
        return any_true(self.scale != 1)

    @property
    def finite(self) -> bool:
        """Are all scales and shifts finite?"""
        return not any_true(~np.isfinite(self.scale)) and not any_true(~np.isfinite(self.shift))

    @property
    def nonnegative(self) -> bool:
        """Is no scale negative?"""
        return not any_true(~(self.scale >= 0))

    def varies(self) -> tuple[int, ...]:
        """Axes along which the pattern has more than one entry."""
        return tuple(axis for axis, size in enumerate(self.scale.shape) if size != 1)

    def scale_only(self) -> Affine:
        """The same map without its shift."""
        return Affine.times(self.scale)

    def shift_only(self) -> Affine:
        """The same map without its scale."""
        return Affine.plus(self.shift)

    def equals(self, other: Affine) -> bool:
        """Equal everywhere, whatever the patterns."""
        return bool(np.all(self.scale == other.scale) and np.all(self.shift == other.shift))

    def mapped(self, move: Callable[[Float], Float]) -> Affine:
        """The map whose scale and shift went through `move` (a rearrangement of positions)."""
        return Affine(move(self.scale), move(self.shift)).compact()

    def lifted(self, rank: int) -> Affine:
        """The same map as a pattern of the given rank; only a map of rank 0 can be lifted."""
        if self.rank == rank:
            return self
        if self.rank != 0:
            raise ValueError(f"a pattern of rank {self.rank} is not one of rank {rank}")
        return Affine(self.scale.reshape((1,) * rank), self.shift.reshape((1,) * rank))

    def compact(self) -> Affine:
        """The same map with axes along which it does not vary brought to size one; rank is kept."""
        scale, shift = self.scale, self.shift
        for axis, size in enumerate(scale.shape):
            if size > 1:
                first = (slice(None),) * axis + (slice(0, 1),)
                if np.array_equal(scale, np.broadcast_to(scale[first], scale.shape)) and np.array_equal(
                    shift, np.broadcast_to(shift[first], shift.shape)
                ):
                    scale, shift = scale[first], shift[first]
        return Affine(scale, shift)

    def along(self, axis: int, size: int) -> Affine | None:
        """The map as vectors of `size` entries along one axis, or None where it varies along another or does
        not fit."""
        if any(a != axis for a in self.varies()):
            return None
        scale, shift = self.scale.reshape(-1), self.shift.reshape(-1)
        return Affine(spread(scale, size), spread(shift, size)) if scale.size in (1, size) else None


def _everywhere(number: float, like: Float) -> Float:
    """One number as a pattern of that shape, which takes no memory of its own."""
    return np.broadcast_to(np.float64(number), np.shape(like))


def common_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """What patterns of these shapes broadcast to. Refuses different sizes along one axis: a model that brings
    them together cannot run."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        found = " and ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        raise Refused("kept.contradictory", f"maps of the sizes {found} come together") from error


IDENTITY = Affine(np.asarray(1.0), np.asarray(0.0))


def batch_norm(
    gamma: ArrayLike, beta: ArrayLike, mean: ArrayLike, variance: ArrayLike, epsilon: float
) -> Affine:
    """γ·(x - μ)/√(σ² + ε) + β, per channel, as in ONNX BatchNormalization in inference form."""
    g, b, m, v = (np.asarray(a, np.float64) for a in (gamma, beta, mean, variance))
    with np.errstate(all="ignore"):
        scale = g / np.sqrt(v + epsilon)
        return Affine(scale, b - scale * m)


def any_true(values: np.ndarray) -> bool:
    """Is any of them true, or not zero? What numpy's own `any` prepares takes ten times as long as to look at
    the channels of a layer."""
    return bool(np.count_nonzero(values))


def spread(vector: Float, size: int) -> Float:
    """One number, or a vector, as a vector of so many entries; most are one already."""
    return vector if vector.shape == (size,) else np.broadcast_to(vector, size)


def trimmed(pattern: Float, rank: int = 1) -> Float:
    """A pattern without leading axes of one, down to `rank` axes: broadcasting puts them back."""
    while pattern.ndim > rank and pattern.shape[0] == 1:
        pattern = pattern[0]
    return pattern


def along_axis(vector: Affine, axis: int, rank: int) -> Affine:
    """Vectors along one axis as a pattern of the given rank."""
    shape = (1,) * axis + (-1,) + (1,) * (rank - axis - 1)
    return Affine(vector.scale.reshape(shape), vector.shift.reshape(shape))
