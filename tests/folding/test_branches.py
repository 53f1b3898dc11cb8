"""Parallel linear branches."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.folding import fold
from bnfold.reading.onnx import read
from bnfold.record import FoldOptions

from .held import hold
from .nets import Net
from .test_commute import batch_norm

X = (1, 4, 6, 6)


def branch(net: Net, x: str, taps: tuple[int, int], pads: list[int], stride: int = 1, group: int = 1, dilation: int = 1) -> str:
    n, c, h, w = net.values[x]
    out = tuple((s + pads[a] + pads[a + 2] - dilation * (taps[a] - 1) - 1) // stride + 1 for a, s in enumerate((h, w)))
    weights = net.constant(net.normal(4, c // group, *taps))
    return net.op("Conv", [x, weights], (n, 4, *out), pads=pads, strides=[stride] * 2, group=group, dilations=[dilation] * 2)


def summed(net: Net, parts: list[str]) -> None:
    y = parts[0]
    for part in parts[1:]:
        y = net.op("Add", [y, part], net.values[y])


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_repvgg(group: int, stride: int) -> None:
    net = Net(0)
    x = net.input("x", X)
    parts = [batch_norm(net, branch(net, x, (3, 3), [1] * 4, stride, group), "S"), batch_norm(net, branch(net, x, (1, 1), [0] * 4, stride, group), "S")]
    summed(net, [*parts, batch_norm(net, x, "S")] if stride == 1 else parts)
    held = hold(net.model())
    assert (len(held.model.graph), held.count("Conv")) == (1, 1)


def test_acnet() -> None:
    net = Net(0)
    x = net.input("x", X)
    summed(net, [branch(net, x, (3, 3), [1] * 4), branch(net, x, (1, 3), [0, 1, 0, 1]), branch(net, x, (3, 1), [1, 0, 1, 0])])
    assert len(hold(net.model()).model.graph) == 1


def test_dilated_branches_lie_over_one_another_where_their_paddings_say_so() -> None:
    net = Net(0)
    x = net.input("x", X)
    summed(net, [branch(net, x, (3, 3), [2] * 4, dilation=2), branch(net, x, (1, 1), [0] * 4)])
    assert len(hold(net.model()).model.graph) == 1


@pytest.mark.parametrize("parts", [
    lambda net, x: [branch(net, x, (3, 3), [2, 2, 0, 0]), branch(net, x, (1, 1), [0] * 4), branch(net, x, (1, 1), [0] * 4)],
    lambda net, x: [branch(net, x, (3, 3), [1] * 4, group=2), branch(net, x, (1, 1), [0] * 4)],
    lambda net, x: [branch(net, x, (1, 3), [0, 1, 0, 1]), branch(net, x, (3, 1), [1, 0, 1, 0])],
    lambda net, x: [branch(net, x, (3, 3), [1] * 4), branch(net, net.op("Relu", [x], X), (1, 1), [0] * 4)],
    lambda net, x: [branch(net, x, (3, 3), [2] * 4, dilation=2), branch(net, x, (3, 3), [1] * 4)],
])
def test_numbers_agree_whether_they_merge_or_not(parts) -> None:  # type: ignore[no-untyped-def]
    net = Net(0)
    x = net.input("x", X)
    summed(net, parts(net, x))
    hold(net.model())


def test_nothing_is_merged_that_would_cost_more() -> None:
    net = Net(0)
    x = net.input("x", X)
    summed(net, [branch(net, x, (1, 3), [0, 1, 0, 1]), branch(net, x, (3, 1), [1, 0, 1, 0])])
    assert hold(net.model()).count("Conv") == 2


def test_a_branch_that_something_else_reads_stays() -> None:
    net = Net(0)
    x = net.input("x", X)
    y = branch(net, x, (3, 3), [1] * 4)
    net.op("Sigmoid", [y], X)
    summed(net, [y, branch(net, x, (1, 1), [0] * 4)])
    assert hold(net.model()).count("Conv") == 2


def test_half_precision_keeps_an_identity_branch() -> None:
    net = Net(0)
    x = net.input("x", X)
    weights = net.constant((net.normal(4, 4, 3, 3) * 0.1).astype(np.float16))
    y = net.op("Conv", [x, weights], X, pads=[1] * 4)
    net.op("Add", [y, x], X)
    model, _ = fold(read(net.model()).model)
    assert [n.op_type for n in model.graph] == ["Conv", "Add"]


def test_it_can_be_turned_off() -> None:
    net = Net(0)
    x = net.input("x", X)
    summed(net, [branch(net, x, (3, 3), [1] * 4), branch(net, x, (1, 1), [0] * 4)])
    assert hold(net.model(), FoldOptions(merge_branches=False)).count("Conv") == 2


def test_a_branch_may_be_subtracted() -> None:
    """FastViT's mixer: x + scale · (Conv(x) - BatchNormalization(x))."""
    net = Net(0)
    x = net.op("Relu", [net.input("x", X)], X)
    y = net.op("Sub", [branch(net, x, (3, 3), [1] * 4, group=4), batch_norm(net, x, "S")], X)
    y = net.op("Mul", [y, net.constant(net.normal(4, 1, 1))], X)
    net.op("Add", [x, y], X)
    assert [n.op_type for n in hold(net.model()).model.graph] == ["Relu", "Conv"]


@pytest.mark.parametrize(("pads", "counted", "merged"), [([0] * 4, 0, True), ([1] * 4, 1, True), ([1] * 4, 0, False)])
def test_an_average_is_a_kernel_where_it_counts_what_a_convolution_counts(pads: list[int], counted: int, merged: bool) -> None:
    net = Net(0)
    x = net.input("x", X)
    y = branch(net, x, (3, 3), pads)
    mean = net.op("AveragePool", [x], net.values[y], kernel_shape=[3, 3], pads=pads, count_include_pad=counted)
    net.op("Add", [y, batch_norm(net, mean, "S")], net.values[y])
    assert hold(net.model()).count("AveragePool") == (0 if merged else 1)


def test_a_sum_of_more_is_merged_in_part() -> None:
    net = Net(0)
    x = net.input("x", X)
    y = net.op("Add", [branch(net, x, (3, 3), [1] * 4), batch_norm(net, x, "S")], X)
    net.op("Add", [y, net.op("Sigmoid", [x], X)], X)
    assert hold(net.model()).count("BatchNormalization") == 0
