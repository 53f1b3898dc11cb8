"""Where a file or a violation stands, as users and CI services want it: relative to the current folder."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from ..results.fold_result import Checked, Violation


def file_of(one: Checked, violation: Violation) -> Path:
    """The file to blame, as a user would name it."""
    return from_here(Path(violation.path or one.path))


def from_here(path: Path) -> Path:
    """The file, relative to the current folder where it lies in it, absolute elsewhere. A link counts where
    it lies, not where it leads: a repository may link to a cache. Where there is no current folder, it stays
    as it is."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return path
    absolute = Path(os.path.abspath(path)) if "\0" not in str(path) else path  # noqa: PTH100 - links stay as they were named
    for known, folder in ((absolute, here), (absolute.parent.resolve() / absolute.name, here.resolve())):
        if known.is_relative_to(folder):
            return known.relative_to(folder)
    return absolute


def uri_of(path: Path) -> str:
    """A relative reference, or a file URI; any name fits, whatever its bytes."""
    text = quote(os.fsencode(path.as_posix()), safe="/")
    return f"file://{text}" if path.is_absolute() else text
