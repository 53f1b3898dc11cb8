"""`bnfold report`: the page of a run that is over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import jinja2

from ..errors import Malformed, Unreadable
from ..reporting import html
from . import request
from .ending import Ending
from .options import FILE

_EXPECTED = "what 'bnfold fold --json' wrote"


@click.command("report")
@click.argument("result", type=FILE, metavar="RESULT.json")
@click.option("-o", "--out", type=FILE, metavar="OUT", help="The page to write (default: beside RESULT.json).")
def command(result: Path, out: Path | None) -> Ending:
    """Make a page to look at of what 'bnfold fold --json RESULT.json' wrote."""
    target = out or result.with_suffix(".html")
    document = _document(result)
    try:
        text = html.page(document, target.absolute().parent)
    except (LookupError, TypeError, ValueError, AttributeError, jinja2.TemplateError) as error:
        raise Malformed(f"does not hold what its schema says ({error})", where=result, expected=_EXPECTED) from error
    request.write_file(str(target), text)
    return Ending(0, f"PASS written={target}")


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(f"cannot be read ({(error.strerror or str(error)).lower()})", where=path) from error
    except UnicodeDecodeError as error:
        raise Malformed("is not UTF-8 text", where=path, expected=_EXPECTED) from error
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not JSON ({error})", where=path, expected=_EXPECTED) from error
    return document  # type: ignore[no-any-return]  # html.page checks what it is
