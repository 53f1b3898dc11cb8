"""A process that folds models one after another: `python -m bnfold.batch.child MEMORY SECONDS`, as
`supervisor.py` starts it.

It exchanges JSON documents, one on each line. It receives a task and the folder for its unfinished files. It
sends {"ready"} once, then for each task any number of {"stage"}, and finally {"run"} or {"memory"}.

Rule 1: when its parent is gone (end of input), it removes unfinished files and exits, together with every
        process that it started.
Rule 2: it limits itself by means of the system, which work while native code holds the interpreter: memory by
        RLIMIT_DATA (anonymous memory; mapped files do not count), and time by an alarm, in case that no
        parent is left to kill it.
Rule 3: standard output carries only these answers: what libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import json
import math
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, NoReturn

from ..results.batch_run import Run
from ..results.from_json import decoded
from ..results.options import command_line
from . import downloads
from .task import Task

IDLE = 60  # seconds without work after which it goes
_LONGEST = 300  # of what is said of memory
_GRACE = 30  # seconds that the supervisor has for ending it before the alarm does


def main(memory: int, seconds: float) -> None:
    """Serve tasks until the input ends; a limit of 0 means none."""
    requests, answers = _apart()
    waiting: queue.Queue[Any] = queue.Queue()
    unfinished: list[Path] = []
    threading.Thread(target=_listen, args=(requests, waiting, unfinished), daemon=True).start()
    from . import one_model

    bound(memory)
    gc.disable()  # graphs are full of cycles, but they die together: after each model
    _answer(answers, ready=True)
    frozen = False

    def tell(stage: str) -> None:
        _answer(answers, stage=stage)

    while True:
        try:
            asked = waiting.get(timeout=IDLE)
        except queue.Empty:
            return
        unfinished[:] = [Path(asked["work"])]
        tempfile.tempdir = asked["work"]  # goes with it, however this ends
        _alarm(math.ceil(seconds) + _GRACE if seconds else 0)
        try:
            tell("looking for what is there")
            task = decoded(Task, asked["task"])
            with command_line(), downloads.under(task.downloads):  # a batch is asked for on a command line
                run = one_model.run(task, Path(asked["work"]), tell, memory or None)
            _answer(answers, run=_plain(run))
        except MemoryError as error:
            _answer(answers, memory=str(error)[:_LONGEST])
            return  # what it could not have is not all given back
        _alarm(0)
        gc.collect()
        if not frozen:
            # what the first model has brought in (modules, tables) stays, so that nobody looks through it
            # again
            gc.freeze()
            frozen = True  # the collector would count them all to tell


def bound(memory: int) -> None:
    """Limit the memory of this process to so many bytes, where the system supports it (Linux)."""
    if memory and is_bounded():
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def is_bounded() -> bool:
    """Can this system bound a process's own memory?"""
    return sys.platform == "linux"


def _apart() -> tuple[IO[bytes], IO[bytes]]:
    """The two pipes, and in their place what libraries may read and print to."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return requests, answers


def _listen(requests: IO[bytes], waiting: queue.Queue[Any], unfinished: list[Path]) -> NoReturn:
    for line in requests:
        waiting.put(json.loads(line))
    for folder in unfinished:
        shutil.rmtree(folder, ignore_errors=True)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _answer(answers: IO[bytes], **content: Any) -> None:
    answers.write(json.dumps(content).encode() + b"\n")
    answers.flush()


def _plain(run: Run) -> Any:
    from ..reporting.json import plain

    return plain(run)


def _alarm(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
