"""Older generations: each network here is written in two generations and must be the same network."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported
from bnfold.reading.caffe.registry import LAYERS, layer
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


HEAD = """input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
"""


def test_a_word_that_only_a_fork_has_is_a_type_of_its_own(tmp_path):
    weights = {"conv": WEIGHTS["conv"]}
    odd = 'layers { name: "odd" type: GREEN_POOLING bottom: "c" top: "o" green_param { depth: 2 } }'
    with pytest.raises(Unsupported, match=r"net.prototxt:3:1 odd \(GREEN_POOLING\): .*--cut-at c"):
        Net(tmp_path, HEAD + odd, weights)
    assert Net(tmp_path, HEAD + odd, weights, cut_at=("c",)).outputs == ["c"]
    for more in (
        odd.replace("green_param", "include { phase: TRAIN } green_param"),
        odd.replace('top: "o"', ""),
        odd.replace("GREEN_POOLING", "GREEN_LOSS"),
        odd.replace("GREEN_POOLING", "SEG_ACCURACY"),
        odd.replace("GREEN_POOLING", "HDF5_OUTPUT"),
    ):
        assert Net(tmp_path, HEAD + more, weights).outputs == ["c"]


def test_a_word_of_a_fork_that_is_spelled_like_a_known_type_is_read(tmp_path):
    more = 'layers { name: "b" type: BRELU bottom: "c" top: "c" brelu_param { minval: 0 maxval: 1 } }'
    net = Net(tmp_path, HEAD + more, {"conv": WEIGHTS["conv"]})
    assert net.ops() == ["Conv", "Clip"]


@pytest.mark.parametrize("type_", ["DOUBLER", "Doubler"])
def test_a_word_of_a_fork_may_be_taught(tmp_path, type_):
    @layer(type_, param="doubler_param")
    def twice(at, x, *, factor: float = 1.0):
        """factor x"""
        return at.op("Mul", x, at.scalar(factor, "factor"))

    try:
        more = 'layers { name: "d" type: DOUBLER bottom: "c" top: "d" doubler_param { factor: 2 } }'
        got = Net(tmp_path, HEAD + more, {"conv": WEIGHTS["conv"]}).run(data=DATA)
        assert np.array_equal(got["d"], 2 * got["c"])
    finally:
        del LAYERS[type_]


def test_the_3d_layers_of_c3d_have_their_parameters_where_others_have_those_of_images(tmp_path):
    old = """layers { name: "data" type: VIDEO_DATA top: "data" top: "label" image_data_param { source: "x"
      batch_size: 2 crop_size: 8 new_length: 4 } }
    layers { name: "c" type: CONVOLUTION3D bottom: "data" top: "c" blobs_lr: 1 convolution_param { num_output: 2
      kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1 weight_filler { type: "gaussian" } } }
    layers { name: "p" type: POOLING3D bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2
      kernel_depth: 1 stride: 2 temporal_stride: 1 } }"""
    net = Net(tmp_path, old, {"c": [normal(2, 3, 3, 3, 3), normal(2)]})
    assert net.ops() == ["Conv", "MaxPool"]
    assert tuple(net.model.graph.inputs[0].shape) == (2, 3, 4, 8, 8)
    assert tuple(net.model.graph.outputs[0].shape) == (2, 2, 4, 4, 4)
