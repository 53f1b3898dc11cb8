"""`python -m bnfold`, and the console script.

A signal that asks the run to end is answered with one sentence from the first line of `main` on. So nothing
is imported before that line except what the interpreter itself has loaded: an interrupted import would answer
with a traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the built-in part of `signal`, which takes no time to import
import os
import sys

_ASKS_TO_END = ("SIGINT", "SIGTERM", "SIGHUP")


def main() -> None:
    """Run the command line and leave with its exit code."""
    for name in _ASKS_TO_END:
        number = getattr(_signal, name, None)  # Windows has no SIGHUP
        if number is not None and _signal.getsignal(number) != _signal.SIG_IGN:  # ignored, as under nohup
            _signal.signal(number, _leave)
    from .files.supervision import guarded

    sys.exit(guarded(_work, _clean))


def _leave(number: int, frame: object) -> None:
    """End at once. The work has not begun, so there is nothing to remove."""
    code = 128 + number
    try:
        os.write(2, f"bnfold: ERROR code={code} interrupted before the run began\n".encode())
    finally:  # also where nobody listens to stderr
        os._exit(code)


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
