"""Number formats: what is rounded, widened and infinite."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir

from bnfold.verifying.truth.number_formats import Rounding, widened


def test_what_is_too_large_for_its_type_becomes_infinite_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Rounding()(np.array([1e6, 1.0]), ir.DataType.FLOAT16).tolist() == [np.inf, 1.0]


def test_a_signalling_nan_is_a_nan() -> None:
    signalling = np.array([0x7F800001], np.uint32).view(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(widened(signalling)).all()
