"""What the models are fed: seeded samples of several distributions for every input.

U[0, 1) alone, which other tools use, misses faults of sign, of padding and of channels that rarely fire. Here
the samples of one run take the rows of DISTRIBUTIONS in turn: a normal one, impulses on borders and single
channels over a faint background, magnitudes over four decades, and so on. Integer inputs that index a table
stay inside it, and go through its rows.

Rule: a feed is a function of (seed, sample, input name, shape), so the printed seed reproduces everything.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from ...ir.graph import ir
from ...records import dataclass
from ..truth.number_formats import numpy_type

MOST_ELEMENTS = 1 << 29  # 2 GB of float32
MOST_ROWS = 1 << 22  # of a table that is gone through in order
Array = np.ndarray
Feeds = dict[str, Array]


class Unfillable(Exception):
    """An input that no feed can be made for. The text is a clause."""


@dataclass(frozen=True)
class Input:
    """A graph input that needs a feed. A dim is a number, a symbol or None; `span` is the range of integers
    that it may hold, its end excluded; `free`: any integer will do; `reshapes`: it is the shape that a
    Reshape gives to a value of so many dims; `steers`: it is a size, a count or a place, and not content
    (integer_ranges.py finds all four). Not `ranked`: the model does not even say how many dims it has."""

    name: str
    kind: ir.DataType
    dims: tuple[int | str | None, ...]
    span: tuple[int, int] | None = None
    ranked: bool = True
    free: bool = False
    reshapes: int | None = None
    steers: bool = False


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return random.standard_normal(shape)


def _impulses(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A faint background, an offset on some channels, spikes on the borders of every spatial axis and on
    single places."""
    x = 0.05 * random.standard_normal(shape)
    if len(shape) >= 2:
        x += (random.random((1, shape[1]) + (1,) * (len(shape) - 2)) < 0.3) * random.choice([-2.0, 2.0])
    for axis in range(2, len(shape)):
        edge = [slice(None)] * len(shape)
        edge[axis] = slice(0, 1) if random.random() < 0.5 else slice(-1, None)
        x[tuple(edge)] += 3 * random.standard_normal(x[tuple(edge)].shape)
    x += (random.random(shape) < 0.02) * 8 * random.standard_normal(shape)
    return x


def _wide(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Signs and magnitudes over four decades: wakes channels that a normal sample leaves dead."""
    return np.asarray(random.choice([-1.0, 1.0], shape) * np.exp2(random.uniform(-8, 6, shape)))


def _constant(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """All equal within a channel: only borders and shifts can differ."""
    per = (1, shape[1]) + (1,) * (len(shape) - 2) if len(shape) >= 2 else shape
    return np.array(np.broadcast_to(random.uniform(-2, 2, per), shape))


def _pixels(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return random.integers(0, 256, shape).astype(np.float64)


def _offset(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    per = (1, shape[1]) + (1,) * (len(shape) - 2) if len(shape) >= 2 else shape
    return np.asarray(random.standard_normal(shape) + random.choice([-4.0, 4.0], per))


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "impulses": _impulses,
    "wide": _wide,
    "uniform": lambda random, shape: random.random(shape),
    "constant": _constant,
    "offset": _offset,
    "pixels": _pixels,
}


def inputs_of(model: ir.Model) -> list[Input]:
    """The graph inputs that need a feed: those without an initializer, which keeps its value whether a caller
    may override it or not."""
    graph = model.graph
    found = []
    for value in graph.inputs:
        if value.name in graph.initializers:
            continue
        if value.dtype in (None, ir.DataType.UNDEFINED, ir.DataType.STRING) or not isinstance(
            value.type, ir.TensorType
        ):
            raise Unfillable(f"input '{value.name}' is not a tensor of numbers")
        found.append(Input(value.name or "", value.dtype, _dims(value), ranked=value.shape is not None))
    return found


def _dims(value: ir.Value) -> tuple[int | str | None, ...]:
    """The declared dims; some exporters write -1 for one that is free."""
    declared = [d if isinstance(d, int) else d.value for d in value.shape or ()]
    return tuple((d if d >= 0 else None) if isinstance(d, int) else d or None for d in declared)


def sample(inputs: list[Input], shapes: Mapping[str, tuple[int, ...]], seed: int, index: int) -> Feeds:
    """The index-th seeded sample for all inputs. Raises Unfillable for one that would not fit into memory."""
    for name, shape in shapes.items():
        count = math.prod(
            max(size, 1) for size in shape
        )  # sizes of zero count as one: kernels go through the other axes all the same
        if count > MOST_ELEMENTS or min(shape, default=0) < 0:
            raise Unfillable(
                f"input '{name}' of shape {shape} cannot be filled: it has {count:,} elements, and "
                f"bnfold generates at most {MOST_ELEMENTS:,}"
            )
    return {one.name: fill(one, shapes[one.name], seed, index) for one in inputs}


def distribution(index: int) -> str:
    """The name of the distribution of the index-th sample."""
    return list(DISTRIBUTIONS)[index % len(DISTRIBUTIONS)]


def fill(one: Input, shape: tuple[int, ...], seed: int, index: int) -> Array:
    """One input's values, of its own type."""
    random = np.random.default_rng([seed, index, zlib.crc32(one.name.encode())])
    kind = numpy_type(one.kind)
    if one.kind == ir.DataType.BOOL:
        return np.asarray(random.random(shape) < 0.5)
    if one.reshapes is not None and len(shape) == 1:
        return np.array(_as_it_was(one.reshapes, shape[0]), kind)
    if one.kind.is_integer():
        return np.asarray(_integers(random, one, shape, Rows(seed, one.name, index))).astype(kind)
    values = DISTRIBUTIONS[distribution(index)](random, shape)
    return np.asarray(values).astype(kind)


def _as_it_was(rank: int, count: int) -> list[int]:
    """`count` sizes that fit every value of so many dims: those that it has (0), the rest in one (-1), then
    ones."""
    kept = min(rank, count)
    return [*([0] * (kept - 1)), *([-1] * min(kept, 1)), *([1] * (count - kept))]


def _integers(random: np.random.Generator, one: Input, shape: tuple[int, ...], rows: Rows) -> Array:
    if one.span is not None:
        return _rows(one.span, shape, rows)
    if one.kind in (ir.DataType.UINT8, ir.DataType.INT8):
        low = 0 if one.kind == ir.DataType.UINT8 else -128
        return random.integers(low, low + 256, shape)
    if one.kind.bitwidth < 8:
        return random.integers(0, 2 ** (one.kind.bitwidth - 1), shape)
    return RANGES[rows.sample % len(RANGES) if one.free else 0](random, shape, one.kind)


def _bits(random: np.random.Generator, shape: tuple[int, ...], kind: ir.DataType) -> Array:
    return random.integers(0, 2, shape)


def _small(random: np.random.Generator, shape: tuple[int, ...], kind: ir.DataType) -> Array:
    return random.integers(0, 10, shape)


def _large(random: np.random.Generator, shape: tuple[int, ...], kind: ir.DataType) -> Array:
    """Magnitudes of one to twenty bits, of both signs where the type has them."""
    bits = min(20, kind.bitwidth - 2)
    found = random.integers(0, 2 ** random.integers(1, bits + 1, shape))
    return found if kind.name.startswith("U") else found * random.choice([-1, 1], shape)


# what integers that may be anything are, in the samples in turn
RANGES: tuple[Callable[[np.random.Generator, tuple[int, ...], ir.DataType], Array], ...] = (
    _bits,
    _small,
    _large,
)


@dataclass(frozen=True)
class Rows:
    """Which part of a table a sample asks for."""

    seed: int
    name: str
    sample: int


def _rows(span: tuple[int, int], shape: tuple[int, ...], rows: Rows) -> Array:
    """The rows of a table in an order of their own, the last and the first in front: one sample goes on where
    the one before it ended, so that few samples leave out no more rows than they must."""
    low, high = span
    count = math.prod(shape)
    random = np.random.default_rng([rows.seed, zlib.crc32(rows.name.encode())])
    if high - low > MOST_ROWS:
        return np.random.default_rng([rows.seed, rows.sample]).integers(low, high, shape)
    order = random.permutation(np.arange(low, high))
    order = np.concatenate([np.unique([low, high - 1])[::-1], order[(order > low) & (order < high - 1)]])
    return order[(rows.sample * count + np.arange(count)) % len(order)].reshape(shape)
