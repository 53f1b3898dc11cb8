"""Temporary files, in the system's temporary folder. If that folder is full or not writable, it is not a bug
of bnfold: the error tells the user how to choose another one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FULL, WriteError, reason
from . import supervision

_ROOM = "set TMPDIR to a folder with room"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a while. What the system refuses inside is a WriteError that says how to choose another
    place."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="bnfold-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from error
    supervision.remember(folder.name)
    with folder as name:
        try:
            yield Path(name)
        except WriteError as error:
            error.way_out = error.way_out or _ROOM
            raise
        except OSError as error:
            if error.errno in FULL:
                raise _no_room(error) from error
            raise


def _no_room(error: OSError) -> WriteError:
    return WriteError(
        f"no temporary file can be written ({reason(error)})",
        where=tempfile.tempdir or os.environ.get("TMPDIR"),
        way_out=_ROOM,
    )
