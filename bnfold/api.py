"""The public functions of `bnfold`, one for each sentence of the contract; `import bnfold` gives them all.

Rule 1: options are keywords, the fields of results/options.py, which check their own values; an unknown one
        is a UsageError, and so is any other argument of a wrong type.
Rule 2: only BnfoldError leaves: what a library raises unexpectedly is wrapped at this door.
Rule 3: what is being done, and what a reader noticed, is logged under the name `bnfold`; nothing is printed.
"""

from __future__ import annotations

import copyreg
import functools
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from .errors import BnfoldError, Unsupported, UsageError, blamed_on, of_system
from .files.memory import SHORT, is_lack
from .pipeline import compare, pipeline, slimming
from .pipeline.job import Job, Watch
from .results.comparison import Comparison
from .results.fold_result import ORIGIN_KEY, FoldResult, Recalibration, census, recalled
from .results.model_names import idle_patterns
from .results.options import (
    EstimateKeywords,
    FoldKeywords,
    FoldOptions,
    ReadKeywords,
    ReadOptions,
    RecalibrateKeywords,
    RecalibrateOptions,
    SlimKeywords,
    SlimOptions,
    StrPath,
    TimeKeywords,
    TimeOptions,
    VerifyKeywords,
    VerifyOptions,
    check_format,
    check_known,
)
from .results.plan import Finding, Loaded
from .results.slimming import SlimResult
from .results.value_kinds import Data, File, Kind, Switch, Wrong, refusal

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

P = ParamSpec("P")
R = TypeVar("R")
Options = TypeVar("Options")
Result = TypeVar("Result", FoldResult, SlimResult)
_log = logging.getLogger("bnfold")
_log.addHandler(logging.NullHandler())  # who does not listen hears nothing


class FileKeywords(
    ReadKeywords, FoldKeywords, VerifyKeywords, TimeKeywords, RecalibrateKeywords, total=False
):
    """How to read, fold, verify and time: the keywords of `load`, `fold` and `verify` together, what to
    measure, and from which data to estimate statistics first."""


class SlimFileKeywords(
    ReadKeywords, SlimKeywords, VerifyKeywords, TimeKeywords, RecalibrateKeywords, total=False
):
    """How to read, slim, verify and time, and from which data to estimate statistics afterwards."""


def _door(function: Callable[P, R]) -> Callable[P, R]:
    """Only BnfoldError leaves."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BnfoldError:
            raise
        except Exception as error:
            if isinstance(error, TypeError):
                _check_call(function, args, kwargs)
            if is_lack(error):
                raise Unsupported(SHORT) from error
            ours = of_system(error) if isinstance(error, OSError) else None
            raise ours or BnfoldError(
                f"internal error: {type(error).__name__}: {error}", way_out="please report it with the model"
            ) from error

    return guarded


def _check_call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise UsageError for arguments that the function does not take."""
    import inspect

    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(
            f"{function.__name__}: {error}",
            expected=f"{function.__name__}({', '.join(signature.parameters)})",
        ) from None


@_door
def load(source: Any, weights: StrPath | None = None, **options: Unpack[ReadKeywords]) -> ir.Model:
    """Read a model of any format into one complete, unfolded model in standard ONNX operators.

    source   a path (.onnx, .prototxt, .cfg: the content decides), bytes, an onnx.ModelProto, an
             onnx_ir.Model, or an exporter's result that carries one as `.model_proto` or `.model`
    weights  the .caffemodel or .weights file; None for ONNX
    Weights stay in their file, or in the ModelProto, until somebody asks for them: keep it as it is while
    the model, or what is folded from it, lives.
    Raises UsageError, Unreadable, Malformed, Mismatch, Unsupported.
    """
    read = _options(ReadOptions, options)
    _check_format(source, options)
    loaded = _load("source", source, weights, read)
    _log_findings(loaded.findings)
    return loaded.model


@_door
def fold(model: Any, **options: Unpack[FoldKeywords]) -> FoldResult:
    """Fold every batch norm and constant per-channel affine map that can be folded exactly into a
    neighbouring linear operator.

    y = gamma * (x - mean) / sqrt(var + epsilon) + beta is the map s * x + t with s = gamma / sqrt(var +
    epsilon) and t = beta - s * mean; after a convolution W * x + b it becomes (s W) * x + (s b + t) (Jacob et
    al. 2018, section 3.2; epsilon as ONNX's BatchNormalization defines it). Arithmetic is float64, rounded
    once to the weights' type.

    model                what `load` returned, or anything that it takes
    keep                 fnmatch patterns of node names that are not to be touched
    freeze_initializers  treat initializers that a caller may override (graph inputs) as constants
    duplicate_producers  fold a node although its producer has other readers: the producer is then computed
                         twice
    merge_branches       parallel linear branches become one where that folds more (on by default)
    simplify_leftovers   bring what stays to its cheapest exact form
    fold_into_half       fold what a model computes in float32 into weights of 16 bits
    fold_patterns        fold affine nodes inside GELU, layer norm and other patterns that runtimes fuse, too
    The input is never changed. Nothing is verified here: see `verify`. Raises what `load` raises.
    """
    wanted = _options(FoldOptions, options)
    loaded = _in_memory("model", model)
    folded, plan = pipeline.fold_model(loaded.model, wanted)
    origin = recalled(loaded.model)
    origin = replace(origin, findings=origin.findings + idle_patterns(loaded.model, wanted))
    result = FoldResult(
        model=folded,
        plan=plan,
        origin=origin,
        before=census(loaded.model, origin.size),
        after=census(folded),
        unchanged=not plan.changes,
    )
    _log.info("%r", result)
    return result


@_door
def verify(reference: Any, candidate: Any, **options: Unpack[VerifyKeywords]) -> Comparison:
    """Are two models numerically the same? Truthy when they are; carries every figure.

    Both run on the same seeded inputs; the error of each is measured against a float64 run of the reference,
    and the ratio of the two (the noise ratio) is the gate: about 1 for a right fold, at most `noise_limit`
    (4) to pass. `reference` and `candidate` are what `load` returns or takes. Raises what `load` raises,
    ProviderUnavailable, UsageError.
    """
    wanted = _options(VerifyOptions, options)
    sides = _in_memory("reference", reference), _in_memory("candidate", candidate)
    report = compare.compare(*sides, wanted, _log.debug)
    _log.info("%r", report)
    return report


@_door
def recalibrate(model: Any, inputs: Any, **options: Unpack[EstimateKeywords]) -> Recalibration:
    """Estimate mean and variance of every batch norm again, from real inputs. This is no fold: the model
    computes something else afterwards.

    model       what `load` returned, or anything that it takes
    inputs      a .npy, .npz or image file, a folder of images, or an array, for the only input; a list of
                them; or a dict of these by input name. The first axis counts inputs; any number of them is
                read a batch at a time
    one_pass    batch norms see the batch's own statistics of those before them, as in training, and one pass
                is enough (PreciseBN); else each sees recalibrated ones, and each level of batch norms takes a
                pass
    batch_size  inputs that go through the network together where its batch is free
    mean, std, layout, input_shapes   how images become inputs, as `verify` takes them
    The input is never changed. `.model` of the result has the statistics, `.statistics` says what moved, and
    `.findings` are warnings. Raises UsageError for data that do not fit, Malformed for a number that is not
    finite (with its file and index), Mismatch, Unsupported, and what `load` raises.
    """
    check_known(options, EstimateKeywords.__annotations__)
    data = _argument("inputs", inputs, Data())
    wanted = _options(RecalibrateOptions, {**options, "recalibrate": data})
    if not wanted.recalibrate:
        raise UsageError("'inputs' holds no data", expected="at least one file or array")
    loaded = _in_memory("model", model)
    watch = Watch()
    before = census(loaded.model, recalled(loaded.model).size)
    job = Job(source=None, estimate=wanted, say=_log.debug)
    made, statistics = pipeline.recalibrated(job, loaded, watch)
    assert statistics is not None
    result = Recalibration(
        model=made.model,
        statistics=statistics,
        origin=recalled(loaded.model),
        before=before,
        after=census(made.model),
        seconds=watch.laps,
    )
    _log_findings(result.findings)
    _log.info("%r", result)
    return result


@_door
def save(model: Any, path: StrPath, *, external_data: bool = False) -> Path:
    """Write a model as ONNX, atomically: the file is replaced by a finished one or not at all. Does not
    verify.

    Above 2 GB, or with `external_data`, large weights go to one file beside it. Returns the path. Raises
    WriteError, Unsupported.
    """
    target, apart = _argument("path", path, File()), _argument("external_data", external_data, Switch())
    return pipeline.save(_in_memory("model", model).model, target, apart)


@_door
def to_onnx(model: Any) -> onnx.ModelProto:
    """The model as onnx.ModelProto, weights included, for pipelines that go on in memory. Raises Unsupported
    above 2 GB."""
    return pipeline.to_onnx(_in_memory("model", model).model)


@_door
def fold_file(
    source: Any,
    weights: StrPath | None = None,
    *,
    out: StrPath | None = None,
    weights_out: StrPath | None = None,
    verify: bool = True,
    external_data: bool = False,
    keep_failed: bool = False,
    **options: Unpack[FileKeywords],
) -> FoldResult:
    """Read, fold, verify and write: what `bnfold fold` does, in one call.

    out          the .onnx to write; `<stem>.folded.onnx` beside the source by default. A .prototxt (of
                 Caffe) or .cfg (of darknet) asks for the source's own format
    weights_out  where the weights of such an output go; by default beside it under its stem
    verify       False writes without checking
    keep_failed  leave a refused model as `<stem>.failed.onnx`
    time         measure the latency of both models; `.latency` of the result has it
    Returns a FoldResult whose `.report` carries every figure and whose `.path` is the file. Raises
    NotEquivalent where verification fails (its `.report` says how), WriteError, ProviderUnavailable, and what
    `load` raises.
    """
    job = _job(
        source,
        weights,
        out,
        options,
        FileKeywords.__annotations__,
        weights_out=_path("weights_out", weights_out),
        verify=verify,
        external_data=external_data,
        keep_failed=keep_failed,
    )
    with _blamed("source", source):
        return _logged(pipeline.fold_file(job))


@_door
def slim(
    model: Any, *, inputs: Mapping[str, Any] | Any = None, **options: Unpack[SlimKeywords]
) -> SlimResult:
    """Take out the channels that batch norms switched off: filters, biases, entries of batch norms, and the
    slices of whatever reads them.

    A channel whose scale is 0, or whose value behind the activation is one number at every position, is a
    constant c. Where c is 0, or no padding stands beside it, it leaves, and W·c goes into the biases of its
    readers (in float64, rounded once): that is exact. Channels that a residual sum, a group or a depthwise
    convolution ties together leave together or stay.

    model                what `load` returned, or anything that it takes
    ratio                take out this share of all batch norm channels, too: those of the smallest |gamma| in
                         the whole model (Liu et al. 2017, "Network Slimming", section 3). An approximation
    below                take out the channels whose |gamma| is smaller than this, too. An approximation
    keep                 fnmatch patterns of node names whose channels stay
    freeze_initializers  treat initializers that a caller may override (graph inputs) as constants
    inputs               real inputs, as `verify` takes them: what an approximation changes is measured on
                         them (`.agreement`), and it is refused without them
    The input is never changed. Nothing is verified here: without `ratio` and `below`,
    `verify(model, result.model)` proves that the two are the same. Raises UsageError, and what `load` raises.
    """
    wanted, feeds = _options(SlimOptions, options), _feeds(inputs)
    loaded = _in_memory("model", model)
    result = slimming.slim_loaded(loaded, recalled(loaded.model), wanted, feeds, _log.debug)
    _log.info("%r", result)
    return result


def _feeds(inputs: Any) -> VerifyOptions:
    return VerifyOptions() if inputs is None else VerifyOptions(inputs=inputs)


@_door
def slim_file(
    source: Any,
    weights: StrPath | None = None,
    *,
    out: StrPath | None = None,
    verify: bool = True,
    external_data: bool = False,
    keep_failed: bool = False,
    **options: Unpack[SlimFileKeywords],
) -> SlimResult:
    """Read, slim, verify and write: what `bnfold slim` does, in one call.

    out          the .onnx to write; `<stem>.slim.onnx` beside the source by default
    verify       False writes without checking
    keep_failed  leave a refused model as `<stem>.slim.failed.onnx`
    recalibrate  then estimate the statistics of the batch norms again from this data
    Without `ratio` and `below` the result is held against the source. With one of them it is held against
    the source with the chosen channels multiplied by zero, and `.agreement` says how far that is from the
    source itself on `inputs`, `.latency` how long both models take. Raises NotEquivalent where verification
    fails (its `.report` says how), WriteError, ProviderUnavailable, and what `load` raises.
    """
    check_known(options, SlimFileKeywords.__annotations__)
    rest = {name: value for name, value in options.items() if name not in ("ratio", "below", "keep")}
    common = _job(
        source,
        weights,
        out,
        rest,
        FileKeywords.__annotations__,
        verify=verify,
        external_data=external_data,
        keep_failed=keep_failed,
    )
    job = slimming.SlimJob(
        **{f.name: getattr(common, f.name) for f in fields(common) if f.name != "made"},
        slim=_options(SlimOptions, _part(options, SlimOptions)),
        inputs=_options(VerifyOptions, _part(options, VerifyOptions)),
    )
    with _blamed("source", source):
        return _logged(slimming.slim_file(job))


@_door
def convert_file(
    source: Any,
    weights: StrPath | None = None,
    *,
    out: StrPath,
    external_data: bool = False,
    **options: Unpack[ReadKeywords],
) -> FoldResult:
    """Read and write, nothing folded: what `bnfold convert` does. The written file is read back and held
    against the model. Raises what `load` raises, and WriteError."""
    known = ReadKeywords.__annotations__
    job = _job(source, weights, out, options, known, external_data=external_data)
    with _blamed("source", source):
        return _logged(pipeline.convert_file(job))


# What is logged.


def _logged(result: Result) -> Result:
    _log_findings(result.origin.findings)
    _log.info("%r", result)
    return result


def _log_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        _log.log(logging.WARNING if finding.level == "warning" else logging.INFO, "%s", finding)


# A result as it travels to another process: its model as the bytes of an ONNX file.


def _packed(result: Any) -> tuple[Callable[..., Any], tuple[type[Any], bytes, dict[str, Any]]]:
    rest = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "model"}
    return _unpacked, (type(result), pipeline.to_onnx(result.model).SerializeToString(), rest)


def _unpacked(made: type[Any], data: bytes, rest: dict[str, Any]) -> Any:
    model = pipeline.load(data).model
    model.meta[ORIGIN_KEY] = rest["origin"]
    return made(model=model, **rest)


copyreg.pickle(FoldResult, _packed)
copyreg.pickle(SlimResult, _packed)
copyreg.pickle(Recalibration, _packed)


# From keywords to the frozen options of the rooms.


def _job(
    source: Any,
    weights: StrPath | None,
    out: StrPath | None,
    options: Mapping[str, Any],
    known: Iterable[str],
    weights_out: Path | None = None,
    **more: Any,
) -> Job:
    check_known(options, known)
    _check_format(source, options)
    verification = _options(VerifyOptions, _part(options, VerifyOptions))
    switches = {name: _argument(name, value, Switch()) for name, value in more.items()}
    verified = switches.pop("verify", True)
    return Job(
        source=_source("source", source),
        weights=_path("weights", weights),
        out=_path("out", out),
        weights_out=weights_out,
        read=_options(ReadOptions, _part(options, ReadOptions)),
        fold=_options(FoldOptions, _part(options, FoldOptions)),
        verify=verification if verified else None,
        time=_options(TimeOptions, _part(options, TimeOptions)),
        estimate=_options(RecalibrateOptions, _part(options, RecalibrateOptions)),
        say=_log.debug,
        **switches,
    )


def _load(name: str, source: Any, weights: StrPath | None, options: ReadOptions) -> Loaded:
    """The model that an argument of this name stands for."""
    with _blamed(name, source):
        return pipeline.load(_source(name, source), _path("weights", weights), options)


def _in_memory(name: str, model: Any) -> Loaded:
    """What `load` made is taken as it is; anything else is loaded."""
    from .ir.graph import ir

    if isinstance(model, (FoldResult, Recalibration, SlimResult)):
        model = model.model
    if isinstance(model, ir.Model) and ORIGIN_KEY in model.meta:
        origin = recalled(model)
        return Loaded(model=model, format="memory", name=origin.name)
    return _load(name, model, None, ReadOptions())


_KEYWORDS: dict[Any, Any] = {
    ReadOptions: ReadKeywords,
    FoldOptions: FoldKeywords,
    VerifyOptions: VerifyKeywords,
    TimeOptions: TimeKeywords,
    SlimOptions: SlimKeywords,
    RecalibrateOptions: RecalibrateKeywords,
}


def _options(made: Callable[..., Options], given: Mapping[str, Any]) -> Options:
    """The frozen options of a function's keywords; they check their values themselves."""
    check_known(given, _KEYWORDS[made].__annotations__)
    return made(**given)


def _part(given: Mapping[str, Any], made: type[Any]) -> dict[str, Any]:
    """The keywords that are for one of the frozen options."""
    return {name: value for name, value in given.items() if name in _KEYWORDS[made].__annotations__}


def _check_format(source: Any, given: Mapping[str, Any]) -> None:
    """Every keyword is for models of this format. What is no path is ONNX."""
    if names := [name for name, value in given.items() if value is not None]:
        place = _source("source", source)
        check_format(pipeline.kind_of(place) if isinstance(place, Path) else "onnx", names)


def _blamed(name: str, source: Any) -> AbstractContextManager[None]:
    """Errors name the argument where there is no file that they could name."""
    return nullcontext() if isinstance(source, (str, os.PathLike)) else blamed_on(f"'{name}'")


def _source(name: str, given: Any) -> Any:
    """A path as it is checked everywhere; any other model as it is, for the reader to take or to refuse."""
    return _argument(name, given, File()) if isinstance(given, (str, os.PathLike)) else given


def _path(name: str, given: StrPath | None) -> Path | None:
    return None if given is None else _argument(name, given, File())


def _argument(name: str, given: Any, kind: Kind) -> Any:
    """An argument that is no option of the command line. Raises UsageError."""
    try:
        return kind.check(given)
    except Wrong as error:
        raise refusal(f"'{name}'", given, error) from error
