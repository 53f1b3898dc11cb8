"""`python -m tests.random_graphs -s SECONDS | -n GRAPHS [--seed N] [--only OP]`: fold random graphs and
compare.

Prints what was covered, and every finding with its seed and its graph, shrunk, as text. Exit code 1 where
there are findings.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import onnx

from .bodies import BODIES
from .generator import random_sample
from .operators import ROWS
from .oracle import Finding, NoGraph, judge, options_of
from .shrinking import shrunk


def main() -> int:
    """Judge graph after graph."""
    parser = argparse.ArgumentParser(prog="python -m tests.random_graphs", description=__doc__)
    parser.add_argument("-s", "--seconds", type=float, default=0, help="how long")
    parser.add_argument("-n", "--graphs", type=int, default=0, help="how many graphs")
    parser.add_argument(
        "--seed", type=int, default=0, help="the seed of the first graph; each has the next one"
    )
    parser.add_argument(
        "--only", default="", metavar="OP", help="an operator that stands in every graph, often"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="folder for the shrunk graphs of findings, as .onnx"
    )
    given = parser.parse_args()
    if not given.seconds and not given.graphs:
        parser.error("how long? --seconds N or --graphs N")
    if given.only and given.only not in ROWS | BODIES:
        parser.error(f"--only {given.only}: expected one of {', '.join(ROWS | BODIES)}")
    tally = Tally(given.output)
    began = time.monotonic()
    seed = given.seed
    with suppress(KeyboardInterrupt):
        while (not given.graphs or seed < given.seed + given.graphs) and (
            not given.seconds or time.monotonic() - began < given.seconds
        ):
            tally.add(seed, given.only)
            seed += 1
    tally.show(time.monotonic() - began)
    return int(bool(tally.findings))


class Tally:
    """What a run came to."""

    def __init__(self, folder: Path | None = None) -> None:
        self.graphs = self.unrun = 0
        self.operators: Counter[str] = Counter()
        self.folds: Counter[str] = Counter()
        self.via: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()
        self.folder = folder

    def add(self, seed: int, only: str = "") -> None:
        """Draw and judge one graph; a finding is shrunk and shown at once."""
        sample = random_sample(seed, only)
        self.graphs += 1
        try:
            judged = judge(sample)
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
        again = f"--seed {seed} -n 1" + (f" --only {only}" if only else "")
        print(f"== {found.kind}, seed {seed}: {found.text}\n   {again}; {options_of(sample)}")
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


if __name__ == "__main__":
    sys.exit(main())
