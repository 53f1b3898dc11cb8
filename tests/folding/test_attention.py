"""What attention blocks need: scales through products of run-time matrices, and maps on parts of one
value."""

from __future__ import annotations

import numpy as np
import pytest

from .held import hold
from .nets import Net


def projection(net: Net, x: str, size: int) -> str:
    *lead, width = net.values[x]
    return net.op("MatMul", [x, net.constant(net.normal(width, size))], (*lead, size))


@pytest.mark.parametrize("where", [0, 1])
def test_the_scale_of_attention_goes_into_a_projection(where: int) -> None:
    net = Net(0)
    x = net.input("x", (2, 5, 4))
    q, k = projection(net, x, 3), net.op("Transpose", [projection(net, x, 3)], (2, 3, 5), perm=[0, 2, 1])
    if where:
        net.op("Sigmoid", [q], (2, 5, 3))  # q is read by something else, so the scale has to go into k
    y = net.op("MatMul", [q, k], (2, 5, 5))
    y = net.op("Mul", [y, net.constant(np.array(0.25))], (2, 5, 5))
    net.op("Softmax", [y], (2, 5, 5))
    assert hold(net.model()).count("Mul") == 0


def test_a_scale_behind_attention_goes_into_the_values() -> None:
    net = Net(0)
    x = net.input("x", (2, 5, 4))
    weights = net.op("Softmax", [net.input("scores", (2, 5, 5))], (2, 5, 5))
    y = net.op("MatMul", [weights, projection(net, x, 3)], (2, 5, 3))
    net.op("Mul", [y, net.constant(net.normal(3))], (2, 5, 3))
    assert hold(net.model()).count("Mul") == 0


def test_a_scale_before_a_product_passes_to_a_projection_behind_it() -> None:
    net = Net(0)
    x = net.op("Mul", [net.input("x", (2, 5, 4)), net.constant(net.normal(5, 1))], (2, 5, 4))
    y = net.op("MatMul", [x, net.input("z", (2, 4, 3))], (2, 5, 3))
    y = net.op("Transpose", [y], (2, 3, 5), perm=[0, 2, 1])
    projection(net, y, 2)
    assert hold(net.model()).count("Mul") == 0


def test_a_map_along_the_axis_that_is_summed_stays() -> None:
    net = Net(0)
    x = net.op("Mul", [net.input("x", (2, 5, 4)), net.constant(net.normal(4))], (2, 5, 4))
    y = net.op("MatMul", [x, net.input("z", (2, 4, 3))], (2, 5, 3))
    projection(net, y, 2)
    assert list(hold(net.model()).kept().values()) == ["kept.graph-input"]


@pytest.mark.parametrize("constant", [np.array(0.5), np.arange(1.0, 3.0).reshape(2, 1, 1)])
def test_a_map_on_one_slice_does_not_mind_the_readers_of_others(constant: np.ndarray) -> None:
    net = Net(0)
    y = net.op("Conv", [net.input("x", (1, 3, 4, 4)), net.constant(net.normal(6, 3, 1, 1))], (1, 6, 4, 4))
    parts = [
        net.op("Slice", [y, *(net.constant(np.array([v])) for v in (at, at + 2, 1))], (1, 2, 4, 4))
        for at in (0, 2, 4)
    ]
    first = net.op("Mul", [parts[0], net.constant(constant)], (1, 2, 4, 4))
    net.op("Sum", [net.op("Sigmoid", [p], (1, 2, 4, 4)) for p in (first, *parts[1:])], (1, 2, 4, 4))
    assert hold(net.model()).count("Mul") == 0


def test_slices_that_overlap_do_mind() -> None:
    net = Net(0)
    y = net.op("Conv", [net.input("x", (1, 3, 4, 4)), net.constant(net.normal(6, 3, 1, 1))], (1, 6, 4, 4))
    parts = [
        net.op("Slice", [y, *(net.constant(np.array([v])) for v in (at, at + 3, 1))], (1, 3, 4, 4))
        for at in (0, 2)
    ]
    first = net.op("Mul", [parts[0], net.constant(np.array(0.5))], (1, 3, 4, 4))
    net.op("Sum", [net.op("Sigmoid", [p], (1, 3, 4, 4)) for p in (first, parts[1])], (1, 3, 4, 4))
    assert list(hold(net.model()).kept().values()) == ["kept.multiple-consumers"]


def weighted_means(net: Net, along: int, turned: bool) -> tuple[str, tuple[int, ...]]:
    """A product of values by a Softmax's result: (2, 5, 3), or (2, 3, 5) where all is turned around."""
    a = net.op("Softmax", [net.input("scores", (2, 5, 5))], (2, 5, 5), axis=along)
    if not turned:
        values = projection(net, net.input("x", (2, 5, 4)), 3)
        values = net.op("Add", [values, net.constant(net.normal(3))], (2, 5, 3))
        return net.op("MatMul", [a, values], (2, 5, 3)), (3,)
    values = net.op("Conv", [net.input("x", (2, 4, 5)), net.constant(net.normal(3, 4, 1))], (2, 3, 5))
    a = net.op("Transpose", [a], (2, 5, 5), perm=[0, 2, 1])
    return net.op("MatMul", [values, a], (2, 3, 5)), (3, 1)


@pytest.mark.parametrize(
    ("along", "turned", "folds"), [(-1, False, True), (2, True, True), (1, False, False), (1, True, False)]
)
def test_a_shift_passes_a_weighted_mean(along: int, turned: bool, folds: bool) -> None:
    net = Net(0)
    y, channels = weighted_means(net, along, turned)
    y = net.op("Mul", [y, net.constant(net.normal(*channels))], net.values[y])
    net.op("Add", [y, net.constant(net.normal(*channels))], net.values[y])
    kept = hold(net.model()).kept()
    assert kept == {} if folds else list(kept.values()) == ["kept.shift-does-not-pass"]


def test_a_shift_passes_a_weighted_mean_to_a_projection_behind_it() -> None:
    net = Net(0)
    a = net.op("Softmax", [net.input("scores", (2, 5, 5))], (2, 5, 5), axis=-1)
    x = net.op("Add", [net.input("x", (2, 5, 4)), net.constant(net.normal(4))], (2, 5, 4))
    projected = net.op(
        "MatMul", [net.op("MatMul", [a, x], (2, 5, 4)), net.constant(net.normal(4, 3))], (2, 5, 3)
    )
    net.op("Add", [projected, net.constant(net.normal(3))], (2, 5, 3))
    assert hold(net.model()).count("Add") == 1


def test_the_rows_of_an_old_softmax_over_several_axes_sum_to_less_than_one() -> None:
    net = Net(0)
    y, channels = weighted_means(net, 1, False)
    net.op("Add", [y, net.constant(net.normal(*channels))], net.values[y])
    model = net.model()
    model.opset_import[0].version = 11
    assert list(hold(model).kept().values()) == ["kept.shift-does-not-pass"]


def test_many_identities_between_a_softmax_and_its_product() -> None:
    net = Net(0)
    a = net.op("Softmax", [net.input("scores", (2, 5, 5))], (2, 5, 5), axis=-1)
    for _ in range(1500):
        a = net.op("Identity", [a], (2, 5, 5))
    values = net.op(
        "Add", [projection(net, net.input("x", (2, 5, 4)), 3), net.constant(net.normal(3))], (2, 5, 3)
    )
    y = net.op("MatMul", [a, values], (2, 5, 3))
    net.op("Add", [y, net.constant(net.normal(3))], (2, 5, 3))
    assert hold(net.model()).kept() == {}
