"""One comparison under way: the shapes and the engine with which the reference runs, and everything that has
been computed so far.

settled    an engine and shapes that work, and the reference's runs
complete   truth, yardstick and candidate for the feeds that have none yet
extend     more samples, where few elements make a verdict doubtful
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..ir.graph import graphs, ir, nodes
from ..results.comparison import Figures, Proof, Side
from ..results.options import VerifyOptions
from .composite_values import whole
from .engines.engines import REFUSALS, Engine, Onnxruntime, Runner, Simulated, Truth, Values
from .engines.runtime import CannotRun
from .gate import Demands, Triple
from .inputs import samples as feeding
from .inputs import user_files
from .inputs.interface import Interface
from .nondeterminism import random_nodes
from .obligations import Prover, folded_by_us, folds_of
from .perturbation import jittered, nudged_feeds
from .rederivation import rederived
from .truth.interpreter import CannotEvaluate
from .truth.number_formats import storage_of

Progress = Callable[[str, float], None]

MORE_SAMPLES = 48
PATIENCE_S = 20.0
TOO_LONG_S = 30.0  # one run in onnxruntime beyond which float64, some ten times slower, is not asked
MOST_USER_SAMPLES = 64
RECORDED = 2  # runs of the reference whose values stand at the borders of what differs


class CandidateFails(Exception):
    """The candidate cannot be run where the reference can."""


@dataclass
class Runs:
    """What was computed on the same feeds, values by name, per feed. `expected` is the gate's yardstick where
    the reference is not."""

    engine: Engine
    feeds: list[Values] = field(default_factory=list)
    references: list[Values] = field(default_factory=list)
    truths: list[Values] = field(default_factory=list)
    expected: list[Values] = field(default_factory=list)
    candidates: list[Values] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    truth: str = "float64"
    opaque: dict[str, str] = field(default_factory=dict)
    folds: list[Figures] = field(default_factory=list)
    proof: Proof | None = None

    def only(self, *indices: int) -> Runs:
        """The same, of some feeds."""

        def part(values: list[Values]) -> list[Values]:
            return [values[i] for i in indices if i < len(values)]

        return Runs(
            self.engine,
            part(self.feeds),
            part(self.references),
            part(self.truths),
            part(self.expected),
            part(self.candidates),
            truth=self.truth,
        )


class Case:
    """Both sides, the options, and what was noticed on the way."""

    def __init__(
        self, reference: Side, candidate: Side, options: VerifyOptions, face: Interface, tell: Progress
    ) -> None:
        self.reference, self.candidate, self.options, self.face, self.tell = (
            reference,
            candidate,
            options,
            face,
            tell,
        )
        self.notes: list[str] = list(face.notes)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.half = stores(reference.model, lambda kind: kind.bitwidth <= 16)
        self.double = stores(reference.model, lambda kind: kind == ir.DataType.DOUBLE)
        self.given = user_files.read(face.inputs, options)
        self.least = math.sqrt(max(sum(1 for _ in nodes(reference.model)), 1))

    # -- the reference

    def settled(self) -> Runs:
        """The reference's runs, in the first engine and with the first shapes that work. Raises
        CannotEvaluate if nothing does."""
        self.tell("running the reference", 0.0)
        refusal: Exception | None = None
        for engine in self._engines():
            try:
                with engine.open(self.reference) as runner:
                    runs = self._first_run(engine, runner)
                    self._run_reference(runner, runs, self._wanted_samples(runner))
            except REFUSALS as error:
                if isinstance(error, CannotRun):
                    self.notes.append(
                        f"onnxruntime cannot run the reference ({error}); the float64 interpreter "
                        "stands in for it"
                    )
                refusal = error
                continue
            return runs
        raise refusal if isinstance(refusal, CannotEvaluate) else CannotEvaluate("reference", str(refusal))

    def _engines(self) -> Iterator[Engine]:
        if drawn := random_nodes(self.reference.model):
            self.notes.append(
                f"{len(drawn)} nodes draw random numbers ({drawn[0].op_type}); both models got the "
                "same seeded ones instead, "
                "in the float64 interpreter"
            )
        else:
            yield Onnxruntime()
        yield Simulated(self.options.seed)

    def _first_run(self, engine: Engine, runner: Runner) -> Runs:
        last: Exception | None = None
        for shapes, note in self._shapes():
            self.shapes = shapes
            first = self._feed(0)
            try:
                values = runner.run(first)
            except REFUSALS as error:
                last = last or error
                continue
            if note:
                self.notes.append(note)
            return Runs(engine, [first], [values])
        if last is None:
            raise CannotEvaluate("inputs", "no shapes to try")
        raise last

    def _shapes(self) -> Iterator[tuple[dict[str, tuple[int, ...]], str]]:
        """Shapes to try, with a note where dims were guessed."""
        asked = dict(self.options.input_shapes)
        if self.given:
            asked = {
                **{one.name: asked[""] for one in self.face.inputs if "" in asked},
                **{n: s for n, s in asked.items() if n},
            }
            asked.update({name: tuple(value.shape) for name, value in self.given[0].items()})
        tried: set[tuple[tuple[int, ...], ...]] = set()
        for defaults in feeding.ATTEMPTS:
            shapes, chosen = feeding.concrete(self.face.inputs, asked, defaults)
            key = tuple(shapes.values())
            if key not in tried:
                tried.add(key)
                yield (
                    shapes,
                    f"free dims were chosen: {', '.join(chosen)} (--input-shape sets them)" if chosen else "",
                )

    def _feed(self, index: int) -> Values:
        """The user's samples first, then seeded ones; inputs that the user left out are seeded."""
        seeded = feeding.sample(self.face.inputs, self.shapes, self.options.seed, index)
        return {**seeded, **self.given[index]} if index < len(self.given) else seeded

    def _wanted_samples(self, runner: Runner) -> int:
        """Fewer samples where one alone takes long."""
        if not self.face.inputs:
            return 1
        slow = runner.seconds > PATIENCE_S / 10
        given = min(len(self.given), 4 if slow else MOST_USER_SAMPLES)
        if given < len(self.given):
            self.notes.append(f"{given} of {len(self.given)} samples of the input files were run")
        wanted = max(self.options.samples, 0 if given else 1)
        if slow and wanted > 1:
            self.notes.append(f"one seeded sample instead of {wanted}: a run takes {runner.seconds:.1f} s")
            wanted = 1
        self.given = self.given[:given]
        return given + wanted

    def _run_reference(self, runner: Runner, runs: Runs, samples: int) -> None:
        before = runner.seconds if len(runs.feeds) > 1 else 0.0
        while len(runs.feeds) < samples:
            feed = self._feed(len(runs.feeds))
            runs.references.append(runner.run(feed))
            runs.feeds.append(feed)
        runs.seconds = (runs.seconds[0] + runner.seconds - before, runs.seconds[1])

    # -- truth and candidate

    def complete(self, runs: Runs) -> None:
        """Truth, yardstick and candidate on the feeds that have none yet."""
        self.tell("computing the truth", 0.2)
        self.truth(runs)
        self.tell("running the candidate", 0.7)
        try:
            with runs.engine.open(self.candidate) as runner:
                for feed in runs.feeds[len(runs.candidates) :]:
                    runs.candidates.append(
                        self.face.in_reference_names(runner.run(self.face.for_candidate(feed)))
                    )
                runs.seconds = (runs.seconds[0], runs.seconds[1] + runner.seconds)
        except REFUSALS as error:
            raise CandidateFails(str(error)) from error

    def truth(self, runs: Runs) -> None:
        """What float64 says about the feeds that have no truth yet; the unfolded model where it cannot be
        had."""
        if not runs.truths:
            runs.truth = self._which_truth(runs)
            self.prove(runs)
        if runs.truth == "float64":
            try:
                self._in_float64(runs)
            except CannotEvaluate as error:
                if self.options.truth == "float64" or runs.engine.name != "onnxruntime":
                    raise
                self.notes.append(
                    f"no float64 truth ({error}): the unfolded model in its own precision is the "
                    "reference, a weaker gate"
                )
                runs.truth, runs.truths, runs.expected = "unfolded", [], []
        if runs.truth == "unfolded":
            runs.expected += self.nudged(runs, runs.feeds[len(runs.truths) :])
            runs.truths += runs.references[len(runs.truths) :]

    def _which_truth(self, runs: Runs) -> str:
        if self.options.truth != "auto":
            return self.options.truth
        if (each := runs.seconds[0] / len(runs.feeds)) > TOO_LONG_S:
            self.notes.append(
                f"no float64 truth: a run takes {each:.0f} s already; the unfolded model is the "
                "reference, a weaker gate"
            )
            return "unfolded"
        return "float64"

    def prove(self, runs: Runs) -> None:
        """Every place where the two models differ, proved where it stands; the reference's runs that this needs
        are the truth for their feeds."""
        if runs.truth == "unfolded":
            return
        strict = folded_by_us(self.reference.model, self.candidate.model)
        prover = Prover(
            self.reference.model,
            self.candidate.model,
            seed=self.options.seed,
            limit=self.options.noise_limit,
            strict=strict,
            freeze_initializers=self.options.freeze_initializers,
            tell=lambda share: self.tell("proving what differs", 0.2 + 0.4 * share),
        )
        feeds = runs.feeds[:RECORDED]
        try:
            truths = [prover.record(feed) for feed in feeds]
        except CannotEvaluate as error:
            self.notes.append(f"what differs could not be proved where it stands: {error}")
            return
        runs.proof = prover.prove(self.face, self.face.for_candidate(feeds[0]))
        runs.folds = folds_of(runs.proof)
        if strict:
            runs.folds += rederived(self.reference.model, self.candidate.model)
        if runs.engine.name != "onnxruntime" or not prover.opaque:
            runs.truths += truths
            runs.opaque.update(prover.opaque)

    def _in_float64(self, runs: Runs) -> None:
        simulated = runs.engine.name != "onnxruntime"
        with Truth(self.options.seed, stand_ins=simulated).open(self.reference) as runner:
            runs.truths += [runner.run(feed) for feed in runs.feeds[len(runs.truths) :]]
            runs.opaque.update(getattr(runner, "opaque", {}))
        if self.half or self.double or simulated:
            with Simulated(self.options.seed, stand_ins=simulated, weights=True).open(
                self.reference
            ) as runner:
                runs.expected += [runner.run(feed) for feed in runs.feeds[len(runs.expected) :]]

    def nudged(self, runs: Runs, feeds: Iterable[Values], draw: int = 0) -> list[Values]:
        """The reference with weights and inputs off by a rounding: how much its answer moves is what noise
        does to it, at least."""
        random = np.random.default_rng([self.options.seed, draw])
        seed = self.options.seed + (draw << 20)
        side = Side(jittered(self.reference.model, seed), None, self.reference.name)
        with runs.engine.open(side) as runner:
            return [runner.run(nudged_feeds(feed, random)) for feed in feeds]

    def extend(self, runs: Runs, more: int = MORE_SAMPLES) -> None:
        """Further samples, as far as patience lasts."""
        each = max(sum(runs.seconds) / len(runs.feeds), 1e-4) * 4
        wanted = len(runs.feeds) + max(1, min(more, int(PATIENCE_S / each)))
        with runs.engine.open(self.reference) as runner:
            self._run_reference(runner, runs, wanted)
        self.complete(runs)

    # -- what the gate asks

    def kind(self, name: str, triple: Triple) -> ir.DataType:
        """The storage type of a value: the output's own, else that of the array."""
        known = self.face.kinds.get(name, self.face.kinds.get(whole(name)))
        return known if known is not None else storage_of(triple.reference, None)

    def is_output(self, name: str) -> bool:
        """Is it an output, or a part of one that is no tensor (composite_values.py)?"""
        return name in self.face.outputs or whole(name) in self.face.outputs

    def outputs(self, *sides: list[Values]) -> list[str]:
        """The outputs as they were computed, part by part, by either of two models."""
        return [
            name
            for name in dict.fromkeys(name for side in sides for values in side for name in values)
            if self.is_output(name)
        ]

    def demands(self, name: str, runs: Runs) -> Demands:
        """What the options ask of one value."""
        rtol, atol = dict(self.options.rtol), dict(self.options.atol)
        least = self.least if runs.truth == "unfolded" else 1.0
        return Demands(
            self.options.noise_limit, rtol.get(name, rtol.get("")), atol.get(name, atol.get("")), least
        )


def stores(model: ir.Model, which: Callable[[ir.DataType], bool]) -> bool:
    """Does a model hold weights of such a float type?"""
    kinds = {
        value.const_value.dtype
        for graph in graphs(model)
        if isinstance(graph, ir.Graph)
        for value in graph.initializers.values()
        if value.const_value is not None
    }
    return any(kind.is_floating_point() and which(kind) for kind in kinds)
