"""How the outputs of a network changed: two runs of each batch side by side, of which sums alone are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..records import dataclass
from ..results.recalibration import ChangedOutput
from ..verifying.truth.number_formats import is_float

Values = Mapping[str, np.ndarray]


@dataclass
class _Sums:
    inputs: int = 0
    change: float = 0.0
    size: float = 0.0
    agreeing: int = 0
    ranked: bool = True  # does every array hold scores of classes?
    alike: bool = True  # does every array have the shape of its partner?


class Changes:
    """Sums over batches, by output."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sums = {name: _Sums() for name in names}

    def add(self, before: Values, after: Values) -> None:
        """One batch."""
        for name, sums in self._sums.items():
            old, new = np.asarray(before[name]), np.asarray(after[name])
            if old.shape != new.shape or not is_float(old.dtype):
                sums.alike = False
                continue
            old, new = old.astype(np.float64), new.astype(np.float64)
            sums.inputs += len(old) if old.ndim else 1
            with np.errstate(all="ignore"):  # what is not finite shows in the result
                sums.change += float(np.square(new - old).sum())
                sums.size += float(np.square(old).sum())
            scores = [_scores(values) for values in (old, new)]
            if scores[0] is None or scores[1] is None:
                sums.ranked = False
                continue
            sums.agreeing += int((scores[0].argmax(axis=1) == scores[1].argmax(axis=1)).sum())

    @property
    def found(self) -> tuple[ChangedOutput, ...]:
        """The figures of every output that has some."""
        return tuple(_figures(name, sums) for name, sums in self._sums.items() if sums.alike and sums.inputs)


def _scores(values: np.ndarray) -> np.ndarray | None:
    """(inputs, classes), where an output looks like scores of classes and all are numbers."""
    if values.ndim < 2 or values.shape[1] < 2 or values.size != len(values) * values.shape[1]:
        return None
    return values.reshape(len(values), -1) if np.isfinite(values).all() else None


def _figures(name: str, sums: _Sums) -> ChangedOutput:
    with np.errstate(all="ignore"):
        change = float(np.sqrt(np.divide(sums.change, sums.size)))
    agreement = sums.agreeing / sums.inputs if sums.ranked else None
    return ChangedOutput(name, sums.inputs, change if np.isfinite(change) else None, agreement)
