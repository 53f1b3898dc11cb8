"""What the tests of many models share: the command in a process of its own, the processes below it, and
whether every model is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import bnfold
from bnfold.files.discovery import WEIGHTS

psutil = pytest.importorskip("psutil", reason="needs the extra 'dask' (psutil comes with it)")
ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """`bnfold batch ARGUMENTS`, running."""
    command = [sys.executable, "-m", "bnfold", "batch", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def batch(*arguments: object, code: int = 0, **environment: str) -> tuple[str, str]:
    """(stdout, stderr) of `bnfold batch ARGUMENTS`, which ends with `code`."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, f"{out}\n{err}"
    return out, err


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    """What `found` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if hit := found():
            return hit
        time.sleep(0.02)
    raise AssertionError("it never came")


def below(pid: int, word: str) -> list[Any]:
    """Processes that a process has started, directly or not, whose command line holds a word."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if any(word in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:  # it went in this moment
            continue
    return found


def records(out: Path) -> dict[str, dict[str, Any]]:
    """What is told of each model, by the name of its outputs."""
    found = {}
    paths = (
        Path(folder) / name
        for folder, _, names in os.walk(out)
        if "/.bnfold-" not in folder
        for name in names
        if name.endswith(".result.json")
    )
    for path in sorted(paths):
        found[path.relative_to(out).as_posix().removesuffix(".result.json")] = json.loads(path.read_text())
    return found


def assert_right(models: Sequence[Path], folder: Path, out: Path) -> None:
    """Every model has an output without a batch norm that computes what the model computes, and nothing else
    lies there."""
    expected = set()
    for model in models:
        name = model.relative_to(folder).with_suffix("")
        output = out / name.with_name(f"{name.name}.onnx")
        weights = model.with_suffix(WEIGHTS[model.suffix]) if model.suffix in WEIGHTS else None
        folded = bnfold.load(output)
        assert not [node for node in folded.graph if node.op_type == "BatchNormalization"], output
        assert bnfold.verify(bnfold.load(model, weights), folded, samples=1), output
        expected |= {output, output.with_suffix(".html"), output.with_suffix(".result.json")}
    assert {path for path in out.rglob("*") if path.is_file()} == expected
    assert not list(out.glob(".bnfold-*")), "unfinished work is left"
