"""`bnfold slim`: channels that do nothing, or little, leave a model."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from ..errors import NotEquivalent, UsageError
from ..pipeline import slimming
from ..pipeline.job import Job
from ..pipeline.slimming import SlimJob
from ..reporting import json as documents
from ..results.slimming import SlimResult
from . import options as rows
from . import request
from .ending import Ending, of_slim
from .help import Command
from .help import option as grouped
from .options import FILE, LIMIT, READ, RECALIBRATE, REPORT, SLIM, TIME, VERIFY, WRITE, options
from .screen import Screen

ADVICE = (
    "the batch norms behind the channels that left still have the statistics from before: "
    "--recalibrate DATA estimates them again from your inputs"
)
AFTERWARDS = tuple(
    replace(row, option=replace(row.option, help=row.option.help.replace("First estimate", "Then estimate")))
    for row in RECALIBRATE
)


@click.command(
    "slim",
    cls=Command,
    examples=(
        ("Take out what does nothing; the result is proved equal.", "bnfold slim net.onnx -o slim.onnx"),
        ("What would leave, what stays, and why.", "bnfold slim net.onnx --dry-run"),
        (
            "A third of all channels, those of the smallest gamma, and what that costs.",
            "bnfold slim net.onnx -o slim.onnx --ratio 0.3 --inputs images/",
        ),
        (
            "The same with statistics of what the batch norms see afterwards.",
            "bnfold slim net.onnx -o slim.onnx --ratio 0.3 --inputs images/ --recalibrate images/",
        ),
    ),
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL [WEIGHTS] [OUT]")
@grouped(
    "Output",
    "-o",
    "--out",
    type=FILE,
    metavar="OUT",
    help="Write the ONNX model to this file, or to standard output with '-' (default: <stem of "
    "MODEL>.slim.onnx beside it).",
)
@grouped("Output", "--dry-run", is_flag=True, help="Print what would leave; write nothing.")
@options(SLIM, AFTERWARDS, WRITE, READ, VERIFY, TIME, LIMIT, REPORT)
def command(files: tuple[Path, ...], out: Path | None, dry_run: bool, **values: Any) -> Ending:
    """Remove the channels of MODEL that its batch norms switched off. Their filters, biases and entries of
    batch norms go, and so do the slices of all nodes that read them. Their constants move into the biases of
    the readers. The result is verified like a fold.

    --ratio and --below remove channels that do a little, too. That is an approximation: it needs --inputs,
    and bnfold measures on them how much the outputs change.
    """
    values |= {"dry_run": dry_run}
    view = request.view_of(values)
    with request.documented("slim", values, files) as content:
        work = _job(request.make(files, out, values, view), values)
        if dry_run and work.time.time:
            raise UsageError("--time with --dry-run", expected="one of them: nothing is written to be timed")
        try:
            with view.working():
                result = slimming.plan(work) if dry_run else slimming.slim_file(work)
        except NotEquivalent as error:
            request.tell_failure(view, error)
            raise
        if not dry_run:
            request.hand_over(result, work, view)
        content.update(documents.of_slim(result, dry_run=dry_run))
    request.tell(view, result.origin)
    _warn(view, work, result, dry_run)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.slimmed(result, verbose=view.verbose, dry_run=dry_run))
    return of_slim(result, dry_run=dry_run, in_place=work.replaces_source and not dry_run)


def _job(job: Job, values: dict[str, Any]) -> SlimJob:
    """The job of a slimming, from what all commands that write a model have in common."""
    common = {field.name: getattr(job, field.name) for field in fields(job) if field.name != "made"}
    return SlimJob(**common, slim=rows.slim_options(values), inputs=rows.inputs_of(values))


def _warn(view: Screen, work: SlimJob, result: SlimResult, dry_run: bool) -> None:
    """What was asked for and not done, and what is advised."""
    if work.time.time and result.latency is None:
        view.warn("latency was not measured: no channel left")
    for stays in result.slimming.stays:
        if stays.code == "stays.withdrawn":
            view.warn(f"{stays.channels} channels of '{stays.node}' were put back: {stays.reason}")
    if result.report is not None and result.report.unseen:
        view.warn(result.report.unseen)
    for finding in result.recalibrated.findings if result.recalibrated is not None else ():
        view.warn(str(finding))
    left_something = result.slimming.threshold is not None and result.slimming.changes
    if left_something and not dry_run and result.recalibrated is None:
        view.warn(ADVICE)
