"""The contract holds for every input that once broke it, and for a bounded number of new ones; and the
harness sees what it should see.

Every target gets RUNS inputs from a process of its own: guided by coverage where atheris is installed,
mutations of the seeds in a fixed order where it is not. `python -m tests.fuzz` does the same for hours.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import Malformed

from . import contract, text, wire
from .__main__ import NAMES, ROOT
from .contract import Case, run
from .targets import TARGETS
from .worker import has_atheris

REGRESSIONS = Path(__file__).parent / "regressions"
CASES = sorted(path for path in REGRESSIONS.glob("*/*") if path.is_file())
RUNS = 1000 if has_atheris() else 600


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back again: a case runs in its own folder
    return tmp_path


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_it(path, folder):
    TARGETS[path.parent.name].seeds()  # what is made once is no case's own
    found = run(TARGETS[path.parent.name].read, path.read_bytes(), folder)
    assert found is None, found.text


@pytest.mark.slow
@pytest.mark.parametrize("target", NAMES)
def test_new_inputs(target, tmp_path):
    runs = RUNS // 3 if target.startswith("drawn") else RUNS  # a new network each time takes longer
    call = [sys.executable, "-m", "tests.fuzz", target, f"--runs={runs}", f"--corpus={tmp_path}"]
    done = subprocess.run(
        call, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}
    )
    found = "\n".join(path.read_text() for path in tmp_path.glob("*/findings/*.txt"))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{found}"
    if not has_atheris():
        assert "plain engine" in done.stdout


def test_the_table_is_whole():
    assert tuple(TARGETS) == NAMES
    assert {path.parent.name for path in CASES} <= set(NAMES)


# What must be seen: a target that breaks the contract, in every way.


class TwoLines(Malformed):
    def __str__(self) -> str:
        return f"{self.where}\n{self.found}"


def two_lines(case: Case) -> None:
    raise TwoLines("a", where=case.file("x"))


def nameless(case: Case) -> None:
    case.file("x")
    raise Malformed("something is wrong")


def left_behind(case: Case) -> None:
    (case.folder / "out.tmp").write_text("half")
    raise Malformed("stopped", where=case.file("x"))


def outside(case: Case) -> None:
    (case.folder.parent / "else").write_text("x")


def peeks(case: Case) -> None:
    Path("/etc/hostname").read_bytes()


def starts(case: Case) -> None:
    subprocess.run(["true"], check=False)


def allocates(case: Case) -> None:
    np.ones(1 << 25)


def loops(case: Case) -> None:
    while True:
        pass


def warns(case: Case) -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def crashes(case: Case) -> None:
    raise IndexError


@pytest.mark.parametrize(
    ("target", "key"),
    [
        (two_lines, "message"),
        (nameless, "nameless"),
        (left_behind, "leaves"),
        (outside, "touches opens"),
        (peeks, "touches opens"),
        (starts, "touches subprocess.Popen"),
        (allocates, "memory"),
        (loops, "hang"),
        (warns, "RuntimeWarning"),
        (crashes, "IndexError"),
    ],
)
def test_a_breach_is_seen(target, key, folder, monkeypatch):
    monkeypatch.setattr(contract, "SECONDS", 1.0)
    inner = folder / "case"
    inner.mkdir()
    found = run(target, b"data", inner)
    assert found is not None and found.key.startswith(key)


def test_a_clean_error_and_a_result_are_no_findings(folder):
    def refuses(case: Case) -> None:
        raise Malformed("line 3 is odd", where=case.file("net.cfg"))

    assert run(refuses, b"", folder) is None
    assert run(lambda case: None, b"", folder) is None


def test_a_message_survives_the_tree():
    """Decoding and encoding give the same bytes, so that a mutation changes what it means to change."""
    for data in TARGETS["onnx_fold"].seeds() + TARGETS["caffemodel"].seeds()[:7]:
        assert wire.encoded(wire.decoded(data)) == data


@pytest.mark.parametrize("target", ["prototxt", "cfg"])
def test_mutations_are_seeded_and_mostly_parse(target, folder):
    mutate, words = getattr(text, target), TARGETS[target].words()
    seed = TARGETS[target].seeds()[3]
    first = [mutate(seed, random.Random(i), words) for i in range(200)]
    assert first == [mutate(seed, random.Random(i), words) for i in range(200)]
    assert len(set(first)) > 150
