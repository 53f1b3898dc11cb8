"""Samples at sizes that constants of the two models name (inputs/larger_sizes.py): what begins at a size
shows there, and at no smaller one.

They cost about twice as much as all that was run before them, at most, or as much as a small network takes in
any case. Both are counted in elements, so that the same two models get the same samples on every machine. No
proof reads them: proofs are of the sizes of the other samples.
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

CHEAP = 1 << 25  # elements of all values that are run in any case
AT_MOST = 1 << 27
TIMES = 2  # as many elements as all samples before had
STEPS = 40_000  # nodes that all trips of loops come to


def at_named_sizes(case: Case, runs: Runs) -> None:
    """Samples of the reference and their truth. A note says which sizes they are of, and what would have been
    too large."""
    search = case.free_search
    if not search.free or (first := search.choice_of(case.shapes)) is None:
        return
    tried = [search.choice_of({name: value.shape for name, value in feed.items()}) for feed in runs.feeds]
    reached = {key: max(c.sizes.get(key, 0) for c in tried if c is not None) for key in first.sizes}
    names = named_sizes(case.reference.model, case.candidate.model, min(reached.values()))
    if not names.sizes:
        return
    most = max(CHEAP, TIMES * cost(first.outcome) * len(runs.feeds))
    larger = Larger(search, first, reached, min(most, AT_MOST))
    longest = _longest_loop(case)

    def accepts(choice: Choice) -> bool:
        return max(choice.sizes.values()) <= longest and _run(case, runs, choice)

    larger(names, accepts)
    if larger.too_large:
        case.notes.append(
            f"constants name sizes up to {larger.too_large:,}, and a sample of these would be too large "
            f"({spelled('input_shapes')} sets them)"
        )


def _longest_loop(case: Case) -> float:
    """How many trips of the models' loops are few enough."""
    inner = sum(
        len(body)
        for side in (case.reference, case.candidate)
        for node in nodes(side.model)
        if is_op(node, "Loop", "Scan")
        for body in bodies(node)
    )
    return STEPS / max(inner, 1)


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
