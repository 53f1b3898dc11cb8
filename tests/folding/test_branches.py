"""Parallel linear branches."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions
from bnfold.verifying.truth.interpreter import Interpreter

from .held import Held, hold
from .nets import Net
from .parallel import random_sum
from .test_commute import batch_norm

X = (1, 4, 6, 6)


def branch(
    net: Net,
    x: str,
    taps: tuple[int, int],
    pads: list[int],
    stride: int = 1,
    group: int = 1,
    dilation: int = 1,
) -> str:
    n, c, h, w = net.values[x]
    out = tuple(
        (s + pads[a] + pads[a + 2] - dilation * (taps[a] - 1) - 1) // stride + 1 for a, s in enumerate((h, w))
    )
    weights = net.constant(net.normal(4, c // group, *taps))
    return net.op(
        "Conv",
        [x, weights],
        (n, 4, *out),
        pads=pads,
        strides=[stride] * 2,
        group=group,
        dilations=[dilation] * 2,
    )


def summed(net: Net, parts: list[str]) -> None:
    y = parts[0]
    for part in parts[1:]:
        y = net.op("Add", [y, part], net.values[y])


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_repvgg(group: int, stride: int) -> None:
    net = Net(0)
    x = net.input("x", X)
    parts = [
        batch_norm(net, branch(net, x, (3, 3), [1] * 4, stride, group), "S"),
        batch_norm(net, branch(net, x, (1, 1), [0] * 4, stride, group), "S"),
    ]
    summed(net, [*parts, batch_norm(net, x, "S")] if stride == 1 else parts)
    held = hold(net.model())
    assert (len(held.model.graph), held.count("Conv")) == (1, 1)


def test_acnet() -> None:
    net = Net(0)
    x = net.input("x", X)
    summed(
        net,
        [
            branch(net, x, (3, 3), [1] * 4),
            branch(net, x, (1, 3), [0, 1, 0, 1]),
            branch(net, x, (3, 1), [1, 0, 1, 0]),
        ],
    )
    assert len(hold(net.model()).model.graph) == 1


def test_dilated_branches_lie_over_one_another_where_their_paddings_say_so() -> None:
    net = Net(0)
    x = net.input("x", X)
    summed(net, [branch(net, x, (3, 3), [2] * 4, dilation=2), branch(net, x, (1, 1), [0] * 4)])
    assert len(hold(net.model()).model.graph) == 1


@pytest.mark.parametrize(
    "parts",
    [
        lambda net, x: [
            branch(net, x, (3, 3), [2, 2, 0, 0]),
            branch(net, x, (1, 1), [0] * 4),
            branch(net, x, (1, 1), [0] * 4),
        ],
        lambda net, x: [branch(net, x, (3, 3), [1] * 4, group=2), branch(net, x, (1, 1), [0] * 4)],
        lambda net, x: [branch(net, x, (1, 3), [0, 1, 0, 1]), branch(net, x, (3, 1), [1, 0, 1, 0])],
        lambda net, x: [
            branch(net, x, (3, 3), [1] * 4),
            branch(net, net.op("Relu", [x], X), (1, 1), [0] * 4),
        ],
        lambda net, x: [branch(net, x, (3, 3), [2] * 4, dilation=2), branch(net, x, (3, 3), [1] * 4)],
    ],
)
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
    weights = net.constant((net.normal(4, 4, 3, 3) * 0.02).astype(np.float16))
    y = net.op("Conv", [x, weights], X, pads=[1] * 4)
    net.op("Add", [y, x], X)
    model, _ = fold(read(net.model()).model)
    assert [n.op_type for n in model.graph] == ["Conv", "Add"]


def test_half_precision_merges_branches_of_like_size() -> None:
    net = Net(0)
    x = net.input("x", X)
    parts = [
        net.op("Conv", [x, net.constant(net.normal(4, 4, k, k).astype(np.float16))], X, pads=[k // 2] * 4)
        for k in (3, 1)
    ]
    net.op("Add", parts, X)
    model, _ = fold(read(net.model()).model)
    assert [n.op_type for n in model.graph] == ["Conv"]


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


@pytest.mark.parametrize(
    ("pads", "counted", "merged"), [([0] * 4, 0, True), ([1] * 4, 1, True), ([1] * 4, 0, False)]
)
def test_an_average_is_a_kernel_where_it_counts_what_a_convolution_counts(
    pads: list[int], counted: int, merged: bool
) -> None:
    net = Net(0)
    x = net.input("x", X)
    y = branch(net, x, (3, 3), pads)
    mean = net.op(
        "AveragePool", [x], net.values[y], kernel_shape=[3, 3], pads=pads, count_include_pad=counted
    )
    net.op("Add", [y, batch_norm(net, mean, "S")], net.values[y])
    assert hold(net.model()).count("AveragePool") == (0 if merged else 1)


def test_a_sum_of_more_is_merged_in_part() -> None:
    net = Net(0)
    x = net.input("x", X)
    y = net.op("Add", [branch(net, x, (3, 3), [1] * 4), batch_norm(net, x, "S")], X)
    net.op("Add", [y, net.op("Sigmoid", [x], X)], X)
    assert hold(net.model()).count("BatchNormalization") == 0


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@example(37723, 6)  # two inner sums come to cover the same
def test_any_tree_of_sums_and_differences(seed: int, count: int) -> None:
    """Whatever is summed in whatever order, numbers and names stay true, and at most one branch over x is
    left beside the others."""
    net = Net(seed)
    x = net.op("Relu", [net.input("x", X)], X)
    other = net.op("Sigmoid", [x], X)
    makers = [
        lambda: branch(net, x, (3, 3), [1] * 4),
        lambda: branch(net, x, (1, 1), [0] * 4),
        lambda: batch_norm(net, x, "S"),
        lambda: net.op("Mul", [x, net.constant(net.normal(4, 1, 1))], X),
        lambda: other,
        lambda: branch(net, other, (3, 3), [1] * 4),
        lambda: x,
    ]
    terms = [net.pick(*makers)() for _ in range(count)]
    while len(terms) > 1:
        first, second = (terms.pop(int(net.rng.integers(len(terms)))) for _ in range(2))
        terms.append(net.op(net.pick("Add", "Add", "Sub", "Sum"), [first, second], X))
    proto = net.model()
    if not proto.graph.output:
        return
    held = hold(proto)
    names_hold(proto, held)


def names_hold(proto: onnx.ModelProto, held: Held) -> None:
    """A name that is in both graphs carries equal values."""
    original = read(proto).model
    common = {v.name for n in original.graph for v in n.outputs} & {
        v.name for n in held.model.graph for v in n.outputs
    }
    feeds = {v.name: np.random.default_rng(1).normal(size=X) for v in original.graph.inputs}
    wanted, got = (Interpreter(m).run(feeds, watch=common) for m in (original, held.model))
    for name in common:
        assert np.allclose(wanted[name], got[name], rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("seed", range(200))
def test_random_sums_of_branches(seed: int) -> None:
    hold(random_sum(seed), tolerance=1e-9)


def test_a_single_tap_takes_the_dilation_of_the_branch_that_it_joins() -> None:
    net = Net(1)
    x = net.input("x", (1, 4, 7, 7))
    one = net.op("Conv", [x, net.constant(net.normal(4, 4, 1, 1))], (1, 4, 7, 7), dilations=[1, 2])
    wide = net.op(
        "Conv", [x, net.constant(net.normal(4, 4, 3, 3))], (1, 4, 7, 7), dilations=[2, 1], pads=[2, 1, 2, 1]
    )
    net.op("Sub", [one, wide], (1, 4, 7, 7))
    held = hold(net.model())
    assert held.count("Conv") == 1
    conv = next(node for node in held.model.graph if node.op_type == "Conv")
    assert list(conv.attributes["dilations"].value) == [2, 1]


def test_a_convolution_outside_of_a_body_is_no_branch_of_a_sum_inside() -> None:
    """A body must compute what it gives by itself."""
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (bool p, float[N, 2, 5] x) => (float[N, 2, 5] y) <float[2, 2, 1] w = {1, 2, 3, 4}> {
        c = Conv(x, w) y = If(p) <then_branch = a () => (float[N, 2, 5] u) { u = Add(c, x) },
        else_branch = b () => (float[N, 2, 5] v) { v = Relu(x) }> }""")
    folded, plan = fold(read(proto).model)
    onnx.checker.check_model(ir.to_proto(folded), full_check=True)
    assert not plan.merged
