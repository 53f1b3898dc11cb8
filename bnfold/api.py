"""The public functions of `bnfold`, one for each sentence of the contract; `import bnfold` gives them all.

Rule 1: options are keywords with the names of the command line's options; an unknown one is a UsageError.
Rule 2: only BnfoldError leaves: what a library raises unexpectedly is wrapped at this door.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack

from .errors import BnfoldError, Unsupported, UsageError, of_system
from .files.memory import SHORT
from .pipeline import compare, pipeline
from .pipeline.job import Job
from .results.comparison import Comparison
from .results.fold_result import ORIGIN_KEY, FoldResult, census, recalled
from .results.options import FoldOptions, ReadOptions, VerifyOptions
from .results.plan import Loaded

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

P = ParamSpec("P")
R = TypeVar("R")
StrPath = str | os.PathLike[str]
Shapes = Mapping[str, Sequence[int]] | Sequence[int]


class ReadKeywords(TypedDict, total=False):
    """How to read. All formats: input_shapes (name -> dims, or the dims of the only input), strict, opset (of
    the model that is built from Caffe or darknet), dialect, random_weights (a seed). ONNX:
    freeze_initializers. Caffe: phase, stages, level, cut_at, assume_global_stats. darknet: heads, batch,
    allow_partial."""

    input_shapes: Shapes
    opset: int
    strict: bool
    dialect: str
    random_weights: int
    freeze_initializers: bool
    phase: str
    stages: Sequence[str]
    level: int
    cut_at: Sequence[str]
    assume_global_stats: bool
    heads: str
    batch: int
    allow_partial: bool


class VerifyKeywords(TypedDict, total=False):
    """How to verify: providers ("cpu", "cuda"), input_shapes, inputs (name -> .npy, .npz or image file),
    samples, seed, noise_limit, rtol and atol (output name -> value, or one value for all), max_memory (bytes
    that this process may take of its own meanwhile). Differences between the interfaces that are allowed:
    rename (name in the reference -> name in the candidate), by_position, any_order, fixed_shapes,
    drop_overridable."""

    providers: Sequence[str]
    input_shapes: Shapes
    inputs: Mapping[str, str]
    samples: int
    seed: int
    noise_limit: float
    truth: str
    rtol: Mapping[str, float] | float
    atol: Mapping[str, float] | float
    every_value: bool
    mean: Sequence[float]
    std: Sequence[float]
    layout: str
    freeze_initializers: bool
    max_memory: int | None
    rename: Mapping[str, str]
    by_position: bool
    any_order: bool
    fixed_shapes: bool
    drop_overridable: bool


class FoldKeywords(TypedDict, total=False):
    """How to fold: keep (fnmatch patterns of node names not to touch), freeze_initializers (initializers that
    a caller may override are constants), duplicate_producers (fold although the producer has other readers:
    it is computed twice), merge_branches (parallel linear branches become one where that folds more; on by
    default), simplify_leftovers (what stays is brought to its cheapest exact form)."""

    keep: Sequence[str]
    freeze_initializers: bool
    duplicate_producers: bool
    merge_branches: bool
    simplify_leftovers: bool


class FileKeywords(ReadKeywords, FoldKeywords, VerifyKeywords, total=False):
    """How to read, fold and verify: the keywords of `load`, `fold` and `verify` together."""


def _door(function: Callable[P, R]) -> Callable[P, R]:
    """Only BnfoldError leaves."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BnfoldError:
            raise
        except MemoryError as error:
            raise Unsupported(SHORT) from error
        except Exception as error:
            ours = of_system(error) if isinstance(error, OSError) else None
            raise ours or BnfoldError(
                f"internal error: {type(error).__name__}: {error}", way_out="please report it with the model"
            ) from error

    return guarded


@_door
def load(source: Any, weights: StrPath | None = None, **options: Unpack[ReadKeywords]) -> ir.Model:
    """Read a model of any format into one complete, unfolded model in standard ONNX operators.

    source   a path (.onnx, .prototxt, .cfg: the content decides), bytes, an onnx.ModelProto, an
             onnx_ir.Model, or an exporter's result that carries one as `.model_proto` or `.model`
    weights  the .caffemodel or .weights file; None for ONNX
    Large weights stay in their file until somebody asks for them; keep the file while the model lives.
    Raises UsageError, Unreadable, Malformed, Mismatch, Unsupported.
    """
    return _load(source, weights, _read_options(options)).model


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
    The input is never changed. Nothing is verified here: see `verify`. Raises what `load` raises.
    """
    loaded = _in_memory(model)
    folded, plan = pipeline.fold_model(loaded.model, _fold_options(options))
    origin = recalled(loaded.model)
    return FoldResult(
        folded, plan, origin, census(loaded.model, origin.size), census(folded), unchanged=not plan.changes
    )


@_door
def verify(reference: Any, candidate: Any, **options: Unpack[VerifyKeywords]) -> Comparison:
    """Are two models numerically the same? Truthy when they are; carries every figure.

    Both run on the same seeded inputs; the error of each is measured against a float64 run of the reference,
    and the ratio of the two (the noise ratio) is the gate: about 1 for a right fold, at most `noise_limit`
    (4) to pass. `reference` and `candidate` are what `load` returns or takes. Raises what `load` raises,
    ProviderUnavailable, UsageError.
    """
    return compare.compare(_in_memory(reference), _in_memory(candidate), _verify_options(options))


@_door
def save(model: Any, path: StrPath, *, external_data: bool = False) -> Path:
    """Write a model as ONNX, atomically: the file is replaced by a finished one or not at all. Does not
    verify.

    Above 2 GB, or with `external_data`, large weights go to one file beside it. Returns the path. Raises
    WriteError, Unsupported.
    """
    return pipeline.save(_in_memory(model).model, path, external_data)


@_door
def to_onnx(model: Any) -> onnx.ModelProto:
    """The model as onnx.ModelProto, weights included, for pipelines that go on in memory. Raises Unsupported
    above 2 GB."""
    return pipeline.to_onnx(_in_memory(model).model)


@_door
def fold_file(
    source: Any,
    weights: StrPath | None = None,
    *,
    out: StrPath | None = None,
    verify: bool = True,
    external_data: bool = False,
    keep_failed: bool = False,
    **options: Unpack[FileKeywords],
) -> FoldResult:
    """Read, fold, verify and write: what `bnfold fold` does, in one call.

    out          the .onnx to write; `<stem>.folded.onnx` beside the source by default
    verify       False writes without checking
    keep_failed  leave a refused model as `<stem>.failed.onnx`
    Returns a FoldResult whose `.report` carries every figure and whose `.path` is the file. Raises
    NotEquivalent where verification fails (its `.report` says how), WriteError, ProviderUnavailable, and what
    `load` raises.
    """
    return pipeline.fold_file(
        _job(
            source,
            weights,
            out,
            dict(options),
            verify=verify,
            external_data=external_data,
            keep_failed=keep_failed,
        )
    )


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
    return pipeline.convert_file(
        _job(source, weights, out, dict(options), verify=True, external_data=external_data)
    )


# From keywords to the frozen options of the rooms.


def _job(
    source: Any,
    weights: StrPath | None,
    out: StrPath | None,
    options: dict[str, Any],
    *,
    verify: bool,
    external_data: bool,
    keep_failed: bool = False,
) -> Job:
    _refuse_unknown(options, _names(ReadOptions) | _names(VerifyOptions) | _FOLDING)
    fold_options = _fold_options({k: v for k, v in options.items() if k in _FOLDING})
    read = _read_options({k: v for k, v in options.items() if k in _names(ReadOptions)})
    check = (
        _verify_options({k: v for k, v in options.items() if k in _names(VerifyOptions)}) if verify else None
    )
    return Job(source, _path(weights), _path(out), read, fold_options, check, external_data, keep_failed)


def _load(source: Any, weights: StrPath | None, options: ReadOptions) -> Loaded:
    return pipeline.load(source, _path(weights), options)


def _in_memory(model: Any) -> Loaded:
    """What `load` made is taken as it is; anything else is loaded."""
    from .ir.graph import ir

    if isinstance(model, FoldResult):
        model = model.model
    if isinstance(model, ir.Model) and ORIGIN_KEY in model.meta:
        origin = recalled(model)
        return Loaded(model, "memory", origin.name)
    return _load(model, None, ReadOptions())


_FOLDING = set(FoldKeywords.__annotations__)


def _fold_options(options: Mapping[str, Any]) -> FoldOptions:
    _refuse_unknown(options, _FOLDING)
    return FoldOptions(**{**options, **_normal(options, lists=("keep",))})


def _read_options(options: Mapping[str, Any]) -> ReadOptions:
    _refuse_unknown(options, _names(ReadOptions))
    return ReadOptions(
        **{**options, **_normal(options, shapes=("input_shapes",), lists=("stages", "cut_at"))}
    )


def _verify_options(options: Mapping[str, Any]) -> VerifyOptions:
    _refuse_unknown(options, _names(VerifyOptions))
    tables = {
        k: tuple(_table(options[k]).items()) for k in ("rtol", "atol", "inputs", "rename") if k in options
    }
    lists = _normal(options, shapes=("input_shapes",), lists=("providers",), numbers=("mean", "std"))
    return VerifyOptions(**{**options, **lists, **tables})


def _normal(
    options: Mapping[str, Any],
    *,
    shapes: Sequence[str] = (),
    lists: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> dict[str, Any]:
    return (
        {k: _shapes(options[k]) for k in shapes if k in options}
        | {k: _strings(k, options[k]) for k in lists if k in options}
        | {k: tuple(float(v) for v in options[k]) for k in numbers if k in options}
    )


def _shapes(given: Shapes) -> tuple[tuple[str, tuple[int, ...]], ...]:
    table = given if isinstance(given, Mapping) else {"": given}
    return tuple((name, tuple(int(d) for d in dims)) for name, dims in table.items())


def _table(given: Any) -> dict[str, Any]:
    return dict(given) if isinstance(given, Mapping) else {"": given}


def _strings(name: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not all(isinstance(item, str) for item in given):
        raise UsageError(f"'{name}' is {given!r}", expected="strings")
    return tuple(given)


def _names(options: Any) -> set[str]:
    return {f.name for f in fields(options)}


def _refuse_unknown(options: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(f"unknown keyword '{unknown[0]}'", expected="one of " + ", ".join(sorted(known)))


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else Path(given)
