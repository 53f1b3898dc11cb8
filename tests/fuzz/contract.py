"""What must hold whatever comes in: a right result, or one error that names the file, within bounds of time
and memory.

    exit code 3 or 4, one line, at most LONGEST characters, with the name of a file in it
    no other exception, no warning
    at most SECONDS of the processor
    at most MEMORY bytes and FACTOR times the input more than before (Linux)
    no file but the target, and the target only when it is finished; nothing touched outside the case's folder

`run` judges one input; what a target finds wrong itself (a fold that changes the result) it raises as Wrong.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bnfold.errors import BnfoldError

from .watching import watched

SECONDS = 10.0
MEMORY, FACTOR = 160 << 20, 100
LONGEST = 2000
TARGET = "out.onnx"


class Wrong(Exception):
    """A result that is not right."""


class Hang(BaseException):
    """More than SECONDS of the processor. Not an Exception, so that nothing under test takes it for its
    own."""


@dataclass(frozen=True)
class Finding:
    """A breach of the contract. `key` is the same for the same fault, `text` says what happened."""

    key: str
    text: str


@dataclass
class Case:
    """One input in its folder. `given` are the files that stand there before anything runs."""

    folder: Path
    data: bytes
    given: list[Path] = field(default_factory=list)

    def file(self, name: str, data: bytes | None = None) -> Path:
        """Put a file into the folder: the input itself by default."""
        path = self.folder / name
        path.write_bytes(self.data if data is None else data)
        self.given.append(path)
        return path

    @property
    def target(self) -> Path:
        """Where a result goes."""
        return self.folder / TARGET


def run(read: Callable[[Case], None], data: bytes, folder: Path) -> Finding | None:
    """Judge one input; None where the contract holds. `folder` is emptied before and after.

    Pages of this process that the kernel had taken back count as new memory when they are touched again, so
    memory is judged a second time, when they are there."""
    found = _judged(read, data, folder)
    return _judged(read, data, folder) if found is not None and found.key == "memory" else found


def _judged(read: Callable[[Case], None], data: bytes, folder: Path) -> Finding | None:
    _empty(folder)
    case = Case(folder, data)
    os.chdir(folder)
    _reset_peak()
    before = _memory("VmRSS")
    try:
        with watched(folder) as breaches, warnings.catch_warnings(), _clock():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="onnx.*")
            read(case)
    except BnfoldError as error:
        found = _of_error(error, case)
    except Hang as error:
        found = Finding(f"hang {_place(error)}", f"more than {SECONDS:g} s\n{_trace(error)}")
    except Exception as error:
        what = _plain(str(error)) if isinstance(error, Wrong) else _place(error)
        found = Finding(f"{type(error).__name__} {what}", _trace(error))
    else:
        found = None
    used, allowed = _memory("VmHWM") - before, MEMORY + FACTOR * len(data)
    if found is None and breaches:
        found = Finding(f"touches {_plain(breaches[0])}", "\n".join(breaches))
    if found is None and used > allowed:
        found = Finding("memory", f"{used:,} bytes for {len(data):,} bytes of input")
    _empty(folder)
    return found


def _of_error(error: BnfoldError, case: Case) -> Finding | None:
    text, place = str(error), _place(error)
    if error.exit_code not in (3, 4):
        return Finding(f"exit code {error.exit_code} {place}", f"{text}\n{_trace(error)}")
    if len(text) > LONGEST or not text.isprintable():
        return Finding(f"message {place}", f"{len(text)} characters: {text[:400]!r}\n{_trace(error)}")
    if not any(path.name in text for path in case.given):
        return Finding(f"nameless {place}", f"no file is named: {text}\n{_trace(error)}")
    left = [path for path in case.folder.iterdir() if path not in case.given]
    return Finding(f"leaves {place}", f"left behind: {left[0].name}\n{_trace(error)}") if left else None


@contextmanager
def _clock() -> Iterator[None]:
    """Raise Hang once the processor has worked SECONDS: waiting for a busy machine does not count."""

    def late(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _place(error: BaseException) -> str:
    """The innermost frames of the code under test: what tells one fault from another."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/bnfold/" in f.filename]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-2:]))


def _plain(text: str) -> str:
    """A message without what differs from input to input: numbers, and what stands in quotes."""
    return re.sub(r"'[^']*'|[\d.e+-]*\d", "#", text.replace("\n", " "))[:100]


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-25))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _reset_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _memory(field_: str) -> int:
    """A line of /proc/self/status in bytes; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    with Path("/proc/self/status").open() as lines:
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field_)), 0)
