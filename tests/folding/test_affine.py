"""The algebra of affine maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from bnfold.folding.affine import IDENTITY, Affine, along_axis, batch_norm, common_shape
from bnfold.folding.reasons import Refused

numbers = st.floats(-1e3, 1e3, allow_nan=False, width=64)
vectors = arrays(np.float64, 5, elements=numbers)
maps = st.builds(Affine, vectors, vectors)


@given(maps, maps, vectors)
def test_composition_is_application(f: Affine, g: Affine, x: np.ndarray) -> None:
    assert_allclose((f @ g)(x), f(g(x)), rtol=1e-9, atol=1e-3)


@given(maps, maps, maps, vectors)
def test_composition_is_associative(f: Affine, g: Affine, h: Affine, x: np.ndarray) -> None:
    assert_allclose(((f @ g) @ h)(x), (f @ (g @ h))(x), rtol=1e-9, atol=1.0)


@given(maps, vectors)
def test_identity_changes_nothing(f: Affine, x: np.ndarray) -> None:
    assert (f @ IDENTITY).equals(f)
    assert (IDENTITY @ f).equals(f)


@given(maps)
def test_parts_make_the_whole(f: Affine) -> None:
    assert (f.shift_only() @ f.scale_only()).equals(f)


@given(
    arrays(np.float64, 3, elements=st.floats(0.1, 10)),
    arrays(np.float64, 3, elements=numbers),
    arrays(np.float64, 3, elements=numbers),
    arrays(np.float64, 3, elements=st.floats(0.01, 10)),
    arrays(np.float64, 3, elements=numbers),
)
def test_batch_norm_is_the_formula(
    g: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray, x: np.ndarray
) -> None:
    assert_allclose(
        batch_norm(g, b, m, v, 1e-3)(x), g * (x - m) / np.sqrt(v + 1e-3) + b, rtol=1e-9, atol=1e-6
    )


def test_a_variance_of_zero_without_epsilon_is_not_finite() -> None:
    assert not batch_norm([1.0], [0.0], [0.0], [0.0], 0.0).finite


@given(vectors)
def test_a_pattern_is_compact_where_it_does_not_vary(v: np.ndarray) -> None:
    spread = Affine(np.broadcast_to(v.reshape(1, 5, 1), (2, 5, 3)), np.zeros((2, 5, 3)))
    compact = spread.compact()
    assert compact.scale.shape == ((1, 5, 1) if len(set(v)) > 1 else (1, 1, 1))
    assert compact.equals(spread)


def test_vectors_lie_along_one_axis_or_not_at_all() -> None:
    v = np.arange(4.0)
    pattern = along_axis(Affine(v, v), 1, 3)
    assert pattern.varies() == (1,)
    found = pattern.along(1, 4)
    assert found is not None
    assert np.array_equal(found.scale, v)
    assert pattern.along(2, 4) is None
    assert pattern.along(1, 5) is None


def test_maps_of_different_sizes_along_one_axis_do_not_come_together() -> None:
    three, four = (Affine(np.ones((1, size)), np.zeros((1, size))) for size in (3, 4))
    with pytest.raises(Refused, match=r"sizes \[1, 3\] and \[1, 4\] come together") as refusal:
        _ = three @ four
    assert refusal.value.code == "kept.contradictory"
    assert common_shape((1, 3), (5, 1)) == (5, 3)
