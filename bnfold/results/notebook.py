"""What results need to show themselves: one line for a terminal, a fragment of HTML for a notebook, without
a style sheet or a script.

Names come from model files, so every text is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_LONGEST_TEXT = 80
_LONGEST_TABLE = 25  # rows


def short(text: str) -> str:
    """A text whose middle is left out where it is too long for a line."""
    half = _LONGEST_TEXT // 2 - 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]}...{text[-half:]}"


def counted(count: int, what: str) -> str:
    """`1 batch norm`, `2 batch norms`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def unverified(changes: bool) -> str:
    """What stands in the place of a verdict where nothing was compared."""
    return "not verified" if changes else "nothing to verify"


def block(headline: str, *parts: str) -> str:
    """A headline and what stands under it."""
    return f"<div><p><b>{escape(headline)}</b></p>{''.join(parts)}</div>"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under their heads; nothing where there are none."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    shown = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows[:_LONGEST_TABLE]]
    rest = f"<p>and {len(rows) - _LONGEST_TABLE} more</p>" if len(rows) > _LONGEST_TABLE else ""
    body = "".join(f"<tr>{cells}</tr>" for cells in shown)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
