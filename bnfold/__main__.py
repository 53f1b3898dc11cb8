"""`python -m bnfold`, and the console script.

A signal that asks the run to end is answered with one sentence from the first lines on. So nothing is
imported before them except what the interpreter itself has loaded: an interrupted import would answer with a
traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the built-in part of `signal`, which takes no time to import
import os


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
    from .cli.process import run  # not before: this file is compiled and run while a signal finds no answer

    run()


if __name__ == "__main__":
    main()
