"""Quantised weights: the map goes into the scale of their DequantizeLinear, or nowhere."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import onnxruntime
import pytest

from bnfold.folding import fold
from bnfold.reading.onnx.reader import read

from .held import Held, hold, in_single
from .nets import Net
from .test_commute import batch_norm

X = (1, 3, 5, 5)


def quantised(
    op: str = "Conv",
    scale: tuple[int, ...] = (4,),
    axis: int = 0,
    zero: bool = False,
    kind: str = "S",
    group: int = 1,
    reused: bool = False,
) -> Held:
    net = Net(0)
    x = net.input("x", X if group == 1 else (1, 4, 5, 5))
    shape = (4, 3, 1, 1) if op == "Conv" else (4, 2, 1, 1) if group == 2 else (3, 4, 1, 1)
    weights = net.constant(net.rng.integers(-9, 9, shape).astype(np.int8))
    inputs = [weights, net.constant(net.rng.uniform(0.1, 0.2, scale).astype(np.float64))]
    if zero:
        inputs.append(net.constant(np.full(scale, 2, np.int8)))
    w = net.op("DequantizeLinear", inputs, shape, axis=axis)
    outs = 4
    y = net.op(op, [x, w], (1, outs, 5, 5), **({"group": group} if group > 1 else {}))
    if reused:
        net.op("Relu", [w], shape)
    batch_norm(net, y, kind)
    return hold(in_single(net.model()), tolerance=1e-5)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    ("op", "scale", "axis"),
    [("Conv", (4,), 0), ("Conv", (), 0), ("ConvTranspose", (4,), 1), ("ConvTranspose", (), 1)],
)
def test_the_scale_takes_it_and_the_weight_stays_quantised(
    op: str, scale: tuple[int, ...], axis: int, zero: bool
) -> None:
    held = quantised(op, scale, axis, zero)
    assert held.count("BatchNormalization") == 0
    weights = next(n for n in held.model.graph if n.op_type == "DequantizeLinear").inputs[0]
    assert weights is not None
    assert weights.const_value is not None
    assert weights.const_value.dtype == ir.DataType.INT8


@pytest.mark.parametrize(
    "case",
    [
        {"scale": (3,), "axis": 1},  # it runs along the input channels
        {"reused": True},
        {"op": "ConvTranspose", "group": 2, "scale": (), "axis": 1},  # output channels lie on two axes
    ],
)
def test_what_the_scale_cannot_take_stays(case: dict[str, object]) -> None:
    assert list(quantised(**case).kept().values()) == ["kept.quantized-weight"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("axis", "scale", "folds"), [(0, (2, 6), True), (1, (4, 3), False)])
def test_a_weight_quantised_in_blocks(axis: int, scale: tuple[int, int], folds: bool) -> None:
    net = Net(3)
    inputs = [
        net.constant(net.rng.integers(-9, 9, (4, 6)).astype(np.int8)),
        net.constant(net.rng.uniform(1, 2, scale)),
    ]
    w = net.op("DequantizeLinear", inputs, (4, 6), axis=axis, block_size=2)
    y = net.op("MatMul", [net.input("x", (2, 3, 4)), w], (2, 3, 6))
    net.op("Mul", [y, net.constant(net.rng.uniform(0.5, 2, 6))], (2, 3, 6))
    proto = net.model()
    proto.opset_import[0].version, proto.ir_version = 21, 10
    held = hold(in_single(proto), tolerance=1e-5)
    assert (held.count("Mul") == 0) is folds


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("scale", [(4,), ()])
def test_a_quantised_weight_that_is_transposed_stays_quantised(scale: tuple[int, ...], opset: int) -> None:
    """As exporters write a dense layer whose weight was trained for quantisation."""
    net = Net(0)
    weights = [
        net.constant(net.rng.integers(-9, 9, (4, 6)).astype(np.int8)),
        net.constant(np.full(scale, 0.1)),
    ]
    w = net.op("Transpose", [net.op("DequantizeLinear", weights, (4, 6), axis=0)], (6, 4), perm=[1, 0])
    batch_norm(net, net.op("MatMul", [net.input("x", (2, 6)), w], (2, 4)), "S")
    proto = in_single(net.model())
    proto.opset_import[0].version = opset
    held = hold(proto, tolerance=1e-5)
    assert held.count("BatchNormalization") == 0
    assert held.count("DequantizeLinear") == 1


@pytest.mark.parametrize("opset", [11, 13, 19])
def test_a_dequantised_weight_behind_other_nodes_is_a_constant(opset: int) -> None:
    """In opsets of which onnx has no reference implementation, too."""
    net = Net(0)
    weights = [
        net.constant(net.rng.integers(-9, 9, (4, 3, 1, 1)).astype(np.int8)),
        net.constant(np.full((), 0.1)),
    ]
    w = net.op("DequantizeLinear", weights, (4, 3, 1, 1))
    w = net.op("Mul", [w, net.constant(net.rng.uniform(1, 2, (4, 1, 1, 1)))], (4, 3, 1, 1))
    batch_norm(net, net.op("Conv", [net.input("x", X), w], (1, 4, 5, 5)), "S")
    proto = in_single(net.model())
    proto.opset_import[0].version = opset
    assert hold(proto, tolerance=1e-5).count("BatchNormalization") == 0


FACTORS = np.array([2.0, -0.5, -1.0, 0.25])


def turned(
    weight: np.ndarray,
    zero: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    factors: np.ndarray = FACTORS,
    opset: int = 13,
    kind: str = "Conv",
    before: str = "",
    reused: bool = False,
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A product with a quantised weight of four output channels on the last axis (of a Conv on the first), behind
    which a Mul turns signs, and its fold; both compute the same in onnxruntime. `before`: the weight is quantised
    from floats to this type."""
    scale = np.float32(0.1) if scale is None else scale
    axis = 0 if kind == "Conv" else weight.ndim - 1
    inits = {"weight": weight, "scale": scale.astype(np.float32)} | (
        {"zero": zero} if zero is not None else {}
    )
    shape = (-1, *(1,) * (weight.ndim - 2)) if kind == "Conv" else (-1,)
    inits["factors"] = factors.astype(np.float32).reshape(shape)
    three = ["scale", "zero"][: 1 + (zero is not None)]
    nodes, q = [], "weight"
    if before:
        nodes.append(onnx.helper.make_node("QuantizeLinear", ["weight", *three], ["q"], axis=axis))
        q = "q"
    nodes.append(onnx.helper.make_node("DequantizeLinear", [q, *three], ["w"], axis=axis))
    nodes.append(onnx.helper.make_node(kind, ["x", "w"], ["p"]))
    nodes.append(onnx.helper.make_node("Mul", ["p", "factors"], ["y"], "turn"))
    outputs = ["y"]
    if reused:
        nodes.append(onnx.helper.make_node("DequantizeLinear", [q, *three], ["u"], axis=axis))
        outputs.append("u")
    size = [2, 3, *(5,) * (weight.ndim - 2)] if kind == "Conv" else [2, weight.shape[0]]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, size)],
        [
            onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None] * weight.ndim)
            for n in outputs
        ],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in inits.items()],
    )
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10
    )
    folded = ir.to_proto(fold(read(proto).model)[0])
    onnx.checker.check_model(folded)
    x = np.random.default_rng(1).normal(size=size).astype(np.float32)
    wanted, got = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )
        for m in (proto, folded)
    )
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    return proto, folded


def left(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def integers(low: int, high: int, dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(low, high + 1, shape).astype(dtype)


@pytest.mark.parametrize(
    ("weight", "zero", "folds"),
    [
        (integers(-127, 127, np.int8, 4, 3, 3, 3), None, True),
        (integers(-127, 127, np.int8, 4, 3, 3, 3), np.int8(0), True),
        (integers(-9, 9, np.int8, 4, 3, 1), np.int8(3), True),
        (integers(-9, 9, np.int8, 4, 3, 1), np.array([3, -3, 5, 0], np.int8), True),
        (integers(-9, 9, np.int8, 4, 3, 1), np.array([3, 100, 5, 0], np.int8), False),
        (integers(1, 255, np.uint8, 4, 3, 1), np.uint8(128), True),
        (np.zeros((4, 3, 1), np.uint8), np.uint8(128), False),
        (integers(0, 255, np.uint8, 4, 3, 1), None, False),
        (np.full((4, 3, 1), -128, np.int8), None, False),
    ],
)
def test_integers_change_their_sign_where_their_type_has_it(
    weight: np.ndarray, zero: np.ndarray | None, folds: bool
) -> None:
    scale = None if zero is None or zero.ndim == 0 else np.full(4, 0.1)
    _, folded = turned(weight, zero, scale)
    assert left(folded) == ["DequantizeLinear", "Conv"] + ["Mul"] * (not folds)


def test_only_channels_that_turn_need_a_negative() -> None:
    weight = integers(-127, 127, np.int8, 4, 3, 1)
    weight[0] = -128
    assert "Mul" not in left(turned(weight)[1])
    weight[1] = -128
    assert "Mul" in left(turned(weight)[1])


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
def test_the_sign_of_a_dense_weight_turns(kind: str) -> None:
    assert left(turned(integers(-9, 9, np.int8, 6, 4), kind=kind)[1]) == ["DequantizeLinear", kind]


def test_integers_that_others_read_are_copied() -> None:
    proto, folded = turned(integers(-9, 9, np.int8, 4, 3, 1), reused=True)
    assert "Mul" not in left(folded)
    assert (
        len(folded.graph.initializer) == len(proto.graph.initializer) + 1
    )  # for the factors the scale of its own


SPREAD = np.random.default_rng(3).uniform(-12.7, 12.7, (4, 3, 3, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("weight", "zero", "folds"),
    [
        (SPREAD, np.int8(0), True),
        (np.round(SPREAD * 2) * np.float32(0.05), np.int8(0), True),  # halves
        (np.full((4, 3, 1), 12.74, np.float32), np.int8(0), True),
        (np.full((4, 3, 1), 12.75, np.float32), np.int8(0), False),  # 127.5 is cut off, and -127.5 is -128
        (np.full((4, 3, 1), -50, np.float32), np.int8(0), False),
        (np.full((4, 3, 1), np.nan, np.float32), np.int8(0), False),
        (np.full((4, 3, 1), 12.7, np.float32), np.int8(1), False),
        (SPREAD / 2, np.int8(1), True),
        (SPREAD, np.uint8(128), True),
        (np.full((4, 3, 1), 12.7, np.float32), np.uint8(120), False),
        (SPREAD, np.zeros(4, np.int8), True),
    ],
)
@pytest.mark.parametrize("opset", [13, 21])
def test_floats_change_their_sign_in_front_of_quantisation(
    weight: np.ndarray, zero: np.ndarray, folds: bool, opset: int
) -> None:
    scale = np.array([0.1, 0.1, 0.2, 0.3]) if zero.ndim else None
    _, folded = turned(weight, zero, scale, before="int8", opset=opset)
    assert left(folded) == ["QuantizeLinear", "DequantizeLinear", "Conv"] + ["Mul"] * (not folds)


def test_floats_whose_integers_others_read_stay() -> None:
    assert "Mul" in left(turned(SPREAD, np.int8(0), before="int8", reused=True)[1])


def test_a_zero_factor_stays_and_two_turns_are_none() -> None:
    weight = integers(-9, 9, np.int8, 4, 3, 1)
    assert "Mul" in left(turned(weight, factors=np.array([1.0, 0.0, 2.0, 3.0]))[1])
    assert "Mul" not in left(turned(weight, factors=np.full(4, -1.0))[1])


QUANTISED_FIRST = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 3, 3] x) => (float[1, 2, 3, 3] y)
    <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float s = {0.1}, int8 z = {0},
     float[2] gamma = {1, 2}, float[2] beta = {1, 0}, float[2] mean = {0, 1}, float[2] var = {1, 2}> {
        c = Conv(x, w)
        q = QuantizeLinear(c, s, z)
        d = DequantizeLinear(q, s, z)
        y = BatchNormalization(d, gamma, beta, mean, var)
    }"""


def test_a_network_that_was_quantised_before_it_was_folded_is_told_the_way_out() -> None:
    model = read(onnx.parser.parse_model(QUANTISED_FIRST)).model
    _, plan = fold(model)
    assert [(kept.op, kept.code) for kept in plan.kept] == [("BatchNormalization", "kept.non-linear")]
    assert plan.kept[0].reason.endswith("does not commute with it; fold first and quantise afterwards")
