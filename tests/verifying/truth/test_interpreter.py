"""The float64 interpreter as a machine: bodies, functions, lifetimes, storage types, batch norms of every
opset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from bnfold.ir.graph import ir
from bnfold.verifying.truth.interpreter import CannotEvaluate, Interpreter, last_reads
from bnfold.verifying.truth.number_formats import Rounding, rounding

from ..sides import proto

X = np.random.default_rng(0).standard_normal((2, 4, 3, 3)).astype(np.float32)
P = {
    name: np.random.default_rng(i).uniform(0.5, 2, 4).astype(np.float32)
    for i, name in enumerate(("scale", "bias", "mean", "var"))
}


def run(text: str, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    return Interpreter(ir.from_proto(proto(text))).run(feeds)


def norm(
    opset: int, outputs: int = 1, shape: tuple[int, ...] | None = None, **attributes: Any
) -> list[np.ndarray]:
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node("BatchNormalization", ["x", *P], names, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, X.shape)]
        + [helper.make_tensor_value_info(n, 1, shape or (4,)) for n in P],
        [helper.make_tensor_value_info(n, 1, None) for n in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    parameters = {n: np.resize(v, shape) if shape else v for n, v in P.items()}
    found = Interpreter(ir.from_proto(model)).run({"x": X, **parameters})
    return [found[name] for name in names]


def c(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).reshape(-1, 1, 1)


TESTED = (X - c(P["mean"])) / np.sqrt(c(P["var"]) + np.float64(np.float32(1e-5))) * c(P["scale"]) + c(
    P["bias"]
)
MEAN, VAR = X.astype(np.float64).mean(axis=(0, 2, 3)), X.astype(np.float64).var(axis=(0, 2, 3))
TRAINED = (X - c(MEAN)) / np.sqrt(c(VAR) + np.float64(np.float32(1e-5))) * c(P["scale"]) + c(P["bias"])


@pytest.mark.parametrize(
    ("opset", "attributes"),
    [
        (1, {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}),
        (6, {"is_test": 1}),
        (7, {}),
        (8, {}),
        (9, {}),
        (13, {}),
        (14, {}),
        (15, {}),
        (22, {"training_mode": 0}),
    ],
)
def test_batch_norm_in_inference(opset: int, attributes: dict[str, Any]) -> None:
    np.testing.assert_allclose(norm(opset, **attributes)[0], TESTED, rtol=1e-12)


@pytest.mark.parametrize(
    ("opset", "outputs", "attributes"), [(6, 1, {}), (9, 5, {}), (15, 3, {"training_mode": 1})]
)
def test_batch_norm_in_training(opset: int, outputs: int, attributes: dict[str, Any]) -> None:
    found = norm(opset, outputs, **attributes)
    np.testing.assert_allclose(found[0], TRAINED, rtol=1e-10)
    if outputs > 1:
        np.testing.assert_allclose(
            found[1],
            P["mean"] * np.float64(np.float32(0.9)) + MEAN * (1 - np.float64(np.float32(0.9))),
            rtol=1e-10,
        )


def test_batch_norm_per_activation() -> None:
    found = norm(7, shape=(4, 3, 3), spatial=0)[0]
    p = {n: np.resize(v, (1, 4, 3, 3)).astype(np.float64) for n, v in P.items()}
    wanted = (X - p["mean"]) / np.sqrt(p["var"] + np.float64(np.float32(1e-5))) * p["scale"] + p["bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_floats_of_every_type_are_double() -> None:
    text = '<ir_version: 9, opset_import: ["" : 17]> g (float16[2] x) => (float16[2] y) { y = Add(x, x) }'
    x = np.array([1.0005, 3], np.float16)
    found = run(text, x=x)["y"]
    assert found.dtype == np.float64
    assert np.array_equal(found, x.astype(np.float64) * 2)


def test_casts_to_floats_do_not_round_and_casts_to_integers_do() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]> g (double[2] x) => (float16[2] y, int32[2] z)
              { y = Cast<to = 10>(x)
                z = Cast<to = 6>(x) }"""
    found = run(text, x=np.array([1.0001, -2.7]))
    assert np.array_equal(found["y"], [1.0001, -2.7])
    assert found["z"].dtype == np.int32
    assert found["z"].tolist() == [1, -2]


def test_bodies_see_the_values_around_them() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]> g (float[2] x, bool c) => (float[2] y) {
        k = Add(x, x)
        y = If(c) <then_branch = t () => (float[2] a) { a = Mul(k, x) }, else_branch = e () => (float[2] b) { b = Neg(k) }>
    }"""
    x = np.array([1, 2], np.float32)
    assert run(text, x=x, c=np.array(True))["y"].tolist() == [2, 8]
    assert run(text, x=x, c=np.array(False))["y"].tolist() == [-2, -4]


def test_loops_carry_and_collect() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]> g (float[2] x, int64 n, bool c) => (float[2] last, float[m, 2] all) {
        last, all = Loop(n, c, x) <body = b (int64 i, bool going, float[2] s) => (bool on, float[2] t, float[2] kept)
            { on = Identity(going)
              t = Add(s, x)
              kept = Identity(t) }>
    }"""
    found = run(text, x=np.array([1, 2], np.float32), n=np.array(3, np.int64), c=np.array(True))
    assert found["last"].tolist() == [4, 8]
    assert found["all"].tolist() == [[2, 4], [3, 6], [4, 8]]


def test_functions_get_their_attributes_from_the_call() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "local" : 1]> g (float[2] x) => (float[2] y) { y = local.leaky<slope = 0.5>(x) }
        <domain: "local", opset_import: ["" : 17]> leaky<slope>(a) => (b) { b = LeakyRelu<alpha: float = @slope>(a) }"""
    assert run(text, x=np.array([-2, 2], np.float32))["y"].tolist() == [-1, 2]


def test_an_input_with_an_initializer_takes_it_unless_it_is_fed() -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1] x, float[1] k = {3}) => (float[1] y) { y '
        "= Mul(x, k) }"
    )
    one = np.ones(1, np.float32)
    assert run(text, x=one)["y"].tolist() == [3]
    assert run(text, x=one, k=one * 5)["y"].tolist() == [5]


def test_old_operators_broadcast_from_an_axis() -> None:
    text = """<ir_version: 3, opset_import: ["" : 6]> g (float[1, 2, 2] x, float[2] k) => (float[1, 2, 2] y)
              { y = Add<broadcast = 1, axis = 1>(x, k) }"""
    assert run(text, x=np.zeros((1, 2, 2), np.float32), k=np.array([1, 2], np.float32))["y"].tolist() == [
        [[1, 1], [2, 2]]
    ]


def test_values_live_until_their_last_reader() -> None:
    model = ir.from_proto(
        proto("""<ir_version: 9, opset_import: ["" : 17]> g (float[2] x, bool c) => (float[2] y) {
        a = Neg(x)
        b = Exp(a)
        d = If(c) <then_branch = t () => (float[2] p) { p = Identity(a) }, else_branch = e () => (float[2] q) { q = Identity(b) }>
        y = Abs(d) }""")
    )
    dead = {node.op_type: {v.name for v in values} for node, values in last_reads(model.graph).items()}
    assert dead == {"Neg": set(), "Exp": set(), "If": {"a", "b"}, "Abs": {"d"}}


def test_rounding_stands_in_for_an_engine() -> None:
    model = ir.from_proto(
        proto('<ir_version: 9, opset_import: ["" : 17]> g (float[999] x) => (float[999] y) { y = Exp(x) }')
    )
    x = np.random.default_rng(0).standard_normal(999).astype(np.float32)
    exact, rounded = Interpreter(model).run({"x": x})["y"], Interpreter(model, Rounding()).run({"x": x})["y"]
    off = np.abs(rounded / exact - 1)
    assert 0 < off.max() <= rounding(ir.DataType.FLOAT)
    assert np.array_equal(rounded, np.exp(x.astype(np.float64)).astype(np.float32).astype(np.float64))


def test_double_has_a_random_last_bit() -> None:
    model = ir.from_proto(
        proto('<ir_version: 9, opset_import: ["" : 17]> g (double[999] x) => (double[999] y) { y = Neg(x) }')
    )
    x = np.random.default_rng(0).standard_normal(999)
    off = Interpreter(model, Rounding(1)).run({"x": x})["y"] / -x - 1
    assert 0 < np.abs(off).max() <= 4 * rounding(ir.DataType.DOUBLE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '<ir_version: 9, opset_import: ["" : 17, "odd" : 1]> g (float[2] x) => (float[2] y) { '
            "y = odd.Thing(x) }",
            "no implementation is known",
        ),
        (
            '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[3] y) { y = '
            "Reshape<allowzero = 0>(x, x) }",
            "Reshape",
        ),
        (
            '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x, float[2] z) => (float[2] y) { '
            "y = Add(x, z) }",
            "no feed",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(CannotEvaluate, match=said):
        run(text, x=np.ones(2, np.float32))


def test_half_constants_are_widened() -> None:
    node = helper.make_node(
        "Constant", [], ["k"], value=helper.make_tensor("k", TensorProto.BFLOAT16, [2], [1.5, -3])
    )
    graph = helper.make_graph(
        [node, helper.make_node("Add", ["x", "k"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 16, [2])],
        [helper.make_tensor_value_info("y", 16, [2])],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert Interpreter(model).run({"x": np.zeros(2, np.float32)})["y"].tolist() == [1.5, -3]


M = 10**6


@pytest.mark.parametrize(
    ("node", "sizes"),
    [
        ("y = ConstantOfShape(n)", [M, M]),
        ("y = Expand(x, n)", [M, M, 2, 2]),
        ("y = Tile(x, n)", [M, M]),
        ("y = Pad(x, n)", [M] * 4),
        ("y = Resize(x, , , n)", [M, M]),
    ],
)
def test_a_size_that_no_machine_holds_is_not_allocated(node: str, sizes: list[int]) -> None:
    text = (
        f'<ir_version: 9, opset_import: ["" : 17]> g (float[2, 2] x, int64[K] n) => (float[A, B] y) {{ '
        f"{node} }}"
    )
    with pytest.raises(CannotEvaluate, match="elements"):
        run(text, x=np.ones((2, 2), np.float32), n=np.array(sizes, np.int64))


def test_limits_of_suppression_may_be_scalars() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,5,4] b, float[1,1,5] s, int64 m, float t, float l)
        => (int64[D,3] y) { y = NonMaxSuppression(b, s, m, t, l) }"""
    boxes = np.random.default_rng(0).random((1, 5, 4)).astype(np.float32)
    scores = np.random.default_rng(1).random((1, 1, 5)).astype(np.float32)
    limits = {"m": np.array(3), "t": np.float32(0.5), "l": np.float32(0.1)}
    found = run(text, b=boxes, s=scores, **limits)["y"]
    assert found.shape[1] == 3
    assert len(found) == 3
