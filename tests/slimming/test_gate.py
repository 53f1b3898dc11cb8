"""The gate refuses every wrong slimming: faults are planted in right ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import bnfold
from bnfold.slimming import slim

from .nets import behind, model, norm, values

SIGMOID = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
    c = Conv(x, w1)
    b = BatchNormalization(c, g, be, m, v)
    s = Sigmoid(b)
    d = Conv<group=3>(s, w3)
    e = Relu(d)
    y = Conv<pads=[1,1,1,1]>(e, w2)
}"""
PARAMETERS = {
    "w1": values(6, 3, 1, 1),
    "w3": values(6, 2, 1, 1),
    "w2": values(4, 6, 3, 3),
    **norm(6, {1: 0.7, 2: -1.0, 4: 0.3}),
}


def arrays(net: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {one.name: one for one in net.graph.initializer}


def node_of(net: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in net.graph.node if node.name == name)


def change(net: onnx.ModelProto, node: str, index: int, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Another constant for a node."""
    tensor = arrays(net)[node_of(net, node).input[index]]
    old = numpy_helper.to_array(tensor)
    new = np.asarray(how(old.copy()), old.dtype)
    assert not np.array_equal(new, old)
    tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))


def forgotten(net: onnx.ModelProto) -> None:
    """The constants never reached the bias."""
    change(net, "d", 2, lambda bias: 0 * bias)


def taken_twice(net: onnx.ModelProto) -> None:
    change(net, "d", 2, lambda bias: 2 * bias)


def of_another_channel(net: onnx.ModelProto) -> None:
    """The slices of the readers are those of other channels."""
    change(net, "d", 1, lambda weights: weights[::-1])


def another_filter(net: onnx.ModelProto) -> None:
    """A filter that lives left, and a dead one stayed."""

    def swapped(weights: np.ndarray) -> np.ndarray:
        weights[0] = values(6, 3, 1, 1)[1]
        return weights

    change(net, "c", 1, swapped)


def another_entry(net: onnx.ModelProto) -> None:
    """The batch norm kept the mean of the channel that left."""
    change(net, "b", 3, lambda mean: np.roll(mean, 1))


def half_a_constant(net: onnx.ModelProto) -> None:
    change(net, "d", 2, lambda bias: bias + 0.01 * np.abs(bias).max() * (np.arange(bias.size) == 0))


FAULTS = (forgotten, taken_twice, of_another_channel, another_filter, another_entry, half_a_constant)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused(fault: Callable[[onnx.ModelProto], None]) -> None:
    loaded = bnfold.load(model(SIGMOID, PARAMETERS))
    found = slim(loaded)
    assert found.slimming.changes
    assert bnfold.verify(loaded, found.model)
    wrong = bnfold.to_onnx(found.model)
    fault(wrong)
    assert not bnfold.verify(loaded, wrong)


@pytest.mark.parametrize("fault", FAULTS)
def test_also_behind_what_hides_it(fault: Callable[[onnx.ModelProto], None]) -> None:
    """A dead layer at the end shows none of the faults at the outputs."""
    hidden = model(
        SIGMOID.replace("y = Conv", "z = Conv")[:-1] + " h = Mul(z, zero)\n y = Add(h, one)\n}",
        {**PARAMETERS, "zero": np.zeros(1), "one": np.ones(1)},
    )
    loaded = bnfold.load(hidden)
    found = slim(loaded)
    wrong = bnfold.to_onnx(found.model)
    if not found.slimming.changes:
        pytest.skip("nothing leaves")
    fault(wrong)
    assert not bnfold.verify(loaded, wrong)


def test_a_constant_that_padding_sees_is_refused() -> None:
    """What would come out if the padding were not looked at."""
    net = behind("y = Conv<pads=[1,1,1,1]>(r, w2)", {"w2": values(4, 6, 3, 3)})
    whole = numpy_helper.to_array(arrays(net)["w2"])
    wrong = onnx.ModelProto()
    wrong.CopyFrom(net)
    keep = [0, 2, 3, 4, 5]  # without channel 1, whose constant is 0.7
    table = arrays(wrong)
    for name in ("w1", "g", "be", "m", "v"):
        table[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table[name])[keep], name))
    table["w2"].CopyFrom(numpy_helper.from_array(whole[:, keep], "w2"))
    wrong.graph.initializer.append(
        numpy_helper.from_array((np.float32(0.7) * whole[:, 1]).sum(axis=(1, 2)), "bias")
    )
    node_of(wrong, "y").input.append("bias")
    assert not bnfold.verify(net, wrong)


def test_channels_that_live_do_not_leave_unseen() -> None:
    """A channel of the smallest scale, without which the model is another one."""
    net = behind("y = Conv(r, w2)", {"w2": values(4, 6, 1, 1)})
    loaded = bnfold.load(net)
    found = bnfold.slim(loaded, below=1.0, inputs=np.zeros((1, 3, 8, 8), np.float32))
    assert found.slimming.channels > 3
    assert not bnfold.verify(loaded, found.model)


def test_a_name_that_both_models_have_means_the_same() -> None:
    """Whatever lost channels, or holds their number, has another name."""
    loaded = bnfold.load(behind("y = Conv(r, w2)", {"w2": values(4, 6, 1, 1)}))
    old, new = (
        {name for node in bnfold.to_onnx(m).graph.node for name in node.output}
        for m in (loaded, slim(loaded).model)
    )
    assert new - old == {"c/slimmed", "b/slimmed", "r/slimmed"}
