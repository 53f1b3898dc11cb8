"""Runs all tasks of a batch, through the pool or the cluster, even if workers die.

    runs(tasks, settings, on_run)   -> one Run for each task, in the order of the tasks; `on_run` is called
                                    with each run as soon as it is there

Unfinished files lie in one hidden folder, which is removed at the end, whatever happens; only a machine that
loses power leaves it behind. Workers cannot reach a file system that lives in one process (memory://), so its
files are copied out for them, and their results are copied back.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BnfoldError
from ..files import atomic, supervision
from ..files.discovery import UNFINISHED, is_url
from ..records import dataclass
from ..results.batch_run import Run
from ..results.from_json import decoded
from . import cluster, mirror, pool
from .locations import redacted
from .task import Limits, Request, Task

OnRun = Callable[[Run], None]


@dataclass(frozen=True)
class Settings:
    """How it is done: so many at the same time (None: one for each core), or on the cluster at `scheduler`;
    what each may take."""

    jobs: int | None = None
    scheduler: str | None = None
    seconds: float | None = None
    memory: int | None = None


def runs(tasks: Sequence[Task], settings: Settings, on_run: OnRun) -> list[Run]:
    """Every task's run; all tasks write to one folder. Raises what makes all of them impossible: WriteError,
    UsageError, Unreadable, Mismatch."""
    found: dict[int, Run] = {}
    with ExitStack() as stack:
        copies = stack.enter_context(mirror.Mirror())
        ready: list[tuple[int, Task]] = []
        token = secrets.token_hex(8)
        for index, task in enumerate(replace(one, batch=token) for one in tasks):
            try:
                ready.append((index, copies.copied(task) if mirror.needed(task) else task))
            except BnfoldError as error:
                found[index] = _unread(task, error)
                on_run(found[index])
        limits = Limits(settings.seconds, settings.memory, _threads(settings, len(ready)))
        work = stack.enter_context(_work(copies.out(tasks[0].out), settings))
        requests = [Request(task, limits, work).as_json() for _, task in ready]
        for at, values in stack.enter_context(closing(_engine(requests, settings))):
            index, task = ready[at]
            found[index] = copies.returned(tasks[index], task, decoded(Run, values))
            on_run(found[index])
    return [found[index] for index in range(len(tasks))]


def jobs_of(settings: Settings) -> int:
    """How many models at the same time on this machine."""
    return settings.jobs or _cores()


def _engine(requests: Sequence[dict[str, Any]], settings: Settings) -> Generator[tuple[int, dict[str, Any]]]:
    if settings.scheduler is not None:
        return cluster.results(requests, settings.scheduler)
    return pool.results(requests, jobs_of(settings))


def _threads(settings: Settings, models: int) -> int:
    """Cores are shared out; a task of Dask's is one thread's work."""
    return 1 if settings.scheduler is not None else max(1, _cores() // max(1, min(jobs_of(settings), models)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _unread(task: Task, error: BnfoldError) -> Run:
    """A model that could not even be copied for the workers."""
    return Run(
        task.name,
        redacted(task.network),
        task.weights and redacted(task.weights),
        "error",
        error.exit_code,
        str(error),
    )


@contextmanager
def _work(out: str, settings: Settings) -> Iterator[str | None]:
    """The folder for what is unfinished: beside the outputs, so that a rename puts them in place. None: each
    worker's own."""
    if is_url(out) and settings.scheduler is not None:
        yield None
        return
    if is_url(out):
        with tempfile.TemporaryDirectory(prefix="bnfold-", ignore_cleanup_errors=True) as folder:
            supervision.remember(folder)
            yield folder
        return
    prepare(out)
    with atomic.workplace(Path(out), UNFINISHED) as place:
        yield str(place)


def prepare(out: str) -> None:
    """Make the folder of all outputs. Raises WriteError."""
    if not is_url(out):
        with atomic.failing(out):
            Path(out).mkdir(parents=True, exist_ok=True)
