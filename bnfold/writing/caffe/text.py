"""The text of a prototxt with a few places changed, everything else as the user wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...results.pair import Word


class Edit(NamedTuple):
    """What stands in start:end becomes `text`."""

    start: int
    end: int
    text: str


def edited(content: str, edits: Iterable[Edit]) -> str:
    """The content with all edits carried out; those inside another one go with it."""
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if edit.start < at:
            continue
        parts += [content[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, content[at:]])


def string(content: str, word: Word, text: str) -> Edit:
    """Another string in the place of one, in the same quotes."""
    quote = content[word.start]
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return Edit(word.start, word.end, f"{quote}{escaped}{quote}")


def removed(content: str, start: int, end: int) -> Edit:
    """A field taken out with its comments: those right above it, and the one behind it on its last line.
    Where something else stands on its lines, that stays."""
    line, behind = content.rfind("\n", 0, start) + 1, content.find("\n", end)
    behind = len(content) if behind < 0 else behind
    rest = content[end:behind].strip()
    if content[line:start].strip() or (rest and not rest.startswith("#")):
        return Edit(start, end + len(content[end:behind]) - len(content[end:behind].lstrip(" \t")), "")
    while (above := _line_above(content, line)) is not None and content[above:line].strip().startswith("#"):
        line = above
    behind = min(behind + 1, len(content))
    above = _line_above(content, line)
    if above is None or not content[above:line].strip():  # one empty line of the two around it is enough
        behind = _next_line(content, behind)
    return Edit(line, behind, "")


def _line_above(content: str, line: int) -> int | None:
    return content.rfind("\n", 0, line - 1) + 1 if line else None


def _next_line(content: str, line: int) -> int:
    """Behind the empty lines that begin here."""
    while line < len(content):
        end = content.find("\n", line)
        end = len(content) if end < 0 else end + 1
        if content[line:end].strip():
            break
        line = end
    return line
