"""Which axes of two shapes hold the same values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.folding.reshape_axes import dim_groups

SHAPES = st.lists(st.integers(1, 4), max_size=5)


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        (
            ("N", 6, "H", "W"),
            ("N", 2, 3, "H", "W"),
            [((0,), (0,)), ((1,), (1, 2)), ((2,), (3,)), ((3,), (4,))],
        ),
        (("B", "T", 8), ("?1", 8), [((0, 1), (0,)), ((2,), (1,))]),
        ((2, 3, 4), (24,), [((0, 1, 2), (0,))]),
        ((2, 3, 4), (6, 4), [((0, 1), (0,)), ((2,), (1,))]),
        ((2, 6), (2, 6, 1), [((0,), (0,)), ((1,), (1,)), ((), (2,))]),
        ((2, 1, 6), (2, 6), [((0,), (0,)), ((1,), ()), ((2,), (1,))]),
        ((5, 7), (6, 6), [((0, 1), (0, 1))]),
    ],
)
def test_groups(before, after, groups) -> None:  # type: ignore[no-untyped-def]
    assert [(tuple(a), tuple(b)) for a, b in dim_groups(before, after)] == groups


@given(SHAPES, SHAPES)
def test_groups_cover_both_shapes_in_order_and_hold_equal_numbers(
    before: list[int], after: list[int]
) -> None:
    groups = dim_groups(tuple(before), tuple(after))
    assert [k for a, _ in groups for k in a] == list(range(len(before)))
    assert [k for _, b in groups for k in b] == list(range(len(after)))
    if math.prod(before) == math.prod(after):
        assert all(math.prod(before[k] for k in a) == math.prod(after[k] for k in b) for a, b in groups)
        flat = np.arange(math.prod(before))
        assert np.array_equal(flat.reshape(before).reshape(after), flat.reshape(after))
