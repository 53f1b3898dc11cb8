"""Losses and accuracies against Caffe's loops; and what stands for them without a label."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Unsupported

from .files import Net, input_layer, layer, normal, same

X = normal(3, 4, 2, 2)
LABEL = np.float32([[[0, 1], [2, 3]], [[3, 3], [1, 0]], [[2, 2], [2, 1]]])


def softmax(x):
    return np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum(1, keepdims=True)


def loss(folder, type_, params="", x=X, label=LABEL, extra=""):
    text = input_layer("x", *x.shape) + input_layer("t", *label.shape) + layer(type_, "xt", params=params)
    return Net(folder, text).run(x=x, t=label)["y"]


def picked(p, label):
    return np.take_along_axis(p, label.astype(int)[:, None], 1)[:, 0]


@pytest.mark.parametrize(
    ("params", "ignored", "by"),
    [
        ("", None, 12),
        ("loss_param { normalization: FULL }", None, 12),
        ("loss_param { normalization: BATCH_SIZE }", None, 3),
        ("loss_param { normalization: NONE }", None, 1),
        ("loss_param { normalize: false }", None, 3),
        ("loss_param { ignore_label: 2 }", 2, 8),
        ("loss_param { ignore_label: 2 normalization: FULL }", 2, 12),
        ("loss_param { ignore_label: 2 normalize: true }", 2, 8),
    ],
)
def test_softmax_with_loss(tmp_path, params, ignored, by):
    counts = (-1 if ignored is None else ignored) != LABEL
    want = -(np.log(picked(softmax(X), LABEL)) * counts).sum() / by
    same(loss(tmp_path, "SoftmaxWithLoss", params), want)


def test_a_label_out_of_range_reads_a_neighbour_as_caffe_does(tmp_path):
    x, label = normal(3, 4), np.float32([1, -1, 2])
    p = softmax(x).ravel()
    same(loss(tmp_path, "SoftmaxWithLoss", x=x, label=label), -np.log(p[[1, 3, 10]]).mean())


@pytest.mark.parametrize(
    ("params", "by"),
    [("", 3), ("loss_param { normalization: FULL }", 12), ("loss_param { normalize: true }", 12)],
)
def test_sigmoid_cross_entropy(tmp_path, params, by):
    x, target = normal(3, 4), np.float32(normal(3, 4, seed=1) > 0)
    want = (np.log1p(np.exp(x.astype(np.float64))) - x * target).sum() / by
    same(loss(tmp_path, "SigmoidCrossEntropyLoss", params, x, target), want)


def test_euclidean_multinomial_hinge(tmp_path):
    x, other, label = normal(3, 4), normal(3, 4, seed=1), np.float32([1, 0, 3])
    same(loss(tmp_path, "EuclideanLoss", x=x, label=other), ((x - other).astype(np.float64) ** 2).sum() / 6)
    p = softmax(x).astype(np.float32)
    same(
        loss(tmp_path, "MultinomialLogisticLoss", x=p, label=label),
        -np.log(picked(p.astype(np.float64), label)).mean(),
    )
    signs = np.where(np.arange(4) == label[:, None], -1, 1)
    margins = np.maximum(0, 1 + signs * x)
    same(loss(tmp_path, "HingeLoss", x=x, label=label), margins.sum() / 3)
    same(loss(tmp_path, "HingeLoss", "hinge_loss_param { norm: L2 }", x, label), (margins**2).sum() / 3)


@pytest.mark.parametrize("legacy", [False, True])
def test_contrastive(tmp_path, legacy):
    a, b, similar = normal(5, 3), normal(5, 3, seed=1), np.float32([0, 1, 0, 1, 0])
    text = input_layer("a", 5, 3) + input_layer("b", 5, 3) + input_layer("s", 5)
    net = Net(
        tmp_path,
        text
        + layer(
            "ContrastiveLoss",
            "abs",
            params=f"contrastive_loss_param {{ margin: 2 legacy_version: {str(legacy).lower()} }}",
        ),
    )
    distance = ((a - b).astype(np.float64) ** 2).sum(1)
    other = np.maximum(2 - distance, 0) if legacy else np.maximum(2 - np.sqrt(distance), 0) ** 2
    same(net.run(a=a, b=b, s=similar)["y"], np.where(similar > 0, distance, other).sum() / 10)


def test_infogain(tmp_path):
    x, label, gains = normal(3, 4), np.float32([1, 0, 3]), np.abs(normal(4, 4))
    net = Net(
        tmp_path,
        input_layer("x", 3, 4) + input_layer("t", 3) + input_layer("h", 4, 4) + layer("InfogainLoss", "xth"),
    )
    same(net.run(x=x, t=label, h=gains)["y"], -(gains[label.astype(int)] * np.log(softmax(x))).sum() / 3)
    with pytest.raises(Unsupported, match="gains are in another file"):
        loss(tmp_path, "InfogainLoss", 'infogain_loss_param { source: "h.binaryproto" }', x, label)


@pytest.mark.parametrize(
    ("params", "k", "ignored"),
    [("", 1, None), ("accuracy_param { top_k: 2 }", 2, None), ("accuracy_param { ignore_label: 2 }", 1, 2)],
)
def test_accuracy_counts_equal_scores_against_the_label(tmp_path, params, k, ignored):
    x = np.round(X)
    own = picked(x, LABEL)
    right = (x >= own[:, None]).sum(1) <= k
    counts = (-1 if ignored is None else ignored) != LABEL
    same(loss(tmp_path, "Accuracy", params, x), right[counts].mean())


DATA = """layer { name: "d" type: "Data" top: "x" top: "t" transform_param { crop_size: 8 } data_param { batch_size: 5 } }
layer { name: "c" type: "InnerProduct" bottom: "x" top: "c" inner_product_param { num_output: 3 } }
layer { name: "p" type: "Pooling" bottom: "t" top: "t2" }
layer { name: "a" type: "Accuracy" bottom: "c" bottom: "t" top: "a" }
layer { name: "m" type: "MultiBoxLoss" bottom: "c" bottom: "t" top: "m" }
"""


def test_without_a_label_the_network_ends_before_the_loss(tmp_path):
    weights = {"c": [normal(3, 192), normal(3)]}
    net = Net(tmp_path, DATA, weights)
    assert (net.inputs, net.outputs) == (["x"], ["c"])
    assert tuple(net.model.graph.inputs[0].shape) == (5, 3, 8, 8)
    assert net.codes.count("caffe.training-layer") == 3
    for type_, op in (("SoftmaxWithLoss", "Softmax"), ("SigmoidCrossEntropyLoss", "Sigmoid")):
        net = Net(tmp_path, DATA + layer(type_, "ct", ["l"]), weights)
        assert net.outputs == ["l"]
        assert net.ops()[-1] == op
        assert "caffe.deploy-form" in net.codes
    assert Net(tmp_path, DATA + layer("EuclideanLoss", "ct", ["l"]), weights).outputs == ["c"]


def test_losses_without_a_name_and_labels_from_nowhere(tmp_path):
    weights = {"c": [normal(3, 192), normal(3)]}
    assert Net(tmp_path, DATA + layer("SoftmaxWithLoss", "ct", []), weights).outputs == ["c"]
    text = input_layer("x", 2, 3) + layer(
        "InnerProduct", "x", "c", "inner_product_param { num_output: 3 }", name="c"
    )
    weights = {"c": [normal(3, 3), normal(3)]}
    assert Net(tmp_path, text + layer("SoftmaxWithLoss", ["c", "label"], ["prob"]), weights).outputs == [
        "prob"
    ]
    assert Net(tmp_path, text + layer("Accuracy", ["c", "label"], ["a"]), weights).outputs == ["c"]
    two = Net(
        tmp_path, text + input_layer("t", 2) + layer("SoftmaxWithLoss", "ct", ["loss", "prob"]), weights
    )
    got = two.run(x=normal(2, 3), t=[0, 2])
    same(got["loss"], -np.log(picked(got["prob"], np.float32([0, 2]))).mean())


def test_a_label_that_is_asked_for_by_shape_is_an_input(tmp_path):
    net = Net(
        tmp_path,
        DATA.split("\n", 3)[0] + DATA.split("\n")[1] + DATA.split("\n")[3],
        {"c": [normal(3, 192), normal(3)]},
        input_shapes=(("t", (5,)),),
    )
    assert net.inputs == ["x", "t"]
    assert net.outputs == ["a"]


def test_gray_images_and_sizes_from_elsewhere(tmp_path):
    for params, shape in (
        ("transform_param { crop_size: 6 force_gray: true }", (1, 1, 6, 6)),
        ("transform_param { crop_size: 6 mean_value: 7 }", (1, 1, 6, 6)),
        (
            "transform_param { resize_param { height: 4 width: 5 } } data_param { batch_size: 2 }",
            (2, 3, 4, 5),
        ),
        ("image_data_param { new_height: 7 new_width: 8 batch_size: 3 }", (3, 3, 7, 8)),
        ("data_param { crop_size: 9 batch_size: 3 }", (3, 3, 9, 9)),
    ):
        net = Net(tmp_path, f'layer {{ name: "d" type: "ImageData" top: "x" {params} }}' + layer("ReLU", "x"))
        assert tuple(net.model.graph.inputs[0].shape) == shape
