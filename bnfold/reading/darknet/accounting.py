"""Why a weights file does not fit its cfg: how many bytes, from which layer on, and what usually causes
it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import Mismatch
from ...ir.provenance import Source
from ...records import dataclass
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
        whole = arrays.cut is not None and _begin(arrays, arrays.cut) == len(arrays.file)
        found = (
            f"{arrays.file.path.name} ends {'before' if whole else 'within'} this layer: "
            f"{-arrays.left:,} bytes are missing in all{where_from}"
        )
    return Mismatch(
        found,
        where=arrays.cut or last,
        expected=f"{need:,} bytes of arrays for {network}, but the file has {have:,}",
        way_out="; ".join(_causes(arrays, predictors)),
    )


def _begin(arrays: Arrays, layer: Source) -> int:
    """At which byte the arrays of a layer begin."""
    return next(taken.offset for taken in arrays.taken if taken.where == layer)


def _parted(arrays: Arrays) -> Taken | None:
    """The first running variance that is none: where cfg and weights went different ways."""
    for taken in arrays.taken:
        if taken.what.endswith("variance") and taken.offset + 4 * taken.floats <= len(arrays.file):
            values = np.frombuffer(arrays.file.view, np.float32, min(taken.floats, 4096), taken.offset)
            if not np.all(np.isfinite(values)) or values.min() < -1e-3 or values.max() > IMPLAUSIBLE:
                return taken
    return None


def cut_before(layer: Source, words: str) -> list[str]:
    """What to type to end the network before a layer, after some words; nothing for the first one."""
    return [f"{words} --cut-at {layer.index - 1}"] if layer.index else []


def _ends(arrays: Arrays, layer: Source) -> list[str]:
    """What to type where the file ends at or within a layer."""
    if _begin(arrays, layer) == len(arrays.file):
        words = "the file ends with a whole layer, as those named .conv.N do: end the network there with"
        return cut_before(layer, words)
    found = cut_before(layer, "to use the layers that are whole, end the network before this one with")
    return [f"{text} --allow-partial" for text in found]


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
        head = arrays.header
        also = (
            "try the other --dialect"
            if head.transposed
            else f"version {head.version} says {head.size} bytes, but did another program write the file?"
        )
        causes.append(f"4 bytes are the difference between the two forms of the header: {also}")
    if arrays.left % 4:
        causes.append("the size is no multiple of 4, so the file is cut off or something was appended")
    if arrays.cut is not None:
        causes += _ends(arrays, arrays.cut)
    return causes or [
        "usually filters, classes or the cfg itself are not those of the training, or it is the "
        "other fork's (--dialect)"
    ]
