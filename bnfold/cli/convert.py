"""`bnfold convert`: read and write, no folding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..pipeline import pipeline
from ..reporting import json as documents
from . import request
from .ending import Ending, of_convert
from .help import Command
from .help import option as grouped
from .options import EXTERNAL_DATA, FILE, LIMIT, NO_READING_BACK, READ, REPORT, options


@click.command(
    "convert",
    cls=Command,
    examples=(
        (
            "darknet as it is, decoded boxes included.",
            "bnfold convert yolo.cfg yolo.weights -o yolo.onnx --heads boxes",
        ),
    ),
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL [WEIGHTS] [OUT.onnx]")
@grouped(
    "Output",
    "-o",
    "--out",
    type=FILE,
    metavar="OUT",
    help="Write the model to this file, or to standard output with '-'.",
)
@EXTERNAL_DATA
@NO_READING_BACK
@options(READ, LIMIT, REPORT)
def command(files: tuple[Path, ...], out: Path | None, **values: Any) -> Ending:
    """Write MODEL as ONNX without folding anything: the baseline that a folded model is held against.

    The written file is read back and compared with the model, node by node and byte by byte.
    """
    view = request.view_of(values)
    with request.documented("convert", values, files) as content:
        work = request.make(files, out, values, view)
        if work.out is None:
            raise UsageError("no output is named", expected="-o OUT.onnx")
        with view.working():
            result = pipeline.convert_file(work)
        request.hand_over(result, work, view)
        content.update(documents.of_convert(result))
    request.tell(view, result.origin)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.converted(result, verbose=view.verbose))
    return of_convert(result, in_place=work.replaces_source)
