"""Numbers for the values on the border of a cone, in the settings in which both sides are run.

own       the values that the network itself has there (a corner of them, where the operators allow it)
wide      signs, and magnitudes over four decades
spread    normal values of the same size: wakes what a sample leaves dead
shuffled  the network's own values in another order: for cones that only hold for values of their kind
          (behind a Relu, a Softmax)
far       values beyond a number that only one side has: the bound of a Clip, a threshold
between   numbers between one that only one side has and its neighbours, alone and among the network's own
special   infinities and NaN, where the cone asks for them
ties      the thresholds themselves, where the two sides compare in other ways
all rows  every index of a table
integers  integers of every size, where they are plain numbers
looked up numbers that an operator looks for, where its lists differ: all the same, and mixed
loud      the network's values as much larger as pixels are than normal values
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from ...ir.graph import STANDARD, ir, is_op, named_type
from ...operators.table import op
from ..truth.number_formats import largest, numpy_type
from .cones import Half
from .deciding_numbers import Numbers
from .looked_up import looked_up, looks
from .recording import CROPPED, Recorded
from .tokens import Token

LOUD, LOUDER = "loud", 256.0
TIES, FAR, BETWEEN, SPECIAL = "ties", "far", "between", "special"
LOOKED_UP, ALONE, MIXED = "looked up", 24, 16  # draws of one number alone, and of all
FARTHER = 12  # powers of two, beyond a number that only one side has
DRAWS_OF_INTEGERS = 4  # at least
MOST_DRAWS_OF_INTEGERS = 32  # where a border has few of them
SHARES_OF_TRUE = (0.5, 0.5, 1.0, 0.5, 0.0, 0.5, 0.9, 0.5, 0.1)  # of the booleans of a draw, in turn
MOST_DRAWS, ENOUGH = 8, 2048  # draws of generic values on one border, and elements that they come to
COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not")
Setting = dict[Token, tuple[np.ndarray, ir.DataType]]  # numbers for every value of a border, and their type


class CannotDischarge(Exception):
    """Neither side could be run on values of the border. The text is a clause."""


class Border:
    """The values on the border of one cone, and the numbers that stand in it."""

    def __init__(
        self, ours: Half, theirs: Half, known: dict[Token, list[Recorded]], seed: int, numbers: Numbers
    ) -> None:
        self.ours, self.theirs, self.known, self.seed = ours, theirs, known, seed
        self.tokens = list(dict.fromkeys([*ours.border.values(), *theirs.border.values()]))
        self.ties = np.array(sorted({-1.0, 0.0, 1.0, *numbers.ties}))
        self.far, self.between = numbers.far, numbers.between
        self.between_integers = numbers.between_integers
        self.floats, self.integers = looked_up(ours, theirs)
        self.free: dict[Token, int] = {}
        border = *ours.border.items(), *theirs.border.items()
        self.sizes = {token for value, token in border if _is_size(value)}
        self.draws_of_integers = DRAWS_OF_INTEGERS

    def settings(self) -> Iterator[tuple[str, Setting | None, Callable[[], Setting]]]:
        """(name, small values or none, full values) in the order in which they are tried. Raises
        CannotDischarge."""
        ours, theirs, known = self.ours, self.theirs, self.known
        if any(not known.get(token) for token in self.tokens):
            missing = next(v.name for v, t in {**ours.border, **theirs.border}.items() if not known.get(t))
            raise CannotDischarge(f"no run reached '{missing}'")
        self.free = {
            token: rows
            for token, rows in free_integers(ours, theirs).items()
            if not known[token][0].kind.is_floating_point()
        }
        elements = sum(math.prod(known[token][0].shape) for token in self.free)
        self.draws_of_integers = min(
            max(DRAWS_OF_INTEGERS, ENOUGH // max(elements, 1)), MOST_DRAWS_OF_INTEGERS
        )
        extent = _small_extent(ours, theirs)
        for name, place in self._names():
            values = partial(self.setting, name, place)
            yield name, values(extent) if extent else None, partial(values, 0)

    def _names(self) -> list[tuple[str, int]]:
        """The settings that are tried, each with the number of its draw."""
        runs = max((len(self.known[token]) for token in self.tokens), default=1)
        names = [("own", place) for place in range(runs)]
        if any(r.kind.is_floating_point() for token in self.tokens for r in self.known[token]):
            draws = _draws(self.known[token][0] for token in self.tokens)
            if _is_affine(self.ours) and _is_affine(self.theirs):
                names = [*names[:1], ("wide", 0)]
            else:
                names += [(name, draw) for draw in range(draws) for name in ("wide", "spread", "shuffled")]
                names += [(FAR, draw) for draw in range(max(draws, 2) if self.far else 0)]
                names += [(BETWEEN, place) for place in range(2 * len(self.between))]
                names += [(SPECIAL, draw) for draw in range(draws if self._asks_for_special() else 0)]
            if _comparisons(self.ours) != _comparisons(self.theirs):
                names += [(TIES, draw) for draw in range(draws)]  # last: what fails here holds elsewhere
        if self.floats or self.integers:
            names += [(LOOKED_UP, place) for place in range(ALONE + MIXED)]
        if self.free:
            places = range(self.draws_of_integers + len(self.between_integers))
            names += [("all rows", 0), *(("integers", place) for place in places)]
        return names

    def _asks_for_special(self) -> bool:
        nodes = (*self.ours.nodes, *self.theirs.nodes)
        return any(node.op_type in ("IsInf", "IsNaN") or looks(node) for node in nodes)

    def setting(self, name: str, place: int, cut: int = 0) -> Setting:
        """Numbers for every value of the border."""
        return {
            token: (self._stand_in(name, place, token, cut), self.known[token][0].kind)
            for token in self.tokens
        }

    def _stand_in(self, name: str, place: int, token: Token, cut: int) -> np.ndarray:
        """Numbers that stand for one value of the border."""
        known = self.known[token]
        if token in self.free and name in ("all rows", "integers"):
            return self._integers(name, place, token, known[0])
        # the draws of integers are all of one shape, and what stands beside them is, too
        recorded = known[0 if name in ("all rows", "integers") else min(place, len(known) - 1)]
        shape = recorded.shape
        if cut and len(shape) >= 4:
            shape = (min(shape[0], 1), shape[1], *(min(d, cut) for d in shape[2:]))
        if name == LOOKED_UP:
            return self._looked_up(place, token, recorded)
        if not recorded.kind.is_floating_point():
            return _padded(recorded, shape)
        random = np.random.default_rng([self.seed, len(name), sum(map(ord, name)), token % (1 << 31), place])
        if name in (TIES, FAR, SPECIAL):
            return self._picked(name, place, recorded, shape, random)
        values = self._floats("own" if name == BETWEEN else name, recorded, shape, random)
        if name != BETWEEN:
            return values
        chosen = random.random(shape) < (0.5 if place % 2 else 1.0)
        return _held(np.where(chosen, self.between[place // 2], values), recorded.kind)

    def _looked_up(self, place: int, token: Token, known: Recorded) -> np.ndarray:
        """Numbers that an operator looks for, and for floats those next to them."""
        is_float = known.kind.is_floating_point()
        numbers = np.asarray(self.floats if is_float else self.integers)
        if not numbers.size or not (is_float or token in self.free):
            return (
                self._floats("own", known, known.shape, np.random.default_rng(self.seed))
                if is_float
                else _padded(known, known.shape)
            )
        random = np.random.default_rng([self.seed, place, token % (1 << 31)])
        if place < ALONE:
            numbers = numbers[[place % len(numbers)]]
        values = random.choice(numbers, known.shape)
        if not is_float:
            return np.asarray(values.astype(numpy_type(known.kind)))
        near = random.choice([1.0, 1.0, 1 - 2.0**-12, 1 + 2.0**-12], known.shape)
        return _held(values if place < ALONE else values * near, known.kind)

    def _picked(
        self, name: str, place: int, known: Recorded, shape: tuple[int, ...], random: np.random.Generator
    ) -> np.ndarray:
        """Numbers that the network need not have there."""
        if name == SPECIAL:
            return np.asarray(random.choice([np.inf, -np.inf, np.nan, 0.0, 1.0], shape))
        values = random.choice(self.ties, shape) if name == TIES else random.uniform(-2, 2, shape) * self.far
        if name == FAR and place % 2:  # weights may stand between the border and the number
            values = values * np.exp2(random.uniform(0, FARTHER, shape))
        return _held(values, known.kind)

    def _floats(
        self, name: str, known: Recorded, shape: tuple[int, ...], random: np.random.Generator
    ) -> np.ndarray:
        scale = known.scale or abs(known.center) or 1.0
        values = known.values
        if values is not None and len(shape) == values.ndim:
            values = np.asarray(values[tuple(slice(0, d) for d in shape)], np.float64)
        if name in ("own", "shuffled", LOUD) and values is not None and values.shape == shape:
            if name == LOUD:
                return _held(values * LOUDER, known.kind)
            if name == "own":
                return values
            flat = values.reshape(-1).copy()
            random.shuffle(flat)
            return np.asarray(flat.reshape(shape) * (1 + 0.1 * random.standard_normal(shape)))
        if name == "wide":
            exponents = np.exp2(random.uniform(-7, 4, shape))
            values = random.choice([-1.0, 1.0], shape) * scale * exponents
        elif name in ("own", "shuffled", LOUD):
            values = known.center + scale * random.standard_normal(shape)
            values = np.abs(values) if known.lowest >= 0 else values
            values = values * LOUDER if name == LOUD else values
        else:
            values = known.center + 1.5 * scale * random.standard_normal(shape)
        return _held(np.asarray(values), known.kind)

    def _integers(self, name: str, place: int, token: Token, known: Recorded) -> np.ndarray:
        """Integers that may be anything: indices into the rows of a table, all of them if they may have
        another shape; without rows, numbers of every size."""
        rows = self.free[token]
        shape, kind = known.shape, numpy_type(known.kind)
        if rows and name == "all rows":
            rank = max(len(shape), 1)
            return np.asarray(np.arange(rows).reshape((1,) * (rank - 1) + (rows,)), kind)
        random = np.random.default_rng([self.seed, place, token % (1 << 31)])
        if known.kind == ir.DataType.BOOL:
            share = SHARES_OF_TRUE[place % len(SHARES_OF_TRUE)]
            return np.asarray(random.random(shape) < share, np.bool_)
        if rows:
            drawn = random.integers(0, rows, shape)
            if drawn.size:
                drawn.reshape(-1)[0] = (0, rows - 1)[place % 2]
            return np.asarray(drawn, kind)
        least, most = (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
        if place >= self.draws_of_integers:
            number = self.between_integers[place - self.draws_of_integers]
            least = 0 if token in self.sizes else least
            return np.full(shape, min(max(number, least), most), kind)
        # The last draw is of numbers that a narrower type cannot hold, where one is asked to.
        wraps = place == self.draws_of_integers - 1 and _narrows(self.ours) | _narrows(self.theirs)
        sizes = np.exp2(random.uniform(0, 40 if wraps else 14, shape)) * random.choice([-1.0, 1.0], shape)
        sizes = np.abs(sizes) if token in self.sizes else sizes
        bound = 1 << (50 if wraps else 30)
        return np.asarray(np.clip(np.trunc(sizes), max(least, -bound), min(most, bound)), kind)


def _narrows(half: Half) -> bool:
    """Does it cast to another type of integers?"""
    return any(
        node.op_type == "Cast" and (kind := named_type(node)) is not None and kind.is_integer()
        for node in half.nodes
    )


def _padded(known: Recorded, shape: tuple[int, ...]) -> np.ndarray:
    """Integers of the border; repeated to their shape where their numbers were cut."""
    if known.values is None:
        return np.zeros(shape, numpy_type(known.kind))
    return known.values if known.values.shape == shape else np.resize(known.values, shape)


def _comparisons(half: Half) -> Counter[str]:
    return Counter(node.op_type for node in half.nodes if node.op_type in COMPARISONS)


def _draws(border: Iterable[Recorded]) -> int:
    """How often generic values are drawn: more often where a border has few elements, of which some may lie
    where a Relu or a Softmax hides them."""
    elements = sum(math.prod(recorded.shape) for recorded in border)
    return max(1, min(MOST_DRAWS, ENOUGH // max(elements, 1)))


def free_integers(ours: Half, theirs: Half) -> dict[Token, int]:
    """Integers and booleans of the border that may have any value, with the rows of the table that they point
    into (0: they point nowhere). What sizes and axes are made of may not. The reference has the first word:
    what is any number to it may not be an index in the candidate."""
    free: dict[Token, int] = {}
    bound: set[Token] = set()
    for half in (theirs, ours):
        found: dict[Token, int] = {}
        for node in half.nodes:
            for place, value in enumerate(node.inputs):
                token = half.border.get(value) if value is not None else None
                if token is None:
                    continue
                rows = _rows(half, node, place)
                if rows is None:
                    bound.add(token)
                else:
                    found[token] = min(filter(None, (found.get(token), rows)), default=0)
        free.update(found)
    return {token: rows for token, rows in free.items() if token not in bound}


def _rows(half: Half, node: ir.Node, place: int) -> int | None:
    """The rows of the table that an input points into, 0 for plain numbers, None for what counts or
    shapes."""
    if op(node).plain_integers or looks(node) or (op(node).plain_first and place == 0) or _masks(node, place):
        return 0
    if op(node).carries_index and (place == 0 or is_op(node, "Concat")):
        readers = [(n, at) for n, at in node.outputs[0].uses() if n in half.nodes]
        found = [_rows(half, reader, at) for reader, at in readers]
        return None if None in found else min(filter(None, found), default=0)
    if node.domain not in STANDARD or node.op_type != "Gather" or place != 1 or node.inputs[0] is None:
        return None
    shape = node.inputs[0].shape
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    return size if isinstance(size, int) and size > 0 else None


def _is_size(value: ir.Value) -> bool:
    """Does a value hold sizes or places, which are never negative?"""
    node = value.producer()
    while (
        node is not None and (op(node).carries_index or is_op(node, "Gather")) and node.inputs[0] is not None
    ):
        node = node.inputs[0].producer()
    return is_op(node, "Shape", "Size", "ArgMax", "ArgMin", "NonZero")


def _masks(node: ir.Node, place: int) -> bool:
    """Does an input say with booleans which values count?"""
    value = node.inputs[place]
    return is_op(node, "Attention") and place == 3 and value is not None and value.dtype == ir.DataType.BOOL


def _held(values: np.ndarray, kind: ir.DataType) -> np.ndarray:
    """The values as their type holds them, within its range."""
    most = largest(kind) / 4
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(values, -most, most).astype(numpy_type(kind)).astype(np.float64))


def _small_extent(ours: Half, theirs: Half) -> int:
    """To how many entries the axes of images may be cut short; 0 where an operator means something else at
    another size, or a window would not fit."""
    reach = 1
    for half in (ours, theirs):
        for node in half.nodes:
            if not op(node).any_size:
                return 0
            kernel = node.attributes.get("kernel_shape")
            dilations = node.attributes.get("dilations")
            strides = node.attributes.get("strides")
            extent = max(kernel.as_ints(), default=1) if kernel is not None else _extent(node)
            reach *= max(strides.as_ints(), default=1) if strides is not None else 1
            reach += (extent - 1) * (max(dilations.as_ints(), default=1) if dilations is not None else 1)
    return max(4, 2 * reach) if reach <= CROPPED // 2 else 0


def _is_affine(half: Half) -> bool:
    """Is the end an affine function of the border, so that a few random points decide?"""
    moving = set(half.border)
    for node in half.nodes:
        inputs = [v for v in node.inputs if v is not None and v in moving]
        linear = op(node).affine or (op(node).multiaffine and len(inputs) < 2)
        if node.domain not in STANDARD or not linear:
            return False
        if node.op_type == "Div" and inputs and inputs[0] is not node.inputs[0]:
            return False
        moving.update(node.outputs)
    return True


def _extent(node: ir.Node) -> int:
    weight = node.inputs[1] if node.op_type == "Conv" and len(node.inputs) > 1 else None
    if weight is None:
        return 1
    shape = weight.shape
    sizes = [d for d in shape[2:] if isinstance(d, int)] if shape is not None else []
    return max(sizes, default=1) if shape is not None else CROPPED
