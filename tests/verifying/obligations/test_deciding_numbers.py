"""Numbers on which operators decide: two models that differ in one are not the same, wherever it stands, and
whatever the samples are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bnfold.results.comparison import Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from ..sides import proto, side

HEAD = '<ir_version: IR, opset_import: ["" : OPSET, "ai.onnx.ml" : 3]>\n'
FLOATS = "g (float[N, C] x) => (float[N, C] y) { ENDING }"
INTEGERS = "g (int64[N, C] x) => (int64[N, C] y) { ENDING }"
TREE = FLOATS.replace(
    "ENDING",
    "y = ai.onnx.ml.TreeEnsembleRegressor<n_targets = 1, nodes_featureids = [0, 0, 0], nodes_treeids = [0, 0, 0], "
    "nodes_nodeids = [0, 1, 2], nodes_values = [NUMBER, 0.0, 0.0], nodes_modes = [\"BRANCH_LEQ\", \"LEAF\", \"LEAF\"], "
    "nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0], target_treeids = [0, 0], "
    "target_nodeids = [1, 2], target_ids = [0, 0], target_weights = [1.0, 2.0]>(x)"
).replace("=> (float[N, C] y)", "=> (float[N, 1] y)")  # fmt: skip
SCAN = """g (float[5, 3] x) => (float[3] f) {
    z = Constant<value_floats = [NUMBER, 0.0, 0.0]>()
    f = Scan<num_scan_inputs = 1, body = b (float[3] s, float[3] i) => (float[3] o) { o = Max(s, i) }>(z, x) }"""
LOOP = """g (float[N] x) => (float y) {
    t = Constant<value_int = 3>() c = Constant<value = bool {1}>() k = Constant<value_float = NUMBER>()
    y = Loop(t, c, k)<body = b (int64 i, bool ci, float s) => (bool co, float so) {
        co = Identity(ci) m = ReduceMax<keepdims = 0>(x) so = Max(s, m) }> }"""


def floats(ending: str) -> str:
    return FLOATS.replace("ENDING", ending)


DIFFERENT = {
    "a bound in an attribute": (floats("y = Clip<min = -1e4, max = NUMBER>(x)"), "1e4", "2e4", 9),
    "the alpha of a ThresholdedRelu": (
        floats("y = ThresholdedRelu<alpha = NUMBER>(x)"),
        "900.0",
        "1500.0",
        20,
    ),
    "the lambda of a Shrink": (floats("y = Shrink<lambd = NUMBER>(x)"), "800.0", "1700.0", 20),
    "a small lambda": (floats("y = Shrink<lambd = NUMBER>(x)"), "1e-6", "3e-6", 20),
    "a threshold of a tree": (TREE, "400.0", "700.0", 20),
    "a threshold in the sixth digit": (TREE, "0.25", "0.25001", 20),
    "which infinities count": (
        floats("k = Constant<value_float = 5.0>() m = IsInf<detect_positive = NUMBER>(x) y = Where(m, k, x)"),
        "0",
        "1",
        20,
    ),
    "where a Scan begins": (SCAN, "-90.0", "-210.0", 20),
    "where a Loop begins": (LOOP, "-450.0", "-700.0", 20),
    "a large whole number": (
        INTEGERS.replace("ENDING", "k = Constant<value_int = NUMBER>() y = Min(x, k)"),
        "5000000000",
        "7000000000",
        20,
    ),
    "the last whole number": (
        INTEGERS.replace("ENDING", "k = Constant<value_int = NUMBER>() y = Max(x, k)"),
        "-6000000",
        "-6000001",
        20,
    ),
    "a type that is too narrow": (
        INTEGERS.replace("ENDING", "a = Cast<to = NUMBER>(x) y = Cast<to = 7>(a)"),
        "6",
        "7",
        20,
    ),
    "another range": (
        "g (float[2, 3] x) => (float[2, 3] y) { a = Cast<to = NUMBER>(x) y = Cast<to = 1>(a) }",
        "16",
        "10",
        20,
    ),
}


def head(opset: int) -> str:
    return HEAD.replace("OPSET", str(opset)).replace("IR", "10" if opset > 9 else "8")


def pair(text: str, one: str, other: str, opset: int) -> tuple[Side, Side]:
    first, second = (side(proto(head(opset) + text.replace("NUMBER", number))) for number in (one, other))
    return first, second


@pytest.mark.parametrize(("text", "one", "other", "opset"), DIFFERENT.values(), ids=DIFFERENT)
def test_another_number_is_a_difference(text: str, one: str, other: str, opset: int) -> None:
    assert not compare(*pair(text, one, other, opset), VerifyOptions()).equivalent
    assert compare(*pair(text, one, one, opset), VerifyOptions()).equivalent


SAME = {
    "a bound as an attribute and as an input": (
        floats("y = Clip<min = -1.5, max = 900.0>(x)"),
        9,
        floats("a = Constant<value_float = -1.5>() b = Constant<value_float = 900.0>() y = Clip(x, a, b)"),
        20,
    ),
    "a bound behind a scale and before it": (
        floats("k = Constant<value_float = 3.3>() a = Constant<value_float = -2.0>() "
               "b = Constant<value_float = 700.0>() s = Mul(x, k) y = Clip(s, a, b)"),
        20,
        floats(f"k = Constant<value_float = 3.3>() a = Constant<value_float = {np.float32(-2) / np.float32(3.3)}>() "
               f"b = Constant<value_float = {np.float32(700) / np.float32(3.3)}>() u = Clip(x, a, b) y = Mul(u, k)"),
        20,
    ),
    "a slope that is rounded in another way": (
        floats("y = LeakyRelu<alpha = 0.1>(x)"),
        20,
        floats("y = LeakyRelu<alpha = 0.10000001>(x)"),
        20,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "first", "other", "second"), SAME.values(), ids=SAME)
def test_the_same_number_may_be_written_in_another_way(one: str, first: int, other: str, second: int) -> None:
    sides = (side(proto(head(opset) + text)) for text, opset in ((one, first), (other, second)))
    found = compare(*sides, VerifyOptions())
    assert found.equivalent, found


def quantised(kind: int, weights: list[float], scale: float) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[1, 3, 5, 5] x) => (float[1, 4, 5, 5] y) { w = DequantizeLinear(q, s) y = Conv(x, w) }"""
    )
    model.graph.initializer.append(helper.make_tensor("q", kind, [4, 3, 1, 1], weights))
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [], [scale]))
    return model


@pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2])
def test_quantised_floats_are_no_numbers_that_may_be_rounded_again(kind: int) -> None:
    weights = [1.0, 0.5, 3.0, 2.0, 1.0, 3.0, -0.5, 2.0, 1.0, -1.0, 3.0, 2.0]
    off = [*weights[:4], 1.5, *weights[5:]]
    model = quantised(kind, weights, 0.1)
    assert compare(side(model), side(quantised(kind, weights, 0.1)), VerifyOptions()).equivalent
    assert not compare(side(model), side(quantised(kind, off, 0.1)), VerifyOptions()).equivalent
    assert not compare(side(model), side(quantised(kind, weights, 0.103)), VerifyOptions()).equivalent


WIDENED = {
    "CastLike": "a = CastLike(x, one) b = Exp(a) k = Constant<value_float = NUMBER>() c = Mul(b, k) y = Neg(c) }",
    "a function": "a = loc.up(x) k = Constant<value_float = NUMBER>() b = Mul(a, k) y = Neg(b) }\n"
    '<domain: "loc", opset_import: ["" : 20]> up (x) => (y) { y = Cast<to = 1>(x) }',
}


@pytest.mark.parametrize("ending", WIDENED.values(), ids=WIDENED)
def test_what_was_widened_is_judged_as_what_it_is(ending: str) -> None:
    """The value behind has 24 bits, although the first float in front of it has eleven."""
    text = (
        '<ir_version: 10, opset_import: ["" : 20, "loc" : 1]> '
        "g (float16[4, 3] x) => (float[4, 3] y) <float one = {1}> { "
    )
    one, other = (side(proto((text + ending).replace("NUMBER", number))) for number in ("3.0", "3.0006"))
    assert compare(one, side(proto((text + ending).replace("NUMBER", "3.0"))), VerifyOptions()).equivalent
    assert not compare(one, other, VerifyOptions()).equivalent
