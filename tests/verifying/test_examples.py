"""The interpreter against the examples of the ONNX operator documents, which the onnx package carries: every
one of them."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from packaging.version import Version

from bnfold.ir.graph import ir
from bnfold.verifying.truth.interpreter import Interpreter
from bnfold.verifying.truth.kernels import KERNELS
from bnfold.verifying.truth.number_formats import widened

DIFFERENT = {
    "test_resize_downsample_scales_linear_align_corners": "onnxruntime and we take the rounded size, the document size times scale",
    "test_resize_downsample_scales_cubic_align_corners": "the same",
    "test_averagepool_2d_ceil_last_window_starts_on_pad": "its expected values are rounded to four digits",
    "test_scan_sum": "Scan of opset 8 has a batch axis and is not evaluated",
    "test_if_opt": "its condition yields an optional",
    "test_cast_e8m0_FLOAT_to_FLOAT8E8M0": "powers of two are not evaluated",
    "test_cast_e8m0_FLOAT16_to_FLOAT8E8M0": "the same",
    "test_castlike_e8m0_FLOAT_to_FLOAT8E8M0": "the same",
    "test_castlike_e8m0_FLOAT16_to_FLOAT8E8M0": "the same",
}
if Version(onnx.__version__) < Version("1.21"):
    DIFFERENT["test_l2normalization_axis_0"] = "it expects 0 / 0 where the norm is 0"
TOLERANCE = {onnx.TensorProto.FLOAT16: 1e-3, onnx.TensorProto.BFLOAT16: 1e-2}


@functools.cache
def examples() -> dict[str, list[Any]]:
    """Cases by operator, of models whose nodes all have kernels of ours and that are not random."""
    found = defaultdict(list)
    with np.errstate(all="ignore"):
        cases = collect_testcases(None)
    for case in cases:
        types = {node.op_type for node in case.model.graph.node}
        if types <= set(KERNELS) and "training_dropout" not in case.name:
            found[case.model.graph.node[0].op_type].append(case)
    return dict(found)


def arrays(values: Any) -> list[Any]:
    return [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]


def assert_same(wanted: Any, got: Any, tolerance: float) -> None:
    if isinstance(wanted, list):
        assert len(wanted) == len(got)
        for one, other in zip(wanted, got, strict=True):
            assert_same(one, other, tolerance)
        return
    wanted, got = np.asarray(wanted), np.asarray(got)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype or wanted.dtype.kind in "OU"
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
    else:
        assert np.array_equal(got, wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operator", sorted(set(KERNELS) - {"Upsample"}))
def test_every_example_of_an_operator(operator: str) -> None:
    ran = 0
    for case in examples().get(operator, []):
        if case.name in DIFFERENT:
            continue
        model = ir.from_proto(case.model)
        for inputs, outputs in case.data_sets:
            feeds = {v.name: x for v, x in zip(case.model.graph.input, arrays(inputs), strict=False)}
            found = Interpreter(model).run(feeds)
            for value, wanted in zip(case.model.graph.output, arrays(outputs), strict=True):
                assert_same(
                    widened(wanted), found[value.name], TOLERANCE.get(value.type.tensor_type.elem_type, 1e-5)
                )
            ran += 1
    assert ran or operator not in examples()


def test_the_exceptions_are_still_exceptions() -> None:
    names = {case.name for cases in examples().values() for case in cases}
    assert {name for name in DIFFERENT if "castlike" not in name} <= names


@pytest.mark.filterwarnings("ignore")
def test_operators_without_a_kernel_go_to_the_stock_implementation() -> None:
    cases = [
        c
        for c in collect_testcases(None)
        if c.model.graph.node[0].op_type in ("TopK", "GatherND", "Trilu", "OneHot", "LSTM", "DFT")
    ]
    assert len(cases) > 10
    for case in cases:
        model = ir.from_proto(case.model)
        for inputs, outputs in case.data_sets:
            found = Interpreter(model).run(
                {v.name: x for v, x in zip(case.model.graph.input, arrays(inputs), strict=False)}
            )
            for value, wanted in zip(case.model.graph.output, arrays(outputs), strict=True):
                assert_same(widened(wanted), found[value.name], 1e-4)
