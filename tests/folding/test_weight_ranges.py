"""A fold makes no constant that its type cannot hold: weights, scales of quantised weights, constants of Adds,
parameters of what is left."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from bnfold.folding import fold
from bnfold.ir.graph import ir
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions
from bnfold.results.plan import Plan

HEAD = '<ir_version: 8, opset_import: ["" : 17]> '
NORM = {"mean": [0.0] * 3, "var": [1.0] * 3, "gamma": [1.0] * 3, "beta": [0.0] * 3}


def model(text: str, kind: type, **constants: object) -> onnx.ModelProto:
    proto = parser.parse_model(HEAD + text)
    for name, values in {**NORM, **constants}.items():
        if any(name in node.input for node in proto.graph.node):
            array = values if isinstance(values, np.ndarray) else np.array(values, kind)
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def same(proto: onnx.ModelProto, **options: bool) -> Plan:
    """The plan of a fold that computes what the model computes, on numbers of both signs."""
    folded, plan = fold(read(proto).model, FoldOptions(**options))
    given = proto.graph.input[0]
    shape = [d.dim_value for d in given.type.tensor_type.shape.dim]
    kind = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    x = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(kind)
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    a, b = (
        onnxruntime.InferenceSession(one.SerializeToString(), settings).run(None, {given.name: x})[0]
        for one in (proto, ir.to_proto(folded))
    )
    assert np.all(np.isfinite(b) | ~np.isfinite(a))
    size = np.abs(np.nan_to_num(a.astype(np.float64), posinf=0, neginf=0)).max()
    np.testing.assert_allclose(b.astype(np.float64), a, rtol=4e-3, atol=4e-3 * size)
    return plan


def codes(plan: Plan) -> list[str]:
    return [kept.code for kept in plan.kept]


BEHIND_A_MATRIX = """g (%s[4,5] x) => (%s[4,3] y) {
    l = MatMul(x, w) k = Add(l, c) p = MatMul(a, k) y = BatchNormalization(p, gamma, beta, mean, var) }"""


def test_a_shift_that_is_divided_by_small_sums_fits_no_constant() -> None:
    proto = model(
        BEHIND_A_MATRIX % ("float16", "float16"),
        np.float16,
        w=np.ones((5, 3), np.float16),
        c=np.ones((4, 3), np.float16),
        a=np.full((4, 4), 1e-5, np.float16),
        beta=[50] * 3,
    )
    assert "kept.would-add-nodes" not in codes(same(proto))


def test_sums_of_zero_give_no_shift_back() -> None:
    ones = {"w": np.ones((5, 3), np.float32), "c": np.ones((4, 3), np.float32)}
    zeros = np.zeros((4, 4), np.float32)
    same(model(BEHIND_A_MATRIX % ("float", "float"), np.float32, a=zeros, beta=[1, 2, 3], **ones))


@pytest.mark.parametrize(("scale", "gamma"), [(0.01, 1e-4), (100, 2000)])
def test_the_scale_of_a_quantised_weight_keeps_its_digits(scale: float, gamma: float) -> None:
    proto = model(
        """g (float16[4,5] x) => (float16[4,3] y) {
        d = DequantizeLinear(q, s) l = MatMul(x, d) y = BatchNormalization(l, gamma, beta, mean, var) }""",
        np.float16,
        q=np.arange(15, dtype=np.int8).reshape(5, 3) + 1,
        s=np.array(scale, np.float16),
        gamma=[gamma] * 3,
    )
    proto.opset_import[0].version = 19
    assert codes(same(proto)) == ["kept.overflow"]


@pytest.mark.parametrize("gamma", [3e-6, 2e4])
def test_weights_behind_a_batch_norm_keep_their_digits(gamma: float) -> None:
    proto = model(
        """g (float16[4,3] x) => (float16[4,2] y) {
        n = BatchNormalization(x, gamma, beta, mean, var) y = MatMul(n, w) }""",
        np.float16,
        w=np.array([[1, 5], [2, 6], [3, 7]], np.float16) * 1.25,
        gamma=[gamma] * 3,
    )
    assert codes(same(proto)) == ["kept.overflow"]


@pytest.mark.parametrize(("kind", "factor"), [(np.float16, 300), (np.float32, 1e30), (np.float32, 1e-30)])
def test_two_factors_become_none_that_their_type_lacks(kind: type, factor: float) -> None:
    name = "float16" if kind is np.float16 else "float"
    proto = model(
        f"g ({name}[4,3] x) => ({name}[4,3] y) {{ r = Relu(x) a = Mul(r, f) b = Mul(a, f) y = Relu(b) }}",
        kind,
        f=np.array(factor, kind),
    )
    folded, _ = fold(read(proto).model, FoldOptions(simplify_leftovers=True))
    assert [node.op_type for node in folded.graph] == ["Relu", "Mul", "Mul", "Relu"]


def test_a_result_whose_size_a_repeated_entry_hides_keeps_what_says_it() -> None:
    """onnxruntime takes the size of c from its one entry in the constant; the Add says that it is three."""
    proto = model(
        """g (float[2,3,4] x) => (float[a,b] y) {
        t = MatMul(x, w) l = Add(t, c) e = Einsum<equation = "cd,ncd->nc">(one, l) k = Add(e, row)
        y = BatchNormalization(k, gamma, beta, mean, var) }""",
        np.float32,
        w=np.arange(8, dtype=np.float32).reshape(4, 2),
        c=np.ones((1, 3, 2), np.float32),
        one=np.full((1, 2), 0.5, np.float32),
        row=np.ones((1, 3), np.float32),
        beta=[1, 2, 3],
    )
    same(proto)


@pytest.mark.parametrize(("first", "code"), [(0.5, ["kept.overflow"]), (1e-5, [])])
def test_the_scale_of_a_normalisation_keeps_the_digits_that_it_has(first: float, code: list[str]) -> None:
    """One that has lost them already cannot lose them."""
    proto = model(
        """g (float16[2,3,4] x) => (float16[2,3,4] y) {
        n = InstanceNormalization(x, s, t) y = BatchNormalization(n, gamma, beta, mean, var) }""",
        np.float16,
        s=np.full(3, first, np.float16),
        t=np.zeros(3, np.float16),
        gamma=[3e-5 if code else 2] * 3,
    )
    assert codes(same(proto)) == code


def test_constants_that_pass_as_they_are_may_be_small() -> None:
    """An entry of a Concat that half precision has few digits of is none that a fold has lost."""
    proto = model(
        """g (float16[1,3,4] x) => (float16[1,3,5] y) {
        c = Conv(x, w) j = Concat<axis = 2>(c, k) y = BatchNormalization(j, gamma, beta, mean, var) }""",
        np.float16,
        w=np.eye(3, dtype=np.float16)[:, :, None],
        k=np.full((1, 3, 1), 1e-5, np.float16),
        gamma=[2] * 3,
    )
    assert codes(same(proto)) == []


def test_the_range_of_each_scale_is_that_of_its_own_channel() -> None:
    """A large scale meets a small factor in its channel, and a small one a large: no product leaves the type."""
    proto = model(
        """g (float16[4,3] x) => (float16[4,2] y) {
        d = DequantizeLinear<axis = 1>(q, s) l = MatMul(x, d) y = BatchNormalization(l, gamma, beta, mean, var) }""",
        np.float16,
        q=np.arange(6, dtype=np.int8).reshape(3, 2) + 1,
        s=np.array([100, 1e-3], np.float16),
        gamma=[1e-2, 1e3],
        beta=[0] * 2,
        mean=[0] * 2,
        var=[1] * 2,
    )
    proto.opset_import[0].version = 19
    assert codes(same(proto)) == []
