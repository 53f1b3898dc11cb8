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
