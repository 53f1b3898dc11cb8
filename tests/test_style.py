"""The habits of CONTRIBUTING.md that a machine can see: a header on every file, files and functions of a size that can be read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE_LINES = 320  # the habit is about 300
FUNCTION_LINES = 45  # the habit is about 30
GENERATED = {"bnfold/reading/caffe/table.py"}  # tables that a script writes and a test keeps current
FILES = [file for folder in ("bnfold", "samples", "benchmarks", "tests") for file in sorted((ROOT / folder).rglob("*.py"))]


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    first = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - first[0].lineno + 1 if first else 0


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_header_states_the_strategy(file):
    text = file.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name(file)} has no header"


@pytest.mark.parametrize("file", [file for file in FILES if name(file) not in GENERATED], ids=name)
def test_it_can_be_read(file):
    lines = file.read_text().splitlines()
    assert len(lines) <= FILE_LINES, f"{name(file)} has {len(lines)} lines"
    functions = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = {function.name: body_lines(function) for function in functions if body_lines(function) > FUNCTION_LINES}
    assert not long, f"{name(file)}: {long}"


def test_generated_tables_exist():
    assert all((ROOT / file).is_file() for file in GENERATED)
