"""OpenCV's own Caffe importer as an independent judge, on what it reads right (it has its own importer traps;
see each comment)."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.reading.caffe import read
from bnfold.results.comparison import Side
from bnfold.results.options import ReadOptions, VerifyOptions
from bnfold.verifying.opencv import against_opencv

from .files import Net, caffemodel, input_layer, layer, normal, same

cv2 = pytest.importorskip("cv2", reason="needs the oracle extra (OpenCV)")
if int(cv2.__version__.split(".")[0]) >= 5:
    pytest.skip("OpenCV 5 reads no Caffe", allow_module_level=True)

X = input_layer("data", 1, 3, 12, 10)


def conv(bottom, top, name, params):
    return layer("Convolution", [bottom], [top], f"convolution_param {{ {params} }}", name)


def block(bottom, top, name, params):
    """Convolution, BatchNorm, Scale and ReLU, in place."""
    return (
        conv(bottom, top, name, params + " bias_term: false")
        + layer("BatchNorm", [top], [top], name=f"{name}/bn")
        + layer("Scale", [top], [top], "scale_param { bias_term: true }", f"{name}/scale")
        + layer("ReLU", [top], [top], name=f"{name}/relu")
    )


def weights(name, *shape, factor=3.0):
    channels = shape[0]
    return {
        name: [normal(*shape) * 0.3],
        f"{name}/bn": [
            normal(channels) * factor,
            (normal(channels, seed=1) ** 2 + 0.5) * factor,
            np.float32([factor]),
        ],
        f"{name}/scale": [normal(channels, seed=2), normal(channels, seed=3)],
    }


RESIDUAL = (
    X
    + block("data", "a", "a", "num_output: 8 kernel_size: 3 pad: 1 stride: 2")
    + block("a", "b", "b", "num_output: 8 kernel_size: 3 pad: 1")
    + layer("Eltwise", "ab", "c", name="sum")
    + layer("Pooling", "c", "p", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }", "pool")
    + layer("InnerProduct", "p", "f", "inner_product_param { num_output: 5 }", "fc")
    + layer("Softmax", "f", ["prob"], name="prob")
)
BRANCHES = (
    X
    + block("data", "a", "a", "num_output: 6 kernel_size: 3 group: 3")
    + block("data", "b", "b", "num_output: 4 kernel_size: 3")
    + layer("Concat", "ab", "c", name="cat")
    + layer("PReLU", "c", "d", name="prelu")
    + layer("Pooling", "d", "e", "pooling_param { kernel_size: 3 stride: 2 }", "pool")
    + layer(
        "Deconvolution", "e", "y", "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 }", "up"
    )
)
DETECTOR = (
    X
    + conv("data", "l", "loc", "num_output: 8 kernel_size: 3 pad: 1 stride: 4")
    + conv("data", "k", "conf", "num_output: 6 kernel_size: 3 pad: 1 stride: 4")
    + "".join(
        layer("Permute", [b], [t], "permute_param { order: 0 order: 2 order: 3 order: 1 }", t)
        + layer("Flatten", [t], [f], name=f)
        for b, t, f in (("l", "lp", "lf"), ("k", "kp", "kf"))
    )
    + layer(
        "PriorBox",
        ["l", "data"],
        ["pb"],
        "prior_box_param { min_size: 4 max_size: 6 variance: 0.1 variance: 0.1 variance: 0.2 "
        "variance: 0.2 flip: false clip: false }",
        "prior",
    )
    + layer("Reshape", ["kf"], ["kr"], "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", "kr")
    + layer("Softmax", ["kr"], ["ks"], "softmax_param { axis: 2 }", "ks")
    + layer("Flatten", ["ks"], ["kk"], name="kk")
    + layer(
        "DetectionOutput",
        ["lf", "kk", "pb"],
        ["det"],
        "detection_output_param { num_classes: 3 share_location: true background_label_id: 0 "
        "nms_param { nms_threshold: 0.45 top_k: 20 } code_type: CENTER_SIZE keep_top_k: 10 "
        "confidence_threshold: 0.1 }",
        "det",
    )
)
NETS = {
    "residual": (
        RESIDUAL,
        weights("a", 8, 3, 3, 3) | weights("b", 8, 8, 3, 3) | {"fc": [normal(5, 48), normal(5)]},
        "prob",
    ),
    "branches": (
        BRANCHES,
        weights("a", 6, 1, 3, 3)
        | weights("b", 4, 3, 3, 3)
        | {"prelu": [normal(10)], "up": [normal(10, 3, 4, 4), normal(3)]},
        "y",
    ),
    "detector": (
        DETECTOR,
        {"loc": [normal(8, 3, 3, 3) * 0.2, normal(8)], "conf": [normal(6, 3, 3, 3) * 0.2, normal(6)]},
        "det",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_opencv_computes_the_same(tmp_path, name):
    text, blobs, output = NETS[name]
    data = normal(1, 3, 12, 10)
    ours = Net(tmp_path, text, blobs).run(data=data)[output]
    theirs = cv2.dnn.readNetFromCaffe(
        np.frombuffer(text.encode(), np.uint8), np.frombuffer(caffemodel(blobs), np.uint8)
    )
    theirs.setInput(data, "data")
    want = theirs.forward()
    ours = ours.reshape(want.shape)
    if name == "detector":  # OpenCV lists detections by score alone, Caffe by class and then by score
        ours, want = (rows[0, 0][np.argsort(-rows[0, 0, :, 2])] for rows in (ours, want))
    same(ours, want, 1e-5)
    assert want.size > 4


def test_a_layer_that_opencv_takes_otherwise_is_named(tmp_path):
    """SENet's Axpy: top = a x + y; OpenCV 4.14 gives x + a y."""
    network, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    network.write_text(
        X
        + conv("data", "x", "x", "num_output: 4 kernel_size: 3")
        + conv("data", "y", "y", "num_output: 4 kernel_size: 3")
        + layer("Pooling", "x", "a", "pooling_param { pool: AVE global_pooling: true }", "a")
        + layer("Axpy", "axy", "z", name="z")
    )
    weights.write_bytes(
        caffemodel({name: [normal(4, 3, 3, 3, seed=k), normal(4, seed=k)] for k, name in enumerate("xy")})
    )
    loaded = read(network, weights, ReadOptions())
    found = against_opencv(network, weights, Side(loaded.model), VerifyOptions())
    assert any("a·x + y" in note for note in found.notes)
