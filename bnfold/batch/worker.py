"""What the engines call, in their processes and on their machines: one request gives one run, and never
raises.

A worker does not open models itself. Its child process does, and may use as much time and memory as the
limits allow.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ..errors import STOPPED, reason
from ..reporting.json import plain
from ..results.batch_run import Run
from ..version import __version__
from .locations import redacted
from .supervisor import Child, Ended
from .task import Limits, Request

_LOOK = 1.0  # seconds between looks at who is there
_mine = threading.local()  # the child of a thread
_all: list[Child] = []
_lock = threading.Lock()


def work(request: dict[str, Any]) -> dict[str, Any]:
    """The run of a request, both as plain values."""
    if request["version"] != __version__:
        return lost(
            request, f"a worker has bnfold {__version__}, the batch was started with {request['version']}"
        )
    wanted = Request.of(request)
    try:
        folder = Path(tempfile.mkdtemp(prefix="bnfold-", dir=wanted.work))
        try:
            return _worked(wanted, request["task"], folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        return lost(
            request, f"a worker cannot write to {wanted.work or tempfile.gettempdir()} ({reason(error)})"
        )


def _worked(wanted: Request, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Asked again where a child went before it took the model up: one that nobody asked for a while goes by
    itself."""
    started = time.perf_counter()
    try:
        try:
            return _child(wanted.limits).ask(task, folder)
        except Ended as error:
            if error.began:
                raise
            return _child(wanted.limits).ask(task, folder)
    except Ended as error:
        from . import one_model

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        seconds = round(time.perf_counter() - started, 3)
        return _plain(replace(one_model.stopped(wanted.task, folder, error, error.outcome), seconds=seconds))


def _child(limits: Limits) -> Child:
    """The child of this thread: the one that is warm, or a new one."""
    child: Child | None = getattr(_mine, "child", None)
    if child is None or not child.alive or child.limits != limits:
        if child is not None:
            _forget(child)
        _mine.child = child = None
        _mine.child = child = Child(limits)
        with _lock:
            _all.append(child)
    return child


def _forget(child: Child) -> None:
    child.kill()
    with _lock:
        if child in _all:
            _all.remove(child)


def close() -> None:
    """Kill every child of this process, even a busy one."""
    with _lock:
        children, _all[:] = list(_all), []
    for child in children:
        child.kill()


def lost(request: dict[str, Any], why: str) -> dict[str, Any]:
    """The run of a request that no worker finished."""
    task = request["task"]
    weights = None if task["weights"] is None else redacted(task["weights"])
    return _plain(Run(task["name"], redacted(task["network"]), weights, "crashed", STOPPED, why))


def set_up(parent: int) -> None:
    """Prepare a worker process on this machine: it ignores Ctrl-C, which the coordinating process handles,
    and it exits when that process is gone, which it may be by now."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_go_with, args=(parent,), daemon=True).start()


def _go_with(parent: int) -> NoReturn:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def version() -> str:
    """Which bnfold this worker has."""
    return __version__


def _plain(run: Run) -> dict[str, Any]:
    return plain(run)  # type: ignore[no-any-return]
