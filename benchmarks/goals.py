"""The goals, and whether the figures meet them. Each goal is a row of GOALS: its name, and a question to the
runs of one model.

time      file to file, without verification: at most twice the synced copy, and start-up        large files
memory    of its own, beside mapped files: under 150 MB whatever the size                         every file
peers     every peer that finished was slower and took more                                      where peers
          can read the file
start     start-up and a small model in at most 0.7 s; --help and --version under 0.15 s
ratio     the rows of RATIOS: figures of one run held against each other, so that they mean the same on every
          machine
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from measure import MB, Run
from rows import LARGE, START

COPY, OURS, VERIFIED = "cp + fsync", "bnfold", "bnfold, verified"
IMPORTS, ONE_THREAD = "imports", "bnfold, verified, 1 thread"
OWN = (COPY, IMPORTS, OURS, VERIFIED, ONE_THREAD)  # no peers
TIMES, MEMORY, SMALL, HELP = 2.0, 150e6, 0.7, 0.15
Runs = Mapping[str, Sequence[Run]]
Asked = tuple[bool, str, str]  # whether the goal is met, the figures, and what would come next
BYTES = "what no map touches stays bytes, and never becomes an object of onnx_ir"
MODULES = "fewer modules on the way of a plain fold; two thirds of it are Python, numpy, onnx and onnx_ir"
COPY_RANGE = "unchanged bytes through copy_file_range; start-up is most of the rest"
SAME = "nothing: the command runs numpy on one thread by itself, and what differs is the machine"
PRODUCTS = "half of it are onnxruntime's runs and float64 products; the products of cones in threads"
STACKED = "cones of one form are judged together, as a stack"


def middle(runs: Sequence[Run], what: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(run, what) for run in runs)


def failed(runs: Sequence[Run]) -> str:
    """Why a tool gave no figures, "" if it did."""
    return next((run.failure for run in runs if run.failure), "")


def time(name: str, size: int, runs: Runs, start_up: float) -> Iterator[Asked]:
    if size < LARGE or name == START or COPY not in runs:
        return
    wall, bound = middle(runs[OURS], "wall"), TIMES * middle(runs[COPY], "wall") + start_up
    yield wall <= bound, f"{wall:.2f} s; twice the synced copy and start-up are {bound:.2f} s", COPY_RANGE


def memory(name: str, size: int, runs: Runs, start_up: float) -> Iterator[Asked]:
    own = middle(runs[OURS], "own")
    yield own < MEMORY, f"{own / MB:.0f} MB of its own, under {MEMORY / MB:.0f}", BYTES


def peers(name: str, size: int, runs: Runs, start_up: float) -> Iterator[Asked]:
    for what, unit, scale in (("wall", "s", 1.0), ("own", "MB", MB)):
        others = {
            tool: middle(found, what) for tool, found in runs.items() if tool not in OWN and not failed(found)
        }
        if others:
            best = min(others, key=lambda tool: others[tool])
            ours = middle(runs[OURS], what)
            digits = 2 if unit == "s" else 0
            yield (
                ours < others[best],
                f"{ours / scale:.{digits}f} {unit}; the best peer ({best}) "
                f"{others[best] / scale:.{digits}f} {unit}",
                MODULES if middle(runs[OURS], "wall") < 2 * start_up else BYTES,
            )


def start(name: str, size: int, runs: Runs, start_up: float) -> Iterator[Asked]:
    if name == START:
        yield start_up <= SMALL, f"{start_up:.2f} s for a model of {size:,} bytes, at most {SMALL}", MODULES


@dataclass(frozen=True)
class Ratio:
    """`tool` takes at most `most` times of what `base` takes in the same row; `step` would come next."""

    row: str
    what: str
    tool: str
    base: str
    most: float
    step: str


RATIOS = (
    Ratio(START, "cpu", OURS, IMPORTS, 1.7, MODULES),
    Ratio("100 MB", "wall", OURS, COPY, 4.3, COPY_RANGE),
    Ratio("100 MB", "wall", OURS, "onnxruntime basic", 1.0, MODULES),
    Ratio("100 MB", "cpu", VERIFIED, ONE_THREAD, 1.05, SAME),
    Ratio("CoAtNet, 110 MB", "cpu", VERIFIED, IMPORTS, 57, PRODUCTS),
    Ratio("20,000 nodes", "cpu", OURS, "onnx load + save", 6.7, BYTES),
    Ratio("20,000 nodes", "cpu", VERIFIED, "onnx load + save", 20, STACKED),
    Ratio("1,000 constants that nothing holds", "cpu", OURS, IMPORTS, 4.8, BYTES),
    Ratio("30,000 constants that nothing holds", "cpu", OURS, IMPORTS, 95, BYTES),
    Ratio("400,000 initializers", "cpu", OURS, IMPORTS, 95, BYTES),
)


def ratio(name: str, size: int, runs: Runs, start_up: float) -> Iterator[Asked]:
    for row in RATIOS:
        found = [runs.get(tool, ()) for tool in (row.tool, row.base)]
        if row.row != name or not all(found) or any(failed(one) for one in found):
            continue
        ours, theirs = (middle(one, row.what) for one in found)
        times = ours / theirs if theirs else 0.0
        words = f"{row.what}, {row.tool} over {row.base}: {times:.2f}, at most {row.most:g}"
        yield times <= row.most, words, row.step


GOALS: dict[str, Callable[[str, int, Runs, float], Iterator[Asked]]] = {
    "time": time,
    "memory": memory,
    "peers": peers,
    "start": start,
    "ratio": ratio,
}


def held(name: str, size: int, runs: Runs, start_up: float) -> Iterator[str]:
    """A line of the table of goals for each goal that this model has a figure for."""
    if OURS not in runs:
        return
    if failed(runs[OURS]):
        yield f"| {name} | all | **missed** | {failed(runs[OURS])} |"
        return
    for goal, ask in GOALS.items():
        for met, words, step in ask(name, size, runs, start_up):
            verdict = f"met | {words}" if met else f"**missed** | {words}; next: {step}"
            yield f"| {name} | {goal} | {verdict} |"


def held_help(option: str, runs: Sequence[Run]) -> str:
    """The same for `bnfold --help` and `--version`."""
    wall = middle(runs, "wall")
    return f"| {option} | start | {'met' if wall < HELP else '**missed**'} | {wall:.3f} s, under {HELP} |"
