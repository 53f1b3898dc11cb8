"""Maps that pass a product with a constant matrix: graph networks mix the joints of a skeleton, or the nodes of a
graph, between a convolution and its batch norm. Held against onnxruntime as well."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import onnxruntime
import pytest

from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.plan import Plan

from .held import hold
from .nets import Net
from .test_commute import batch_norm

RNG = np.random.default_rng(7)
JOINTS = 5


def adjacency(parts: int = 1, seed: int = 3) -> np.ndarray:
    """A random graph of joints in some parts, each column normalised over all of them, as ST-GCN does it."""
    rng = np.random.default_rng(seed)
    links = (rng.random((parts, JOINTS, JOINTS)) < 0.6).astype(np.float64)
    links[0] += np.eye(JOINTS)
    return links / links.sum((0, 1))


def folded(text: str, weights: dict[str, np.ndarray], size: int | None = None) -> tuple[ir.Model, Plan]:
    """The fold of a network, which computes what it did in onnxruntime. `size`: that of a free axis."""
    proto = onnx.parser.parse_model(text)
    for name, values in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    model, plan = fold(read(proto).model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    feeds = {
        value.name: RNG.normal(
            size=[d.dim_value or size or 3 for d in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in proto.graph.input
    }
    wanted, got = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, feeds
        )
        for m in (proto, after)
    )
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())
    return model, plan


def norm(channels: int) -> dict[str, np.ndarray]:
    signs = np.where(np.arange(channels) % 2, -1, 1)
    return {
        "s": RNG.uniform(0.5, 2, channels) * signs,
        "b": RNG.normal(size=channels) + 1,
        "m": RNG.normal(size=channels),
        "v": RNG.uniform(0.5, 2, channels),
    }


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_a_batch_norm_passes_the_parts_of_a_skeleton_to_the_convolution() -> None:
    model, _ = folded(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, T, 5] x) => (float[N, 4, T, 5] y)
        <int64[5] apart = {0, 2, 4, -1, 5}> {
        c = Conv(x, w, a)
        parts = Reshape(c, apart)
        e = Einsum<equation = "nkctv,kvw->nctw">(parts, A)
        n = BatchNormalization(e, s, b, m, v)
        y = Relu(n) }""",
        {"w": RNG.normal(size=(8, 3, 1, 1)), "a": RNG.normal(size=8), "A": adjacency(2), **norm(4)},
    )
    assert ops(model) == ["Conv", "Reshape", "Einsum", "Relu"]


@pytest.mark.parametrize(
    ("product", "matrix"),
    [
        ('Einsum<equation = "nctv,vw->nctw">(c, A)', adjacency()[0]),
        ('Einsum<equation = "wv,nctv->nctw">(A, c)', adjacency()[0].T),
        ("MatMul(c, A)", adjacency()[0]),
        ("MatMul(c, A)", adjacency()[0][None]),
        ("MatMul(c, A)", np.stack([adjacency(seed=seed)[0] for seed in range(4)])),
        ("MatMul(A, c)", adjacency()[0].T),
    ],
)
@pytest.mark.parametrize("equal", [True, False])
def test_the_shift_needs_equal_sums_of_the_matrix(product: str, matrix: np.ndarray, equal: bool) -> None:
    """Otherwise an Add is left of the batch norm."""
    model, plan = folded(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, 5, 5] x) => (float[N, 4, 5, 5] y) {{
        c = Conv(x, w)
        e = {product}
        y = BatchNormalization(e, s, b, m, v) }}""",
        {
            "w": RNG.normal(size=(4, 3, 1, 1)),
            "A": matrix if equal else matrix * np.linspace(1, 1.001, 25).reshape(5, 5),
            **norm(4),
        },
    )
    assert [f.op for f in plan.folded] == ["BatchNormalization"]
    assert ops(model) == ["Conv", product.partition("(")[0].partition("<")[0]] + ["Add"] * (not equal)


@pytest.mark.parametrize("product", ['Einsum<equation = "nctv,vw->nctw">(n, A)', "MatMul(n, A)"])
def test_a_batch_norm_in_front_passes_to_the_convolution_behind(product: str) -> None:
    model, _ = folded(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, T, 5] x) => (float[N, 4, T, 5] y) {{
        n = BatchNormalization(x, s, b, m, v)
        e = {product}
        y = Conv(e, w) }}""",
        {"w": RNG.normal(size=(4, 3, 1, 1)), "A": adjacency()[0], **norm(3)},
    )
    assert len(ops(model)) == 2


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(np.array([[1.0, -1.0], [-1.0, 1.0]]), id="of sum zero"),
        pytest.param(np.array([[100.0, -99.0], [-99.0, 100.0]]), id="that cancels"),
        pytest.param(np.array([[1.0, 0.0], [0.0, 1.0 + 1e-9]]), id="that is equal in float32 alone"),
    ],
)
def test_no_shift_passes_a_matrix(matrix: np.ndarray) -> None:
    net = Net(4)
    c = net.op("Conv", [net.input("x", (2, 3, 2)), net.constant(net.normal(4, 3, 1))], (2, 4, 2))
    batch_norm(net, net.op("MatMul", [c, net.constant(matrix)], (2, 4, 2)), "S")
    assert ops(hold(net.model()).model) == ["Conv", "MatMul", "Add"]


@pytest.mark.parametrize(
    ("equation", "matrix", "size", "left"),
    [
        ("nctv,v->nct", (5,), "5", "Einsum"),  # the shift counts once for each joint
        ("nctv,cv->nct", (4, 5), "5", "Einsum"),  # and for each channel on its own
        ("nctv,ut->ncu", (3, 3), "5", "Einsum"),  # v is summed besides
        ("nctv,ut->ncu", (3, 3), "V", "BatchNormalization"),  # over nobody knows how many
        ("nctv,tv->nct", (3, 1), "5", "Einsum"),  # one entry for all joints
        ("nctv,tv->nct", (3, 1), "V", "Add"),
        ("nctv,vw->nct", (5, 2), "5", "Einsum"),  # w is summed in the matrix alone
    ],
)
def test_a_shift_counts_as_often_as_it_is_summed(
    equation: str, matrix: tuple[int, ...], size: str, left: str
) -> None:
    model, _ = folded(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3, 3, {size}] x) => (float[2, 4, U] y) {{
        c = Conv(x, w)
        e = Einsum<equation = "{equation}">(c, A)
        y = BatchNormalization(e, s, b, m, v) }}""",
        {"w": RNG.normal(size=(4, 3, 1, 1)), "A": np.full(matrix, 0.3), **norm(4)},
        size=5,
    )
    assert ops(model)[-1] == left


def test_one_entry_that_is_repeated_takes_no_map_along_its_axis() -> None:
    """The stack has four matrices, and the data one: the stack takes the scale."""
    model, plan = folded(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y) {
        c = Conv(x, w)
        e = MatMul(c, A)
        y = BatchNormalization(e, s, b, m, v) }""",
        {
            "w": RNG.normal(size=(1, 3, 1, 1)),
            "A": np.stack([adjacency(seed=k)[0] for k in range(4)]),
            **norm(4),
        },
    )
    assert [f.op for f in plan.folded] + [k.op for k in plan.kept] == ["BatchNormalization"]
    assert ops(model) == ["Conv", "MatMul", "Add"], plan.kept


def test_a_map_along_two_axes_of_the_data_passes() -> None:
    model, _ = folded(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3, 4, 5] x) => (float[2, 5, 6] y)
        <int64[3] flat = {2, 5, 12}> {
        p = Mul(x, k)
        e = MatMul(p, A)
        t = Transpose<perm = [0, 3, 1, 2]>(e)
        r = Reshape(t, flat)
        y = MatMul(r, w) }""",
        {"k": RNG.normal(size=(3, 4, 1)), "A": adjacency()[0], "w": RNG.normal(size=(12, 6))},
    )
    assert "Mul" not in ops(model)


def test_attention_as_an_einsum_lets_a_shift_pass() -> None:
    """Its weights sum to one, whatever the number of places is."""
    model, _ = folded(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3, L] x, float[2, L, L] q) => (float[2, 4, L] y) {
        c = Conv(x, w)
        p = Softmax(q)
        e = Einsum<equation = "bqk,bck->bcq">(p, c)
        y = BatchNormalization(e, s, b, m, v) }""",
        {"w": RNG.normal(size=(4, 3, 1)), **norm(4)},
        size=6,
    )
    assert ops(model) == ["Conv", "Softmax", "Einsum"]


@pytest.mark.parametrize("factors", [(2.0, 2.0), (2.0, -3.0)])
def test_sums_are_those_of_what_the_matrix_holds_by_now(factors: tuple[float, float]) -> None:
    """The scale behind it goes into its rows first. Then they have other sums, or none that is equal."""
    model, _ = folded(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3, 4] x) => (float[2, 2, 4] y) {
        c = Conv(x, w)
        e = MatMul(A, c)
        p = Mul(e, k)
        y = Add(p, t) }""",
        {
            "w": RNG.normal(size=(3, 3, 1)),
            "A": np.array([[1.0, 2, 1], [2, 1, 1]]),
            "k": np.reshape(factors, (2, 1)),
            "t": np.array(0.7),
        },
    )
    assert ops(model)[:2] == ["Conv", "MatMul"] and "Mul" not in ops(model)


def test_a_weight_of_two_output_axes_is_named_for_what_it_is() -> None:
    """As Keras projects to the heads of an attention: nothing is mixed, but no value of run time has the axis."""
    _, plan = folded(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 5, 4] x) => (float[2, 5, 2, 3] y) {
            s = Sigmoid (x)
            e = Einsum <equation = "abc,cde->abde"> (s, w)
            y = Mul (e, q)
        }""",
        {"w": RNG.normal(size=(4, 2, 3)), "q": RNG.uniform(1, 2, (2, 3))},
    )
    [kept] = plan.kept
    assert kept.code == "kept.wrong-axis" and "no operand of run time has the axis" in kept.reason
