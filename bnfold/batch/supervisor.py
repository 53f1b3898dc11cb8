"""The parent's side of a child process, which is started ahead of time, processes one model after another,
and is killed when it exceeds a limit.

    with folder: run = Child(limits).ask(task, folder)        raises Ended where there is no answer

Rule 1: a child is asked only after it has said that it is ready, so that its start counts against no model.
Rule 2: a child leads a process group of its own: what it has started ends with it, and Ctrl-C at a terminal
        does not reach it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import IO, Any

from ..errors import Stopped, one_line
from .task import OUT_OF_MEMORY, Limits

COMMAND: Sequence[str] = (sys.executable, "-P", "-m", "bnfold.batch.child")
START = 120.0  # seconds that a child may take to be ready
_THREADS = (
    "BNFOLD_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_TAIL = 4000  # bytes of what a child said at last


class Ended(Stopped):
    """The child ended without an answer. `outcome` is "timeout", "memory" or "crashed"; `began` tells whether
    the model was taken up at all."""

    def __init__(self, found: str, outcome: str, *, began: bool = True, way_out: str = "") -> None:
        super().__init__(found, way_out=way_out)
        self.outcome = outcome
        self.began = began


class Child:
    """One process that folds models one after another."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._late = False
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the child lives
        self._process = subprocess.Popen(
            [*COMMAND, str(limits.memory or 0), str(limits.seconds or 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment(limits.threads),
            start_new_session=True,
        )
        try:
            if not self._answer(START).get("ready"):
                raise self._ended("", START)
        except BaseException:
            self.kill()
            raise

    @property
    def alive(self) -> bool:
        """Is it still there?"""
        return self._process.poll() is None

    def ask(self, task: Mapping[str, Any], work: Path) -> dict[str, Any]:
        """The run of one model, as plain values. Raises Ended, after which this child is no more."""
        try:
            return self._run_in_child(task, work)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the child and every process that it has started."""
        if hasattr(os, "killpg") and self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended in this moment
                self._process.kill()
        else:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):  # what it has not read any more
                    pipe.close()

    def _run_in_child(self, task: Mapping[str, Any], work: Path) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, "work": str(work)}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended("", None) from error
        stage = ""
        timer = self._ended_after(self.limits.seconds)
        try:
            while True:
                answer = self._answer(None)
                if "run" in answer:
                    found: dict[str, Any] = answer["run"]
                    return found
                if "stage" not in answer:
                    raise self._ended(stage, self.limits.seconds, answer.get("memory"))
                stage = answer["stage"]
        finally:
            timer.cancel()

    def _answer(self, seconds: float | None) -> dict[str, Any]:
        """What it says next; {} where it says nothing any more."""
        assert self._process.stdout is not None
        timer = self._ended_after(seconds)
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        return json.loads(line) if line.endswith(b"\n") else {}

    def _ended_after(self, seconds: float | None) -> Timer:
        timer = Timer(seconds or 0, self._time_is_up)
        timer.daemon = True
        if seconds:
            timer.start()
        return timer

    def _time_is_up(self) -> None:
        self._late = True
        if hasattr(os, "killpg") and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def _ended(self, stage: str, seconds: float | None, want: str | None = None) -> Ended:
        """Why there is no answer; `want` is what the child reported about memory that it could not get."""
        code = self._process.wait()
        last, began, stage = self._last_words(), bool(stage), stage or "starting"
        if self._late:
            return Ended(
                f"the worker process took longer than {seconds:g} s and was killed while {stage}",
                "timeout",
                began=began,
                way_out="--timeout allows more time",
            )
        if want is not None or any(sign in last for sign in OUT_OF_MEMORY):
            allowed = f" ({self.limits.memory:,} bytes are allowed)" if self.limits.memory else ""
            return Ended(
                f"the worker process ran out of memory while {stage}{allowed}{f': {want}' if want else ''}",
                "memory",
                began=began,
                way_out="--memory-limit allows more memory" if self.limits.memory else "",
            )
        said = f": {one_line(last.strip().splitlines()[0])[:200]}" if last.strip() else ""
        hint = (
            "the system kills processes in this way when it runs out of memory"
            if code == -getattr(signal, "SIGKILL", 9)
            else ""
        )
        return Ended(
            f"the worker process {_death(code)} while {stage}{said}", "crashed", began=began, way_out=hint
        )

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _TAIL))
        return self._said.read().decode("utf-8", "replace")


def environment(threads: int) -> dict[str, str]:
    """The environment of a child: this bnfold, and so many threads for everything that computes."""
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        **dict.fromkeys(_THREADS, str(threads)),
        "PYTHONPATH": path,
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
