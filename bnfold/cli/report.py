"""`bnfold report`: the page of a run that is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import jinja2

from ..errors import Malformed, UsageError, blamed_on
from ..files.text_files import read_json
from ..reporting import html
from . import request
from .ending import Ending
from .help import Command
from .help import option as grouped
from .options import FILE
from .standard_streams import is_mark, received

_EXPECTED = "what 'bnfold fold --json' wrote"
_LARGEST = 1 << 28  # bytes


@click.command(
    "report",
    cls=Command,
    examples=(("Make the page of an earlier run.", "bnfold report result.json -o result.html"),),
)
@click.argument("result", type=FILE, metavar="RESULT.json")
@grouped(
    "Output",
    "-o",
    "--out",
    type=FILE,
    metavar="OUT",
    help="Write the page to this file (default: beside RESULT.json).",
)
def command(result: Path, out: Path | None) -> Ending:
    """Make an HTML page from a result that 'bnfold fold --json RESULT.json' wrote."""
    if out is None and is_mark(result):
        raise UsageError("no output is named", expected="-o OUT.html, or '-o -' for standard output")
    target = out or result.with_suffix(".html")
    result = received(result)
    if not is_mark(target):
        request.check_targets([("-o", target)], [result])
    document = _document(result)
    try:
        with blamed_on(result):
            text = html.page(document, target.absolute().parent)
    except (LookupError, TypeError, ValueError, AttributeError, jinja2.TemplateError) as error:
        raise Malformed(
            f"does not hold what its schema says ({error})", where=result, expected=_EXPECTED
        ) from error
    request.write_file(str(target), text)
    return Ending(0, f"PASS written={target}")


def _document(path: Path) -> dict[str, Any]:
    return read_json(path, _LARGEST, _EXPECTED)  # type: ignore[no-any-return]  # html.page checks what it is
