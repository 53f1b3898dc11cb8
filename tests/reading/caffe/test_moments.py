"""The rough statistics that random batch norms get, against samples of a million values."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.reading.caffe.moments import NORMAL, Moments, moments

DRAW = np.random.default_rng(0)
SIZE = 1_000_000


def sample(of):
    return DRAW.standard_normal(SIZE) * np.sqrt(of.variance) + of.mean


A, B = Moments(0.7, 2.0), Moments(-0.3, 0.5)
CASES = [
    ("Relu", [A], lambda a: np.maximum(a, 0)),
    ("Relu", [B], lambda b: np.maximum(b, 0)),
    ("Add", [A, B], lambda a, b: a + b),
    ("Add", [A], lambda a: a + 0.1 * DRAW.standard_normal(SIZE)),
    ("Mul", [A, B], lambda a, b: a * b),
    ("Mul", [A], lambda a: a * DRAW.uniform(0.5, 1.5, SIZE)),
    ("Concat", [A, B], lambda a, b: np.concatenate([a, b])),
    ("MaxPool", [A], lambda a: a[: SIZE // 9 * 9].reshape(-1, 9).max(1)),
    ("AveragePool", [A], lambda a: a.reshape(-1, 4).mean(1)),
    ("Conv", [A], lambda a: a * DRAW.standard_normal(SIZE) * np.sqrt(2)),
    ("BatchNormalization", [NORMAL], lambda a: a / np.sqrt(DRAW.uniform(0.5, 1.5, SIZE))),
    ("Transpose", [A], lambda a: a),
]


@pytest.mark.parametrize(("op", "inputs", "formula"), CASES)
def test_moments(op, inputs, formula):
    found, values = moments(op, inputs), formula(*map(sample, inputs))
    assert found.mean == pytest.approx(values.mean(), abs=0.02)
    assert found.variance == pytest.approx(values.var(), rel=0.03)


def test_nothing_runs_away():
    value = Moments(1.0, 1.0)
    for _ in range(500):
        value = moments("Conv", [value])
    assert value.variance <= 1e12
    for _ in range(500):
        value = moments("AveragePool", [value])
    assert value.variance > 0
    assert moments("Anything", []) == NORMAL
