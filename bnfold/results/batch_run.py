"""What many runs came to: one `Run` for each model, small enough to travel between processes and machines,
and the verdict of them all.

Run          one model: its outcome, its figures, and where its files are
Fingerprint  what a finished model was made from and what was made of it: while nothing of that changes, it
             need not be made again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..errors import NOT_EQUIVALENT, OK
from ..records import dataclass
from .fold_result import Violation

OUTCOMES = {
    "passed": "folded and verified",
    "unchanged": "finished by an earlier run, and nothing has changed since",
    "failed": "not equivalent, or not what the policy wants",
    "error": "cannot be read, is not supported, or cannot be written",
    "timeout": "ended, for it took too long",
    "memory": "ended, for it took too much memory",
    "crashed": "its process died",
}


@dataclass(frozen=True)
class Run:
    """One model of a batch.

    name             of its outputs, relative to the folder of all of them, without a suffix
    network, weights what was read, as paths or URLs
    outcome          one of OUTCOMES
    exit_code        what this model alone would end with
    sentence         why it is not fine; empty where it is
    folded, kept     batch norms
    noise, max_error what verification measured, where there was anything to verify
    before, after    bytes of what was read and of what was written
    seconds          from the moment that somebody took it up
    violations       what the policy does not allow
    output           the folded model; None where there is none
    result, page     everything about it, as JSON and as a page
    """

    name: str
    network: str
    weights: str | None
    outcome: str
    exit_code: int
    sentence: str = ""
    folded: int | None = None
    kept: int | None = None
    noise: float | None = None
    max_error: float | None = None
    before: int | None = None
    after: int | None = None
    seconds: float = 0.0
    violations: tuple[Violation, ...] = ()
    output: str | None = None
    result: str | None = None
    page: str | None = None

    @property
    def fine(self) -> bool:
        """Nothing is wrong with it."""
        return self.exit_code == OK


@dataclass(frozen=True)
class Fingerprint:
    """What a result was made from, and what was made.

    version  of bnfold
    options  a hash of everything that was asked for
    inputs   (file, what identifies its content), external data included
    outputs  (file name, what identifies its content)
    """

    version: str
    options: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...] = ()


def code_of(runs: Sequence[Run]) -> int:
    """0 where all are fine, 1 where any is not what it should be, else the highest of the others."""
    codes = {run.exit_code for run in runs}
    return NOT_EQUIVALENT if NOT_EQUIVALENT in codes else max(codes, default=OK)


def counts(runs: Sequence[Run]) -> dict[str, int]:
    """How many of each outcome, in the order of OUTCOMES, none of those that did not occur."""
    found = Counter(run.outcome for run in runs)
    return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome]}
