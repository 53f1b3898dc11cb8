"""Graphs judged in a process of their own, and what a run of them came to."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from .bodies import BODIES
from .generator import random_sample
from .operators import ROWS
from .oracle import Finding, NoGraph, judge, options_of
from .shrinking import shrunk

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

Places = tuple["Synchronized[int]", "Synchronized[int]"]  # the seed at work, and the last one whose graph ran
JudgeAll = Callable[["Connection", Places, int, str, Path | None], None]
AT_ONCE = 100  # graphs that one process judges
_APART = multiprocessing.get_context("spawn")


def judged_apart(tally: Tally, seed: int, end: int, only: str, judge_all: JudgeAll | None = None) -> int:
    """Judge graphs from `seed` to `end` in a process of their own; the seed to go on with."""
    reached, ran = _APART.Value("q", seed), _APART.Value("q", seed - 1)
    results, sender = _APART.Pipe(duplex=False)
    process = _APART.Process(
        target=judge_all or _judge_all, args=(sender, (reached, ran), end, only, tally.folder)
    )
    process.start()
    sender.close()
    try:
        with suppress(EOFError):
            tally.take(results.recv())
            return end
    finally:
        process.join()
    crashed: int = reached.value
    tally.crashed(crashed, f"the process ended with {process.exitcode}", only, ran.value >= crashed)
    for one in range(seed, crashed):  # what the process had judged before was lost with it
        judged_apart(tally, one, one + 1, only, judge_all)
    return crashed + 1


def _judge_all(sender: Connection, places: Places, end: int, only: str, folder: Path | None) -> None:
    tally, (reached, ran) = Tally(folder), places
    while reached.value < end:
        tally.add(reached.value, only, ran)
        reached.value += 1
    sender.send(tally)


class Tally:
    """What a run came to."""

    COUNTS = ("operators", "folds", "via", "kept", "findings")

    def __init__(self, folder: Path | None = None) -> None:
        self.graphs = self.unrun = 0
        self.operators: Counter[str] = Counter()
        self.folds: Counter[str] = Counter()
        self.via: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.folder = folder

    def take(self, other: Tally) -> None:
        """Add what another counted."""
        self.graphs += other.graphs
        self.unrun += other.unrun
        for counts in self.COUNTS:
            getattr(self, counts).update(getattr(other, counts))

    def crashed(self, seed: int, why: str, only: str, ran: bool) -> None:
        """A graph that took the process with it; where it had not run yet, the runtime did that on its own,
        and there is no graph to fold."""
        self.graphs += 1
        self.unrun += not ran
        self.findings["crash"] += ran
        when = "crash" if ran else "no graph, the runtime crashed on it before it was folded"
        print(f"== {when}, seed {seed}: {why}\n   {_again(seed, only)}", flush=True)

    def add(self, seed: int, only: str = "", ran: Synchronized[int] | None = None) -> None:
        """Draw and judge one graph; a finding is shrunk and shown at once."""
        sample = random_sample(seed, only)

        def on_run() -> None:
            if ran is not None:
                ran.value = seed

        self.graphs += 1
        try:
            judged = judge(sample, on_run)
        except NoGraph:
            self.unrun += 1
            return
        self.operators.update(sample.operators & (ROWS | BODIES).keys())
        if judged.plan is not None:
            self.folds.update(f.op for f in judged.plan.folded)
            self.via.update(op for f in judged.plan.folded for op in f.via)
            self.kept.update(k.code for k in judged.plan.kept)
        if judged.finding is not None:
            self._found(seed, judged.finding, only)

    def _found(self, seed: int, finding: Finding, only: str) -> None:
        self.findings[finding.kind] += 1
        sample, found = shrunk(random_sample(seed, only), finding)
        print(f"== {found.kind}, seed {seed}: {found.text}\n   {_again(seed, only)}; {options_of(sample)}")
        print(onnx.printer.to_text(sample.model), flush=True)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            onnx.save(sample.model, self.folder / f"{seed}.onnx")

    def show(self, seconds: float) -> None:
        """Print the sums."""
        missing = sorted((ROWS | BODIES).keys() - self.operators.keys() - {"Function"})
        print(f"{self.graphs:,} graphs in {seconds:.0f} s ({self.graphs / max(seconds, 1e-9):.1f}/s)")
        print(f"  {self.unrun} do not run whole; operators never drawn: {', '.join(missing) or 'none'}")
        for title, counts in (("folded", self.folds), ("through", self.via), ("kept", self.kept)):
            print(f"  {title}: {sum(counts.values()):,}: {dict(counts.most_common())}")
        print(f"  findings: {sum(self.findings.values())}: {dict(self.findings)}", flush=True)


def _again(seed: int, only: str) -> str:
    return f"--seed {seed} -n 1" + (f" --only {only}" if only else "")
