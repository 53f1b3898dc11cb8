"""Files that get their names together: what has been decided is written down first, and then carried out by
this run or, if that dies on the way, by whoever finds the note.

    write(folder, moves)    from here on it is decided
    finish(folder)          carry out what is left of it; nothing where nothing is noted

The note lies in the hidden folder where the finished files lie. It is obeyed only where that folder is this
user's own: in a folder that others write to, too, anybody could leave one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

NAME = "commit.json"
Moves = Sequence[tuple[Path, Path]]  # (finished file, its name-to-be)


def write(folder: Path, moves: Moves) -> None:
    """Note what is to be done. The file is in place, whole and synced, or not there."""
    draft = folder / f"{NAME}.draft"
    with draft.open("xb") as file:
        file.write(
            json.dumps([[os.fspath(a), os.fspath(b)] for a, b in moves]).encode("utf-8", "surrogatepass")
        )
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / NAME)


def finish(folder: Path) -> None:
    """Carry out what is noted and not done yet. Raises OSError where a file cannot get its name."""
    note = folder / NAME
    if not _is_own(folder) or not note.is_file():
        return
    for finished, name in json.loads(note.read_bytes().decode("utf-8", "surrogatepass")):
        with suppress(FileNotFoundError):  # it has its name already
            Path(finished).replace(name)
    note.unlink(missing_ok=True)


def _is_own(folder: Path) -> bool:
    try:
        about = os.lstat(folder)
    except OSError:
        return False
    return not hasattr(os, "geteuid") or (about.st_uid == os.geteuid() and not about.st_mode & 0o022)
