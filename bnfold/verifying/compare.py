"""Verification, from two models to a verdict.

    interface   inputs and outputs of the two models fit each other          interface.py
    settle      shapes and an engine with which the reference runs           here
    run         reference, candidate and truth on the same feeds             engines.py, interpreter.py
    judge       figures and verdict of every output                          gate.py
    localise    the first value that leaves the noise, if the gate fails     localise.py

onnxruntime is the engine wherever it can run the reference; elsewhere the float64 interpreter rounds each node's result to its storage
type instead, for both models alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..comparison import Comparison, Divergence, Figures, ProviderResult, Side, VerifyOptions
from ..errors import UsageError
from ..graph import graphs, ir
from . import feeds as feeding
from .engines import REFUSALS, Engine, Onnxruntime, Runner, Simulated, Truth, Values
from .environment import environment
from .gate import Demands, Triple, judge
from .interface import Interface, interface
from .interpreter import CannotEvaluate
from .localise import described, first_divergence
from .numbers import storage_of
from .steps import folded_by_us, judge_steps

Progress = Callable[[str, float], None]

FEW = 256  # elements below which one more look is cheaper than a doubtful verdict
MORE_SAMPLES = 48
PATIENCE_S = 20.0


@dataclass
class Runs:
    """What one engine computed on the same feeds: truth, reference, candidate; values by name, per feed."""

    engine: Engine
    feeds: list[Values] = field(default_factory=list)
    truths: list[Values] = field(default_factory=list)
    references: list[Values] = field(default_factory=list)
    candidates: list[Values] = field(default_factory=list)
    expected: list[Values] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    opaque: dict[str, str] = field(default_factory=dict)
    folds: list[Figures] = field(default_factory=list)


class CandidateFails(Exception):
    """The candidate cannot be run where the reference can."""


def compare(reference: Side, candidate: Side, options: VerifyOptions, progress: Progress | None = None) -> Comparison:
    """Are the two models numerically the same?

    Raises UsageError where inputs, outputs, shapes or options do not fit, ProviderUnavailable where a requested execution provider is
    missing or falls back.
    """
    started = time.perf_counter()
    tell = progress or (lambda what, share: None)
    face = interface(reference, candidate)
    case = Case(reference, candidate, options, face, tell)
    result = case.verdict()
    return replace(result, seconds=time.perf_counter() - started)


class Case:
    """One comparison under way."""

    def __init__(self, reference: Side, candidate: Side, options: VerifyOptions, face: Interface, tell: Progress) -> None:
        self.reference, self.candidate, self.options, self.face, self.tell = reference, candidate, options, face, tell
        self.notes: list[str] = list(face.notes)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.half = stores_half(reference.model)

    def verdict(self) -> Comparison:
        """Run, judge, and localise where the gate fails."""
        try:
            runs = self.settled()
        except CannotEvaluate as error:
            return self._comparison((), None, f"nothing here can run the reference: {error}")
        try:
            self.complete(runs)
        except CandidateFails as error:
            return self._comparison((), None, f"the candidate cannot be run where the reference can: {error}")
        figures = self.judged(runs)
        if self._doubtful(figures, runs):
            self.extend(runs, MORE_SAMPLES)
            figures = self.judged(runs)
        result = self._provider_result("cpu", runs, figures)
        wrong = [f for f in runs.folds if not f.passed]
        failed = [*wrong, *(f for f in figures if not f.passed)]
        divergence = None
        if failed:
            divergence = described(self, wrong[0]) if wrong else first_divergence(self, runs, figures)
        return self._comparison((result,), divergence, f"{failed[0].value}: {failed[0].reason}" if failed else "", runs.folds)

    # -- settle: an engine and shapes with which the reference runs

    def settled(self) -> Runs:
        """The reference's first run, in the first engine and with the first shapes that work."""
        self.tell("running the reference", 0.0)
        refusals: list[str] = []
        for engine in self._engines():
            try:
                with engine.open(self.reference) as runner:
                    runs = self._first_run(engine, runner)
                    self._run_reference(runner, runs, self._wanted_samples(runner))
            except REFUSALS as error:
                refusals.append(str(error))
                last = error
                continue
            if refusals:
                self.notes.append(f"onnxruntime cannot run the reference ({refusals[0]}); the float64 interpreter stands in for it")
            return runs
        raise last if isinstance(last, CannotEvaluate) else CannotEvaluate("reference", str(last))

    def _engines(self) -> Iterable[Engine]:
        yield Onnxruntime()
        yield Simulated(self.options.seed)

    def _first_run(self, engine: Engine, runner: Runner) -> Runs:
        asked = dict(self.options.input_shapes)
        tried: set[tuple[tuple[int, ...], ...]] = set()
        last: Exception | None = None
        for defaults in feeding.ATTEMPTS:
            shapes, guessed = feeding.concrete(self.face.inputs, asked, defaults)
            if tuple(shapes.values()) in tried:
                continue
            tried.add(tuple(shapes.values()))
            first = feeding.sample(self.face.inputs, shapes, self.options.seed, 0)
            try:
                values = runner.run(first)
            except REFUSALS as error:
                last = last or error
                continue
            self.shapes = shapes
            if guessed:
                self.notes.append(f"free dims of the inputs were set to {defaults}; --input-shape sets them")
            return Runs(engine, [first], references=[values])
        assert last is not None
        raise last

    def _wanted_samples(self, runner: Runner) -> int:
        """Fewer samples where one alone takes long."""
        wanted = max(self.options.samples, 1) if self.face.inputs else 1
        if runner.seconds > PATIENCE_S / 10 and wanted > 1:
            self.notes.append(f"one sample instead of {wanted}: a run takes {runner.seconds:.1f} s")
            return 1
        return wanted

    # -- run

    def _run_reference(self, runner: Runner, runs: Runs, samples: int) -> None:
        while len(runs.feeds) < samples:
            feed = feeding.sample(self.face.inputs, self.shapes, self.options.seed, len(runs.feeds))
            runs.references.append(runner.run(feed))
            runs.feeds.append(feed)
        runs.seconds = (runs.seconds[0] + runner.seconds, runs.seconds[1])

    def complete(self, runs: Runs) -> None:
        """Truth and candidate on the feeds that have none yet."""
        self.tell("computing the truth in float64", 0.2)
        if not runs.truths and folded_by_us(self.candidate.model):
            self._by_steps(runs)
        with Truth(self.options.seed).open(self.reference) as runner:
            runs.truths += [runner.run(feed) for feed in runs.feeds[len(runs.truths):]]
            runs.opaque.update(getattr(runner, "opaque", {}))
        if runs.engine.name == "onnxruntime" and self.half:
            with Simulated(self.options.seed).open(self.reference) as runner:
                runs.expected += [runner.run(feed) for feed in runs.feeds[len(runs.expected):]]
        self.tell("running the candidate", 0.7)
        try:
            with runs.engine.open(self.candidate) as runner:
                for feed in runs.feeds[len(runs.candidates):]:
                    runs.candidates.append(self.face.in_reference_names(runner.run(self.face.for_candidate(feed))))
                runs.seconds = (runs.seconds[0], runs.seconds[1] + runner.seconds)
        except REFUSALS as error:
            raise CandidateFails(str(error)) from error

    def _by_steps(self, runs: Runs) -> None:
        """The truth for the first feed, with every fold judged on the way."""
        feed = runs.feeds[0]
        steps = judge_steps(self.reference.model, self.candidate.model, feed, self.options.seed, self.options.noise_limit)
        runs.truths.append({**steps.outputs, **steps.given})
        runs.opaque.update(steps.opaque)
        runs.folds = steps.figures

    def extend(self, runs: Runs, more: int) -> None:
        """Further samples, as far as patience lasts."""
        each = max(sum(runs.seconds) / len(runs.feeds), 1e-4) * 4
        wanted = len(runs.feeds) + max(1, min(more, int(PATIENCE_S / each)))
        with runs.engine.open(self.reference) as runner:
            self._run_reference(runner, runs, wanted)
        self.complete(runs)

    # -- judge

    def judged(self, runs: Runs) -> list[Figures]:
        """Figures of every output, and of what reaches an operator that nobody knows."""
        names = [*self.face.outputs, *(name for name in runs.truths[0] if name not in self.face.outputs)]
        return [self.figures(name, runs) for name in names]

    def figures(self, name: str, runs: Runs) -> Figures:
        """The figures of one value over all feeds."""
        rows = zip(runs.truths, runs.references, runs.candidates, runs.expected or [{}] * len(runs.truths), strict=True)
        missing = next((who for row in zip(runs.references, runs.candidates, strict=True)
                        for who, values in zip(("reference", "candidate"), row, strict=True) if name not in values), None)
        if missing:
            raise UsageError(f"the {missing} has no value '{name}'")
        triples = [Triple(t[name], r[name], c[name], e.get(name)) for t, r, c, e in rows]
        return judge(name, triples, self._kind(name, triples[0]), self._demands(name))

    def _kind(self, name: str, triple: Triple) -> ir.DataType:
        known = self.face.kinds.get(name)
        return known if known is not None else storage_of(triple.reference, None)

    def _demands(self, name: str) -> Demands:
        rtol, atol = dict(self.options.rtol), dict(self.options.atol)
        return Demands(self.options.noise_limit, rtol.get(name, rtol.get("")), atol.get(name, atol.get("")))

    def _doubtful(self, figures: list[Figures], runs: Runs) -> bool:
        """Did a value with few elements fail by little? Then its noise is a guess, and more samples decide."""
        if not self.face.inputs:
            return False
        elements = len(runs.feeds)
        return any(not f.passed and f.noise < 64 * self.options.noise_limit and elements * _size(f.shape) < FEW for f in figures)

    def _provider_result(self, provider: str, runs: Runs, figures: list[Figures]) -> ProviderResult:
        passed = all(f.passed for f in figures)
        noise = max((f.noise for f in figures), default=1.0)
        error = max((f.candidate_error for f in figures), default=0.0)
        return ProviderResult(provider, runs.engine.name, tuple(figures), passed, noise, error, runs.seconds)

    def _comparison(self, results: tuple[ProviderResult, ...], divergence: Divergence | None, reason: str,
                    folds: Sequence[Figures] = ()) -> Comparison:
        passed = bool(results) and all(r.passed for r in results) and all(f.passed for f in folds)
        inputs = tuple((name, "x".join(map(str, shape)) or "scalar") for name, shape in self.shapes.items())
        return Comparison(passed, results, max((r.noise for r in results), default=float("nan")),
                          max((r.max_error for r in results), default=float("nan")), "float64", self.options.seed, inputs,
                          divergence, reason, tuple(self.notes), tuple(folds), environment())


def stores_half(model: ir.Model) -> bool:
    """Does a model hold weights of 16 bits or fewer?"""
    kinds = {value.const_value.dtype for graph in graphs(model) if isinstance(graph, ir.Graph) for value in graph.initializers.values()
             if value.const_value is not None}
    return any(kind.is_floating_point() and kind.bitwidth <= 16 for kind in kinds)


def _size(shape: tuple[int, ...]) -> int:
    result = 1
    for d in shape:
        result *= d
    return result
