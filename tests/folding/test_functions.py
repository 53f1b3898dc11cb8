"""Model-local functions: bodies in the place of calls, where a fold needs what the callers hand over."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import parser

from bnfold.folding import fold, functions
from bnfold.reading.onnx.reader import read

TWICE = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N, 2, H, W] x) => (float[N, 2, H, W] y)
<float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] a = {1, 2}, float[2] b = {3, 4}, float[2] c = {5, 6}, float[2] d = {7, 8}>
{ h = my.block (x, w, a, b, c, d)
  y = my.block (h, w, b, c, d, a) }
<domain: "my", opset_import: ["" : 17]>
block (x, w, g, b, m, v) => (y)
{ h = Conv (x, w)
  [bn] y = BatchNormalization (h, g, b, m, v) }"""


def test_a_function_called_twice_is_put_in_place_where_its_callers_hand_over_the_parameters() -> None:
    folded, plan = fold(read(parser.parse_model(TWICE)).model)
    assert [node.op_type for node in folded.graph] == ["Conv", "Conv"]
    assert not folded.functions
    assert len(plan.folded) == 2


def test_a_parameter_that_a_caller_hands_over_is_an_input_of_the_function() -> None:
    text = TWICE.replace("float[N, 2, H, W] x)", "float[N, 2, H, W] x, float[2] a)").replace(
        "float[2] a = {1, 2}, ", ""
    )
    _, plan = fold(read(parser.parse_model(text)).model)
    assert any("is an input of its function" in kept.reason for kept in plan.kept)


def test_functions_that_would_make_too_many_nodes_stay(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(functions, "MOST_NODES", 3)
    folded, plan = fold(read(parser.parse_model(TWICE)).model)
    assert len(folded.functions) == 1
    assert [kept.code for kept in plan.kept] == ["kept.parameter-not-constant"]


def model(calls: str, body: str) -> str:
    return f"""<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
        g (float[N, 3] x, float[M, 3] z, double[M, 3] d) => (float[N, 3] y, float[M, 3] u) {{ {calls} }}
        <domain: "my", opset_import: ["" : 17]>
        block (a) => (b) {{ w = Constant<value = float[3, 3] {{1, 2, 3, 4, 5, 6, 7, 8, 9}}>()
        s = Constant<value = float[3] {{1, 2, 3}}>() {body} }}
        <domain: "my", opset_import: ["" : 17, "my" : 1]>
        outer (c) => (e) {{ n = Neg(c) e = my.block(n) }}"""


NORM = "[bn] n = BatchNormalization(a, s, s, s, s) b = MatMul(n, w)"


@pytest.mark.parametrize("calls", ["y = my.block(x) u = my.block(z)", "y = my.outer(x) u = my.block(z)"])
def test_callers_say_rank_and_type_of_what_a_function_is_given(calls: str) -> None:
    """It stays one function, and its batch norm folds for all of them."""
    proto = parser.parse_model(model(calls, NORM))
    folded, plan = fold(read(proto).model)
    assert [f.node for f in plan.folded if f.op == "BatchNormalization"] == ["bn"]
    assert len(folded.functions) >= 1
    x, z = (np.random.default_rng(k).standard_normal((4, 3)).astype(np.float32) for k in (0, 1))
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x, "z": z, "d": z.astype(np.float64)}
        )
        for m in (proto, ir.to_proto(folded))
    )
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_sign_needs_a_type_and_callers_of_two_types_say_none() -> None:
    sign = "n = Neg(a) b = MatMul(n, w)"
    one = fold(read(parser.parse_model(model("y = my.block(x) u = my.block(z)", sign))).model)[1]
    assert [f.op for f in one.folded] == ["Neg"]
    generic = "n = Neg(a) m = Cast<to = 1>(n) b = MatMul(m, w)"
    two = fold(read(parser.parse_model(model("y = my.block(x) u = my.block(d)", generic))).model)[1]
    assert not two.folded


def test_a_function_that_is_given_what_it_made_is_put_in_place() -> None:
    """No file says the rank of what a call makes; of the body in its place it is known."""
    proto = parser.parse_model(model("h = my.block(x) y = my.block(h) u = Neg(z)", NORM))
    del proto.functions[1]
    folded, plan = fold(read(proto).model)
    assert sum(f.op == "BatchNormalization" for f in plan.folded) == 2
    assert all(node.op_type != "BatchNormalization" for node in folded.graph)
