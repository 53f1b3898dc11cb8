"""Is it a right result? What a reader made is valid ONNX and survives writing; what was folded computes what
it computed before.

The checks need models that are small enough to run in no time. Where the float64 interpreter cannot run a
model (it is no more valid than its file was), nothing is said about its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx

from bnfold.errors import BnfoldError, blamed_on
from bnfold.inference import Shapes
from bnfold.ir.graph import graphs, ir, nodes
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.pipeline.own_format import aligned, read_back
from bnfold.reading.onnx.reader import read as read_onnx
from bnfold.results.options import FoldOptions, ReadOptions
from bnfold.results.pair import CaffePair
from bnfold.results.pair_formats import of_format
from bnfold.results.plan import Loaded
from bnfold.verifying.inputs.free_dims import free_dims
from bnfold.verifying.inputs.samples import Unfillable, inputs_of, sample
from bnfold.verifying.inputs.sizes import Usual
from bnfold.verifying.truth.interpreter import CannotEvaluate, Interpreter
from bnfold.writing import caffe, write
from bnfold.writing.pair import write_pair

from .contract import Case, Wrong

MOST_NODES, MOST_NUMBERS = 300, 1 << 18
# of the largest value: weights may be float32, and nets amplify; what is wrong is wrong by much more
TOLERANCE = 1e-3
HALF = 2e-2  # where weights have 16 bits: each is off by 5e-4 of itself, and what is clipped was larger


def built(loaded: Loaded, case: Case) -> None:
    """A model that a reader has made: valid ONNX by the checker of ONNX itself, before and after folding."""
    if not _small(loaded.model):
        return
    with blamed_on(loaded.files[0]):
        _checked(_written(loaded.model, case))
        _checked(_written(pipeline.planned(loaded, FoldOptions()).model, case))


def paired(loaded: Loaded, case: Case) -> None:
    """A model folded in its own format: what is written is the folded graph when it is read again."""
    pair = of_format(loaded.format)
    assert pair is not None
    assert loaded.pair is not None
    with blamed_on(loaded.files[-1]):
        model, _ = pipeline.fold_model(loaded.model, FoldOptions(), pair=loaded.pair)
        target = case.folder / f"out{pair.network}"
        with write_pair(model, loaded.pair, target, pair.weights_of(target)) as written:
            read_back(written, loaded, model, ReadOptions())


def edited(loaded: Loaded, case: Case, read: Callable[[Path], Loaded]) -> None:
    """A network whose text is edited: the new text is that of the folded graph, whatever its weights."""
    assert isinstance(loaded.pair, CaffePair)
    if not _small(loaded.model):
        return
    with blamed_on(loaded.files[0]):
        model, plan = pipeline.fold_model(loaded.model, FoldOptions(), pair=loaded.pair)
        text, _ = caffe.files(model, loaded.pair)
    path = case.file("edited.prototxt", text)
    try:
        again = read(path)
    except BnfoldError as error:
        raise Wrong(f"the edited text cannot be read: {error}") from error
    difference = aligned(model, again.model, lambda mine, theirs: True)
    if difference:
        raise Wrong(f"the edited text says something else: {difference}")
    if not plan.changes and text != case.data:
        raise Wrong("nothing was folded, and the text is another")


def folded(path: Path, case: Case) -> None:
    """A model of a stranger, all the way: if it was valid it still is, and if it runs the fold computes the
    same."""
    options = FoldOptions(merge_branches=len(case.data) % 2 == 0, simplify_leftovers=len(case.data) % 3 == 0)
    done = pipeline.fold_file(Job(source=path, out=case.target, fold=options, verify=None))
    again = _taken(case)
    before = read_onnx(case.data).model
    if not _small(before) or not _small(done.model) or _contradictory(before):
        return
    if _valid(case.data):
        if done.plan.changes and not _same(before, read_onnx(again).model):
            return
        _checked(again)


def _contradictory(model: ir.Model) -> bool:
    """Can no run get past one of its nodes? ONNX's shape inference ends the process on some of these
    (sizes below zero, std::clamp) and goes round for ever on others (an Einsum equation with what is no
    letter)."""
    shapes = Shapes(model)
    return any(shapes.contradicts(node) for node in nodes(model))


def _small(model: ir.Model) -> bool:
    """Few nodes and few numbers, in all its graphs."""
    nodes = numbers = 0
    for graph in graphs(model):
        nodes += len(graph)
        numbers += sum(
            math.prod(v.const_value.shape.numpy())
            for v in graph.initializers.values()
            if v.const_value is not None
        )
    sizes = [math.prod(d if isinstance(d, int) else 2 for d in v.shape or ()) for v in model.graph.inputs]
    return nodes <= MOST_NODES and numbers <= MOST_NUMBERS and sum(sizes) <= MOST_NUMBERS


def _written(model: ir.Model, case: Case) -> bytes:
    """The bytes of the model as it is written."""
    with write(model, case.target) as written:
        written.commit()
    return _taken(case)


def _taken(case: Case) -> bytes:
    """The bytes of the target, which is removed; they read as a model again."""
    data = case.target.read_bytes()
    case.target.unlink()
    try:
        read_onnx(data)
    except BnfoldError as error:
        raise Wrong(f"what was written cannot be read: {error}") from error
    return data


def _valid(data: bytes) -> bool:
    try:
        onnx.checker.check_model(data, full_check=True)
    except Exception:  # whatever the checker says of a stranger's file
        return False
    return True


def _checked(data: bytes) -> None:
    try:
        onnx.checker.check_model(data, full_check=True)
    except onnx.checker.ValidationError as error:
        raise Wrong(f"not valid ONNX: {error}") from error
    except onnx.shape_inference.InferenceError as error:
        raise Wrong(f"shapes contradict each other: {error}") from error


def _same(before: ir.Model, after: ir.Model) -> bool:
    """Both models in float64 on one seeded sample. False where the first gives outputs of another shape than
    it declares, which ONNX's checker cannot see where it knows no shape: such a model was never valid."""
    try:
        wanted = inputs_of(before)
        dims = free_dims(wanted, {})
        shapes = dims.shapes({unknown.key: Usual(2, 3, 8, 4).of(unknown) for unknown in dims.unknowns})
        if _largest(before, shapes) > MOST_NUMBERS:
            return True
        feeds = sample(wanted, shapes, 0, 0)
        truth = Interpreter(before).run(feeds)
    except (CannotEvaluate, Unfillable, BnfoldError):
        return True
    declared = {value.name: value.shape for value in before.graph.outputs if value.shape is not None}
    if any(not _is_of(np.shape(truth[name]), shape) for name, shape in declared.items() if name in truth):
        return False
    try:
        got = Interpreter(after).run(feeds)
    except CannotEvaluate as error:
        raise Wrong(f"only the unfolded model runs: {error}") from error
    _compared(truth, got, HALF if _is_half(before) else TOLERANCE)
    return True


def _is_half(model: ir.Model) -> bool:
    """Does it compute in 16 bits?"""
    declared = (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())
    return any(value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) for value in declared)


def _is_of(found: tuple[int, ...], declared: ir.Shape) -> bool:
    """Is a shape of the rank and of the sizes that are declared?"""
    sizes = zip(found, declared, strict=False)
    return len(found) == len(declared) and all(not isinstance(d, int) or d == n for n, d in sizes)


def _largest(model: ir.Model, inputs: Mapping[str, tuple[int, ...]]) -> int:
    """The numbers of the largest value, as far as sizes are known: paddings make pictures of millions of rows
    in a few bytes."""
    for value in model.graph.inputs:
        if value.name in inputs:
            value.shape = ir.Shape(inputs[value.name])
    shapes = Shapes(model)
    values = [*model.graph.inputs, *(value for node in nodes(model) for value in node.outputs)]
    return max(math.prod(d for d in shapes.of(value) or () if isinstance(d, int)) for value in values)


def _compared(truth: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], tolerance: float) -> None:
    for name, want in truth.items():
        have = got[name]
        if np.shape(have) != np.shape(want):
            raise Wrong(f"'{name}' has the shape {np.shape(have)}, it had {np.shape(want)}")
        if not isinstance(want, np.ndarray) or want.dtype.kind != "f":
            continue
        with np.errstate(all="ignore"):
            finite = np.isfinite(want) & (np.abs(want) < 1e30)
            size = float(np.abs(want[finite]).max(initial=0))
            off = float(np.abs(have[finite] - want[finite]).max(initial=0))
        if not off <= tolerance * size + 1e-6:
            raise Wrong(f"'{name}' differs by {off:.3g}, its largest value is {size:.3g}")
