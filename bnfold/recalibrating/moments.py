"""Count, mean and sum of squared deviations of every channel, in float64, exact whatever the order and the
sizes of the parts.

Two parts A and B are pooled by Chan's update (Chan, Golub, LeVeque 1979): with d = mean_B - mean_A and
n = n_A + n_B,

    mean = mean_A + d n_B / n
    M2   = M2_A + M2_B + d² n_A n_B / n

Nothing is ever squared but deviations from a mean, so a large mean costs no digits.
"""

from __future__ import annotations

import numpy as np

from ..records import dataclass

BLOCK = 1 << 15  # numbers that are widened at a time: as float64 they fit a core's second-level cache
SHORT = 16  # values of a channel in one input below which columns are summed, not rows


@dataclass(frozen=True)
class Moments:
    """Of `count` values of each channel: their mean, and M2, the sum of squared deviations from it."""

    count: int
    mean: np.ndarray
    m2: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Of these values as the whole population: M2 / count."""
        return self.m2 / self.count

    @property
    def finite(self) -> bool:
        """Was every value a number?"""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.m2).all())

    def pooled(self, other: Moments | None) -> Moments:
        """Those of both parts together."""
        if other is None:
            return self
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.m2 + other.m2 + apart**2 * (self.count * other.count / count),
        )


def moments(values: np.ndarray) -> Moments:
    """Of an array (rows, channels, whatever): over everything but the channels. An array of one axis is one
    channel. Raises ValueError where there is no value."""
    rows, channels, *rest = values.shape if values.ndim > 1 else (values.size, 1)
    each = int(np.prod(rest, dtype=np.int64))
    if not rows * each:
        raise ValueError("a batch norm that works on nothing has no statistics")
    with np.errstate(all="ignore"):  # what is not finite shows in the result
        if each < SHORT:
            return _by_columns(values.reshape(rows, channels, each))
        return _by_rows(values.reshape(rows * channels, each), rows, channels)


def _by_rows(values: np.ndarray, rows: int, channels: int) -> Moments:
    """Each channel of each input is a part; parts of one size are pooled at once."""
    parts, each = values.shape
    mean, m2, ones = np.empty(parts), np.empty(parts), np.ones(each)
    step = max(1, BLOCK // each)
    for at in range(0, parts, step):
        block = values[at : at + step].astype(np.float64)
        mean[at : at + step] = block @ ones / each
        block -= mean[at : at + step, None]
        m2[at : at + step] = np.einsum("ij,ij->i", block, block)
    return _of_equal_parts(mean.reshape(rows, channels), m2.reshape(rows, channels), each)


def _by_columns(values: np.ndarray) -> Moments:
    """So few values to a channel and input that sums run over inputs."""
    rows, channels, each = values.shape
    wide = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(rows * each, channels).astype(np.float64)
    mean = wide.mean(axis=0)
    wide -= mean
    return Moments(rows * each, mean, np.einsum("ij,ij->j", wide, wide))


def _of_equal_parts(mean: np.ndarray, m2: np.ndarray, each: int) -> Moments:
    whole = mean.mean(axis=0)
    return Moments(len(mean) * each, whole, m2.sum(axis=0) + each * ((mean - whole) ** 2).sum(axis=0))
