"""Single weights that are off by more than a rounding, where a cone holds one linear operator on each side.

The end of a cone may hide one weight of many: in half precision, one of 27 that is off by one per cent moves
a sum by as much as rounding all of them may. But where everything else in a cone works element by element, or
is the same on both sides, and what the operator reads comes to the end by no other way, its matrix is the
same on both sides up to a factor of every row and one of every column,

    W'[o, i] = r[o] * W[o, i] * c[i]    within a few roundings of W'[o, i]

so medians over rows and columns give the factors, and each weight is held against them alone. Medians may
miss a factor, as among many zeros. Whatever the factors are, three corners of a square tell the fourth,

    W'[o, i] * W'[p, j] / (W'[o, j] * W'[p, i]) = W[o, i] * W[p, j] / (W[o, j] * W[p, i])

so a weight is off only where three others that make a square with it are right. Whether the factors are
right, the end of the cone has shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import attribute, bodies, ir
from ...operators.table import ShapeRule, op
from ...records import dataclass
from ..truth.number_formats import tiny, widened
from .cones import Half
from .deviations import unit_of
from .tokens import Token

ROUNDINGS = 8  # of a weight: a tool may multiply it by several factors, and round each product
MOST = 0.25  # of the weights: where more are off, the matrices do not belong together in this way
CORNER = ROUNDINGS / 4  # of a weight that tells another: three of them leave room for the fourth
MOST_LOOKED_AT = 16  # weights that are off, the worst ones
SAMPLED = 64  # entries of a row or column that tell its factor, besides zeros
MOST_SAMPLED = 1024  # zeros and all
TURNS = 32  # of telling the factors of columns by those of rows, and back
FEW_ROWS = 3  # fewer do not tell the factor of a column
BLOCK = 1 << 16  # weights that are widened at a time; a few arrays of them stay near the processor


_Around = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class _Matrix:
    """The weight of a linear operator as (groups, rows, columns); `split` and `order` say how it lies in the
    stored tensor, `inside` how many channels of the input a row reads, `around` what else stands in the cone
    and does not work element by element."""

    node: ir.Node
    around: _Around
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
        kinds = mine_.kind, theirs_.kind
        pair = _Pair(left, right, *_factors(left, right, kinds), kinds)
        found = next(((roundings, place) for roundings, place in pair.off() if pair.is_told(place)), None)
    if found is None:
        return ""
    where = list(theirs_.index(found[1]))
    return (
        f"weight {where} of '{theirs_.name}' is off by {found[0]:.3g} roundings (limit {ROUNDINGS}), "
        "and the rest of that matrix is not"
    )


def _matrix(half: Half, constants: Constants) -> _Matrix | None:
    """The weight of the only linear operator of a cone."""
    linear = [node for node in half.nodes if op(node).linear]
    if len(linear) != 1 or any(bodies(node) for node in half.nodes):
        return None
    node = linear[0]
    if _read_besides(half, node):
        return None
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
    return _Matrix(
        node=node,
        around=_around(half, node),
        name=value.name or "",  # type: ignore[union-attr]
        kind=tensor.dtype,
        shape=tuple(stored.shape),
        stored=stored,
        split=split,
        order=order,
        inside=inside,
    )


def _elementwise(node: ir.Node) -> bool:
    row = op(node)
    return row.any_size and row.shape in (ShapeRule.SAME, ShapeRule.BROADCAST)


def _around(half: Half, linear: ir.Node) -> _Around:
    """The nodes of a cone that do not work element by element, each with its attributes and whether it stands
    before the linear operator."""
    before = set(linear.inputs)
    found: list[tuple[object, ...]] = []
    for node in reversed(half.nodes):
        is_before = not before.isdisjoint(node.outputs)
        if is_before:
            before.update(node.inputs)
        if node is not linear and not _elementwise(node):
            attributes = sorted((name, repr(given.value)) for name, given in node.attributes.items())
            found.append((node.op_identifier(), is_before, *attributes))
    return tuple(found)


def _read_besides(half: Half, node: ir.Node) -> bool:
    """Does what the operator reads come to the end by another way, too? x @ W + x is x @ (W + I)."""
    through, besides = _border(half, node.inputs), _border(half, [half.end], node)
    return not through.isdisjoint(besides)


def _border(half: Half, values: Iterable[ir.Value | None], cut: ir.Node | None = None) -> set[Token]:
    """Which part of a cone's border these values come from, not through the node that is cut out."""
    reached = set(values)
    for node in reversed(half.nodes):
        if node is not cut and not reached.isdisjoint(node.outputs):
            reached.update(node.inputs)
    return {token for value, token in half.border.items() if value in reached}


def _alike(a: _Matrix, b: _Matrix) -> bool:
    same = a.node.op_type == b.node.op_type and a.around == b.around
    return same and a.values.shape == b.values.shape and a.inside == b.inside


# -- how a weight lies: (the shape that tells the groups apart, its axes as groups, rows and columns, inputs)

_Layout = tuple[tuple[int, ...], tuple[int, ...], int]


def _conv(node: ir.Node, place: int, shape: tuple[int, ...]) -> _Layout | None:
    split = _grouped(node, shape)
    return None if split is None else (split, tuple(range(len(split))), shape[1])


def _conv_transpose(node: ir.Node, place: int, shape: tuple[int, ...]) -> _Layout | None:
    split = _grouped(node, shape)
    return None if split is None else (split, (0, 2, 1, *range(3, len(split))), split[1])


def _grouped(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape with its first axis cut into groups."""
    groups = attribute(node, "group", 1)
    if len(shape) < 3 or groups < 1 or shape[0] % groups:
        return None
    return (groups, shape[0] // groups, *shape[1:])


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

_Place = tuple[int, int, int]
_Kinds = tuple[ir.DataType, ir.DataType]


@dataclass(frozen=True)
class _Pair:
    """A matrix on both sides, the factors of its rows and columns, and the types in which it is stored."""

    left: np.ndarray
    right: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    kinds: _Kinds

    def off(self) -> list[tuple[float, _Place]]:
        """Weights that are off, and by how many roundings, the worst first; none where so many are that the
        matrices do not belong together in this way."""
        found: list[tuple[float, _Place]] = []
        off = 0
        for group, row in _blocks(self.left.shape):
            left, right = self.left[group, row], self.right[group, row]
            ratio = self._roundings_off(left, right, self.rows[group, row], self.columns[group], whole=True)
            places = np.flatnonzero(ratio > ROUNDINGS)
            off += places.size
            worst = np.argsort(ratio.reshape(-1)[places])[-MOST_LOOKED_AT:]
            for at in places[worst].tolist():
                g, o, i = map(int, np.unravel_index(at, ratio.shape))
                found.append((float(ratio[g, o, i]), (group.start + g, row.start + o, i)))
        if off > 1 and off > MOST * (np.count_nonzero(self.left) + np.count_nonzero(self.right)) / 2:
            return []
        return sorted(found, reverse=True)[:MOST_LOOKED_AT]

    def is_told(self, place: _Place) -> bool:
        """Do right weights tell what this one must be? Those of its row do, where columns have no factors;
        otherwise three that make a square with it."""
        group, row, column = place
        beside = _some(self._right(group, np.array([row]), np.arange(self.left.shape[2])))
        if self.left.shape[1] < FEW_ROWS:
            return beside.size > 0
        above = _some(self._right(group, np.arange(self.left.shape[1]), np.array([column])))
        return bool(self._right(group, above, beside).any())

    def _right(self, group: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Which of these weights are what the factors say, to the digits of their type."""
        left, right = (side[group][np.ix_(rows, columns)] for side in (self.left, self.right))
        ratio = self._roundings_off(left, right, self.rows[group, rows], self.columns[group][:, columns])
        return _precise(np.asarray(widened(left)), np.asarray(widened(right)), self.kinds) & (ratio <= CORNER)

    def _roundings_off(
        self,
        left: np.ndarray,
        right: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        *,
        whole: bool = False,
    ) -> np.ndarray:
        """By how many roundings, of the coarser side, weights are off. In whole rows, what is less than a
        rounding of the largest weight of its row is seen in no sum."""
        mine, theirs = self.kinds
        found, due = np.asarray(widened(right)), np.asarray(widened(left)) * rows * columns
        size = np.abs(found)
        np.maximum(size, np.abs(due), out=size)
        largest_factor = np.nanmax(np.abs(columns), axis=-1, keepdims=True, initial=0.0) * np.abs(rows)
        least = np.fmax(tiny(theirs), tiny(mine) * largest_factor)
        if whole:
            least = (
                np.max(size, axis=-1, keepdims=True, where=np.isfinite(size), initial=0.0) / ROUNDINGS + least
            )
        due -= found
        np.maximum(size, least, out=size)
        size *= max(map(unit_of, self.kinds))
        return np.asarray(np.abs(due, out=due) / size)


def _some(right: np.ndarray) -> np.ndarray:
    """Some of the places where this holds."""
    places = np.flatnonzero(right)
    return places[_spread(places.size)] if places.size else places


def _factors(left: np.ndarray, right: np.ndarray, kinds: _Kinds) -> tuple[np.ndarray, np.ndarray]:
    """The factor of every row and of every column, from medians over a part of the entries; nan where nothing
    tells it. From one row on they are told by each other in turns, until nothing is new."""
    groups, height, width = left.shape
    filled = int(np.count_nonzero(left))
    sampled = min(MOST_SAMPLED, math.ceil(SAMPLED * left.size / max(filled, 1)))
    some_columns, some_rows = _spread(width, sampled), _spread(height, sampled)
    narrow = _ratio(left[:, :, some_columns], right[:, :, some_columns], kinds)
    if height < FEW_ROWS:
        return _median(narrow, 2), np.ones((groups, 1, width))
    flat = _ratio(left[:, some_rows], right[:, some_rows], kinds)
    rows, columns = np.full((groups, height, 1), np.nan), np.full((groups, 1, width), np.nan)
    known = 0
    for _ in range(TURNS):
        settled, known = known, int(np.isfinite(rows).sum() + np.isfinite(columns).sum())
        if known == settled and not _begin(rows, flat, some_rows):
            break
        columns = _median(flat / rows[:, some_rows], 1)
        rows = _median(narrow / columns[:, :, some_columns], 2)
    return rows, columns


def _begin(rows: np.ndarray, flat: np.ndarray, some_rows: np.ndarray) -> bool:
    """Give the row of most entries in each group the factor 1, where rows are left of which none is known."""
    filled = np.sum(~np.isnan(flat), axis=2) * np.isnan(rows[:, some_rows, 0])
    best = np.argmax(filled, axis=1)
    groups = np.flatnonzero(filled[np.arange(len(best)), best])
    rows[groups, some_rows[best[groups]]] = 1.0
    return groups.size > 0


def _spread(size: int, some: int = SAMPLED) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, min(size, some)).astype(np.intp))


def _ratio(left: np.ndarray, right: np.ndarray, kinds: _Kinds) -> np.ndarray:
    divisor, dividend = np.asarray(widened(left)), np.asarray(widened(right))
    return np.where(_precise(divisor, dividend, kinds), dividend / divisor, np.nan)


def _precise(left: np.ndarray, right: np.ndarray, kinds: _Kinds) -> np.ndarray:
    """Where weights have all digits of their type on both sides, as subnormal numbers and zeros do not."""
    return np.asarray((np.abs(left) >= tiny(kinds[0])) & (np.abs(right) >= tiny(kinds[1])))


def _median(values: np.ndarray, axis: int) -> np.ndarray:
    """The median without what is not a number; nan where nothing is left."""
    ordered = np.sort(values, axis=axis)  # puts what is not a number last
    count = np.sum(~np.isnan(values), axis=axis, keepdims=True)
    return np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    groups, rows, columns = shape
    many = max(1, BLOCK // max(columns, 1))
    if rows <= many:
        step = max(1, many // rows)
        yield from ((slice(g, min(g + step, groups)), slice(0, rows)) for g in range(0, groups, step))
        return
    for group in range(groups):
        yield from ((slice(group, group + 1), slice(r, min(r + many, rows))) for r in range(0, rows, many))
