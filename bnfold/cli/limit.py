"""`--timeout`: an end to runs over models of strangers, whose networks may compute for hours.

Where a parent watches the run (supervision.py) the system ends it, whatever native code does in that moment.
Elsewhere Python does, as soon as native code gives way.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

import click

from ..errors import UsageError
from ..files.supervision import LATE, end_after


class Late(BaseException):
    """The time is over. Not an Exception: nobody who makes the best of a failure may take it for one."""


def limit_time(context: click.Context, option: click.Parameter, seconds: float | None) -> None:
    """Set the clock, if there is to be one. Raises UsageError where the system has none."""
    if not seconds or context.resilient_parsing or end_after(seconds):
        return
    if not hasattr(signal, "setitimer"):
        raise UsageError(
            "this system has no timer for --timeout",
            way_out="'bnfold batch --timeout' ends models on every system",
        )
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _time_is_up(number: int, frame: FrameType | None) -> NoReturn:
    raise Late(LATE)
