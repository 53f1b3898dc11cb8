"""Two models held against each other: the way from what was loaded to verification and back.

compare                two loaded models -> Comparison
proof                  what two loaded models differ in, proved where it stands; or why that could not be
                       derived
compare_with_opencv    Caffe or darknet files, as they were read, against OpenCV
bench                  how long one or two loaded models take
selftest               this machine's libraries against known answers
side_of                a loaded model as verification wants it
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..files.stamps import unchanged
from ..files.temporary import scratch
from ..results.comparison import Check, Comparison, Proof, Side
from ..results.fold_result import recalled
from ..results.latency import Latencies
from ..results.options import TimeOptions, VerifyOptions
from ..results.plan import Loaded
from .job import Say, silent


def compare(reference: Loaded, candidate: Loaded, options: VerifyOptions, say: Say = silent) -> Comparison:
    """Are two models numerically the same?"""
    from ..verifying import compare as compared

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
    """Does the model that was read compute what OpenCV computes from the same files?"""
    from ..verifying import against_opencv

    with scratch() as folder, ExitStack() as stack:
        return against_opencv(
            network,
            weights,
            side_of(loaded, folder / "converted.onnx", stack),
            options,
            progress_callback(say),
        )


def selftest(say: Say = silent) -> list[Check]:
    """Do this machine's libraries compute what they should?"""
    from ..verifying import selftest as tested

    return tested(progress_callback(say))


def progress_callback(say: Say) -> Callable[[str, float], None]:
    """What verification calls to report what it does and which share of the work is done."""
    return lambda what, share: say(f"{what} ({share:.0%})" if share else what)


def side_of(loaded: Loaded, target: Path, stack: ExitStack) -> Side:
    """A model as verification wants it: an ONNX file as it lies, anything else written under a temporary
    name."""
    from ..writing import write

    if loaded.format == "onnx" and loaded.files and loaded.as_read:
        return Side(loaded.model, loaded.files[0], loaded.name)
    return Side(loaded.model, stack.enter_context(write(loaded.model, target)).path, loaded.name)
