"""Moments by Chan's update, against numpy on everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.recalibrating.moments import Moments, moments


def exact(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wide = x.astype(np.float64)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    return wide.mean(axis=axes), wide.var(axis=axes)


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (7, 3), (2, 5, 1, 1), (3, 4, 9), (2, 3, 17), (4, 6, 20, 20), (2, 2, 3, 4, 5), (1, 700, 64)],
)
def test_every_shape(shape):
    x = np.random.default_rng(1).normal(3, 2, shape).astype(np.float32)
    mean, variance = exact(x)
    found = moments(x)
    assert found.count == x.size // shape[1]
    assert np.allclose(found.mean, mean, rtol=1e-13, atol=1e-13)
    assert np.allclose(found.variance, variance, rtol=1e-12, atol=1e-13)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_parts_of_any_size_are_the_whole(sizes, seed):
    random = np.random.default_rng(seed)
    parts = [random.normal(100, 1e-3, (size, 2, 5)) for size in sizes]
    pooled = None
    for part in parts:
        pooled = moments(part).pooled(pooled)
    mean, variance = exact(np.concatenate(parts))
    assert pooled is not None
    assert pooled.count == 5 * sum(sizes)
    assert np.allclose(pooled.mean, mean, rtol=1e-14)
    assert np.allclose(pooled.variance, variance, rtol=1e-8)  # numpy's own: 100 is 1e5 deviations away


def test_a_large_mean_costs_no_digits():
    x = np.random.default_rng(0).normal(size=(64, 1, 50))
    far = moments(x[:32] + 1e7).pooled(moments(x[32:] + 1e7))
    assert np.allclose(far.variance, x.var(), rtol=1e-7)


def test_float16_is_summed_in_float64():
    x = np.full((100, 2, 400), 6e4, np.float16)
    found = moments(x)
    assert (found.mean == np.float64(np.float16(6e4))).all()
    assert (found.variance == 0).all()


def test_what_is_not_finite_shows():
    assert not moments(np.array([[1.0], [np.nan]])).finite
    assert not moments(np.full((1, 1, 20), np.inf)).finite


def test_nothing_has_no_moments():
    with pytest.raises(ValueError, match="nothing"):
        moments(np.zeros((0, 3, 2, 2)))


def test_one_axis_is_one_channel():
    assert moments(np.array([1.0, 3.0])) == Moments(2, np.array([2.0]), np.array([2.0]))
