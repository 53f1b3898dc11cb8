"""Differences that no output shows, and right rewritings that look like them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from bnfold.folding import fold
from bnfold.results.comparison import Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from ..sides import proto, side

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


W, B, V = weights(0, 6, 4), weights(1, 4), weights(2, 4, 5)


def verdict(reference: ModelProto, candidate: ModelProto) -> tuple[bool, str]:
    found = compare(side(reference), side(candidate), VerifyOptions(samples=1))
    return bool(found), found.reason


def dense(text: str, outputs: str = "float[N, 5] y", more: str = "", **arrays: np.ndarray) -> ModelProto:
    declared = "float[6, 4] w, float[4] b, float[4, 5] v" + more
    return proto(
        f"{HEAD} g (float[N, 6] x) => ({outputs}) <{declared}> {{ h = Gemm(x, w, b) {text} }}",
        **{"w": W, "b": B, "v": V, **arrays},
    )


HIDING = {
    "a dead Relu": "k = Constant<value = float {-1e4}>() d = Add(h, k) r = Relu(d) y = MatMul(r, v)",
    "a zero head": "z = Constant<value = float {0.0}>() n = Mul(v, z) y = MatMul(h, n)",
    "a zero factor": "z = Constant<value = float {0.0}>() m = MatMul(h, v) o = Mul(m, z) y = Add(o, z)",
    "a choice of near ties": "k = Constant<value = float {1e5}>() d = Mul(h, k) p = Softmax(d) y = MatMul(p, v)",
    "a saturated Clip": """k = Constant<value = float {1e4}>() d = Add(h, k) z = Constant<value = float {0.0}>()
        one = Constant<value = float {1.0}>() r = Clip(d, z, one) y = MatMul(r, v)""",
}


@pytest.mark.parametrize("what", HIDING)
def test_a_layer_that_nothing_shows_is_a_difference(what: str) -> None:
    text = HIDING[what]
    passed, reason = verdict(dense(text), dense(text, w=W * np.float32(1.05), b=B * np.float32(1.05)))
    assert not passed, what
    assert "'h'" in reason or reason.startswith("h:"), reason
    assert verdict(dense(text), dense(text.replace(" d ", " e ").replace("(d", "(e")))[0], what


def test_the_name_of_what_was_fused_is_no_pair() -> None:
    """The candidate's 'm' is the reference's 'o'; with zeros in it, the output says nothing about either."""
    zeros = np.zeros(5, np.float32)
    reference = dense("m = MatMul(h, v) o = Mul(m, s) y = Relu(o)", more=", float[5] s", s=zeros)
    candidate = dense("m = MatMul(h, v) y = Relu(m)", v=V * zeros)
    assert verdict(reference, candidate)[0]


def test_a_difference_that_one_of_several_outputs_makes_up_for() -> None:
    """A factor of one part of a layer may move into its weights; the other part does not see it."""
    text = """two = Constant<value_ints = [2, 2]>() p, q = Split<axis = 1>(h, two)
        half = Constant<value = float {0.5}>() """
    outputs = "float[N, 2] y, float[N, 2] z"
    factor = np.array([0.5, 0.5, 1, 1], np.float32)
    reference = dense(text + "p2 = Mul(p, half) y = Relu(p2) z = Relu(q)", outputs)
    candidate = dense(text + "y = Relu(p) z = Relu(q)", outputs, w=W * factor, b=B * factor)
    assert verdict(reference, candidate) == (True, "")


def test_our_own_fold_into_a_head_of_zeros() -> None:
    text = """n = BatchNormalization(h, s, b, m, q) r = Gemm(n, z, c) y = Tanh(r)"""
    rows = {"s": weights(3, 4), "m": weights(4, 4), "q": weights(5, 4) ** 2, "c": weights(6, 5)}
    more = ", float[4] s, float[4] m, float[4] q, float[4, 5] z, float[5] c"
    reference = dense(text, more=more, z=np.zeros((4, 5), np.float32), **rows)
    folded, plan = fold(side(reference).model)
    assert plan.changes
    assert compare(side(reference), Side(folded), VerifyOptions(samples=1))


def test_a_tie_is_decided_alike() -> None:
    text = "k = Constant<value = float {0.5}>() t = OPERATOR(h, k) y = Cast<to = 1>(t)"
    one, other = (
        dense(text.replace("OPERATOR", op), "float[N, 4] y") for op in ("Greater", "GreaterOrEqual")
    )
    passed, reason = verdict(one, other)
    assert not passed
    assert "a tie is decided in another way" in reason
    written_otherwise = dense(
        "k = Constant<value = float {0.5}>() o = LessOrEqual(h, k) t = Not(o) y = Cast<to = 1>(t)",
        "float[N, 4] y",
    )
    assert verdict(one, written_otherwise)[0]


@pytest.mark.parametrize("guard", ["i = Mod(x, k)", "z = Constant<value = int64 {0}>() i = Clip(x, z, m)"])
def test_what_guards_an_index_is_no_identity(guard: str) -> None:
    def table(guard: str) -> ModelProto:
        text = f"""{HEAD} g (int64[N] x) => (float[N, 4] y) <float[6, 4] w, int64 k = {{6}}, int64 m = {{5}}>
            {{ {guard} y = Gather(w, i) }}"""
        return proto(text, w=W)

    assert verdict(table(guard), table(guard))[0]
    assert not verdict(table(guard), table("i = Identity(x)"))[0]


def test_a_relu_may_be_the_zero_point_of_what_quantises() -> None:
    text = """s = Constant<value = float {0.02}>() z = Constant<value = uint8 {0}>() BEFORE
        q = QuantizeLinear(r, s, z) d = DequantizeLinear(q, s, z) y = MatMul(d, v)"""
    reference = dense(text.replace("BEFORE", "r = Relu(h)"))
    assert verdict(reference, dense(text.replace("BEFORE", "").replace("(r,", "(h,")))[0]
    assert not verdict(reference, dense(text.replace("BEFORE", "r = Abs(h)")))[0]


def test_branches_inside_functions_are_no_less_judged() -> None:
    def called(factor: float) -> ModelProto:
        return proto(
            """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
            g (float[N, 6] x) => (float[N, 6] y) { y = own.f(x) }
            <domain: "own", opset_import: ["" : 17]> f (x) => (y) {
              k = Constant<value = float {1e9}>() m = ReduceMax<keepdims = 0>(x) c = Greater(m, k)
              y = If(c)<then_branch = t () => (a) { s = Constant<value = float {FACTOR}>() a = Mul(x, s) },
                        else_branch = e () => (b) { b = Relu(x) }> }""".replace("FACTOR", str(factor))
        )

    def inlined(factor: float) -> ModelProto:
        return proto(
            f"""{HEAD} g (float[N, 6] x) => (float[N, 6] y) {{
              k = Constant<value = float {{1e9}}>() m = ReduceMax<keepdims = 0>(x) c = Greater(m, k)
              y = If(c)<then_branch = t () => (float[N, 6] a) {{
                  s = Constant<value = float {{{factor}}}>() a = Mul(x, s) }},
                else_branch = e () => (float[N, 6] b) {{ b = Relu(x) }}> }}"""
        )

    assert verdict(called(2.0), called(2.0))[0]
    assert not verdict(called(2.0), called(3.0))[0]
    assert verdict(called(2.0), inlined(2.0))[0]
    assert not verdict(called(2.0), inlined(3.0))[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "k = Constant<value = float {3.0}>() y = Div(h, k)",
            "k = Constant<value = float {0.33333334}>() y = Mul(h, k)",
        ),
        ("y = HardSwish(h)", "s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(h) y = Mul(h, s)"),
    ],
)
def test_scalars_and_attributes_are_rounded_once_like_any_weight(one: str, other: str) -> None:
    outputs = "float[N, 4] y"
    assert verdict(dense(one, outputs), dense(other, outputs))[0]
    assert verdict(dense(other, outputs), dense(one, outputs))[0]
    wrong = other.replace("0.33333334", "0.3333").replace("0.16666667", "0.1666")
    assert not verdict(dense(one, outputs), dense(wrong, outputs))[0]


def test_an_identity_in_front_of_an_output_that_others_read() -> None:
    outputs, inner = "float[N, 4] y, float[N, 4] z", "k = Constant<value = float {0.5}>() "
    one = dense(inner + "t = Greater(h, k) y = Cast<to = 1>(t) z = Mul(y, h)", outputs)
    other = dense(inner + "t = Greater(h, k) u = Cast<to = 1>(t) y = Identity(u) z = Mul(u, h)", outputs)
    assert verdict(one, other)[0]
    assert verdict(other, one)[0]


def test_a_size_that_another_name_stands_for_is_judged_as_what_it_is() -> None:
    """A shape holds another number of columns, and behind it stand floats, which it is none of."""
    text = "r = Relu(h) s = Shape(r) c = Reshape(r, s) y = MatMul(c, v)"
    empty = np.where(np.arange(4) < 3, 1, 0).astype(np.float32)
    reference = dense(text, w=W * empty, b=B * empty)
    candidate = proto(
        f"{HEAD} g (float[N, 6] x) => (float[N, 5] y) <float[6, 3] w, float[3] b, float[3, 5] v>"
        f"{{ h = Gemm(x, w, b) {text} }}",
        w=W[:, :3],
        b=B[:3],
        v=V[:3],
    )
    assert verdict(reference, candidate) == (True, "")


def test_a_slope_behind_weights_that_round_coarsely_is_a_difference() -> None:
    """From the input on, rounding the convolution's weights to half explains more than the slope changes."""
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float16[2, 3, 12, 12] x) => (float16[2, 8] y)
        <float16[8, 3, 3, 3] w, float16[8] b, float16[8] s, float16[8] t, float16[8] m, float16[8] v> {
        c = Conv(x, w, b) n = BatchNormalization(c, s, t, m, v) a = LeakyRelu<alpha = SLOPE>(n)
        p = GlobalAveragePool(a) y = Flatten(p) }"""
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((8, 3, 3, 3)) / 4,
        "v": random.random(8) + 0.5,
        **{name: random.standard_normal(8) for name in "bstm"},
    }

    def model(slope: str, folded: bool) -> ModelProto:
        made = onnx.parser.parse_model(text.replace("SLOPE", slope))
        held = dict(weights)
        if folded:
            made.graph.node.remove(made.graph.node[1])
            made.graph.node[0].output[0] = "n"
            scale = held["s"].astype(np.float16) / np.sqrt(held["v"].astype(np.float16).astype(float) + 1e-5)
            held["b"] = held["t"] + (held["b"] - held["m"]) * scale
            held["w"] = held["w"].astype(np.float16) * scale[:, None, None, None]
        names = [value.name for value in made.graph.value_info if not folded or value.name in "wb"]
        del made.graph.value_info[:]
        made.graph.initializer.extend(
            numpy_helper.from_array(held[name].astype(np.float16), name) for name in names
        )
        return made

    assert verdict(model("0.01", False), model("0.01", True))[0]
    passed, reason = verdict(model("0.01", False), model("0.0101", True))
    assert not passed
    assert reason.startswith("a:"), reason
