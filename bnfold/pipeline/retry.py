"""Which folds to take back when the gate fails: pure strategy, knows neither models nor runtimes.

    attempt(withdrawn)   the pipeline's: fold without these nodes, write, verify
    first_that_passes(attempt)   the first attempt that passes, taking back as little as localisation allows

Rule 1: folds that are wrong on their own, or else the fold that the first divergence names, are taken back,
        and the rest is tried again, for a bounded number of rounds.
Rule 2: where nothing is named, halves are tried; a failure that stays with every fold taken back is not the
        folds' fault.
Rule 3: no attempt that failed is ever returned as a success.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..errors import NotEquivalent
from ..records import dataclass
from ..results.comparison import Comparison
from ..results.options import NOISE_LIMIT
from ..results.plan import Plan

ROUNDS = 8
Withdrawn = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Words:
    """What is tried, in words: the act, and the models before and after it."""

    act: str = "fold"
    before: str = "unfolded model"
    after: str = "folded model"


class Attempt(Protocol):
    """One fold, written and verified. `report` is None where verification was not asked for or not needed."""

    @property
    def plan(self) -> Plan:
        """What was folded."""

    @property
    def report(self) -> Comparison | None:
        """What verification found."""


A = TypeVar("A", bound=Attempt)


def first_that_passes(
    attempt: Callable[[Withdrawn], A], rounds: int = ROUNDS, words: Words | None = None
) -> A:
    """The first attempt that passes; with no rounds, the one with every fold in or none. Raises
    NotEquivalent, which carries the report of the first failure: the one with every fold in. `words` tell
    what is tried, where it is no fold."""
    words = words or Words()
    first = last = attempt(())
    withdrawn: Withdrawn = ()
    for _ in range(rounds):
        if passed(last):
            return last
        if last.report is None or not last.report.providers:
            break  # nothing could run the models, so there is nothing to localise
        names = localised(last.plan, last.report) or bisected(attempt, last.plan, withdrawn)
        if not names:
            break
        withdrawn += tuple((name, reason(last.report, words)) for name in names)
        last = attempt(withdrawn)
    if passed(last):
        return last
    raise failure(first.report, words)


def passed(attempt: Attempt) -> bool:
    """Verified, or not in need of it."""
    return attempt.report is None or attempt.report.equivalent


def localised(plan: Plan, report: Comparison) -> tuple[str, ...]:
    """The folds that are wrong on their own, where any was found so; else those that the first divergence
    points to: by name, by the value that changed hands, by the node that holds them."""
    wrong = {figures.value for figures in report.folds if not figures.passed}
    if guilty := tuple(f.node for f in plan.folded if wrong.intersection(f.values)):
        return guilty
    found = report.divergence
    if found is None:
        return ()
    named = {part.strip() for part in found.folds.split(",")}
    return (
        tuple(f.node for f in plan.folded if f.node in named)
        or tuple(f.node for f in plan.folded if found.value in f.values)
        or tuple(f.node for f in plan.folded if found.node in f.into)
    )


def bisected(attempt: Callable[[Withdrawn], A], plan: Plan, withdrawn: Withdrawn) -> tuple[str, ...]:
    """The smallest set of folds found by halving without which the models are equal; empty where it is not
    the folds' fault."""
    suspects = tuple(dict.fromkeys([*(f.node for f in plan.folded), *plan.merged]))
    if not suspects or not _passes_without(attempt, suspects, withdrawn):
        return ()
    while len(suspects) > 1:
        middle = len(suspects) // 2
        halves = (suspects[:middle], suspects[middle:])
        guilty = next((half for half in halves if _passes_without(attempt, half, withdrawn)), None)
        if guilty is None:
            break  # both halves hold a culprit
        suspects = guilty
    return suspects


def _passes_without(attempt: Callable[[Withdrawn], A], names: tuple[str, ...], withdrawn: Withdrawn) -> bool:
    return passed(attempt(withdrawn + tuple((name, "tried without it") for name in names)))


def reason(report: Comparison, words: Words) -> str:
    """Why a fold is taken back, in words. Where the noise is within its limit, something else is not."""
    if report.noise <= NOISE_LIMIT and report.reason:
        return f"with it, verification says: {report.reason}"
    place = f" at '{report.divergence.value}'" if report.divergence else ""
    return f"with it, verification measured {report.noise:.3g} times the noise of the {words.before}{place}"


def failure(report: Comparison | None, words: Words) -> NotEquivalent:
    """The error of a fold that does not hold."""
    if report is None or not report.providers:
        why = report.reason if report is not None else "nothing was measured"
        return NotEquivalent(
            f"the {words.act} cannot be checked: {why}",
            report=report,
            way_out="--no-verify writes it unchecked",
        )
    where = report.divergence
    place = f"; the first value that differs is '{where.value}' of node '{where.node}'" if where else ""
    return NotEquivalent(
        f"the {words.after} is not equivalent: {report.reason or f'noise ratio {report.noise:.3g}'}{place}",
        report=report,
    )
