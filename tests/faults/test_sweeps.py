"""The short form of sweeps.py, and what only a batch can meet: a folder in the place of a result, a folder that
may not be written, two runs to one folder."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from threading import Thread

import onnx
import pytest

from .running import SAMPLES, Disk, bnfold, contents, digits, ended, large, sentence, started
from .sweeps import KINDS, Kills, fill, sizes

OLD = b"the old one"
HIDDEN = ".bnfold-"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random(tmp_path: Path, kind: str) -> None:
    kills = Kills(kind, tmp_path)
    kills.run(8, seed=1)
    assert sum(kills.met.values()) == 8


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--external-data",)], ids=["one file", "with data"])
def test_a_fold_on_a_disk_of_every_size(tmp_path: Path, disk: Disk, more: tuple[str, ...]) -> None:
    """The model, its data, a page, a document and a certificate: whatever does not fit any more is not there."""
    source = digits(tmp_path)
    names = {"out.onnx", "r.html", "r.json", "c.json"}
    codes = set()
    for size in sizes(8 << 10, 300 << 10, 9):
        code, after = fill(
            disk,
            size,
            lambda place: (
                *("fold", source, "-o", place / "out.onnx", *more),
                *(
                    "--report",
                    place / "r.html",
                    "--json",
                    place / "r.json",
                    "--certificate",
                    place / "c.json",
                ),
            ),
            {"out.onnx": OLD},
        )
        codes.add(code)
        assert {name for name in after if not name.endswith(".data")} <= names
        if after["out.onnx"] != OLD:
            (tmp_path / "whole").mkdir(exist_ok=True)
            for name, data in after.items():
                (tmp_path / "whole" / name).write_bytes(data)
            onnx.checker.check_model(onnx.load(tmp_path / "whole" / "out.onnx"))
            shutil.rmtree(tmp_path / "whole")
        assert all(after[name].strip()[-1:] in (b">", b"}") for name in names - {"out.onnx"} if name in after)
    assert codes == {0, 3}


@pytest.mark.slow
def test_a_batch_on_a_disk_of_every_size(tmp_path: Path, disk: Disk) -> None:
    """Each model says for itself that it does not fit; the record is there only beside what it records."""
    source = digits(tmp_path)
    codes = set()
    for size in sizes(4 << 10, 260 << 10, 9):
        code, after = fill(disk, size, lambda place: ("batch", source, "-o", place / "out", "--jobs", 1), {})
        codes.add(code)
        assert set(after) <= {"out", *(f"out/net{end}" for end in (".onnx", ".html", ".result.json"))}
        if code == 0:
            assert len(after) == 4
    assert codes == {0, 3}


def test_a_batch_to_a_disk_that_is_full_or_read_only(tmp_path: Path, disk: Disk) -> None:
    source = digits(tmp_path)
    disk.size = 4 << 10
    run = disk.bnfold("batch", source, "-o", disk.place / "out", "--jobs", 1)
    assert sentence(run, 3) == "bnfold: FAIL models=1 error=1"
    assert "net.onnx: cannot be written (no space left on device)" in run.err
    assert contents(disk.after) == {"out": b""}
    run = disk.bnfold("batch", source, "-o", disk.place / "out", mode="ro")
    assert "cannot be written (read-only file system)" in sentence(run, 3)


@pytest.mark.parametrize("ending", [".onnx", ".html", ".result.json"])
def test_a_folder_in_the_place_of_a_result(tmp_path: Path, ending: str) -> None:
    source, out = digits(tmp_path), tmp_path / "out"
    (out / f"net{ending}" / "mine").mkdir(parents=True)
    run = bnfold("batch", source, "-o", out, "--jobs", 1)
    assert sentence(run, 3) == "bnfold: FAIL models=1 error=1"
    assert f"net{ending}: cannot be written (is a directory)" in run.err
    assert (out / f"net{ending}" / "mine").is_dir()
    assert not list(out.glob(f"{HIDDEN}*"))


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "zoo" / "deep").mkdir(parents=True)
    digits(tmp_path / "zoo" / "deep")
    digits(tmp_path / "zoo", "fine.onnx")
    out = tmp_path / "out"
    out.mkdir()
    (out / "deep").write_bytes(OLD)
    run = bnfold("batch", tmp_path / "zoo", "-o", out, "--jobs", 1)
    assert sentence(run, 3) == "bnfold: FAIL models=2 passed=1 error=1"
    assert (out / "deep").read_bytes() == OLD


def test_the_target_becomes_a_folder_while_it_is_made(tmp_path: Path) -> None:
    source, target = large(tmp_path / "net.onnx"), tmp_path / "made" / "out.onnx"
    target.parent.mkdir()
    process = started("fold", source, "-o", target, "--no-verify")

    def swap() -> None:
        while process.poll() is None and not any(target.parent.iterdir()):
            time.sleep(0.001)
        target.mkdir()

    swapper = Thread(target=swap)
    swapper.start()
    run = ended(process)
    swapper.join()
    assert "out.onnx: is a folder" in sentence(run, 3)
    assert contents(target.parent) == {"out.onnx": b""}


@pytest.mark.slow
def test_two_batches_to_one_folder(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    for name in "abc":
        digits(tmp_path / "zoo", f"{name}.onnx")
    out = tmp_path / "out"
    runs = [started("batch", tmp_path / "zoo", "-o", out, "--force", "--jobs", 1) for _ in range(3)]
    for run in map(ended, runs):
        assert sentence(run, 0) == "bnfold: PASS models=3 passed=3"
    assert len(list(out.iterdir())) == 9
    assert sentence(bnfold("batch", tmp_path / "zoo", "-o", out), 0).endswith("unchanged=3")
    assert contents(tmp_path / "zoo")["a.onnx"] == (SAMPLES / "digits.onnx").read_bytes()
