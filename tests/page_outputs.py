"""What commands print on pages: blocks of `console` hold commands and their output, and the output is made.

    python -m tests.page_outputs     runs every such block of README.md and docs/, and writes what was printed

A test runs them, too. Numbers with a fraction may differ from machine to machine, so they are held to a factor; all
else must be what the page says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
FACTOR = 3.0  # between a number on the page and the same number here
_FRACTION = re.compile(r"\d+\.\d+(?:e[+-]\d+)?|\d+e[+-]\d+")


def commands(block: str) -> list[str]:
    """The lines that are typed."""
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def printed(block: str, folder: Path) -> str:
    """The block with what its commands print here, on both streams as a terminal shows them."""
    lines = []
    for command in commands(block):
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1"],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=300,
            check=False,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        )
        shown = [line.rstrip() for line in done.stdout.splitlines()]
        lines += [f"$ {command}", *(line for line in shown if line)]
    return "\n".join(lines) + "\n"


def alike(page: str, here: str) -> bool:
    """Is it the same text, but for fractions within a factor?"""
    if _words(page) != _words(here):
        return False
    pairs = zip(map(float, _FRACTION.findall(page)), map(float, _FRACTION.findall(here)), strict=True)
    return all(a == b or (min(a, b) > 0 and max(a, b) / min(a, b) <= FACTOR) for a, b in pairs)


def _words(text: str) -> list[str]:
    """The text without fractions, rules of tables and the width of their columns."""
    return re.sub(r"[─\s]+", " ", _FRACTION.sub("#", text)).split()


def rewritten(text: str, folder: Path) -> str:
    """A page with the output of every block as it is here."""
    return BLOCK.sub(lambda match: f"```console\n{printed(match[1], folder)}```", text)


def _pages() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def prepared(folder: Path) -> Path:
    """A folder in which pages run: the samples, and `bnfold` of this checkout on the path."""
    ignore: Callable[..., set[str]] = shutil.ignore_patterns("*.folded.onnx", "__pycache__")
    shutil.copytree(ROOT / "samples", folder / "samples", ignore=ignore)
    command = folder / "bin" / "bnfold"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnfold "$@"\n')
    command.chmod(0o755)
    return command.parent


if __name__ == "__main__":
    for page in _pages():
        with tempfile.TemporaryDirectory() as name:
            os.environ["PATH"] = f"{prepared(Path(name))}{os.pathsep}{os.environ['PATH']}"
            os.environ["PYTHONPATH"] = str(ROOT)
            page.write_text(rewritten(page.read_text(encoding="utf-8"), Path(name)), encoding="utf-8")
