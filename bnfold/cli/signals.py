"""Signals that ask a run to end: Ctrl-C, SIGTERM, SIGHUP.

The first one becomes an exception, so that everything unfinished is removed on its way up.

Rule 1: only the first signal raises, and only within `Signals`. An earlier one waits, a later one finds a run
        that is ending already.
Rule 2: the exception may be raised between any two steps, also inside a library, which then fails in its own
        way (it releases a lock that it has not taken yet). So every error after a signal is a consequence of
        the signal, whatever it says.
Rule 3: it waits while a module is imported: native modules run Python while they begin, and end the process
        with words of their own where that raises.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

SOON = 0.01  # seconds until it is looked again whether an import is over
_IMPORTS = "<frozen importlib._bootstrap>"
_ASKS_TO_END = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(BaseException):
    """A signal asked the run to end. Not an Exception: nobody who handles a failure may take it for one."""


class Signals:
    """Within it, a signal raises Interrupted; `asked` is the number of the signal, or 0."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}
        self._mask: set[int] = set()
        self._hook = sys.unraisablehook

    def __enter__(self) -> Signals:
        sys.unraisablehook = self._unraisable
        for number in _ASKS_TO_END:
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored, as under nohup
                self._before[number] = signal.signal(number, self._raise)
        if hasattr(signal, "pthread_sigmask"):  # blocked until now: see supervision.py
            self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKS_TO_END)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if hasattr(signal, "SIGALRM") and signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if hasattr(signal, "setitimer") and _is_importing(frame):
            self._look_again(number)
            return
        self.asked = number
        for one in _ASKS_TO_END:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(number)

    def _look_again(self, number: int) -> None:
        """Come back to a signal in a moment."""
        alarm = signal.signal(signal.SIGALRM, lambda _, frame: self._raise(number, frame))
        self._before.setdefault(signal.SIGALRM, alarm)
        signal.setitimer(signal.ITIMER_REAL, SOON)

    def _unraisable(self, event: sys.UnraisableHookArgs) -> None:
        """Raised in a destructor, it reaches nobody: the process that watches ends a run that goes on."""
        if not isinstance(event.exc_value, Interrupted):
            self._hook(event)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORTS:
        frame = frame.f_back
    return frame is not None
