"""`bnfold inspect`: what is in a model; what would be folded, what not, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..pipeline import pipeline
from ..pipeline.job import Job
from ..reporting import json as documents
from . import options as rows
from . import request
from .ending import Ending, of_fold
from .help import Command
from .options import FILE, FOLD, LIMIT, READ, REPORT, options


@click.command(
    "inspect",
    cls=Command,
    examples=(
        ("What would be folded, and what is kept and why.", "bnfold inspect net.onnx"),
        ("A darknet network that has no weights yet.", "bnfold inspect net.cfg --random-weights 0"),
    ),
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL [WEIGHTS]")
@options(FOLD, READ, LIMIT, REPORT)
def command(files: tuple[Path, ...], **values: Any) -> Ending:
    """Print the contents of MODEL and the plan, which names each affine node and what it is folded into, or
    why it is kept. Nothing is written."""
    view = request.view_of(values)
    with request.documented("inspect", values, files) as content:
        model, weights = request.network(files, values)
        work = Job(
            source=model,
            weights=weights,
            out=None,
            read=rows.read_options(values),
            fold=rows.fold_options(values),
            verify=None,
            say=view.say,
        )
        with view.working():
            result = pipeline.plan(work, channels=True)
        content.update(documents.of_fold(result, dry_run=True))
    request.tell(view, result.origin)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.inspected(result, verbose=view.verbose))
    return of_fold(result, dry_run=True)
