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
