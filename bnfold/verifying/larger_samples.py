"""Samples at sizes that constants of the two models name (inputs/larger_sizes.py): what begins at a size
shows there, and at no smaller one.

They cost about as much as all that was run before them, at most, and no proof reads them: proofs are of the
sizes of the other samples.
"""

from __future__ import annotations

from ..ir.graph import bodies, is_op, nodes
from ..results.options import spelled
from .case import Case, Runs
from .engines.engines import REFUSALS
from .inputs import samples as feeding
from .inputs.larger_sizes import Larger, cost
from .inputs.named_sizes import named_sizes
from .inputs.sizes import Choice

CHEAP = 1 << 23  # elements of all values that are run in any case
AT_MOST = 1 << 27
PER_SECOND = 1 << 24  # elements that are run, in float64 as well, for a second that was spent before
STEPS_PER_SECOND = 20_000  # nodes in the bodies of loops


def at_named_sizes(case: Case, runs: Runs, spent: float) -> None:
    """Samples of the reference and their truth, after so many seconds that all others took. A note says which
    sizes they are of, and what the time did not allow."""
    search = case.free_search
    if not search.free or (first := search.choice_of(case.shapes)) is None:
        return
    tried = [search.choice_of({name: value.shape for name, value in feed.items()}) for feed in runs.feeds]
    reached = {key: max(c.sizes.get(key, 0) for c in tried if c is not None) for key in first.sizes}
    names = named_sizes(case.reference.model, case.candidate.model, min(reached.values()))
    if not names.sizes:
        return
    most = max(CHEAP, cost(first.outcome) * len(runs.feeds), int(PER_SECOND * spent))
    larger = Larger(search, first, reached, min(most, AT_MOST))
    longest = _longest_loop(case, spent)

    def accepts(choice: Choice) -> bool:
        return max(choice.sizes.values()) <= longest and _run(case, runs, choice)

    larger(names, accepts)
    if larger.too_large:
        case.notes.append(
            f"constants name sizes up to {larger.too_large:,}, and a sample of these would take too long "
            f"({spelled('input_shapes')} sets them)"
        )


def _longest_loop(case: Case, spent: float) -> float:
    """How many trips of the models' loops the time allows."""
    inner = sum(
        len(body)
        for side in (case.reference, case.candidate)
        for node in nodes(side.model)
        if is_op(node, "Loop", "Scan")
        for body in bodies(node)
    )
    return STEPS_PER_SECOND * max(spent, 1.0) / max(inner, 1)


def _run(case: Case, runs: Runs, choice: Choice) -> bool:
    """Whether the reference and float64 give an answer at these sizes."""
    place, before = len(runs.feeds), runs.seconds
    try:
        feed = case.seeded(choice, 0)  # a normal one: no other shows as many faults
        with runs.engine.open(case.reference) as runner:
            values = runner.run(feed)
        runs.feeds.append(feed)
        runs.references.append(values)
        if runs.truth == "float64":
            case.in_float64(runs)
    except (*REFUSALS, feeding.Unfillable, MemoryError):
        for values_so_far in (runs.feeds, runs.references, runs.truths, runs.expected):
            del values_so_far[place:]
        return False
    runs.larger.append(place)
    runs.seconds = before
    case.notes.append(
        f"sample {place} is of sizes that constants name: {choice.note} ({spelled('input_shapes')} sets them)"
    )
    return True
