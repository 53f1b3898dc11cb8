"""Caffe and darknet files that ask for much: depth, length, sizes of billions, arrays of crumbs."""

from __future__ import annotations

import struct

import pytest

from bnfold.files.protobuf import bytes_field, key, number_field

from ..reading.caffe.files import caffemodel, normal
from .judged import folded

INPUT = 'input: "x" input_shape { dim: 1 dim: 4 dim: 8 dim: 8 }\n'
VECTOR = 'input: "x" input_shape { dim: 1 dim: 2147483647 }\n'
LONG = 'input: "x" input_shape { dim: 2147483647 dim: 1 }\n'
CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n"


@pytest.fixture(autouse=True)
def back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def layer(type_, bottom, top, params="", name=""):
    return f'layer {{ name: "{name or top}" type: "{type_}" bottom: "{bottom}" top: "{top}" {params} }}\n'


PROTOTXTS = {
    "braces": INPUT + "layer { " * 100_000,
    "nested blocks": INPUT + "layer { a " + "{ b " * 50_000 + "}" * 50_001,
    "closing braces": INPUT + "}" * 100_000,
    "a long string": INPUT + 'layer { name: "' + "a" * 500_000 + '" type: "ReLU" bottom: "y" top: "z" }',
    "a string that never ends": INPUT + 'layer { name: "' + "\\" * 200_001,
    "a long number": INPUT + "layer { phase: " + "9" * 200_000 + " }",
    "dims": "name: 'n' " + "input_dim: 1 " * 50_000,
    "shape": 'input: "x" input_shape { ' + "dim: 2 " * 5_000 + "}" + layer("ReLU", "x", "y"),
    "dims of billions": 'input: "x" input_shape { dim: 100000 dim: 100000 dim: 100000 dim: 100000 }'
    + layer("ReLU", "x", "y"),
    "outputs of billions": INPUT
    + layer("InnerProduct", "x", "y", "inner_product_param { num_output: 2147483647 }"),
    "tiles": INPUT
    + "".join(
        layer("Tile", f"t{i}" if i else "x", f"t{i + 1}", "tile_param { tiles: 1000 }") for i in range(50)
    ),
    "doubling concats": INPUT
    + "".join(
        f'layer {{ name: "t{i + 1}" type: "Concat" bottom: "{f"t{i}" if i else "x"}" bottom: '
        f'"{f"t{i}" if i else "x"}" top: "t{i + 1}" }}\n'
        for i in range(60)
    ),
    "a window of billions": INPUT
    + layer("Pooling", "x", "y", "pooling_param { kernel_size: 2000000000 stride: 1 pad: 1999999999 }"),
    "interp": INPUT + layer("Interp", "x", "y", "interp_param { height: 2000000000 width: 2000000000 }"),
    "priors": INPUT
    + layer(
        "PriorBox",
        "x",
        "y",
        "prior_box_param { " + "min_size: 1 " * 20_000 + "aspect_ratio: 2 " * 2_000 + "}",
    ),
    "channels": VECTOR + layer("BatchNorm", "x", "y"),
    "classes": VECTOR + 'input: "l" input_shape { dim: 1 }\n' + layer("HingeLoss", 'x" bottom: "l', "y"),
    "predictions": LONG
    + 'input: "l" input_shape { dim: 2147483647 }\n'
    + layer("MultinomialLogisticLoss", 'x" bottom: "l', "y"),
    "a bilinear filler": INPUT
    + layer(
        "Deconvolution",
        "x",
        "y",
        "convolution_param { num_output: 1 kernel_size: 20001 bias_term: false "
        'pad: 9999 stride: 1 weight_filler { type: "bilinear" } }',
    ),
    "columns": INPUT.replace("dim: 4 dim: 8", "dim: 400000 dim: 1000").replace("dim: 8", "dim: 4")
    + layer("Im2col", "x", "y", "convolution_param { kernel_h: 1000 kernel_w: 4 }"),
    "a mean over a plane": INPUT.replace("dim: 4 dim: 8 dim: 8", "dim: 1 dim: 46000 dim: 46000")
    + layer("Pooling", "x", "y", "pooling_param { pool: AVE kernel_size: 2 stride: 1 pad: 1 }"),
    "padding of V0": 'name: "v0" input: "x" input_dim: 1 input_dim: 4 input_dim: 8 input_dim: 8\n'
    + "".join(
        f'layers {{ layer {{ name: "p{i}" type: "padding" pad: 1 }} bottom: '
        f'"{f"p{i - 1}" if i else "x"}" top: "p{i}" }}\n'
        for i in range(2000)
    ),
    "unknown bottoms": INPUT
    + "".join(layer("ReLU", "x", f"near{i}") for i in range(2000))
    + layer("ReLU", "naer", "y"),
    "comments": "#" * 300_000 + "\n" + INPUT + layer("ReLU", "x", "y"),
}
GOOD = {
    "a chain": INPUT + "".join(layer("ReLU", f"t{i}" if i else "x", f"t{i + 1}") for i in range(2000)),
    "readers of one blob": INPUT + "".join(layer("ReLU", "x", f"t{i}") for i in range(2000)),
}


@pytest.mark.parametrize("name", PROTOTXTS)
def test_prototxts(tmp_path, name):
    folded(tmp_path, PROTOTXTS[name].encode(), "net.prototxt", weights=None if "billions" in name else 1)


@pytest.mark.parametrize("name", GOOD)
def test_long_networks_of_caffe(tmp_path, name):
    assert folded(tmp_path, GOOD[name].encode(), "net.prototxt", weights=1).result


RNN = (
    INPUT.replace("dim: 1 dim: 4 dim: 8 dim: 8", "dim: 1000000 dim: 1 dim: 8")
    + 'input: "c" input_shape { dim: 1000000 dim: 1 }\n'
    'layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "l" recurrent_param { num_output: 4 } }\n'
)


def test_a_million_steps_in_time(tmp_path):
    folded(tmp_path, RNN.encode(), "net.prototxt", weights=1)


CRUMBS = {
    "tags that take turns": (key(5, 5) + struct.pack("<f", 1) + key(8, 1) + struct.pack("<d", 1)) * 60_000,
    "values one by one": (key(5, 5) + struct.pack("<f", 1)) * 60_000,
    "values in runs of one": (key(5, 5) + struct.pack("<f", 1) + number_field(15, 1)) * 40_000,
    "dims": bytes_field(7, b"".join(number_field(1, 1) for _ in range(60_000))),
    "dims of billions": bytes_field(7, bytes_field(1, b"\xff" * 9 + b"\x01")),
    "groups": key(3, 3) * 100_000,
    "groups that end": key(3, 3) * 50_000 + key(3, 4) * 50_000,
}
CONV = INPUT + layer(
    "Convolution", "x", "c", "convolution_param { num_output: 4 kernel_size: 1 bias_term: false }"
)


@pytest.mark.parametrize("name", CRUMBS)
def test_blobs_of_crumbs(tmp_path, name):
    data = bytes_field(100, bytes_field(1, b"c") + bytes_field(7, CRUMBS[name]))

    def others(case):
        return case.file("net.caffemodel", data)

    assert folded(tmp_path, CONV.encode(), "net.prototxt", others).error


@pytest.mark.parametrize(
    "layers", [[(f"l{i}", []) for i in range(30_000)], [("c", [normal(4, 4, 1, 1)])] * 3000]
)
def test_layers_of_crumbs(tmp_path, layers):
    folded(
        tmp_path, CONV.encode(), "net.prototxt", lambda case: case.file("net.caffemodel", caffemodel(layers))
    )


CFGS = {
    "pixels": "[net]\nwidth=2000000000\nheight=2000000000\nchannels=3\n[convolutional]\nfilters=4\nsize=3\nbatch_normalize=1\n",
    "filters": CFG + "[convolutional]\nfilters=2000000000\nsize=1\nbatch_normalize=1\n",
    "filters that just fit": CFG + "[convolutional]\nfilters=700000000\nsize=1\nbatch_normalize=1\n",
    "flat filters": CFG + "[connected]\noutput=2000000000\nbatch_normalize=1\n",
    "time": "[net]\ninputs=8\nbatch=1\ntime_steps=2000000000\n[lstm]\noutput=4\n",
    "more time": "[net]\ninputs=8\nbatch=1\ntime_steps=100000\n[rnn]\noutput=4\nhidden=4\n",
    "sections": CFG + "[dropout]\n" * 3000,
    "unknown sections": CFG + "[dropuot]\n" * 20_000,
    "options": CFG + "[convolutional]\n" + "".join(f"option{i}=1\n" for i in range(20_000)),
    "the same option": CFG + "[convolutional]\n" + "size=1\n" * 50_000,
    "a long list": CFG + "[convolutional]\n[route]\nlayers=" + ",".join(["-1"] * 50_000) + "\n",
    "doubling routes": CFG + "[convolutional]\n" + "[route]\nlayers=-1,-1\n" * 100,
    "a chain of shortcuts": CFG + "[convolutional]\nfilters=3\nsize=1\n" + "[shortcut]\nfrom=-2\n" * 1500,
    "shortcuts to all": CFG
    + "[convolutional]\nfilters=3\nsize=1\n" * 300
    + "[shortcut]\nfrom="
    + ",".join(map(str, range(300)))
    + "\n",
    "anchors": CFG
    + "[convolutional]\nfilters=6\nsize=1\n[region]\nnum=1\nclasses=1\nanchors="
    + ",".join(["1"] * 100_000)
    + "\n",
    "classes": CFG
    + "[convolutional]\nfilters=6\nsize=1\n[yolo]\nnum=1\nmask=0\nclasses=2000000000\nanchors=1,1\n",
    "masks": CFG
    + "[convolutional]\nfilters=6\nsize=1\n[yolo]\nmask="
    + ",".join(["0"] * 50_000)
    + "\nanchors=1,1\nclasses=1\n",
    "upsampling": CFG + "[upsample]\nstride=1000\n" * 20,
    "one line": CFG + "[convolutional]\nfilters=" + "9" * 1_000_000,
    "an activation": CFG + "[convolutional]\nactivation=" + "a" * 500_000,
}


@pytest.mark.parametrize("heads", ["seeded", "cut"])
@pytest.mark.parametrize("name", CFGS)
def test_cfgs(tmp_path, name, heads):
    """With seeded weights, and with a weights file of twenty bytes; what asks for gigabytes of seeded weights
    gets none here."""
    if heads == "cut":
        folded(
            tmp_path,
            CFGS[name].encode(),
            "net.cfg",
            lambda case: case.file("net.weights", struct.pack("<iiiQ", 0, 2, 5, 0)),
        )
    elif "fil" not in name:
        folded(tmp_path, CFGS[name].encode(), "net.cfg", weights=1)
