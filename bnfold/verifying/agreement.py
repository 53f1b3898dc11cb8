"""How far a model whose channels were taken out is from the whole one, on the user's own inputs: no verdict,
figures.

Both run in the same engine, sample after sample; sums alone are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..errors import Unsupported, UsageError
from ..records import dataclass
from ..results.comparison import Side
from ..results.options import VerifyOptions, spelled
from ..results.slimming import Agreement
from .case import Case, Progress
from .engines.engines import REFUSALS
from .inputs.interface import InterfacesDiffer, interface
from .inputs.samples import Unfillable
from .truth.interpreter import CannotEvaluate
from .truth.number_formats import widened


def _rows(sample: Mapping[str, np.ndarray]) -> int:
    """How many inputs a sample holds: a batch is several."""
    return max((value.shape[0] for value in sample.values() if value.ndim > 1), default=1)


@dataclass
class _Sums:
    """What is kept of one output. Whole numbers are decisions themselves; where an output has another shape,
    none of it agrees."""

    difference: float = 0.0
    whole: float = 0.0
    same: int = 0
    decisions: int = 0

    def add(self, whole: np.ndarray, other: np.ndarray) -> None:
        """One sample."""
        a, b = widened(np.asarray(whole)), widened(np.asarray(other))
        if a.shape != b.shape:
            self._count(np.zeros(a.shape[:1], np.bool_))
            return
        if a.dtype.kind != "f":
            self._count(np.asarray(a == b))
            return
        self.difference += float(((a - b) ** 2).sum())
        self.whole += float((a**2).sum())
        axis = decision_axis(a.shape)
        if axis is not None:
            self._count(a.argmax(axis=axis) == b.argmax(axis=axis))

    def _count(self, agreed: np.ndarray) -> None:
        self.same += int(agreed.sum())
        self.decisions += agreed.size

    @property
    def error(self) -> float:
        """The root mean square of the difference over that of the whole model's output."""
        if not self.difference:
            return 0.0
        return math.sqrt(self.difference / self.whole) if self.whole else math.inf


def decision_axis(shape: tuple[int, ...]) -> int | None:
    """Along which axis an output has one entry for each class: the last of two or three, the channels of an
    image; None where it decides nothing."""
    if len(shape) < 2:
        return None
    axis = 1 if len(shape) > 3 else len(shape) - 1
    return axis if shape[axis] > 1 else None


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def agreement(
    whole: Side, other: Side, options: VerifyOptions, progress: Progress | None = None
) -> Agreement:
    """The figures of two models of one interface on the inputs of the options. Raises UsageError where there
    are none, Unsupported where the whole model cannot be run on them."""
    try:
        case = Case(whole, other, options, interface(whole, other), progress or (lambda what, share: None))
        given = list(case.given)
        if not given:
            raise UsageError(
                f"no {spelled('inputs')}", expected="real inputs, on which the two models are compared"
            )
        runs = case.reference_runs()
        sums: dict[str, _Sums] = {}
        with runs.engine.open(whole) as left, runs.engine.open(other) as right:
            for count, sample in enumerate(given):
                case.progress("comparing on your inputs", count / len(given))
                feed = {**runs.feeds[0], **sample}
                ours, theirs = left.run(feed), right.run(feed)
                for name in case.outputs([ours], [theirs]):
                    sums.setdefault(name, _Sums()).add(ours[name], theirs[name])
    except (CannotEvaluate, Unfillable, InterfacesDiffer, *REFUSALS) as error:
        raise Unsupported(f"the models cannot be run on these inputs: {error}", where=whole.name) from error
    decided = next((one for one in sums.values() if one.decisions), None)
    errors = tuple((name, one.error) for name, one in sums.items() if one.whole or one.difference)
    return Agreement(
        inputs=sum(_rows(sample) for sample in given),
        top1=decided.same / decided.decisions if decided is not None else None,
        error=max((error for _, error in errors), default=0.0),
        outputs=errors,
    )
