"""Amounts as people read them."""

from __future__ import annotations

import pytest

from bnfold.reporting import units


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_345_678_901, "2.3 GB"), (None, "")]
)
def test_bytes(count: int | None, shown: str) -> None:
    assert units.in_bytes(count) == shown
