"""Where a violation stands, as CI services want it: a file relative to where the command runs, and a line."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from ..outcome import Checked, Violation


def file_of(one: Checked, violation: Violation) -> Path:
    """The file to blame, relative to the current folder where it lies in it, absolute elsewhere."""
    path = Path(violation.path or one.path)
    try:
        return path.resolve().relative_to(Path.cwd().resolve())
    except (ValueError, OSError):
        return Path(os.path.abspath(path)) if "\0" not in str(path) else path  # noqa: PTH100 - links stay as they were named


def uri_of(path: Path) -> str:
    """A relative reference, or a file URI; any name fits, whatever its bytes."""
    text = quote(os.fsencode(path.as_posix()), safe="/")
    return f"file://{text}" if path.is_absolute() else text
