"""Pooling over regions of interest: rows of (batch, x1, y1, x2, y2) in pixels of the image."""

from __future__ import annotations

import numpy as np

from ..blob import shown
from ..layer import BOOL, FLOAT, INT64, Layer, Value, dims
from ..registry import layer


def _regions(at: Layer, rois: Value) -> int:
    """How many regions there are."""
    shape = dims(rois)
    if len(shape) not in (2, 4) or shape[1] != 5 or any(d != 1 for d in shape[2:]):
        raise at.malformed(f"regions of shape {shown(shape)}", "(R, 5)")
    return shape[0]


@layer("ROIPooling", param="roi_pooling_param", origin="fast-rcnn", ignoring={})
def roi_pooling(
    at: Layer,
    x: Value,
    rois: Value,
    *,
    pooled_h: int = 0,
    pooled_w: int = 0,
    spatial_scale: float = 1.0,
    pooled_size: tuple[int, ...] = (),
) -> Value:
    """The maximum of each bin of each region"""
    at.expect("pooled_size", pooled_size, ())
    if pooled_h < 1 or pooled_w < 1:
        raise at.malformed(
            f"bins of {shown((pooled_h, pooled_w))}",
            "pooled_h and pooled_w above 0",
            at=("roi_pooling_param", "pooled_h"),
        )
    channels, count = at.rank(x, 4)[1], _regions(at, rois)
    return at.op(
        "MaxRoiPool",
        x,
        at.reshape(rois, (count, 5)),
        shape=(count, channels, pooled_h, pooled_w),
        pooled_shape=[pooled_h, pooled_w],
        spatial_scale=spatial_scale,
    )


@layer("PSROIPooling", param="psroi_pooling_param", origin="r-fcn, intel")
def psroi_pooling(
    at: Layer, x: Value, rois: Value, *, spatial_scale: float, output_dim: int, group_size: int
) -> Value:
    """The average of each bin of each region, bin (i, j) out of its own group of channels

    As R-FCN has it: a region is [round(x1), round(x2) + 1) times the scale, at least 0.1 long; bin i is
    [floor(i bin), ceil((i + 1) bin)) behind its start, held inside of the image; an empty bin is 0. Sums run
    over products with 0/1 masks of rows and columns.
    """
    _, c, h, w = at.rank(x, 4)
    g, count = group_size, _regions(at, rois)
    if g < 1 or output_dim < 1 or c != output_dim * g * g:
        raise at.malformed(
            f"{c} channels for {output_dim} outputs of {g} x {g} bins",
            "as many channels as outputs times bins",
            at=("psroi_pooling_param", "output_dim"),
        )
    rois = at.reshape(rois, (count, 5))
    item = at.op(
        "Gather",
        x,
        at.reshape(at.cast(at.cut(rois, 1, 0, 1), INT64), (count,)),
        shape=(count, c, h, w),
        axis=0,
    )
    item = at.reshape(item, (count, output_dim, g, g, h, w))
    columns, wide = _masks(at, rois=rois, corners=(1, 3), size=w, bins=g, scale=spatial_scale, count=count)
    rows, tall = _masks(at, rois=rois, corners=(2, 4), size=h, bins=g, scale=spatial_scale, count=count)
    over_w = at.op(
        "MatMul", item, at.reshape(columns, (count, 1, 1, g, w, 1)), shape=(count, output_dim, g, g, h, 1)
    )
    total = at.op(
        "MatMul", at.reshape(rows, (count, 1, g, 1, 1, h)), over_w, shape=(count, output_dim, g, g, 1, 1)
    )
    area = at.op(
        "Mul", at.reshape(tall, (count, 1, g, 1)), at.reshape(wide, (count, 1, 1, g)), shape=(count, 1, g, g)
    )
    return at.op(
        "Div", at.reshape(total, (count, output_dim, g, g)), at.op("Max", area, at.scalar(1.0, "one"))
    )


def _masks(
    at: Layer, rois: Value, corners: tuple[int, int], size: int, bins: int, scale: float, count: int
) -> tuple[Value, Value]:
    """Along one axis: (R, bins, size), 1 inside of each bin; and (R, bins), how many pixels it has."""
    at.limit_constant(bins)
    at.limit_constant(size)
    first, last = (
        at.op(
            "Mul",
            at.op("Add", _rounded(at, at.cut(rois, 1, i, i + 1)), at.scalar(float(end), "end")),
            at.scalar(scale, "scale"),
        )
        for end, i in enumerate(corners)
    )
    step = at.op(
        "Div",
        at.op("Max", at.op("Sub", last, first), at.scalar(0.1, "shortest")),
        at.scalar(float(bins), "bins"),
    )
    limits = at.scalar(0.0, "low"), at.scalar(float(size), "high")
    edges = []
    for name, shift in (("Floor", 0), ("Ceil", 1)):
        offsets = at.constant(np.arange(shift, bins + shift, dtype=np.float32)[None, :], "bin")
        edge = at.op("Add", at.op("Mul", step, offsets, shape=(count, bins)), first)
        edges.append(at.reshape(at.op("Clip", at.op(name, edge), *limits), (count, bins, 1)))
    places = at.constant(np.arange(size, dtype=np.float32)[None, None, :], "places")
    inside = at.op(
        "And",
        at.op("GreaterOrEqual", places, edges[0], shape=(count, bins, size), dtype=BOOL),
        at.op("Less", places, edges[1], shape=(count, bins, size), dtype=BOOL),
    )
    mask = at.cast(inside, FLOAT)
    return mask, at.reduce("ReduceSum", mask, [2], keep=False)


def _rounded(at: Layer, x: Value) -> Value:
    """C's round: half away from zero."""
    half = at.op("Floor", at.op("Add", at.op("Abs", x), at.scalar(0.5, "half")))
    return at.op("Mul", half, at.op("Sign", x))
