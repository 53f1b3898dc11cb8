"""Sizes for free dims, solved from the graph, and a second set in which a candidate shows what it has baked
in."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bnfold.errors import Unsupported
from bnfold.ir.graph import ir
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.inputs.samples import inputs_of
from bnfold.verifying.inputs.sizes import Choice, Search

from ..sides import proto, side

HEAD = '<ir_version: 9, opset_import: ["" : 17]> '


def search(text: str, **asked: tuple[int, ...]) -> Search:
    model = ir.from_proto(proto(HEAD + text))
    return Search(model, inputs_of(model), asked)


def both(text: str, **asked: tuple[int, ...]) -> tuple[Choice, Choice | None]:
    found = search(text, **asked)
    first = next(found.first())
    assert first.outcome.contradiction is None
    return first, found.second(first)


def dense(rows: int, conv: str = "", pool: str = "") -> str:
    return f"""g (float[N, 3, H, W] x) => (float[N, 5] y) <float[4, 3, 3, 3] w, float[{rows}, 5] k> {{
        c = Conv {conv} (x, w) {f"p = MaxPool {pool} (c)" if pool else "p = Identity(c)"}
        f = Flatten(p) y = Gemm(f, k)
    }}"""


@pytest.mark.parametrize(
    "text",
    [
        dense(4 * 7 * 7),
        dense(4 * 5 * 7),
        dense(4 * 25, "<strides = [2, 2]>"),
        dense(4 * 64, "", "<kernel_shape = [2, 2], strides = [2, 2]>"),
        dense(4 * 3 * 11, "<strides = [2, 2], pads = [1, 1, 1, 1]>"),
    ],
)
def test_a_dense_layer_fixes_height_times_width(text: str) -> None:
    first, second = both(text)
    assert second is not None
    assert second.outcome.contradiction is None
    assert first.shapes["x"][0] != second.shapes["x"][0]
    assert compare(side(HEAD + text), side(HEAD + text), VerifyOptions(samples=1))


DECODER = """g (int64[batch, seq] ids, float[batch, past_seq, 4] past, float[batch, %s] mask) => (float[batch, 4] y)
<float[12, 4] E, float[%d, 4] P> {
    one = Constant <value_int = 1> () a1 = Constant <value_ints = [1]> ()
    e = Gather(E, ids)
    ps = Shape(past) pn = Gather(ps, one) is = Shape(ids) sn = Gather(is, one) tn = Add(pn, sn)
    at = Range(pn, tn, one) pe = Gather(P, at) x = Add(e, pe)
    all = Concat <axis = 1> (past, x)
    m = Unsqueeze(mask, a1) s = MatMul(m, all) y = Squeeze(s, a1)
}"""


@pytest.mark.parametrize("name", ['"past_seq + seq"', "total_seq_len"])
@pytest.mark.parametrize("table", [6, 8, 512])
def test_lengths_of_past_and_present_fit(name: str, table: int) -> None:
    try:
        onnx.parser.parse_model(DECODER % (name, table))
    except onnx.parser.ParseError:
        pytest.skip("this onnx parses no size with a name in quotes")
    first, second = both(DECODER % (name, table))
    assert second is not None
    for choice in (first, second):
        seq, past, mask = (choice.shapes[n][1] for n in ("ids", "past", "mask"))
        assert mask == past + seq <= table
    assert first.shapes["ids"] != second.shapes["ids"]


@pytest.mark.parametrize("axis", [2, 3])
def test_no_value_inside_is_empty(axis: int) -> None:
    """A crop that leaves nothing of the usual size."""
    text = """g (float[N, 3, H, W] x) => (float[N, 3, A, B] y) {
        from = Constant <value_ints = [70]> () to = Constant <value_ints = [9999]> ()
        axis = Constant <value_ints = [%d]> () c = Slice(x, from, to, axis) y = Softmax <axis = 1> (c)
    }"""
    for choice in both(text % axis):
        assert choice is not None
        assert not choice.outcome.blind
        assert choice.shapes["x"][axis] > 70


def test_what_is_empty_at_any_size_is_no_reason() -> None:
    text = """g (float[N, 3] x) => (float[0, 3] y) {
        z = Constant <value_ints = [0]> () a = Constant <value_ints = [0]> () y = Slice(x, z, z, a) }"""
    first, _ = both(text)
    assert first.shapes == {"x": (2, 3)}


@pytest.mark.parametrize(
    ("node", "rank"),
    [("y = Conv(x, w)", 4), ("y = Gemm(x, k)", 2), ("y = Transpose <perm = [2, 0, 1]> (x)", 3)],
)
def test_an_input_of_unknown_rank(node: str, rank: int) -> None:
    model = proto(f"{HEAD} g (float x) => (float y) <float[4, 7, 1, 1] w, float[6, 5] k> {{ {node} }}")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    read = ir.from_proto(model)
    first = next(Search(read, inputs_of(read), {}).first())
    assert len(first.shapes["x"]) == rank
    assert compare(side(model), side(model), VerifyOptions(samples=1))


def test_a_dim_of_minus_one_is_free() -> None:
    model = proto(HEAD + "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Relu(x) }")
    for axis in (0, 2):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = -1
    read = ir.from_proto(model)
    assert next(Search(read, inputs_of(read), {}).first()).shapes == {"x": (2, 3, 32, 8)}


def test_the_second_sizes_differ_everywhere() -> None:
    first, second = both("g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu(x) }")
    assert second is not None
    assert all(
        a != b for k, (a, b) in enumerate(zip(first.shapes["x"], second.shapes["x"], strict=True)) if k != 1
    )
    assert second.shapes["x"][2] != second.shapes["x"][3]


def test_fixed_dims_have_no_second_size() -> None:
    found = search("g (float[1, 3] x) => (float[1, 3] y) { y = Relu(x) }")
    assert not found.free
    assert found.second(next(found.first())) is None
    assert not search("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }", x=(4, 3)).free


def test_a_deep_model_is_searched_in_seconds() -> None:
    """2,000 nodes whose dense layer wants 9 by 13."""
    nodes = [helper.make_node("Conv", [f"t{k}", "w"], [f"t{k + 1}"], pads=[1] * 4) for k in range(1000)]
    nodes = [n for k, c in enumerate(nodes) for n in (c, helper.make_node("Relu", [f"t{k + 1}"], [f"r{k}"]))]
    nodes += [helper.make_node("Flatten", ["t1000"], ["f"]), helper.make_node("Gemm", ["f", "k"], ["y"])]
    weights = {"w": np.zeros((2, 2, 3, 3), np.float32), "k": np.zeros((2 * 9 * 13, 3), np.float32)}
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("t0", 1, ["N", 2, "H", "W"])],
        [helper.make_tensor_value_info("y", 1, ["N", 3])],
        [numpy_helper.from_array(v, n) for n, v in weights.items()],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    started = time.perf_counter()
    first = next(Search(model, inputs_of(model), {}).first())
    assert first.outcome.contradiction is None
    assert time.perf_counter() - started < 30


# -- verification at both sizes


def baked(node: str, constants: str, sides: str = "H, W") -> onnx.ModelProto:
    return proto(f"{HEAD} g (float[N, 3, {sides}] x) => (float y) {{ {constants} {node} }}")


FREE = baked("y = Reshape(x, s)", "s = Constant <value_ints = [0, 3, -1]> ()")


def test_a_batch_that_is_baked_in_is_found() -> None:
    free, fixed = (
        baked("y = Reshape(x, s)", f"s = Constant <value_ints = [{batch}, 3, -1]> ()", "32, 32")
        for batch in (0, 2)
    )
    found = compare(side(free), side(fixed), VerifyOptions())
    assert not found
    assert "'y' is of shape (2, 3, 1536) at x: 3x3x32x32, the reference's of (3, 3, 1024)" in found.reason
    assert compare(side(FREE), side(FREE), VerifyOptions())


def test_a_candidate_that_fails_at_the_second_sizes_is_found() -> None:
    fixed = baked("y = Reshape(x, s)", "s = Constant <value_ints = [2, 3, 1024]> ()")
    found = compare(side(FREE), side(fixed), VerifyOptions())
    assert not found
    assert "cannot be run where the reference can at x: 3x3x97x65" in found.reason


ODD = {
    "a padding": (
        'y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)',
        "y = Conv <pads = [0, 0, 1, 1], strides = [2, 2]> (x, w)",
    ),
    "a window that hangs over": (
        "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)",
        "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_holds_at_even_sizes_alone_is_found(name: str) -> None:
    text = f"{HEAD} g (float[N, 3, H, W] x) => (float y) <float[4, 3, 3, 3] w> {{ %s }}"
    free, even = (proto(text % node) for node in ODD[name])
    assert not compare(side(free), side(even), VerifyOptions())


def test_both_sizes_stand_in_the_notes() -> None:
    found = compare(side(FREE), side(FREE), VerifyOptions())
    assert any(
        "N of 'x' = 2" in note and "sample 3 is of other sizes: N of 'x' = 3" in note for note in found.notes
    )


def test_where_no_sizes_fit_the_way_out_is_a_line_to_type() -> None:
    text = """g (float[N, 3, H, W] x, float[M] m) => (float[N, 5] y) <float[7, 5] k, float[11, 5] l> {
        f = Flatten(x) p = Gemm(f, k) q = Gemm(f, l) y = Add(p, q) }"""
    with pytest.raises(Unsupported) as error:
        compare(side(HEAD + text), side(HEAD + text), VerifyOptions())
    assert "--input-shape x:N,3,H,W --input-shape m:M" in str(error.value)


@pytest.mark.parametrize("shape", ["[-1, 5, 7]", "[0, -1, 11]"])
def test_a_size_that_a_reshape_divides(shape: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, T] x) => (float y) {{
        s = Constant<value_ints = {shape}>() y = Reshape(x, s) }}"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    choice = next(Search(model, inputs_of(model), {}).first())
    assert choice.outcome.contradiction is None


def test_other_sizes_of_a_volume_are_no_eight_times_as_many() -> None:
    text = (
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 1, D, H, W] x) => (float y) { y = Relu(x) }"""
    )
    model = ir.from_proto(onnx.parser.parse_model(text))
    search = Search(model, inputs_of(model), {})
    first = next(search.first())
    second = search.second(first)
    assert second is not None
    assert all(a != b for a, b in zip(first.sizes.values(), second.sizes.values(), strict=True))
    assert np.prod(second.shapes["x"]) < 4 * np.prod(first.shapes["x"])
