"""`-` stands for standard input and standard output wherever a file may stand; what goes there is alone there."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from ..models import CONV_BN_RELU, saved

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


def piped(
    folder: Path, *arguments: object, stdin: bytes = b"", **settings: object
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bnfold", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=folder,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **settings,  # type: ignore[call-overload]
    )


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return saved(tmp_path, CONV_BN_RELU).read_bytes()


def last(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode().strip().splitlines()[-1]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "command", [["fold", "-", "-o", "-"], ["fold", "-", "-"], ["convert", "-", "-o", "-"]]
)
def test_a_model_through_a_pipe(tmp_path: Path, model: bytes, command: list[str]) -> None:
    done = piped(tmp_path, *command, stdin=model)
    assert done.returncode == 0, last(done)
    ops = [node.op_type for node in onnx.load_from_string(done.stdout).graph.node]
    assert ("BatchNormalization" in ops) == (command[0] == "convert")
    assert b"standard output" in done.stderr and b"/tmp" not in done.stderr
    assert names(tmp_path) == {"net.onnx"}


def test_network_and_weights_of_a_pipe(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "digits.caffemodel", tmp_path)
    done = piped(
        tmp_path,
        "fold",
        "-",
        "digits.caffemodel",
        "out.onnx",
        stdin=(SAMPLES / "digits.prototxt").read_bytes(),
    )
    assert done.returncode == 0, last(done)
    shutil.copy(SAMPLES / "digits.prototxt", tmp_path)
    done = piped(
        tmp_path, "inspect", "digits.prototxt", "-", stdin=(SAMPLES / "digits.caffemodel").read_bytes()
    )
    assert done.returncode == 0, last(done)


@pytest.mark.parametrize("pair", [("net.onnx", "-"), ("-", "net.onnx")])
def test_either_side_of_a_verification(tmp_path: Path, model: bytes, pair: tuple[str, str]) -> None:
    done = piped(tmp_path, "verify", *pair, stdin=model)
    assert done.returncode == 0 and "PASS" in last(done)


def test_check_reads_a_pipe(tmp_path: Path, model: bytes) -> None:
    done = piped(tmp_path, "check", "-", "--junit", "-", stdin=model)
    assert done.returncode == 1
    assert done.stdout.startswith(b"<?xml") and b'name="standard input"' in done.stdout


@pytest.mark.parametrize(
    ("flag", "start"), [("--report", b"<!doctype html"), ("--json", b"{"), ("--certificate", b"{")]
)
def test_a_document_is_alone_on_standard_output(
    tmp_path: Path, model: bytes, flag: str, start: bytes
) -> None:
    done = piped(tmp_path, "fold", "net.onnx", flag, "-")
    assert done.returncode == 0, last(done)
    assert done.stdout.lower().startswith(start)
    assert (b"batch norms: 1 folded" in done.stderr) == (flag != "--json")
    assert names(tmp_path) == {"net.onnx", "net.folded.onnx"}


def test_report_makes_a_page_of_a_pipe(tmp_path: Path, model: bytes) -> None:
    made = piped(tmp_path, "fold", "net.onnx", "--json", "-")
    assert json.loads(made.stdout)["verdict"] == "PASS"
    page = piped(tmp_path, "report", "-", "-o", "-", stdin=made.stdout)
    assert page.returncode == 0 and page.stdout.rstrip().endswith(b"</html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fold", "-"], "no output is named, and standard input has no name"),
        (["verify", "-", "-"], "'-' stands for standard input twice"),
        (["inspect", "-"], "standard input: the file is empty"),
        (["report", "-"], "no output is named"),
        (["batch", "net.onnx", "-o", "-"], "--out cannot be '-'"),
    ],
)
def test_what_does_not_go(tmp_path: Path, model: bytes, arguments: list[str], words: str) -> None:
    done = piped(tmp_path, *arguments, stdin=b"" if "inspect" in arguments else model)
    assert done.returncode in (2, 3) and words in last(done)
    assert names(tmp_path) == {"net.onnx"}


def test_a_failure_puts_nothing_on_standard_output(tmp_path: Path, model: bytes) -> None:
    done = piped(tmp_path, "fold", "-", "-o", "-", "--noise-limit", "1e-9", "--strict", stdin=model)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "standard output: " in last(done)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fold", "-", "-o", "o.onnx"], "standard input, which"),
        (["fold", "net.onnx", "-o", "-"], "standard output, which"),
    ],
)
def test_a_terminal_is_no_file(tmp_path: Path, model: bytes, arguments: list[str], words: str) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "bnfold", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert f"{words} is a terminal" in last(done)
