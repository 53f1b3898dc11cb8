"""Layers that move values without changing them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ..blob import shown
from ..layer import BOOL, Layer, Value, dims
from ..registry import ENGINE, layer
from ..schema import Node


@layer("Split", param="split_param", role="identity", ignoring={"engine": ENGINE})
def split(at: Layer, x: Value) -> list[Value]:
    """The same blob under several names"""
    return [x] * len(at.tops)


@layer("Silence", role="sink", inplace=True)
def silence(at: Layer, *xs: Value) -> list[Value]:
    """Nothing: it hides blobs from the outputs"""
    return []


@layer("Concat", param="concat_param", ignoring={"engine": ENGINE, "per_fla_fuse": ENGINE})
def concat(at: Layer, first: Value, *more: Value, axis: int = 1, concat_dim: int = 1) -> Value:
    """Blobs one behind the other along an axis; concat_dim is the old name of it."""
    given = at.node.get("concat_param")
    if given is not None and given.has("axis") and given.has("concat_dim"):
        raise at.malformed("'axis' beside 'concat_dim'", "one of them", at=("concat_param", "concat_dim"))
    old = given is not None and given.has("concat_dim")
    shape = dims(first)
    where = at.axis(
        concat_dim if old else axis, len(shape), ("concat_param", "concat_dim" if old else "axis")
    )
    for x in more:
        if len(dims(x)) != len(shape) or any(
            a != b for i, (a, b) in enumerate(zip(dims(x), shape, strict=True)) if i != where
        ):
            raise at.malformed(
                f"bottoms of shapes {shown(shape)} and {shown(dims(x))}",
                f"shapes that agree but on axis {where}",
            )
    if not more:
        return first
    total = sum(dims(x)[where] for x in (first, *more))
    return at.op("Concat", first, *more, shape=(*shape[:where], total, *shape[where + 1 :]), axis=where)


@layer("Slice", param="slice_param")
def slice_(
    at: Layer, x: Value, *, axis: int = 1, slice_point: tuple[int, ...] = (), slice_dim: int = 1
) -> list[Value] | tuple[Value, ...]:
    """A blob in pieces along an axis: at absolute points, or in equal parts; slice_dim is the old name of the
    axis."""
    given = at.node.get("slice_param")
    old = given is not None and given.has("slice_dim")
    if old and given is not None and given.has("axis"):
        raise at.malformed("'axis' beside 'slice_dim'", "one of them", at=("slice_param", "slice_dim"))
    shape, count = dims(x), len(at.tops)
    where = at.axis(slice_dim if old else axis, len(shape), ("slice_param", "slice_dim" if old else "axis"))
    size = shape[where]
    if slice_point:
        edges = [0, *slice_point, size]
        if len(slice_point) != count - 1 or any(b <= a for a, b in pairwise(edges)):
            raise at.malformed(
                f"slice points {shown(slice_point)} for {count} tops of an axis of {size}",
                f"{count - 1} ascending points inside",
                at=("slice_param", "slice_point"),
            )
        sizes = [b - a for a, b in pairwise(edges)]
    else:
        if size % count:
            raise at.malformed(f"an axis of {size} in {count} equal parts", f"a multiple of {count}")
        sizes = [size // count] * count
    if count == 1:
        return [x]
    return at.ops(
        "Split",
        x,
        at.constant(np.array(sizes, np.int64), "sizes"),
        shapes=[(*shape[:where], n, *shape[where + 1 :]) for n in sizes],
        axis=where,
    )


@layer("Reshape", param="reshape_param")
def reshape(
    at: Layer,
    x: Value,
    *,
    shape: Node | None = None,
    axis: int = 0,
    num_axes: int = -1,
    pixelshuffler: int = 1,
) -> Value:
    """Other dimensions for the axes [axis, axis + num_axes): 0 copies the bottom's at that place, -1 is
    inferred."""
    at.expect("pixelshuffler", pixelshuffler, 1)
    old = dims(x)
    first = axis if axis >= 0 else len(old) + axis + 1
    last = len(old) if num_axes == -1 else first + num_axes
    if not 0 <= first <= last <= len(old) or num_axes < -1:
        raise at.malformed(
            f"{num_axes} axes from axis {axis} on, of a bottom of shape {shown(old)}",
            "axes that it has",
            at=("reshape_param", "axis"),
        )
    wanted = [int(d) for d in shape.all("dim")] if shape is not None else []
    new = []
    for i, d in enumerate(wanted):
        if d == 0 and first + i >= len(old):
            raise at.malformed(
                f"dim 0 at position {i} copies axis {first + i} of a bottom of shape {shown(old)}",
                "an axis that it has",
                at=("reshape_param", "shape"),
            )
        new.append(old[first + i] if d == 0 else d)
    result = [*old[:first], *new, *old[last:]]
    if new.count(-1) > 1 or any(d < -1 for d in new):
        raise at.malformed(
            f"a shape of {shown(wanted)}",
            "at most one -1, and no other negative number",
            at=("reshape_param", "shape"),
        )
    if -1 in new:
        rest = math.prod(d for d in result if d != -1)
        result[result.index(-1)] = math.prod(old) // rest if rest and math.prod(old) % rest == 0 else 0
    if math.prod(result) != math.prod(old):
        raise at.malformed(
            f"a bottom of shape {shown(old)} as {shown(wanted)}",
            "the same number of values",
            at=("reshape_param", "shape"),
        )
    return at.reshape(x, result)


@layer("Flatten", param="flatten_param")
def flatten(at: Layer, x: Value, *, axis: int = 1, end_axis: int = -1) -> Value:
    """The axes from `axis` to `end_axis` as one"""
    shape = dims(x)
    first, last = (
        at.axis(axis, len(shape), ("flatten_param", "axis")),
        at.axis(end_axis, len(shape), ("flatten_param", "end_axis")),
    )
    if last < first:
        raise at.malformed(
            f"end_axis {end_axis} before axis {axis}",
            "an end_axis that is not before axis",
            at=("flatten_param", "end_axis"),
        )
    target = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    if first == 1 and last == len(shape) - 1 and len(shape) != 2:
        return at.op("Flatten", x, shape=target, axis=1)
    return at.reshape(x, target)


@layer("Crop", param="crop_param")
def crop(at: Layer, x: Value, like: Value, *, axis: int = 2, offset: tuple[int, ...] = ()) -> Value:
    """The second bottom's sizes on the axes from `axis` on, out of the first, at an offset"""
    shape, target = dims(x), dims(like)
    first = at.axis(axis, len(shape), ("crop_param", "axis"))
    if len(target) != len(shape):
        raise at.malformed(f"bottoms of shapes {shown(shape)} and {shown(target)}", "the same number of axes")
    if len(offset) > 1 and len(offset) != len(shape) - first:
        raise at.malformed(
            f"{len(offset)} offsets for {len(shape) - first} axes",
            "no offset, one, or one for each axis",
            at=("crop_param", "offset"),
        )
    offsets = offset * (len(shape) - first) if len(offset) == 1 else offset or (0,) * (len(shape) - first)
    boxes = [(start, start + size) for start, size in zip(offsets, target[first:], strict=True)]
    if any(stop > size for (_, stop), size in zip(boxes, shape[first:], strict=True)):
        raise at.malformed(
            f"a crop to {shown(target)} at offset {shown(offsets)} out of {shown(shape)}",
            "a crop that lies inside",
            at=("crop_param", "offset"),
        )
    return _cropped(at, x, {first + i: box for i, box in enumerate(boxes)})


def _cropped(at: Layer, x: Value, boxes: dict[int, tuple[int, int]]) -> Value:
    """x[start:stop] along some axes."""
    axes = sorted(i for i, (start, stop) in boxes.items() if (start, stop) != (0, dims(x)[i]))
    if not axes:
        return x
    starts, ends = (
        at.constant(np.array([boxes[i][which] for i in axes], np.int64), what)
        for which, what in ((0, "starts"), (1, "ends"))
    )
    shape = [boxes[i][1] - boxes[i][0] if i in axes else d for i, d in enumerate(dims(x))]
    return at.op("Slice", x, starts, ends, at.constant(np.array(axes, np.int64), "axes"), shape=shape)


@layer("CropCenter", param="crop_center_param", origin="waifu2x")
def crop_center(at: Layer, x: Value, *, crop_size: tuple[int, ...] = ()) -> Value:
    """Without crop_size[i] values at both ends of axis i"""
    shape = dims(x)
    if len(crop_size) > len(shape) or any(2 * c >= n for c, n in zip(crop_size, shape, strict=False)):
        raise at.malformed(
            f"a margin of {shown(crop_size)} off {shown(shape)}",
            "margins that leave at least one value",
            at=("crop_center_param", "crop_size"),
        )
    return _cropped(at, x, {i: (c, shape[i] - c) for i, c in enumerate(crop_size)})


@layer("Tile", param="tile_param")
def tile(at: Layer, x: Value, *, axis: int = 1, tiles: int) -> Value:
    """The whole blob several times along an axis"""
    shape = dims(x)
    where = at.axis(axis, len(shape), ("tile_param", "axis"))
    if tiles < 1:
        raise at.malformed(f"tiles is {tiles}", "a positive number", at=("tile_param", "tiles"))
    repeats = [tiles if i == where else 1 for i in range(len(shape))]
    return at.op(
        "Tile",
        x,
        at.constant(np.array(repeats, np.int64), "repeats"),
        shape=[d * r for d, r in zip(shape, repeats, strict=True)],
    )


@layer("Permute", param="permute_param", origin="ssd")
def permute(at: Layer, x: Value, *, order: tuple[int, ...] = ()) -> Value:
    """A transposition; axes that are not listed follow in ascending order"""
    rank = len(dims(x))
    if len(set(order)) != len(order) or any(i >= rank for i in order):
        raise at.malformed(
            f"order {shown(order)} of a bottom with {rank} axes",
            "each axis at most once",
            at=("permute_param", "order"),
        )
    return at.transpose(x, [*order, *(i for i in range(rank) if i not in order)])


@layer("ShuffleChannel", param="shuffle_channel_param", origin="shufflenet")
def shuffle_channel(at: Layer, x: Value, *, group: int = 1) -> Value:
    """Channels seen as (group, channels / group), transposed"""
    n, c, *rest = dims(x) if len(dims(x)) > 1 else (0, 0)
    if group < 1 or not c or c % group:
        raise at.malformed(
            f"group {group} for a bottom of shape {shown(dims(x))}",
            "a divisor of its channels",
            at=("shuffle_channel_param", "group"),
        )
    grouped = at.reshape(x, (n, group, c // group, *rest))
    return at.reshape(at.transpose(grouped, [0, 2, 1, *range(3, 3 + len(rest))]), (n, c, *rest))


@layer("Reorg", param="reorg_param", origin="mobilenet-yolo, intel")
def reorg(at: Layer, x: Value, *, stride: int, reverse: bool = False) -> Value:
    """Space to depth as darknet's YOLOv2 has it, quirk included: forward, the buffer is read as if it had the
    other shape."""
    n, c, h, w = at.rank(x, 4)
    s = stride
    if s < 1 or c % (s * s) or (not reverse and (h % s or w % s)):
        raise at.malformed(
            f"stride {s} for a bottom of shape {shown(dims(x))}",
            "a number of channels that is a multiple of its square"
            + ("" if reverse else ", height and width in multiples of it"),
            at=("reorg_param", "stride"),
        )
    out = c // (s * s)
    if reverse:
        blocks = at.transpose(at.reshape(x, (n, s, s, out, h, w)), [0, 3, 4, 1, 5, 2])
        return at.reshape(blocks, (n, out, h * s, w * s))
    blocks = at.transpose(at.reshape(x, (n, out, h, s, w, s)), [0, 3, 5, 1, 2, 4])
    return at.reshape(blocks, (n, c * s * s, h // s, w // s))


@layer("Transpose", param="transpose_param", origin="ctpn")
def transpose(at: Layer, x: Value, *, dim: tuple[int, ...] = ()) -> Value:
    """Axis i of the result is axis dim(i) of the bottom; every axis once"""
    if sorted(dim) != list(range(len(dims(x)))):
        raise at.malformed(
            f"axes {shown(dim)} of a bottom of shape {shown(dims(x))}",
            "every axis once",
            at=("transpose_param", "dim"),
        )
    return at.transpose(x, dim)


@layer("Reverse", param="reverse_param", origin="ctpn")
def reverse(at: Layer, x: Value, *, axis: int = 0) -> Value:
    """The order along one axis turned round"""
    where = at.axis(axis, len(dims(x)), ("reverse_param", "axis"))
    return _turned(at, x, where)


def _turned(at: Layer, x: Value, axis: int) -> Value:
    return at.cut(x, axis, dims(x)[axis] - 1, -1, -1)


@layer("Flip", param="flip_param", origin="normface")
def flip(at: Layer, x: Value, *, flip_width: bool = True, flip_height: bool = False) -> Value:
    """An image mirrored along its width, its height, or both"""
    at.rank(x, 4)
    for axis, asked in ((3, flip_width), (2, flip_height)):
        x = _turned(at, x, axis) if asked else x
    return x


@layer("BatchReindex")
def batch_reindex(at: Layer, x: Value, index: Value) -> Value:
    """Items of the batch, picked by index"""
    (count,) = at.rank(index, 1)
    return at.op("Gather", x, at.indices(index, dims(x)[0]), shape=(count, *dims(x)[1:]), axis=0)


@layer("Filter")
def filter_(at: Layer, first: Value, *more: Value) -> list[Value]:
    """Items of the batch whose selector, the last bottom, is not 0; how many these are is known at run time
    alone"""
    *xs, selector = first, *more
    batch = dims(selector)[0] if dims(selector) else 0
    if not xs or math.prod(dims(selector)) != batch or any(dims(x)[:1] != (batch,) for x in xs):
        raise at.malformed(
            f"{len(xs)} blobs and a selector of shape {shown(dims(selector))}",
            "blobs, and a selector with one value for each item",
        )
    chosen = at.cast(at.reshape(selector, (batch,)), BOOL)
    return [at.op("Compress", x, chosen, shape=(f"{at.name}/kept", *dims(x)[1:]), axis=0) for x in xs]
