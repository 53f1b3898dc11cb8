"""Layers that change the resolution: Interp, the two kinds of Upsample, and Unpooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ....ir.tensor import from_array
from ..blob import shown
from ..layer import FLOAT, INT64, Layer, Value, dims
from ..registry import ENGINE, layer

UNPOOLING = "unpooling_param"


@layer("Interp", param="interp_param", origin="pspnet, mobilenet-v2")
def interp(
    at: Layer,
    x: Value,
    *,
    height: int = 0,
    width: int = 0,
    zoom_factor: int = 1,
    shrink_factor: int = 1,
    pad_beg: int = 0,
    pad_end: int = 0,
) -> Value:
    """Bilinear resizing with aligned corners; the size is shrunk, zoomed or given. Negative pads crop
    first."""
    n, c, *spatial = at.rank(x, 4)
    if pad_beg > 0 or pad_end > 0:
        raise at.malformed(
            f"pads of {pad_beg} and {pad_end}",
            "zero, or negative ones, which crop",
            at=("interp_param", "pad_beg"),
        )
    inner = [size + pad_beg + pad_end for size in spatial]
    given = at.node.get("interp_param")
    zooms, shrinks = (given is not None and given.has(field) for field in ("zoom_factor", "shrink_factor"))
    if (zooms and zoom_factor < 1) or (shrinks and shrink_factor < 1) or min(inner) < 1:
        raise at.malformed(
            f"zoom {zoom_factor}, shrink {shrink_factor} of {shown(inner)}",
            "factors of 1 and more, and something left to resize",
        )
    size = inner
    if shrinks:
        size = [(d - 1) // shrink_factor + 1 for d in size]
    if zooms:
        size = [d + (d - 1) * (zoom_factor - 1) for d in size]
    if not zooms and not shrinks:
        size = [height, width]
        if min(size) < 1:
            raise at.malformed(
                "neither a size nor a factor", "height and width, zoom_factor or shrink_factor"
            )
    for i in (2, 3):
        if pad_beg or pad_end:
            x = at.cut(x, i, -pad_beg, dims(x)[i] + pad_end)
    if size == inner:
        return x
    sizes = at.constant(np.array([n, c, *size], np.int64), "sizes")
    return at.op(
        "Resize",
        x,
        None,
        None,
        sizes,
        shape=(n, c, *size),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )


@layer("Upsample", param="upsample_param", origin="segnet, enet, mobilenet-yolo")
def upsample(
    at: Layer,
    x: Value,
    mask: Value | None = None,
    *,
    scale: int | None = None,
    scale_h: int | None = None,
    scale_w: int | None = None,
    pad_out_h: bool = False,
    pad_out_w: bool = False,
    upsample_h: int | None = None,
    upsample_w: int | None = None,
) -> Value:
    """With a mask: each value back where the pooling found it, zeros elsewhere. With one bottom: nearest
    neighbour."""
    n, c, h, w = at.rank(x, 4)
    if mask is None:
        factor = 1 if scale is None else scale
        if factor < 1:
            raise at.malformed(f"scale is {factor}", "a positive number", at=("upsample_param", "scale"))
        factors = at.constant(np.array([1, 1, factor, factor], np.float32), "scales")
        return at.op(
            "Resize",
            x,
            None,
            factors,
            shape=(n, c, h * factor, w * factor),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    if dims(mask) != dims(x):
        raise at.malformed(
            f"a mask of shape {shown(dims(mask))} for data of shape {shown(dims(x))}", "the same shape"
        )
    if (scale_h is None) != (scale_w is None):
        raise at.malformed("only one of scale_h and scale_w", "both")
    tall, wide = scale_h or scale or 2, scale_w or scale or 2
    size = (h * tall - int(pad_out_h), w * wide - int(pad_out_w))
    if upsample_h and upsample_w:
        size = (upsample_h, upsample_w)
    if min(size) < 1 or math.prod(size) < h * w:
        raise at.malformed(
            f"an output of {shown(size)} for an input of {shown((h, w))}", "an output that holds the input"
        )
    return _put_back(at, x, mask, size)


def _put_back(at: Layer, x: Value, mask: Value, size: Sequence[int]) -> Value:
    """Each value where its mask says, as a flat index into a plane of a size, and zeros elsewhere."""
    n, c, h, w = dims(x)
    nothing = from_array(np.zeros(1, np.float32))
    planes = at.op(
        "ConstantOfShape",
        at.constant(np.array([n, c, math.prod(size)], np.int64), "planes"),
        shape=(n, c, math.prod(size)),
        dtype=FLOAT,
        value=nothing,
    )
    where = at.cast(at.reshape(mask, (n, c, h * w)), INT64)
    filled = at.op("ScatterElements", planes, where, at.reshape(x, (n, c, h * w)), shape=dims(planes), axis=2)
    return at.reshape(filled, (n, c, *size))


@layer("Unpooling", param=UNPOOLING, origin="deconvnet", ignoring={"engine": ENGINE})
def unpooling(
    at: Layer,
    x: Value,
    mask: Value | None = None,
    *,
    unpool: str = "MAX",
    pad: int = 0,
    pad_h: int = 0,
    pad_w: int = 0,
    kernel_size: int | None = None,
    kernel_h: int | None = None,
    kernel_w: int | None = None,
    stride: int = 1,
    stride_h: int | None = None,
    stride_w: int | None = None,
    unpool_size: int | None = None,
    unpool_h: int | None = None,
    unpool_w: int | None = None,
) -> Value:
    """Each value back where the pooling found it, zeros elsewhere"""
    at.expect("unpool", unpool, "MAX")  # AVE and TILE add to what memory happens to hold
    if mask is None:
        raise at.unsupported("Unpooling without a mask, which forks compute in different ways", "a mask")
    if pad or pad_h or pad_w:
        raise at.malformed("a pad", "none, which is what the layer allows", at=(UNPOOLING, "pad"))
    shape = at.rank(x, 4)
    kernel = kernel_h or kernel_size or 0, kernel_w or kernel_size or 0
    steps = stride_h or stride, stride_w or stride
    if min(*kernel, *steps) < 1:
        raise at.malformed(f"a kernel of {shown(kernel)} and a stride of {shown(steps)}", "positive numbers")
    if dims(mask) != shape:
        raise at.malformed(
            f"a mask of shape {shown(dims(mask))} for data of shape {shown(shape)}", "the same shape"
        )
    asked = unpool_h or unpool_size, unpool_w or unpool_size
    size = tuple(
        want or max((d - 1) * s + k, d * s + 1)
        for want, d, s, k in zip(asked, shape[2:], steps, kernel, strict=True)
    )
    return _put_back(at, x, mask, size)
