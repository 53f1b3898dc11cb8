"""Kernels of operators that onnxruntime's optimiser makes, held against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from bnfold.ir.graph import ir
from bnfold.verifying.truth.interpreter import Interpreter

RANDOM = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("FusedConv", [values(2, 3, 6, 6), values(4, 3, 3, 3), values(4)], {"activation": "Relu"}),
        (
            "FusedConv",
            [values(1, 4, 5, 5), values(4, 4, 1, 1), values(4)],
            {"activation": "LeakyRelu", "activation_params": [0.1]},
        ),
        (
            "FusedConv",
            [values(1, 4, 5, 5), values(4, 4, 1, 1), values(4)],
            {"activation": "Clip", "activation_params": [-0.5, 0.5]},
        ),
        ("FusedGemm", [values(3, 4), values(4, 5), values(5)], {"activation": "Relu"}),
        ("FusedMatMul", [values(2, 3, 4), values(2, 5, 4)], {"transB": 1, "alpha": 0.5}),
        ("Gelu", [values(3, 4)], {}),
        ("BiasGelu", [values(3, 4), values(4)], {}),
        ("FastGelu", [values(3, 4), values(4)], {}),
        ("QuickGelu", [values(3, 4)], {"alpha": 1.5}),
        (
            "SkipLayerNormalization",
            [values(2, 3, 4), values(2, 3, 4), values(4), values(4)],
            {"epsilon": 1e-5},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fused_operator(operator: str, inputs: list[np.ndarray], attributes: dict[str, Any]) -> None:
    names = [f"i{k}" for k in range(len(inputs))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain="com.microsoft", **attributes)],
        "g",
        [helper.make_tensor_value_info(n, 1, a.shape) for n, a in zip(names, inputs, strict=True)],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    feeds = dict(zip(names, inputs, strict=True))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)[0]
    found = Interpreter(ir.from_proto(model)).run(feeds)["y"]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
