"""Amounts as people read them. Apart from text.py, so that a page needs none of what draws on terminals."""

from __future__ import annotations


def in_bytes(count: int | None) -> str:
    """1.2 MB, in powers of 1,000."""
    if count is None:
        return ""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
