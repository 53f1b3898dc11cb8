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
from ..gate import policy
from . import manifest
from .screen import Screen
from .toml_lines import Lines

TABLE = policy.FOLD


def with_defaults(values: Mapping[str, Any], kind: str, view: Screen) -> dict[str, Any]:
    """The values of a command line, and those of the file where it gives none. Raises Malformed."""
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
    text, table = policy.text_and_table(path)
    found = table.get(TABLE)
    if found is None:
        return {}
    lines = Lines(text, str(path))
    section = lines.section(TABLE if path.name != "pyproject.toml" else rf"tool\.bnfold\.{TABLE}")
    if not isinstance(found, dict):
        raise Malformed(f"'{TABLE}' is no table", where=section.where, expected=f"[{TABLE}] with options")
    return manifest.values_of(found, section, str(path.parent))
