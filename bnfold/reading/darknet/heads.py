"""Decoded boxes (--heads boxes): what darknet computes from a detection layer's result, before any threshold
or suppression.

    boxes    (rows, boxes, 4)        centre x, centre y, width, height, as parts of the input picture (0 to 1)
    scores   (rows, boxes, classes)  objectness times class

Rows of one head follow darknet: cell by cell (left to right, top to bottom), anchor by anchor; heads follow
the cfg.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...errors import Malformed, Unsupported, blamed_on
from ...ir.graph import ir
from ...records import dataclass
from . import tree as trees
from .layer import Layer, dims_of
from .network import Feature

MOST_BOXES = 1 << 20


class Rule(Protocol):
    """How a head's result becomes boxes and scores."""

    def decode(self, layer: Layer, result: Feature) -> tuple[ir.Value, ir.Value]:
        """(boxes, scores) of a head."""


@dataclass(frozen=True)
class Head:
    """One detection layer: what it reads, what it gives, and the rule."""

    layer: Layer
    source: Feature
    result: Feature
    classes: int
    rule: Rule


@dataclass(frozen=True)
class Grid:
    """Cells and anchors (width, height) of a head."""

    height: int
    width: int
    anchors: tuple[tuple[float, float], ...]

    @property
    def boxes(self) -> int:
        """How many boxes the head has."""
        return self.height * self.width * len(self.anchors)

    def corners(self) -> np.ndarray:
        """(1, boxes, 2): column and row of every box."""
        rows, columns = np.divmod(np.arange(self.height * self.width), self.width)
        return np.repeat(np.stack([columns, rows], axis=1), len(self.anchors), axis=0)[None].astype(
            np.float32
        )

    def sizes(self, width: float, height: float) -> np.ndarray:
        """(1, boxes, 2): the anchor of every box over (width, height). Errors: Malformed where the cfg has no
        such anchor."""
        if not np.isfinite(self.anchors).all():
            raise Malformed(
                "the mask names an anchor that the cfg does not have",
                expected="two numbers in 'anchors' for each index",
            )
        return np.tile(np.array(self.anchors, np.float64) / (width, height), (self.height * self.width, 1))[
            None
        ].astype(np.float32)


def _rows(layer: Layer, result: Feature, grid: Grid, entries: int, by_cell: bool = False) -> ir.Value:
    """The result as (rows, boxes, entries). Errors: Unsupported for grids that no network has."""
    if grid.boxes > MOST_BOXES:
        raise Unsupported(f"{grid.boxes:,} boxes", expected=f"at most {MOST_BOXES:,}")
    if by_cell:
        return layer.reshape(result.value, [0, grid.boxes, entries], "rows")  # type: ignore[arg-type]
    planes = layer.reshape(
        layer.image(result), [0, len(grid.anchors), entries, grid.height, grid.width], "planes"
    )
    return layer.reshape(layer.transpose(planes, [0, 3, 4, 1, 2]), [0, grid.boxes, entries], "rows")


def _part(layer: Layer, rows: ir.Value, what: str, *columns: int) -> ir.Value:
    """Columns start, stop, step of the last axis."""
    dims = dims_of(rows)
    start, stop, step = (*columns, 1)[:3]
    return layer.op(
        "Slice",
        rows,
        layer.ints([start]),
        layer.ints([stop]),
        layer.ints([2]),
        layer.ints([step]),
        what=what,
        shape=[*dims[:2], -(-(stop - start) // step)],
    )


def _boxes(layer: Layer, centre: ir.Value, size: ir.Value) -> ir.Value:
    dims = dims_of(centre)
    return layer.op("Concat", centre, size, what="boxes", axis=2, shape=[*dims[:2], 4])


def _centre(layer: Layer, xy: ir.Value, grid: Grid) -> ir.Value:
    """(xy + corner) / (width, height) of the grid."""
    moved = layer.op("Add", xy, layer.constant("corners", grid.corners()))
    return layer.op(
        "Div",
        moved,
        layer.constant("cells", np.array([[[grid.width, grid.height]]], np.float32)),
        what="centre",
    )


@dataclass(frozen=True)
class Yolo:
    """[yolo] and [Gaussian_yolo]. `spot` is (height, width) of the input, in whose pixels anchors are;
    `squared`: new_coords; `point`: how many box sizes lie between the point that was learned and the
    centre."""

    grid: Grid
    spot: tuple[int, int]
    squared: bool = False
    gaussian: bool = False
    point: float = 0.0

    def decode(self, layer: Layer, result: Feature) -> tuple[ir.Value, ir.Value]:
        """Centre (v + cell) / grid, size e^v anchor / input, or (2 v)^2 anchor / input with new_coords."""
        entries = result.channels // len(self.grid.anchors)
        rows = _rows(layer, result, self.grid, entries)
        step, first = (2, 9) if self.gaussian else (1, 5)
        wh = _part(layer, rows, "wh", 2 * step, 4 * step, step)
        power = (
            layer.op("Mul", layer.op("Mul", wh, wh), layer.scalar(4)) if self.squared else layer.op("Exp", wh)
        )
        size = layer.op(
            "Mul", power, layer.constant("anchors", self.grid.sizes(self.spot[1], self.spot[0])), what="size"
        )
        centre = _centre(layer, _part(layer, rows, "xy", 0, 2 * step, step), self.grid)
        if self.point:
            centre = layer.op("Add", centre, layer.op("Mul", size, layer.scalar(self.point)))
        score = layer.op(
            "Mul",
            _part(layer, rows, "classes", first, entries),
            _part(layer, rows, "objectness", first - 1, first),
        )
        if self.gaussian:
            sigma = layer.reduce("ReduceMean", _part(layer, rows, "sigmas", 1, 8, 2), 2, what="uncertainty")
            certain = layer.op(
                "Add", layer.op("Mul", sigma, layer.scalar(-1)), layer.scalar(1), what="certainty"
            )
            score = layer.op("Mul", score, certain)
        return _boxes(layer, centre, size), score


@dataclass(frozen=True)
class Region:
    """[region]: anchors in cells; `by_cell` is AlexeyAB's layout, whose x and y are still raw."""

    grid: Grid
    coords: int
    classes: int
    softmax: bool
    by_cell: bool
    background: bool
    tree: trees.Tree | None

    def decode(self, layer: Layer, result: Feature) -> tuple[ir.Value, ir.Value]:
        """Centre (sg(v) + cell) / grid, size e^v anchor / grid; with a tree a class counts with all its
        ancestors."""
        entries = result.channels // len(self.grid.anchors)
        rows = _rows(layer, result, self.grid, entries, self.by_cell)
        xy = _part(layer, rows, "xy", 0, 2)
        centre = _centre(layer, layer.op("Sigmoid", xy) if self.by_cell else xy, self.grid)
        anchors = layer.constant("anchors", self.grid.sizes(self.grid.width, self.grid.height))
        size = layer.op("Mul", layer.op("Exp", _part(layer, rows, "wh", 2, 4)), anchors, what="size")
        objectness = 4 if self.by_cell else self.coords
        first = self.coords if self.background else objectness + 1
        score = _part(layer, rows, "classes", first, first + self.classes)
        if self.tree:
            score = trees.multiplied(layer, score, self.tree)
        if not self.background:
            score = layer.op("Mul", score, _part(layer, rows, "objectness", objectness, objectness + 1))
        return _boxes(layer, centre, size), score


@dataclass(frozen=True)
class Detection:
    """[detection]: YOLOv1, flat numbers, no anchors. `squared`: sizes were learned as their roots."""

    side: int
    num: int
    coords: int
    squared: bool

    def decode(self, layer: Layer, result: Feature) -> tuple[ir.Value, ir.Value]:
        """Centre (v + cell) / side, size v or v^2; every box of a cell has the cell's classes."""
        if self.coords != 4:
            raise Unsupported(
                f"boxes out of coords={self.coords}", where=layer.at("coords"), expected="coords=4"
            )
        cells, flat = self.side**2, layer.flat(result)
        classes = result.size // cells - 5 * self.num
        if not classes:
            raise Unsupported(
                "the layer has no classes to score",
                where=layer.at("classes"),
                way_out="--heads layer gives what it has",
            )
        parts = layer.split(
            flat,
            1,
            {"classes": cells * classes, "objectness": cells * self.num, "numbers": 4 * cells * self.num},
        )
        grid = Grid(self.side, self.side, ((1.0, 1.0),) * self.num)
        numbers = layer.reshape(parts["numbers"], [0, grid.boxes, 4])
        wh = _part(layer, numbers, "wh", 2, 4)
        objectness = layer.reshape(parts["objectness"], [0, cells, self.num, 1])
        score = layer.op(
            "Mul",
            layer.reshape(parts["classes"], [0, cells, 1, classes]),
            objectness,
            shape=[layer.network.rows, cells, self.num, classes],
        )
        boxes = _boxes(
            layer,
            _centre(layer, _part(layer, numbers, "xy", 0, 2), grid),
            layer.op("Mul", wh, wh) if self.squared else wh,
        )
        return boxes, layer.reshape(score, [0, grid.boxes, classes])


def decode(heads: Sequence[Head], file: str) -> list[ir.Value]:
    """`boxes` and `scores` of all heads. Errors: Unsupported where heads have different classes."""
    if len({h.classes for h in heads}) > 1:
        raise Unsupported(
            f"heads of {', '.join(str(h.classes) for h in heads)} classes",
            where=file,
            way_out="--heads layer or raw",
        )
    decoded = []
    for head in heads:
        with blamed_on(head.layer.source), head.layer.network.build.decoding():
            decoded.append(head.rule.decode(head.layer, head.result))
    return [
        _together(heads[-1].layer, name, values)
        for name, values in zip(("boxes", "scores"), zip(*decoded, strict=True), strict=True)
    ]


def _together(layer: Layer, name: str, values: Sequence[ir.Value]) -> ir.Value:
    """One head's rows after the other's, under the name of the output."""
    rows, _, numbers = dims_of(values[0])
    total = sum(dims_of(value)[1] for value in values)
    made: ir.Value = layer.network.build.op(
        "Concat",
        *values,
        name=f"heads/{name}",
        output=name,
        shape=[rows, total, numbers],
        axis=1,
        source=layer.source,
    )
    return made
