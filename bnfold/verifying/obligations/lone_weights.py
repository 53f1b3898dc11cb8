"""Single weights that are off by more than a rounding, where a cone holds one linear operator on each side.

The end of a cone may hide one weight of many: in half precision, one of 27 that is off by one per cent moves
a sum by as much as rounding all of them may. But where everything else in a cone works element by element,
its matrix is the same on both sides up to a factor of every row and one of every column,

    W'[o, i] = r[o] * W[o, i] * c[i]    within a few roundings of W'[o, i]

so medians over rows and columns give the factors, and each weight is held against them alone. Whether the
factors are right, the end of the cone has shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import attribute, ir
from ...operators.table import ShapeRule, op
from ..truth.number_formats import tiny, widened
from .cones import Half
from .deviations import unit_of

ROUNDINGS = 8  # of a weight: a tool may multiply it by several factors, and round each product
MOST = 0.25  # of the weights: where more are off, the matrices do not belong together in this way
SAMPLED = 64  # entries of a row or column that tell its factor
FEW_ROWS = 3  # fewer do not tell the factor of a column
BLOCK = 1 << 20  # weights that are widened at a time


@dataclass(frozen=True)
class _Matrix:
    """The weight of a linear operator as (groups, rows, columns); `split` and `order` say how it lies in the
    stored tensor, `inside` how many channels of the input a row reads."""

    node: ir.Node
    name: str
    kind: ir.DataType
    shape: tuple[int, ...]
    stored: np.ndarray
    split: tuple[int, ...]
    order: tuple[int, ...]
    inside: int

    @property
    def values(self) -> np.ndarray:
        """The weight, seen as groups of rows; still of its own type."""
        seen = self.stored.reshape(self.split).transpose(self.order)
        return seen.reshape(*seen.shape[:2], -1)

    def index(self, place: tuple[int, int, int]) -> tuple[int, ...]:
        """Where an entry of `values` lies in the stored tensor."""
        seen = [self.split[axis] for axis in self.order]
        column = [int(k) for k in np.unravel_index(place[2], seen[2:])]
        at = [0] * len(self.split)
        for axis, k in zip(self.order, (*place[:2], *column), strict=True):
            at[axis] = k
        flat = np.ravel_multi_index(at, self.split)
        return tuple(int(k) for k in np.unravel_index(flat, self.shape))


def lone_weight(mine: Half, theirs: Half, ours: Constants, other: Constants) -> str:
    """Which weight of the candidate is off where the others of its matrix are not; '' where none is, or where
    the cone does not tell."""
    mine_, theirs_ = _matrix(mine, ours), _matrix(theirs, other)
    if mine_ is None or theirs_ is None or not _alike(mine_, theirs_):
        return ""
    left, right = mine_.values, theirs_.values
    if left.size == 0 or (left.shape[1] < FEW_ROWS and mine_.inside > 1):
        return ""
    with np.errstate(all="ignore"):
        rows, columns = _factors(left, right)
        off, worst, place = 0, 0.0, (0, 0, 0)
        for block in _blocks(left.shape):
            ratio = _roundings_off(left, right, rows, columns, block, theirs_.kind)
            off += int((ratio > ROUNDINGS).sum())
            at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
            if ratio[at] > worst:
                worst = float(ratio[at])
                place = (block[0].start + int(at[0]), block[1].start + int(at[1]), int(at[2]))
    if not off or off > max(1.0, MOST * left.size):
        return ""
    where = list(theirs_.index(place))
    return (
        f"weight {where} of '{theirs_.name}' is off by {worst:.3g} roundings (limit {ROUNDINGS}), "
        "and the rest of that matrix is not"
    )


def _matrix(half: Half, constants: Constants) -> _Matrix | None:
    """The weight of the only linear operator of a cone, where all else in it works element by element."""
    linear = [node for node in half.nodes if op(node).linear]
    if len(linear) != 1 or not all(_elementwise(node) for node in half.nodes if node is not linear[0]):
        return None
    node = linear[0]
    places = [k for k, value in enumerate(node.inputs[:2]) if value in half.constants]
    if len(places) != 1 or not (places == [1] or node.op_type == "MatMul"):
        return None
    value = node.inputs[places[0]]
    tensor = constants.tensor(value) if value is not None else None
    if tensor is None or not tensor.dtype.is_floating_point() or node.op_type not in _LAYOUTS:
        return None
    stored = tensor.numpy()
    if (layout := _LAYOUTS[node.op_type](node, places[0], stored.shape)) is None:
        return None
    split, order, inside = layout
    return _Matrix(node, value.name or "", tensor.dtype, tuple(stored.shape), stored, split, order, inside)  # type: ignore[union-attr]


def _elementwise(node: ir.Node) -> bool:
    row = op(node)
    return row.any_size and row.shape in (ShapeRule.SAME, ShapeRule.BROADCAST)


def _alike(a: _Matrix, b: _Matrix) -> bool:
    return a.node.op_type == b.node.op_type and a.values.shape == b.values.shape and a.inside == b.inside


# -- how a weight lies: (the shape that tells the groups apart, its axes as groups, rows and columns, inputs)

_Layout = tuple[tuple[int, ...], tuple[int, ...], int]


def _conv(node: ir.Node, place: int, shape: tuple[int, ...]) -> _Layout | None:
    groups = attribute(node, "group", 1)
    if len(shape) < 3 or groups < 1 or shape[0] % groups:
        return None
    split = (groups, shape[0] // groups, *shape[1:])
    return split, tuple(range(len(split))), shape[1]


def _conv_transpose(node: ir.Node, place: int, shape: tuple[int, ...]) -> _Layout | None:
    groups = attribute(node, "group", 1)
    if len(shape) < 3 or groups < 1 or shape[0] % groups:
        return None
    split = (groups, shape[0] // groups, *shape[1:])
    return split, (0, 2, 1, *range(3, len(split))), split[1]


def _gemm(node: ir.Node, place: int, shape: tuple[int, ...]) -> _Layout | None:
    if len(shape) != 2:
        return None
    order = (0, 1, 2) if attribute(node, "transB", 0) else (0, 2, 1)
    return (1, *shape), order, shape[1 if order[1] == 1 else 0]


def _matmul(node: ir.Node, place: int, shape: tuple[int, ...]) -> _Layout | None:
    if len(shape) < 2:
        return None
    split = (math.prod(shape[:-2]), *shape[-2:])
    return (split, (0, 2, 1), shape[-2]) if place == 1 else (split, (0, 1, 2), shape[-1])


_LAYOUTS = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}


# -- the factors, and what is off


def _factors(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factor of every row and of every column, from medians over a part of the entries."""
    some_columns, some_rows = _spread(left.shape[2]), _spread(left.shape[1])
    narrow = _ratio(left[:, :, some_columns], right[:, :, some_columns])
    rows = _median(narrow, 2)
    columns = np.ones((left.shape[0], 1, left.shape[2]))
    if left.shape[1] >= FEW_ROWS:
        flat = _ratio(left[:, some_rows], right[:, some_rows])
        columns = _median(flat / rows[:, some_rows], 1)
        # where zeros gave the row another entry for its median than the others have
        rows = rows * _median(narrow / (rows * columns[:, :, some_columns]), 2)
    return rows, columns


def _spread(size: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, min(size, SAMPLED)).astype(np.intp))


def _ratio(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    divisor = np.asarray(widened(left))
    return np.where(divisor != 0, np.asarray(widened(right)) / divisor, np.nan)


def _median(values: np.ndarray, axis: int) -> np.ndarray:
    """The median without what is not a number; 1 where nothing is left."""
    ordered = np.sort(values, axis=axis)  # puts what is not a number last
    count = np.sum(~np.isnan(values), axis=axis, keepdims=True)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis)
    return np.where(count > 0, middle, 1.0)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    groups, rows, columns = shape
    many = max(1, BLOCK // max(columns, 1))
    if rows <= many:
        step = max(1, many // rows)
        yield from ((slice(g, min(g + step, groups)), slice(0, rows)) for g in range(0, groups, step))
        return
    for group in range(groups):
        yield from ((slice(group, group + 1), slice(r, min(r + many, rows))) for r in range(0, rows, many))


def _roundings_off(
    left: np.ndarray,
    right: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    block: tuple[slice, slice],
    kind: ir.DataType,
) -> np.ndarray:
    """By how many roundings the candidate's weights of a block are off. What is less than a rounding of the
    largest weight of its row is seen in no sum."""
    found = np.asarray(widened(right[block]))
    due = np.asarray(widened(left[block])) * rows[block] * columns[block[0]]
    size = np.maximum(np.abs(found), np.abs(due))
    unit = unit_of(kind)
    floor = np.max(np.where(np.isfinite(size), size, 0.0), axis=2, keepdims=True) / ROUNDINGS + tiny(kind)
    off = np.abs(found - due) / (unit * np.maximum(size, floor))
    return np.where(np.isfinite(off), off, 0.0)
