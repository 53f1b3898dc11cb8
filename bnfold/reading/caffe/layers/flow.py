"""Layers of FlowNet 2: images warped by a flow, resampled, stacked at one size, and correlated with each
other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..blob import shown
from ..layer import Layer, Value, dims
from ..registry import layer
from .sampling import sampled

CORRELATION, RESAMPLE = "correlation_param", "resample_param"


@layer("FlowWarp", param="flow_warp_param", origin="flownet2")
def flow_warp(at: Layer, x: Value, flow: Value, *, fill_value: str = "ZERO") -> Value:
    """The image as it is at the end of each pixel's arrow (x, y), interpolated; zero, or not a number, where
    that is outside of the image"""
    n, _, h, w = at.rank(x, 4)
    if dims(flow) != (n, 2, h, w):
        raise at.malformed(f"a flow of shape {shown(dims(flow))}", f"{shown((n, 2, h, w))}")
    at.limit_constant(2, h, w)
    pixels = np.array(np.meshgrid(np.arange(w), np.arange(h)), np.float32)[None]
    with at.build.decoding():
        places = at.op("Add", flow, at.constant(pixels, "pixels"))
        return sampled(at, x, places, 0.0 if fill_value == "ZERO" else math.nan)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(1 - np.abs(x), 0))


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near, far = x * x * (1.5 * x - 2.5) + 1, x * (x * (2.5 - 0.5 * x) - 4) + 2
    return np.asarray(np.where(x <= 1, near, np.where(x < 2, far, 0)))


KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "LINEAR": (_triangle, 2),
    "CUBIC": (_cubic, 4),
}  # the weight of a pixel at a distance, and how far away pixels count


@layer("Resample", param=RESAMPLE, origin="flownet2", ignoring={"factor": "nothing reads it"})
def resample(
    at: Layer,
    x: Value,
    like: Value | None = None,
    *,
    type_: str = "LINEAR",
    antialias: bool = True,
    width: int | None = None,
    height: int | None = None,
) -> Value:
    """The image at another size, that of the second bottom if there is one: a product with the weights of
    rows and one with those of columns

    As FlowNet 2 has it, the places of columns are shifted by the ratio of heights and those of rows by the
    ratio of widths; the two are the same for most networks.
    """
    if type_ not in KERNELS:
        raise at.unsupported(f"resampling of type {type_}", "one of " + ", ".join(KERNELS))
    n, c, h, w = at.rank(x, 4)
    size = at.rank(like, 4)[2:] if like is not None else (height or 0, width or 0)
    if min(size) < 1:
        raise at.malformed(
            "a size is missing", f"{RESAMPLE} {{ width: ... height: ... }}, or a second bottom"
        )
    ratios = (h / size[0], w / size[1])
    smooth = antialias and max(ratios) > 1
    rows, columns = (
        _weights(at, type_, sizes, (ratio, other), smooth)
        for sizes, ratio, other in (((h, size[0]), *ratios), ((w, size[1]), *ratios[::-1]))
    )
    y = at.op("MatMul", at.constant(rows, "rows"), x, shape=(n, c, size[0], w))
    return at.op("MatMul", y, at.constant(columns.T, "columns"), shape=(n, c, *size))


def _weights(
    at: Layer, kind: str, sizes: tuple[int, int], ratios: tuple[float, float], smooth: bool
) -> np.ndarray:
    """(out, in): how much of each pixel goes into each along one axis. `ratios` are the ones along this axis
    and along the other one."""
    weight, reach = KERNELS[kind]
    size, out = sizes
    at.limit_constant(size, out)
    places = np.arange(out) * ratios[0] + ratios[1] / 2 - 0.5
    scale = 1 / ratios[0] if smooth else 1.0
    radius = 2 if ratios[0] < 1 else math.ceil(reach / scale)
    nearest = np.sign(places) * np.floor(np.abs(places) + 0.5)  # C's round
    pixels = np.arange(size)
    near = np.abs(pixels[None, :] - nearest[:, None]) <= radius
    found = np.where(near, weight(scale * (places[:, None] - pixels[None, :])), 0)
    total = found.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(found, total, out=np.zeros_like(found), where=total != 0), np.float32)


@layer("Accum", param="accum_param", origin="flownet2")
def accum(
    at: Layer,
    first: Value,
    *more: Value,
    top_height: int = 0,
    top_width: int = 0,
    size_divisible_by: int = 0,
    have_reference: bool = False,
) -> Value:
    """The channels of all bottoms, each brought to one size: that of the last bottom, which is a reference
    alone, or the largest"""
    xs = [first, *more]
    if have_reference and len(xs) < 2:
        raise at.malformed("a reference and nothing else", "at least two bottoms")
    shapes = [at.rank(x, 4) for x in xs]
    if have_reference:
        size = shapes[-1][2:]
        xs = xs[:-1]
    else:
        size = tuple(max(shape[axis] for shape in shapes) for axis in (2, 3))
        asked = (
            tuple(-(-d // size_divisible_by) * size_divisible_by for d in size)
            if size_divisible_by
            else (top_height, top_width)
        )
        size = asked if all(a > d for a, d in zip(asked, size, strict=True)) else size
    if any(dims(x)[0] != shapes[0][0] for x in xs):
        raise at.malformed(f"bottoms of shapes {', '.join(map(shown, shapes))}", "the same number of items")
    scaled = [_scaled(at, x, size) for x in xs]
    if len(scaled) == 1:
        return scaled[0]
    channels = sum(dims(x)[1] for x in scaled)
    return at.op("Concat", *scaled, shape=(shapes[0][0], channels, *size), axis=1)


def _scaled(at: Layer, x: Value, size: Sequence[int]) -> Value:
    n, c, *have = dims(x)
    if tuple(have) == tuple(size):
        return x
    return at.op(
        "Resize",
        x,
        None,
        None,
        at.constant(np.array([n, c, *size], np.int64), "sizes"),
        shape=(n, c, *size),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )


@layer(
    "Correlation",
    param=CORRELATION,
    origin="flownet2",
    ignoring={"single_direction": "read by Correlation1D", "do_abs": "nothing reads it"},
)
def correlation(
    at: Layer,
    first: Value,
    second: Value,
    *,
    pad: int = 0,
    kernel_size: int | None = None,
    max_displacement: int | None = None,
    stride_1: int = 1,
    stride_2: int = 1,
    correlation_type: str = "MULTIPLY",
) -> Value:
    """How alike patches of two images are, for each displacement of the second: the mean product, or the mean
    difference, over a patch and the channels; a channel for each displacement, rows before columns"""
    n, c, h, w = at.rank(first, 4)
    if dims(second) != (n, c, h, w):
        raise at.malformed(f"bottoms of shapes {shown((n, c, h, w))} and {shown(dims(second))}", "the same")
    if kernel_size is None or max_displacement is None or kernel_size % 2 == 0 or not stride_1 * stride_2:
        raise at.malformed(
            f"a kernel of {kernel_size}, displacements up to {max_displacement}, strides of {stride_1} and "
            f"{stride_2}",
            "an odd kernel_size, a max_displacement and positive strides",
            at=(CORRELATION, "kernel_size"),
        )
    reach = max_displacement
    size = (h + 2 * pad - 2 * reach, w + 2 * pad - 2 * reach)
    if min(size) < kernel_size:
        raise at.malformed(
            f"a kernel of {kernel_size} and displacements up to {reach} in an image of {shown((h, w))}, "
            f"padded by {pad}",
            "an image that holds them",
        )
    steps = range(-(reach // stride_2) * stride_2, reach + 1, stride_2)
    at.limit_constant(size[1], len(steps))
    if pad:
        first, second = (_framed(at, x, pad) for x in (first, second))
    here = at.cut(at.cut(first, 2, reach, reach + size[0]), 3, reach, reach + size[1])
    here = at.reshape(here, (n, c, *size, 1))
    columns = at.constant(np.arange(size[1])[:, None] + reach + np.array(steps)[None, :], "columns")
    alike = [
        _alike(at, here, at.cut(second, 2, reach + step, reach + step + size[0]), columns, correlation_type)
        for step in steps
    ]
    y = at.op("Concat", *alike, shape=(n, len(steps) ** 2, *size), axis=1) if len(alike) > 1 else alike[0]
    if (kernel_size, stride_1) == (1, 1):
        return y
    return at.op(
        "AveragePool",
        y,
        shape=(*dims(y)[:2], *((d - kernel_size) // stride_1 + 1 for d in size)),
        kernel_shape=[kernel_size] * 2,
        strides=[stride_1] * 2,
    )


def _framed(at: Layer, x: Value, pad: int) -> Value:
    """Zeros around an image."""
    n, c, h, w = dims(x)
    amounts = at.constant(np.array([0, 0, pad, pad] * 2, np.int64), "pads")
    return at.op("Pad", x, amounts, shape=(n, c, h + 2 * pad, w + 2 * pad), mode="constant")


def _alike(at: Layer, here: Value, rows: Value, columns: Value, kind: str) -> Value:
    """(N, displacements, H, W): how alike pixels are for all displacements along a row."""
    n, c, h, w = dims(here)[:4]
    count = dims(columns)[1]
    there = at.op("Gather", rows, columns, shape=(n, c, h, w, count), axis=3)
    if kind == "MULTIPLY":
        both = at.op("Mul", there, here, shape=dims(there))
    else:
        both = at.op("Abs", at.op("Sub", there, here, shape=dims(there)))
    return at.transpose(at.reduce("ReduceMean", both, [1], keep=False), [0, 3, 1, 2])
