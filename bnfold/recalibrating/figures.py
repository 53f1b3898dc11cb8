"""How far the statistics of one batch norm moved, in deviations as it divides by them: sqrt(variance +
epsilon).

A channel is dead where it varies so little that what the batch norm gives has less than a thousandth of the
deviation that a live one has, or no more than rounding makes of a constant.
"""

from __future__ import annotations

import numpy as np

from ..ir.graph import source_text
from ..results.recalibration import Renewed
from .moments import Moments
from .norms import Norm

FAINTEST = 1e-3  # deviation of what a batch norm gives, of its gamma, below which a channel is dead
ROUNDING = 1e-6  # of a constant: what float32 makes vary
DRAWN = 48  # channels in a picture
SMALLEST = 1e-30  # of an epsilon, where a file says 0


def renewed(norm: Norm, pooled: Moments, halves: tuple[Moments | None, Moments | None]) -> Renewed:
    """The figures of a norm that gets these statistics in place of its own."""
    usable = np.isfinite(norm.mean) & np.isfinite(norm.variance) & (norm.variance >= 0)
    old_mean = np.where(usable, norm.mean, 0.0)
    old_variance = np.where(usable, norm.variance, 0.0)
    mean, variance = pooled.mean, pooled.variance
    before, after = _deviation(old_variance, norm), _deviation(variance, norm)
    shift = np.abs(mean - old_mean)[usable] / before[usable]
    stretch = np.abs(after - before)[usable] / before[usable]
    was, now = _dead(old_mean, old_variance, norm) | ~usable, _dead(mean, variance, norm)
    chosen = np.unique(np.linspace(0, len(mean) - 1, min(DRAWN, len(mean))).round().astype(int))
    return Renewed(
        node=norm.name,
        source=source_text(norm.node),
        level=norm.level,
        channels=len(mean),
        values=pooled.count,
        mean_moved=_rms(shift),
        deviation_moved=_rms(stretch),
        most_moved=float(max(shift.max(initial=0.0), stretch.max(initial=0.0))),
        between_halves=_between(norm, *halves),
        died=_numbers(now & ~was),
        woke=_numbers(was & ~now),
        unusable=int((~usable).sum()),
        was_training=norm.was_training,
        shared=norm.shared,
        means=_pairs(old_mean, mean, chosen),
        deviations=_pairs(before, after, chosen),
    )


def _deviation(variance: np.ndarray, norm: Norm) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) + max(norm.epsilon, SMALLEST)))


def _dead(mean: np.ndarray, variance: np.ndarray, norm: Norm) -> np.ndarray:
    faint = variance <= FAINTEST**2 * (variance + max(norm.epsilon, SMALLEST))
    return np.asarray(faint | (variance <= (ROUNDING * mean) ** 2))


def _between(norm: Norm, first: Moments | None, second: Moments | None) -> float | None:
    """By how many deviations the halves of the data differ."""
    if first is None or second is None:
        return None
    one, other = _deviation(first.variance, norm), _deviation(second.variance, norm)
    both = (one + other) / 2
    return max(_rms((first.mean - second.mean) / both), _rms((one - other) / both))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _numbers(chosen: np.ndarray) -> tuple[int, ...]:
    return tuple(int(channel) for channel in np.flatnonzero(chosen))


def _pairs(before: np.ndarray, after: np.ndarray, chosen: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((float(before[i]), float(after[i])) for i in chosen)
