"""Pooling by Caffe's rules, in ONNX operators that mean the same in every version of onnxruntime.

Output sizes round up (or down, on demand); with any padding a last window that starts beyond the input and
its padding is dropped. Expressed in floor mode with end pads enlarged to (out - 1) stride + kernel - in -
pad. An average divides by the window's area inside [−pad, in + pad): AveragePool counts the padding, and
where windows overhang, a constant map corrects the divisor.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from ....records import dataclass
from ..blob import Shape, shown
from ..layer import FLOAT, INT64, Layer, Value, dims
from ..registry import ENGINE, layer

PARAM = "pooling_param"
PARAM_3D = "pooling3d_param"
LOWEST = -3.4028234663852886e38  # what Caffe starts a maximum with


@dataclass(frozen=True)
class Plane:
    """Kernel, stride, pad and output size along height and width, or along any axes."""

    kernel: Shape
    stride: Shape
    pad: Shape
    size: Shape

    def ends(self, spatial: Shape) -> Shape:
        """End pads under which floor mode gives this size; below zero where the last pixels are read by no
        window."""
        return tuple(
            (o - 1) * s + k - n - p
            for o, s, k, n, p in zip(self.size, self.stride, self.kernel, spatial, self.pad, strict=True)
        )


def plane(at: Layer, spatial: Shape, kernel: Shape, stride: Shape, pad: Shape, ceil: bool) -> Plane:
    """Caffe's output sizes. Malformed when no window fits."""
    sizes = []
    for n, k, s, p in zip(spatial, kernel, stride, pad, strict=True):
        size = (-(-(n + 2 * p - k) // s) if ceil else (n + 2 * p - k) // s) + 1
        sizes.append(size - 1 if any(pad) and (size - 1) * s >= n + p else size)
    if any(size < 1 for size in sizes):
        raise at.malformed(
            f"a window of {shown(kernel)} over an input of {shown(spatial)}, padded by {shown(pad)}",
            "a window no larger than the padded input",
        )
    return Plane(kernel, stride, pad, tuple(sizes))


def pooled(at: Layer, x: Value, method: str, over: Plane, mask: bool = False) -> list[Value]:
    """The pooled blob, and for a maximum the position of each in its plane on demand."""
    n, c, *spatial = dims(x)
    ends = over.ends(tuple(spatial))
    attributes: dict[str, Any] = {
        "kernel_shape": list(over.kernel),
        "strides": list(over.stride),
        "pads": [*over.pad, *(max(0, end) for end in ends)],
    }
    shape = (n, c, *over.size)
    if any(end >= k for end, k in zip(ends, over.kernel, strict=True)):  # a window that lies wholly outside
        if mask:
            raise at.unsupported("the mask of a window that lies outside of the input")
        x = _padded(at, x, attributes["pads"], LOWEST if method == "MAX" else 0.0)
        attributes["pads"] = [0] * 2 * len(spatial)
    if method == "MAX":
        if not mask:
            return [at.op("MaxPool", x, shape=shape, **attributes)]
        y, indices = at.ops("MaxPool", x, shapes=[shape, shape], dtypes=[FLOAT, INT64], **attributes)
        inside = at.op(
            "Mod", indices, at.constant(np.int64(math.prod(spatial)), "plane", np.int64), shape=shape
        )
        return [y, at.cast(inside, FLOAT)]
    y = at.op("AveragePool", x, shape=shape, count_include_pad=1, **attributes)
    at.limit_constant(*over.size)
    area = reduce(np.multiply.outer, [_inside(over, i, n) for i, n in enumerate(spatial)])
    if (area != math.prod(over.kernel)).any():
        with np.errstate(divide="ignore"):
            factor = np.float32(math.prod(over.kernel)) / area.astype(np.float32)
        y = at.op("Mul", y, at.constant(factor.reshape(1, 1, *area.shape), "divisor"))
    return [y]


def _inside(over: Plane, axis: int, size: int) -> np.ndarray:
    """How far each window reaches inside of [-pad, size + pad) along one axis; Caffe lets it be 0 or negative
    outside."""
    kernel, stride, pad = over.kernel[axis], over.stride[axis], over.pad[axis]
    start = np.arange(over.size[axis]) * stride - pad
    return np.minimum(start + kernel, size + pad) - start


def _padded(at: Layer, x: Value, pads: list[int], value: float) -> Value:
    count = len(pads) // 2
    begins, ends = [0, 0, *pads[:count]], [0, 0, *pads[count:]]
    return at.op(
        "Pad",
        x,
        at.constant(np.array([*begins, *ends], np.int64), "pads"),
        at.scalar(value, "outside"),
        shape=[begin + size + end for begin, size, end in zip(begins, dims(x), ends, strict=True)],
        mode="constant",
    )


@layer("Pooling", param=PARAM, ignoring={"engine": ENGINE})
def pooling(
    at: Layer,
    x: Value,
    *,
    pool: str = "MAX",
    pad: int = 0,
    pad_h: int = 0,
    pad_w: int = 0,
    kernel_size: int | None = None,
    kernel_h: int | None = None,
    kernel_w: int | None = None,
    stride: int = 1,
    stride_h: int | None = None,
    stride_w: int | None = None,
    global_pooling: bool = False,
    round_mode: str = "CEIL",
    ceil_mode: bool = True,
    torch_pooling: bool = False,
    avg_include_pad: bool = True,
    axis: int = 1,
    pad_3d: tuple[int, ...] = (),
    kernel_size_3d: tuple[int, ...] = (),
    stride_3d: tuple[int, ...] = (),
) -> Value | list[Value]:
    """Maximum or average over windows; a second top has the positions of the maxima. The forks' `ceil_mode:
    false` rounds down."""
    for field, value, usual in (
        ("torch_pooling", torch_pooling, False),
        ("avg_include_pad", avg_include_pad, True),
        ("axis", axis, 1),
        ("pad_3d", pad_3d, ()),
        ("kernel_size_3d", kernel_size_3d, ()),
        ("stride_3d", stride_3d, ()),
    ):
        at.expect(field, value, usual)
    if pool == "STOCHASTIC":
        raise at.unsupported("stochastic pooling, whose result is random", "MAX or AVE")
    spatial = at.rank(x, 4)[2:]
    strides = _both(at, "stride", stride, stride_h, stride_w)
    pads = (pad_h, pad_w) if pad_h or pad_w else (pad, pad)
    if (pad_h or pad_w) and pad:
        raise at.malformed("'pad' beside pad_h or pad_w", "one of the two forms", at=(PARAM, "pad"))
    if global_pooling:
        if any(v is not None for v in (kernel_size, kernel_h, kernel_w)) or any(pads) or strides != (1, 1):
            raise at.malformed(
                "global_pooling with a kernel, a pad or a stride",
                "none of them: the window is the whole plane",
                at=(PARAM, "global_pooling"),
            )
        kernel = spatial
    else:
        kernel = _both(at, "kernel", kernel_size, kernel_h, kernel_w)
    if any(k < 1 for k in kernel) or any(s < 1 for s in strides):
        raise at.malformed(
            f"a kernel of {shown(kernel)} and a stride of {shown(strides)}", "positive numbers"
        )
    if any(p >= k for p, k in zip(pads, kernel, strict=True)):
        raise at.malformed(
            f"a pad of {shown(pads)} for a kernel of {shown(kernel)}",
            "a pad smaller than the kernel",
            at=(PARAM, "pad"),
        )
    mask = len(at.tops) > 1
    if mask and pool != "MAX":
        raise at.malformed("a second top", "one top for an average")
    if global_pooling and not mask:
        return at.op("GlobalMaxPool" if pool == "MAX" else "GlobalAveragePool", x, shape=(*dims(x)[:2], 1, 1))
    return pooled(
        at, x, pool, plane(at, spatial, kernel, strides, pads, round_mode == "CEIL" and ceil_mode), mask
    )


def _both(at: Layer, field: str, one: int | None, h: int | None, w: int | None) -> Shape:
    """An option in its single form, or in both of its _h/_w form."""
    single = "kernel_size" if field == "kernel" else field
    if (h is None) != (w is None):
        raise at.malformed(
            f"only one of {field}_h and {field}_w",
            "both",
            at=(PARAM, f"{field}_h" if w is None else f"{field}_w"),
        )
    if h is not None and w is not None:
        if field == "kernel" and one is not None:
            raise at.malformed(
                "kernel_size beside kernel_h and kernel_w", "one of the two forms", at=(PARAM, "kernel_size")
            )
        return h, w
    if one is None:
        raise at.malformed(f"'{single}' is missing", f"{PARAM} {{ {single}: ... }}, or global_pooling")
    return one, one


@layer("Pooling3D", param=PARAM_3D, origin="c3d")
def pooling_3d(
    at: Layer,
    x: Value,
    *,
    pool: str = "MAX",
    kernel_size: int | None = None,
    stride: int = 1,
    pad: int = 0,
    kernel_depth: int | None = None,
    temporal_stride: int = 1,
) -> Value:
    """Maximum or average over windows of time, height and width; sizes are rounded up, and no window is
    dropped"""
    if pool == "STOCHASTIC":
        raise at.unsupported("stochastic pooling, whose result is random", "MAX or AVE")
    if not kernel_size or not kernel_depth:
        raise at.malformed(
            "'kernel_size' or 'kernel_depth' is missing",
            f"{PARAM_3D} {{ kernel_size: ... kernel_depth: ... }}",
        )
    kernel, strides = (kernel_depth, kernel_size, kernel_size), (temporal_stride, stride, stride)
    pads = (0, pad, pad)
    if not all(strides) or pad >= kernel_size or (pad and pool == "MAX"):
        raise at.malformed(
            f"a stride of {shown(strides)} and a pad of {pad} for {pool}",
            "a positive stride, and a pad for averages alone, smaller than the kernel",
            at=(PARAM_3D, "pad"),
        )
    spatial = at.rank(x, 5)[2:]
    sizes = tuple(
        -(-(n + 2 * p - k) // s) + 1 for n, p, k, s in zip(spatial, pads, kernel, strides, strict=True)
    )
    if any(size < 1 for size in sizes):
        raise at.malformed(
            f"a window of {shown(kernel)} over an input of {shown(spatial)}",
            "a window no larger than the padded input",
        )
    return pooled(at, x, pool, Plane(kernel, strides, pads, sizes))[0]


@layer("SPP", param="spp_param", ignoring={"engine": ENGINE})
def spp(at: Layer, x: Value, *, pyramid_height: int, pool: str = "MAX") -> Value:
    """Spatial pyramid pooling: 1, 2, 4 ... bins along each axis, flattened and joined; a height of 1 is one
    pooling."""
    if pool == "STOCHASTIC":
        raise at.unsupported("stochastic pooling, whose result is random", "MAX or AVE")
    n, c, *spatial = at.rank(x, 4)
    if not 1 <= pyramid_height <= 30:
        raise at.malformed(
            f"a pyramid of height {pyramid_height}",
            "a height from 1 to 30",
            at=("spp_param", "pyramid_height"),
        )
    parts = []
    for level in range(pyramid_height):
        bins = 1 << level
        kernel = tuple(-(-size // bins) for size in spatial)
        pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, spatial, strict=True))
        if any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise at.malformed(
                f"a pyramid of height {pyramid_height} over an input of {shown(spatial)}",
                "bins no smaller than a pixel",
            )
        parts.append(pooled(at, x, pool, plane(at, tuple(spatial), kernel, kernel, pad, True))[0])
    if pyramid_height == 1:
        return parts[0]
    flat = [at.reshape(part, (n, c * math.prod(dims(part)[2:]))) for part in parts]
    return at.op("Concat", *flat, shape=(n, sum(dims(part)[1] for part in flat)), axis=1)
