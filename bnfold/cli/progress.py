"""How far a batch is: a bar with the time that is left on a terminal, a line for each model elsewhere,
nothing under -q. On stderr."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from ..errors import one_line
from ..results.batch_run import Run
from . import screen


class _OnTerminal:
    """A bar that stands on a terminal while something is done, and nowhere else."""

    def __init__(self, view: screen.Screen) -> None:
        self._view = view
        self._bar: Any = None
        self._task: Any = None

    def _made(self) -> tuple[Any, Any]:
        """The bar and its task."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        if not self._view.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar, self._task = self._made()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class Progress(_OnTerminal):
    """Hears each run as it comes."""

    def __init__(self, total: int, view: screen.Screen) -> None:
        super().__init__(view)
        self._total = total
        self._done = self._worked = 0
        self._start = time.monotonic()

    def _made(self) -> tuple[Any, Any]:
        from rich.progress import BarColumn, MofNCompleteColumn

        return _bar(self._total, BarColumn(), MofNCompleteColumn())

    @property
    def done(self) -> int:
        """How many have been heard."""
        return self._done

    def heard(self, run: Run) -> None:
        """One more."""
        self._done += 1
        self._worked += run.outcome != "unchanged"
        line = one_line(
            f"{run.outcome:<9} {run.name} ({run.seconds:.1f} s){': ' + run.sentence if run.sentence else ''}"
        )
        if self._bar is not None:
            if not run.fine:
                self._bar.console.print(line, markup=False, highlight=False)
            self._bar.update(self._task, advance=1)
        elif not self._view.quiet:
            width = len(str(self._total))
            screen.say(f"{self._done:>{width}}/{self._total} {line}{self._left()}")

    def _left(self) -> str:
        """What is left takes as long, one by one, as what had to be made so far; what was there already says
        nothing."""
        if not self._worked or self._done == self._total:
            return ""
        return (
            f", {duration((time.monotonic() - self._start) / self._worked * (self._total - self._done))} left"
        )


class Bar(_OnTerminal):
    """One run whose share of work that is done is known. Hears what is being done, and how far it is."""

    def _made(self) -> tuple[Any, Any]:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn

        what = TextColumn("{task.description}", markup=False)
        return _bar(100, what, BarColumn(), TaskProgressColumn())

    def say(self, what: str) -> None:
        """What is being done now."""
        if self._bar is not None:
            self._bar.update(self._task, description=what)

    def tell(self, what: str, share: float) -> None:
        """The same, and which share of all work is done."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, completed=round(100 * share))


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03` or `3 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"


def _bar(total: int, *columns: Any) -> tuple[Any, Any]:
    """A bar of these columns, and of the time that is over and left."""
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TextColumn, TimeElapsedColumn, TimeRemainingColumn

    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    bar = Bars(*columns, *times, console=Console(stderr=True), transient=True)
    return bar, bar.add_task("", total=total)
