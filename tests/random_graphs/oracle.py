"""Judge one graph: fold it, run both with onnxruntime, without optimisations, and compare every output of
every run.

What arithmetic alone may change is measured, not guessed: the original runs again with every weight and input
nudged by about one rounding, and what its outputs move by is the unit. A wrong fold is orders of magnitude
beyond.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from bnfold.errors import BnfoldError
from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions
from bnfold.results.plan import Plan

from .generator import Sample
from .net import Array, bodies, session

# onnxruntime says so of a sound model where a body reads what a function operator (CastLike) makes outside of it
LOST = "Missing Input"
FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
SPREADS, ROUNDINGS = 60, {"float16": 20, "float32": 600, "float64": 3000}


class NoGraph(Exception):
    """onnxruntime does not run the original: nothing can be said."""


@dataclass(frozen=True)
class Finding:
    """What went wrong. `kind` is the same for the same fault."""

    kind: str
    text: str


@dataclass(frozen=True)
class Judgement:
    """What became of one graph."""

    plan: Plan | None
    finding: Finding | None


OPTIONS = (
    FoldOptions(),
    FoldOptions(),
    FoldOptions(),
    FoldOptions(duplicate_producers=True),
    FoldOptions(simplify_leftovers=True),
    FoldOptions(merge_branches=False),
    FoldOptions(freeze_initializers=True),
)


def options_of(sample: Sample) -> FoldOptions:
    """The options that a sample is folded with: its seed says which."""
    return OPTIONS[sample.seed % len(OPTIONS)]


def judge(sample: Sample, on_run: Callable[[], None] = lambda: None) -> Judgement:
    """Fold a sample and hold the result against onnxruntime's run of the original, after which `on_run` is
    called. Raises NoGraph."""
    options = options_of(sample)
    if options.freeze_initializers:
        sample = _with_defaults(sample)
    wanted = run(sample.model, sample.feeds)
    on_run()
    try:
        original = read(sample.model).model
        before = ir.to_proto(original).SerializeToString(deterministic=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numbers that are no result are foreseen, or a mistake
            folded, plan = fold(original, options)
        if ir.to_proto(original).SerializeToString(deterministic=True) != before:
            return Judgement(plan, Finding("changed", "the caller's model was changed"))
        proto = ir.to_proto(folded)
    except BnfoldError as error:
        return Judgement(None, Finding(f"refused: {type(error).__name__} {_place(error)}", str(error)))
    except Exception as error:
        return Judgement(
            None, Finding(f"crash: {type(error).__name__} {_place(error)}", traceback.format_exc())
        )
    return Judgement(plan, _held(sample, wanted, proto, plan, options))


def _held(
    sample: Sample, wanted: list[list[Array]], proto: onnx.ModelProto, plan: Plan, options: FoldOptions
) -> Finding | None:
    try:
        onnx.checker.check_model(proto, full_check=_passes(sample.model))
        got = run(proto, sample.feeds)
    except (NoGraph, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        if LOST in str(error):
            return None
        return Finding("invalid", f"the folded model does not load or run: {error}")
    there = {(node.name, node.op_type) for node in proto.graph.node}  # the Add of a shift keeps the name
    if left := [f.node for f in plan.folded if (f.node, f.op) in there]:
        return Finding("claimed", f"the plan says that these are folded, and they are there: {left}")
    return _different(sample, wanted, got) or _again(proto, plan, options)


def _passes(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def _again(proto: onnx.ModelProto, plan: Plan, options: FoldOptions) -> Finding | None:
    """Folding what is folded changes nothing."""
    _, again = fold(read(proto).model, options)
    if not again.changes:
        return None
    what = ", ".join([*(f"{f.node} ({f.direction})" for f in again.folded), *again.merged])
    kept = [(k.node, k.code) for k in plan.kept]
    return Finding("again", f"a second fold still folds {what}; the first kept {kept}")


def _different(sample: Sample, wanted: list[list[Array]], got: list[list[Array]]) -> Finding | None:
    bounds: list[list[Array | None]] | None = None
    for k, (truth, result) in enumerate(zip(wanted, got, strict=True)):
        for at, (a, b) in enumerate(zip(truth, result, strict=True)):
            name = sample.model.graph.output[at].name
            if _untripped(sample.model, a, b):
                continue
            if a.shape != b.shape or a.dtype != b.dtype:
                return Finding(
                    "shape", f"{name} is {b.dtype}{b.shape} instead of {a.dtype}{a.shape} in run {k}"
                )
            if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                continue
            bounds = bounds or _bounds(sample, wanted)
            if (bound := bounds[k][at]) is None:
                continue
            if not np.array_equal(np.isfinite(a), np.isfinite(b)):
                return Finding("not finite", f"{name} is not finite in other places in run {k}")
            error = np.abs(np.where(np.isfinite(a), a.astype(float) - b, 0)).max(initial=0)
            if error > bound:
                return Finding(
                    "values", f"{name} differs by {error:.3g}, more than {float(bound):.3g}, in run {k}"
                )
    return None


def _untripped(model: onnx.ModelProto, a: Array, b: Array) -> bool:
    """Are both made of what a Loop without a trip collected? Its entries' sizes are what the runtime infers,
    and where it infers nothing from the original, not even their rank."""
    loops = any(node.op_type == "Loop" for node in model.graph.node)
    ranks = a.ndim == b.ndim or a.shape == (0,)
    return loops and ranks and a.dtype == b.dtype and a.size == 0 == b.size


def _bounds(sample: Sample, wanted: list[list[Array]]) -> list[list[Array | None]]:
    """How far each output may be from the original's; None where a nudge moves what is not finite."""
    unit = _narrowest(sample.model)
    epsilon = float(np.finfo(unit).eps)
    rng = np.random.default_rng(sample.seed)
    nudged = []
    for _ in range(3):
        model, feeds = _nudged(sample, rng, epsilon)
        nudged.append(run(model, feeds))
    found: list[list[Array | None]] = []
    for k, truth in enumerate(wanted):
        row: list[Array | None] = []
        for at, a in enumerate(truth):
            others = [run_[k][at] for run_ in nudged]
            if any(o.shape != a.shape or not np.array_equal(np.isfinite(a), np.isfinite(o)) for o in others):
                row.append(None)
                continue
            finite = np.isfinite(a)
            spread = max(np.abs(np.where(finite, a.astype(float) - o, 0)).max(initial=0) for o in others)
            size = np.abs(np.where(finite, a.astype(float), 0)).max(initial=0)
            row.append(SPREADS * spread + ROUNDINGS[unit.name] * epsilon * max(size, 1e-3))
        found.append(row)
    return found


def _narrowest(model: onnx.ModelProto) -> np.dtype:  # type: ignore[type-arg]
    """The narrowest type in which the model computes what depends on its inputs."""
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    return max((np.dtype(FLOATS[k]) for k in kinds if k in FLOATS), key=lambda d: np.finfo(d).eps)


def _nudged(
    sample: Sample, rng: np.random.Generator, epsilon: float
) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    def moved(array: Array) -> Array:
        return (array * (1 + epsilon * rng.choice([-1.0, 1.0], array.shape))).astype(array.dtype)

    model = _unshared(sample.model, sample.delicate)
    for tensor in _tensors(model):
        if tensor.data_type in FLOATS and tensor.name not in sample.delicate:
            tensor.CopyFrom(numpy_helper.from_array(moved(numpy_helper.to_array(tensor)), tensor.name))
    feeds = [{n: moved(a) if a.dtype.kind == "f" else a for n, a in feed.items()} for feed in sample.feeds]
    return model, feeds


def _unshared(model: onnx.ModelProto, delicate: Collection[str]) -> onnx.ModelProto:
    """A copy whose floats, delicate ones aside, are stored once for each reader in the main graph. Each reader rounds on its own, so
    that what they share must not be off in the same way: it would cancel where their results do."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored = {t.name: t for t in copy.graph.initializer}
    stored |= {
        n.output[0]: n.attribute[0].t for n in copy.graph.node if n.op_type == "Constant" and n.attribute
    }
    read: set[str] = set()
    for node in copy.graph.node:
        for place, name in enumerate(node.input):
            if name in read - set(delicate) and name in stored and stored[name].data_type in FLOATS:
                copy.graph.initializer.append(stored[name])
                copy.graph.initializer[-1].name = node.input[place] = f"{name}_of_{node.output[0]}_{place}"
            read.add(name)
    return copy


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every constant of a model, in bodies and functions as well."""
    found = list(model.graph.initializer)
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        found.extend(a.t for a in node.attribute if a.type == onnx.AttributeProto.TENSOR)
        for body in bodies(node):
            found.extend(body.initializer)
            waiting.extend(body.node)
    return found


def _with_defaults(sample: Sample) -> Sample:
    """The same without what callers feed in the place of initializers."""
    stored = {t.name for t in sample.model.graph.initializer}
    return replace(
        sample, feeds=[{n: a for n, a in feed.items() if n not in stored} for feed in sample.feeds]
    )


def run(model: onnx.ModelProto, feeds: list[dict[str, Array]]) -> list[list[Array]]:
    """The outputs of each run."""
    try:
        runner = session(model)
        known = {i.name for i in runner.get_inputs()} | {
            i.name for i in runner.get_overridable_initializers()
        }
        return [runner.run(None, {n: a for n, a in feed.items() if n in known}) for feed in feeds]
    except Exception as error:  # onnxruntime's errors have no common class
        raise NoGraph(str(error)) from error


def _place(error: BaseException) -> str:
    """The innermost frame of the code under test."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/bnfold/" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
