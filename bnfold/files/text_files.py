"""Text files that people and tools write beside models (policies, certificates, results): read whole, so only
up to a limit, and only from a regular file, for a pipe would never end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from ..errors import Malformed, Unreadable, reason


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file while it is read. Raises Unreadable, also for what the system refuses while it is
    open."""
    try:
        if not path.is_file():
            raise Unreadable(
                "is not a regular file" if path.exists() else "cannot be read (no such file or directory)",
                where=path,
            )
        with path.open("rb") as file:
            yield file
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise Unreadable(f"cannot be read ({reason(error)})", where=path) from error


def read_text(path: Path, limit: int, expected: str) -> str:
    """UTF-8 text of at most `limit` bytes. `expected` says in errors what should be there. Raises Unreadable,
    Malformed."""
    with opened(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Malformed(f"has more than {limit:,} bytes", where=path, expected=expected)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("is not UTF-8 text", where=path, expected=expected) from error


def read_json(path: Path, limit: int, expected: str) -> Any:
    """A JSON document without doubled keys and without numbers that no double holds. Raises Unreadable,
    Malformed."""
    text = read_text(path, limit, expected)
    try:
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_refuse, parse_int=_whole, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not JSON ({error})"[:200], where=path, expected=expected) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that stands twice means two things to two readers."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _whole(digits: str) -> int:
    _finite(digits)
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]}... is larger than any number of 64 bits")
    return number
