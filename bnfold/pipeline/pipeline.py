"""The way through the rooms: load, fold, write, verify, withdraw what fails, put in place. With compare.py
the only file that knows them all.

    fold_file     Job -> FoldResult     what `bnfold fold` does
    convert_file  Job -> FoldResult     read and write, no folding
    plan          Job -> FoldResult     what would be folded; nothing is written
    recalibrate_file  Job -> Recalibration   what `bnfold recalibrate` does

Rule 1: the output gets its name only when it is finished and has passed; whatever goes wrong, nothing stays
        behind.
Rule 2: a fold that the gate refuses is taken back (retry.py) and the rest is verified again; under `strict`
        it is an error.
Rule 3: rooms are imported when they are entered, so that an answer that needs none of them is quick.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Malformed, NotEquivalent, UsageError, WriteError, blamed_on, telling
from ..files.atomic import place
from ..files.discovery import beside
from ..files.stamps import stamped, unchanged
from ..ir.graph import annotated
from ..ir.provenance import BAKED_KEY
from ..records import dataclass
from ..results.comparison import Comparison, Side
from ..results.fold_result import (
    ORIGIN_KEY,
    WITHDRAWN,
    Census,
    FoldResult,
    Recalibration,
    census,
    origin_of,
    recalled,
)
from ..results.model_names import (
    check_images,
    check_prepared_once,
    check_shapes,
    check_verification,
    idle_patterns,
)
from ..results.options import FoldOptions, ReadOptions, SlimOptions, VerifyOptions, spelled
from ..results.plan import Finding, Kept, Loaded, Plan
from ..results.recalibration import Recalibrated, Statistics
from . import own_format
from .compare import in_layout, progress_callback, side_of
from .job import Job, Watch
from .own_format import read_back
from .retry import ROUNDS, Withdrawn, first_that_passes

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from ..results.drawing import Detail
    from ..results.latency import Latencies
    from ..results.norm_channels import NormChannels
    from ..results.outside import Outside
    from ..results.pair import Pair
    from ..writing import Written
    from ..writing.pair import WrittenPair


def load(
    source: Any, weights: Path | None = None, options: ReadOptions | None = None, *, pair: bool = False
) -> Loaded:
    """Read a model of any format, with the preprocessing and the shapes that the options put into it; weights
    that are not given are looked for beside it. With `pair` it is read for a result in its own format. Under
    `strict` the reader's warnings are errors."""
    options = options or ReadOptions()
    weights = weights_for(source, weights, options)
    given = stamped(Path(p) for p in (source, weights) if isinstance(p, (str, os.PathLike)))
    with unchanged(given) as check:
        loaded = _shaped(source, weights, options, pair)
        check()
    with telling(loaded.findings):
        check_shapes(loaded.model, options.input_shapes)
        if options.edits:
            from ..baking import bake

            loaded = bake(loaded, options)
    warning = next((f for f in loaded.findings if f.level == "warning"), None)
    if options.strict and warning is not None:
        raise Malformed(
            warning.text, where=warning.where or None, way_out="without --strict, this is only a warning"
        )
    found = stamped(path for path in loaded.files if path not in {stamp.path for stamp in given})
    loaded.model.meta[ORIGIN_KEY] = replace(origin_of(loaded), stamps=given + found)
    return loaded


def _shaped(source: Any, weights: Path | None, options: ReadOptions, pair: bool) -> Loaded:
    """The model as it is read, in the shapes that are to be written into it."""
    from ..reading import formats

    if not (options.fix_shape or options.dynamic_batch):
        return formats.read(source, weights, options, pair=pair)
    from ..baking import shaped

    return shaped(lambda asked: formats.read(source, weights, asked, pair=pair), options)


def with_idle_patterns(loaded: Loaded, options: FoldOptions, strict: bool = False) -> Loaded:
    """The model, with a warning for every pattern of nodes to keep that matches none; `strict`: an error."""
    found = idle_patterns(loaded.model, options)
    if not found:
        return loaded
    if strict:
        raise UsageError(found[0].text, way_out=f"without {spelled('strict')} this is a warning")
    return replace(loaded, findings=loaded.findings + found)


def weights_for(source: Any, given: Path | None, options: ReadOptions) -> Path | None:
    """The weights that are given, or those that lie beside a Caffe or darknet network under the same name."""
    if given is not None or options.random_weights is not None or not isinstance(source, (str, os.PathLike)):
        return given
    found = beside(os.fspath(source))
    return Path(found) if found is not None else None


def kind_of(path: Path) -> str:
    """ "onnx", "caffe" or "darknet"."""
    from ..reading import formats

    return formats.kind_of(path)


def fold_model(
    model: ir.Model, options: FoldOptions, in_place: bool = False, pair: Pair | None = None
) -> tuple[ir.Model, Plan]:
    """Fold in memory; the plan remembers what was withdrawn. `in_place`: the model itself may be folded,
    nobody needs it any more. `pair`: as far as the model's own format can hold it."""
    from ..folding import fold

    if pair is not None:
        return fold(model, options, in_place, pair)
    if not any(BAKED_KEY in node.metadata_props for node in model.graph):
        return fold(model, options, in_place)
    from ..baking import prepared

    ready = prepared(model, options, in_place)
    folded, made = fold(ready.model, options, in_place=True)
    return folded, made.with_prepared(ready.gone, ready.kept, ready.words)


def plan(job: Job, *, channels: bool = False) -> FoldResult:
    """What would be folded, and what not; with `channels`, the channels of every batch norm in numbers.
    Nothing is written or verified."""
    from ..results.layers import layers

    watch = Watch()
    job.say("reading")
    loaded = read_for(job)
    watch.lap("read")
    with telling(loaded.findings):
        loaded = with_idle_patterns(loaded, job.fold, job.read.strict)
        loaded, statistics = recalibrated(job, loaded, watch)
        made = planned(loaded, job.fold, size_of(job, loaded))
    watch.lap("plan")
    return replace(
        made,
        recalibrated=statistics,
        statistics=_statistics(loaded, statistics),
        seconds=watch.laps,
        detail=_detail(job, loaded, made.model, made.plan),
        layers=layers(loaded.model, _shapes_that_come_in(loaded, job.read)),
        norms=_norms(job, loaded) if channels else (),
    )


def _norms(job: Job, loaded: Loaded) -> tuple[NormChannels, ...]:
    from ..ir.graph import is_op, nodes
    from ..slimming import survey

    if not any(is_op(node, "BatchNormalization") for node in nodes(loaded.model)):
        return ()  # to look at every weight for nothing takes long
    job.say("counting channels")
    options = SlimOptions(keep=job.fold.keep, freeze_initializers=job.fold.freeze_initializers)
    return survey(loaded.model, options).norms


def _shapes_that_come_in(loaded: Loaded, options: ReadOptions) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return in_layout(loaded, VerifyOptions(input_shapes=options.input_shapes)).input_shapes


def planned(loaded: Loaded, options: FoldOptions, size: int | None = None) -> FoldResult:
    """The plan of a loaded model whose files take `size` bytes."""
    with blamed_on(blamed_place(loaded)):
        model, made = fold_model(loaded.model, options, pair=loaded.pair)
    return FoldResult(
        model=model,
        plan=made,
        origin=origin_of(loaded),
        before=census(loaded.model, size),
        after=census(model),
    )


def blamed_place(loaded: Loaded) -> str | Path:
    """What an error names that no line of a file is to blame for."""
    return loaded.files[0] if loaded.files else loaded.name


def fold_file(job: Job) -> FoldResult:
    """Read, fold, write, verify, put in place. Raises NotEquivalent where no way of folding passes; then
    nothing is written."""
    watch = Watch()
    loaded = loaded_for(job)
    with telling(loaded.findings):
        return _fold_loaded(job, loaded, watch)


def _fold_loaded(job: Job, loaded: Loaded, watch: Watch) -> FoldResult:
    if job.verify is not None:
        job = replace(job, verify=in_layout(loaded, job.verify))
        check_verification(loaded.model, job.verify or VerifyOptions(), job.estimate)
    loaded = with_idle_patterns(loaded, job.fold, job.read.strict)
    watch.lap("read")
    loaded, statistics = recalibrated(job, loaded, watch)
    with unchanged(recalled(loaded.model).stamps) as check, ExitStack() as stack:
        work = _Work(job, loaded, watch, stack, census(loaded.model, size_of(job, loaded)))
        named = annotated(loaded.model)  # before it may be folded in place
        try:
            done = first_that_passes(work.attempt, rounds=0 if job.read.strict else ROUNDS)
            outside = work.outside(done)
        except NotEquivalent as error:
            check()
            error.where = job.target if error.where is None else error.where
            if job.keep_failed:
                error.way_out = work.keep_failed()
            raise
        check()
        latency = work.timed(done)  # while the source is still what it was: OUT may replace it
        path = done.written.commit()
        watch.lap("commit")
        return replace(
            work.result(done, path, _lost_annotations(named, done.model)),
            latency=latency,
            outside=outside,
            recalibrated=statistics,
            statistics=_statistics(loaded, statistics),
        )


def _lost_annotations(before: set[str], after: ir.Model) -> tuple[Finding, ...]:
    """A warning for every quantization annotation whose value is gone, or holds other numbers now."""
    return tuple(
        Finding(
            "warning",
            "onnx.annotation",
            "",
            f"the quantization annotation of '{name}' was dropped: folding changed its numbers or removed it",
        )
        for name in sorted(before - annotated(after) if before else ())
    )


def convert_file(job: Job) -> FoldResult:
    """Read and write, nothing folded: the baseline that folded models are held against."""
    watch = Watch()
    if job.pair is not None:
        raise UsageError(
            f"{job.target.name} asks for the model's own format, and a conversion writes only ONNX",
            expected="an output that ends in .onnx",
        )
    loaded = loaded_for(job)
    watch.lap("read")
    before = census(loaded.model, size_of(job, loaded))
    path, written, outside = _converted(job, loaded, watch)
    return FoldResult(
        model=loaded.model,
        plan=Plan(),
        origin=origin_of(loaded),
        before=before,
        after=census(loaded.model, written.size),
        path=path,
        unchanged=True,
        seconds=watch.laps,
        outside=outside,
    )


def recalibrate_file(job: Job) -> Recalibration:
    """Read, estimate the statistics of batch norms from data, and write what is the same but for them."""
    watch = Watch()
    if job.pair is not None and job.read.assume_global_stats:
        raise UsageError(
            f"{spelled('assume_global_stats')} with {job.target.name}, whose text would still ask for the "
            "statistics of the batch",
            expected="an output that ends in .onnx",
        )
    loaded = loaded_for(job)
    watch.lap("read")
    before = census(loaded.model, size_of(job, loaded))
    with telling(loaded.findings):
        loaded, statistics = recalibrated(job, loaded, watch)
    assert statistics is not None
    path, written, _ = _converted(job, loaded, watch)
    return Recalibration(
        model=loaded.model,
        statistics=statistics,
        origin=origin_of(loaded),
        before=before,
        after=census(loaded.model, written.size),
        path=path,
        seconds=watch.laps,
        data=(written.data,) if written.data is not None else (),
    )


def recalibrated(job: Job, loaded: Loaded, watch: Watch) -> tuple[Loaded, Recalibrated | None]:
    """The model with statistics from the job's data, and what happened to them; the model as it is where no
    data is given. Raises Malformed for a warning under `strict`."""
    if not job.estimate.recalibrate:
        return loaded, None
    from ..recalibrating import recalibrate, statistics_of
    from ..recalibrating import with_statistics as made_again

    check_prepared_once(loaded.model, job.estimate)
    check_images(job.estimate, job.estimate.files + (job.verify.input_files if job.verify else ()))
    job.say("recalibrating")
    given = stamped(Path(file) for _, file in job.estimate.files)
    stamps = recalled(loaded.model).stamps
    with unchanged(given) as check, unchanged(stamps), _not_of_options(blamed_place(loaded)):
        model, statistics = recalibrate(
            loaded.model, job.estimate, job.progress or progress_callback(job.say)
        )
        check()
    watch.lap("recalibrate")
    if job.read.strict and statistics.findings:
        raise Malformed(
            statistics.findings[0].text,
            where=blamed_place(loaded),
            way_out="without --strict, this is only a warning",
        )
    model.meta[ORIGIN_KEY] = origin_of(loaded)
    pair = loaded.pair
    if pair is not None:
        pair = own_format.with_statistics(pair, model, [row.node for row in statistics.layers], job.target)
    unbaked = loaded.unbaked
    if unbaked is not None:
        unbaked = made_again(unbaked, statistics_of(model, [row.node for row in statistics.layers]))
    return replace(loaded, model=model, unbaked=unbaked, pair=pair, as_read=False), statistics


@contextmanager
def _not_of_options(place: str | Path) -> Iterator[None]:
    """The model is to blame for an error without a place, unless an option is."""
    try:
        with blamed_on(place):
            yield
    except UsageError as error:
        if error.where == place:
            error.where = None
        raise


def with_statistics(loaded: Loaded, statistics: Iterable[Statistics]) -> Loaded:
    """What recalibration made of a model, made again from its figures. Raises Mismatch for those of another
    model."""
    from ..recalibrating import with_statistics as made_again

    model = made_again(loaded.model, statistics)
    model.meta[ORIGIN_KEY] = origin_of(loaded)
    return replace(loaded, model=model, as_read=False)


def new_statistics(result: FoldResult | Recalibration) -> tuple[Statistics, ...]:
    """Those that a result was given."""
    if isinstance(result, FoldResult):
        return result.statistics
    from ..recalibrating import statistics_of

    return statistics_of(result.model, [row.node for row in result.statistics.layers])


def without_fold(result: Recalibration) -> FoldResult:
    """A model with new statistics, as a fold of nothing."""
    return FoldResult(
        model=result.model,
        plan=Plan(),
        origin=result.origin,
        before=result.before,
        after=result.after,
        path=result.path,
        unchanged=True,
        data=result.data,
    )


def _statistics(loaded: Loaded, found: Recalibrated | None) -> tuple[Statistics, ...]:
    """Those that a recalibrated model has now."""
    if found is None:
        return ()
    from ..recalibrating import statistics_of

    return statistics_of(loaded.model, [row.node for row in found.layers])


def _converted(job: Job, loaded: Loaded, watch: Watch) -> tuple[Path, Written | WrittenPair, Outside | None]:
    """The model in its place, as it is, and read back; and held against preprocessing done outside."""
    job.say("writing")
    outside: Outside | None = None
    with (
        telling(loaded.findings),
        unchanged(recalled(loaded.model).stamps) as check,
        blamed_on(blamed_place(loaded)),
        _written(job, loaded, loaded.model, job.target, job.data_target) as written,
    ):
        watch.lap("write")
        if job.verify is not None:
            check_written(job, loaded, written)
            watch.lap("check")
            if loaded.baked and job.pair is None:
                candidate = Side(loaded.model, written.path, job.target.name)
                outside = _held_outside(job, loaded, candidate, in_layout(loaded, job.verify))
                watch.lap("outside")
        check()
        return written.commit(), written, outside


def _written(
    job: Job, loaded: Loaded, model: ir.Model, target: Path, data: Path | None
) -> Written | WrittenPair:
    """The model in a stage, in the format that is asked for; `data` None: beside it."""
    if (pair := job.pair) is None:
        from ..writing import write

        return write(model, target, external_data=job.external_data)
    from ..writing.pair import write_pair

    assert loaded.pair is not None
    return write_pair(model, loaded.pair, target, data or pair.weights_of(target))


def check_written(job: Job, loaded: Loaded, written: Written | WrittenPair) -> None:
    """Does what was written hold the model as it was loaded? Raises NotEquivalent."""
    from ..ir.difference import difference
    from ..writing.pair import WrittenPair

    job.say("checking what was written")
    if isinstance(written, WrittenPair):
        read_back(written, loaded, loaded.model, job.read)
    else:
        _check_same(difference(loaded.model, _reread(written)), job.target)


def save(model: ir.Model, path: str | os.PathLike[str], external_data: bool) -> Path:
    """Write a model as it is; nothing is verified."""
    from ..writing import write

    with (
        unchanged(recalled(model).stamps, in_place=True) as check,
        write(model, path, external_data=external_data) as written,
    ):
        check()
        return written.commit()


def to_onnx(model: ir.Model) -> onnx.ModelProto:
    """A model as the message of the onnx package."""
    from ..writing import to_proto

    return to_proto(model)


def loaded_for(job: Job) -> Loaded:
    """The job's model, when it is certain that writing the result takes nothing away."""
    for target in (job.target, job.data_target):
        if target is not None:
            place(target)
    job.say("reading")
    loaded = read_for(job)
    job.check_targets(loaded)
    return loaded


def read_for(job: Job) -> Loaded:
    """The job's model, as the output wants it."""
    source = job.source
    if job.pair is not None or job.weights_out is not None:
        job.check_pair(kind_of(Path(source)) if isinstance(source, (str, os.PathLike)) else "onnx")
    return load(source, job.weights, job.read, pair=job.pair is not None)


@dataclass(frozen=True)
class _Attempt:
    model: ir.Model
    plan: Plan
    written: Written | WrittenPair
    report: Comparison | None
    unchanged: bool


@dataclass
class _Work:
    """One fold in progress: its attempts, and the unfolded model as a file for them to be held against. Where
    nothing is verified or looked at closely, there is one attempt, and nobody needs the unfolded model but
    for its census."""

    job: Job
    loaded: Loaded
    watch: Watch
    stack: ExitStack
    before: Census
    _reference: Side | None = None
    _taken_back: dict[str, Kept] = field(default_factory=dict)
    _last: Written | WrittenPair | None = None

    def attempt(self, withdrawn: Withdrawn) -> _Attempt:
        """Fold without the withdrawn nodes, write under a temporary name, verify."""
        if withdrawn:
            gc.collect()  # a graph is full of cycles: the last attempt's would stay otherwise
        self.job.say("folding" if not withdrawn else f"folding again without {len(withdrawn)} of the folds")
        model, made = self._folded(withdrawn)
        unchanged = not made.changes
        if unchanged:  # then the model is written as it was read, which needs no arithmetic to check
            model = self.loaded.model
        written = self._write(model)
        if self.job.verify is None:
            return _Attempt(model, made, written, None, unchanged)
        if unchanged:
            check_written(self.job, self.loaded, written)
            self.watch.lap("check")
            return _Attempt(model, made, written, None, unchanged)
        return _Attempt(model, made, written, self._verified(model, written), unchanged)

    def result(self, done: _Attempt, path: Path, findings: tuple[Finding, ...]) -> FoldResult:
        """What the last attempt came to."""
        origin, after = origin_of(self.loaded), census(done.model, done.written.size)
        origin = replace(origin, findings=origin.findings + findings)
        return FoldResult(
            model=done.model,
            plan=done.plan,
            origin=origin,
            before=self.before,
            after=after,
            report=done.report,
            path=path,
            unchanged=done.unchanged,
            detail=_detail(self.job, self.loaded, done.model, done.plan),
            seconds=self.watch.laps,
            data=(done.written.data,) if done.written.data is not None else (),
        )

    def outside(self, done: _Attempt) -> Outside | None:
        """The written model held against preprocessing done outside, where some was baked in. Raises
        NotEquivalent."""
        if self.job.verify is None or not self.loaded.baked:
            return None
        with ExitStack() as stack:
            candidate = self._candidate_side(done.model, done.written, stack)
            found = _held_outside(self.job, self.loaded, candidate, self.job.verify, done.report)
        self.watch.lap("outside")
        return found

    def timed(self, done: _Attempt) -> Latencies | None:
        """How long both models take, if that was asked for and something was folded."""
        if not self.job.time.time or done.unchanged:
            return None
        from ..verifying.latency import measured

        self.job.say("measuring latency")
        with ExitStack() as stack:
            found = measured(
                self._reference_side(),
                self._candidate_side(done.model, done.written, stack),
                self.job.time,
                self.job.verify or VerifyOptions(),
                progress_callback(self.job.say),
            )
        self.watch.lap("time")
        return found

    def keep_failed(self) -> str:
        """The fold with everything in, unverified, under a name that says so; and where it is, in words."""
        try:
            with _written(self.job, self.loaded, self._folded(())[0], self.job.refused, None) as written:
                return f"the refused model is in {written.commit()}"
        except WriteError as error:  # that the model is refused is the news
            return f"the refused model is not kept: {error}"

    def _folded(self, withdrawn: Withdrawn) -> tuple[ir.Model, Plan]:
        with blamed_on(blamed_place(self.loaded)):
            options = replace(self.job.fold, withdrawn=self.job.fold.withdrawn + withdrawn)
            model, made = fold_model(
                self.loaded.model, options, in_place=self._nobody_needs_the_unfolded(), pair=self.loaded.pair
            )
        for name in made.merged:
            self._taken_back.setdefault(name, Kept(name, "", "", WITHDRAWN, ""))
        for done in made.folded:
            self._taken_back[done.node] = Kept(done.node, done.op, done.source, WITHDRAWN, "")
        back = tuple(
            replace(self._taken_back[name], reason=why) for name, why in withdrawn if name in self._taken_back
        )
        self.watch.lap("fold")
        return model, made.with_withdrawn(back)

    def _nobody_needs_the_unfolded(self) -> bool:
        return self.job.verify is None and not self.job.detail and not self.job.time.time

    def _write(self, model: ir.Model) -> Written | WrittenPair:
        if self._last is not None:
            self._last.discard()
        self.job.say("writing")
        with blamed_on(blamed_place(self.loaded)):
            self._last = written = _written(
                self.job, self.loaded, model, self.job.target, self.job.data_target
            )
        self.stack.push(written)
        self.watch.lap("write")
        return written

    def _verified(self, model: ir.Model, written: Written | WrittenPair) -> Comparison:
        from ..verifying import compare as compared

        assert self.job.verify is not None
        self.job.say("verifying")
        with ExitStack() as stack:
            report = compared(
                self._reference_side(),
                self._candidate_side(model, written, stack),
                self.job.verify,
                progress_callback(self.job.say),
            )
        self.watch.lap("verify")
        return report.strictly() if self.job.read.strict else report

    def _reference_side(self) -> Side:
        if self._reference is None:
            self._reference = side_of(
                self.loaded, self.job.target.with_name(f"{self.job.target.stem}.unfolded.onnx"), self.stack
            )
        return self._reference

    def _candidate_side(self, model: ir.Model, written: Written | WrittenPair, stack: ExitStack) -> Side:
        """What was written: the ONNX file as it lies, a pair as it is read again."""
        from ..writing.pair import WrittenPair

        if isinstance(written, WrittenPair):
            again = read_back(written, self.loaded, model, self.job.read)
            name = self.job.target.with_name(f"{self.job.target.stem}.folded.onnx")
            return replace(side_of(again, name, stack), name=self.job.target.name)
        return Side(model, written.path, self.job.target.name)


def _held_outside(
    job: Job, loaded: Loaded, candidate: Side, options: VerifyOptions, report: Comparison | None = None
) -> Outside | None:
    """What `baking.outside` finds, said meanwhile. Raises NotEquivalent where it refuses the model."""
    from ..baking import outside

    job.say("holding it against preprocessing done outside")
    found = outside(loaded, candidate, options)
    if found is not None and found.samples and not found.passed:
        raise NotEquivalent(
            f"the model does not give what preprocessing done outside gives: {found.reason}",
            where=job.target,
            report=report,
            way_out="please report it",
        )
    return found


def size_of(job: Job, loaded: Loaded) -> int | None:
    """Bytes of what was read; of a network without its weights it would be no figure to compare with."""
    return None if job.read.random_weights is not None else origin_of(loaded).size


def _detail(job: Job, loaded: Loaded, model: ir.Model, made: Plan) -> Detail | None:
    if not job.detail:
        return None
    from ..results.drawing import detail

    job.say("looking closely")
    return detail(loaded.model, model, made)


def _reread(written: Written) -> ir.Model:
    from ..reading.onnx import reader

    return reader.read(written.path, ReadOptions()).model


def _check_same(difference: str, target: Path) -> None:
    if difference:
        raise NotEquivalent(
            f"the written file does not hold the model: {difference}",
            where=target,
            way_out="please report it",
        )
