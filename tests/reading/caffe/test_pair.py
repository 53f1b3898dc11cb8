"""Where everything stands in a prototxt, and what of a network becomes a graph where the rest is carried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import Malformed, Mismatch, Unsupported
from bnfold.reading.caffe import read_pair
from bnfold.reading.caffe.prototxt import Message, Text, parse
from bnfold.reading.caffe.spans import spans
from bnfold.results.options import ReadOptions

from .files import caffemodel, input_layer, layer, normal

ODD = """name: "a" 'b'  # comment { with marks
layer < name: 'x', type: "T"; p: [ { a: 1 }, < a: -2 > ] q: [1, -2.5, "s" "t"] r { s { t: u } }; >
layer { }"""


def entries(message: Message):
    for entry in message.entries:
        yield entry
        if isinstance(entry.value, Message):
            yield from entries(entry.value)


def test_every_field_of_a_text_has_its_span():
    found, text = spans(ODD), Text(ODD.encode(), Path("net.prototxt"))
    there = list(entries(parse(text)))
    assert {entry.at for entry in there} == set(found)
    shown = [ODD[found[e.at].value : found[e.at].value_end] for e in there]
    assert shown[:4] == ["\"a\" 'b'", ODD[ODD.index("<") : ODD.index("layer {") - 1], "'x'", '"T"']
    assert shown[4:12] == ["{ a: 1 }", "1", "< a: -2 >", "-2", "1", "-2.5", '"s" "t"', "{ s { t: u } }"]
    assert ODD[found[ODD.index("r {")].start : found[ODD.index("r {")].end] == "r { s { t: u } };"


def test_a_deep_text_needs_no_stack():
    depth = 20_000
    text = "a {" * depth + "}" * depth
    assert len(spans(text)) == depth


def pair(folder, text, layers=None, **options):
    network, weights = folder / "net.prototxt", folder / "net.caffemodel"
    network.write_text(text)
    weights.write_bytes(caffemodel(layers or {"n": []}))
    return read_pair(network, weights, ReadOptions(**options))


X = input_layer("x", 1, 3, 10, 10)
CONV = "convolution_param { num_output: 4 kernel_size: 3 }"
OWN = layer("OurLayer", ["x"], name="own")


@pytest.mark.parametrize(
    ("behind", "blobs", "shape"),
    [
        (layer("Convolution", ["y"], ["z"], CONV), [normal(4, 5, 3, 3), normal(4)], [1, 5, 32, 32]),
        (
            layer("Convolution", ["y"], ["z"], CONV.replace("4", "4 group: 2")),
            [normal(4, 5, 3, 3), normal(4)],
            [1, 10, 32, 32],
        ),
        (layer("Deconvolution", ["y"], ["z"], CONV), [normal(7, 4, 3, 3), normal(4)], [1, 7, 32, 32]),
        (
            layer("InnerProduct", ["y"], ["z"], "inner_product_param { num_output: 2 }"),
            [normal(2, 12), normal(2)],
            [1, 12],
        ),
        (layer("BatchNorm", ["y"], ["z"]), [normal(6), normal(6), normal(1)], [1, 6, 32, 32]),
        (layer("ReLU", ["y"], ["z"]), [], [1, 1, 32, 32]),
    ],
    ids=["convolution", "groups", "deconvolution", "product", "batch norm", "anything"],
)
def test_the_size_of_what_nobody_knows_is_what_its_readers_want(tmp_path, behind, blobs, shape):
    loaded = pair(tmp_path, X + OWN + behind, {"l": [np.abs(b) for b in blobs]} if blobs else None)
    found = {v.name: list(v.shape.numpy()) for v in loaded.model.graph.inputs}
    assert found["y"] == shape


def test_behind_a_guess_nothing_is_built_that_would_have_to_know_the_size(tmp_path):
    text = X + OWN + layer("Pooling", ["y"], ["p"], "pooling_param { kernel_size: 2 }", name="pool")
    text += layer("ReLU", ["x"], ["r"], name="relu")
    loaded = pair(tmp_path, text)
    assert [unit.name for unit in loaded.pair.units if unit.carried] == ["own", "pool"]
    assert [node.op_type for node in loaded.model.graph] == ["Relu"]


def test_what_carried_layers_read_are_outputs(tmp_path):
    text = X + layer("ReLU", ["x"], ["r"], name="relu") + layer("OurLayer", ["r"], name="own")
    text += layer("AbsVal", ["r"], ["a"], name="abs")
    loaded = pair(tmp_path, text)
    assert [v.name for v in loaded.model.graph.outputs] == ["a", "r"]


def test_a_layer_that_does_not_fit_a_guess_is_carried_too(tmp_path):
    """Two products that want different inputs: one of them cannot be what the other one is."""
    product = "inner_product_param { num_output: 2 }"
    text = X + OWN + layer("InnerProduct", ["y"], ["p"], product, name="one")
    text += layer("InnerProduct", ["y"], ["q"], product, name="two") + layer(
        "ReLU", ["x"], ["r"], name="relu"
    )
    loaded = pair(tmp_path, text, {"one": [normal(2, 5), normal(2)], "two": [normal(2, 6), normal(2)]})
    assert [unit.name for unit in loaded.pair.units if unit.carried] == ["own", "one", "two"]


def test_a_network_of_nothing_else_has_nothing_to_fold(tmp_path):
    with pytest.raises(Malformed, match="no layer of the network that computes something"):
        pair(tmp_path, X + OWN)


def test_weights_that_do_not_fit_are_an_error_as_ever(tmp_path):
    with pytest.raises(Mismatch):
        pair(tmp_path, X + layer("Convolution", ["x"], ["z"], CONV), {"l": [normal(4, 9, 3, 3), normal(4)]})


def test_memory_that_two_names_share_is_refused_as_ever(tmp_path):
    text = X + layer("Flatten", ["x"], ["f"], name="flat") + layer("ReLU", ["f"], ["f"], name="relu")
    with pytest.raises(Unsupported, match="share memory"):
        pair(tmp_path, text + layer("AbsVal", ["x"], ["a"], name="abs"))
