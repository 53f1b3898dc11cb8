"""Where a network with layers that cannot be built may end or begin: --cut-at, --input-shape, and the advice
to use them, which is followed here."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported
from bnfold.results.options import command_line

from .files import Net, input_layer, layer, normal, same

X = input_layer("x", 1, 2, 6, 6)
DATA = normal(1, 2, 6, 6)


def power(bottom, top, scale, name):
    return layer("Power", [bottom], [top], f"power_param {{ scale: {scale} }}", name=name)


def followed(folder, text, **options):
    """The network that the advice of an error leads to, all of its cuts at once."""
    with command_line(), pytest.raises(Unsupported) as caught:
        Net(folder, text, **options)
    cuts = re.findall(r"--cut-at ([^\s,]+)", str(caught.value))
    assert cuts
    return Net(folder, text, cut_at=tuple(cuts), **options)


def test_a_cut_before_an_unknown_layer_that_works_in_place(tmp_path):
    text = X + power("x", "a", 2, "one") + layer("Odd", "a", "a", name="odd")
    behind = text + power("a", "y", 3, "two")
    for one in (text, behind):
        net = followed(tmp_path, one)
        assert net.outputs == ["a"]
        same(net.run(x=DATA)["a"], DATA * 2)
    net = Net(tmp_path, behind, cut_at=("a",))
    assert "caffe.cut" in net.codes
    same(net.run(x=DATA)["a"], DATA * 2)
    same(Net(tmp_path, behind, cut_at=("a/one",)).run(x=DATA)["a"], DATA * 2)


def test_a_cut_at_an_earlier_value_of_a_blob(tmp_path):
    text = X + power("x", "a", 2, "one") + layer("ReLU", "a", "a", name="relu") + power("a", "y", 3, "two")
    net = Net(tmp_path, text, cut_at=("a/one",))
    assert net.outputs == ["a"]
    same(net.run(x=DATA)["a"], DATA * 2)
    same(Net(tmp_path, text, cut_at=("a",)).run(x=DATA)["a"], np.maximum(DATA * 2, 0))


def test_a_cut_keeps_everything_that_can_be_built(tmp_path):
    text = (
        X
        + power("x", "img", 2, "one")
        + power("img", "a", 3, "two")
        + power("a", "loc", 5, "three")
        + layer("Odd", ["a", "img", "x"], "p", name="odd")
        + layer("Concat", ["loc", "p"], "y", name="cat")
        + layer("Strange", "y", "z", name="strange")
        + power("x", "side", 7, "four")
    )
    net = followed(tmp_path, text)
    assert net.outputs == ["a", "img", "loc", "side"]
    got = net.run(x=DATA)
    for name, scale in (("img", 2), ("a", 6), ("loc", 30), ("side", 7)):
        same(got[name], DATA * scale)


def test_every_layer_that_cannot_be_built_is_cut_off_at_once(tmp_path):
    pool = "pooling_param { kernel_size: 2 pool: LIP }"
    text = (
        X
        + power("x", "a", 2, "one")
        + layer("Odd", "a", "b", name="odd")
        + layer("Pooling", "a", "c", pool, name="pool")
        + layer("ELU", "a", "d", "elu_param { lambda: 2 }", name="elu")
        + layer("ELU", "b", "e", name="behind")
    )
    net = followed(tmp_path, text.replace("elu_param { lambda: 2 }", ""))
    assert net.outputs == ["a", "d"]
    net = followed(tmp_path, text.replace('type: "Odd"', 'type: "ReLU"').replace("pool: LIP", ""))
    assert net.outputs == ["a", "c", "e"]


def test_more_bottoms_than_a_forks_layer_has(tmp_path):
    text = X + power("x", "a", 2, "one") + layer("Normalize", ["a", "x"], "y", name="norm")
    assert followed(tmp_path, text).outputs == ["a"]
    with pytest.raises(Malformed, match="2 bottoms; expected 1 for a layer of type AbsVal"):
        Net(tmp_path, X + layer("AbsVal", ["x", "x"]))


HEAD = (
    X
    + power("x", "a", 2, "one")
    + layer("Python", "a", ["rois", "label"], "python_param { module: 'm' layer: 'L' }", name="proposal")
    + layer("ROIPooling", ["a", "rois"], "p", "roi_pooling_param { pooled_h: 2 pooled_w: 2 }", name="pool")
)
ROIS = np.float32([[0, 0, 0, 3, 3], [0, 1, 2, 5, 5]])


def test_the_result_of_an_unknown_layer_is_an_input_where_its_shape_is_given(tmp_path):
    with command_line(), pytest.raises(Unsupported, match=r"proposal \(Python\).*--input-shape rois:300,5"):
        Net(tmp_path, HEAD)
    net = Net(tmp_path, HEAD, input_shapes=(("rois", (2, 5)),))
    assert net.inputs == ["x", "rois"]
    assert net.outputs == ["p"]
    assert "caffe.unknown-layer" in net.codes
    same(net.run(x=DATA, rois=ROIS)["p"][0, 0, 0, 0], DATA[0, 0, :2, :2].max() * 2)


def test_what_else_the_unknown_layer_makes_is_absent(tmp_path):
    losses = layer("SoftmaxWithLoss", ["p", "label"], "l", name="loss")
    net = Net(tmp_path, HEAD + losses, input_shapes=(("rois", (2, 5)),))
    assert net.outputs == ["p"]
    needs_it = layer("Eltwise", ["p", "label"], "e", name="sum")
    with pytest.raises(Unsupported, match=r"proposal \(Python\): .*'label' is needed too"):
        Net(tmp_path, HEAD + needs_it, input_shapes=(("rois", (2, 5)),))
    both = (("rois", (2, 5)), ("label", (2, 2, 2, 2)))
    net = Net(tmp_path, HEAD + needs_it, input_shapes=both)
    assert net.inputs == ["x", "rois", "label"]
    assert net.outputs == ["e"]


def test_a_blob_behind_an_unknown_layer_may_be_the_input(tmp_path):
    text = HEAD + power("p", "q", 3, "two") + power("q", "y", 5, "three")
    net = Net(tmp_path, text, input_shapes=(("q", (1, 4)),))
    assert (net.inputs, net.outputs) == (["x", "q"], ["a", "y"])
    same(net.run(x=DATA, q=np.ones((1, 4)))["y"], np.full((1, 4), 5))


def test_an_unknown_layer_in_place_may_be_an_input(tmp_path):
    text = X + power("x", "a", 2, "one") + layer("Odd", "a", "a", name="odd") + power("a", "y", 3, "two")
    net = Net(tmp_path, text, input_shapes=(("a", (1, 2)),))
    got = net.run(x=DATA, a=np.ones((1, 2)))
    same(got["y"], np.full((1, 2), 3))
    same(got["a/one"], DATA * 2)


def test_a_blob_that_is_computed_stays_so(tmp_path):
    net = Net(
        tmp_path, X + power("x", "a", 2, "one") + power("a", "y", 3, "two"), input_shapes=(("a", (1,)),)
    )
    assert net.inputs == ["x"]


TRAINING = (
    "layer { name: 'feed' type: 'Data' top: 'x' top: 't' include { phase: TRAIN } data_param { batch_size: 2 } }\n"
    + power("x", "a", 2, "one")
    + layer("SoftmaxWithLoss", ["a", "t"], "l", "include { phase: TRAIN }", name="loss")
)


def test_a_data_source_of_another_phase_is_named_with_the_option_that_helps(tmp_path):
    with command_line(), pytest.raises(Malformed) as caught:
        Net(tmp_path, TRAINING)
    said = str(caught.value)
    assert "net.prototxt:2:" in said
    assert "unknown bottom 'x'" in said
    assert "'feed' (Data) in line 1, which makes it, exists for phase TRAIN" in said
    assert "--input-shape x:1,3,224,224" in said
    for shapes in ((("x", (1, 2)),), (("", (1, 2)),)):
        net = Net(tmp_path, TRAINING, input_shapes=shapes)
        assert (net.inputs, net.outputs) == (["x"], ["a"])


def test_regions_of_another_phase_get_the_dims_of_regions(tmp_path):
    text = HEAD.replace("python_param", "include { phase: TRAIN } python_param")
    with command_line(), pytest.raises(Malformed, match="--input-shape rois:300,5"):
        Net(tmp_path, text)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("input: 'x'\n", "the 'input' of this name in line 1 has no shape; make it an input"),
        ("input: 'x' input_dim: 1 input_dim: 2 input_dim: -1 input_dim: -1\n", "a shape of (1, 2, -1, -1)"),
        ("input: 'x' input_shape { dim: 0 dim: 2 }\n", "a shape of (0, 2)"),
        (
            "layer { name: 'i' type: 'Input' top: 'x' exclude { phase: TEST } input_param { shape { dim: 3 } } }\n",
            "'i' (Input) in line 1, which makes it, does not exist for phase TEST",
        ),
        (
            "layer { name: 'i' type: 'Input' top: 'x' include { stage: 'deploy' } }\n",
            "exists for another stage or level",
        ),
    ],
)
def test_inputs_without_a_shape(tmp_path, head, words):
    with command_line(), pytest.raises(Malformed) as caught:
        Net(tmp_path, head + power("x", "a", 2, "one"))
    assert words in str(caught.value)
    assert "--input-shape x:1,3,224,224" in str(caught.value)
    net = Net(tmp_path, head + power("x", "a", 2, "one"), input_shapes=(("x", (1, 2)),))
    same(net.run(x=[[1, 2]])["a"], [[2, 4]])


def test_a_python_layer_with_a_loss_weight_is_a_loss(tmp_path):
    text = X + power("x", "a", 2, "one") + layer("Python", "a", "l", "loss_weight: 1", name="loss")
    net = Net(tmp_path, text)
    assert net.outputs == ["a"]
    assert any("it is a loss, as its loss_weight says" in f.text for f in net.loaded.findings)


def test_names_of_layers_and_blobs_are_utf_8(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_bytes((X + power("x", "a", 2, "one")).encode().replace(b'"one"', b'"\xb2\xe2"'))
    from bnfold.reading.caffe import read
    from bnfold.results.options import ReadOptions

    with pytest.raises(Malformed, match=r"net.prototxt:2:9 .*a 'name' that is not UTF-8"):
        read(net, None, ReadOptions())
