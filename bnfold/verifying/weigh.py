"""The gate on one value of a case, and two second looks before a verdict that may rest on something else than the fold.

    figures       the value over all feeds; where float64 and the engine compute different things, against the unfolded model
    second_look   a failed value against what rounding its weights anew does to the reference, which any fold does
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..comparison import Figures
from ..errors import UsageError
from .case import Case, Runs
from .engines import Simulated, Values
from .gate import Triple, judge
from .numbers import rounding

NEAR = 8.0  # times the limit: up to there a second look is worth a run
UNEXPLAINED = 64.0  # times the error that rounding every node makes: beyond it engine and interpreter do not compute the same


def figures(case: Case, name: str, runs: Runs) -> Figures:
    """The figures of one value over all feeds; against the unfolded model besides, where float64 and the engine disagree."""
    expected = runs.expected or [{}] * len(runs.truths)
    triples = [Triple(_value(t, name, "truth"), _value(r, name, "reference"), _value(c, name, "candidate"), e.get(name))
               for t, r, c, e in zip(runs.truths, runs.references, runs.candidates, expected, strict=True)]
    kind, demands = case.kind(name, triples[0]), case.demands(name, runs)
    if any(t.truth.shape != t.reference.shape for t in triples):
        _distrust(case, name, runs, "has another shape in float64 than in")
        nudged = case.nudged(runs, runs.feeds)
        again = [Triple(t.reference, t.reference, t.candidate, n[name]) for t, n in zip(triples, nudged, strict=True)]
        return judge(name, again, kind, replace(demands, least=case.least))
    found = judge(name, triples, kind, demands)
    comparable = runs.truth == "float64" and runs.engine.name == "onnxruntime" and not case.half and kind.is_floating_point()
    if not comparable or not found.passed or found.reference_rms <= math.sqrt(rounding(kind)):
        return found
    return _explained(case, name, runs, triples, found)


def _explained(case: Case, name: str, runs: Runs, triples: list[Triple], found: Figures) -> Figures:
    """A reference far from float64: if rounding every node explains that, it is its noise; if not, float64 is not its truth here."""
    with Simulated(case.options.seed, stand_ins=False).open(case.reference) as runner:
        rounded = [runner.run(feed)[name] for feed in runs.feeds]
    kind, demands = case.kind(name, triples[0]), case.demands(name, runs)
    own = judge(name, [Triple(t.truth, t.reference, t.reference, s) for t, s in zip(triples, rounded, strict=True)], kind, demands)
    if own.noise <= UNEXPLAINED:
        return found
    _distrust(case, name, runs, f"is {found.reference_rms:.1g} away from float64 in")
    again = [Triple(t.reference, t.reference, t.candidate, t.reference + (s - t.truth)) for t, s in zip(triples, rounded, strict=True)]
    second = judge(name, again, kind, replace(demands, least=case.least))
    return found if second.passed else second


def second_look(case: Case, found: Figures, runs: Runs) -> Figures:
    """A failed value against what rounding its weights anew does to the reference: any fold does that, and pooling averages the noise
    of arithmetic out but not the noise of weights. A fold that is ill-conditioned or wrong is far beyond it."""
    kind = case.kind(found.value, Triple(*(values[0][found.value] for values in (runs.truths, runs.references, runs.candidates))))
    if runs.truth != "float64" or runs.expected or not kind.is_floating_point() or not found.noise < NEAR * case.options.noise_limit:
        return found
    with Simulated(case.options.seed, stand_ins=runs.engine.name != "onnxruntime", weights=True).open(case.reference) as runner:
        moved = [runner.run(feed)[found.value] for feed in runs.feeds]
    triples = [Triple(t[found.value], r[found.value], c[found.value], spread=np.abs(m - t[found.value]))
               for t, r, c, m in zip(runs.truths, runs.references, runs.candidates, moved, strict=True)]
    again = judge(found.value, triples, kind, case.demands(found.value, runs))
    if again.passed:
        case.notes.append(f"'{found.value}' is {found.noise:.3g} times the reference's noise, and {again.noise:.3g} times what rounding "
                          "its weights anew does to it")
    return again if again.passed else found


def _distrust(case: Case, name: str, runs: Runs, how: str) -> None:
    case.notes.append(f"the reference's own '{name}' {how} {runs.engine.name}; it was judged against the unfolded model besides")


def _value(values: Values, name: str, who: str) -> np.ndarray:
    if name not in values:
        raise UsageError(f"the {who} has no value '{name}'")
    return values[name]
