"""The process of a run: threads of numpy, the parent that watches, and how it ends."""

from __future__ import annotations

import os
import sys


def run() -> None:
    """Run the command line in a process that its parent watches, and leave with its exit code."""
    from ..files.supervision import guarded

    _one_thread()
    _end(guarded(_work, _clean))


def _end(code: int) -> None:
    """Leave without taking apart what is in memory, object by object: that is a tenth of the time of a model
    of many nodes, and the system frees it at once. Python's own way is taken where somebody still works, or
    where the last words do not reach their reader."""
    import atexit
    import threading

    if threading.active_count() == 1:
        atexit._run_exitfuncs()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            sys.exit(code)
        os._exit(code)
    sys.exit(code)


def _one_thread() -> None:
    """numpy's products run on one thread, unless the user says otherwise: those of most networks are so small
    that several threads wait for each other longer than they compute. It is read when numpy is imported."""
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _work() -> int:
    from .main import run

    return run(sys.argv[1:])


def _clean(folders: list[str]) -> None:
    import shutil
    from contextlib import suppress
    from pathlib import Path

    from ..files import journal

    for folder in folders:
        with suppress(OSError, ValueError):  # what was decided is done first
            journal.finish(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)
