"""Discharging an obligation: both sides of a cone run alone on generic values at the border, in float64, and
the difference at the end is held against what rounding the weights can do.

    own       the values that the network itself has there (a corner of them, where the operators allow it)
    spread    normal values of the same size: wakes what a sample leaves dead
    wide      signs, and magnitudes over four decades
    shuffled  the network's own values in another order: for cones that only hold for values of their kind
              (behind a Relu, a Softmax)

Where values are stored in 16 bits both sides run once more with every node rounded to its type: a value that
leaves the type on one side alone is a difference, whatever float64 says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import STANDARD, GraphLike, ir, opset
from ...operators.table import op
from ...results.comparison import Figures
from ..truth.call import Frame
from ..truth.interpreter import CannotEvaluate, Interpreter, Step
from ..truth.kernels import contrib
from ..truth.number_formats import Rounding, largest, numpy_type, widened
from .cones import Half
from .deviations import Deviations
from .figures import NOT_FINITE, compared, failed
from .recording import CROPPED, Recorded
from .tokens import Token

# where values have 16 bits: inputs as much larger than a sample, as pixels are larger than normal values
LOUD, LOUDER = "loud", 256.0
DRAWS_OF_INTEGERS = 4
MOST_DRAWS, ENOUGH = 8, 2048  # draws of generic values on one border, and elements that they come to
Setting = dict[Token, tuple[np.ndarray, ir.DataType]]  # numbers for every value of a border, and their type
Uncertain = set[ir.Value | ir.Node]  # constants that may be off by a rounding, and nodes whose attributes may


class CannotDischarge(Exception):
    """Neither side could be run on values of the border. The text is a clause."""


@dataclass(frozen=True)
class Bench:
    """One model, ready to run parts of itself."""

    model: ir.Model
    constants: Constants
    seed: int

    def run(
        self, half: Half, graph: GraphLike, frame: Frame | None, setting: Setting, rounded: bool = False
    ) -> Iterator[Step]:
        """The nodes of a cone, one after the other, on these values. Raises CannotEvaluate."""
        # no stand-ins: they would give the same on both sides, whatever reaches them
        interpreter = Interpreter(self.model, Rounding(self.seed) if rounded else None)
        place = Frame(
            frame.opset if frame is not None else opset(self.model, graph),
            frame.imports if frame is not None else self.model.opset_imports,
            attributes=frame.attributes if frame is not None else {},
        )
        for value, token in half.border.items():
            place.values[value], place.types[value] = setting[token]
        for value in half.constants:
            if value.producer() is not None:
                place.values[value], place.types[value] = self._constant(value)
        yield from interpreter.part(half.nodes, place)

    def _constant(self, value: ir.Value) -> tuple[Any, ir.DataType]:
        tensor = self.constants.tensor(value)
        assert tensor is not None
        return widened(tensor.numpy()), tensor.dtype


@dataclass(frozen=True)
class Places:
    """Where a cone stands: the graphs of both sides, and the frames of the function calls around them."""

    reference: GraphLike
    candidate: GraphLike
    reference_frame: Frame | None = None
    candidate_frame: Frame | None = None


class Discharger:
    """Judges cones of one pair of models. `strict`: the candidate's weights were rounded once, from exact
    ones; otherwise those of the reference count as uncertain, too, as for tools that fold in single
    precision."""

    def __init__(self, reference: Bench, candidate: Bench, *, seed: int, limit: float, strict: bool) -> None:
        self.reference, self.candidate = reference, candidate
        self.seed, self.limit, self.strict = seed, limit, strict
        self._narrow = False  # did a value of 16 bits stand in the cone that was run last?

    def judge(
        self,
        ours: Half,
        theirs: Half,
        places: Places,
        known: dict[Token, list[Recorded]],
        through: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Figures:
        """The figures of the end, the worst over all settings; `through` is what its reader sees of it.
        Raises CannotDischarge."""
        worst: Figures | None = None
        refusal: CannotEvaluate | None = None
        for name, small, whole in self._settings(ours, theirs, known):
            try:
                figures = self._tried(ours, theirs, places, small, through)
                if figures is None or not figures.passed:
                    figures = self._on(ours, theirs, places, whole(), through)
            except CannotEvaluate as error:
                refusal = error
                continue
            if name != "own" and figures.reason == NOT_FINITE:
                continue  # values that the network cannot have there may mean nothing to the operators
            if not figures.passed:
                return figures
            worst = figures if worst is None or figures.noise > worst.noise else worst
        if worst is None:
            raise CannotDischarge(str(refusal) if refusal is not None else "nothing is known of its border")
        return self._louder(ours, theirs, places, known, worst) if self._narrow else worst

    def _louder(
        self, ours: Half, theirs: Half, places: Places, known: dict[Token, list[Recorded]], figures: Figures
    ) -> Figures:
        """Where values have 16 bits: does one side alone leave the type on larger inputs?"""
        tokens = list(dict.fromkeys([*ours.border.values(), *theirs.border.values()]))
        loud = self._setting(LOUD, 0, tokens, known, {}, 0)
        try:
            return self._in_its_own_type(ours, theirs, places, loud, figures)
        except CannotEvaluate:  # at such inputs the operators mean nothing
            return figures

    def _tried(
        self,
        ours: Half,
        theirs: Half,
        places: Places,
        small: Setting | None,
        through: Callable[[np.ndarray], np.ndarray] | None,
    ) -> Figures | None:
        """The figures on a corner of the values, where that is tried and can be run."""
        try:
            return None if small is None else self._on(ours, theirs, places, small, through)
        except CannotEvaluate:
            return None

    def _on(
        self,
        ours: Half,
        theirs: Half,
        places: Places,
        setting: Setting,
        through: Callable[[np.ndarray], np.ndarray] | None,
    ) -> Figures:
        self._narrow = False
        mine, own_deviation, kind = self._half(
            self.reference,
            ours,
            places.reference,
            places.reference_frame,
            setting,
            None if self.strict else _changed(ours, theirs),
        )
        result, deviation, _ = self._half(
            self.candidate, theirs, places.candidate, places.candidate_frame, setting, _changed(theirs, ours)
        )
        if through is not None:
            mine, result = through(mine), through(result)
        figures = compared(ours.end.name or "", kind, mine, result, (own_deviation, deviation), self.limit)
        if figures.passed and self._narrow:
            figures = self._in_its_own_type(ours, theirs, places, setting, figures)
        return figures

    def settings_of(self, ours: Half, theirs: Half, known: dict[Token, list[Recorded]]) -> Iterator[Setting]:
        """Values of the border, for trying what shows at its end."""
        for name, _, whole in self._settings(ours, theirs, known):
            if name in ("own", "spread", "wide", "integers"):
                yield whole()

    def side(self, places: Places, *, reference: bool) -> tuple[Bench, GraphLike, Frame | None]:
        """What runs one side of a cone."""
        if reference:
            return self.reference, places.reference, places.reference_frame
        return self.candidate, places.candidate, places.candidate_frame

    def reference_half(
        self, half: Half, places: Places, setting: Setting, uncertain: Uncertain | None
    ) -> tuple[Any, Any, ir.DataType]:
        """The reference's side of a cone: the value, its deviation, its type."""
        return self._half(self.reference, half, places.reference, places.reference_frame, setting, uncertain)

    def _half(
        self,
        bench: Bench,
        half: Half,
        graph: GraphLike,
        frame: Frame | None,
        setting: Setting,
        uncertain: Uncertain | None,
    ) -> tuple[Any, Any, ir.DataType]:
        """(the value at the end, how far rounding the uncertain constants may move it, its type)."""
        deviations = Deviations(
            bench.model, (uncertain or set()).__contains__, np.random.default_rng(self.seed)
        )
        found: tuple[Any, Any, ir.DataType] | None = None
        for step in bench.run(half, graph, frame, setting):
            self._narrow = self._narrow or any(
                kind.is_floating_point() and kind.bitwidth <= 16 for kind in step.kinds
            )
            if uncertain:
                deviations.add(step)
            if half.end in step.node.outputs:
                at = list(step.node.outputs).index(half.end)
                found = step.results[at], 0.0, step.kinds[at]
        if found is None:
            raise CannotEvaluate(half.end.name or "", "nothing computes it")
        if isinstance(found[0], np.ndarray) and found[0].size == 0:
            raise CannotEvaluate(half.end.name or "", "nothing is left of it at these sizes")
        return found[0], deviations.of.get(half.end, np.zeros(())), found[2]

    def _in_its_own_type(
        self, ours: Half, theirs: Half, places: Places, setting: Setting, figures: Figures
    ) -> Figures:
        """The same cone with every node rounded to its type: does one side alone leave the type?"""
        ends = []
        for bench, half, graph, frame in (
            (self.reference, ours, places.reference, places.reference_frame),
            (self.candidate, theirs, places.candidate, places.candidate_frame),
        ):
            end: Any = None
            for step in bench.run(half, graph, frame, setting, rounded=True):
                if half.end in step.node.outputs:
                    at = list(step.node.outputs).index(half.end)
                    end = Rounding(self.seed)(step.results[at], step.kinds[at])
            ends.append(end)
        mine, result = ends
        lost = int((np.isfinite(mine) & ~np.isfinite(result)).sum())
        if lost:
            return failed(
                figures.value, mine, figures.dtype, f"{lost} numbers leave {figures.dtype} on the way to it"
            )
        return figures

    # -- values of the border

    def _settings(
        self, ours: Half, theirs: Half, known: dict[Token, list[Recorded]]
    ) -> Iterator[tuple[str, Setting | None, Callable[[], Setting]]]:
        """(name, small values or none, full values) in the order in which they are tried."""
        tokens = list(dict.fromkeys([*ours.border.values(), *theirs.border.values()]))
        if any(not known.get(token) for token in tokens):
            missing = next(v.name for v, t in {**ours.border, **theirs.border}.items() if not known.get(t))
            raise CannotDischarge(f"no run reached '{missing}'")
        extent = _small_extent(ours, theirs)
        runs = max((len(known[token]) for token in tokens), default=1)
        names = [("own", place) for place in range(runs)]
        draws = 0
        if any(r.kind.is_floating_point() for token in tokens for r in known[token]):
            draws = _draws(known[token][0] for token in tokens)
            names += [(name, draw) for draw in range(draws) for name in ("wide", "spread", "shuffled")]
        if draws and _is_affine(ours) and _is_affine(theirs):
            names = [*names[:1], ("wide", 0)]
        free = {
            token: rows
            for token, rows in _free_integers(ours, theirs).items()
            if not known[token][0].kind.is_floating_point()
        }
        if free:
            names += [("all rows", 0), *(("integers", place) for place in range(DRAWS_OF_INTEGERS))]
        for name, place in names:
            values = partial(self._setting, name, place, tokens, known, free)
            yield name, values(extent) if extent else None, partial(values, 0)

    def _setting(
        self,
        name: str,
        place: int,
        tokens: Sequence[Token],
        known: dict[Token, list[Recorded]],
        free: dict[Token, int],
        cut: int,
    ) -> Setting:
        """Numbers for every value of the border."""
        return {
            token: (self._stand_in(name, place, token, known[token], free, cut), known[token][0].kind)
            for token in tokens
        }

    def _stand_in(
        self, name: str, place: int, token: Token, known: Sequence[Recorded], free: dict[Token, int], cut: int
    ) -> np.ndarray:
        """Numbers that stand for one value of the border."""
        if token in free and name in ("all rows", "integers"):
            return self._integers(name, place, token, known[0], free[token])
        return self._values(name, place, token, known[min(place, len(known) - 1)], cut)

    def _values(self, name: str, place: int, token: Token, known: Recorded, cut: int) -> np.ndarray:
        shape = known.shape
        if cut and len(shape) >= 4:
            shape = (min(shape[0], 1), shape[1], *(min(d, cut) for d in shape[2:]))
        if not known.kind.is_floating_point():
            if known.values is None or known.values.shape != shape:
                return self._padded(known, shape)
            return known.values
        random = np.random.default_rng([self.seed, len(name), sum(map(ord, name)), token % (1 << 31), place])
        scale = known.scale or abs(known.center) or 1.0
        values = known.values
        if values is not None and cut and len(shape) == values.ndim:
            values = values[tuple(slice(0, d) for d in shape)]
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

    def _integers(self, name: str, place: int, token: Token, known: Recorded, rows: int) -> np.ndarray:
        """Integers that may be anything: indices into `rows` rows, all of them if they may have another
        shape; without rows, numbers of every size."""
        shape, kind = known.shape, numpy_type(known.kind)
        if rows and name == "all rows":
            rank = max(len(shape), 1)
            return np.asarray(np.arange(rows).reshape((1,) * (rank - 1) + (rows,)), kind)
        random = np.random.default_rng([self.seed, place, token % (1 << 31)])
        if known.kind == ir.DataType.BOOL:
            return np.asarray(random.random(shape) < 0.5, np.bool_)
        if rows:
            drawn = random.integers(0, rows, shape)
            if drawn.size:
                drawn.reshape(-1)[0] = (0, rows - 1)[place % 2]
            return np.asarray(drawn, kind)
        least, most = (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
        sizes = np.exp2(random.uniform(0, 14, shape)) * random.choice([-1.0, 1.0], shape)
        return np.asarray(np.clip(np.trunc(sizes), max(least, -(1 << 30)), min(most, 1 << 30)), kind)

    def _padded(self, known: Recorded, shape: tuple[int, ...]) -> np.ndarray:
        """Integers of the border whose numbers were cut: repeated to their shape."""
        if known.values is None:
            return np.zeros(shape, numpy_type(known.kind))
        return np.resize(known.values, shape)


def _draws(border: Iterable[Recorded]) -> int:
    """How often generic values are drawn: more often where a border has few elements, of which some may lie
    where a Relu or a Softmax hides them."""
    elements = sum(math.prod(recorded.shape) for recorded in border)
    return max(1, min(MOST_DRAWS, ENOUGH // max(elements, 1)))


def _free_integers(ours: Half, theirs: Half) -> dict[Token, int]:
    """Integers and booleans of the border that may have any value, with the rows of the table that they point
    into (0: they point nowhere). What sizes and axes are made of may not."""
    free: dict[Token, int] = {}
    bound: set[Token] = set()
    for half in (ours, theirs):
        for node in half.nodes:
            for place, value in enumerate(node.inputs):
                token = half.border.get(value) if value is not None else None
                if token is None:
                    continue
                rows = _rows(node, place)
                if rows is None:
                    bound.add(token)
                else:
                    free[token] = min(filter(None, (free.get(token), rows)), default=0)
    return {token: rows for token, rows in free.items() if token not in bound}


def _rows(node: ir.Node, place: int) -> int | None:
    """The rows of the table that an input points into, 0 for plain numbers, None for what counts or
    shapes."""
    if op(node).plain_integers:
        return 0
    if node.domain not in STANDARD or node.op_type != "Gather" or place != 1 or node.inputs[0] is None:
        return None
    shape = node.inputs[0].shape
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    return size if isinstance(size, int) and size > 0 else None


def _changed(half: Half, other: Half) -> Uncertain:
    """The constants of one side that the other side does not have, and nodes with such float attributes:
    what a rewriting may have rounded."""
    kept = set(other.constants.values())
    constants = {value for value, token in half.constants.items() if token not in kept}
    attributes = {row for node in other.nodes for row in _float_attributes(node)}
    return constants | {node for node in half.nodes if not attributes.issuperset(_float_attributes(node))}


def _float_attributes(node: ir.Node) -> Iterator[tuple[str, str, float]]:
    for name, given in node.attributes.items():
        if not given.is_ref() and given.type == ir.AttributeType.FLOAT:
            yield node.op_type, name, given.as_float()


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
            if not _at_any_size(node):
                return 0
            kernel = node.attributes.get("kernel_shape")
            dilations = node.attributes.get("dilations")
            strides = node.attributes.get("strides")
            extent = max(kernel.as_ints(), default=1) if kernel is not None else _extent(node)
            reach *= max(strides.as_ints(), default=1) if strides is not None else 1
            reach += (extent - 1) * (max(dilations.as_ints(), default=1) if dilations is not None else 1)
    return max(4, 2 * reach) if reach <= CROPPED // 2 else 0


def _at_any_size(node: ir.Node) -> bool:
    if node.domain in STANDARD:
        return op(node).any_size
    return node.domain == contrib.DOMAIN and node.op_type in contrib.PLAIN


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
    weight = node.inputs[1] if node.op_type in ("Conv", "FusedConv") and len(node.inputs) > 1 else None
    if weight is None:
        return 1
    shape = weight.shape
    sizes = [d for d in shape[2:] if isinstance(d, int)] if shape is not None else []
    return max(sizes, default=1) if shape is not None else CROPPED


def weights_seen(
    discharger: Discharger,
    half: Half,
    places: Places,
    known: dict[Token, list[Recorded]],
    weights: Sequence[ir.Value],
    share: float = 0.01,
) -> set[ir.Value]:
    """Which weights of the reference's side show at the cone's end: would a change of one per cent be
    noticed?"""
    seen: set[ir.Value] = set()
    for setting in discharger.settings_of(half, half, known):
        try:
            plain, deviation, kind = discharger.reference_half(half, places, setting, set(half.constants))
        except CannotEvaluate:
            continue
        for weight in weights:
            if weight in seen:
                continue
            planted, changed = _planted(discharger.reference, half, setting, weight, share)
            try:
                moved, _, _ = discharger.reference_half(changed, places, planted, None)
            except CannotEvaluate:
                continue
            if not compared(half.end.name or "", kind, plain, moved, (deviation,), discharger.limit).passed:
                seen.add(weight)
    return seen


def _planted(
    bench: Bench, half: Half, setting: Setting, weight: ir.Value, share: float
) -> tuple[Setting, Half]:
    """The cone with one weight larger, as a value of its border."""
    tensor = bench.constants.tensor(weight)
    assert tensor is not None
    token = -1
    return {**setting, token: (_larger(np.asarray(widened(tensor.numpy())), share), tensor.dtype)}, Half(
        half.end, half.nodes, {**half.border, weight: token}, half.constants
    )


def _larger(values: np.ndarray, share: float) -> np.ndarray:
    """A weight that is larger by a share of itself; of one, where it is all zero."""
    return np.asarray(values * (1 + share) if values.any() else values + share)
