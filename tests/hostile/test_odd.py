"""Networks that cannot be are refused, or go through: no internal error."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest

import bnfold
from bnfold.errors import BnfoldError

from .odd import misdeclared_model, odd_model


@pytest.mark.parametrize("first", range(0, 600, 50))
@pytest.mark.parametrize("make", [odd_model, misdeclared_model])
def test_odd_networks_are_folded_or_refused(make: Callable[[int], onnx.ModelProto], first: int) -> None:
    folded = 0
    for seed in range(first, first + 50):
        try:
            found = bnfold.fold(make(seed), simplify_leftovers=seed % 3 == 0, merge_branches=seed % 2 == 0)
            bnfold.to_onnx(found.model)
            folded += 1
        except BnfoldError as error:
            assert error.exit_code in (3, 4), (seed, str(error))
    assert folded
