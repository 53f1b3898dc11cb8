"""System calls that the kernel refuses, each at its own moment: a quota that is used up, a disk that breaks.
No file system with quotas is needed: strace answers in the kernel's place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .running import COMMAND, bnfold, contents, digits, sentence

STRACE = shutil.which("strace")
OLD = b"what stood here before"


def refusing(call: str, error: str, when: int) -> tuple[str, ...]:
    """The beginning of a command line under which one call of each process fails."""
    assert STRACE is not None
    inject = f"inject={call}:error={error}:when={when}"
    return STRACE, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *COMMAND


def works() -> bool:
    """Is there an strace that may trace?"""
    return (
        STRACE is not None and not subprocess.run([STRACE, "-o", "/dev/null", "true"], check=False).returncode
    )


@pytest.mark.slow
@pytest.mark.skipif(not works(), reason="needs strace, which makes system calls fail")
@pytest.mark.parametrize(
    ("call", "error", "when", "words", "left"),
    [
        ("mkdir", "EDQUOT", 1, "f.onnx: cannot be written (disk quota exceeded)", "old"),
        ("write", "EDQUOT", 3, "f.onnx: cannot be written (disk quota exceeded)", "old"),
        ("write", "EDQUOT", 30, "f.onnx: cannot be written (disk quota exceeded)", "old"),
        ("fsync", "EIO", 1, "f.onnx: cannot be written (input/output error)", "old"),
        ("rename", "EDQUOT", 1, "f.onnx: cannot be written (disk quota exceeded)", "old"),
        ("mkdir", "EDQUOT", 2, "r.json: cannot be written (disk quota exceeded)", "new"),
        ("rename", "EDQUOT", 2, "r.json: cannot be written (disk quota exceeded)", "new"),
    ],
)
def test_what_the_kernel_refuses(
    tmp_path: Path, call: str, error: str, when: int, words: str, left: str
) -> None:
    source, out = digits(tmp_path), tmp_path / "out"
    out.mkdir()
    bnfold("fold", source, "-o", tmp_path / "whole.onnx", "--no-verify")
    for name in ("f.onnx", "r.json"):
        (out / name).write_bytes(OLD)
    run = bnfold(
        "fold", source, "-o", out / "f.onnx", "--json", out / "r.json", "--no-verify",
        command=refusing(call, error, when),
    )  # fmt: skip
    assert words in sentence(run, 3)
    assert contents(out).keys() == {"f.onnx", "r.json"}
    whole = (tmp_path / "whole.onnx").read_bytes()
    assert (out / "f.onnx").read_bytes() == (OLD if left == "old" else whole)
