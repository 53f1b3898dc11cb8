"""One weight of a matrix that is off, where the sums that it takes part in do not show it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from ..sides import proto, side

HEAD = '<ir_version: 10, opset_import: ["" : 20]> g '
NORM = "n = BatchNormalization(c, s, b, m, v)"
NORMS = "float16[8] s, float16[8] b, float16[8] m, float16[8] v"

# The reference, and the candidate with its batch norm folded by hand: which axis of the weight the scale runs along.
CONES: dict[str, tuple[str, str, int]] = {
    "Conv": (
        f"(float16[2, 3, 16, 16] x) => (float16[2, 8, 16, 16] y) <float16[8, 3, 3, 3] w, {NORMS}> {{ c = "
        f"Conv<pads = [1, 1, 1, 1]>(x, w) {NORM} y = Relu(n) }}",
        "(float16[2, 3, 16, 16] x) => (float16[2, 8, 16, 16] y) <float16[8, 3, 3, 3] w, float16[8] t> { n = "
        "Conv<pads = [1, 1, 1, 1]>(x, w, t) y = Relu(n) }",
        0,
    ),
    "grouped Conv": (
        f"(float16[2, 16, 12, 12] x) => (float16[2, 8, 12, 12] y) <float16[8, 8, 3, 3] w, {NORMS}> {{ c = "
        f"Conv<pads = [1, 1, 1, 1], group = 2>(x, w) {NORM} y = Relu(n) }}",
        "(float16[2, 16, 12, 12] x) => (float16[2, 8, 12, 12] y) <float16[8, 8, 3, 3] w, float16[8] t> { n = "
        "Conv<pads = [1, 1, 1, 1], group = 2>(x, w, t) y = Relu(n) }",
        0,
    ),
    "ConvTranspose": (
        f"(float16[2, 6, 8, 8] x) => (float16[2, 8, 8, 8] y) <float16[6, 8, 3, 3] w, {NORMS}> {{ c = "
        f"ConvTranspose<pads = [1, 1, 1, 1]>(x, w) {NORM} y = Relu(n) }}",
        "(float16[2, 6, 8, 8] x) => (float16[2, 8, 8, 8] y) <float16[6, 8, 3, 3] w, float16[8] t> { n = "
        "ConvTranspose<pads = [1, 1, 1, 1]>(x, w, t) y = Relu(n) }",
        1,
    ),
    "Gemm": (
        f"(float16[64, 40] x) => (float16[64, 8] y) <float16[8, 40] w, {NORMS}> {{ c = Gemm<transB = 1>(x, w) {NORM} "
        "y = Relu(n) }",
        "(float16[64, 40] x) => (float16[64, 8] y) <float16[8, 40] w, float16[8] t> { n = Gemm<transB = 1>(x, w, t) "
        "y = Relu(n) }",
        0,
    ),
    "MatMul": (
        f"(float16[64, 40] x) => (float16[64, 8] y) <float16[40, 8] w, {NORMS}> {{ c = MatMul(x, w) {NORM} "
        "y = Relu(n) }",
        "(float16[64, 40] x) => (float16[64, 8] y) <float16[40, 8] w, float16[8] t> { c = MatMul(x, w) n = Add(c, t) "
        "y = Relu(n) }",
        1,
    ),
}


def pair(name: str, edit: Callable[[np.ndarray], None] | None) -> tuple[ModelProto, ModelProto]:
    before, after, axis = CONES[name]
    reference, candidate = half(HEAD + before), half(HEAD + after)
    held = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in reference.graph.initializer}
    scale = held["s"] / np.sqrt(held["v"] + 1e-5)
    lying = [1] * held["w"].ndim
    lying[axis] = -1
    weight = (held["w"] * scale.reshape(lying)).astype(np.float16)
    if edit is not None:
        edit(weight)
    arrays = {"w": weight, "t": (held["b"] - held["m"] * scale).astype(np.float16)}
    for tensor in candidate.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    return reference, candidate


def half(text: str) -> ModelProto:
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(3)
    for value in list(model.graph.value_info):
        values = random.standard_normal([d.dim_value for d in value.type.tensor_type.shape.dim])
        values = np.abs(values) + 0.5 if value.name in "sv" else values / 4
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), value.name))
        model.graph.value_info.remove(value)
    return model


def one_per_cent(weight: np.ndarray) -> None:
    flat = weight.reshape(-1)
    at = np.argsort(np.abs(flat))[flat.size * 2 // 3]
    flat[at] *= np.float16(1.01)


def verdict(name: str, edit: Callable[[np.ndarray], None] | None) -> tuple[bool, str]:
    reference, candidate = pair(name, edit)
    found = compare(side(reference), side(candidate), VerifyOptions(samples=1))
    return bool(found), found.reason


@pytest.mark.parametrize("name", CONES)
def test_one_weight_that_is_off_in_half_precision_is_a_difference(name: str) -> None:
    passed, reason = verdict(name, one_per_cent)
    assert not passed
    assert "weight [" in reason or "times what rounding" in reason, reason


@pytest.mark.parametrize("name", CONES)
def test_right_folds_in_half_precision_are_accepted(name: str) -> None:
    assert verdict(name, None) == (True, "")


@pytest.mark.parametrize("name", ["Conv", "MatMul"])
def test_a_weight_below_a_rounding_of_its_row_may_be_zero(name: str) -> None:
    def flushed(weight: np.ndarray) -> None:
        flat = weight.reshape(-1)
        flat[np.argsort(np.abs(flat))[0]] = 0

    reference, candidate = pair(name, flushed)
    for tensor in (*reference.graph.initializer,):
        if tensor.name == "w":
            values = numpy_helper.to_array(tensor).copy()
            values.reshape(-1)[np.argsort(np.abs(values.reshape(-1)))[0]] = 1e-7
            tensor.CopyFrom(numpy_helper.from_array(values, "w"))
    assert compare(side(reference), side(candidate), VerifyOptions(samples=1))


def test_scales_of_inputs_are_factors_of_columns() -> None:
    """A batch norm before the product: each column has its own factor, and rows have others."""
    text = "(float[32, 12] x) => (float[32, 9] y) <{}> {{ {} y = Mul(c, k) }}"
    random = np.random.default_rng(4)
    w, s = random.standard_normal((12, 9)).astype(np.float32), np.ones(12, np.float32)
    s[5], k = 3.0, (random.random(9) + 0.5).astype(np.float32)
    w[random.random(w.shape) < 0.2] = 0
    reference = proto(
        HEAD + text.format("float[12] s, float[12, 9] w, float[9] k", "a = Mul(x, s) c = MatMul(a, w)"),
        s=s,
        w=w,
        k=k,
    )
    weight = (w * s[:, None].astype(np.float64) * k).astype(np.float32)
    right = HEAD + "(float[32, 12] x) => (float[32, 9] y) <float[12, 9] w> { y = MatMul(x, w) }"
    assert compare(side(reference), side(proto(right, w=weight)), VerifyOptions(samples=1))
    weight[2, 3] *= np.float32(1.00002)
    found = compare(side(reference), side(proto(right, w=weight)), VerifyOptions(samples=1))
    assert not found


Arrays = dict[str, np.ndarray]
SUM = "(float[32, 12] x) => (float[32, 12] y) <float[12, 12] w> {{ {} }}"
IDENTITIES: dict[str, tuple[str, float]] = {
    "x @ W + x is x @ (W + I)": ("c = MatMul(x, w) y = Add(c, x)", 1.0),
    "x @ W - x is x @ (W - I)": ("c = MatMul(x, w) y = Sub(c, x)", -1.0),
    "2 x reaches the sum through a node": ("d = Add(x, x) c = MatMul(x, w) y = Add(d, c)", 2.0),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_what_is_read_beside_the_product_may_stand_in_single_weights(name: str) -> None:
    body, diagonal = IDENTITIES[name]
    w = np.random.default_rng(5).standard_normal((12, 12)).astype(np.float32) / 4
    merged = (w + diagonal * np.eye(12)).astype(np.float32)
    apart, whole = proto(HEAD + SUM.format(body), w=w), proto(HEAD + SUM.format("y = MatMul(x, w)"), w=merged)
    assert compare(side(apart), side(whole), VerifyOptions(samples=1))
    assert compare(side(whole), side(apart), VerifyOptions(samples=1))


def scaled(density: float, dead: bool = False) -> tuple[str, str, Arrays, np.ndarray]:
    """A matrix product between scales, the same without them, the weights of the first, and the second's."""
    random = np.random.default_rng(6)
    w = (random.standard_normal((48, 40)) / 4).astype(np.float32)
    w[random.random(w.shape) > density] = 0
    arrays = {
        "w": w,
        "s": np.exp(random.standard_normal(48)).astype(np.float32),
        "k": np.exp(random.standard_normal(40)).astype(np.float32),
    }
    if dead:
        arrays["s"][3], arrays["k"][[2, 9]] = 0, 0
    head = HEAD + "(float[32, 48] x) => (float[32, 40] y) <float[48, 40] w"
    apart = head + ", float[48] s, float[40] k> { a = Mul(x, s) c = MatMul(a, w) y = Mul(c, k) }"
    exact = arrays["w"].astype(np.float64) * arrays["s"][:, None] * arrays["k"]
    return apart, head + "> { y = MatMul(x, w) }", arrays, exact.astype(np.float32)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.05])
def test_factors_are_found_among_zeros(density: float) -> None:
    apart, whole, arrays, weight = scaled(density)
    reference, candidate = proto(apart, **arrays), proto(whole, w=weight)
    assert compare(side(reference), side(candidate), VerifyOptions(samples=1))
    assert compare(side(candidate), side(reference), VerifyOptions(samples=1))
    places = np.argwhere(weight)
    row, column = places[len(places) // 2]
    weight[row, column] *= np.float32(1.00002)
    assert not compare(side(reference), side(proto(whole, w=weight)), VerifyOptions(samples=1))


def test_rows_and_columns_of_zeros_have_no_factor() -> None:
    """Folded against unfolded: what a scale of zero switched off is anything at all in the candidate."""
    apart, whole, arrays, weight = scaled(1.0, dead=True)
    unfolded, folded = side(proto(apart, **arrays)), side(proto(whole, w=weight))
    assert compare(unfolded, folded, VerifyOptions(samples=1))
    assert compare(folded, unfolded, VerifyOptions(samples=1))


def test_subnormal_weights_tell_no_factor() -> None:
    """Half precision leaves few digits of them, or none."""
    random = np.random.default_rng(2)
    w = random.standard_normal((8, 8, 3, 3)) * np.exp2(random.integers(-20, 2, (8, 8, 3, 3))) / 1000
    w, g = w.astype(np.float32), (np.abs(random.standard_normal(8)) + 0.5).astype(np.float32)
    head = HEAD + "(float[2, 8, 12, 12] x) => (float[2, 8, 12, 12] y) "
    single = "<float[8, 8, 3, 3] w, float[8, 1, 1] g> { c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Mul(c, g) }"
    half_ = (
        "<float16[8, 8, 3, 3] w> { h = Cast<to = 10>(x) c = Conv<pads = [1, 1, 1, 1]>(h, w) "
        "y = Cast<to = 1>(c) }"
    )
    reference = proto(head + single, w=w, g=g.reshape(8, 1, 1))
    weight = (w.astype(np.float64) * g[:, None, None, None]).astype(np.float16)
    found = compare(side(reference), side(proto(head + half_, w=weight)), VerifyOptions(samples=1))
    assert found, found.reason


@pytest.mark.parametrize("entry", [(9, 9), (0, 3)])
def test_what_is_the_same_on_both_sides_may_stand_around_the_product(entry: tuple[int, int]) -> None:
    """A pool before it and a softmax behind it, in models whose values have nothing but their places in common."""
    text = (
        HEAD
        + """(float16[2, 12, 6, 6] x) => (float16[2, 10] y) <float16[12, 10] w, float16[10] b> {
        p = GlobalAveragePool(x) f = Flatten(p) z = Gemm(f, w, b) k = Constant<value = float16[1] {15360}>()
        q = Mul(z, k) y = Softmax<axis = 1>(q) }"""
    )
    renamed = text.replace("p ", "p1 ").replace("(p)", "(p1)").replace("f =", "f1 =").replace("(f,", "(f1,")
    renamed = (
        renamed.replace("z =", "z1 =").replace("(z,", "(z1,").replace("q =", "q1 =").replace("(q)", "(q1)")
    )
    reference, candidate = half(text), half(renamed)
    assert compare(side(reference), side(candidate), VerifyOptions(samples=1))
    for tensor in candidate.graph.initializer:
        if tensor.name == "w":
            values = numpy_helper.to_array(tensor).copy()
            values[entry] *= np.float16(1.01)
            tensor.CopyFrom(numpy_helper.from_array(values, "w"))
    assert not compare(side(reference), side(candidate), VerifyOptions(samples=1))
