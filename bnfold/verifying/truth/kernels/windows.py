"""Sliding windows of convolutions and pools, in any number of dimensions: pads, output sizes, taps.

out = floor or ceil((in + pads - ((k - 1)·dilation + 1)) / stride) + 1      ONNX operator documents, Conv and
AveragePool
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
            padded[index(..., *(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, s, o in steps))]
        )

    def rows(self, start: int, stop: int) -> Windows:
        """The same windows, of some rows of the first axis of the output (for a padded input cut
        accordingly)."""
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
    """Read strides, dilations, pads, auto_pad and ceil_mode of a node whose input has spatial dims `size`."""
    n = len(size)
    strides = tuple(call.get("strides") or (1,) * n)
    dilations = tuple(call.get("dilations") or (1,) * n)
    pads = tuple(call.get("pads") or (0,) * 2 * n)
    auto, ceil = call.get("auto_pad", "NOTSET"), bool(call.get("ceil_mode", 0))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    before, after = pads[:n], pads[n:]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        out = tuple(-(-i // s) for i, s in zip(size, strides, strict=True))
        total = [max((o - 1) * s + r - i, 0) for o, s, r, i in zip(out, strides, reach, size, strict=True)]
        before = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total)
        after = tuple(t - b for t, b in zip(total, before, strict=True))
    else:
        if auto == "VALID":
            before = after = (0,) * n
        out = tuple(_out(*axis, ceil=ceil) for axis in zip(size, before, after, reach, strides, strict=True))
    return Windows(tuple(size), tuple(kernel), strides, dilations, before, after, out)


def _out(size: int, before: int, after: int, reach: int, stride: int, *, ceil: bool) -> int:
    steps = (size + before + after - reach) / stride
    out = (math.ceil(steps) if ceil else math.floor(steps)) + 1
    if ceil and (out - 1) * stride >= size + before:
        out -= 1  # a window that starts in the padding behind the input is not one
    if out < 0:
        raise ValueError(
            f"a window of {reach} does not fit an input of {size} padded by {before} and {after}"
        )
    return out
