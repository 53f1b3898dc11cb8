"""Shapes at concrete sizes, without weights: what contradicts, and what holds nothing."""

from __future__ import annotations

import pytest

from bnfold.ir.graph import ir, label
from bnfold.verifying.inputs.dry_run import DryRun, Outcome

from ..sides import proto


def dry(text: str, sizes: dict[str, int] | None = None, **shapes: tuple[int, ...]) -> Outcome:
    model = proto(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    return DryRun(ir.from_proto(model))(shapes, sizes or {})


DENSE = """g (float[N, 1, H, W] x) => (float[N, 5] y) <float[4, 1, 3, 3] w, float[144, 5] k> {
    c = Conv <strides = [2, 2]> (x, w)
    f = Flatten(c)
    [dense] y = Gemm(f, k)
}"""


def test_the_two_sizes_that_differ_are_named() -> None:
    found = dry(DENSE, x=(2, 1, 32, 32)).contradiction
    assert found is not None
    assert label(found.node) == "dense"
    assert found.sizes == (900, 144)
    assert str(found) == "dense: Gemm: sizes 900 and 144 have to be the same"


def test_sizes_that_fit_contradict_nothing() -> None:
    outcome = dry(DENSE, x=(2, 1, 13, 13))
    assert outcome.contradiction is None
    assert not outcome.blind
    assert {v.name: shape for v, shape in outcome.shapes.items()}["f"] == (2, 144)


def test_a_later_contradiction_is_further() -> None:
    assert dry(DENSE, x=(2, 2, 32, 32)).reached < dry(DENSE, x=(2, 1, 32, 32)).reached


def test_what_is_computed_of_shapes_is_known() -> None:
    """An enlargement to the size of another value, and positions that leave their table."""
    text = """g (float[N, T] x) => (float[M, 4] y) <float[8, 4] table> {
        i = Constant <value_int = 1> ()
        z = Constant <value_int = 0> ()
        s = Shape(x)
        t = Gather(s, i)
        p = Range(z, t, i)
        [look] y = Gather(table, p)
    }"""
    assert dry(text, x=(2, 8)).contradiction is None
    found = dry(text, x=(2, 9)).contradiction
    assert found is not None
    assert "an index of 8 into 8 entries" in str(found)


@pytest.mark.parametrize(
    ("node", "blind"),
    [
        ("y = Relu(c)", []),
        ("y = Softmax <axis = 1> (c)", []),
        ("y = Softmax <axis = 2> (c)", ["y"]),
        ("y = InstanceNormalization(c, s, b)", ["y"]),
    ],
)
def test_what_holds_nothing_is_listed(node: str, blind: list[str]) -> None:
    text = "g (float[N, 4, H, W] c) => (float[N, 4, A, B] y) <float[4] s, float[4] b> { %s }"
    shape = (1, 4, 1, 1) if "Inst" in node else (1, 4, 1, 2)
    assert dry(text % node, c=shape).blind == blind


def test_a_window_that_does_not_fit_is_a_contradiction() -> None:
    text = "g (float[N, 1, H, W] x) => (float[N, 1, A, B] y) { y = AveragePool <kernel_shape = [7, 7]> (x) }"
    assert "a window of 7 does not fit an axis of 4" in str(dry(text, x=(1, 1, 4, 4)).contradiction)


BRANCHES = """g (float[N] x, bool c) => (float[M] y) {
    y = If (c) <
        then_branch = a () => (float[M] p) { p = Concat <axis = 0> (x, x) },
        else_branch = b () => (float[M] q) { q = Concat <axis = 0> (x, x) }
    >
}"""


def test_branches_that_agree_give_a_shape() -> None:
    outcome = dry(BRANCHES, x=(3,), c=())
    assert {v.name: shape for v, shape in outcome.shapes.items()}["y"] == (6,)


def test_a_function_is_walked() -> None:
    model = proto(
        """<ir_version: 9, opset_import: ["" : 17, "own" : 1]>
        g (float[N, K] x) => (float[N, 5] y) <float[6, 5] w> { y = own.Dense(x, w) }
        <domain: "own", opset_import: ["" : 17]> Dense (a, b) => (c) { c = MatMul(a, b) }"""
    )
    run = DryRun(ir.from_proto(model))
    assert run({"x": (2, 6)}, {}).contradiction is None
    found = run({"x": (2, 8)}, {}).contradiction
    assert found is not None
    assert found.sizes == (8, 6)


def test_where_rules_are_silent_onnx_is_asked() -> None:
    text = (
        "g (float[N, T] x) => (float[N, K] v, int64[N, K] i) { k = Constant <value_ints = [3]> () v, i "
        "= TopK(x, k) }"
    )
    outcome = dry(text, x=(2, 9))
    assert {v.name: shape for v, shape in outcome.shapes.items()}["v"] == (2, 3)
