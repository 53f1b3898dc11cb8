"""Quantised weights: the map goes into the scale of their DequantizeLinear, or nowhere."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

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
        {"kind": "N"},  # a scale of a quantised weight has to stay positive
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
