"""Detection layers: [yolo], [Gaussian_yolo], [region], [detection], [iseg].

Each computes the layer's result exactly, and returns it in a Head, from which heads.py can decode boxes.
"""

from __future__ import annotations

from math import nan

from ....errors import Malformed, Unsupported
from ....ir.graph import ir
from .. import tree as trees
from ..dialects import Fork
from ..heads import Detection, Grid, Head, Region, Yolo
from ..layer import Layer, dims_of
from ..network import Feature
from ..schema import AlexeyFloat, AlexeyInt, PjInt, positive, section

MOST_ANCHORS = 1 << 16
_MOVES = ("Identity", "Reshape", "Slice", "Concat")  # what [route], [dropout] and the like are made of
GAUSSIAN = 9  # entries before the classes: x y w h, each with its sigma, and the objectness


def _entries(layer: Layer, x: Feature, anchors: int, entries: int, classes: int) -> ir.Value:
    """The input as (rows, anchors, entries, height, width). Errors: Malformed where filters and classes do
    not agree."""
    positive(classes=classes, num=anchors)
    image = layer.image(x)
    if x.channels != anchors * entries:
        raise Malformed(
            f"{x.channels} channels for {anchors} anchors of {entries} numbers ({classes} classes)",
            expected=f"filters={anchors * entries} in the layer before",
        )
    layer.network.expect_classes(layer.index, classes, anchors)
    return layer.reshape(image, [0, anchors, entries, *x.spot], "entries")


def _moved(layer: Layer, value: ir.Value, scale: float) -> ir.Value:
    """scale_x_y: s v - (s - 1) / 2, as v + (s - 1) (v - 1/2): with v read twice no fold can move it into the
    layer before, whose result is what users of raw heads ask for by name."""
    if scale == 1:
        return value
    with layer.network.build.decoding():  # nodes of ours, which the plan does not list
        beyond = layer.op(
            "Mul",
            layer.op("Sub", value, layer.scalar(0.5), what="centred"),
            layer.scalar(scale - 1),
            what="beyond",
        )
        return layer.op("Add", value, beyond, what="moved")


def _logistic(layer: Layer, parts: dict[str, ir.Value], *names: str) -> None:
    """The logistic of some of the parts, in place."""
    for name in names:
        parts[name] = layer.op("Sigmoid", parts[name], what=f"{name}_logistic")


def _joined(layer: Layer, x: Feature, entries: ir.Value, parts: dict[str, ir.Value]) -> Feature:
    """The parts side by side again, in the layout of the input."""
    y = (
        layer.op("Concat", *parts.values(), axis=2, shape=dims_of(entries))
        if len(parts) > 1
        else next(iter(parts.values()))
    )
    return layer.like(layer.reshape(y, [0, *x.dims]), x)


def _anchors(
    layer: Layer, mask: list[int] | None, num: int, anchors: list[float] | None
) -> tuple[tuple[float, float], ...]:
    """(width, height) of the anchors in the mask; 0.5 where the cfg gives none, as in darknet; NaN beyond
    darknet's own memory."""
    positive(num=num)
    if num > MOST_ANCHORS or any(not 0 <= m < MOST_ANCHORS for m in mask or ()):
        raise Malformed(
            f"mask={','.join(map(str, (mask or [])[:20]))} num={num}",
            where=layer.at("mask" if mask else "num"),
            expected="indices from 0 to num - 1",
        )
    if anchors and len(anchors) != 2 * num:
        layer.warn(
            "anchors",
            f"'anchors' has {len(anchors)} numbers, and num={num} anchors have {2 * num}: "
            + (
                "those that are missing count as 0.5"
                if len(anchors) < 2 * num
                else "darknet has no room for the others"
            ),
            "anchors",
        )
    chosen = mask or list(range(num))
    if max(chosen) >= num:
        layer.warn(
            "anchors",
            f"the mask names anchor {max(chosen)}, but num={num}: darknet decodes boxes from memory "
            "behind them",
            "mask",
        )
    values = (anchors or [])[: 2 * MOST_ANCHORS]
    values += [0.5 if at < 2 * num else nan for at in range(len(values), 2 * max(num, *chosen) + 2)]
    return tuple((values[2 * m], values[2 * m + 1]) for m in chosen)


def _between_0_and_1(value: ir.Value) -> bool:
    """Does a value come out of logistics, whatever rearranges and joins them?"""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or node.op_type not in ("Sigmoid", *_MOVES):
            return False
        if node.op_type != "Sigmoid" and value not in seen:
            seen.add(value)
            waiting.extend(v for v in (node.inputs if node.op_type == "Concat" else node.inputs[:1]) if v)
    return True


@section("yolo")
def yolo(
    layer: Layer,
    x: Feature,
    *,
    classes: int = 20,
    num: int = 1,
    mask: list[int] | None = None,
    anchors: list[float] | None = None,
    scale_x_y: AlexeyFloat = 1.0,
    new_coords: AlexeyInt = 0,
) -> Head:
    """Per anchor x, y, w, h, objectness, classes: the logistic of all but w and h (none with new_coords),
    then scale_x_y on x and y."""
    sizes = _anchors(layer, mask, num, anchors)
    entries = _entries(layer, x, len(sizes), 5 + classes, classes)
    parts = layer.split(entries, 2, {"xy": 2, "wh": 2, "scores": 1 + classes})
    if not new_coords:
        _logistic(layer, parts, "xy", "scores")
    elif not _between_0_and_1(layer.image(x)):
        layer.warn(
            "new_coords",
            "new_coords=1 takes the layer before for numbers from 0 to 1, but it does not end with "
            "activation=logistic",
            "new_coords",
        )
    parts["xy"] = _moved(layer, parts["xy"], scale_x_y)
    out = _joined(layer, x, entries, parts)
    rule = Yolo(Grid(*x.spot, sizes), layer.network.input_spot, squared=bool(new_coords))
    return Head(layer, x, out, classes, rule)


@section("yolo4", only=Fork.ALEXEYAB, meaning="the [yolo] that sowson's fork calls [yolo4]")
def yolo4(
    layer: Layer,
    x: Feature,
    *,
    classes: int = 20,
    num: int = 1,
    mask: list[int] | None = None,
    anchors: list[float] | None = None,
    scale_x_y: float = 1.0,
    new_coords: int = 0,
) -> Head:
    """What sowson's fork (src/yolo4_layer.c) calls AlexeyAB's [yolo], to tell it from pjreddie's."""
    layer.note("yolo4", "[yolo4] is sowson's name for AlexeyAB's [yolo], and is read as [yolo]")
    head: Head = yolo(
        layer,
        x,
        classes=classes,
        num=num,
        mask=mask,
        anchors=anchors,
        scale_x_y=scale_x_y,
        new_coords=new_coords,
    )
    return head


@section("Gaussian_yolo", only=Fork.ALEXEYAB)
def gaussian_yolo(
    layer: Layer,
    x: Feature,
    *,
    classes: int = 20,
    num: int = 1,
    mask: list[int] | None = None,
    anchors: list[float] | None = None,
    scale_x_y: float = 1.0,
    yolo_point: str = "center",
) -> Head:
    """Per anchor x, y, w, h with a sigma behind each, objectness, classes: the logistic of all but w and
    h."""
    sizes = _anchors(layer, mask, num, anchors)
    entries = _entries(layer, x, len(sizes), GAUSSIAN + classes, classes)
    parts = layer.split(
        entries,
        2,
        {"x": 1, "x_sigma": 1, "y": 1, "y_sigma": 1, "w": 1, "w_sigma": 1, "h": 1, "rest": 2 + classes},
    )
    _logistic(layer, parts, "x", "x_sigma", "y", "y_sigma", "w_sigma", "rest")
    for name in ("x", "y"):
        parts[name] = _moved(layer, parts[name], scale_x_y)
    out = _joined(layer, x, entries, parts)
    point = {"left_top": 0.5, "right_bottom": -0.5}.get(yolo_point, 0.0)
    rule = Yolo(Grid(*x.spot, sizes), layer.network.input_spot, gaussian=True, point=point)
    return Head(layer, x, out, classes, rule)


@section("region")
def region(
    layer: Layer,
    x: Feature,
    *,
    coords: int = 4,
    classes: int = 20,
    num: int = 1,
    softmax: int = 0,
    anchors: list[float] | None = None,
    tree: str = "",
    background: PjInt = 0,
) -> Head:
    """YOLOv2's layer; the forks differ in layout and activations. Anchors are applied in decoding alone."""
    sizes = _anchors(layer, None, num, anchors)
    entries = _entries(layer, x, num, coords + 1 + classes, classes)
    if coords < 4:
        raise Unsupported(f"coords={coords}", where=layer.at("coords"), expected="at least 4")
    hierarchy = trees.read_tree(layer, tree, classes, part=True) if tree else None
    rule = Region(
        grid=Grid(*x.spot, sizes),
        coords=coords,
        classes=classes,
        softmax=bool(softmax),
        by_cell=layer.fork is Fork.ALEXEYAB,
        background=bool(background),
        tree=hierarchy,
    )
    out = (_region_by_cell if rule.by_cell else _region_by_plane)(layer, x, entries, rule)
    return Head(layer, x, out, classes, rule)


def _region_by_cell(layer: Layer, x: Feature, entries: ir.Value, rule: Region) -> Feature:
    """AlexeyAB: (row, column, anchor, entry); the logistic of the fifth entry alone, classes behind it raw
    without softmax."""
    cells = layer.transpose(entries, [0, 3, 4, 1, 2], "cells")
    parts = layer.split(
        cells, 4, {"box": 4, "objectness": 1, "classes": rule.classes, "rest": rule.coords - 4}
    )
    _logistic(layer, parts, "objectness")
    if rule.tree:
        parts["classes"] = trees.softmax(layer, parts["classes"], rule.tree)
    elif rule.softmax:
        parts["classes"] = layer.op("Softmax", parts["classes"], axis=-1)
    return layer.like(layer.op("Concat", *parts.values(), axis=4, shape=dims_of(cells)), x)


def _region_by_plane(layer: Layer, x: Feature, entries: ir.Value, rule: Region) -> Feature:
    """pjreddie: planes as in the input; the logistic of x, y and (without background) the objectness, and of
    classes without softmax. With background the objectness is one more class in front of the others."""
    behind = (
        {"classes": 1 + rule.classes}
        if rule.background and rule.softmax
        else {"objectness": 1, "classes": rule.classes}
    )
    parts = layer.split(entries, 2, {"xy": 2, "wh": rule.coords - 2, **behind})
    _logistic(layer, parts, "xy", *(() if rule.background else ("objectness",)))
    if rule.tree:
        if rule.background:
            raise Unsupported("background=1 with a tree", where=layer.at("background"))
        across = layer.transpose(parts["classes"], [0, 1, 3, 4, 2])
        parts["classes"] = layer.transpose(trees.softmax(layer, across, rule.tree), [0, 1, 4, 2, 3])
    elif rule.softmax:
        parts["classes"] = layer.op("Softmax", parts["classes"], axis=2)
    else:
        _logistic(layer, parts, "classes")
    return _joined(layer, x, entries, parts)


@section("detection")
def detection(
    layer: Layer,
    x: Feature,
    *,
    classes: int = 1,
    coords: int = 1,
    side: int = 7,
    num: int = 1,
    softmax: int = 0,
    sqrt: int = 0,
) -> Head:
    """YOLOv1's layer: flat, the classes of all cells, then the objectness, then the boxes; copied, with
    softmax=1 softmax per cell."""
    positive(coords=coords, side=side, num=num)
    if classes < 0:
        raise Malformed(f"classes={classes}", expected="a number of classes, or 0")
    cells, flat = side * side, layer.flat(x)
    if x.size != cells * ((1 + coords) * num + classes):
        raise Malformed(
            f"{x.size} numbers for side={side} num={num} coords={coords} classes={classes}",
            expected=f"output={cells * ((1 + coords) * num + classes)} in the layer before",
        )
    out = layer.feature(flat, x.size)
    if softmax and classes:
        parts = layer.split(flat, 1, {"classes": cells * classes, "rest": x.size - cells * classes})
        shares = layer.op("Softmax", layer.reshape(parts["classes"], [0, cells, classes]), axis=-1)
        out.value = layer.op(
            "Concat",
            layer.reshape(shares, [0, cells * classes]),
            parts["rest"],
            axis=1,
            shape=[layer.network.rows, x.size],
        )
    return Head(layer, x, out, classes, Detection(side, num, coords, squared=bool(sqrt)))


@section("iseg", only=Fork.PJREDDIE)
def iseg(layer: Layer, x: Feature, *, classes: int = 20, ids: int = 32) -> Feature:
    """Instance segmentation: the logistic of the first `classes` planes, embeddings behind them raw."""
    positive(classes=classes, ids=ids)
    if x.channels != classes + ids:
        raise Malformed(
            f"{x.channels} channels for {classes} classes and {ids} ids",
            expected=f"filters={classes + ids} in the layer before",
        )
    parts = layer.split(layer.image(x), 1, {"classes": classes, "ids": ids})
    _logistic(layer, parts, "classes")
    return layer.like(layer.op("Concat", *parts.values(), axis=1, shape=layer.shape(x)), x)
