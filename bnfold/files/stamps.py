"""Detects that a file has changed during a run. Weights are read late and in place, so a file that another
program writes to meanwhile would give a model that never existed.

    stamped(paths)                       the present state of the files
    with unchanged(stamps) as check:     an error inside is reported as a changed file, if a file has changed;
                                         `check()` may be called at any moment

It detects another size, another modification time, another file under the name, and a missing file. It does
not detect a program that changes a file in place and then resets its modification time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import Unreadable
from ..records import dataclass


@dataclass(frozen=True)
class Stamp:
    """One file at one moment: `file` is its device and number, `state` its size and time of change."""

    path: Path
    file: tuple[int, int]
    state: tuple[int, int]


def stamped(paths: Iterable[Path]) -> tuple[Stamp, ...]:
    """The files that are there."""
    return tuple(found for path in paths if (found := _now(path)) is not None)


@contextmanager
def unchanged(stamps: Sequence[Stamp], *, in_place: bool = False) -> Iterator[Callable[[], None]]:
    """What it gives raises Unreadable when the files are not what they were; so does an error inside: then
    that is why. With `in_place` a file that was replaced or removed does not count, for what was opened
    before is whole."""

    def check() -> None:
        if (changed := _changed(stamps, in_place)) is not None:
            raise changed

    try:
        yield check
    except Exception as error:
        if (changed := _changed(stamps, in_place)) is not None:
            raise changed from error
        raise


def _changed(stamps: Sequence[Stamp], in_place: bool) -> Unreadable | None:
    for stamp in stamps:
        now = _now(stamp.path)
        same_file = now is not None and now.file == stamp.file
        if (now is not None and same_file and now.state != stamp.state) or not (same_file or in_place):
            return Unreadable(
                "changed while it was read",
                where=stamp.path,
                expected="a file that no other program writes to meanwhile",
                way_out="run again when it is finished",
            )
    return None


def _now(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # gone; or a null byte in the path, which the reader refuses
        return None
    return Stamp(path, (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns))
