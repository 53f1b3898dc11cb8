"""The gate on one value of a case, over all feeds; where float64 and the engine compute different things,
against the unfolded model.

A reference that is far from float64 may be right: means of 1000 cancel, deep nets amplify. Then rounding
every node of the interpreter leads as far. If it does not, the two compute different things, and a fault of
the fold could hide in the difference.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..results.comparison import DECIDED, Figures
from .case import Case, Runs
from .engines.engines import Simulated
from .gate import Triple, failed, judge
from .nondeterminism import behind_a_decision
from .truth.number_formats import rounding, widened

_NOTHING = np.empty(0)  # where float64 took another way, and a list came out shorter
# times the error that rounding every node makes: beyond it engine and interpreter do not compute the same
UNEXPLAINED = 64.0
NUDGES = 4  # runs of the reference with weights and inputs off by a rounding


def figures(case: Case, name: str, runs: Runs) -> Figures:
    """The figures of one value over all feeds; against the unfolded model besides, where float64 and the
    engine disagree."""
    given = [(name in r, name in c) for r, c in zip(runs.references, runs.candidates, strict=True)]
    if any(one != other for one, other in given) or max(given) == (False, False):
        return failed(name, (), "", "only one of the models has this output")
    runs = runs.only(*(i for i, both in enumerate(given) if all(both)))
    expected = runs.expected or [{}] * len(runs.truths)
    triples = [
        Triple(t.get(name, _NOTHING), r[name], c[name], e.get(name))
        for t, r, c, e in zip(runs.truths, runs.references, runs.candidates, expected, strict=True)
    ]
    kind, demands = case.kind(name, triples[0]), case.demands(name, runs)
    if any(t.truth.shape != t.reference.shape for t in triples):
        _distrust(case, name, runs, "has another shape in float64 than in")
        nudged = case.nudged(runs, runs.feeds)
        again = [
            Triple(t.reference, t.reference, t.candidate, n.get(name))
            for t, n in zip(triples, nudged, strict=True)
        ]
        return judge(name, again, kind, replace(demands, least=case.least))
    found = judge(name, triples, kind, demands)
    comparable = (
        runs.truth == "float64"
        and runs.engine.name == "onnxruntime"
        and not case.half
        and kind.is_floating_point()
    )
    if not comparable or not found.passed or found.reference_rms <= math.sqrt(rounding(kind)):
        return found
    return _explained(case, name, runs, triples, found)


def settled_by_proof(case: Case, found: Figures, runs: Runs) -> Figures:
    """A proved candidate whose output is over the limit: as far as the reference itself moves where its
    weights and inputs are off by a rounding, that is the network's own noise. Behind a decision (TopK,
    NonMaxSuppression ...) even that says nothing, and the proof alone counts."""
    name = found.value
    if not _alike(name, runs):
        return found  # no rounding gives another type or more axes
    if behind_a_decision(case.reference.model, name):
        return replace(
            found,
            passed=True,
            noise=1.0,
            reason=f"{DECIDED}: {found.reason}; all that differs in front of it was proved",
        )
    if not found.dtype.startswith(("float", "bfloat", "double")) or not np.isfinite(found.noise):
        return found
    triples = _triples(name, runs)
    if triples is None:
        return found
    kind, demands = case.kind(name, triples[0]), case.demands(name, runs)
    moved = [case.nudged(runs, runs.feeds, draw, parameters=True) for draw in range(NUDGES)]
    again = []
    for place, triple in enumerate(triples):
        apart = [np.abs(widened(run[place][name]) - widened(triple.reference)) for run in moved]
        largest = np.max(apart, axis=0)
        truth, own = triple.truth, triple.reference if triple.expected is None else triple.expected
        if name in case.distrusted:  # how far the reference is from float64 is no rounding
            truth = own = widened(triple.reference)
        expected = truth + np.hypot(widened(own) - truth, largest)
        again.append(replace(triple, truth=truth, expected=expected))
    second = judge(name, again, kind, demands)
    if not second.passed:
        return found
    reason = "beyond the reference's own error, within what a rounding of its weights and inputs does to it"
    return replace(second, reason=reason)


def _alike(name: str, runs: Runs) -> bool:
    """Has a value of both models the same type and number of axes in every run?"""
    pairs = [
        (r[name], c[name])
        for r, c in zip(runs.references, runs.candidates, strict=True)
        if name in r and name in c
    ]
    return all(r.dtype == c.dtype and r.ndim == c.ndim for r, c in pairs)


def _triples(name: str, runs: Runs) -> list[Triple] | None:
    if any(name not in values for values in (*runs.truths, *runs.references, *runs.candidates)):
        return None
    expected = runs.expected or [{}] * len(runs.truths)
    found = [
        Triple(t[name], r[name], c[name], e.get(name))
        for t, r, c, e in zip(runs.truths, runs.references, runs.candidates, expected, strict=True)
    ]
    same = all(t.truth.shape == t.reference.shape == t.candidate.shape for t in found)
    return found if same else None


def _explained(case: Case, name: str, runs: Runs, triples: list[Triple], found: Figures) -> Figures:
    """A reference far from float64: if rounding every node explains that, it is its noise; if not, float64 is
    not its truth here."""
    with Simulated(case.options.seed, stand_ins=False).open(case.reference) as runner:
        rounded = [runner.run(feed).get(name, _NOTHING) for feed in runs.feeds]
    kind, demands = case.kind(name, triples[0]), case.demands(name, runs)
    own = judge(
        name,
        [Triple(t.truth, t.reference, t.reference, s) for t, s in zip(triples, rounded, strict=True)],
        kind,
        demands,
    )
    if own.noise <= UNEXPLAINED:
        return found
    _distrust(case, name, runs, f"is {found.reference_rms:.1g} away from float64 in")
    again = [
        Triple(t.reference, t.reference, t.candidate, t.reference + (s - t.truth))
        for t, s in zip(triples, rounded, strict=True)
    ]
    second = judge(name, again, kind, replace(demands, least=case.least))
    return found if second.passed else second


def _distrust(case: Case, name: str, runs: Runs, how: str) -> None:
    case.distrusted.add(name)
    case.notes.append(
        f"the reference's own '{name}' {how} {runs.engine.name}; it was judged against the unfolded "
        "model besides"
    )
