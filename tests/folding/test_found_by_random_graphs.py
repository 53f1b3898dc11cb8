"""Small cases of what `python -m tests.random_graphs` found, each with what was wrong, or what only seemed
so."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions

from .held import hold

# Leftovers are made one where nothing could be folded; what they then are may go where none of them could.
CARRIED_ON = {
    "two negative scales before a LeakyRelu are a positive one": """<ir_version: 8, opset_import: ["" : 17]>
        g (double[2,3,1,1] x) => (double[2,3,1,1] y)
        <double a = {-0.5}, double b = {-0.3}, double[3,1,1,1] w = {1, 2, 3}> {
        [first] v = Mul(x, a)
        [second] r = Mul(b, v)
        [relu] l = LeakyRelu(r)
        [grown] y = ConvTranspose<group: int = 3>(l, w) }""",
    "a size that only the constant of the merged Mul says": """<ir_version: 8, opset_import: ["" : 13]>
        g (double[4,C] x) => (double[4,4] y)
        <double[4] s = {1, -2, 3, 4}, double[4] o = {0, 0, 0, 0}, double[4] v = {1, 1, 2, 2}> {
        [norm] n = BatchNormalization(x, s, o, o, v)
        [negative] m = Neg(n)
        [nothing] y = Add(m, o) }""",
    "a row that is no batch norm as a whole": """<ir_version: 10, opset_import: ["" : 19]>
        g (double[N,1,4] x) => (double[N,1,4] y)
        <double[1] s = {2}, double[1] t = {-3}, double[1] v = {0.5}, double[4] c = {1, 2, 3, 4}, double k = {0.6}> {
        [first] a = BatchNormalization(x, s, t, t, v)
        [across] b = Sub(a, c)
        [second] n = BatchNormalization(b, s, t, s, v)
        [last] y = Mul(n, k) }""",
    "a constant of zeros that varies along no axis": """<ir_version: 10, opset_import: ["" : 19]>
        g (double[N,1,4] x) => (double[N,1,4] y)
        <double[1] s = {2}, double[1] t = {-3}, double[1] v = {0.5}, double[4] c = {0, 0, 0, 0}, double k = {0.6}> {
        [first] a = BatchNormalization(x, s, t, t, v)
        [nothing] b = Sub(a, c)
        [second] n = BatchNormalization(b, s, t, s, v)
        [last] y = Mul(n, k) }""",
    "a scale whose type nothing but a batch norm says": """<ir_version: 8, opset_import: ["" : 14]>
        g (double[2,4] x) => (double[2,4] y)
        <double[4] s = {1, -2, 3, 4}, double[4] o = {0, 0, 0, 0}, double[4] t = {5, 6, 7, 8}> {
        last, all = Scan <num_scan_inputs: int = 1, body: graph = body (double[4] before, double[4] row)
            => (double[4] after, double[4] made) { after = Tanh(before) made = Relu(row) }>(s, x)
        [first] a = BatchNormalization(all, s, o, o, t)
        [second] b = BatchNormalization(a, t, o, o, t)
        y = Abs(b) }""",
}


@pytest.mark.parametrize("case", CARRIED_ON)
def test_simplified_leftovers_settle_in_one_fold(case):
    proto, options = onnx.parser.parse_model(CARRIED_ON[case]), FoldOptions(simplify_leftovers=True)
    folded, plan = fold(read(proto).model, options)
    assert plan.changes
    assert not fold(read(ir.to_proto(folded)).model, options)[1].changes


@pytest.mark.parametrize(
    ("case", "left"),
    [
        ("a row that is no batch norm as a whole", ["Mul", "Add"]),
        ("a constant of zeros that varies along no axis", ["BatchNormalization"]),
    ],
)
def test_a_row_is_as_short_as_it_can_be(case: str, left: list[str]) -> None:
    """One batch norm where it can hold the map, else a Mul and an Add; the row is not left as it stands."""
    proto = onnx.parser.parse_model(CARRIED_ON[case])
    held = hold(proto, FoldOptions(simplify_leftovers=True))
    assert [node.op_type for node in held.model.graph] == left


def test_leftovers_of_a_type_that_nothing_names_stay_of_that_type():
    """They once became a Mul with a float constant behind what a Scan makes of double values."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 11]>
        g (double[2,4] x) => (double[2,4] y)
        <double[4] s = {1, -2, 3, 4}, double[4] t = {5, 6, 7, 8}, double[4] o = {0, 0, 0, 0}> {
        last, all = Scan <num_scan_inputs: int = 1, body: graph = body (double[4] before, double[4] row)
            => (double[4] after, double[4] made) { after = Tanh(before) made = Neg(row) }>(s, x)
        [first] a = BatchNormalization(all, s, o, o, t)
        [second] b = BatchNormalization(a, t, o, o, t)
        y = Abs(b) }""")
    folded, _ = fold(read(proto).model, FoldOptions(simplify_leftovers=True))
    x = np.linspace(-1, 1, 8).reshape(2, 4)
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            ["y"], {"x": x}
        )
        for m in (proto, ir.to_proto(folded))
    )
    np.testing.assert_allclose(after[0], before[0], rtol=1e-12)


def test_one_entry_is_taken_from_a_row() -> None:
    """A Gather of a scalar from a value of one axis leaves a map of no axes."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[4] x) => (float y) <float[1] s = {2}, int64 one = {1}, float t = {3}>
        { a = Mul(x, s) b = Gather<axis = 0>(a, one) y = Mul(b, t) }""")
    hold(proto)


def test_a_slope_may_enlarge_its_input() -> None:
    """onnxruntime broadcasts both ways: the batch norm has two channels, the second axis of the result."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3, H] x) => (float[1, 2, 3, H] y)
        <float[1, 2, 3, 1] a = {1, 2, 3, 4, 5, 6}, float[2] s = {2, 3}, float[2, 1, 1] m = {2, 3}>
        { p = PRelu(x, a) b = BatchNormalization(p, s, s, s, s) q = PRelu(x, a) c = Mul(q, m) y = Add(b, c) }""")
    plan = fold(read(proto).model)[1]
    assert [k.code for k in plan.kept] == ["kept.shift-does-not-pass", "kept.wrong-axis"]


def test_a_bias_that_is_computed_behind_the_product() -> None:
    """What computes the row stands after the product that becomes a Gemm with it."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        g (float[N, 4] x) => (float[N, 2] y) <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[3, 2] r = {1, 2, 3, 4, 5, 6}>
        { m = MatMul(x, w) n = Neg(m) zero = Constant<value_ints = [0]>() row = ReduceSum<keepdims = 0>(r, zero)
          y = Add(row, n) }""")
    held = hold(proto)
    assert [node.op_type for node in held.model.graph] == ["Gemm"]


@pytest.mark.parametrize(
    ("rows", "data", "folds"), [(1, 6, False), (1, 1, True), (6, 6, True), (6, 1, True), (1, "N", False)]
)
def test_an_einsum_may_repeat_the_one_row_of_its_weight(rows: int, data: int | str, folds: bool) -> None:
    """Sizes of one broadcast, as in numpy: the shift was added once, where it is summed over six entries."""
    numbers = ", ".join(str(k + 1) for k in range(2 * rows))
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[{data}, 1, 5] x) => (float[2, 1, 5] y)
        <float[2, {rows}] w = {{{numbers}}}, float[1] s = {{4}}, float[1] b = {{-0.5}}, float[1] v = {{0.8}}>
        {{ n = BatchNormalization(x, s, b, b, v) y = Einsum<equation = "za,abc->zbc">(w, n) }}""")
    folded, plan = fold(read(proto).model)
    assert bool(plan.folded) == folds
    x = np.random.default_rng(0).normal(size=(6 if data == "N" else data, 1, 5)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )
        for m in (proto, ir.to_proto(folded))
    )
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5)


@pytest.mark.parametrize("scale", ["-1", "0.5"])
def test_two_signs_that_cancel_in_a_product_let_no_map_pass(scale: str) -> None:
    """The map of the Neg comes to nothing in the Mul, where it meets itself. What stands before the Neg is read
    all the same."""
    proto = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (double[N, 2] x) => (double[M, 2] y, double[M] z)
        <double[2] s = {{0.34, 0.98}}, double[2] v = {{0.5, 0.7}}, double[2] w = {{1.5, -2}}, double k = {{{scale}}},
         int64[2] r = {{1, 1}}> {{
        b = BatchNormalization(x, s, s, s, v)
        n = Neg(b) u = Tile(n, r) y = Mul(u, n)
        m = MatMul(b, w) z = Div(m, k) }}""")
    hold(proto)
    folded, _ = fold(read(proto).model)
    assert [node.op_type for node in folded.graph].count("BatchNormalization") == 1


def test_a_slope_of_one_enlarges_nothing() -> None:
    """Whatever the size of the axis is, which the batch norm before it said and the Slice does not."""
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[4, 8, H, W] x) => (float[M, K] y)
        <float[1, 8, 1, 2] w = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}, float[1] s = {-0.2},
         float[1] b = {9}, float[1] m = {0.7}, float[1] v = {0.4}, float[1] u = {0.9}, float[1, 1] a = {0.4},
         float[1] z = {0}, int64[2] axes = {0, 3}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}> {
        c = Conv(x, w)
        r = ReduceMean<keepdims = 0>(c, axes)
        p = Slice(r, zero, two, one, two)
        n = BatchNormalization(p, s, b, m, v)
        q = PRelu(n, a)
        y = BatchNormalization(q, v, z, z, u) }""")
    plan = fold(read(proto).model)[1]
    assert len(plan.folded) == 2, plan.kept


def test_the_type_of_a_formal_input_outlasts_the_argument_that_said_it() -> None:
    """The first fold replaces the argument of the call; what the Neg in the function is of was no longer known."""
    proto = onnx.parser.parse_model("""<ir_version: 11, opset_import: ["" : 23, "local" : 1]>
        g (double[5,N,4] x) => (double[5,N,2] y) <double[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}, double k = {4}> {
        m = MatMul(x, w)
        [before] s = Mul(m, k)
        y = local.F(s) }
        <domain: "local", opset_import: ["" : 23]>
        F (formal) => (made) { twice = Add(formal, formal) [inside] made = Neg(twice) }""")
    folded, plan = fold(read(proto).model)
    assert [f.node for f in plan.folded] == ["before", "inside"]
    assert not fold(read(ir.to_proto(folded)).model)[1].changes
    hold(proto)


def in_onnxruntime(proto: onnx.ModelProto, *outputs: str, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs or None, feeds)


def test_a_convolution_with_a_quantised_weight_is_not_computed_twice() -> None:
    """Both would read one scale: the second could not be folded, and the sign of the weight was turned twice."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 1, 5] x) => (float[N, 2, 5] y, float[N, 2, 5] z)
        <int8[2, 1, 1] q = {7, -9}, float d = {0.5}, float[2] s = {-1, 2}, float[2] v = {3, 4}> {
        w = DequantizeLinear(q, d) c = Conv(x, w)
        y = BatchNormalization(c, s, s, s, v)
        [kept] z = BatchNormalization(y, v, s, s, v) }""")
    folded, plan = fold(read(proto).model, FoldOptions(duplicate_producers=True))
    assert [node.op_type for node in folded.graph] == ["DequantizeLinear", "Conv", "BatchNormalization"]
    assert [(k.node, k.reason) for k in plan.kept] == [("kept", "'y' is also a graph output")]
    x = np.linspace(-1, 1, 10, dtype=np.float32).reshape(2, 1, 5)
    for a, b in zip(in_onnxruntime(proto, x=x), in_onnxruntime(ir.to_proto(folded), x=x), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_the_add_that_is_left_behind_a_quantised_weight_has_the_type_of_its_scale() -> None:
    """It was int8 where nothing else named a type."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[4, 3, 2] x) => (float[1, 2, 3] y)
        <int8[2, 2] q = {53, -4, 5, 6}, float d = {0.5}, float[2] s = {1, 2}, float[1, 2, 2] k = {1, 2, 3, 4}> {
        all, last = RNN<hidden_size = 2>(x, k, k)
        w = DequantizeLinear(q, d) m = Einsum<equation = "abc,cz->azb">(last, w)
        y = BatchNormalization(m, s, s, s, s) }""")
    folded, _ = fold(read(proto).model)
    after = ir.to_proto(folded)
    onnx.checker.check_model(after, full_check=True)
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 3, 2)
    np.testing.assert_allclose(
        in_onnxruntime(after, x=x)[0], in_onnxruntime(proto, x=x)[0], rtol=1e-5, atol=1e-6
    )


TYPED = {
    "of a Loop": """loops, n = Loop<body: graph = body (int64 k, bool c, float[2,4] s) => (bool c2, float[2,4] t, float[4] u)
        { c2 = Identity(c) t = Tanh(s) u = ReduceMean<axes = [0], keepdims = 0>(s) }>(three, , x)
        [here] m = Neg(loops) y = Abs(m) z = Identity(n)""",
    "of an If": """n, z = If<then_branch: graph = a () => (float[2,4] p, float[3,4] q) { p = Tanh(x) q = Expand(x0, rows) },
        else_branch: graph = b () => (float[2,4] p2, float[3,4] q2) { p2 = Abs(x) q2 = Expand(x0, rows) }>(yes)
        [here] m = Neg(n) y = Abs(m)""",
    "of a function that is called in a row": """y0, n0 = local.F(x) y1, n1 = local.F(y0) y2, n = local.F(y1)
        z0 = ReduceMean<axes = [0]>(n) z = Expand(z0, rows) [here] m = Neg(y2) y = Abs(m)""",
    "of a function": "y0, n = local.F(x) z0 = ReduceMean<axes = [0]>(n) z = Expand(z0, rows) [here] m = Neg(y0) y = Abs(m)",
}


@pytest.mark.parametrize("case", TYPED)
def test_the_type_of_what_bodies_and_functions_give_is_known(case: str) -> None:
    """A node that reads it is an affine one, in the first fold as in a second."""
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[2,4] x, bool yes) => (float[2,4] y, float[3,4] z)
        <int64 three = {{3}}, float[1,4] x0 = {{1, 2, 3, 4}}, int64[2] rows = {{3, 4}}> {{ {TYPED[case]} }}
        <domain: "local", opset_import: ["" : 13]> F (v) => (a, b) {{ a = Tanh(v) b = Abs(v) }}""")
    plan = fold(read(proto).model)[1]
    assert [k.node for k in plan.kept] == ["here"]


def test_a_row_that_becomes_the_bias_of_a_gemm_keeps_its_name_in_the_callers_model() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[3,2] x) => (float[3,2] y)
        <float[2,2] w = {1, 2, 3, 4}, float[2] s = {2, 3}, float[2] o = {0, 0}, float[2] v = {1, 2}> {
        row = Constant<value = float[2] row {0.5, 0.25}>()
        p = MatMul(x, w) n = BatchNormalization(p, s, o, o, v) y = Add(n, row) }""")
    original = read(proto).model
    before = ir.to_proto(original).SerializeToString(deterministic=True)
    folded, _ = fold(original)
    assert [node.op_type for node in folded.graph] == ["Gemm"]
    assert ir.to_proto(original).SerializeToString(deterministic=True) == before


def test_no_shift_passes_a_mean_over_a_window_that_is_larger_than_its_input() -> None:
    """onnxruntime gives a result there, and counts what it does not add up."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,2,2,4] x) => (float[1,2,A,B] y)
        <float[2,2,1,1] w = {1, 2, 3, 4}, float[2] s = {1, 2}, float[2] b = {3, 4}, float[2] v = {1, 2}> {
        c = Conv(x, w) p = AveragePool<kernel_shape = [3, 2], strides = [2, 1], count_include_pad = 1>(c)
        y = BatchNormalization(p, s, b, b, v) }""")
    folded, plan = fold(read(proto).model)
    assert [k.code for k in plan.kept] == ["kept.shift-does-not-pass"]
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 2, 2, 4)
    np.testing.assert_array_equal(in_onnxruntime(ir.to_proto(folded), x=x), in_onnxruntime(proto, x=x))


def test_a_function_behind_one_that_was_put_in_place_is_put_in_place_too() -> None:
    """Only then the rank of what it gives is known, on which the last node waits; a second fold found it."""
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 19, "local" : 1]>
        g (double[5,4] x) => (double[5,3] r, double[5,2] y)
        <int64[1] first = {0}, int64[1] last = {5}, double[3,2] m = {1, 2, 3, 4, 5, 6}, double[2] f = {2, 3}> {
        n, r = local.Norm<given = 0.001>(x) b = local.Half(n) c = Slice(b, first, last) p = MatMul(c, m)
        [waits] y = Mul(p, f) }
        <domain: "local", opset_import: ["" : 19]> Norm <given> (v) => (n, r) {
        w = Constant<value = double[4,3] w {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>()
        s = Constant<value = double[3] s {1, 2, 3}>()
        a = MatMul(v, w) r = BatchNormalization<epsilon: float = @given>(a, s, s, s, s)
        n = BatchNormalization(r, s, s, s, s) }
        <domain: "local", opset_import: ["" : 19]> Half (v) => (h) { d = Sub(v, v) h = Relu(d) }""")
    folded, plan = fold(read(proto).model)
    again = fold(folded)[1]
    assert "waits" in [k.node for k in plan.folded], [(k.node, k.code) for k in plan.kept]
    assert not again.folded


SETTLED = {
    "a producer with a bias of its own is computed twice with it": (
        """<ir_version: 10, opset_import: ["" : 22]>
        g (double[4,1] x) => (double[4,3] n, double[4,3] y)
        <double[1,3] w = {0.3, 0.4, 0.5}, double[1] t = {0.7}, double[3] s = {1, 2, 3}, double[3] o = {0, 0, 0},
         double[3] v = {1, 1, 2}> {
            [product] m = MatMul(x, w)
            [bias] a = Add(t, m)
            [norm] n = BatchNormalization(a, s, o, o, v)
            [turned] y = Neg(n) }""",
        FoldOptions(duplicate_producers=True),
        ["norm", "turned"],
    ),
    "two shifts that make up for each other before a product": (
        """<ir_version: 8, opset_import: ["" : 7]>
        g (float[2,3] x) => (float[2,2] y)
        <float[3] k = {1, -2, 3}, float[3,2] w = {1, 2, 3, 4, 5, 6}> {
            [first] a = Sub(k, x)
            [second] b = Sub(a, k)
            y = MatMul(b, w) }""",
        FoldOptions(),
        ["first", "second"],
    ),
    "a union of branches that no padding surrounds": (
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,2,6,5] x) => (float[2,2,5,5] y)
        <float[2] s = {1, 2}, float[2] t = {1, -1}, float[2] o = {0, 1}, float[2] v = {1, 2},
         float[2,1,2,1] w = {1, 2, 3, 4}> {
            [norm] n = BatchNormalization(x, s, t, o, v)
            c = Conv<group = 2>(n, w)
            p = AveragePool<kernel_shape = [2, 1]>(n)
            y = Add(p, c) }""",
        FoldOptions(),
        ["norm"],
    ),
    "what is a constant once a branch has merged": (
        """<ir_version: 8, opset_import: ["" : 16]>
        g (float[2,3,4,1] x) => (float[2,3,4,1] y)
        <float[3,1,1,3] w = {0.7, 0.1, 0.9, -0.5, -0.7, 0.3, 0.8, 0.4, 0.5}, float[2,1,1,1] a = {0.4, 0.8},
         float[1,3,4,1] b = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, float[3] s = {1, 2, 3}, float[3] t = {0, 1, 2},
         float[3] v = {1, 1, 2}> {
            c = Conv<group = 3, pads = [0, 1, 0, 1]>(x, w)
            d = Sub(a, x)
            e = Sub(d, b)
            f = Add(e, c)
            [norm] y = BatchNormalization(f, s, t, t, v) }""",
        FoldOptions(),
        ["norm"],
    ),
    "a quantised weight that is a bias elsewhere": (
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,1] x, float[2,3] z) => (float[2,2] y, float[2,2] n)
        <float[1,2] w = {0.7, 0.3}, float[2] d = {0.01, 0.02}, float[3,2] m = {1, 2, 3, 4, 5, 6},
         float[2] s = {1, 2}, float[2] t = {1, -1}, float[2] o = {0, 1}, float[2] v = {1, 2}> {
            q = QuantizeLinear<axis = 1>(w, d)
            b = DequantizeLinear<axis = 1>(q, d)
            p = MatMul(x, b)
            k = Mul(p, s)
            [first] y = Mul(k, v)
            c = Gemm(z, m, b)
            [second] n = BatchNormalization(c, s, t, o, v) }""",
        FoldOptions(),
        ["first", "second"],
    ),
    "a shift behind a Neg and a CastLike stays as an Add": (
        """<ir_version: 8, opset_import: ["" : 18, "local" : 1]>
        g (double[1,2] x) => (double[5] y)
        <double[2,1] w = {-0.8, -0.5}, double[1,1] b = {-0.9}> {
            [gemm] c = Gemm(x, w, b)
            [call] y = local.outer<given: float = 0.001>(c) }
        <domain: "local", opset_import: ["" : 18]>
        inner (p) => (q) {
            s = Constant<value = double[1] {-0.5}>() o = Constant<value = double[1] {0.4}>()
            v = Constant<value = double[1] {0.3}>()
            [first] n = BatchNormalization(p, s, o, o, v)
            k = Constant<value = double[1,5] {-0.5, -0.5, -0.5, -0.5, -0.5}>()
            e = Einsum<equation = "bz,ab->z">(k, n)
            one = Constant<value = double {1}>() f = CastLike(e, one) q = Neg(f) }
        <domain: "local", opset_import: ["" : 18, "local" : 1]>
        outer <given>(p) => (q) {
            i = local.inner(p)
            s = Constant<value = double[1] {1}>() o = Constant<value = double[1] {0.5}>()
            v = Constant<value = double[1] {0.9}>()
            [second] q = BatchNormalization<epsilon: float = @given>(i, s, o, o, v) }""",
        FoldOptions(),
        ["first", "second"],
    ),
}


@pytest.mark.parametrize(("text", "options", "folded"), SETTLED.values(), ids=SETTLED)
def test_one_fold_settles_it(text: str, options: FoldOptions, folded: list[str]) -> None:
    """A second fold finds nothing that the first one left."""
    proto = onnx.parser.parse_model(text)
    model, plan = fold(read(proto).model, options)
    assert [one.node for one in plan.folded if one.node in folded] == folded
    assert not fold(model, options)[1].changes
    random = np.random.default_rng(0)
    feeds = {
        value.name: random.normal(size=[dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in proto.graph.input
    }
    wanted, got = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, feeds
        )
        for m in (proto, ir.to_proto(model))
    )
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_producer_outside_of_a_body_is_not_duplicated_inside() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 16]>
        g (bool c, float[2,2] x) => (float[2,3] y)
        <float[2,3] w = {1, 2, 3, 4, 5, 6}, float[3] s = {1, 2, 3}> {
            m = MatMul(x, w)
            y = If(c) <
                then_branch = t () => (float[2,3] a) { b = Add(m, s) d = Mul(b, s) e = Mul(b, d) a = Add(e, d) },
                else_branch = e () => (float[2,3] f) { f = Relu(m) }
            >
        }""")
    _, plan = fold(read(proto).model, FoldOptions(duplicate_producers=True))
    assert {kept.op for kept in plan.kept} <= {"Mul", "Add"}
