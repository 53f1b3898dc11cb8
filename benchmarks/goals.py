"""The goals, and whether the figures meet them. Each goal is a row of GOALS: its name, and a question to the
runs of one model.

time      file to file, without verification: at most twice the synced copy, and start-up        large files
memory    of its own, beside mapped files: under 150 MB whatever the size                         every file
peers     every peer that finished was slower and took more                                      where peers
          can read the file
start     start-up and a small model in at most 0.7 s; --help and --version under 0.15 s
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from measure import MB, Run
from rows import LARGE, START

COPY, OURS, VERIFIED = "cp + fsync", "bnfold", "bnfold, verified"
TIMES, OWN, SMALL, HELP = 2.0, 150e6, 0.7, 0.15
Runs = Mapping[str, Sequence[Run]]


def middle(runs: Sequence[Run], what: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(run, what) for run in runs)


def failed(runs: Sequence[Run]) -> str:
    """Why a tool gave no figures, "" if it did."""
    return next((run.failure for run in runs if run.failure), "")


def time(name: str, size: int, runs: Runs, start_up: float) -> Iterator[tuple[bool, str]]:
    if size < LARGE or name == START or COPY not in runs:
        return
    wall, bound = middle(runs[OURS], "wall"), TIMES * middle(runs[COPY], "wall") + start_up
    yield wall <= bound, f"{wall:.2f} s; twice the synced copy and start-up are {bound:.2f} s"


def memory(name: str, size: int, runs: Runs, start_up: float) -> Iterator[tuple[bool, str]]:
    own = middle(runs[OURS], "own")
    yield own < OWN, f"{own / MB:.0f} MB of its own, under {OWN / MB:.0f}"


def peers(name: str, size: int, runs: Runs, start_up: float) -> Iterator[tuple[bool, str]]:
    for what, unit, scale in (("wall", "s", 1.0), ("own", "MB", MB)):
        others = {
            tool: middle(found, what)
            for tool, found in runs.items()
            if tool not in (COPY, OURS, VERIFIED) and not failed(found)
        }
        if others:
            best = min(others, key=lambda tool: others[tool])
            ours = middle(runs[OURS], what)
            digits = 2 if unit == "s" else 0
            yield (
                ours < others[best],
                f"{ours / scale:.{digits}f} {unit}; the best peer ({best}) "
                f"{others[best] / scale:.{digits}f} {unit}",
            )


def start(name: str, size: int, runs: Runs, start_up: float) -> Iterator[tuple[bool, str]]:
    if name == START:
        yield start_up <= SMALL, f"{start_up:.2f} s for a model of {size:,} bytes, at most {SMALL}"


GOALS: dict[str, Callable[[str, int, Runs, float], Iterator[tuple[bool, str]]]] = {
    "time": time,
    "memory": memory,
    "peers": peers,
    "start": start,
}


def held(name: str, size: int, runs: Runs, start_up: float) -> Iterator[str]:
    """A line of the table of goals for each goal that this model has a figure for."""
    if OURS not in runs:
        return
    if failed(runs[OURS]):
        yield f"| {name} | all | **missed** | {failed(runs[OURS])} |"
        return
    for goal, ask in GOALS.items():
        for met, words in ask(name, size, runs, start_up):
            yield f"| {name} | {goal} | {'met' if met else '**missed**'} | {words} |"


def held_help(option: str, runs: Sequence[Run]) -> str:
    """The same for `bnfold --help` and `--version`."""
    wall = middle(runs, "wall")
    return f"| {option} | start | {'met' if wall < HELP else '**missed**'} | {wall:.3f} s, under {HELP} |"
