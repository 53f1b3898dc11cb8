"""Matrix products: Adds behind them, Gemms in their place, stacks of matrices, a constant matrix in front."""

from __future__ import annotations

import numpy as np
import pytest

from .held import hold
from .nets import Net
from .test_commute import batch_norm


def product(net: Net, x: str, rows: int, columns: int) -> str:
    shape = (*net.values[x][:-1], columns)
    return net.op("MatMul", [x, net.constant(net.normal(rows, columns))], shape)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", ["Add", "Sub"])
def test_a_map_before_several_products_goes_into_the_adds_behind_them(count: int, kind: str) -> None:
    net = Net(1)
    y = batch_norm(net, net.input("x", (2, 4, 3)), "S")
    y = net.op("Transpose", [y], (2, 3, 4), perm=[0, 2, 1])
    for _ in range(count):
        net.op(kind, [product(net, y, 4, 5), net.constant(net.normal(5))], (2, 3, 5))
    held = hold(net.model())
    assert not held.count("BatchNormalization")
    assert held.count(kind) == count


def test_a_map_before_several_products_without_adds_stays() -> None:
    net = Net(1)
    y = batch_norm(net, net.input("x", (2, 4, 3)), "S")
    y = net.op("Transpose", [y], (2, 3, 4), perm=[0, 2, 1])
    for _ in range(2):
        product(net, y, 4, 5)
    assert set(hold(net.model()).kept().values()) == {"kept.would-add-nodes"}


@pytest.mark.parametrize("before", [True, False])
def test_a_product_of_two_matrices_and_a_batch_norm_are_one_gemm(before: bool) -> None:
    net = Net(2)
    y = net.input("x", (3, 4))
    y = product(net, batch_norm(net, y, "S"), 4, 5) if before else batch_norm(net, product(net, y, 4, 5), "S")
    net.op("Relu", [y], (3, 5))
    held = hold(net.model())
    assert [node.op_type for node in held.model.graph] == ["Gemm", "Relu"]


def test_a_gemm_made_of_a_product_takes_further_maps() -> None:
    net = Net(3)
    y = batch_norm(net, product(net, batch_norm(net, net.input("x", (3, 4)), "S"), 4, 5), "S")
    net.op("Relu", [batch_norm(net, y, "S")], (3, 5))
    held = hold(net.model())
    assert [node.op_type for node in held.model.graph] == ["Gemm", "Relu"]


def test_an_add_behind_a_product_of_two_matrices_stays_its_bias() -> None:
    net = Net(4)
    net.op("Add", [product(net, net.input("x", (3, 4)), 4, 5), net.constant(net.normal(5))], (3, 5))
    assert [node.op_type for node in hold(net.model()).model.graph] == ["MatMul", "Add"]


@pytest.mark.parametrize("scale", [(3, 1, 6), (1, 1, 6), (6,), (3, 1, 1), ()])
@pytest.mark.parametrize("behind", [True, False])
def test_a_stack_of_matrices_holds_a_scale(scale: tuple[int, ...], behind: bool) -> None:
    net = Net(5)
    x = net.input("x", (2, 3, 4, 6))
    w, k = net.constant(net.normal(3, 6, 6)), net.constant(net.normal(*scale))
    if behind:
        net.op("Mul", [net.op("MatMul", [x, w], (2, 3, 4, 6)), k], (2, 3, 4, 6))
    else:
        net.op("MatMul", [net.op("Mul", [x, k], (2, 3, 4, 6)), w], (2, 3, 4, 6))
    assert hold(net.model()).count("Mul") == 0


@pytest.mark.parametrize("scale", [(3, 4, 1), (4, 1)])
def test_a_stack_of_matrices_before_the_data_scales_rows(scale: tuple[int, ...]) -> None:
    net = Net(6)
    w, k = net.constant(net.normal(3, 4, 6)), net.constant(net.normal(*scale))
    y = net.op("MatMul", [w, net.input("x", (2, 3, 6, 5))], (2, 3, 4, 5))
    net.op("Mul", [y, k], (2, 3, 4, 5))
    assert hold(net.model()).count("Mul") == 0


@pytest.mark.parametrize("held_before", [True, False])
def test_no_stack_of_matrices_holds_a_scale_along_rows_but_it_passes(held_before: bool) -> None:
    net = Net(5)
    y = net.input("x", (2, 3, 4, 6))
    if held_before:
        y = net.op("MatMul", [net.constant(net.normal(4, 4)), y], (2, 3, 4, 6))
    y = net.op("MatMul", [y, net.constant(net.normal(3, 6, 6))], (2, 3, 4, 6))
    net.op("Mul", [y, net.constant(net.normal(4, 1))], (2, 3, 4, 6))
    assert set(hold(net.model()).kept().values()) == (set() if held_before else {"kept.graph-input"})


@pytest.mark.parametrize("bias", [True, False])
def test_a_scale_passes_a_constant_matrix_before_the_product(bias: bool) -> None:
    net = Net(7)
    y = product(net, net.input("x", (6, 4)), 4, 5)
    y = net.op("MatMul", [net.constant(net.normal(6, 6)), y], (6, 5))
    if bias:
        y = net.op("Add", [y, net.constant(net.normal(5))], (6, 5))
    net.op("Relu", [batch_norm(net, y, "S")], (6, 5))
    held = hold(net.model())
    assert not held.count("BatchNormalization")
    assert held.count("Add") == 1


def test_a_scale_passes_forward_through_a_constant_matrix() -> None:
    net = Net(8)
    y = net.op("Mul", [net.input("x", (6, 4)), net.constant(net.normal(4))], (6, 4))
    y = net.op("MatMul", [net.constant(net.normal(6, 6)), y], (6, 4))
    product(net, y, 4, 5)
    assert not hold(net.model()).count("Mul")


@pytest.mark.parametrize(("size", "folds"), [(8, True), (9, False)])
def test_padding_that_adds_nothing_lets_a_shift_pass(size: int, folds: bool) -> None:
    net = Net(9)
    y = batch_norm(net, net.input("x", (1, 3, size, 8)), "S")
    out = (1, 4, -(-size // 2), 4)
    net.op("Conv", [y, net.constant(net.normal(4, 3, 2, 2))], out, auto_pad="SAME_UPPER", strides=[2, 2])
    assert hold(net.model()).count("BatchNormalization") == (not folds)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_before_a_recurrent_operator(kind: str, directions: int, bias: bool) -> None:
    net, hidden = Net(10), 3
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind] * hidden
    y = net.op("Transpose", [batch_norm(net, net.input("x", (2, 4, 5)), "S")], (5, 2, 4), perm=[2, 0, 1])
    inputs = [
        y,
        net.constant(net.normal(directions, gates, 4)),
        net.constant(net.normal(directions, gates, hidden)),
    ]
    if bias:
        inputs.append(net.constant(net.normal(directions, 2 * gates)))
    given = {"direction": "bidirectional"} if directions == 2 else {}
    net.op(kind, inputs, (5, directions, 2, hidden), hidden_size=hidden, **given)
    held = hold(net.model())
    assert [node.op_type for node in held.model.graph] == ["Transpose", kind]


def test_nothing_is_held_behind_a_recurrent_operator() -> None:
    net = Net(11)
    w, r = net.constant(net.normal(1, 3, 4)), net.constant(net.normal(1, 3, 3))
    y = net.op("RNN", [net.input("x", (5, 2, 4)), w, r], (5, 1, 2, 3), hidden_size=3)
    net.op("Mul", [y, net.constant(net.normal(3))], (5, 1, 2, 3))
    assert set(hold(net.model()).kept().values()) == {"kept.non-linear"}


NORMALISED = (2, 4, 3, 5)


@pytest.mark.parametrize(
    ("kind", "parameters", "scale", "folds"),
    [
        ("InstanceNormalization", [(4,), (4,)], (4, 1, 1), True),
        ("InstanceNormalization", [(4,), (4,)], (5,), False),
        ("LayerNormalization", [(5,), (5,)], (5,), True),
        ("LayerNormalization", [(5,), (5,)], (), True),
        ("LayerNormalization", [(5,), (5,)], (3, 1), False),
        ("LayerNormalization", [(5,)], (5,), True),  # it gets a bias
    ],
)
def test_a_normalisation_holds_maps_in_its_scale_and_bias(
    kind: str, parameters: list[tuple[int, ...]], scale: tuple[int, ...], folds: bool
) -> None:
    net = Net(12)
    y = net.op(
        kind, [net.input("x", NORMALISED), *(net.constant(net.normal(*s)) for s in parameters)], NORMALISED
    )
    y = net.op("Mul", [y, net.constant(np.asarray(net.normal(*scale)))], NORMALISED)
    net.op("Add", [y, net.constant(np.asarray(net.normal(*scale)))], NORMALISED)
    held = hold(net.model(), tolerance=1e-10)
    assert (held.count("Mul", "Add") == 0) is folds


def test_every_channel_of_a_group_has_its_scale_from_opset_21_on() -> None:
    net = Net(13)
    inputs = [net.constant(net.normal(4)) for _ in range(2)]
    y = net.op("GroupNormalization", [net.input("x", NORMALISED), *inputs], NORMALISED, num_groups=2)
    net.op("Mul", [y, net.constant(net.normal(4, 1, 1))], NORMALISED)
    proto = net.model()
    proto.opset_import[0].version, proto.ir_version = 21, 10
    assert hold(proto).count("Mul") == 0


@pytest.mark.parametrize("data", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("weight", [(4,), (4, 5)])
@pytest.mark.parametrize("behind", [True, False])
def test_products_with_vectors_hold_maps(
    data: tuple[int, ...], weight: tuple[int, ...], behind: bool
) -> None:
    net, shape = Net(14), (*data[:-1], *weight[1:])
    y, w = net.input("x", data), net.constant(net.normal(*weight))
    if behind:
        y = net.op("MatMul", [y, w], shape)
        net.op("Mul", [y, net.constant(np.asarray(net.normal(*weight[1:])))], shape)
    else:
        y = net.op("Mul", [y, net.constant(net.normal(4))], data)
        y = net.op("Add", [y, net.constant(net.normal(4))], data)
        net.op("MatMul", [y, w], shape)
    assert hold(net.model()).count("Mul") == 0


@pytest.mark.parametrize("weight", [(4,), (5, 4)])
@pytest.mark.parametrize("data", [(4,), (4, 3), (2, 4, 3)])
def test_products_with_vectors_hold_maps_of_their_second_operand(
    weight: tuple[int, ...], data: tuple[int, ...]
) -> None:
    net = Net(15)
    shape = (*data[:-2], *weight[:-1], *data[1:][-1:])
    k = net.constant(net.normal(4) if len(data) == 1 else net.normal(4, 1))
    y = net.op("Mul", [net.input("x", data), k], data)
    net.op("MatMul", [net.constant(net.normal(*weight)), y], shape)
    assert hold(net.model()).count("Mul") == 0
