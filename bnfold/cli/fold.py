"""`bnfold fold`: read, fold, verify, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..errors import NotEquivalent, UsageError
from ..gate import places
from ..pipeline import pipeline
from ..pipeline.job import Job
from ..reporting import json as documents
from ..results.fold_result import FoldResult
from . import defaults, request
from .ending import Ending, of_fold
from .help import Command
from .help import option as grouped
from .options import (
    FILE,
    FOLD,
    LIMIT,
    READ,
    RECALIBRATE,
    REPORT,
    TIME,
    VERIFY,
    WEIGHTS_OUT,
    WRITE,
    certificate_option,
    options,
)
from .screen import Screen
from .standard_streams import is_mark


@click.command(
    "fold",
    cls=Command,
    examples=(
        ("Fold, verify, and write net.folded.onnx beside the model.", "bnfold fold net.onnx"),
        (
            "A Caffe network; net.caffemodel beside it is found by its name.",
            "bnfold fold net.prototxt -o net.onnx",
        ),
        (
            "A page with the pictures, and the figures for a script.",
            "bnfold fold net.onnx -o out.onnx --report out.html --json out.json",
        ),
        (
            "In Caffe's own format: merged.prototxt and merged.caffemodel; darknet's with a .cfg.",
            "bnfold fold net.prototxt net.caffemodel -o merged.prototxt",
        ),
        ("From a pipe into a pipe.", "cat net.onnx | bnfold fold - -o - > out.onnx"),
    ),
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL [WEIGHTS] [OUT]")
@grouped(
    "Output",
    "-o",
    "--out",
    type=FILE,
    metavar="OUT",
    help="Write the model to this file, or to standard output with '-' (default: <stem of "
    "MODEL>.folded.onnx beside it). A .prototxt or .cfg asks for MODEL's own format, with the weights in a "
    "file beside it.",
)
@WEIGHTS_OUT
@certificate_option("the fold, for 'bnfold audit' and 'bnfold check'")
@grouped("Output", "--dry-run", is_flag=True, help="Print the plan; write nothing.")
@options(FOLD, RECALIBRATE, WRITE, READ, VERIFY, TIME, LIMIT, REPORT)
def command(
    files: tuple[Path, ...],
    out: Path | None,
    weights_out: Path | None,
    dry_run: bool,
    certificate_path: Path | None,
    **values: Any,
) -> Ending:
    """Fold the batch norms of MODEL, verify the result, and write it: as ONNX, or as the prototxt and
    caffemodel, the cfg and weights, that MODEL is.

    The output is written only when it is numerically equivalent: OUT is replaced in one step by a finished,
    verified file.
    """
    values |= {"certificate_path": certificate_path, "dry_run": dry_run}
    view = request.view_of(values)
    with request.documented("fold", values, files) as content:
        if is_mark(weights_out):
            raise UsageError("--weights-out cannot be '-'", expected="the name of a file")
        work = request.make(files, out, values, view, defaults.with_defaults)
        work = replace(work, weights_out=weights_out)
        if dry_run and work.time.time:
            raise UsageError("--time with --dry-run", expected="one of them: nothing is written to be timed")
        if certificate_path is not None and dry_run:
            raise UsageError(
                "--certificate with --dry-run",
                expected="one of them: nothing is written that could be certified",
            )
        if certificate_path is not None:
            work = request.certified(work, certificate_path)
        try:
            with view.working():
                result = pipeline.plan(work) if dry_run else pipeline.fold_file(work)
        except NotEquivalent as error:
            request.tell_failure(view, error)
            raise
        if not dry_run:
            request.hand_over(result, work, view)
        content.update(documents.of_fold(result, dry_run=dry_run))
        if certificate_path is not None:
            from ..gate import certificate

            request.write_file(
                certificate_path, certificate.text(certificate.made(work, result, certificate_path))
            )
    request.tell(view, result.origin)
    if (
        certificate_path is None
        and result.path is not None
        and (old := places.found_beside(result.path)) is not None
    ):
        view.warn(f"{old} certifies an earlier {result.path.name}: give --certificate {old} to renew it")
    _warn(view, work, result)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.folded(result, verbose=view.verbose, dry_run=dry_run))
    return of_fold(result, dry_run=dry_run, in_place=work.replaces_source and not dry_run)


def _warn(view: Screen, work: Job, result: FoldResult) -> None:
    """What was asked for and not done, or not as it was."""
    if work.time.time and result.latency is None:
        view.warn("latency was not measured: nothing was folded")
    for taken in result.plan.withdrawn:
        view.warn(f"the fold of '{taken.node}' was taken back: {taken.reason}")
    for finding in result.recalibrated.findings if result.recalibrated is not None else ():
        view.warn(str(finding))
    if result.report is not None and result.report.unseen:
        view.warn(result.report.unseen)
