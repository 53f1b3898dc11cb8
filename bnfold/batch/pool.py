"""All cores of one machine, through loky's process pool. A worker that is killed breaks the pool; the
remaining requests then go to a new pool.

At most one request is submitted for each worker, so that it is known which models were being processed when a
pool broke.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from . import worker

DEATHS = 3  # of workers during one model, before it is given up (what Dask allows)


def results(requests: Sequence[dict[str, Any]], jobs: int) -> Generator[tuple[int, dict[str, Any]]]:
    """(index, run as plain values) of every request, as they come. Closing the iterator ends everything at
    once."""
    waiting, deaths = deque(range(len(requests))), Counter[int]()
    while waiting:
        running: set[int] = set()
        try:
            yield from _of_one_pool(requests, min(jobs, len(waiting)), waiting, running)
        except BrokenProcessPool:
            deaths.update(running)
            for index in sorted(running, reverse=True):
                if deaths[index] < DEATHS:
                    waiting.appendleft(index)
                else:
                    yield (
                        index,
                        worker.lost(requests[index], f"{DEATHS} workers died while they had this model"),
                    )


def _of_one_pool(
    requests: Sequence[dict[str, Any]], jobs: int, waiting: deque[int], running: set[int]
) -> Generator[tuple[int, dict[str, Any]]]:
    """The runs of one pool. `running` holds the requests that are being processed, which matters when the
    pool breaks."""
    from loky import ProcessPoolExecutor

    _track_quietly()
    executor = ProcessPoolExecutor(jobs, initializer=worker.set_up, initargs=(os.getpid(),))
    futures: dict[Any, int] = {}
    try:
        while waiting or futures:
            while waiting and len(futures) < jobs:
                index = waiting.popleft()
                running.add(index)
                futures[executor.submit(worker.work, requests[index])] = index
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                index = futures.pop(future)
                found = future.result()
                running.remove(index)
                yield index, found
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _track_quietly() -> None:
    """Start the process that removes the semaphores of a pool whose coordinator was killed. It does so
    without a word: its warning would stand behind our last line."""
    from loky.backend import resource_tracker

    usual = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        resource_tracker.ensure_running()
    finally:
        if usual is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = usual
