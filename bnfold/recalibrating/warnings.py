"""What is to be known of statistics before they are trusted: findings, each with its figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results.plan import Finding
from ..results.recalibration import FEWEST, UNSETTLED, LeftAlone, Renewed
from ..verifying.inputs.streams import Batches


def warnings(batches: Batches, rows: Sequence[Renewed], left: Sequence[LeftAlone]) -> Iterator[Finding]:
    """Every one that holds."""
    if not rows:
        what = f"its {len(left)} batch norms keep their statistics" if left else "the model has no batch norm"
        yield _warning("nothing", f"{what}, so nothing is recalibrated")
        return
    if batches.count < FEWEST:
        yield _warning(
            "few-inputs", f"statistics of fewer than {FEWEST} inputs are rough, and there are {batches.count}"
        )
    if batches.left_out:
        yield _warning(
            "left-out",
            f"{batches.left_out} of the inputs are left out: the model takes {batches.fixed[0].batch} at a "
            "time",
        )
    moving = [row for row in rows if (row.between_halves or 0.0) > UNSETTLED]
    if moving:
        worst = max(moving, key=lambda row: row.between_halves or 0.0)
        yield _warning(
            "unsettled",
            f"the statistics of {len(moving)} of {len(rows)} batch norms still move between the halves of "
            f"the data, those of '{worst.node}' by {worst.between_halves:.2g} deviations; more inputs, or "
            "inputs in another order, settle them",
        )
    trained = [row for row in rows if row.was_training]
    if trained:
        yield _warning(
            "was-training",
            f"{len(trained)} of {len(rows)} batch norms were exported in training mode, such as "
            f"'{trained[0].node}': they normalised each batch by its own statistics (kept.training-mode); "
            "now they use those of the data, and can be folded",
        )


def _warning(code: str, text: str) -> Finding:
    return Finding("warning", f"recalibrate.{code}", "", text)
