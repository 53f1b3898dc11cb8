"""Channels that do nothing leave through every operator, and onnxruntime's run stays what it was; what cannot
leave says why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bnfold
from bnfold.results.options import SlimOptions
from bnfold.slimming import slim, survey

from .nets import DEAD, behind, close, model, norm, run, values
from .random_nets import SIZE, random_net

X = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
W4 = {"w2": values(4, 6, 1, 1)}
FLAT = "p = GlobalMaxPool(r)\n f = Flatten(p)\n"

# what stands behind the Relu -> how many of its six channels are left, and the codes of those that stay
LEAVES = {
    "conv": ("y = Conv(r, w2)", W4, 3, set()),
    "conv of two groups": ("y = Conv<group=2>(r, w2)", {"w2": values(4, 3, 1, 1)}, 4, {"stays.group"}),
    "conv of three groups": ("y = Conv<group=3>(r, w2)", {"w2": values(6, 2, 1, 1)}, 3, set()),
    "padding": ("y = Conv<pads=[1,1,1,1]>(r, w2)", {"w2": values(4, 6, 3, 3)}, 4, {"stays.padding"}),
    "padding by auto_pad": (
        'y = Conv<auto_pad="SAME_UPPER">(r, w2)',
        {"w2": values(4, 6, 3, 3)},
        4,
        {"stays.padding"},
    ),
    "depthwise": ("d = Conv<group=6>(r, wd)\n y = Conv(d, w2)", {"wd": values(6, 1, 3, 3), **W4}, 3, set()),
    "depthwise of two each, padded": (
        "d = Conv<group=6, pads=[1,1,1,1]>(r, wd)\n y = Conv(d, w2)",
        {"wd": values(12, 1, 3, 3), "w2": values(4, 12, 1, 1)},
        4,
        {"stays.padding"},
    ),
    "two readers, of which one pads": (
        "p = Conv<pads=[1,1,1,1]>(r, w3)\n q = Conv(r, w2)\n y = Add(p, q)",
        {"w3": values(4, 6, 3, 3), **W4},
        4,
        {"stays.padding"},
    ),
    "transposed conv": (
        "y = ConvTranspose<strides=[2,2]>(r, w2)",
        {"w2": values(6, 4, 2, 2)},
        4,
        {"stays.padding"},
    ),
    "transposed conv of groups": (
        "y = ConvTranspose<group=3>(r, w2)",
        {"w2": values(6, 4, 1, 1)},
        6,
        {"stays.group", "stays.padding"},
    ),
    "gemm": (FLAT + "y = Gemm<alpha=0.5, beta=2.0>(f, w2, b2)", {"w2": values(6, 4), "b2": values(1, 4)}, 3, set()),
    "gemm without a bias": (FLAT + "y = Gemm<beta=3.0, transB=1>(f, w2)", {"w2": values(4, 6)}, 3, set()),
    "gemm of a transpose": (
        FLAT + "t = Transpose<perm=[1,0]>(f)\n y = Gemm<transA=1>(t, w2)",
        {"w2": values(6, 4)},
        3,
        set(),
    ),
    "matmul": (FLAT + "y = MatMul(f, w2)", {"w2": values(6, 4)}, 3, set()),
    "matmul of channels last": (
        "t = Transpose<perm=[0,2,3,1]>(r)\n h = MatMul(t, w2)\n y = Add(h, b2)",
        {"w2": values(6, 4), "b2": values(1, 4)[0]},
        3,
        set(),
    ),
    "matrix before": (
        "f = Reshape(r, s)\n y = MatMul(w2, f)",
        {"w2": values(4, 6), "s": np.array([0, 6, -1])},
        4,
        {"stays.no-bias"},
    ),
    "product with a vector": (
        "t = Transpose<perm=[0,2,3,1]>(r)\n y = MatMul(t, w2)",
        {"w2": values(1, 6)[0]},
        4,
        {"stays.no-bias"},
    ),
    "einsum": (
        'y = Einsum<equation="nchw,co->nohw">(r, w2)',
        {"w2": values(6, 4)},
        4,
        {"stays.no-bias"},
    ),
    "flatten of an image": (
        "f = Flatten(r)\n y = Gemm(f, w2)",
        {"w2": values(6 * 64, 4)},
        3,
        set(),
    ),
    "reshape": (
        "f = Reshape(r, s)\n y = MatMul(f, w2)",
        {"s": np.array([-1, 384]), "w2": values(384, 4)},
        3,
        set(),
    ),
    "reshape by a computed size": (
        "p = GlobalAveragePool(r)\n s = Shape(p)\n n = Gather(s, zero)\n k = Unsqueeze(n, axis)\n"
        "h = Concat<axis=0>(k, rest)\n f = Reshape(p, h)\n y = MatMul(f, w2)",
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1]), "w2": values(6, 4)},
        3,
        set(),
    ),
    "reshape by a computed size with a number": (
        "p = GlobalAveragePool(r)\n s = Shape(p)\n n = Gather(s, zero)\n k = Unsqueeze(n, axis)\n"
        "h = Concat<axis=0>(k, rest)\n f = Reshape(p, h)\n y = MatMul(f, w2)",
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([6]), "w2": values(6, 4)},
        6,
        {"stays.shape"},
    ),
    "resize to computed sizes": (
        "s = Shape(r)\n k = Slice(s, from, to, from)\n h = Concat<axis=0>(k, size)\n q = Resize(r,,,h)\n"
        "y = Conv(q, w2)",
        {"from": np.array([0]), "to": np.array([2]), "size": np.array([16, 16]), **W4},
        3,
        set(),
    ),
    "resize to sizes": ("q = Resize(x1,,,h)\n y = Conv(q, w2)".replace("x1", "r"), {"h": np.array([2, 6, 4, 4]), **W4}, 3, set()),
    "arithmetic on the size": (
        "s = Shape(r)\n n = Gather(s, one)\n k = Cast<to=1>(n)\n q = Div(r, k)\n y = Conv(q, w2)",
        {"one": np.array(1), **W4},
        6,
        {"stays.shape"},
    ),
    "sum with itself": ("a = Add(r, r)\n q = Mul(a, r)\n y = Conv(q, w2)", W4, 3, set()),
    "sum with channels that live": (
        "d = Conv(x, w3)\n a = Add(r, d)\n y = Conv(a, w2)",
        {"w3": values(6, 3, 1, 1), **W4},
        6,
        {"stays.residual"},
    ),
    "product with one channel": (
        "d = Conv(x, w3)\n q = Mul(r, d)\n y = Conv(q, w2)",
        {"w3": values(1, 3, 1, 1), **W4},
        4,
        {"stays.residual"},
    ),
    "squeeze and excitation": (
        "p = GlobalAveragePool(r)\n d = Conv(p, w3)\n e = Relu(d)\n f = Conv(e, w4)\n s = Sigmoid(f)\n"
        "q = Mul(r, s)\n y = Conv(q, w2)",
        {"w3": values(2, 6, 1, 1), "w4": values(6, 2, 1, 1), **W4},
        4,
        {"stays.residual"},
    ),
    "concat": (
        "q = Concat<axis=1>(r, x, r)\n y = Conv(q, w2)",
        {"w2": values(4, 15, 1, 1)},
        3,
        set(),
    ),
    "concat of rows": ("q = Concat<axis=2>(r, r)\n y = Conv(q, w2)", W4, 3, set()),
    "split": (
        "a, d = Split<axis=1>(r)\n e = Conv(a, w2)\n f = Conv(d, w3)\n y = Add(e, f)",
        {"w2": values(4, 3, 1, 1), "w3": values(4, 3, 1, 1)},
        3,
        set(),
    ),
    "slice": (
        "q = Slice(r, from, to, one)\n y = Conv(q, w2)",
        {"from": np.array([1]), "to": np.array([5]), "one": np.array([1]), "w2": values(4, 4, 1, 1)},
        1,  # nothing reads the first and the last channel
        set(),
    ),
    "gather": (
        "q = Gather<axis=1>(r, at)\n y = Conv(q, w2)",
        {"at": np.array([0, 1, 1, 5, -2]), "w2": values(4, 5, 1, 1)},
        2,
        set(),
    ),
    "pools": ("p = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(r)\n y = Conv(p, w2)", W4, 3, set()),
    "a pool that counts padding": (
        "p = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(r)\n y = Conv(p, w2)",
        W4,
        4,
        {"stays.read-elsewhere"},
    ),
    "pad": (
        "p = Pad(r, n)\n y = Conv(p, w2)",
        {"n": np.array([0, 0, 1, 1, 0, 0, 1, 1]), **W4},
        4,
        {"stays.read-elsewhere"},
    ),
    "pad with channels": (
        "p = Pad(r, n)\n y = Conv(p, w2)",
        {"n": np.array([0, 2, 0, 0, 0, 1, 0, 0]), "w2": values(4, 9, 1, 1)},
        3,
        set(),
    ),
    "mean": ("p = ReduceMean<axes=[2,3], keepdims=0>(r)\n y = MatMul(p, w2)", {"w2": values(6, 4)}, 3, set()),
    "mean of channels": ("y = ReduceMean<axes=[1]>(r)", {}, 6, {"stays.unknown-operator"}),
    "prelu": ("q = PRelu(b, s)\n y = Conv(q, w2)", {"s": values(6, 1, 1), **W4}, 3, set()),
    "softmax": ("q = Softmax<axis=1>(r)\n y = Conv(q, w2)", W4, 6, {"stays.unknown-operator"}),
    "channel shuffle": (
        "a = Reshape(r, s)\n t = Transpose<perm=[0,2,1,3,4]>(a)\n q = Reshape(t, u)\n y = Conv(q, w2)",
        {"s": np.array([0, 2, 3, 8, 8]), "u": np.array([0, 6, 8, 8]), **W4},
        6,
        {"stays.shape"},
    ),
    "recurrent layer": (
        FLAT + "u = Unsqueeze(f, z)\n y = LSTM<hidden_size=2>(u, w2, w3)",
        {"z": np.array([0]), "w2": values(1, 8, 6), "w3": values(1, 8, 2)},
        6,
        {"stays.unknown-operator"},
    ),
    "weight that is computed": (
        "p = GlobalAveragePool(r)\n y = Conv(x3, p)".replace("x3", "r"),
        {},
        6,
        {"stays.weight-not-constant"},
    ),
    "graph output": ("y = Identity(r)", {}, 6, {"stays.graph-output"}),
}  # fmt: skip


def outputs_of(body: str) -> str:
    """The declaration of the output, of unknown sizes."""
    if "LSTM" in body:
        return "float[a,d,N,k] y"
    if "f = Reshape(r, s)\n y = MatMul(w2" in body:
        return "float[N,k,l] y"
    if "MatMul(t, w2)" in body and "Add" not in body:
        return "float[N,h,w] y"
    if "perm=[0,2,3,1]" in body:
        return "float[N,h,w,k] y"
    flat = "MatMul" in body or "Gemm" in body
    return "float[N,k] y" if flat else "float[N,k,h,w] y"


@pytest.mark.parametrize("case", LEAVES)
def test_dead_channels_leave(case: str) -> None:
    body, initializers, left, codes = LEAVES[case]
    net = behind(body, initializers, out=outputs_of(body))
    loaded = bnfold.load(net)
    before = bnfold.to_onnx(loaded).SerializeToString()
    found = slim(loaded)
    layers = {row.node: row for row in found.slimming.layers}
    assert (layers["c"].after, {row.code for row in found.slimming.stays}) == (left, codes)
    written = bnfold.to_onnx(found.model)
    onnx.checker.check_model(written)
    if case != "weight that is computed":
        assert close(run(net, x=X), run(written, x=X))
        if found.slimming.changes:
            report = bnfold.verify(loaded, found.model)
            assert report, report.reason
            assert report.proof is not None
            assert report.proof.unseen == 0
    assert bnfold.to_onnx(loaded).SerializeToString() == before, "the caller's model was changed"


@given(st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_compute_what_they_did(seed: int) -> None:
    net = random_net(seed)
    x = np.random.default_rng(seed).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    loaded = bnfold.load(net)
    found = slim(loaded)
    written = bnfold.to_onnx(found.model)
    onnx.checker.check_model(written)
    assert close(run(net, x=x), run(written, x=x))


@pytest.mark.parametrize("seed", [3, 12, 336, 367, 388])
def test_random_networks_are_proved(seed: int) -> None:
    loaded = bnfold.load(random_net(seed))
    report = bnfold.verify(loaded, slim(loaded).model)
    assert report, report.reason


def test_what_a_relu_never_lets_through_leaves() -> None:
    """A batch norm of positive numbers whose scale is negative and whose shift is, too."""
    parameters = {"g": [-1, 1, -1, 1], "be": [-1, 1, -1, 1], "m": [0] * 4, "v": [1] * 4}
    net = model(
        """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
            c = Conv(x, w1)
            a = Relu(c)
            b = BatchNormalization(a, g, be, m, v)
            r = Relu(b)
            y = Conv<pads=[1,1,1,1]>(r, w2)
        }""",
        {
            "w1": values(4, 3, 1, 1),
            "w2": values(4, 4, 3, 3),
            **{k: np.asarray(v, np.float64) for k, v in parameters.items()},
        },
    )
    loaded = bnfold.load(net)
    found = slim(loaded)
    (row,) = found.slimming.norms
    assert (row.dead, row.constant, row.gone) == (0, 2, 2)
    assert bnfold.verify(loaded, found.model)


def test_a_model_without_batch_norms_loses_empty_filters() -> None:
    weights = values(6, 3, 1, 1)
    weights[[1, 4]] = 0
    net = model(
        "net (float[N,3,8,8] x) => (float[N,4,8,8] y) {\n c = Conv(x, w1, b1)\n r = Relu(c)\n y = Conv(r, w2)\n}",
        {"w1": weights, "b1": np.array([0.5, 0.5, -1, 0, -1, 1]), **W4},
    )
    found = slim(bnfold.load(net))
    assert found.slimming.channels == 2
    assert close(run(net, x=X), run(bnfold.to_onnx(found.model), x=X))


def test_one_channel_of_a_layer_stays() -> None:
    net = behind("y = Conv(r, w2)", {**W4, **norm(6, dict.fromkeys(range(6), 0.3))})
    found = slim(bnfold.load(net))
    assert [row.after for row in found.slimming.layers] == [1, 4]
    assert "stays.last-channel" in {row.code for row in found.slimming.stays}
    assert close(run(net, x=X), run(bnfold.to_onnx(found.model), x=X))


def test_channels_to_keep_stay() -> None:
    net = behind("y = Conv(r, w2)", W4)
    for pattern in ("c", "b", "r", "?"):
        found = slim(bnfold.load(net), SlimOptions(keep=(pattern,)))
        assert not found.slimming.changes
        assert {row.code for row in found.slimming.stays} == {"stays.requested"}


def test_a_weight_that_two_layers_share_is_cut_for_each() -> None:
    net = model(
        """net (float[N,6,8,8] x) => (float[N,4,8,8] y) {
            c = Conv(x, w)
            b = BatchNormalization(c, g, be, m, v)
            r = Relu(b)
            d = Conv(r, w)
            e = BatchNormalization(d, g, be, m, v)
            s = Relu(e)
            y = Conv(s, w2)
        }""",
        {"w": values(6, 6, 1, 1), **norm(6, DEAD), **W4},
    )
    found = slim(bnfold.load(net))
    x = np.random.default_rng(1).normal(size=(2, 6, 8, 8)).astype(np.float32)
    assert [row.after for row in found.slimming.layers] == [3, 3, 4]
    assert close(run(net, x=x), run(bnfold.to_onnx(found.model), x=x))


def test_what_a_body_reads_stays() -> None:
    net = model(
        """net (float[N,3,8,8] x, bool k) => (float[N,4,8,8] y) {
            c = Conv(x, w1)
            b = BatchNormalization(c, g, be, m, v)
            r = Relu(b)
            y = If(k)<
              then_branch = one () => (float[N,4,8,8] t) { t = Conv(r, w2) },
              else_branch = two () => (float[N,4,8,8] e) { e = Conv(r, w3) }
            >
        }""",
        {"w1": values(6, 3, 1, 1), "w3": values(4, 6, 1, 1, seed=1), **norm(6, DEAD), **W4},
    )
    found = slim(bnfold.load(net))
    assert not found.slimming.changes
    assert [row.code for row in found.slimming.stays] == ["stays.body"]


def test_functions_are_put_in_place_where_more_leaves_so() -> None:
    net = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
            c = Conv(x, w1)
            r = local.act(c, g, be, m, v)
            y = Conv(r, w2)
        }
        <domain: "local", opset_import: ["" : 17]>
        act (a, g, b, m, v) => (z) {
            t = BatchNormalization(a, g, b, m, v)
            z = Relu(t)
        }""")
    for name, array in {"w1": values(6, 3, 1, 1), **norm(6, DEAD), **W4}.items():
        net.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    loaded = bnfold.load(net)
    found = slim(loaded)
    assert found.slimming.channels == 3
    assert found.reference is loaded
    assert bnfold.verify(loaded, found.model)


@pytest.mark.parametrize(("shift", "left", "codes"), [(0.7, 3, set()), (300.0, 4, {"stays.overflow"})])
def test_half_precision_takes_no_constant_that_overflows(shift: float, left: int, codes: set[str]) -> None:
    net = model(
        """net (float16[N,3,8,8] x) => (float16[N,4,8,8] y) {
            c = Conv(x, w1)
            b = BatchNormalization(c, g, be, m, v)
            r = Relu(b)
            y = Conv(r, w2)
        }""",
        {"w1": values(6, 3, 1, 1), "w2": 1000 * values(4, 6, 1, 1), **norm(6, {1: shift, 2: -1, 4: -1})},
        dtype=np.float16,
    )
    loaded = bnfold.load(net)
    found = slim(loaded)
    assert found.slimming.layers[0].after == left
    assert {row.code for row in found.slimming.stays} == codes
    assert bnfold.verify(loaded, found.model)


def test_quantised_weights_and_training_mode_stay() -> None:
    quantised = behind(
        "w2 = DequantizeLinear(q, s)\n y = Conv(r, w2)",
        {"q": np.ones((4, 6, 1, 1), np.int8), "s": np.array(0.1)},
    )
    training = behind("y = Conv(r, w2)", W4)
    training.graph.node[1].attribute.append(onnx.helper.make_attribute("training_mode", 1))
    for net, code in ((quantised, "stays.quantized-weight"), (training, "stays.training-mode")):
        found = slim(bnfold.load(net))
        assert not found.slimming.changes
        assert {row.code for row in found.slimming.stays} == {code}


def test_a_survey_counts_and_changes_nothing() -> None:
    (row,) = survey(bnfold.load(behind("y = Conv(r, w2)", W4))).norms
    assert (row.channels, row.dead, row.nearly_dead, row.constant, row.gone) == (6, 3, 0, 0, 3)
    assert sum(row.histogram) == 6
    assert row.histogram[0] == 3


def test_a_batch_norm_of_a_vector_has_no_channel_axis() -> None:
    """Its one channel is the whole vector."""
    net = model(
        "net (float[N] x) => (float[N] y) {\n b = BatchNormalization(x, g, be, m, v)\n y = Relu(b)\n}",
        {key: np.ones(1) for key in ("g", "be", "m", "v")},
    )
    assert slim(bnfold.load(net)).slimming.of == 0


def test_rows_of_a_slice_keep_their_type() -> None:
    """Starts and ends have to be of the type that axes are."""
    rows = {"from": [1], "to": [5], "one": [1]}
    net = behind(
        "q = Slice(r, from, to, one)\n y = Conv(q, w2)",
        {"w2": values(4, 4, 1, 1), **{name: np.array(row, np.int32) for name, row in rows.items()}},
    )
    found = slim(bnfold.load(net))
    assert found.slimming.channels
    assert close(run(net, x=X), run(bnfold.to_onnx(found.model), x=X))


def test_what_contradicts_itself_stays() -> None:
    """A Split into parts that do not make the whole is for a runtime to refuse."""
    net = behind(
        "a, d = Split<axis=1>(r, n)\n e = Conv(a, w2)\n y = Conv(d, w2)",
        {"n": np.array([2, 3]), "w2": values(4, 2, 1, 1)},
    )
    assert not slim(bnfold.load(net)).slimming.changes


def test_a_scale_that_a_caller_may_override_is_told() -> None:
    net = behind("y = Conv(r, w2)", W4)
    for one in net.graph.initializer:
        net.graph.input.append(onnx.helper.make_tensor_value_info(one.name, 1, list(one.dims)))
    loaded = bnfold.load(net)
    found = slim(loaded).slimming
    assert [(row.channels, row.code) for row in found.stays] == [(6, "stays.weight-not-constant")]
    assert "--freeze-initializers" in found.stays[0].reason
    assert slim(loaded, SlimOptions(freeze_initializers=True)).slimming.channels == 3
