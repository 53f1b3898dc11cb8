"""Kernels that several operators share: folded once for every map, and counted where maps differ."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from bnfold.folding import fold
from bnfold.ir.graph import graphs
from bnfold.reading.onnx.reader import read
from bnfold.results.plan import Copied

from .held import Held, hold
from .nets import Net

X = (1, 4, 5, 5)
KERNEL = (4, 4, 3, 3)


def towers(net: Net, norms: list[list[str]], bias: bool = False) -> None:
    """One convolution on several inputs, each with a batch norm of these parameters; None: without one."""
    inputs = [net.constant(net.normal(*KERNEL)), *([net.constant(net.normal(4))] if bias else [])]
    for number, norm in enumerate(norms):
        y = net.op("Conv", [net.input(f"x{number}", X), *inputs], X, pads=[1] * 4)
        if norm:
            net.op("BatchNormalization", [y, *norm], X)


def parameters(net: Net) -> list[str]:
    return [net.constant(v) for v in (net.normal(4), net.normal(4), net.normal(4), np.full(4, 1.5))]


def kernels(held: Held) -> list[str]:
    return [n for n, v in held.model.graph.initializers.items() if v.shape.numpy() == KERNEL]


@pytest.mark.parametrize("bias", [False, True])
def test_one_kernel_under_one_map_is_one_initializer(bias: bool) -> None:
    net = Net(1)
    towers(net, [parameters(net)] * 3, bias)
    held = hold(net.model())
    assert kernels(held) == ["k4/folded"]
    assert len(held.model.graph.initializers) == 2  # kernel and bias
    assert held.plan.copied == ()


def test_what_is_computed_alike_counts_and_not_which_tensors_say_so() -> None:
    net = Net(1)
    vectors = [net.normal(4), net.normal(4), net.normal(4), np.full(4, 1.5)]
    towers(net, [[net.constant(v) for v in vectors] for _ in range(2)])
    assert len(kernels(hold(net.model()))) == 1


def test_one_kernel_under_two_maps_is_two_initializers_and_the_plan_says_so() -> None:
    net = Net(1)
    first, second = parameters(net), parameters(net)
    towers(net, [first, second, first])
    held = hold(net.model())
    assert len(kernels(held)) == 2
    assert held.plan.copied == (Copied("k8", times=2, size=4 * 4 * 9 * 8),)


def test_a_kernel_that_is_read_unfolded_too_is_one_more() -> None:
    net = Net(1)
    norm = parameters(net)
    towers(net, [norm, norm, []])
    held = hold(net.model())
    assert kernels(held) == ["k4", "k4/folded"]
    assert [(c.kernel, c.times) for c in held.plan.copied] == [("k4", 2)]


def test_kernels_that_are_equal_by_chance_stay_apart() -> None:
    net = Net(1)
    norm, values = parameters(net), net.normal(*KERNEL)
    for number in range(2):
        y = net.op("Conv", [net.input(f"x{number}", X), net.constant(values)], X, pads=[1] * 4)
        net.op("BatchNormalization", [y, *norm], X)
    assert len(kernels(hold(net.model()))) == 2


def test_biases_of_their_own_stay_apart_behind_one_kernel() -> None:
    net = Net(1)
    norm, kernel = parameters(net), net.constant(net.normal(*KERNEL))
    for number in range(2):
        bias = net.constant(net.normal(4))
        y = net.op("Conv", [net.input(f"x{number}", X), kernel, bias], X, pads=[1] * 4)
        net.op("BatchNormalization", [y, *norm], X)
    held = hold(net.model())
    assert len(kernels(held)) == 1
    assert len(held.model.graph.initializers) == 3


BODIES = """<ir_version: 8, opset_import: ["" : 17]>
g (bool c, double[1, 2, 3, 3] x) => (double[1, 2, 3, 3] y)
<double[2, 2, 1, 1] w = {1.0, 2.0, 3.0, 4.0}, double[2] s = {1.5, 2.0}, double[2] b = {1.0, -1.0},
 double[2] m = {0.5, 0.25}, double[2] v = {1.0, 2.0}>
{ y = If (c) <
    then_branch = t () => (double[1, 2, 3, 3] p) { q = Conv (x, w)
      p = BatchNormalization (q, s, b, m, v) },
    else_branch = e () => (double[1, 2, 3, 3] r) { h = Relu (x)  i = Conv (h, w)
      r = BatchNormalization (i, s, b, m, v) }> }"""


def test_bodies_share_what_the_graph_around_them_owns() -> None:
    model, plan = fold(read(parser.parse_model(BODIES)).model)
    assert len(plan.folded) == 2
    assert [v.shape.numpy() for v in model.graph.initializers.values()] == [(2,), (2, 2, 1, 1)]
    assert [len(graph.initializers) for graph in graphs(model)] == [2, 0, 0]


FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (double[1, 2, 3, 3] x) => (double[1, 2, 3, 3] y, double[1, 2, 3, 3] z)
{ y, z = my.both (x) }
<domain: "my", opset_import: ["" : 17]>
both (x) => (y, z)
{ w = Constant <value: tensor = double[2, 2, 1, 1] {1.0, 2.0, 3.0, 4.0}> ()
  s = Constant <value: tensor = double[2] {1.5, 2.0}> ()
  v = Constant <value: tensor = double[2] {1.0, 2.0}> ()
  h = Conv (x, w)
  y = BatchNormalization (h, s, s, s, v)
  i = Conv (y, w)
  z = BatchNormalization (i, s, s, s, v) }"""


def test_a_function_has_one_constant_before_all_of_its_readers() -> None:
    held = hold(parser.parse_model(FUNCTION))
    function = next(iter(held.model.functions.values()))
    assert [node.op_type for node in function].count("Constant") == 2


def test_reading_what_was_folded_gives_the_same_plan_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    net = Net(1)
    towers(net, [parameters(net)] * 3)
    once = hold(net.model()).model
    again, plan = fold(once)
    assert plan.folded == ()
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(once).SerializeToString()


TWICE = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (double[1, 2, 3, 3] x) => (double[1, 2, 3, 3] y, double[1, 2, 3, 3] z) { y, z = local.twice (x) }
<domain: "local", opset_import: ["" : 17]>
twice (x) => (y, z) {
  w = Constant <value = double[2, 2, 1, 1] {1, 2, 3, 4}> ()
  s = Constant <value = double[2] {1.5, 2.0}> ()
  b = Constant <value = double[2] {1.0, -1.0}> ()
  v = Constant <value = double[2] {1.0, 2.0}> ()
  first = Conv (x, w)
  y = BatchNormalization (first, s, b, b, v)
  h = Relu (x)
  second = Conv (h, w)
  z = BatchNormalization (second, v, b, b, v)
}"""


def test_kernels_of_a_function_are_counted_as_well() -> None:
    """Where the constants of a function lie in nodes, the count once ended the fold."""
    held = hold(parser.parse_model(TWICE))
    assert held.count("BatchNormalization") == 0
    assert held.plan.copied == (Copied("w", times=2, size=4 * 8),)
