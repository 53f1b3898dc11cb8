"""Two models held against each other: the way from what was loaded to verification and back.

compare                two loaded models -> Comparison
proof                  what two loaded models differ in, proved where it stands; or why that could not be
                       derived
compare_with_opencv    Caffe or darknet files, as they were read, against OpenCV
bench                  how long one or two loaded models take
selftest               this machine's libraries against known answers
side_of                a loaded model as verification wants it
in_layout              dims of inputs, where another layout was baked in
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..files.stamps import unchanged
from ..files.temporary import scratch
from ..results.comparison import Check, Comparison, Proof, Side
from ..results.fold_result import recalled
from ..results.latency import Latencies
from ..results.model_names import has_images
from ..results.options import TimeOptions, VerifyOptions, spelled
from ..results.plan import Loaded
from .job import Say, silent


def compare(reference: Loaded, candidate: Loaded, options: VerifyOptions, say: Say = silent) -> Comparison:
    """Are two models numerically the same?"""
    from ..verifying import compare as compared

    options = in_layout(reference, options)
    stamps = recalled(reference.model).stamps + recalled(candidate.model).stamps
    with unchanged(stamps, in_place=True) as check, scratch() as folder, ExitStack() as stack:
        left = side_of(reference, folder / "reference.onnx", stack)
        right = side_of(candidate, folder / "candidate.onnx", stack)
        report = compared(left, right, options, progress_callback(say))
        check()
    return report


def bench(
    before: Loaded, after: Loaded | None, options: TimeOptions, inputs: VerifyOptions, say: Say = silent
) -> Latencies:
    """How long one or two models take, in every runtime that is installed."""
    from ..verifying.latency import measured

    inputs = in_layout(before, inputs)
    stamps = recalled(before.model).stamps + (recalled(after.model).stamps if after is not None else ())
    with unchanged(stamps, in_place=True) as check, scratch() as folder, ExitStack() as stack:
        left = side_of(before, folder / "before.onnx", stack)
        right = side_of(after, folder / "after.onnx", stack) if after is not None else None
        found = measured(left, right, options, inputs, progress_callback(say))
        check()
    return found


def proof(reference: Loaded, candidate: Loaded, *, freeze_initializers: bool = False) -> Proof | str:
    """The obligations of two models, derived without onnxruntime; a clause where they could not be."""
    from ..verifying import NotDerived, prove

    try:
        return prove(Side(reference.model), Side(candidate.model), freeze_initializers=freeze_initializers)
    except NotDerived as error:
        return str(error)


def compare_with_opencv(
    network: Path, weights: Path | None, loaded: Loaded, options: VerifyOptions, say: Say = silent
) -> Comparison:
    """Does the model that was read compute what OpenCV computes from the same files? Raises UsageError for
    one with preprocessing in it, of which the files know nothing."""
    from ..verifying import against_opencv

    if loaded.baked:
        raise UsageError(
            f"{spelled('bake_input')}, and OpenCV reads the files as they are",
            expected="one of the two: an oracle, or preprocessing in the network",
        )
    with scratch() as folder, ExitStack() as stack:
        return against_opencv(
            network,
            weights,
            side_of(loaded, folder / "converted.onnx", stack),
            options,
            progress_callback(say),
        )


def in_layout(loaded: Loaded, options: VerifyOptions) -> VerifyOptions:
    """The options with dims of inputs as they come in: users give those of the network, whatever layout was
    baked in. Images come in that layout, too."""
    moves = {one.input: one.layout for one in loaded.baked if one.layout}
    if not moves:
        return options
    if has_images(options):
        options = replace(options, layout=next(iter(moves.values())))
    alone = next(iter(moves)) if len(loaded.model.graph.inputs) == 1 else ""
    shapes = tuple(
        (name, _come_in(dims, moves.get(name or alone, ""))) for name, dims in options.input_shapes
    )
    return replace(options, input_shapes=shapes)


def _come_in(dims: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Dims of four axes in the layout that comes in."""
    if not layout or len(dims) != 4:
        return dims
    batch, *rest = dims
    moved = rest[1:] + rest[:1] if layout == "NHWC" else rest[-1:] + rest[:-1]
    return (batch, *moved)


def selftest(say: Say = silent) -> list[Check]:
    """Do this machine's libraries compute what they should?"""
    from ..verifying import selftest as tested

    return tested(progress_callback(say))


def progress_callback(say: Say) -> Callable[[str, float], None]:
    """What verification calls to report what it does and which share of the work is done."""
    return lambda what, share: say(f"{what} ({share:.0%})" if share else what)


def side_of(loaded: Loaded, target: Path, stack: ExitStack) -> Side:
    """A model as verification wants it: an ONNX file as it lies, anything else (and what was baked into it)
    written under a temporary name."""
    from ..writing import write

    if loaded.format == "onnx" and loaded.files and loaded.as_read:
        return Side(loaded.model, loaded.files[0], loaded.name)
    return Side(loaded.model, stack.enter_context(write(loaded.model, target)).path, loaded.name)
