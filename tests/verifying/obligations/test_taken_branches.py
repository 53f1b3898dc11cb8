"""An If whose condition is a constant, against the branch that it takes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bnfold.ir.graph import is_op, nodes
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.obligations.taken_branches import without_constant_ifs
from bnfold.verifying.truth.interpreter import Interpreter

from ..sides import proto, side

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
SIGNATURE = "g (float[N, 3, 6, 6] x%s) => (float[N, 3, 6, 6] y)"
WEIGHT = " <float[3, 3, 1, 1] w>"
BRANCHES = """If(c) <
    then_branch = t () => (float[N, 3, 6, 6] o) { o = Conv(x, w) },
    else_branch = e () => (float[N, 3, 6, 6] p) { p = Neg(x) }>"""

CONDITIONS = {
    "a Constant node": "c = Constant<value = bool {1}>()",
    "the rank": "s = Shape(x) k = Size(s) four = Constant<value_int = 4>() c = Equal(k, four)",
    "a size": "s = Shape<start = 1, end = 2>(x) three = Constant<value_ints = [3]>() c = Equal(s, three)",
    "what another If gives": """n = Constant<value = bool {0}>() c = If(n) <
        then_branch = tt () => (bool u) { u = Constant<value = bool {0}>() },
        else_branch = ee () => (bool v) { v = Constant<value = bool {1}>() }>""",
}


def conditional(condition: str, more_inputs: str = "", weights: str = WEIGHT) -> onnx.ModelProto:
    return proto(f"{HEAD} {SIGNATURE % more_inputs}{weights} {{ {condition} a = {BRANCHES} y = Relu(a) }}")


def taken(body: str, more_inputs: str = "") -> onnx.ModelProto:
    return proto(f"{HEAD} {SIGNATURE % more_inputs}{WEIGHT} {{ a = {body} y = Relu(a) }}")


def same(one: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    return compare(side(one), side(other), VerifyOptions()).equivalent


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_the_branch_that_is_taken_may_stand_in_the_place_of_its_if(condition: str) -> None:
    model = conditional(condition)
    found = compare(side(model), side(taken("Conv(x, w)")), VerifyOptions())
    assert found.equivalent, found.reason
    assert found.proof is not None
    assert (found.proof.proved, found.proof.unseen) == (1, 0)
    assert same(taken("Conv(x, w)"), model)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_the_other_branch_may_not(condition: str) -> None:
    assert not same(conditional(condition), taken("Neg(x)"))
    assert not same(taken("Neg(x)"), conditional(condition))


def test_a_weight_of_the_branch_that_is_taken_is_judged() -> None:
    model, other = conditional(CONDITIONS["the rank"]), taken("Conv(x, w)")
    weight = other.graph.initializer[0]
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.001)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, "w"))
    assert not same(model, other)


def test_an_initializer_is_a_constant_where_no_caller_may_override_it() -> None:
    yes = onnx.numpy_helper.from_array(np.array(True), "c")
    fixed = conditional("")
    fixed.graph.initializer.append(yes)
    assert same(fixed, taken("Conv(x, w)"))
    free = conditional("", ", bool c")
    free.graph.initializer.append(yes)
    assert any(is_op(node, "If") for node in nodes(without_constant_ifs(side(free).model)))
    assert not any(is_op(node, "If") for node in nodes(without_constant_ifs(side(free).model, True)))


def test_a_condition_that_is_not_known_takes_no_branch() -> None:
    """The number of images is any; that samples happen to have more than none says nothing."""
    condition = "s = Shape<end = 1>(x) zero = Constant<value_ints = [0]>() c = Greater(s, zero)"
    assert not same(conditional(condition), taken("Conv(x, w)"))


def test_another_constant_takes_another_branch() -> None:
    yes, no = (conditional(f"c = Constant<value = bool {{{k}}}>()") for k in (1, 0))
    assert same(yes, yes)
    assert not same(yes, no)


def test_what_onnxruntime_makes_of_it(tmp_path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = conditional(CONDITIONS["a Constant node"])
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(options.optimized_model_filepath)
    assert "If" not in {node.op_type for node in optimised.graph.node}
    assert same(model, optimised)


BODY = f"""{HEAD} g (float[2] x, int64 n) => (float[2] y, float[2] z) {{
    t = Constant<value = bool {{1}}>()
    y = Loop(n, t, x) <body = b (int64 i, bool go, float[2] s) => (bool on, float[2] e) {{
        on = Identity(go) %s }}>
    z = Relu(y)
}}"""


def test_inside_of_a_body_and_nested() -> None:
    conditional = (
        BODY
        % """e = If(t) <
        then_branch = tb () => (float[2] o) { f = Constant<value = bool {0}>() o = If(f) <
            then_branch = ib () => (float[2] q) { q = Neg(s) },
            else_branch = jb () => (float[2] r) { r = Exp(s) }> },
        else_branch = eb () => (float[2] p) { p = Abs(s) }>"""
    )
    found = without_constant_ifs(side(conditional).model)
    assert sorted(node.op_type for node in nodes(found)) == ["Constant"] * 2 + [
        "Exp",
        "Identity",
        "Loop",
        "Relu",
    ]
    assert same(proto(conditional), proto(BODY % "e = Exp(s)"))
    for wrong in ("Neg", "Abs"):
        assert not same(proto(conditional), proto(BODY % f"e = {wrong}(s)"))


def test_a_branch_may_give_its_own_initializers_and_a_value_twice() -> None:
    model = proto(
        f"""{HEAD} g (float[3] x) => (float[3] y, float[3] z, float[3] v) {{
            c = Constant<value = bool {{1}}>()
            y, z, v, u = If(c) <
                then_branch = t () => (float[3] k, float[3] h, float[3] o, float[3] o) {{ h = Identity(x) o = Add(x, k) }},
                else_branch = e () => (float[3] p, float[3] p, float[3] p, float[3] p) {{ p = Neg(x) }}>
        }}"""
    )
    branch = next(a.g for a in model.graph.node[1].attribute if a.name == "then_branch")
    branch.initializer.append(onnx.numpy_helper.from_array(np.arange(3, dtype=np.float32), "k"))
    found = without_constant_ifs(side(model).model)
    assert not any(is_op(node, "If") for node in nodes(found))
    feeds = {"x": np.array([3, 1, 4], np.float32)}
    before, after = (Interpreter(one).run(feeds) for one in (side(model).model, found))
    assert list(before) == list(after) == ["y", "z", "v"]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.array_equal(after["v"], [3, 2, 6])


def test_a_model_without_such_an_if_is_left_as_it_is() -> None:
    model = side(taken("Conv(x, w)")).model
    assert without_constant_ifs(model) is model
