"""Pools some of whose windows lie in the padding alone: no map passes what a runtime puts in there."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from bnfold.folding import fold
from bnfold.ir.graph import ir
from bnfold.reading.onnx.reader import read

SIDES = {"4": 4, "5": 5}
TEXT = """<ir_version: 9, opset_import: ["" : 19]>
    g (float[1, 2, {side}, {side}] x) => (float[A, B, C, D] y)
    <float[2, 2, 1, 1] w = {{1, 2, 3, 4}},
     float[2] gamma = {{1, 2}}, float[2] beta = {{1, -1}}, float[2] mean = {{0, 1}}, float[2] var = {{1, 2}}> {{
        c = Conv(x, w)
        p = {pool} <kernel_shape = [2, 2], dilations = [5, 5], pads = [1, 1, 1, 1]> (c)
        y = BatchNormalization(p, gamma, beta, mean, var)
    }}"""


@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(("side", "folds"), [("4", False), ("5", True), ("N", False)])
def test_a_map_passes_where_every_window_meets_the_input(pool: str, side: str, folds: bool) -> None:
    proto = onnx.parser.parse_model(TEXT.format(side=side, pool=pool))
    folded, plan = fold(read(proto).model)
    assert not plan.kept if folds else "may lie in padding alone" in plan.kept[0].reason
    x = np.random.default_rng(0).standard_normal((1, 2, SIDES.get(side, 4), SIDES.get(side, 4)))
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x.astype(np.float32)}
        )[0]
        for m in (proto, ir.to_proto(folded))
    )
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-5)


REDUCED = """<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 3] x) => (float[A, B] y)
    <float[3, 3] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}, int64[4] crop = {{0, 0, {rows}, 0}}, int64[1] axis = {{0}},
     float[3] s = {{1, 2, 3}}, float[3] t = {{3, 2, 1}}> {{
        m = MatMul(x, w)
        c = Pad(m, crop)
        r = {reduction}(c, axis)
        k = Mul(r, s)
        y = Add(k, t)
    }}"""


@pytest.mark.parametrize("reduction", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("rows", [-1, -2])
def test_no_map_passes_a_reduction_of_nothing(reduction: str, rows: int) -> None:
    proto = onnx.parser.parse_model(REDUCED.format(reduction=reduction, rows=rows))
    folded, plan = fold(read(proto).model)
    assert any(kept.reason.endswith("reduces an axis without entries") for kept in plan.kept) == (rows == -2)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    try:
        before, after = (
            onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
                None, {"x": x}
            )
            for m in (proto, ir.to_proto(folded))
        )
    except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException:
        assert rows == -2  # onnxruntime has no maximum of nothing
        return
    np.testing.assert_allclose(before[0], after[0], rtol=1e-5)
