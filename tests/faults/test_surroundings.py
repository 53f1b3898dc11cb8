"""What surrounds a run: temporary folder, home, streams, encodings, the folder that it stands in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .running import (
    COMMAND,
    ROOT,
    SAMPLES,
    Disk,
    bnfold,
    contents,
    digits,
    environment,
    python,
    sentence,
    started,
)

CAFFE = (SAMPLES / "digits.prototxt", SAMPLES / "digits.caffemodel")
ASCII: dict[str, str | None] = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
}


# The temporary folder. Folding needs none; comparing models that are no ONNX does.


def test_folding_needs_no_temporary_folder(tmp_path: Path) -> None:
    assert "noise=" in sentence(
        bnfold("fold", *CAFFE, "-o", tmp_path / "out.onnx", env={"TMPDIR": "/nonexistent"}), 0
    )


def test_a_temporary_folder_that_is_full(tmp_path: Path, disk: Disk) -> None:
    """Python tries a few folders with a small file; which one it takes has room for that, and for no
    model."""
    script = (
        f"import sys, tempfile; tempfile.tempdir = {str(disk.place)!r}\n"
        "from bnfold.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    process = started(
        "verify", *CAFFE, SAMPLES / "digits.onnx", command=disk.command((sys.executable, "-c", script))
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    last = err.decode().splitlines()[-1]
    assert "no space left on device" in last
    assert "set TMPDIR to a folder with room" in last
    assert contents(disk.after) == {}


def test_no_temporary_folder_at_all(tmp_path: Path) -> None:
    """Every folder that Python would try is out of reach: files of any size are too large there."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from bnfold.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    said = sentence(python(script, "verify", *CAFFE, SAMPLES / "digits.onnx"), 3)
    assert "no temporary file can be written" in said
    assert "set TMPDIR to a folder with room" in said


@pytest.mark.parametrize("home", [None, "/nonexistent"], ids=str)
def test_home(tmp_path: Path, home: str | None) -> None:
    assert "noise=" in sentence(
        bnfold("fold", digits(tmp_path), env={"HOME": home, "XDG_CACHE_HOME": None}), 0
    )


# Streams that are closed, full, or read by nobody.


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(tmp_path: Path, closed: str) -> None:
    """No file that is written takes the number of a closed stream, which a library may write to."""
    script = f'"$@" -v --json "$0/r.json" {closed}'
    done = subprocess.run(
        ["sh", "-c", script, tmp_path, *COMMAND, "fold", digits(tmp_path), "--external-data"],
        env=environment(),
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "PASS"
    assert bnfold("check", tmp_path / "net.folded.onnx").code == 0


@pytest.mark.parametrize("redirected", [">/dev/full", ">/dev/full 2>&1"])
@pytest.mark.parametrize("options", ["-v", "--json -"])
def test_results_that_nobody_can_get(tmp_path: Path, redirected: str, options: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {options} {redirected}', "sh", *COMMAND, "inspect", digits(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "2>&1" in redirected or done.stderr.splitlines()[-1].endswith(
        "cannot be written (no space left on device)"
    )


def test_a_last_line_that_nobody_can_hear(tmp_path: Path) -> None:
    """The work is done; the exit code says so."""
    done = subprocess.run(
        ["sh", "-c", '"$@" 2>/dev/full', "sh", *COMMAND, "fold", digits(tmp_path)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "net.folded.onnx").exists()


@pytest.mark.parametrize("options", ["--json -", "-v"])
def test_a_reader_that_leaves(tmp_path: Path, options: str) -> None:
    script = f'("$@" {options}; echo "$?" >"$0/code") 2>"$0/err" | head -c 1'
    subprocess.run(
        ["sh", "-c", script, tmp_path, *COMMAND, "fold", digits(tmp_path)],
        env=environment(),
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "err").read_text().splitlines()[-1].startswith("bnfold: PASS")


# Encodings.


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_a_locale_that_is_not_utf_8(tmp_path: Path, locale: str) -> None:
    """Names are the same bytes as anywhere: what is written under one locale is read under another."""
    changes = {**ASCII, "LC_ALL": locale}
    source = digits(tmp_path, "modèle.onnx")
    out = tmp_path / "模型.onnx"
    run = bnfold(
        "fold",
        source,
        "-o",
        out,
        "--external-data",
        "--json",
        tmp_path / "é.json",
        "--report",
        tmp_path / "é.html",
        "-v",
        env=changes,
    )
    assert "noise=" in sentence(run, 0)
    assert run.out.isascii()
    data = next(tmp_path.glob("*.data"))
    assert data.name.startswith("模型.")
    assert contents(tmp_path).keys() == {"modèle.onnx", "模型.onnx", data.name, "é.json", "é.html"}
    for one in (changes, {}):
        assert sentence(bnfold("check", out, env=one), 0)
    assert json.loads((tmp_path / "é.json").read_text(encoding="utf-8"))["verdict"] == "PASS"


# The folder that the run stands in.


@pytest.mark.parametrize(
    "arguments",
    [("fold", "x.onnx"), ("fold", "{source}", "-o", "x.onnx"), ("fold", "{source}", "--json", "r.json")],
)
def test_a_working_folder_that_is_gone(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    source, gone = digits(tmp_path), tmp_path / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    named = [argument.format(source=source) for argument in arguments]
    assert "(no such file or directory)" in sentence(
        bnfold(*named, command=("sh", "-c", script, "sh", *COMMAND)), 3
    )
    assert contents(tmp_path).keys() == {"net.onnx"}


def test_nothing_but_full_paths_needs_no_working_folder(tmp_path: Path) -> None:
    source, gone = digits(tmp_path), tmp_path / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    assert sentence(
        bnfold("fold", source, "--json", tmp_path / "r.json", command=("sh", "-c", script, "sh", *COMMAND)), 0
    )
    assert sentence(
        bnfold(
            "check",
            tmp_path / "net.folded.onnx",
            command=("sh", "-c", f'mkdir "{gone}"; {script}', "sh", *COMMAND),
        ),
        0,
    )


def test_few_open_files(tmp_path: Path) -> None:
    """No file stays open longer than it is needed; a limit that is too low even so is a sentence."""
    source = digits(tmp_path)
    assert sentence(
        bnfold(
            "fold", source, "--external-data", command=("sh", "-c", 'ulimit -n 32; exec "$@"', "sh", *COMMAND)
        ),
        0,
    )
    for limit in (5, 7, 9):
        script = (
            "import resource, sys; from bnfold import api, pipeline, writing, reading; from "
            "bnfold.reading import onnx\n"
            f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
            "from bnfold.cli.main import run; sys.exit(run(sys.argv[1:]))"
        )
        run = python(script, "fold", source, "--no-verify")
        assert run.code in (0, 3), run.err
        assert "Traceback" not in run.err
