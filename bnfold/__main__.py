"""`python -m bnfold`, and the console script.

A signal that asks the run to end is answered with one sentence from the first lines on. So nothing is
imported before them except what the interpreter itself has loaded: an interrupted import would answer with a
traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the built-in part of `signal`, which takes no time to import
import os
import sys


def _leave(number: int, frame: object) -> None:
    """End at once. The work has not begun, so there is nothing to remove."""
    code = 128 + number
    try:
        os.write(2, f"bnfold: ERROR code={code} interrupted before the run began\n".encode())
    finally:  # also where nobody listens to stderr
        os._exit(code)


for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    _number = getattr(_signal, _name, None)  # Windows has no SIGHUP
    if _number is not None and _signal.getsignal(_number) != _signal.SIG_IGN:  # ignored, as under nohup
        _signal.signal(_number, _leave)


def main() -> None:
    """Run the command line and leave with its exit code."""
    from .files.supervision import guarded

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
    from .cli.main import run

    return run(sys.argv[1:])


def _clean(folders: list[str]) -> None:
    import shutil
    from contextlib import suppress
    from pathlib import Path

    from .files import journal

    for folder in folders:
        with suppress(OSError, ValueError):  # what was decided is done first
            journal.finish(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
