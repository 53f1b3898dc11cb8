"""`bnfold fold`: read, fold, verify, write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import pipeline
from ..errors import NotEquivalent
from ..reporting import json as documents
from . import request
from .ending import Ending, of_fold
from .options import FILE, FOLD, READ, REPORT, VERIFY, WRITE, options


@click.command("fold")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL [WEIGHTS] [OUT.onnx]")
@click.option("-o", "--out", type=FILE, metavar="OUT", help="The model to write (default: <stem of MODEL>.folded.onnx beside it).")
@click.option("--dry-run", is_flag=True, help="Print the plan; write nothing.")
@options(FOLD, WRITE, READ, VERIFY, REPORT)
def command(files: tuple[Path, ...], out: Path | None, dry_run: bool, **values: Any) -> Ending:
    """Fold the batch norms of MODEL, verify the result, and write it as ONNX.

    The output is written only when it is numerically equivalent: OUT is replaced in one step by a finished, verified file.
    """
    view = request.view_of(values)
    with request.documented("fold", values) as content:
        work = request.make(files, out, values, view)
        try:
            with view.working():
                result = pipeline.plan(work) if dry_run else pipeline.fold_file(work)
        except NotEquivalent as error:
            request.tell_failure(view, error)
            raise
        content.update(documents.of_fold(result, dry_run=dry_run))
    request.tell(view, result.origin)
    for taken in result.plan.withdrawn:
        view.warn(f"the fold of '{taken.node}' was taken back: {taken.reason}")
    if view.shows_results:
        from ..reporting import text

        view.show(*text.folded(result, verbose=view.verbose, dry_run=dry_run))
    return of_fold(result, dry_run=dry_run)
