"""The way of a slimming through the rooms: load, slim, write, verify, put back what fails, measure.

    slim_file   SlimJob -> SlimResult    what `bnfold slim` does
    plan        SlimJob -> SlimResult    what would leave; nothing is written

Rule 1: where only what does nothing leaves, the result is held against the source as a fold is. Where
        channels leave that do something, it is held against the source with these multiplied by zero, and
        how far that is from the source itself is measured on the user's inputs and told.
Rule 2: a layer that the gate refuses gets its channels back, and the rest is verified again.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack
from dataclasses import field, replace
from typing import TYPE_CHECKING

from ..errors import NotEquivalent, Unsupported, UsageError, WriteError, blamed_on, telling
from ..files.stamps import unchanged
from ..files.temporary import scratch
from ..records import dataclass
from ..results.comparison import Comparison, Side
from ..results.fold_result import Origin, census, origin_of, recalled
from ..results.latency import Latencies
from ..results.layers import layers
from ..results.model_names import check_data, check_verification, idle_patterns
from ..results.options import FoldOptions, SlimOptions, VerifyOptions, spelled
from ..results.plan import Loaded, Plan
from ..results.recalibration import Recalibrated
from ..results.slimming import Agreement, SlimResult
from .compare import progress_callback, side_of
from .job import Job, Say, Watch
from .pipeline import (
    blamed_place,
    check_written,
    loaded_for,
    read_for,
    recalibrated,
    size_of,
    with_idle_patterns,
)
from .retry import ROUNDS, Withdrawn, Words, first_that_passes

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..slimming import Slimmed
    from ..writing import Written

WORDS = Words("slimming", "whole model", "slimmed model")


@dataclass(frozen=True, kw_only=True)
class SlimJob(Job):
    """One model to slim. `out` None: `<stem>.slim.onnx` beside it. `inputs` says what the models are measured
    on, also where nothing is verified; `estimate` from which data the statistics of the batch norms are
    estimated again when the channels are gone."""

    made: str = "slim"
    slim: SlimOptions = field(default_factory=SlimOptions)
    inputs: VerifyOptions = field(default_factory=VerifyOptions)

    def check_format(self) -> None:
        """The output is to be ONNX. Raises UsageError."""
        if self.pair is not None:
            raise UsageError(
                f"{self.target.name} asks for the model's own format, and slimming writes only ONNX",
                expected="an output that ends in .onnx",
            )

    def check(self) -> None:
        """What is asked for goes together. Raises UsageError."""
        self.check_format()
        if self.slim.approximates and not self.inputs.inputs:
            asked = "ratio" if self.slim.ratio is not None else "below"
            raise UsageError(
                f"{spelled(asked)} without {spelled('inputs')}",
                expected="real inputs, on which is measured what the channels that leave did",
            )


def slim_model(model: ir.Model, options: SlimOptions) -> Slimmed:
    """Slim in memory."""
    from ..slimming import slim

    return slim(model, options)


def slim_loaded(
    loaded: Loaded, origin: Origin, options: SlimOptions, inputs: VerifyOptions, say: Say
) -> SlimResult:
    """Slim in memory; where that approximates, measured on these inputs."""
    from ..verifying.agreement import agreement

    job = SlimJob(source=None, slim=options, inputs=inputs)
    job.check()
    if inputs.inputs:
        check_verification(loaded.model, inputs)
    idle = idle_patterns(loaded.model, FoldOptions(keep=options.keep))
    result = _result(job, loaded, slim_model(loaded.model, options), Watch())
    result = replace(
        result,
        origin=replace(origin, findings=origin.findings + idle),
        before=census(loaded.model, origin.size),
    )
    if not options.approximates or not result.slimming.changes:
        return result
    with scratch() as folder, ExitStack() as stack:
        whole = side_of(loaded, folder / "whole.onnx", stack)
        slimmed = side_of(replace(loaded, model=result.model, files=()), folder / "slim.onnx", stack)
        found = agreement(whole, slimmed, inputs, progress_callback(say))
    return replace(result, agreement=found)


def plan(job: SlimJob) -> SlimResult:
    """What would leave, and what not. Nothing is written or verified."""
    job.check_format()
    watch = Watch()
    job.say("reading")
    loaded = read_for(job)
    watch.lap("read")
    with telling(loaded.findings):
        loaded = _checked_names(job, loaded)
        with blamed_on(blamed_place(loaded)):
            slimmed = slim_model(loaded.model, job.slim)
    watch.lap("slim")
    return _result(job, loaded, slimmed, watch)


def slim_file(job: SlimJob) -> SlimResult:
    """Read, slim, write, verify, put in place. Raises NotEquivalent where no way of slimming passes; then
    nothing is written."""
    job.check()
    watch = Watch()
    loaded = loaded_for(job)
    with telling(loaded.findings):
        check_verification(loaded.model, job.inputs, job.estimate)
        check_data(loaded.model, job.estimate)
        loaded = _checked_names(job, loaded)
        watch.lap("read")
        with unchanged(recalled(loaded.model).stamps) as check, ExitStack() as stack:
            work = _Work(job, loaded, watch, stack)
            try:
                done = first_that_passes(work.attempt, 0 if job.read.strict else ROUNDS, WORDS)
            except NotEquivalent as error:
                check()
                error.where = job.target if error.where is None else error.where
                if job.keep_failed:
                    error.way_out = work.keep_failed()
                raise
            done, statistics = work.recalibrated(done)
            result = replace(work.measured(done), recalibrated=statistics)
            check()
            path = done.written.commit()
            watch.lap("commit")
            data = (done.written.data,) if done.written.data is not None else ()
            return replace(result, path=path, data=data, seconds=watch.laps)


def _checked_names(job: SlimJob, loaded: Loaded) -> Loaded:
    return with_idle_patterns(loaded, FoldOptions(keep=job.slim.keep), job.read.strict)


def _macs(model: ir.Model, job: SlimJob) -> int | None:
    rows = layers(model, job.read.input_shapes)
    return None if any(row.macs is None for row in rows) else sum(row.macs or 0 for row in rows)


def _result(
    job: SlimJob, loaded: Loaded, slimmed: Slimmed, watch: Watch, size: int | None = None
) -> SlimResult:
    return SlimResult(
        model=slimmed.model,
        slimming=slimmed.slimming,
        origin=origin_of(loaded),
        before=census(loaded.model, size_of(job, loaded)),
        after=census(slimmed.model, size),
        macs=(_macs(loaded.model, job), _macs(slimmed.model, job)),
        seconds=watch.laps,
    )


@dataclass(frozen=True)
class _Attempt:
    """One slimming, written and verified. Its plan names the layers that lost channels, for retry.py."""

    slimmed: Slimmed
    plan: Plan
    written: Written
    report: Comparison | None


@dataclass
class _Work:
    """One slimming in progress."""

    job: SlimJob
    loaded: Loaded
    watch: Watch
    stack: ExitStack
    _source: Side | None = None
    _last: Written | None = None

    def attempt(self, withdrawn: Withdrawn) -> _Attempt:
        """Slim without the withdrawn layers, write under a temporary name, verify."""
        if withdrawn:
            gc.collect()  # a graph is full of cycles: the last attempt's would stay otherwise
        self.job.say("slimming" if not withdrawn else f"slimming again without {len(withdrawn)} layers")
        slimmed = self._slimmed(withdrawn)
        written = self._write(slimmed.model)
        changed = tuple(row.node for row in slimmed.slimming.layers if row.before != row.after)
        report = self._report(slimmed, written) if self.job.verify is not None else None
        return _Attempt(slimmed, Plan(merged=changed), written, report)

    def recalibrated(self, done: _Attempt) -> tuple[_Attempt, Recalibrated | None]:
        """The same with statistics of what its batch norms see now, where data for that is given."""
        slimmed = replace(self.loaded, model=done.slimmed.model, pair=None, as_read=False)
        made, statistics = recalibrated(self.job, slimmed, self.watch)
        if statistics is None:
            return done, None
        written = self._write(made.model)
        if self.job.verify is not None:
            check_written(self.job, made, written)
        return replace(done, slimmed=replace(done.slimmed, model=made.model), written=written), statistics

    def measured(self, done: _Attempt) -> SlimResult:
        """What the last attempt came to, with what channels that did something are worth."""
        job, slimmed, size = self.job, done.slimmed, done.written.size
        result = _result(job, self.loaded, slimmed, self.watch, size)
        result = replace(result, report=done.report)
        if not slimmed.slimming.changes and not job.estimate.recalibrate:
            return result
        if job.slim.approximates:
            result = replace(result, agreement=self._agreement(done))
        if job.slim.approximates or job.time.time:
            result = replace(result, latency=self._latency(done))
        return result

    def keep_failed(self) -> str:
        """The model with all of it taken out, unverified, under a name that says so; and where it is, in
        words."""
        from ..writing import write

        try:
            with write(
                self._slimmed(()).model, self.job.refused, external_data=self.job.external_data
            ) as written:
                return f"the refused model is in {written.commit()}"
        except WriteError as error:  # that the model is refused is the news
            return f"the refused model is not kept: {error}"

    def _slimmed(self, withdrawn: Withdrawn) -> Slimmed:
        with blamed_on(blamed_place(self.loaded)):
            options = replace(self.job.slim, withdrawn=self.job.slim.withdrawn + withdrawn)
            slimmed = slim_model(self.loaded.model, options)
        self.watch.lap("slim")
        return slimmed

    def _write(self, model: ir.Model) -> Written:
        from ..writing import write

        if self._last is not None:
            self._last.discard()
        self.job.say("writing")
        with blamed_on(blamed_place(self.loaded)):
            self._last = written = write(model, self.job.target, external_data=self.job.external_data)
        self.stack.push(written)
        self.watch.lap("write")
        return written

    def _report(self, slimmed: Slimmed, written: Written) -> Comparison | None:
        from ..verifying import compare as compared

        if not slimmed.slimming.changes:
            check_written(self.job, self.loaded, written)
            self.watch.lap("check")
            return None
        assert self.job.verify is not None
        self.job.say("verifying")
        candidate = Side(slimmed.model, written.path, self.job.target.name)
        progress = progress_callback(self.job.say)
        with ExitStack() as stack:
            report = compared(self._reference(slimmed, stack), candidate, self.job.verify, progress)
        self.watch.lap("verify")
        return report.strictly() if self.job.read.strict else report

    def _reference(self, slimmed: Slimmed, stack: ExitStack) -> Side:
        """What the slimmed model has to be the same as: the source, or the source with the chosen channels
        multiplied by zero."""
        from ..writing import write

        if slimmed.reference is self.loaded.model:
            return self._source_side()
        name = self.job.target.with_name(f"{self.job.target.stem}.masked.onnx")
        return Side(slimmed.reference, stack.enter_context(write(slimmed.reference, name)).path, name.name)

    def _source_side(self) -> Side:
        if self._source is None:
            name = self.job.target.with_name(f"{self.job.target.stem}.whole.onnx")
            self._source = side_of(self.loaded, name, self.stack)
        return self._source

    def _agreement(self, done: _Attempt) -> Agreement:
        from ..verifying.agreement import agreement

        self.job.say("comparing on your inputs")
        candidate = Side(done.slimmed.model, done.written.path, self.job.target.name)
        found = agreement(self._source_side(), candidate, self.job.inputs, progress_callback(self.job.say))
        self.watch.lap("compare")
        return found

    def _latency(self, done: _Attempt) -> Latencies | None:
        """How long both models take; None where no runtime here runs them, unless it was asked for."""
        from ..verifying.latency import measured

        self.job.say("measuring latency")
        candidate = Side(done.slimmed.model, done.written.path, self.job.target.name)
        progress = progress_callback(self.job.say)
        try:
            found = measured(self._source_side(), candidate, self.job.time, self.job.inputs, progress)
        except Unsupported:
            if self.job.time.time:
                raise
            return None
        finally:
            self.watch.lap("time")
        return found
