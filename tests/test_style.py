"""The habits of CONTRIBUTING.md that no linter knows: a header on every file, and keywords in long calls.
Formatting, complexity and the length of lines are ruff's (pyproject.toml)."""

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

MOST_POSITIONAL = 6
VARIADIC = ("dropped", "layer", "add_row", "zip", "_logistic")  # each takes a list of things of one kind
OPEN = ("folding", "inference", "cli", "verifying/truth/kernels")  # rooms that still have such calls


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_header_states_the_strategy(file):
    text = file.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name(file)} has no header"


@pytest.mark.parametrize("file", [f for f in FILES if name(f).startswith("bnfold/")], ids=name)
def test_long_calls_use_keywords(file):
    """A reader cannot tell which of seven arguments in a row is which."""
    if name(file).removeprefix("bnfold/").startswith(OPEN):
        return
    long = [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and len(call.args) > MOST_POSITIONAL
        and ast.unparse(call.func).split(".")[-1] not in VARIADIC
    ]
    assert not long, f"{name(file)} passes more than {MOST_POSITIONAL} arguments by position: {long}"
