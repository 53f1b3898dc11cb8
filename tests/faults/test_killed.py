"""Runs that are ended at any moment: the target is the old file or the complete new one, and the next run
removes what was left.

The moments lie evenly over the run's length, and closely behind the first sign of writing: the hidden folder
beside the target.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bnfold.files.atomic import Stage
from bnfold.files.supervision import WHOLE

from .running import COMMAND, bnfold, contents, digits, environment, large, started, whole_pair

EVEN, CLOSE = 5, 7  # runs at even moments, and behind the first sign
STEP = 0.012  # seconds between two moments behind the first sign
Moment = Callable[[subprocess.Popen[bytes], Path], None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 MB, which take a while to write."""
    return large(tmp_path_factory.mktemp("source") / "net.onnx")


def is_stage(path: Path) -> bool:
    return path.name.endswith(".tmp")


def at(seconds: float) -> Moment:
    return lambda process, folder: time.sleep(seconds)


def behind_the_first_sign(seconds: float) -> Moment:
    def wait(process: subprocess.Popen[bytes], folder: Path) -> None:
        while process.poll() is None and not any(map(is_stage, folder.iterdir())):
            time.sleep(0.001)
        time.sleep(seconds)

    return wait


def moments(length: float, even: int = EVEN, close: int = CLOSE) -> Iterator[Moment]:
    yield from (at(length * k / even) for k in range(even))
    yield from (behind_the_first_sign(STEP * k) for k in range(close))


def interrupted(
    source: Path, folder: Path, options: tuple[str, ...], moment: Moment, number: int
) -> tuple[int, str]:
    """A run to `folder/out.onnx` that gets a signal; its exit code and last line."""
    process = started("fold", source, "-o", folder / "out.onnx", "--no-verify", "-q", *options)
    moment(process, folder)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)  # to the end of its children, too: they hold the pipe
    lines = err.decode().splitlines()
    return process.returncode, lines[-1] if lines else ""


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--external-data",)], ids=["one file", "with data"])
def test_killed(tmp_path: Path, source: Path, options: tuple[str, ...]) -> None:
    before, out = source.read_bytes(), tmp_path / "out.onnx"
    large(tmp_path / "old.onnx", 5, seed=1)
    assert bnfold("fold", tmp_path / "old.onnx", "-o", out, "--no-verify", *options).code == 0
    (tmp_path / "old.onnx").unlink()
    state = whole_pair if options else lambda path: (path.read_bytes(),)
    old = state(out)
    (tmp_path / "new").mkdir()
    begun = time.monotonic()
    assert bnfold("fold", source, "-o", tmp_path / "new" / "out.onnx", "--no-verify", *options).code == 0
    length = time.monotonic() - begun
    new = state(tmp_path / "new" / "out.onnx")
    left_behind = 0
    for moment in moments(length):
        interrupted(source, tmp_path, options, moment, signal.SIGKILL)
        assert state(out) in (old, new)
        left_behind += any(map(is_stage, tmp_path.iterdir()))
    assert left_behind, "no run was killed while it wrote: the moments are not what they should be"
    assert source.read_bytes() == before
    assert bnfold("fold", source, "-o", out, "--no-verify", *options).code == 0
    assert state(out) == new
    assert not [file for file in tmp_path.iterdir() if is_stage(file)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_end(tmp_path: Path, source: Path, number: int) -> None:
    """Nothing is left behind at once, and the last line says what was; a run that is done by then is done."""
    (tmp_path / "out.onnx").write_bytes(b"old")
    met = set()
    for close in range(3):
        code, last = interrupted(
            source, tmp_path, ("--external-data",), behind_the_first_sign(STEP * close), number
        )
        met.add(code)
        if code:
            assert (code, last) == (128 + number, f"bnfold: ERROR code={128 + number} interrupted; {WHOLE}")
            assert contents(tmp_path) == {"out.onnx": b"old"}
        else:
            whole_pair(tmp_path / "out.onnx")
            for file in tmp_path.glob("*.data"):
                file.unlink()
            (tmp_path / "out.onnx").write_bytes(b"old")
    assert 128 + number in met


def test_asked_twice(tmp_path: Path, source: Path) -> None:
    """As `timeout` does, which sends to the process and to its group: the second signal does not cut the
    cleaning short."""
    process = started("fold", source, "-o", tmp_path / "out.onnx", "--no-verify", start_new_session=True)
    behind_the_first_sign(0)(process, tmp_path)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert contents(tmp_path) == {}


def test_ctrl_c_on_a_terminal(tmp_path: Path, source: Path) -> None:
    """The terminal sends to both processes itself; the worker gets the signal once."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "fold", source, "-o", tmp_path / "out.onnx", "--no-verify"],
        env=environment({"TERM": "dumb"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
    )
    os.close(theirs)
    while not any(map(is_stage, tmp_path.iterdir())):
        time.sleep(0.001)
    os.write(ours, b"\x03")
    said = b""
    with suppress(OSError):  # EIO: the other side is closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    assert process.wait(60) == 128 + signal.SIGINT, said
    assert said.splitlines()[-1].endswith(f"bnfold: ERROR code=130 interrupted; {WHOLE}".encode())
    assert contents(tmp_path) == {}


# A worker that makes a folder, says so, and does not listen.
DEAF = """
import os, signal, sys, time
from bnfold.cli.process import _clean
from bnfold.files.supervision import guarded, remember
def work():
    os.mkdir(sys.argv[1])
    remember(sys.argv[1])
    print("there", flush=True)
    time.sleep(60)
sys.exit(guarded(work, _clean))
"""


def test_a_run_that_does_not_listen_is_ended_by_the_second_signal(tmp_path: Path) -> None:
    process = started(tmp_path / "stage", command=(sys.executable, "-c", DEAF))
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.decode() == f"bnfold: ERROR code=143 interrupted; {WHOLE}\n"
    assert contents(tmp_path) == {}


def test_a_worker_dies_with_the_process_that_the_user_started(tmp_path: Path) -> None:
    process = started(tmp_path / "stage", command=(sys.executable, "-c", DEAF))
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    begun = time.monotonic()
    process.communicate(timeout=10)  # until nobody holds the pipe any more
    assert time.monotonic() - begun < 5


def test_a_run_without_a_terminal_goes_on(tmp_path: Path, source: Path) -> None:
    """`nohup`: a signal that was to be ignored stays ignored."""
    process = started(
        "fold",
        source,
        "-o",
        tmp_path / "out.onnx",
        "--no-verify",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    behind_the_first_sign(0)(process, tmp_path)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[1].decode().splitlines()[-1].startswith("bnfold: PASS")
    assert process.returncode == 0


def test_what_the_worker_dies_of_is_said(tmp_path: Path, source: Path) -> None:
    """A crash in a native library, and a system short of memory, seen from the process that the user
    started."""
    for number, code, words in (
        (signal.SIGSEGV, 4, "a native library crashed"),
        (signal.SIGKILL, 6, "want of memory"),
    ):
        process = started("fold", source, "-o", tmp_path / "out.onnx", "--no-verify")
        behind_the_first_sign(0)(process, tmp_path)
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            subprocess.run(["kill", f"-{number}", child], check=True)
        _, err = process.communicate(timeout=60)
        last = err.decode().splitlines()[-1]
        assert process.returncode == code, last
        assert last.startswith(f"bnfold: ERROR code={code} ")
        assert words in last
        assert contents(tmp_path) == {}


def test_the_stage_of_a_live_run_is_left_alone(tmp_path: Path) -> None:
    with Stage(tmp_path / "out.onnx") as one, Stage(tmp_path / "out.onnx") as two:
        assert one.folder.is_dir()
        assert two.folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network drives: nobody can tell a dead run from a live one."""

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = Stage(tmp_path / "out.onnx")
    (left.folder / "out.onnx").write_bytes(b"half")
    with Stage(tmp_path / "out.onnx") as stage:
        stage.path().write_bytes(b"whole")
        stage.commit()
    assert contents(tmp_path) == {
        "out.onnx": b"whole",
        left.folder.name: b"",
        f"{left.folder.name}/out.onnx": b"half",
    }
    left.close()


def test_what_only_looks_like_a_stage_is_left_alone(tmp_path: Path) -> None:
    with Stage(tmp_path / "out.onnx") as stage:
        name = stage.folder.name
    here = name[: -len("01234567.tmp")]

    def made(token: str, start: str = here) -> Path:
        return tmp_path / f"{start}{token}.tmp"

    dead = made("00000000")
    dead.mkdir()
    (dead / "out.onnx").write_bytes(b"half")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"mine")
    made("11111111").symlink_to(tmp_path / "precious")
    (made("22222222") / "folder").mkdir(parents=True)
    made("33333333").write_bytes(b"a file")
    made("4444444").mkdir()
    made("55555555", here.replace("out", "other")).mkdir()
    made("66666666", ".out.onnx.fedcba98").mkdir()  # another machine's, whose locks are not seen here
    before = contents(tmp_path).keys()
    Stage(tmp_path / "out.onnx").close()
    assert before - contents(tmp_path).keys() == {dead.name, f"{dead.name}/out.onnx"}
    assert (tmp_path / "precious" / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("debug", [None, "1"])
def test_a_run_that_takes_too_long_is_ended_and_leaves_nothing(tmp_path: Path, debug: str | None) -> None:
    """By the system under a parent that watches; by Python where there is none (its traceback is what
    BNFOLD_DEBUG is for)."""
    source, target = large(tmp_path / "net.onnx", 48), tmp_path / "out.onnx"
    target.write_bytes(b"older")
    done = bnfold("fold", source, "-o", target, "--samples", 500, "--timeout", 2, env={"BNFOLD_DEBUG": debug})
    assert done.code == 6
    assert "took longer than --timeout allows" in done.last
    assert contents(tmp_path).keys() == {"net.onnx", "out.onnx"}
    assert target.read_bytes() == b"older"


@pytest.mark.slow
def test_a_run_that_ends_in_time_is_not_touched(tmp_path: Path) -> None:
    assert bnfold("fold", digits(tmp_path), "--timeout", 100).code == 0
    assert bnfold("fold", digits(tmp_path), "--timeout", "0").code == 0


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "soon"])
@pytest.mark.parametrize("command", ["fold", "batch"])
def test_a_time_that_is_none_is_said(tmp_path: Path, command: str, text: str) -> None:
    done = bnfold(command, digits(tmp_path), "--out", tmp_path / "out", "--timeout", text)
    assert done.code == 2
    assert f"--timeout cannot be '{text}'; expected a finite number" in done.last
