"""Results of two files, text and weights, in runs that are ended at any moment or that meet: they belong
together, always."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from .running import bnfold, contents, ended, pair, sentence, started
from .test_killed import behind_the_first_sign, is_stage, moments


def state(folder: Path) -> tuple[bytes | None, ...]:
    """What is under the two names."""
    files = (folder / "out.cfg", folder / "out.weights")
    return tuple(file.read_bytes() if file.exists() else None for file in files)


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False], ids=["over old files", "where nothing was"])
def test_killed(tmp_path: Path, there: bool) -> None:
    files, out = pair(tmp_path / "source"), tmp_path / "to"
    (tmp_path / "new").mkdir()
    out.mkdir()
    if there:
        (out / "out.cfg").write_bytes(b"old")
        (out / "out.weights").write_bytes(b"old too")
    old = state(out)
    begun = time.monotonic()
    assert bnfold("fold", *files, "-o", tmp_path / "new" / "out.cfg", "--no-verify").code == 0
    length, new = time.monotonic() - begun, state(tmp_path / "new")
    left_behind = 0
    for moment in moments(length):
        process = started("fold", *files, "-o", out / "out.cfg", "--no-verify", "-q")
        moment(process, out)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert state(out) in (old, new)
        left_behind += any(map(is_stage, out.iterdir()))
    assert left_behind, "no run was killed while it wrote: the moments are not what they should be"
    assert bnfold("fold", *files, "-o", out / "out.cfg", "--no-verify").code == 0
    assert state(out) == new
    assert not [file for file in out.iterdir() if is_stage(file)]


@pytest.mark.slow
def test_asked_to_end(tmp_path: Path) -> None:
    files, out = pair(tmp_path / "source"), tmp_path / "to"
    out.mkdir()
    process = started("fold", *files, "-o", out / "out.cfg", "--no-verify", "-q")
    behind_the_first_sign(0)(process, out)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert contents(out) == {}


def test_several_runs_to_one_pair(tmp_path: Path) -> None:
    """What is there in the end is one run's text with its weights."""
    out, results = tmp_path / "to", []
    out.mkdir()
    sources = [pair(tmp_path / f"source{seed}", channels=64, seed=seed) for seed in range(4)]
    for seed, files in enumerate(sources):
        (tmp_path / f"alone{seed}").mkdir()
        assert bnfold("fold", *files, "-o", tmp_path / f"alone{seed}" / "out.cfg", "--no-verify").code == 0
        results.append(state(tmp_path / f"alone{seed}"))
    assert len(set(results)) == len(results)
    runs = [started("fold", *files, "-o", out / "out.cfg", "--no-verify", "-q") for files in sources]
    for run in runs:
        assert sentence(ended(run), 0).startswith("bnfold: PASS")
    assert state(out) in results
    assert sorted(contents(out)) == ["out.cfg", "out.weights"]


@pytest.mark.parametrize("target", ["net.cfg", "net.weights"])
def test_what_is_read_is_not_replaced(tmp_path: Path, target: str) -> None:
    files = pair(tmp_path / "source", channels=8)
    before = contents(tmp_path / "source")
    if target == "net.cfg":
        run = bnfold("fold", *files, "-o", files[0], "--weights-out", tmp_path / "w.weights")
    else:
        run = bnfold("fold", *files, "-o", tmp_path / "out.cfg", "--weights-out", files[1])
    assert "would replace" in sentence(run, 2)
    assert contents(tmp_path / "source") == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    files = pair(tmp_path / "source", channels=8)
    run = bnfold("fold", *files, "-o", tmp_path / "out.cfg", "--weights-out", tmp_path / "none" / "w.weights")
    assert "the folder does not exist" in run.last
    assert sorted(contents(tmp_path)) == ["source", "source/net.cfg", "source/net.weights"]
