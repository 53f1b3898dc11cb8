"""Discharging an obligation: both sides of a cone run alone on generic values at the border, in float64, and
the difference at the end is held against what rounding the weights can do (border_values.py has the values).

Where values are stored in 16 bits both sides run once more with every node rounded to its type: a value that
leaves the type on one side alone is a difference, whatever float64 says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import GraphLike, ir, is_op, opset
from ...records import dataclass
from ...results.comparison import Figures
from ..truth.call import Frame
from ..truth.interpreter import CannotEvaluate, Interpreter, Step
from ..truth.number_formats import Rounding, widened
from .border_values import LOUD, SPECIAL, TIES, Border, CannotDischarge, Setting
from .cones import Half
from .deciding_numbers import numbers_of
from .deviations import QUANTISED_BITS, Deviations, draw, unit_of
from .figures import NOT_FINITE, compared, failed
from .recording import Recorded
from .tokens import Token

CORRELATED = 1e3  # noise beyond it has no explanation in how errors of one value hang together
DRAWS = 8  # of constants that may be off by a rounding
LARGEST_DRAWN = 1 << 22  # such constants of a cone, all together
Uncertain = set[ir.Value | ir.Node]  # constants that may be off by a rounding, and nodes whose attributes may
OTHER_TIES = "a tie is decided in another way"


@dataclass(frozen=True)
class Bench:
    """One model, ready to run parts of itself. `types` says in which type it has a value of the border, where
    that is not the reference's. One interpreter runs all parts, and looks for its constants once."""

    model: ir.Model
    constants: Constants
    seed: int
    types: Callable[[ir.Value], ir.DataType | None] | None = None
    interpreter: Interpreter = field(init=False)

    def __post_init__(self) -> None:
        # no stand-ins: they would give the same on both sides, whatever reaches them
        object.__setattr__(self, "interpreter", Interpreter(self.model))

    def run(
        self, half: Half, graph: GraphLike, frame: Frame | None, setting: Setting, rounded: bool = False
    ) -> Iterator[Step]:
        """The nodes of a cone, one after the other, on these values. Raises CannotEvaluate."""
        interpreter = self.interpreter.rounding_by(Rounding(self.seed)) if rounded else self.interpreter
        place = Frame(
            frame.opset if frame is not None else opset(self.model, graph),
            frame.imports if frame is not None else self.model.opset_imports,
            attributes=frame.attributes if frame is not None else {},
        )
        for value, token in half.border.items():
            place.values[value], place.types[value] = setting[token]
            if self.types is not None:
                place.types[value] = self.types(value) or place.types[value]
        for value in half.constants:
            if value.producer() is not None:
                place.values[value], place.types[value] = self._constant(value)
        yield from interpreter.part(half.nodes, place)

    def _constant(self, value: ir.Value) -> tuple[Any, ir.DataType]:
        tensor = self.constants.tensor(value)
        assert tensor is not None
        return widened(self.interpreter.known.stored(value, tensor)), tensor.dtype


@dataclass(frozen=True)
class Places:
    """Where a cone stands: the graphs of both sides, and the frames of the function calls around them."""

    reference: GraphLike
    candidate: GraphLike
    reference_frame: Frame | None = None
    candidate_frame: Frame | None = None


_Side = tuple[Bench, Half, GraphLike, Frame | None]


class _CandidateStops(CannotEvaluate):
    """The candidate cannot be run on values on which the reference can."""


class Discharger:
    """Judges cones of one pair of models. `strict`: the candidate's weights were rounded once, from exact
    ones; otherwise those of the reference count as uncertain, too, as for tools that fold in single
    precision. `converted`: the candidate has 16 bits where the reference has more, so that all its constants
    were rounded, and larger numbers than the network's own may leave its type."""

    def __init__(
        self,
        reference: Bench,
        candidate: Bench,
        *,
        seed: int,
        limit: float,
        strict: bool,
        converted: bool = False,
    ) -> None:
        self.reference, self.candidate = reference, candidate
        self.seed, self.limit, self.strict, self.converted = seed, limit, strict, converted
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
        for name, small, whole in self._border(ours, theirs, known).settings():
            try:
                figures = self._tried(ours, theirs, places, small, through)
                if figures is None or not figures.passed:
                    figures = self._on(ours, theirs, places, whole(), through)
            except _CandidateStops as error:
                if name == "integers" and worst is not None:
                    return failed(
                        worst.value, np.zeros(()), worst.dtype, f"the reference takes any integers: {error}"
                    )
                refusal = error
                continue
            except CannotEvaluate as error:
                refusal = error
                continue
            if name not in ("own", SPECIAL) and figures.reason == NOT_FINITE:
                continue  # values that the network cannot have there may mean nothing to the operators
            if not figures.passed and name == TIES:
                return replace(figures, reason=f"{OTHER_TIES}: {figures.reason}")
            if not figures.passed:
                return figures
            worst = figures if worst is None or figures.noise > worst.noise else worst
        if worst is None:
            raise CannotDischarge(str(refusal) if refusal is not None else "nothing is known of its border")
        loud = self._narrow or _exponentials(theirs) > _exponentials(ours)
        return self._louder(ours, theirs, places, known, worst) if loud else worst

    def _border(self, ours: Half, theirs: Half, known: dict[Token, list[Recorded]]) -> Border:
        numbers = numbers_of(ours, theirs, self.reference.constants, self.candidate.constants)
        return Border(ours, theirs, known, self.seed, numbers)

    def _louder(
        self, ours: Half, theirs: Half, places: Places, known: dict[Token, list[Recorded]], figures: Figures
    ) -> Figures:
        """Where values have 16 bits, or the candidate has an exponential of its own: does one side alone
        leave the type on larger inputs?"""
        loud = self._border(ours, theirs, known).setting("own" if self.converted else LOUD, 0)
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
        sides = self._sides(ours, theirs, places)
        uncertain = set() if self.strict else _changed(ours, theirs), _changed(theirs, ours)
        mine, own_deviation, kind = self._half(*sides[0], setting, uncertain[0])
        try:
            result, deviation, _ = self._half(*sides[1], setting, uncertain[1])
        except CannotEvaluate as error:
            raise _CandidateStops(error.node, error.reason) from error
        if through is not None:
            mine, result = through(mine), through(result)
        deviations = own_deviation, deviation
        figures = compared(ours.end.name or "", kind, mine, result, deviations, self.limit)
        tensors = isinstance(mine, np.ndarray) and isinstance(result, np.ndarray)
        if tensors and not figures.passed and figures.noise < CORRELATED and through is None:
            drawn = [
                np.maximum(propagated, self._drawn(side, setting, doubts, end))
                for propagated, side, doubts, end in zip(
                    deviations, sides, uncertain, (mine, result), strict=True
                )
            ]
            figures = compared(ours.end.name or "", kind, mine, result, drawn, self.limit)
        if tensors and figures.passed and self._narrow and not self.converted:
            figures = self._in_its_own_type(ours, theirs, places, setting, figures)
        return figures

    def _sides(self, ours: Half, theirs: Half, places: Places) -> tuple[_Side, _Side]:
        return (
            (self.reference, ours, places.reference, places.reference_frame),
            (self.candidate, theirs, places.candidate, places.candidate_frame),
        )

    def _drawn(self, side: _Side, setting: Setting, uncertain: Uncertain, plain: Any) -> Any:
        """How far the end moves when every uncertain constant is off by a draw from its rounding, of a few
        draws. Propagation node by node takes the errors of a value for independent of each other; a mean
        over positions, which all have theirs from the same weight, is off by as much as each of them."""
        bench, half, graph, frame = side
        stored = {v: bench.constants.tensor(v) for v in half.constants if v in uncertain}
        floats = {v: t for v, t in stored.items() if t is not None and t.dtype.is_floating_point()}
        if not floats or sum(t.size for t in floats.values()) > LARGEST_DRAWN:
            return 0.0
        random = np.random.default_rng(self.seed)
        tokens = {value: -1 - k for k, value in enumerate(floats)}
        others = {v: t for v, t in half.constants.items() if v not in floats}
        drawn = Half(half.end, half.nodes, {**half.border, **tokens}, others)
        squares = 0.0
        for _ in range(DRAWS):
            moved = dict(setting)
            for value, tensor in floats.items():
                numbers = np.asarray(widened(tensor.numpy()))
                off = unit_of(tensor.dtype) * draw(random, numbers.shape)
                moved[tokens[value]] = numbers * (1 + off), tensor.dtype
            end, _, _ = self._half(bench, drawn, graph, frame, moved, None)
            with np.errstate(all="ignore"):
                squares = squares + np.square(end - plain) / DRAWS
        return np.sqrt(squares)

    def on_own_values(
        self, ours: Half, theirs: Half, places: Places, known: dict[Token, list[Recorded]]
    ) -> Figures:
        """The figures of the end on the values that the network has at the border. Raises CannotDischarge,
        CannotEvaluate."""
        return self.at(ours, theirs, places, self._border(ours, theirs, known).setting("own", 0))

    def at(self, ours: Half, theirs: Half, places: Places, setting: Setting) -> Figures:
        """The figures of the end on these values of the border. Raises CannotEvaluate."""
        return self._on(ours, theirs, places, setting, None)

    def settings_of(self, ours: Half, theirs: Half, known: dict[Token, list[Recorded]]) -> Iterator[Setting]:
        """Values of the border, for trying what shows at its end."""
        for name, _, whole in self._border(ours, theirs, known).settings():
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
            bench.model,
            (uncertain or set()).__contains__,
            np.random.default_rng(self.seed),
            all_readers=self.converted,
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
        """The same cone with every node rounded to its type: does the candidate alone leave the type, or
        either side where numbers are quantised: there what is clipped is chosen."""
        ends, quantised = [], False
        for bench, half, graph, frame in self._sides(ours, theirs, places):
            end: Any = None
            for step in bench.run(half, graph, frame, setting, rounded=True):
                quantised = quantised or any(
                    kind.is_floating_point() and kind.bitwidth <= QUANTISED_BITS for kind in step.kinds
                )
                if half.end in step.node.outputs:
                    at = list(step.node.outputs).index(half.end)
                    end = Rounding(self.seed)(step.results[at], step.kinds[at])
            ends.append(end)
        mine, result = (np.isfinite(end) for end in ends)
        lost = int((mine != result if quantised else mine & ~result).sum())
        if lost:
            return failed(
                figures.value,
                ends[0],
                figures.dtype,
                f"{lost} numbers leave {figures.dtype} on the way to it",
            )
        return figures


def _changed(half: Half, other: Half) -> Uncertain:
    """The constants of one side that the other side does not have, and nodes with such float attributes:
    what a rewriting may have rounded."""
    kept = set(other.constants.values())
    constants = {value for value, token in half.constants.items() if token not in kept}
    attributes = {row for node in other.nodes for row in _float_attributes(node)}
    return constants | {node for node in half.nodes if not attributes.issuperset(_float_attributes(node))}


def _exponentials(half: Half) -> int:
    """How many nodes of a cone leave single precision at a hundred already."""
    return sum(is_op(node, "Exp") for node in half.nodes)


def _float_attributes(node: ir.Node) -> Iterator[tuple[str, str, float]]:
    for name, given in node.attributes.items():
        if not given.is_ref() and given.type == ir.AttributeType.FLOAT:
            yield node.op_type, name, given.as_float()


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
