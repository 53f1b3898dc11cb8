"""The habits of CONTRIBUTING.md that no linter knows: a header on every file. Formatting, complexity and the
length of lines are ruff's (pyproject.toml)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    file
    for folder in ("bnfold", "samples", "benchmarks", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
]


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_header_states_the_strategy(file):
    text = file.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name(file)} has no header"
