"""`python -m tests.random_graphs -s SECONDS | -n GRAPHS [--seed N] [--only OP]`: fold random graphs and
compare.

Prints what was covered, and every finding with its seed and its graph, shrunk, as text. Exit code 1 where
there are findings. Graphs are judged in a process of their own, so that one that ends the process (a runtime that
crashes) is a finding with its seed, and the run goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress
from pathlib import Path

from .bodies import BODIES
from .operators import ROWS
from .tally import AT_ONCE, Tally, judged_apart


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
    seed, end = given.seed, given.seed + given.graphs if given.graphs else sys.maxsize
    with suppress(KeyboardInterrupt):
        while seed < end and (not given.seconds or time.monotonic() - began < given.seconds):
            seed = judged_apart(tally, seed, min(seed + AT_ONCE, end), given.only)
    tally.show(time.monotonic() - began)
    return int(bool(tally.findings))


if __name__ == "__main__":
    sys.exit(main())
