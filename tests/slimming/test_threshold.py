"""By a ratio or a bound: the result is that of the plain network with the channels multiplied by zero."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import bnfold
from bnfold.results.options import SlimOptions
from bnfold.slimming import slim

from .nets import behind, close, model, norm, run, values
from .random_nets import SIZE, random_net

W4 = {"w2": values(4, 6, 1, 1)}


def masked(net: onnx.ModelProto, masks: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The network with a product by zeros and ones behind its batch norms: an oracle of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(net)
    nodes = []
    for node in copy.graph.node:
        nodes.append(node)
        mask = masks.get(node.output[0])
        if mask is not None:
            name = node.output[0]
            node.output[0] = f"{name}/whole"
            factor = numpy_helper.from_array(mask.astype(np.float32).reshape(-1, 1, 1), f"{name}/mask")
            copy.graph.initializer.append(factor)
            nodes.append(helper.make_node("Mul", [node.output[0], factor.name], [name]))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def masks_of(net: onnx.ModelProto, reference: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The channels whose scale and shift became 0, by the output of their batch norm."""
    found = {}
    arrays = [
        {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
        for proto in (net, reference)
    ]
    for node, other in zip(net.graph.node, reference.graph.node, strict=True):
        if node.op_type == "BatchNormalization":
            old, new = (table[n.input[1]] for table, n in zip(arrays, (node, other), strict=True))
            shift = arrays[1][other.input[2]]
            if (gone := (old != 0) & (new == 0)).any():
                assert not shift[gone].any()
            found[node.output[0]] = ~((new == 0) & (shift == 0))
    return found


@given(st.integers(0, 1 << 32), st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_are_the_masked_ones(seed: int, ratio: float) -> None:
    net = random_net(seed)
    x = np.random.default_rng(seed).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    found = slim(bnfold.load(net), SlimOptions(ratio=ratio))
    reference = masked(net, masks_of(net, bnfold.to_onnx(found.reference)))
    assert close(run(reference, x=x), run(bnfold.to_onnx(found.model), x=x))


@pytest.mark.parametrize("seed", [1, 5, 9, 336])
def test_the_gate_proves_the_masked_network(seed: int) -> None:
    found = slim(bnfold.load(random_net(seed)), SlimOptions(ratio=0.5))
    if found.slimming.changes:
        report = bnfold.verify(found.reference, found.model)
        assert report, report.reason


def test_a_ratio_is_of_all_batch_norms_together() -> None:
    text = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
        c = Conv(x, w1)
        b = BatchNormalization(c, g1, be1, m1, v1)
        r = Relu(b)
        d = Conv(r, w3)
        e = BatchNormalization(d, g2, be2, m2, v2)
        s = Relu(e)
        y = Conv(s, w2)
    }"""
    parameters = {
        **W4,
        "w1": values(6, 3, 1, 1),
        "w3": values(6, 6, 1, 1),
        **norm(6, {}, "1"),
        **norm(6, {}, "2"),
    }
    parameters["g1"] = np.array([0.1, 0.2, 0.3, 0.9, 1.0, 1.1])
    parameters["g2"] = np.array([0.4, 1.2, 1.3, 1.4, 1.5, -1.6])
    loaded = bnfold.load(model(text, parameters))
    for options, after, threshold in (
        (SlimOptions(ratio=Fraction(1, 3)), [3, 5], 0.4),
        (SlimOptions(ratio=0.0), [6, 6], 0.0),
        (SlimOptions(ratio=1.0), [1, 1], 1.5),
        (SlimOptions(below=0.35), [3, 6], 0.3),
        (SlimOptions(below=9.0), [1, 1], 1.5),
    ):
        found = slim(loaded, options).slimming
        assert [row.after for row in found.layers[:2]] == after, options
        assert found.threshold == pytest.approx(threshold)


def test_a_residual_chain_leaves_together() -> None:
    """The channels of a sum leave where all summands are small; one that is not keeps them."""
    body = """d = Conv(r, w3)
        e = BatchNormalization(d, g2, be2, m2, v2)
        a = Add(r, e)
        y = Conv(a, w2)"""
    parameters = {**W4, "w3": values(6, 6, 1, 1), **norm(6, {}), **norm(6, {}, "2")}
    parameters["g"] = np.array([0.1, 0.1, 1, 1, 1, 1])
    parameters["g2"] = np.array([0.1, 1, 0.1, 1, 1, 1])
    net = behind(body, parameters)
    found = slim(bnfold.load(net), SlimOptions(below=0.5))
    assert [row.after for row in found.slimming.layers] == [5, 5, 4]
    assert {(row.node, row.channels, row.code) for row in found.slimming.stays} == {
        ("b", 1, "stays.residual"),
        ("e", 1, "stays.residual"),
    }
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    keep = np.array([0, 1, 1, 1, 1, 1])
    whole = run(masked(net, {"b": keep, "e": keep}), x=x)
    assert close(whole, run(bnfold.to_onnx(found.model), x=x)), "what stays has its scale back"


def test_the_scale_of_caffe_stands_in_a_product() -> None:
    """A Scale layer is a Mul and an Add behind a batch norm of scale 1."""
    text = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
        c = Conv(x, w1)
        b = BatchNormalization(c, g, be, m, v)
        k = Mul(b, sc)
        l = Add(k, sh)
        r = Relu(l)
        y = Conv<pads=[1,1,1,1]>(r, w2)
    }"""
    scale = np.array([0.1, 2, -0.2, 1, -3, 1])[:, None, None]
    parameters = {
        "w1": values(6, 3, 1, 1),
        "w2": values(4, 6, 3, 3),
        "sc": scale,
        "sh": np.ones((6, 1, 1)),
        **norm(6, {}),
        "g": np.ones(6),
    }
    net = model(text, parameters)
    found = slim(bnfold.load(net), SlimOptions(below=0.5))
    (row,) = found.slimming.norms
    assert (row.smallest, row.largest, row.gone) == (pytest.approx(0.1), pytest.approx(3), 2)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    reference = masked(net, {"l": np.array([0, 1, 0, 1, 1, 1])})
    assert close(run(reference, x=x), run(bnfold.to_onnx(found.model), x=x))


def test_a_shift_that_varies_over_space_is_no_batch_norms() -> None:
    text = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
        c = Conv(x, w1)
        b = BatchNormalization(c, g, be, m, v)
        l = Add(b, sh)
        y = Conv(l, w2)
    }"""
    parameters = {**W4, "w1": values(6, 3, 1, 1), "sh": values(6, 8, 8), **norm(6, {})}
    parameters["g"] = np.array([0.1, 1, 0.1, 1, 1, 1])
    found = slim(bnfold.load(model(text, parameters)), SlimOptions(below=0.5)).slimming
    assert not found.changes
    assert {row.code for row in found.stays} == {"stays.residual"}


@pytest.mark.parametrize(
    "given", [{"ratio": float("nan")}, {"ratio": 1.5}, {"ratio": -1}, {"below": float("inf")}, {"ratio": "x"}]
)
def test_wrong_values_are_usage_errors(given: dict) -> None:
    with pytest.raises(bnfold.UsageError, match="expected"):
        SlimOptions(**given)


def test_one_of_ratio_and_below() -> None:
    with pytest.raises(bnfold.UsageError, match="one of them"):
        SlimOptions(ratio=0.5, below=0.5)


def test_scales_that_are_no_numbers_stay() -> None:
    gamma = np.array([np.nan, 0.1, np.inf, 1, 1, 1])
    net = behind("y = Conv(r, w2)", {**W4, **norm(6, {}), "g": gamma})
    found = slim(bnfold.load(net), SlimOptions(ratio=1.0)).slimming
    assert not found.changes
    assert {row.code for row in found.stays} == {"stays.non-finite"}
