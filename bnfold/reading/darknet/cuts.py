"""Where a network ends before its cfg does: --cut-at names layers, by number or by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import UsageError
from ...results.options import spelled
from .cfg import Section
from .schema import SECTIONS

_LAYER = re.compile(r"(\d{1,9})(?:_(\w+))?", re.ASCII)


def layers(sections: Sequence[Section], wanted: Sequence[str], file: str) -> list[int]:
    """The numbers of the layers that the user names, ascending. Errors: UsageError for one that the cfg does
    not have."""
    names = [_name(section) for section in sections[1:]]
    return sorted({_index(text, names, file) for text in wanted})


def _index(text: str, names: Sequence[str], file: str) -> int:
    match = _LAYER.fullmatch(text)
    index = int(match[1]) if match else len(names)
    if match is None or index >= len(names) or match[2] not in (None, names[index]):
        raise UsageError(
            f"{spelled('cut_at')} names '{text}', which is no layer of {file}",
            expected=f"a number from 0 to {len(names) - 1}, or a name such as 000_{names[0]}"
            if names
            else "a cfg with layers",
        )
    return index


def _name(section: Section) -> str:
    row = SECTIONS.get(section.name)
    return row.name if row else section.name
