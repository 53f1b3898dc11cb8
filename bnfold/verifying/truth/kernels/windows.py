"""Sliding windows of convolutions and pools on an array, in any number of dimensions: padding and taps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ....operators import arguments
from ....records import dataclass

Array = np.ndarray[Any, np.dtype[Any]]


def index(*parts: Any) -> tuple[Any, ...]:
    """An index of slices, numbers and an ellipsis, whose number is known only when it runs."""
    return parts


@dataclass(frozen=True)
class Windows:
    """Where the windows of one operator lie on its input. All tuples have one entry per spatial axis."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """The padded size that the windows really touch (more than in + pads where ceil_mode adds a
        window)."""
        return tuple(
            (o - 1) * s + (k - 1) * d + 1
            for o, s, k, d in zip(self.out, self.strides, self.kernel, self.dilations, strict=True)
        )

    def padded(self, x: Array, fill: float) -> Array:
        """x with `fill` around it, cut or extended to `extent`."""
        wanted = tuple(max(e, b + n) for e, b, n in zip(self.extent, self.before, self.size, strict=True))
        if wanted == self.size:
            return x
        result = np.full(x.shape[:2] + wanted, fill, x.dtype)
        result[index(..., *(slice(b, b + n) for b, n in zip(self.before, self.size, strict=True)))] = x
        return result

    def taps(self) -> Iterator[tuple[int, ...]]:
        """Every position in the kernel."""
        return itertools.product(*(range(k) for k in self.kernel))

    def at(self, padded: Array, tap: Sequence[int]) -> Array:
        """What all windows see at one tap: a strided view of shape (N, C, *out)."""
        steps = zip(tap, self.dilations, self.strides, self.out, strict=True)
        return np.asarray(
            padded[index(..., *(slice(t * d, t * d + max((o - 1) * s + 1, 0), s) for t, d, s, o in steps))]
        )

    def seen(self, padded: Array) -> Array:
        """What all windows see: a strided view of shape (N, C, *kernel, *out)."""
        fits = all(extent <= size for extent, size in zip(self.extent, padded.shape[2:], strict=True))
        if not fits or min((*self.strides, *self.dilations), default=1) < 1:  # the view checks nothing
            raise ValueError(f"windows of {list(self.extent)} do not fit {list(padded.shape[2:])}")
        steps = padded.strides[2:]
        taps = (step * dilation for step, dilation in zip(steps, self.dilations, strict=True))
        moves = (step * stride for step, stride in zip(steps, self.strides, strict=True))
        return as_strided(
            padded,
            (*padded.shape[:2], *self.kernel, *self.out),
            (*padded.strides[:2], *taps, *moves),
            writeable=False,
        )

    def rows(self, start: int, stop: int) -> Windows:
        """The same windows, of some rows of the first axis of the output (for a padded input cut
        accordingly)."""
        if (start, stop) == (0, self.out[0]):
            return self
        return Windows(
            self.size,
            self.kernel,
            self.strides,
            self.dilations,
            self.before,
            self.after,
            (stop - start, *self.out[1:]),
        )


def windows(call: Any, size: Sequence[int], kernel: Sequence[int]) -> Windows:
    """The windows of a node whose input has spatial dims `size`."""
    along = arguments.windows(call.get, kernel)
    pads = [window.padding(n) for window, n in zip(along, size, strict=True)]
    out = tuple(window.count(n) for window, n in zip(along, size, strict=True))
    strides, dilations = tuple(window.stride for window in along), tuple(window.dilation for window in along)
    before, after = tuple(b for b, _ in pads), tuple(a for _, a in pads)
    return Windows(tuple(size), tuple(kernel), strides, dilations, before, after, out)
