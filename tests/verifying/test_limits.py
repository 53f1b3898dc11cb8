"""What onnxruntime cannot run, what nobody knows, what is random or jumps: verified as far as it can be, and
said so."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

from bnfold.results.comparison import Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from .sides import proto, side

OPTIONS = VerifyOptions()
LINE = '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }'


def old(fault: float = 0.0) -> tuple[Side, Side]:
    """A batch norm of opset 6 behind a convolution; folded, with a share of the bias left out."""
    random = np.random.default_rng(0)
    w, v = random.standard_normal((4, 3, 3, 3)).astype(np.float32), np.full(4, 0.5, np.float32)
    s = 1 / np.sqrt(v.astype(np.float64) + float(np.float32(1e-5)))
    inputs, outputs = (
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    plain = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("BatchNormalization", ["c", "one", "v", "one", "v"], ["y"], is_test=1),
        ],
        "g",
        inputs,
        outputs,
        [numpy_helper.from_array(a, n) for n, a in (("w", w), ("v", v), ("one", np.ones(4, np.float32)))],
    )
    folded = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "g",
        inputs,
        outputs,
        [
            numpy_helper.from_array((w * s.reshape(-1, 1, 1, 1)).astype(np.float32), "w"),
            numpy_helper.from_array((0.5 * (1 - fault) - s).astype(np.float32), "b"),
        ],
    )
    opsets = [helper.make_opsetid("", 6)]
    for graph in (plain, folded):
        graph.input.extend(helper.make_tensor_value_info(t.name, 1, t.dims) for t in graph.initializer)
    made = [helper.make_model(graph, opset_imports=opsets, ir_version=3) for graph in (plain, folded)]
    return side(made[0]), side(made[1])


def test_old_batch_norms_are_verified_by_the_interpreter() -> None:
    found = compare(*old(), OPTIONS)
    assert found, found.reason
    assert found.providers[0].engine == "float64"
    assert any("onnxruntime cannot run" in note for note in found.notes)
    assert not compare(*old(0.01), OPTIONS)


def unknown(offset: float = 0.0) -> str:
    return f"""<ir_version: 9, opset_import: ["" : 17, "odd" : 1]> g (float[1, 4] x) => (float[1, 4] y)
        <float[1, 4] k = {{1, 2, 3, {4 + offset}}}> {{
        a = Mul(x, k)
        b = odd.Thing(a)
        y = Mul(b, k) }}"""


def test_an_unknown_operator_cuts_the_graph() -> None:
    found = compare(side(unknown()), side(unknown()), OPTIONS)
    assert found, found.reason
    assert any("odd::Thing" in note for note in found.notes)
    assert not compare(side(unknown()), side(unknown(1e-3)), OPTIONS)


def test_random_operators_give_both_models_the_same_numbers() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]> g (float[2, 4] x) => (float[2, 4] y) {
        r = RandomNormalLike(x)
        y = Add(x, r) }"""
    found = compare(side(text), side(text), OPTIONS)
    assert found, found.reason
    assert any("random" in note for note in found.notes)


def test_a_crash_of_onnxruntime_is_avoided() -> None:
    model = proto("""<ir_version: 4, opset_import: ["" : 9]> g (float[1, 4, 5, 5] x) => (float[1, 4, 5, 5] y)
        <float[4] s, float[4] b, float[4] m, float[4] v> { y = BatchNormalization(x, s, b, m, v) }""")
    model.graph.node[0].output.extend(["", "", "", ""])
    found = compare(side(model), side(model), OPTIONS)
    assert found, found.reason
    assert found.providers[0].engine == "float64"


def test_a_candidate_that_cannot_run_is_not_equivalent() -> None:
    good = proto(LINE)
    bad = proto(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y) { y = '
        "Concat<axis = 7>(x, x) }"
    )
    found = compare(side(good), side(bad), OPTIONS)
    assert not found
    assert "cannot be run" in found.reason
    assert not found.providers


def test_a_reference_that_nothing_runs_is_not_equivalent() -> None:
    bad = proto(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y) { y = '
        "Concat<axis = 7>(x, x) }"
    )
    found = compare(side(bad), side(bad), OPTIONS)
    assert not found
    assert "cannot be verified here" in found.reason


ARGMAX = """<ir_version: 9, opset_import: ["" : 17]> g (float[64, 9] x) => (int64[64, 1] y) <float[9, 300] w, float[300, 40] u> {{
    a = MatMul(x, w)
    b = MatMul({a}, u)
    c = Round(b)
    y = ArgMax<axis = 1>(c) }}"""


def test_flips_behind_a_jump_are_ties_where_the_values_that_decide_agree() -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((9, 300)).astype(np.float32),
        "u": random.standard_normal((300, 40)).astype(np.float32),
    }
    one = proto(ARGMAX.format(a="a"), **weights)
    nudged = (weights["u"] * (1 + 6e-8 * random.standard_normal((300, 40)))).astype(np.float32)
    two = proto(ARGMAX.format(a="a"), **{**weights, "u": nudged})
    found = compare(side(one), side(two), VerifyOptions(samples=6))
    assert found, found.reason
    wrong = proto(ARGMAX.format(a="a"), **{**weights, "u": weights["u"][:, ::-1].copy()})
    assert not compare(side(one), side(wrong), OPTIONS)
