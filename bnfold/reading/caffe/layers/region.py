"""Pooling over regions of interest: rows of (batch, x1, y1, x2, y2) in pixels of the image."""

from __future__ import annotations

from typing import NamedTuple

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


@layer("ROIPooling", param="roi_pooling_param", origin="fast-rcnn, mscnn")
def roi_pooling(
    at: Layer,
    x: Value,
    rois: Value,
    *,
    pooled_h: int = 0,
    pooled_w: int = 0,
    spatial_scale: float = 1.0,
    pooled_size: tuple[int, ...] = (),
    pad_ratio: float = 0.0,
) -> Value:
    """The maximum of each bin of each region; mscnn's pad_ratio widens a region by that part of its size on
    each side"""
    at.expect("pooled_size", pooled_size, ())
    _check_bins(at, pooled_h, pooled_w)
    channels, count = at.rank(x, 4)[1], _regions(at, rois)
    with at.build.decoding():
        rois = _widened(at, at.reshape(rois, (count, 5)), pad_ratio)
    return at.op(
        "MaxRoiPool",
        x,
        rois,
        shape=(count, channels, pooled_h, pooled_w),
        pooled_shape=[pooled_h, pooled_w],
        spatial_scale=spatial_scale,
    )


def _check_bins(at: Layer, pooled_h: int, pooled_w: int) -> None:
    if pooled_h < 1 or pooled_w < 1:
        raise at.malformed(
            f"bins of {shown((pooled_h, pooled_w))}",
            "pooled_h and pooled_w above 0",
            at=("roi_pooling_param", "pooled_h"),
        )


def _widened(at: Layer, rois: Value, ratio: float) -> Value:
    """Regions that are wider by a part of their size on each side; a corner belongs to its region, so that a
    size is one more than the difference of the corners."""
    if not ratio:
        return rois
    low, high = at.cut(rois, 1, 1, 3), at.cut(rois, 1, 3, 5)
    size = at.op("Add", at.op("Sub", high, low), at.scalar(1.0, "one"))
    pad = at.op("Mul", size, at.scalar(ratio, "pad_ratio"))
    parts = [at.cut(rois, 1, 0, 1), at.op("Sub", low, pad), at.op("Add", high, pad)]
    return at.op("Concat", *parts, shape=dims(rois), axis=1)


@layer("ROIAlign", param="roi_pooling_param", origin="cascade-rcnn, mscnn")
def roi_align(
    at: Layer,
    x: Value,
    rois: Value,
    *,
    pooled_h: int = 0,
    pooled_w: int = 0,
    spatial_scale: float = 1.0,
    pooled_size: tuple[int, ...] = (),
    pad_ratio: float = 0.0,
) -> Value:
    """One interpolated value at each of (pooled_h + 1) x (pooled_w + 1) points of a grid over each region

    The grid's corners are the region's, scaled and half a pixel less; a point outside of the map, by more
    than half a pixel, is 0, and so is a region without extent. ONNX's RoiAlign takes its samples at the
    centres of bins, so it gets a region that is half a bin larger on each side.
    """
    at.expect("pooled_size", pooled_size, ())
    _check_bins(at, pooled_h, pooled_w)
    if at.build.opset < 16:
        raise at.unsupported(
            f"opset {at.build.opset}", "opset 16 or more, whose RoiAlign aligns by half a pixel"
        )
    _, channels, height, width = at.rank(x, 4)
    count = _regions(at, rois)
    with at.build.decoding():
        rois = _widened(at, at.reshape(rois, (count, 5)), pad_ratio)
        scaled = at.op("Mul", at.cut(rois, 1, 1, 5), at.scalar(spatial_scale, "scale"))
        low, high = at.cut(scaled, 1, 0, 2), at.cut(scaled, 1, 2, 4)
        extent = at.op("Sub", high, low)
        bins = at.op("Div", extent, at.constant(np.array([[pooled_w, pooled_h]], np.float32), "bins"))
        half = at.op("Mul", bins, at.scalar(0.5, "half"))
        y = at.op(
            "RoiAlign",
            x,
            at.op("Concat", at.op("Sub", low, half), at.op("Add", high, half), shape=(count, 4), axis=1),
            at.reshape(at.cast(at.cut(rois, 1, 0, 1), INT64), (count,)),
            shape=(count, channels, pooled_h + 1, pooled_w + 1),
            output_height=pooled_h + 1,
            output_width=pooled_w + 1,
            sampling_ratio=1,
            spatial_scale=1.0,
            mode="avg",
            coordinate_transformation_mode="half_pixel",
        )
        grid = Grid(low, bins, extent, count)
        for axis, points, size, view in (
            (1, pooled_h, height, (count, 1, pooled_h + 1, 1)),
            (0, pooled_w, width, (count, 1, 1, pooled_w + 1)),
        ):
            y = at.op("Mul", y, at.reshape(_on_map(at, grid, axis, points, size), view))
        return y


class Grid(NamedTuple):
    """The grids of regions: their first points, the steps between points and their extents, (R, 2) each, with
    x before y; and how many regions there are."""

    low: Value
    step: Value
    extent: Value
    regions: int


def _on_map(at: Layer, grid: Grid, axis: int, points: int, size: int) -> Value:
    """(R, points + 1) of 1 where a point lies on the map along one axis and the region has an extent, else
    0."""
    first, step, extent = (at.cut(part, 1, axis, axis + 1) for part in (grid.low, grid.step, grid.extent))
    shape = (grid.regions, points + 1)
    at.limit_constant(points + 1)
    index = at.constant(np.arange(points + 1, dtype=np.float32)[None, :], "point")
    place = at.op("Add", at.op("Mul", step, index, shape=shape), first)
    inside = at.op(
        "And",
        at.op("GreaterOrEqual", place, at.scalar(0.0, "first"), dtype=BOOL),
        at.op("LessOrEqual", place, at.scalar(float(size), "last"), dtype=BOOL),
    )
    real = at.op("Greater", extent, at.scalar(0.0, "none"), dtype=BOOL)
    return at.cast(at.op("And", inside, real, shape=shape), FLOAT)


@layer(
    "DecodeBBox",
    param=("bbox_reg_param", "decode_bbox_param"),
    origin="mscnn, cascade-rcnn",
    ignoring={"cls_aware": "read by other layers", "gt_iou_thr": "training"},
)
def decode_bbox(
    at: Layer,
    box: Value,
    prior: Value,
    *,
    bbox_mean: tuple[float, ...] = (),
    bbox_std: tuple[float, ...] = (),
) -> Value:
    """Regions moved and resized by what a network has learned about them, (R, 5, 1, 1)

    The first bottom has two boxes for each region, of which the second, that of the foreground, counts: the
    shift of the centre by the region's size, and the logarithm of the change of the size, after
    normalisation. Boxes are kept only in part while training.
    """
    count = _regions(at, prior)
    if dims(box)[:2] != (count, 8) or any(d != 1 for d in dims(box)[2:]):
        raise at.malformed(f"boxes of shape {shown(dims(box))} for {count} regions", f"({count}, 8)")
    if len(bbox_mean) not in (0, 4) or len(bbox_std) not in (0, 4):
        raise at.malformed("'bbox_mean' or 'bbox_std' has not 4 values", "4 of each, or none")
    if at.phase == "TRAIN":
        raise at.unsupported("a choice of boxes in the phase TRAIN", "phase TEST")
    with at.build.decoding():
        prior = at.reshape(prior, (count, 5))
        low, high = at.cut(prior, 1, 1, 3), at.cut(prior, 1, 3, 5)
        one, half = at.scalar(1.0, "one"), at.scalar(0.5, "half")
        size = at.op("Add", at.op("Sub", high, low), one)
        delta = at.cut(at.reshape(box, (count, 8)), 1, 4, 8)
        if bbox_mean and bbox_std:
            mean, std = (at.constant(np.array([v], np.float32), "norm") for v in (bbox_mean, bbox_std))
            delta = at.op("Add", at.op("Mul", delta, std), mean)
        middle = at.op("Mul", at.op("Add", low, high), half)
        middle = at.op("Add", at.op("Mul", at.cut(delta, 1, 0, 2), size), middle)
        size = at.op("Mul", size, at.op("Exp", at.cut(delta, 1, 2, 4)))
        low = at.op("Sub", middle, at.op("Mul", at.op("Sub", size, one), half))
        high = at.op("Sub", at.op("Add", low, size), one)
        y = at.op("Concat", at.cut(prior, 1, 0, 1), low, high, shape=(count, 5), axis=1)
        return at.reshape(y, (count, 5, 1, 1))


@layer("PSROIPooling", param="psroi_pooling_param", origin="r-fcn, intel")
def psroi_pooling(
    at: Layer, x: Value, rois: Value, *, spatial_scale: float, output_dim: int, group_size: int
) -> Value:
    """The average of each bin of each region, bin (i, j) out of its own group of channels

    As R-FCN has it: a region is [round(x1), round(x2) + 1) times the scale, at least 0.1 long; bin i is
    [floor(i bin), ceil((i + 1) bin)) behind its start, held inside of the image; an empty bin is 0. Sums run
    over products with 0/1 masks of rows and columns.
    """
    n, c, h, w = at.rank(x, 4)
    g, count = group_size, _regions(at, rois)
    if g < 1 or output_dim < 1 or c != output_dim * g * g:
        raise at.malformed(
            f"{c} channels for {output_dim} outputs of {g} x {g} bins",
            "as many channels as outputs times bins",
            at=("psroi_pooling_param", "output_dim"),
        )
    rois = at.reshape(rois, (count, 5))
    item = at.reshape(_item(at, x, rois), (1 if n == 1 else count, output_dim, g, g, h, w))
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


def _item(at: Layer, x: Value, rois: Value) -> Value:
    """The map of each region, (R, C, H, W); a single map, (1, C, H, W), serves all."""
    (n, *rest), count = dims(x), dims(rois)[0]
    if n == 1:
        return x
    index = at.reshape(at.cast(at.cut(rois, 1, 0, 1), INT64), (count,))
    return at.op("Gather", x, index, shape=(count, *rest), axis=0)


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
