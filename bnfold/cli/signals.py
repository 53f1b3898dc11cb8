"""Signals that ask a run to end: Ctrl-C, SIGTERM, SIGHUP.

The first one becomes an exception, so that everything unfinished is removed on its way up.

Rule 1: only the first signal raises, and only within `Signals`. An earlier one waits, a later one finds a run
        that is ending already.
Rule 2: the exception may be raised between any two steps, also inside a library, which then fails in its own
        way (it releases a lock that it has not taken yet). So every error after a signal is a consequence of
        the signal, whatever it says.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any, NoReturn

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
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def _raise(self, number: int, frame: FrameType | None) -> NoReturn:
        self.asked = number
        for one in _ASKS_TO_END:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(number)

    def _unraisable(self, event: sys.UnraisableHookArgs) -> None:
        """Raised in a destructor, it reaches nobody: the process that watches ends a run that goes on."""
        if not isinstance(event.exc_value, Interrupted):
            self._hook(event)
