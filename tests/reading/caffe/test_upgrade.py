"""Older generations: each network here is written in two generations and must be the same network."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed
from bnfold.reading.caffe.registry import LAYERS
from bnfold.reading.caffe.table import ENUMS
from bnfold.reading.caffe.upgrade import V0_TYPES, V1_TYPES

from .files import Net, caffemodel, normal

DATA = normal(1, 3, 9, 9)
WEIGHTS = {"conv": [normal(4, 3, 3, 3), normal(4)], "ip": [normal(2, 100), normal(2)]}
WEIGHTS_V2 = """input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 9 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "norm" type: "LRN" bottom: "c" top: "n" lrn_param { local_size: 3 alpha: 0.5 k: 2 } }
layer { name: "pool" type: "Pooling" bottom: "n" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "drop" type: "Dropout" bottom: "p" top: "p" }
layer { name: "ip" type: "InnerProduct" bottom: "p" top: "i" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "i" top: "prob" }"""
V1 = """input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layers { name: "relu" type: RELU bottom: "c" top: "c" }
layers { name: "norm" type: 15 bottom: "c" top: "n" lrn_param { local_size: 3 alpha: 0.5 k: 2 } }
layers { name: "pool" type: POOLING bottom: "n" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layers { name: "drop" type: DROPOUT bottom: "p" top: "p" }
layers { name: "ip" type: INNER_PRODUCT bottom: "p" top: "i" inner_product_param { num_output: 2 } }
layers { name: "prob" type: SOFTMAX bottom: "i" top: "prob" }"""
V0 = """input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "padded" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 blobs_lr: 1. blobs_lr: 2. } bottom: "padded" top: "c" }
layers { layer { name: "relu" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.5 k: 2 } bottom: "c" top: "n" }
layers { layer { name: "pad2" type: "padding" pad: 1 } bottom: "n" top: "n2" }
layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "n2" top: "p" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.2 } bottom: "p" top: "p" }
layers { layer { name: "ip" type: "innerproduct" num_output: 2 biasterm: true } bottom: "p" top: "i" }
layers { layer { name: "prob" type: "softmax" } bottom: "i" top: "prob" }"""


@pytest.mark.parametrize("text", [V0, V1], ids=["v0", "v1"])
@pytest.mark.parametrize("generation", ["v0", "v1", "v2"])
def test_generations_mix_freely(tmp_path, text, generation):
    new = Net(tmp_path, WEIGHTS_V2, WEIGHTS)
    want = new.run(data=DATA)["prob"]
    old = Net(tmp_path, text, weights=caffemodel(WEIGHTS, generation))
    assert old.ops() == new.ops()
    assert [node.name for node in old.model.graph] == [node.name for node in new.model.graph]
    assert np.array_equal(old.run(data=DATA)["prob"], want)


def test_provenance_is_the_line_that_was_written(tmp_path):
    assert (
        Net(tmp_path, V0, WEIGHTS).model.graph[0].metadata_props["bnfold.source"]
        == "net.prototxt:3 conv (Convolution)"
    )


def test_shared_names_of_v1(tmp_path):
    text = """input: "x" input_dim: 1 input_dim: 2 input_dim: 1 input_dim: 1
    layers { name: "a" type: INNER_PRODUCT bottom: "x" top: "p" param: "w" param: "b"
      blob_share_mode: STRICT inner_product_param { num_output: 2 } }
    layers { name: "b" type: INNER_PRODUCT bottom: "x" top: "q" param: "w" param: "b" inner_product_param { num_output: 2 } }"""
    got = Net(tmp_path, text, {"a": [normal(2, 2), normal(2)]}).run(x=np.ones((1, 2, 1, 1)))
    assert np.array_equal(got["p"], got["q"])


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('layer { type: "ReLU" }\nlayers { type: RELU }', "2:1", "'layers' beside 'layer'"),
        ('layers { layer { type: "batchnorm" } }', "1:18", "V0 layer type 'batchnorm'"),
        (
            'layers { layer { type: "relu" kernelsize: 3 } bottom: "a" top: "b" }',
            "1:31",
            "'kernelsize' in a V0 layer of type 'relu'",
        ),
        (
            V0.replace('"relu" }', '"tanh" }').replace('bottom: "c" top: "c"', 'bottom: "padded" top: "t"'),
            "4:46",
            "is read by a layer of type TANH",
        ),
        (
            'layers { layer { type: "padding" pad: 1 } bottom: "a" bottom: "b" top: "c" }',
            "1:1",
            "other than one bottom",
        ),
        (
            'input: "a" input: "b" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\nlayer { '
            'type: "ReLU" bottom: "a" top: "y" }',
            "1:23",
            "4 input_dim for 2 inputs",
        ),
        (
            'input: "a" input: "b" input_shape { dim: 1 }\nlayer { type: "ReLU" bottom: "a" top: "y" }',
            "1:23",
            "1 input_shape for 2 inputs",
        ),
        ('input: "a"\nlayer { type: "ReLU" bottom: "a" top: "y" }', "2:22", "unknown bottom 'a'"),
    ],
)
def test_what_cannot_be_upgraded(tmp_path, text, place, words):
    with pytest.raises(Malformed) as caught:
        Net(tmp_path, text)
    assert f"net.prototxt:{place}" in str(caught.value)
    assert words in str(caught.value)


def test_an_input_beside_an_input_layer(tmp_path):
    net = Net(
        tmp_path,
        """input: "data" layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 } } }
    layer { name: "r" type: "ReLU" bottom: "data" top: "y" }""",
    )
    assert (net.inputs, net.outputs) == (["data"], ["y"])


def test_every_old_type_has_a_name():
    assert set(V1_TYPES) == set(ENUMS["V1LayerParameter.LayerType"])
    assert set(V0_TYPES.values()) <= set(V1_TYPES)
    assert set(V1_TYPES.values()) - {""} <= set(LAYERS) | {"Accuracy"}
