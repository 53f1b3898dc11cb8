"""One comparison in progress: the shapes and the engine with which the reference runs, and everything that
has been computed so far.

reference_runs   finds an engine and shapes that work, and runs the reference
complete         computes truth, yardstick and candidate for the feeds that lack them
extend           adds samples where the effective sample size makes a verdict uncertain
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace
from functools import cached_property

import numpy as np

from ..errors import Unsupported
from ..ir.graph import ir, nodes
from ..records import dataclass
from ..results.comparison import Figures, Proof, Side
from ..results.model_names import check_verification
from ..results.options import VerifyOptions, spelled
from .composite_values import whole
from .engines.engines import REFUSALS, Engine, Onnxruntime, Runner, Simulated, Truth, Values
from .engines.runtime import CannotRun
from .gate import Demands, Triple
from .inputs import samples as feeding
from .inputs import user_files
from .inputs.integer_ranges import ranged
from .inputs.interface import Interface
from .inputs.sizes import Choice, Search
from .nondeterminism import random_nodes
from .obligations import Prover, folded_by_us, folds_of
from .perturbation import jittered, nudged_feeds
from .precision import is_converted, is_narrow, stores
from .rederivation import rederived
from .truth.interpreter import CannotEvaluate
from .truth.number_formats import storage_of
from .truth.unknown_operators import renamed

Progress = Callable[[str, float], None]

MORE_SAMPLES = 48
PATIENCE_S = 20.0
TOO_LONG_S = 30.0  # one run in onnxruntime beyond which float64, some ten times slower, is not asked
MOST_USER_SAMPLES = 64
MOST_AT_ONCE = 1 << 22  # elements of all values of a sample that goes through a table
RECORDED = 3  # runs of the reference, of different sizes, whose values stand at the borders of what differs


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
    recorded: dict[int, Values] = field(default_factory=dict)
    larger: list[int] = field(
        default_factory=list
    )  # feeds of sizes that constants name: no proof is of these

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
    """Both models, the options, and the notes for the user."""

    def __init__(
        self,
        reference: Side,
        candidate: Side,
        options: VerifyOptions,
        interface: Interface,
        progress: Progress,
    ) -> None:
        self.reference, self.candidate, self.options = reference, candidate, options
        self.interface, self.progress = interface, progress
        self.notes: list[str] = list(interface.notes)
        self.distrusted: set[str] = set()  # values that float64 computes in another way than the engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.choice: Choice
        self.no_sizes = False
        self.narrow = False
        self.half = stores(reference.model, is_narrow)
        self.double = stores(reference.model, lambda kind: kind == ir.DataType.DOUBLE)
        self.converted = is_converted(reference.model, candidate.model)
        if self.converted:
            self.notes.append(
                "only the candidate stores weights in 16 bits, so it may differ by the rounding of its own "
                "types"
            )
        check_verification(reference.model, options)
        self.given = user_files.read_feeds(interface.inputs, options)
        self.search = Search(reference.model, interface.inputs, self._asked())
        self.least = math.sqrt(max(sum(1 for _ in nodes(reference.model)), 1))

    # -- the reference

    def reference_runs(self) -> Runs:
        """The reference's runs, in the first engine and with the first shapes that work. Raises
        CannotEvaluate if nothing does."""
        self.progress("running the reference", 0.0)
        refusal: Exception | None = None
        for engine in self._engines():
            try:
                with engine.open(self.reference) as runner:
                    runs = self._first_run(engine, runner)
                    self._run_reference(runner, runs, self._wanted_samples(runner))
                    self._at_other_sizes(runner, runs)
                    self._through_tables(runner, runs)
            except REFUSALS as error:
                if isinstance(error, CannotRun):
                    self.notes.append(
                        f"onnxruntime cannot run the reference ({error}); the float64 interpreter "
                        "is used instead"
                    )
                refusal = error
                continue
            return runs
        if self.no_sizes:
            raise Unsupported(
                f"bnfold found no sizes for the free dims at which the reference runs ({refusal})",
                way_out=f"give sizes that fit in place of the names: {self.search.way_out()}{self._values()}",
            )
        raise refusal if isinstance(refusal, CannotEvaluate) else CannotEvaluate("reference", str(refusal))

    def _values(self) -> str:
        """What to type besides, where integers among the inputs say sizes, counts or places."""
        inputs = ranged(self.interface.inputs, self.reference.model, self.choice.outcome.shapes)
        told = [one.name for one in inputs if one.steers]
        given = " ".join(f"{spelled('inputs')} {name}:FILE.npy" for name in told)
        return f"; or give fitting values for the integers that control it: {given}" if told else ""

    def _engines(self) -> Iterator[Engine]:
        if drawn := random_nodes(self.reference.model):
            self.notes.append(
                f"{len(drawn)} nodes draw random numbers ({drawn[0].op_type}); both models were given the "
                "same seeded numbers, and ran in the float64 interpreter"
            )
        else:
            yield Onnxruntime()
        yield Simulated(self.options.seed, names=self._renamed)

    @cached_property
    def _renamed(self) -> tuple[ir.Model, dict[str, str]]:
        return self.candidate.model, renamed(self.reference.model, self.candidate.model)

    def _first_run(self, engine: Engine, runner: Runner) -> Runs:
        """The reference on the first sample, at the first sizes at which it runs. Raises what it raised at
        the best of those that do not."""
        last: Exception | None = None
        for choice in self.search.first():
            self.shapes, self.choice = choice.shapes, choice
            first = self._feed(0)
            try:
                values = runner.run(first)
            except REFUSALS as error:
                last = last or error
                continue
            return Runs(engine, [first], [values])
        assert last is not None
        self.no_sizes = self.no_sizes or (
            self.search.free and (engine.name == "onnxruntime" or bool(self.search.contradiction))
        )
        raise last

    def _asked(self) -> dict[str, tuple[int, ...]]:
        """The shapes of inputs that the user gave: by name, or those of his samples."""
        asked = dict(self.options.input_shapes)
        if self.given:
            asked = {name or self.interface.inputs[0].name: dims for name, dims in asked.items()}
            asked.update({name: tuple(value.shape) for name, value in self.given[0].items()})
        return asked

    @cached_property
    def free_search(self) -> Search:
        """Sizes for all free dims but those that the user fixed: his samples fix none."""
        if not self.given:
            return self.search
        return Search(self.reference.model, self.interface.inputs, dict(self.options.input_shapes))

    def _at_other_sizes(self, runner: Runner, runs: Runs) -> None:
        """One more sample whose free dims are of other sizes, where there are such: what a candidate has
        baked in shows there."""
        search = self.free_search
        first = search.choice_of(self.shapes)
        chosen = f"free dims were chosen: {self.choice.note}" if self.choice.words else ""
        second = None
        if first is not None and search.free:
            if runner.seconds / len(runs.feeds) > PATIENCE_S / 2:
                self.notes.append("no sample of other sizes was run: a run takes too long")
            else:
                second = search.second(first)
        if second is not None:
            try:
                feed = feeding.sample(
                    self.interface.inputs, second.shapes, self.options.seed, len(runs.feeds)
                )
                runs.references.append(runner.run(feed))
                runs.feeds.append(feed)
                chosen += (
                    f"{'; ' if chosen else ''}sample {len(runs.feeds) - 1} is of other sizes: {second.note}"
                )
            except (*REFUSALS, feeding.Unfillable):
                pass  # the engine knows better than the dry run
        if chosen:
            self.notes.append(f"{chosen} ({spelled('input_shapes')} sets them)")

    def _through_tables(self, runner: Runner, runs: Runs) -> None:
        """One more sample, as large as it takes to reach every row of tables that inputs look up, if that is
        cheap."""
        if self.given or runner.seconds / len(runs.feeds) > PATIENCE_S / 100:
            return
        for one in ranged(self.interface.inputs, self.reference.model, self.choice.outcome.shapes):
            reached = sum(feed[one.name].size for feed in runs.feeds)
            if one.span is None or reached >= one.span[1] - one.span[0]:
                continue
            larger = self.search.larger(self.choice, one.name, one.span[1] - one.span[0], MOST_AT_ONCE)
            if larger is None:
                continue
            try:
                feed = self.seeded(larger, len(runs.feeds))
                runs.references.append(runner.run(feed))
                runs.feeds.append(feed)
            except (*REFUSALS, feeding.Unfillable):
                continue
            self.notes.append(
                f"sample {len(runs.feeds) - 1} reaches up to {feed[one.name].size:,} of the "
                f"{one.span[1]:,} rows that '{one.name}' looks up, at {larger.note}"
            )

    def seeded(self, choice: Choice, index: int) -> Values:
        """A seeded sample at some sizes; what the user gave for integers that steer the model stays."""
        inputs = ranged(self.interface.inputs, self.reference.model, choice.outcome.shapes)
        if self.narrow:
            inputs = [replace(one, free=False) for one in inputs]
        made = feeding.sample(inputs, choice.shapes, self.options.seed, index)
        given = self.given[0] if self.given else {}
        steering = {one.name for one in inputs if one.steers} & given.keys()
        return made | {name: given[name] for name in steering if given[name].shape == made[name].shape}

    def _feed(self, index: int) -> Values:
        """The user's samples first, then seeded ones; inputs that the user left out are seeded."""
        seeded = self.seeded(self.choice, index)
        return {**seeded, **self.given[index]} if index < len(self.given) else seeded

    def _wanted_samples(self, runner: Runner) -> int:
        """How many samples to run: fewer where a single one takes long."""
        if not self.interface.inputs:
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
            try:
                values = runner.run(feed)
            except REFUSALS:
                if self.narrow:
                    raise
                self.narrow = True  # other integers than 0 and 1 may be what it refuses
                continue
            runs.references.append(values)
            runs.feeds.append(feed)
        runs.seconds = (runs.seconds[0] + runner.seconds - before, runs.seconds[1])

    # -- truth and candidate

    def complete(self, runs: Runs) -> None:
        """Truth, yardstick and candidate on the feeds that have none yet."""
        self.progress("computing the truth", 0.2)
        self.truth(runs)
        self.progress("running the candidate", 0.7)
        try:
            with runs.engine.open(self.candidate) as runner:
                for feed in runs.feeds[len(runs.candidates) :]:
                    runs.candidates.append(self._candidate(runner, feed))
                    _leave_sizes_open(runs, len(runs.candidates) - 1)
                    self._same_shapes(feed, runs.references[len(runs.candidates) - 1], runs.candidates[-1])
                runs.seconds = (runs.seconds[0], runs.seconds[1] + runner.seconds)
        except REFUSALS as error:
            raise CandidateFails(f"the candidate cannot be run where the reference can: {error}") from error

    def _candidate(self, runner: Runner, feed: Values) -> Values:
        if words := self.interface.narrower(feed):
            raise CandidateFails(
                f"the candidate wants sizes to be equal that the reference leaves apart: {words} "
                f"({spelled('fixed_shapes')} allows it)"
            )
        try:
            return self.interface.in_reference_names(runner.run(self.interface.for_candidate(feed)))
        except REFUSALS as error:
            raise CandidateFails(
                f"the candidate cannot be run where the reference can{self._at(feed)}: {error}"
            ) from error

    def _same_shapes(self, feed: Values, reference: Values, candidate: Values) -> None:
        """Raises CandidateFails where a sample of other sizes gives outputs of other shapes."""
        at = self._at(feed)
        for name in reference.keys() & candidate.keys() if at else ():
            ours, theirs = np.shape(reference[name]), np.shape(candidate[name])
            if ours != theirs:
                raise CandidateFails(
                    f"the candidate's '{name}' is of shape {theirs}{at}, the reference's of {ours}"
                )

    def _at(self, feed: Values) -> str:
        """The shapes of a sample in words; "" where it is of the sizes that the report names."""
        if all(value.shape == self.shapes.get(name) for name, value in feed.items()):
            return ""
        return " at " + ", ".join(
            f"{name}: {'x'.join(map(str, value.shape)) or 'scalar'}" for name, value in feed.items()
        )

    def truth(self, runs: Runs) -> None:
        """What float64 says about the feeds that have no truth yet; the unfolded model where it cannot be
        had."""
        if not runs.truths:
            runs.truth = self._which_truth(runs)
            self.prove(runs)
        if runs.truth == "float64":
            try:
                self.in_float64(runs)
            except CannotEvaluate as error:
                if self.options.truth == "float64" or runs.engine.name != "onnxruntime":
                    raise
                self.notes.append(
                    f"there is no float64 truth ({error}); errors are measured against the unfolded model "
                    "in its own precision, which is a weaker check"
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
                f"there is no float64 truth, because one run already takes {each:.0f} s; errors are measured "
                "against the unfolded model, which is a weaker check"
            )
            return "unfolded"
        return "float64"

    def prove(self, runs: Runs) -> None:
        """Every place where the two models differ, proved where it stands; the reference's runs that this
        needs are the truth for their feeds."""
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
            tell=lambda share: self.progress("proving what differs", 0.2 + 0.4 * share),
        )
        chosen = _of_different_sizes(runs.feeds)
        try:
            truths = {index: prover.record(runs.feeds[index]) for index in chosen}
        except CannotEvaluate as error:
            self.notes.append(f"the differences could not be proved: {error}")
            return
        runs.proof = prover.prove(self.interface, self.interface.for_candidate(runs.feeds[0]))
        runs.folds = folds_of(runs.proof)
        if strict:
            runs.folds += rederived(self.reference.model, self.candidate.model)
        if runs.engine.name != "onnxruntime" or not prover.opaque:
            runs.recorded = truths
            runs.opaque.update(prover.opaque)

    def in_float64(self, runs: Runs) -> None:
        """What float64 says about the feeds that have no truth yet, and the yardstick. Raises
        CannotEvaluate."""
        simulated = runs.engine.name != "onnxruntime"
        with Truth(self.options.seed, stand_ins=simulated).open(self.reference) as runner:
            for index in range(len(runs.truths), len(runs.feeds)):
                known = runs.recorded.pop(index, None)
                runs.truths.append(runner.run(runs.feeds[index]) if known is None else known)
            runs.opaque.update(getattr(runner, "opaque", {}))
        if self.converted:
            runs.expected += [self._converted(runs, at) for at in range(len(runs.expected), len(runs.feeds))]
        elif self.half or self.double or simulated:
            with Simulated(self.options.seed, stand_ins=simulated, weights=True).open(
                self.reference
            ) as runner:
                runs.expected += [runner.run(feed) for feed in runs.feeds[len(runs.expected) :]]

    def _converted(self, runs: Runs, index: int) -> Values:
        """The yardstick of a candidate in 16 bits: the truth, and what rounding every node and weight of the
        candidate to its type makes of the candidate, whatever its weights are."""
        feed = self.interface.for_candidate(runs.feeds[index])
        values = []
        for engine in (
            Truth(self.options.seed, stand_ins=True),
            Simulated(self.options.seed, converted=True, names=self._renamed),
        ):
            with engine.open(self.candidate) as runner:
                values.append(self.interface.in_reference_names(runner.run(feed)))
        exact, rounded = values
        return {
            name: truth + (rounded[name] - exact[name])
            for name, truth in runs.truths[index].items()
            if name in exact and np.shape(exact[name]) == np.shape(truth) and truth.dtype.kind == "f"
        }

    def nudged(
        self, runs: Runs, feeds: Iterable[Values], draw: int = 0, *, parameters: bool = False
    ) -> list[Values]:
        """The reference with weights and inputs off by a rounding: how much its answer moves is what noise
        does to it, at least."""
        random = np.random.default_rng([self.options.seed, draw])
        seed = self.options.seed + (draw << 20)
        side = Side(jittered(self.reference.model, seed, parameters=parameters), None, self.reference.name)
        with runs.engine.open(side) as runner:
            return [runner.run(nudged_feeds(feed, random)) for feed in feeds]

    def extend(self, runs: Runs, more: int = MORE_SAMPLES) -> None:
        """Run further samples, as many as the time limit allows."""
        each = max(sum(runs.seconds) / len(runs.feeds), 1e-4) * 4
        wanted = len(runs.feeds) + max(1, min(more, int(PATIENCE_S / each)))
        with runs.engine.open(self.reference) as runner:
            self._run_reference(runner, runs, wanted)
        self.complete(runs)

    # -- what the gate asks

    def kind(self, name: str, triple: Triple) -> ir.DataType:
        """The storage type of a value: the output's own, else that of the array."""
        known = self.interface.kinds.get(name, self.interface.kinds.get(whole(name)))
        return known if known is not None else storage_of(triple.reference, None)

    def is_output(self, name: str) -> bool:
        """Is it an output, or a part of one that is no tensor (composite_values.py)?"""
        return name in self.interface.outputs or whole(name) in self.interface.outputs

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


def _of_different_sizes(feeds: list[Values]) -> list[int]:
    """The first sample of all shapes that samples have, or the first two where all have the same."""
    shapes: dict[tuple[tuple[int, ...], ...], int] = {}
    for index, feed in enumerate(feeds):
        shapes.setdefault(tuple(np.shape(value) for value in feed.values()), index)
    return list(shapes.values())[:RECORDED] if len(shapes) > 1 else list(range(min(2, len(feeds))))


def _leave_sizes_open(runs: Runs, place: int) -> None:
    """What a Loop that made no trip collected has no entries, and nothing says how large each would be:
    runtimes fill in what they infer, which a fold may tell them more of. float64 leaves these sizes out, and
    so do both results from here on, if they have as many axes as each other."""
    reference, candidate = runs.references[place], runs.candidates[place]
    for name, truth in runs.truths[place].items():
        values = truth, reference.get(name), candidate.get(name)
        if not all(isinstance(value, np.ndarray) for value in values) or truth.shape != (0,):
            continue
        ours, theirs = reference[name], candidate[name]
        if ours.ndim == theirs.ndim and ours.shape[0] == 0 == theirs.shape[0]:
            reference[name], candidate[name] = ours.reshape(0), theirs.reshape(0)
