"""Differences that random values hardly reach: overflows of integers, single patterns of booleans, the ends of
quantised types, ties, and integers that steer an operator."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from bnfold.results.comparison import Comparison
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.truth import onnx_reference

from .sides import proto, side

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
SUM = "g (int32[N, 3] x) => (int64[N, 1] y) <int64[1] axis = {1}> { ENDING }"
FLAGS = "g (bool[1] a, bool[1] b) => (bool[1] y) { y = ENDING(a, b) }"
QUANTISED = """g (float[N, 4] x) => (float[N, 4] y) <float s = {0.05}, ENDING> {
    q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
MASKED = """g (float[1, 2, 2, 8] q, float[1, 2, 2, 8] k, float[1, 2, 2, 8] v, bool[2, 2] m) => (float[1, 2, 2, 8] y) {
    y = Attention<ENDING>(q, k, v, m) }"""
RECURRENT = """g (float[3, 1, 2] x) => (float[3, 1, 1, 2] y)
    <float[1, 2, 2] w = {0.1, 0.1, 0.1, 0.1}, float[1, 2, 2] r = {0.1, 0.1, 0.1, 0.1}> {
    y = RNN<hidden_size = 2ENDING>(x, w, r) }"""
TAKEN = "g (float[N, 8] x) => (int64[N, 1] y) { r = Relu(x) y = ArgMax<axis = 1ENDING>(r) }"
SORTED = """g (int64[3, 4] x) => (int64[3, 2] y, int64[3, 2] i) <int64[1] k = {2}> {
    y, i = TopK<axis = 1ENDING>(x, k) }"""
COUNTED = "g (int32 x) => (int32[M] y) <int32 end = {6}, int32 step = {ENDING}> { y = Range(x, end, step) }"
SHIFTED = 'g (uint8[4] x, uint8[4] n) => (uint8[4] y) { y = BitShift<direction = "ENDING">(x, n) }'
LOSS = """g (float[3, 5] x, int64[3] t) => (float y) <float[5] w = {1.0, 2.0, 3.0, 4.0, 5.0}> {
    y = SoftmaxCrossEntropyLoss(x, tENDING) }"""
BEHIND = """g (float[N, 4] x) => (float[N, 4] y) <float k = {7.3}, float low = {1000.0}, float high = {1001.0},
    float half = {0.5}, float[4, 4] w = {1.0, 2.0, -1.0, 0.5, 0.3, 1.0, 1.0, 1.0, -2.0, 1.0, 0.1, 3.0, 1.0, 0.2, 0.4, 0.9}> {
    BEFORE ENDING }"""
KEPT = "y = Identity(s)"
WINDOW = """a = Greater(s, low) b = Less(s, high) both = And(a, b) h = Mul(s, half) y = Where(both, h, s)"""

DIFFERENT = {
    "a sum of integers that overflows": (
        SUM,
        "a = Cast<to = 7>(x) y = ReduceSum(a, axis)",
        "a = ReduceSum(x, axis) y = Cast<to = 7>(a)",
    ),
    "one pattern of two booleans": (FLAGS, "Xor", "Or"),
    "a quantised type of fewer bits": (QUANTISED, "int16 z = {3}", "int8 z = {3}"),
    "a bound behind small weights": (RECURRENT, "", ", clip = 2.0"),
    "which of two equal maxima is taken": (TAKEN, "", ", select_last_index = 1"),
    "an order that is left open": (SORTED, "", ", sorted = 0"),
    "a loss whose classes have weights": (LOSS, ", w", ""),
    "what takes the place of one integer": (
        "g (int64[N, 8] x) => (int64[N, 8] y) <int64 k = {-999}, int64 v = {ENDING}> { e = Equal(x, k) y = Where(e, v, x) }",
        "0",
        "1",
    ),
    "a softmax that overflows": (
        "g (float[N, 8] x) => (float[N, 8] y) <int64[1] axis = {1}> { ENDING }",
        "y = Softmax<axis = 1>(x)",
        "e = Exp(x) s = ReduceSum(e, axis) y = Div(e, s)",
    ),
    "a shift to the other side": (SHIFTED, "LEFT", "RIGHT"),
    "a narrow range behind a scale": (BEHIND.replace("BEFORE", "s = Mul(x, k)"), KEPT, WINDOW),
    "a narrow range behind a square": (BEHIND.replace("BEFORE", "s = Mul(x, x)"), KEPT, WINDOW),
    "a narrow range behind a matrix": (BEHIND.replace("BEFORE", "s = MatMul(x, w)"), KEPT, WINDOW),
}


def compared(text: str, one: str, other: str) -> Comparison:
    reference, candidate = (side(HEAD + text.replace("ENDING", ending)) for ending in (one, other))
    return compare(reference, candidate, VerifyOptions())


@pytest.mark.parametrize(("text", "one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_difference_that_few_values_show_is_found(text: str, one: str, other: str) -> None:
    assert compared(text, one, one).equivalent
    assert not compared(text, one, other).equivalent


@pytest.mark.parametrize("scale", ["0.5", "0.0"])
def test_a_mask_of_few_booleans_takes_many_patterns(scale: str) -> None:
    """With one key in every row, a softmax gives one, whatever the scores are."""
    text = HEAD.replace("21", "23") + MASKED
    one, other = (side(text.replace("ENDING", f"scale = {number}")) for number in ("1.0", scale))
    assert not compare(one, other, VerifyOptions()).equivalent


def test_an_output_that_is_always_empty_verifies_nothing() -> None:
    found = compared(COUNTED, "-3", "-2")
    assert not found.equivalent
    assert "it is empty in every run" in found.reason


RIGHT = {
    "integers that are never negative": (
        "g (int32[N, 3] x) => (int32[N, 3] y) <int32 z = {0}> { a = Max(x, z) y = ENDING(a) }",
        "Identity",
        "Abs",
    ),
    "zeros and ones": (
        """g (bool[N, 8] x) => (bool[N] y) <int64[1] axis = {1}, int32 z = {0}> { i = Cast<to = 6>(x) ENDING }""",
        "m = ReduceMax<keepdims = 0>(i, axis) y = Cast<to = 9>(m)",
        "s = ReduceSum<keepdims = 0>(i, axis) y = Greater(s, z)",
    ),
    "sizes": (
        """g (float[N, C] x) => (float y) <int64 z = {0}, int64 two = {2}, uint64 one = {1}> {
            s = Shape(x) h = Gather(s, z) ENDING y = Cast<to = 1>(d) }""",
        "d = Div(h, two)",
        'u = Cast<to = 13>(h) v = BitShift<direction = "RIGHT">(u, one) d = Cast<to = 7>(v)',
    ),
    "booleans that were computed": (
        """g (float[N, 8] x, float[N, 8] z) => (float[N, 8] y) <float t = {0.0}> {
            a = Greater(x, t) b = Greater(z, t) i = Cast<to = 6>(a) j = Cast<to = 6>(b) c = ENDING(i, j) y = Cast<to = 1>(c) }""",
        "Mul",
        "Min",
    ),
    "half a size, rounded up": (
        """g (float[N, T] x) => (float[1] y) <int64[1] one = {1}, int64[1] two = {2}> {
            s = Shape(x) n = Slice(s, one, two) ENDING y = Cast<to = 1>(h) }""",
        "a = Add(n, one) h = Div(a, two)",
        "m = Mod(n, two) b = Add(n, m) h = Div(b, two)",
    ),
    "zero points of two types": (QUANTISED, "int8 z = {3}", "uint8 z = {131}"),
    "a quantiser written out": (
        """g (float[N, 4] x) => (float[N, 4] y)
            <float s = {0.05}, uint8 z = {10}, float f = {10.0}, float low = {0.0}, float high = {255.0}> { ENDING }""",
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
        "d = Div(x, s) r = Round(d) a = Add(r, f) c = Clip(a, low, high) b = Sub(c, f) y = Mul(b, s)",
    ),
    "an exponential that overflows where nothing shows it": (
        "g (float[N, 8] x) => (float[N, 8] y) <float one = {1.0}> { ENDING }",
        "y = Sigmoid(x)",
        "n = Neg(x) e = Exp(n) a = Add(e, one) y = Reciprocal(a)",
    ),
    "a narrow range beyond a bound": (BEHIND.replace("BEFORE", "s = Sigmoid(x)"), KEPT, WINDOW),
    "a narrow range beyond a bound that is scaled": (
        BEHIND.replace("BEFORE", "t = Sigmoid(x) s = Mul(t, k)"),
        KEPT,
        WINDOW,
    ),
    "a narrow range on the other side of zero": (
        BEHIND.replace("BEFORE", "n = Relu(x) s = Neg(n)"),
        KEPT,
        WINDOW,
    ),
    "an axis counted from the end": (
        "g (float[N, 8] x) => (int64[N, 1] y) { y = ArgMax<axis = ENDING>(x) }",
        "1",
        "-1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "one", "other"), RIGHT.values(), ids=RIGHT)
def test_values_that_cannot_occur_refuse_nothing(text: str, one: str, other: str) -> None:
    found = compared(text, one, other)
    assert found.equivalent, found


@pytest.mark.parametrize("forgets", [False, True])
def test_an_engine_that_computes_something_else_than_float64_excuses_no_fault(
    forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A OneHot casts its indices to integers. Where float64 forgets that, its distance from onnxruntime is no
    rounding."""
    text = """g (float[2, 2] x) => (float[2, 10, 2] y) <float depth = {10.0}, float[2] values = {1.0, ENDING}> {
        y = OneHot<axis = -2>(x, depth, values) }"""
    if forgets:
        monkeypatch.setattr(onnx_reference, "_WHOLE", {})
        session = onnxruntime.InferenceSession(
            proto(HEAD + text.replace("ENDING", "3.0")).SerializeToString(),
            providers=["CPUExecutionProvider"],
        )
        (y,) = session.run(None, {"x": np.full((2, 2), 1.5, np.float32)})
        if (y == 1.0).all():
            pytest.skip("this onnxruntime forgets it, too")
    assert compared(text, "3.0", "3.0").equivalent
    assert not compared(text, "3.0", "4.5").equivalent
