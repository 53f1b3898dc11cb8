"""Why a weights file does not fit its cfg: how many bytes, from which layer on, and what usually causes
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import Mismatch
from .weights import Arrays, Taken

IMPLAUSIBLE = 1e8  # no running variance of a trained network comes near


@dataclass(frozen=True)
class Predictor:
    """A layer whose filters depend on the classes of the detection layer that reads it: `floats` more numbers
    per class."""

    classes: int
    floats: int


def refusal(arrays: Arrays, network: str, predictors: Sequence[Predictor], last: object) -> Mismatch:
    """The error for a file that has bytes left over, or too few. `last` names the last layer that has
    arrays."""
    need, have = arrays.offset - arrays.header.size, len(arrays.file) - arrays.header.size
    parted = _parted(arrays)
    where_from = (
        f", but the numbers stop looking like statistics at {parted.where}, so look there first"
        if parted
        else ""
    )
    if arrays.left > 0:
        found = (
            f"{arrays.left:,} bytes are left over in {arrays.file.path.name} after the last layer that "
            f"has weights{where_from}"
        )
    else:
        found = (
            f"{arrays.file.path.name} ends within this layer: {-arrays.left:,} bytes are missing in "
            f"all{where_from}"
        )
    return Mismatch(
        found,
        where=arrays.cut or last,
        expected=f"{need:,} bytes of arrays for {network}, but the file has {have:,}",
        way_out="; ".join(_causes(arrays, predictors)),
    )


def _parted(arrays: Arrays) -> Taken | None:
    """The first running variance that is none: where cfg and weights went different ways."""
    for taken in arrays.taken:
        if taken.what.endswith("variance") and taken.offset + 4 * taken.floats <= len(arrays.file):
            values = np.frombuffer(arrays.file.view, np.float32, min(taken.floats, 4096), taken.offset)
            if not np.all(np.isfinite(values)) or values.min() < -1e-3 or values.max() > IMPLAUSIBLE:
                return taken
    return None


def _causes(arrays: Arrays, predictors: Sequence[Predictor]) -> list[str]:
    """What usually causes this, the likely first."""
    causes = []
    per_class = sum(p.floats for p in predictors)
    more, rest = divmod(arrays.left, 4 * per_class) if per_class else (0, 1)
    if rest == 0 and predictors and (fits := predictors[0].classes + more) > 0:
        causes.append(
            f"with classes={fits} instead of {predictors[0].classes} (and filters to match) the "
            "file would fit exactly"
        )
    if abs(arrays.left) == 4:
        causes.append(
            "4 bytes are the difference between the two forms of the header: try the other --dialect"
        )
    if arrays.left % 4:
        causes.append("the size is no multiple of 4, so the file is cut off or something was appended")
    if arrays.left < 0:
        causes.append("a cut-off file (*.conv.N) is read with --allow-partial")
    return causes or [
        "usually filters, classes or the cfg itself are not those of the training, or it is the "
        "other fork's (--dialect)"
    ]
