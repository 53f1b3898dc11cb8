"""Detection layers: [yolo], [Gaussian_yolo], [region], [detection], [iseg].

Each computes the layer's result exactly, and registers a Head, so that heads.py can decode boxes from it.
"""

from __future__ import annotations

from ....errors import Malformed, Unsupported
from ....graph import ir
from .. import tree as trees
from ..dialects import Fork
from ..heads import Detection, Grid, Head, Region, Yolo
from ..layer import Feature, Layer
from ..schema import AlexeyFloat, AlexeyInt, PjInt, positive, section

GAUSSIAN = 9  # entries before the classes: x y w h, each with its sigma, and the objectness


def _entries(layer: Layer, x: Feature, anchors: int, entries: int, classes: int) -> ir.Value:
    """The input as (rows, anchors, entries, height, width). Errors: Malformed where filters and classes do not agree."""
    positive(classes=classes, num=anchors)
    image = layer.image(x)
    if x.channels != anchors * entries:
        raise Malformed(f"{x.channels} channels for {anchors} anchors of {entries} numbers ({classes} classes)",
                        expected=f"filters={anchors * entries} in the layer before")
    layer.net.expect_classes(layer, classes, anchors)
    return layer.reshape(image, [0, anchors, entries, *x.spot], "entries")


def _split(layer: Layer, entries: ir.Value, names: list[str], sizes: list[int], axis: int = 2) -> list[ir.Value]:
    """Parts of the axis of entries."""
    dims = list(entries.shape.dims) if entries.shape is not None else []
    shapes = [[*dims[:axis], size, *dims[axis + 1:]] for size in sizes]
    kept = [i for i, size in enumerate(sizes) if size]
    parts = layer.op("Split", entries, layer.ints([sizes[i] for i in kept]), outputs=[names[i] for i in kept], what="split", axis=axis,
                     shape=[shapes[i] for i in kept])
    return list(parts)


def _moved(layer: Layer, value: ir.Value, scale: float) -> ir.Value:
    """scale_x_y: s v - (s - 1) / 2."""
    if scale == 1:
        return value
    return layer.op("Sub", layer.op("Mul", value, layer.scalar(scale)), layer.scalar(0.5 * (scale - 1)), what="moved")  # type: ignore[no-any-return]


def _joined(layer: Layer, x: Feature, parts: list[ir.Value], axis: int = 2) -> Feature:
    """The parts side by side again, in the layout of the input."""
    dims = list(parts[0].shape.dims) if parts[0].shape is not None else []
    total = x.channels // int(dims[1])
    y = layer.op("Concat", *parts, axis=axis, shape=[*dims[:axis], total, *dims[axis + 1:]])
    return layer.like(layer.reshape(y, [0, *x.dims]), x)


def _anchors(layer: Layer, mask: list[int] | None, num: int, anchors: list[float] | None) -> tuple[tuple[float, float], ...]:
    """(width, height) of the anchors in the mask; 0.5 where the cfg gives none, as in darknet."""
    positive(num=num)
    chosen = list(range(num)) if mask is None else mask
    if num > 1 << 16 or any(not 0 <= m < num for m in chosen):
        raise Malformed(f"mask={','.join(map(str, chosen[:20]))} num={num}", where=layer.at("mask"), expected="indices from 0 to num - 1")
    values = [*(anchors or []), *[0.5] * (2 * num)]
    return tuple((values[2 * m], values[2 * m + 1]) for m in chosen)


@section("yolo")
def yolo(layer: Layer, x: Feature, *, classes: int = 20, num: int = 1, mask: list[int] | None = None, anchors: list[float] | None = None,
         scale_x_y: AlexeyFloat = 1.0, new_coords: AlexeyInt = 0) -> Feature:
    """Per anchor x, y, w, h, objectness, classes: the logistic of all but w and h (none with new_coords), then scale_x_y on x and y."""
    sizes = _anchors(layer, mask, num, anchors)
    entries = _entries(layer, x, len(sizes), 5 + classes, classes)
    xy, wh, rest = _split(layer, entries, ["xy", "wh", "scores"], [2, 2, 1 + classes])
    if not new_coords:
        xy, rest = layer.op("Sigmoid", xy, what="xy_logistic"), layer.op("Sigmoid", rest, what="scores_logistic")
    out = _joined(layer, x, [_moved(layer, xy, scale_x_y), wh, rest])
    layer.net.heads.append(Head(layer, x, out, classes, Yolo(Grid(*x.spot, sizes), layer.net.input_spot, squared=bool(new_coords))))
    return out


@section("Gaussian_yolo", only=Fork.ALEXEYAB)
def gaussian_yolo(layer: Layer, x: Feature, *, classes: int = 20, num: int = 1, mask: list[int] | None = None, anchors: list[float] | None = None,
                  scale_x_y: float = 1.0, yolo_point: str = "center") -> Feature:
    """Per anchor x, y, w, h with a sigma behind each, objectness, classes: the logistic of all but w and h."""
    sizes = _anchors(layer, mask, num, anchors)
    entries = _entries(layer, x, len(sizes), GAUSSIAN + classes, classes)
    names = ["x", "x_sigma", "y", "y_sigma", "w", "w_sigma", "h", "rest"]
    parts = dict(zip(names, _split(layer, entries, names, [1] * 7 + [2 + classes]), strict=True))
    for name in names:
        if name not in ("w", "h"):
            parts[name] = layer.op("Sigmoid", parts[name], what=f"{name}_logistic")
    for name in ("x", "y"):
        parts[name] = _moved(layer, parts[name], scale_x_y)
    out = _joined(layer, x, list(parts.values()))
    point = {"left_top": 0.5, "right_bottom": -0.5}.get(yolo_point, 0.0)
    layer.net.heads.append(Head(layer, x, out, classes, Yolo(Grid(*x.spot, sizes), layer.net.input_spot, gaussian=True, point=point)))
    return out


@section("region")
def region(layer: Layer, x: Feature, *, coords: int = 4, classes: int = 20, num: int = 1, softmax: int = 0, anchors: list[float] | None = None,
           tree: str = "", background: PjInt = 0) -> Feature:
    """YOLOv2's layer; the forks differ in layout and activations. Anchors are applied in decoding alone."""
    sizes = _anchors(layer, None, num, anchors)
    entries = _entries(layer, x, num, coords + 1 + classes, classes)
    if coords < 4:
        raise Unsupported(f"coords={coords}", where=layer.at("coords"), expected="at least 4")
    hierarchy = trees.read(layer, tree, classes) if tree else None
    alexeyab = layer.fork is Fork.ALEXEYAB
    if alexeyab:
        out = _region_by_cell(layer, x, entries, coords, classes, softmax, hierarchy)
    else:
        out = _region_by_plane(layer, x, entries, coords, classes, softmax, hierarchy, bool(background))
    rule = Region(Grid(*x.spot, sizes), coords, by_cell=alexeyab, background=bool(background), tree=hierarchy)
    layer.net.heads.append(Head(layer, x, out, classes, rule))
    return out


def _region_by_cell(layer: Layer, x: Feature, entries: ir.Value, coords: int, classes: int, softmax: int, tree: trees.Tree | None) -> Feature:
    """AlexeyAB: (row, column, anchor, entry); the logistic of the fifth entry alone, classes behind it raw without softmax."""
    cells = layer.transpose(entries, [0, 3, 4, 1, 2], "cells")
    parts = _split(layer, cells, ["box", "objectness", "classes", "rest"], [4, 1, classes, coords - 4], axis=4)
    parts[1] = layer.op("Sigmoid", parts[1], what="objectness_logistic")
    if tree:
        parts[2] = trees.softmax(layer, parts[2], tree)
    elif softmax:
        parts[2] = layer.op("Softmax", parts[2], axis=-1)
    dims = list(cells.shape.dims) if cells.shape is not None else None
    return layer.like(layer.op("Concat", *parts, axis=4, shape=dims), x)


def _region_by_plane(layer: Layer, x: Feature, entries: ir.Value, coords: int, classes: int, softmax: int, tree: trees.Tree | None,
                     background: bool) -> Feature:
    """pjreddie: planes as in the input; the logistic of x, y and (without background) the objectness, and of classes without softmax."""
    behind = classes + background
    parts = _split(layer, entries, ["xy", "wh", "objectness", "classes"], [2, coords - 2, 1 - background, behind])
    parts[0] = layer.op("Sigmoid", parts[0], what="xy_logistic")
    if not background:
        parts[2] = layer.op("Sigmoid", parts[2], what="objectness_logistic")
    if tree:
        if background:
            raise Unsupported("background=1 with a tree", where=layer.at("background"))
        across = layer.transpose(parts[-1], [0, 1, 3, 4, 2])
        parts[-1] = layer.transpose(trees.softmax(layer, across, tree), [0, 1, 4, 2, 3])
    elif softmax:
        parts[-1] = layer.op("Softmax", parts[-1], axis=2)
    elif background:
        first, others = _split(layer, parts[-1], ["background", "others"], [1, classes])
        parts[-1:] = [first, layer.op("Sigmoid", others, what="classes_logistic")]
    else:
        parts[-1] = layer.op("Sigmoid", parts[-1], what="classes_logistic")
    return _joined(layer, x, parts)


@section("detection")
def detection(layer: Layer, x: Feature, *, classes: int = 1, coords: int = 1, side: int = 7, num: int = 1, softmax: int = 0, sqrt: int = 0) -> Feature:
    """YOLOv1's layer: flat, first the classes of all cells, then the objectness, then the boxes; copied, with softmax=1 softmax per cell."""
    positive(classes=classes, coords=coords, side=side, num=num)
    cells, flat = side * side, layer.flat(x)
    if x.size != cells * ((1 + coords) * num + classes):
        raise Malformed(f"{x.size} numbers for side={side} num={num} coords={coords} classes={classes}",
                        expected=f"output={cells * ((1 + coords) * num + classes)} in the layer before")
    out = layer.feature(flat, x.size)
    if softmax:
        first, rest = _split(layer, flat, ["classes", "rest"], [cells * classes, x.size - cells * classes], axis=1)
        shares = layer.op("Softmax", layer.reshape(first, [0, cells, classes]), axis=-1)
        out.value = layer.op("Concat", layer.reshape(shares, [0, cells * classes]), rest, axis=1, shape=[layer.net.rows, x.size])
    layer.net.heads.append(Head(layer, x, out, classes, Detection(side, num, coords, squared=bool(sqrt))))
    return out


@section("iseg", only=Fork.PJREDDIE)
def iseg(layer: Layer, x: Feature, *, classes: int = 20, ids: int = 32) -> Feature:
    """Instance segmentation: the logistic of the first `classes` planes, embeddings behind them raw."""
    positive(classes=classes, ids=ids)
    if x.channels != classes + ids:
        raise Malformed(f"{x.channels} channels for {classes} classes and {ids} ids", expected=f"filters={classes + ids} in the layer before")
    planes, rest = _split(layer, layer.image(x), ["classes", "ids"], [classes, ids], axis=1)
    return layer.like(layer.op("Concat", layer.op("Sigmoid", planes), rest, axis=1, shape=layer.shape(x)), x)


