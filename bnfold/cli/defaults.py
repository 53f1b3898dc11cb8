"""Options of `bnfold fold` that a project keeps in a file: the table [fold] of bnfold.toml, or
[tool.bnfold.fold] of pyproject.toml, in the folder that bnfold is called in.

    [fold]                       a key is an option of the command line without its dashes
    samples = 5
    keep = ["head.*"]

Rule: what the command line gives stands before the file. An option of one format does not reach models of
      another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Malformed
from ..gate.places import POLICIES
from .screen import Screen


def with_defaults(values: Mapping[str, Any], kind: str, view: Screen) -> dict[str, Any]:
    """The values of a command line, and those of the file where it gives none. Raises Malformed."""
    if not any(Path(name).is_file() for name in POLICIES):
        return dict(values)
    from ..gate import policy  # most folders have no such file
    from . import manifest

    path = policy.find(Path())
    found = _read(path) if path is not None else {}
    new = {
        name: value
        for name, value in found.items()
        if not values.get(name) and manifest.ROWS[name].fits(kind)
    }
    if new:
        flags = ", ".join(manifest.ROWS[name].flag for name in new)
        view.note(f"{path} gives {flags}")
    return {**values, **new}


def _read(path: Path) -> dict[str, Any]:
    from ..gate import policy
    from . import manifest
    from .toml_lines import Lines

    table_name = policy.FOLD
    text, table = policy.text_and_table(path)
    found = table.get(table_name)
    if found is None:
        return {}
    lines = Lines(text, str(path))
    section = lines.section(table_name if path.name != "pyproject.toml" else rf"tool\.bnfold\.{table_name}")
    if not isinstance(found, dict):
        raise Malformed(
            f"'{table_name}' is no table", where=section.where, expected=f"[{table_name}] with options"
        )
    return manifest.values_of(found, section, str(path.parent))
