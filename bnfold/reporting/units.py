"""Amounts as people read them. Apart from text.py, so that a page needs none of what draws on terminals."""

from __future__ import annotations

from collections.abc import Sequence


def in_bytes(count: int | None) -> str:
    """1.2 MB, in powers of 1,000."""
    return "" if count is None else _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def in_macs(count: int) -> str:
    """1.2 G, in powers of 1,000."""
    return _scaled(count, ("", "k", "M", "G", "T", "P")).strip()


def _scaled(count: int, units: Sequence[str]) -> str:
    size, at = float(count), 0
    while size >= 1000 and at < len(units) - 1:
        size, at = size / 1000, at + 1
    return f"{size:.{1 if at else 0}f} {units[at]}"
