"""Every fold on its own: each value of the candidate computed from true inputs, in float64.

Reference and candidate walk side by side. Whenever the candidate has computed a value that both models have
(names tell the truth), it is held against the reference's and then replaced by it, so that no error travels
on. What is left is the rounding of the folded weights alone, and that has a known size: with w = fl(w') each
product is off by at most one rounding of itself, so

    variance of y = sum of w·x    is at most    u²·(sum of w²·x²)            u: unit roundoff of the storage
                                  type

which is the same operator on squares. A right fold measures 0.2 to 1.1 of that deviation, in any depth; a
wrong epsilon 17 and more. This sees what an output of a deep, chaotic or partly dead net cannot show. It
needs folds that are rounded once, so it judges folds of our own (nodes that carry `bnfold.folded`) and leaves
other tools' to the gate on outputs.

A value that only the candidate has (an affine map was moved through an operator) carries its deviation on:
through linear operators as above, through all others by one random draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..ir.graph import STANDARD, bodies, ir, source_text
from ..ir.provenance import FOLDED_KEY, Source, parse
from ..operators.table import op
from ..results.comparison import Figures
from .composite_values import parts
from .gate import FAINT, ratios
from .inputs.interface import Interface
from .rederivation import rederived
from .truth.interpreter import Interpreter, Step
from .truth.kernels import KERNELS
from .truth.large_weights import Stored, Weight, changed
from .truth.number_formats import rounding, tiny
from .truth.unknown_operators import StandIns

UNIT_OF_DOUBLE = (
    2.0**-40
)  # the truth itself is in double, and what cancels in it is off by more than a rounding


@dataclass
class Steps:
    """`figures` in the candidate's order; `outputs` is the truth for the outputs."""

    figures: list[Figures] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    given: dict[str, np.ndarray] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)


def folded_by_us(reference: ir.Model, candidate: ir.Model) -> bool:
    """Does any node of the candidate say what was folded into it, and do all that do come from the reference?

    Two models of one network may share names that do not mean the same (before and after an activation that
    works in place). Where their nodes come from tells them apart; the file's own name does not count, files
    are renamed."""
    folded = [node for node in candidate.graph if FOLDED_KEY in node.metadata_props]
    known = {_origin(node) for node in reference.graph}
    return bool(folded) and all(_origin(node) in known for node in folded)


def _origin(node: ir.Node) -> Source:
    return replace(parse(source_text(node)), file="")


def judge_steps(
    reference: ir.Model,
    candidate: ir.Model,
    face: Interface,
    feeds: dict[str, np.ndarray],
    seed: int,
    limit: float,
) -> Steps:
    """Walk both models on one feed. Raises CannotEvaluate."""
    stand_ins = StandIns(seed)
    truth = _Ahead(Interpreter(reference, stand_ins=stand_ins), feeds, _computed(candidate))
    walker = Interpreter(candidate, stand_ins=StandIns(seed))
    found = Steps()
    judge = _Judge(candidate, np.random.default_rng(seed), limit)
    for step in walker.walk(face.for_candidate(feeds)):
        for index, value in enumerate(step.node.outputs):
            true = truth.value(value.name or "") if value.name in truth.known else None
            figures = judge(step, index, true)
            found.figures.extend([figures] if figures is not None else [])
            if true is not None:
                step.results[index] = true
    truth.finish()
    found.figures += rederived(reference, candidate)
    found.outputs, found.given, found.opaque = (
        parts(truth.interpreter.outputs),
        stand_ins.given,
        stand_ins.nodes,
    )
    return found


def _computed(model: ir.Model) -> set[str]:
    return {v.name for node in model.graph for v in node.outputs if v.name and node.op_type != "Constant"}


class _Ahead:
    """The reference's values, computed as far as they are asked for and kept until then."""

    def __init__(self, interpreter: Interpreter, feeds: Mapping[str, np.ndarray], wanted: set[str]) -> None:
        self.interpreter = interpreter
        self.known = wanted & _computed(interpreter.model)
        self._walk: Iterator[Step] = interpreter.walk(feeds)
        self._waiting: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        """Walk until the value is there; it is handed out once."""
        while name not in self._waiting:
            step = next(self._walk)
            self._waiting.update(
                {
                    v.name: r
                    for v, r in zip(step.node.outputs, step.results, strict=False)
                    if v.name in self.known
                }
            )
        return self._waiting.pop(name)

    def finish(self) -> None:
        """Walk to the end."""
        for _ in self._walk:
            pass


class _Judge:
    """Keeps the deviations of values that only the candidate has."""

    def __init__(self, model: ir.Model, random: np.random.Generator, limit: float) -> None:
        self.model, self.random, self.limit = model, random, limit
        self.deviations: dict[ir.Value, np.ndarray] = {}
        self.constants = {v for node in model.graph if node.op_type == "Constant" for v in node.outputs}

    def __call__(self, step: Step, index: int, true: Any) -> Figures | None:
        """Figures of a value that both models have and that differs at all; None where there is nothing to
        judge."""
        result, value, kind = step.results[index], step.node.outputs[index], step.kinds[index]
        if not isinstance(result, np.ndarray) or result.dtype != np.float64 or not kind.is_floating_point():
            return None
        if true is not None and (true.shape != result.shape or np.array_equal(true, result, equal_nan=True)):
            return None
        if bodies(step.node) or step.node.op_identifier() in self.model.functions:
            return None  # constants inside are out of sight; the gate on outputs judges these
        deviation = self._deviation(step, index, kind)
        if true is None:
            self.deviations[value] = deviation
            return None
        return self._figures(value, kind, result, true, deviation)

    def _deviation(self, step: Step, index: int, kind: ir.DataType) -> np.ndarray:
        unit = _unit(kind)
        spreads = [
            self._spread(step, value, argument, unit)
            for value, argument in zip(step.node.inputs, step.arguments, strict=False)
        ]
        with np.errstate(all="ignore"):
            if op(step.node).linear:
                return np.asarray(np.sqrt(_linear(step, spreads)))
            if step.node.op_type not in KERNELS or step.node.domain not in STANDARD:
                return np.asarray(np.abs(step.results[index]) * unit)
            moved = [
                a + s * self.random.uniform(-1.7, 1.7, s.shape) if isinstance(s, np.ndarray) else a
                for a, s in zip(step.arguments, spreads, strict=False)
            ]
            again = KERNELS[step.node.op_type](step.call, *moved)
        return np.asarray(
            np.abs((again if isinstance(again, tuple) else (again,))[index] - step.results[index])
        )

    def _spread(self, step: Step, value: ir.Value | None, argument: Any, unit: float) -> Weight | None:
        """How far an input of a candidate's node may be off: a constant by its rounding, a value of its own
        by what it carries."""
        if value is None or not isinstance(argument, (np.ndarray, Stored)) or argument.dtype != np.float64:
            return None
        if value in self.deviations:
            return self.deviations[value]
        if not op(step.node).parametric:
            return None
        is_constant = value in self.constants or (value.producer() is None and value.const_value is not None)
        return changed(argument, lambda part: np.abs(part) * unit) if is_constant else None

    def _figures(
        self, value: ir.Value, kind: ir.DataType, result: np.ndarray, true: np.ndarray, deviation: np.ndarray
    ) -> Figures:
        usable = np.isfinite(true) & np.isfinite(result)
        if not np.array_equal(np.isfinite(true), np.isfinite(result)):
            return _failed(value.name or "", true, kind, "NaN or infinity where float64 has a number")
        size = np.where(usable, np.abs(true), 0.0)
        error = np.where(usable, result - true, 0.0)
        magnitude = float(size.max(initial=0.0))
        axes = tuple(i for i in range(true.ndim) if i != 1) if true.ndim >= 2 else None
        scale = np.maximum(
            size.max(axis=axes, keepdims=axes is not None, initial=0.0), max(FAINT * magnitude, tiny(kind))
        ) * _unit(kind)
        expected = (np.where(usable & np.isfinite(deviation), deviation, 0.0) / scale) ** 2 + (
            size * _unit(kind) / scale
        ) ** 2
        found = (error / scale) ** 2
        sums = np.stack(
            [np.asarray(v.sum(axis=axes)).reshape(-1) for v in (usable, expected, found)], axis=1
        ).astype(np.float64)
        noise = float(max(ratios(sums).max(initial=0.0), ratios(sums.sum(axis=0)[None])[0]))
        reason = (
            ""
            if noise <= self.limit
            else f"{noise:.3g} times what rounding its weights can do (limit {self.limit:g})"
        )
        total = max(float(sums[:, 0].sum()), 1.0)
        rms = [float(np.sqrt(sums[:, i].sum() / total)) for i in (1, 2)]
        peak = float(np.abs(error).max(initial=0.0)) / (magnitude or 1.0)
        return Figures(
            value=value.name or "",
            shape=tuple(true.shape),
            dtype=kind.name.lower(),
            magnitude=magnitude,
            reference_error=0.0,
            candidate_error=peak,
            reference_rms=rms[0] * _unit(kind),
            candidate_rms=rms[1] * _unit(kind),
            noise=noise,
            roundings=rms[1],
            passed=not reason,
            reason=reason,
        )


def _unit(kind: ir.DataType) -> float:
    return UNIT_OF_DOUBLE if kind == ir.DataType.DOUBLE else rounding(kind)


def _failed(name: str, true: np.ndarray, kind: ir.DataType, reason: str) -> Figures:
    inf = float("inf")
    return Figures(
        value=name,
        shape=tuple(true.shape),
        dtype=kind.name.lower(),
        magnitude=float("nan"),
        reference_error=0.0,
        candidate_error=inf,
        reference_rms=0.0,
        candidate_rms=inf,
        noise=inf,
        roundings=inf,
        passed=False,
        reason=reason,
    )


def _linear(step: Step, spreads: list[Weight | None]) -> np.ndarray:
    """Variance of a linear operator's result: the operator on squares, once per uncertain input."""
    attributes = {"alpha": step.call.get("alpha", 1.0) ** 2, "beta": step.call.get("beta", 1.0) ** 2}
    call = SimpleNamespace(
        get=lambda key, default=None: (
            attributes.get(key) if key in attributes else step.call.get(key, default)
        )
    )
    squares = [None if a is None else changed(a, np.square) for a in step.arguments]
    kernel, bias = KERNELS[step.node.op_type], op(step.node).bias
    total = np.zeros(())
    for place, spread in enumerate(spreads):
        if spread is None:
            continue
        inputs = list(squares)
        inputs[place] = changed(spread, np.square)
        if place == bias:
            total = total + _bias(step, inputs[place], attributes["beta"])
        else:
            total = total + kernel(call, *inputs[:bias])
    return np.broadcast_to(total, step.results[0].shape)


def _bias(step: Step, variance: Any, beta: float) -> Any:
    if step.node.op_type == "Gemm":
        return variance * beta
    return variance.reshape(-1, *(1,) * (step.results[0].ndim - 2))
