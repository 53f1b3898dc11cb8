"""One model in one runtime, in a process of its own: `python -m bnfold.verifying.latency.child REQUEST`.

REQUEST is a JSON file: runtime, model, provider, threads, feeds (an .npz). The process answers in lines of
JSON: first {"version", "load", "memory"} or {"error"}; then, for each line with a number N that it reads, the
seconds of N runs, and at the end of its input the memory that it took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ...files.memory import resident
from ..engines.runtime import first_line
from .runtimes import RUNTIMES, Feeds, Run, opened

QUICK_S = 2.0  # a load that takes less is done twice, and the second one counts


def main(request: Path) -> None:
    """Serve until the input ends."""
    answers = _own_channel()
    asked: dict[str, Any] = json.loads(request.read_text(encoding="utf-8"))
    with np.load(asked["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    module = import_module(RUNTIMES[asked["runtime"]][0])
    try:
        run, load, before = _loaded(asked)
        if load < QUICK_S:  # what a runtime does once for all models is no model's load time
            del run
            run, load, before = _loaded(asked)
        run(feeds)
    except Exception as error:  # whatever a runtime raises means that it cannot run this model
        _say(answers, {"error": first_line(error)})
        return
    _say(answers, {"version": getattr(module, "__version__", ""), "load": load})
    for line in sys.stdin:
        _say(answers, {"seconds": _timed(run, feeds, int(line))})
    after = resident()
    _say(answers, {"memory": after - before if before is not None and after is not None else None})


def _loaded(asked: dict[str, Any]) -> tuple[Run, float, int | None]:
    """The model, the seconds that it took to load, and the memory in use before."""
    before = resident()
    started = time.perf_counter()
    run = opened(asked["runtime"], Path(asked["model"]), asked["provider"], asked["threads"])
    return run, time.perf_counter() - started, before


def _own_channel() -> TextIO:
    """The standard output for answers alone: what a runtime prints goes to the standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _say(channel: TextIO, answer: dict[str, Any]) -> None:
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


def _timed(run: Run, feeds: Feeds, times: int) -> list[float]:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run(feeds)
        found.append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
