"""DeformConv in float64: the windows of a convolution, whose taps read between pixels, where offsets point.

One tap after the other: what all windows see there is interpolated from the corners around the point, then
multiplied by the weights of the tap and added up. Memory is that of one tap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .windows import Array, Windows, index, windows


def deform_conv(
    call: Any, x: Array, w: Array, offset: Array, b: Array | None = None, mask: Array | None = None
) -> Array:
    """x (N, C, *in), w (M, C/group, *k), offset (N, parts·taps·axes, *out), mask (N, parts·taps, *out) ->
    (N, M, *out); each of `parts` parts of the channels has offsets of its own."""
    group, parts = call.get("group", 1), call.get("offset_group", 1)
    images, channels, outs = x.shape[0], x.shape[1], w.shape[0]
    seen = windows(call, x.shape[2:], w.shape[2:])
    taps, axes = list(seen.taps()), len(seen.out)
    if channels != w.shape[1] * group or outs % group or channels % parts:
        raise ValueError(f"{channels} channels do not fit {w.shape}, {group} groups and {parts} of offsets")
    offset = offset.reshape(images, parts, len(taps), axes, *seen.out)
    mask = None if mask is None else mask.reshape(images, parts, len(taps), *seen.out)
    values = x.reshape(images, parts, channels // parts, -1)
    result = np.zeros((images, group, outs // group, int(np.prod(seen.out))))
    for place, (tap, grid) in enumerate(zip(taps, _grids(seen, taps), strict=True)):
        weights = w[index(..., *tap)].reshape(group, outs // group, -1)
        for image in range(images):
            read = [
                _between(values[image, k], grid + offset[image, k, place], seen.size) for k in range(parts)
            ]
            if mask is not None:
                read = [r * mask[image, k, place].reshape(-1) for k, r in enumerate(read)]
            result[image] += np.matmul(weights, np.concatenate(read).reshape(group, channels // group, -1))
    y = result.reshape(images, outs, *seen.out)
    return y if b is None else y + b.reshape(-1, *(1,) * axes)


def _grids(seen: Windows, taps: Sequence[tuple[int, ...]]) -> Iterator[Array]:
    """Where every window has each tap, before offsets: (axes, *out)."""
    starts = np.indices(seen.out, np.float64)
    ones = (1,) * len(seen.out)
    strides, before, dilations = (
        np.array(each, np.float64).reshape(-1, *ones) for each in (seen.strides, seen.before, seen.dilations)
    )
    for tap in taps:
        yield starts * strides - before + np.array(tap, np.float64).reshape(-1, *ones) * dilations


def _between(values: Array, points: Array, size: Sequence[int]) -> Array:
    """values (C, pixels) at points (axes, *out), multilinear in the corners around each; a corner that is no
    pixel counts as zero. -> (C, windows)"""
    points = points.reshape(len(size), -1)
    low = np.floor(points)
    result = np.zeros((values.shape[0], points.shape[1]))
    limits = np.array(size).reshape(-1, 1)
    for corner in itertools.product((0, 1), repeat=len(size)):
        at = low + np.array(corner).reshape(-1, 1)
        inside = np.all((at >= 0) & (at < limits), axis=0)
        share = np.where(inside, np.prod(1.0 - np.abs(points - at), axis=0), 0.0)
        where = np.ravel_multi_index(tuple(np.where(inside, at, 0).astype(np.int64)), tuple(size))
        result += values[:, where] * share
    return result


TABLE: dict[str, Callable[..., Any]] = {"DeformConv": deform_conv}
