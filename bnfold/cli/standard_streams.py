"""`-` where a file may stand: standard input for a file that is read, standard output for one that is
written.

Rule 1: readers and writers work on files. What comes through a pipe is put into a temporary file, what leaves
        through one is made in such a file, and everything that is printed calls it by its real name.
Rule 2: a stream has one user. What goes to standard output is alone there: tables then go to standard error.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from ..errors import UsageError
from ..files.temporary import scratch
from . import screen

MARK = "-"
INPUT, OUTPUT = "standard input", "standard output"
_USED = "bnfold.standard_input"


def is_mark(path: Path | str | None) -> bool:
    """Does a path stand for a standard stream?"""
    return str(path) == MARK


def received(path: Path) -> Path:
    """The path itself, or for `-` a temporary file with all that standard input holds. Raises UsageError."""
    if not is_mark(path):
        return path
    context = click.get_current_context()
    if context.meta.get(_USED):
        raise UsageError("'-' stands for standard input twice", expected="a file for one of them")
    context.meta[_USED] = True
    if sys.stdin is not None and sys.stdin.isatty():
        raise UsageError(
            "'-' stands for standard input, which is a terminal",
            expected="a file through a pipe, as in 'cat net.onnx | bnfold fold - -o out.onnx'",
        )
    copy = _temporary(context, "input", INPUT)
    with open(0, "rb", closefd=False) as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    return copy


def staged() -> Path:
    """A temporary file for the model that goes to standard output. Raises UsageError."""
    if sys.stdout.isatty():
        raise UsageError(
            "'-' stands for standard output, which is a terminal",
            expected="a file or a pipe, as in 'bnfold fold net.onnx -o - > out.onnx'",
        )
    return _temporary(click.get_current_context(), "output.onnx", OUTPUT)


def is_staged(path: Path) -> bool:
    """Is it the file of a model that goes to standard output?"""
    return screen.renamed(str(path)) == OUTPUT


def _temporary(context: click.Context, name: str, shown: str) -> Path:
    path = context.find_root().with_resource(scratch()) / name
    screen.rename(str(path), shown)
    return path
