"""A disk that fills up while something is written: one sentence, exit code 3, the old file as it was, nothing
half-written.

The disk is a real one of 64 kB where mounting is allowed; a limit on the size of files (RLIMIT_FSIZE) makes
every write fail anywhere.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from .running import SAMPLES, UNVERIFIABLE, Disk, Ended, bnfold, contents, digits, python, sentence

OLD = b"the old one"
REPORTS = ("--json", "--report", "--certificate")
PAGES = 60 << 10  # bytes of the disk that are taken already, where a report of a few kB must not fit


def limited(*arguments: object, size: int = 4096, **settings: object) -> Ended:
    """A run that can write no file beyond `size` bytes."""
    return bnfold(
        *arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)), **settings
    )


@pytest.mark.parametrize(("command", "more"), [("fold", ()), ("fold", ("--external-data",)), ("convert", ())])
def test_the_model_does_not_fit(tmp_path: Path, disk: Disk, command: str, more: tuple[str, ...]) -> None:
    source = digits(tmp_path)
    (disk.before / "out.onnx").write_bytes(OLD)
    run = disk.bnfold(command, source, "-o", disk.place / "out.onnx", *more)
    assert "out.onnx: cannot be written (no space left on device)" in sentence(run, 3)
    assert contents(disk.after) == {"out.onnx": OLD}
    assert contents(tmp_path) == {"net.onnx": (SAMPLES / "digits.onnx").read_bytes()}


def test_the_model_that_points_to_data_does_not_fit(tmp_path: Path, disk: Disk) -> None:
    """The data is finished when the disk is full: neither it nor the model appears."""
    source = digits(tmp_path)
    assert bnfold("fold", source, "-o", tmp_path / "whole.onnx", "--external-data").code == 0
    disk.size = -(-(next(tmp_path.glob("*.data")).stat().st_size) // 4096) * 4096
    run = disk.bnfold("fold", source, "-o", disk.place / "out.onnx", "--external-data")
    assert "no space left on device" in sentence(run, 3)
    assert contents(disk.after) == {}


@pytest.mark.parametrize("flag", REPORTS)
def test_a_report_does_not_fit(tmp_path: Path, disk: Disk, flag: str) -> None:
    """The model is in place by then, whole and verified; the old report stays."""
    source = digits(tmp_path)
    (disk.before / "filler").write_bytes(bytes(PAGES))
    (disk.before / "report.json").write_bytes(OLD)
    run = disk.bnfold("fold", source, "-o", tmp_path / "out.onnx", flag, disk.place / "report.json")
    assert "report.json: cannot be written (no space left on device)" in sentence(run, 3)
    assert contents(disk.after) == {"filler": bytes(PAGES), "report.json": OLD}
    assert bnfold("check", tmp_path / "out.onnx").code == 0


@pytest.mark.parametrize("flag", ["--junit", "--sarif", "--json"])
def test_a_report_of_check_does_not_fit(tmp_path: Path, flag: str) -> None:
    (tmp_path / "report.xml").write_bytes(OLD)
    run = limited("check", digits(tmp_path), flag, tmp_path / "report.xml", size=100)
    assert "report.xml: cannot be written (file too large)" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx", "report.xml"}
    assert (tmp_path / "report.xml").read_bytes() == OLD


def test_the_page_of_a_result_does_not_fit(tmp_path: Path) -> None:
    assert bnfold("fold", digits(tmp_path), "--json", tmp_path / "r.json").code == 0
    (tmp_path / "r.html").write_bytes(OLD)
    run = limited("report", tmp_path / "r.json")
    assert "r.html: cannot be written (file too large)" in sentence(run, 3)
    assert (tmp_path / "r.html").read_bytes() == OLD


@pytest.mark.parametrize("more", [(), ("--external-data",)], ids=str)
def test_a_limit_on_files_is_no_signal(tmp_path: Path, more: tuple[str, ...]) -> None:
    run = limited("fold", digits(tmp_path), *more)
    assert "net.folded.onnx: cannot be written (file too large)" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx"}


def test_a_refused_model_that_cannot_be_kept(tmp_path: Path, disk: Disk) -> None:
    """That it is refused is the news; the disk has room for one copy, not for two."""
    source = digits(tmp_path)
    disk.size = 200 << 10
    (disk.before / "out.failed.onnx").write_bytes(OLD)
    (disk.before / "filler").write_bytes(bytes(20 << 10))
    run = disk.bnfold("fold", source, "-o", disk.place / "out.onnx", "--keep-failed", *UNVERIFIABLE)
    said = sentence(run, 1)
    assert "is not equivalent" in said
    assert "is not kept" in said
    assert "no space left on device" in said
    assert contents(disk.after)["out.failed.onnx"] == OLD
    assert contents(disk.after).keys() == {"out.failed.onnx", "filler"}


@pytest.mark.parametrize(
    "call",
    [
        "bnfold.save(bnfold.load(source), out)",
        "bnfold.save(bnfold.load(source), out, external_data=True)",
        "bnfold.fold_file(source, out=out)",
        "bnfold.convert_file(source, out=out, external_data=True)",
    ],
)
def test_the_python_doors(tmp_path: Path, call: str) -> None:
    script = f"""
import resource, sys, bnfold
source, out = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    {call}
except bnfold.WriteError as error:
    print(error)
"""
    (tmp_path / "out.onnx").write_bytes(OLD)
    run = python(script, digits(tmp_path), tmp_path / "out.onnx")
    assert run.code == 0, run.err
    assert run.out.strip() == f"{tmp_path / 'out.onnx'}: cannot be written (file too large)"
    assert contents(tmp_path).keys() == {"net.onnx", "out.onnx"}
    assert (tmp_path / "out.onnx").read_bytes() == OLD


@pytest.mark.parametrize("flag", ["--json", "--report"])
def test_a_device_that_is_full(tmp_path: Path, flag: str) -> None:
    run = bnfold("fold", digits(tmp_path), flag, "/dev/full")
    assert "/dev/full: cannot be written (no space left on device)" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx", "net.folded.onnx"}
