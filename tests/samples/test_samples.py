"""The sample network: it is as good as it says, its three forms are one network, and readers that share no
code with us agree."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import bnfold
from samples.network import CLASSES, INPUT, NETWORK, Dense, normalised, shapes
from samples.write_caffe import FACTOR, caffe_files, layers
from samples.write_darknet import darknet_files, stored
from samples.write_onnx import onnx_bytes, parameters_of

HERE = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture(scope="module")
def parameters():
    return parameters_of((HERE / "digits.onnx").read_bytes())


@pytest.fixture(scope="module")
def pictures():
    with np.load(HERE / "digits_inputs.npz") as inputs:
        return inputs[INPUT]


@pytest.fixture(scope="module")
def probabilities(pictures):
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(HERE / "digits.onnx"), options, providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: pictures})[0]


@pytest.fixture(scope="module")
def dnn():
    cv2 = pytest.importorskip("cv2", reason="OpenCV, the independent reader, is not installed")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("this OpenCV no longer reads Caffe and darknet files")
    return cv2.dnn


def test_it_recognises_held_out_digits(probabilities):
    labels = np.load(HERE / "digits_labels.npy")
    assert probabilities.shape == (len(labels), CLASSES)
    assert np.sum(probabilities.argmax(1) == labels) == 449, "samples/README.md states 449 of 450"


def test_its_statistics_were_learned(parameters):
    """A fold of trivial statistics proves nothing: no batch norm is near the identity, no channel is dead."""
    for layer in filter(normalised, NETWORK):
        gamma, beta, mean, variance = (
            parameters[f"{layer.name}/{what}"] for what in ("gamma", "beta", "mean", "variance")
        )
        assert np.abs(gamma).min() > 0.1
        assert variance.min() > 1e-2
        assert np.std(gamma) > 0.01
        assert np.std(variance) > 0.01
        assert np.abs(beta).max() > 0.01
        assert np.abs(mean).max() > 0.1


def test_the_table_holds_the_parameters(parameters):
    assert {name: array.shape for name, array in parameters.items()} == shapes()


def test_the_twins_are_what_their_writers_make_of_the_onnx(parameters):
    prototxt, caffemodel = caffe_files(parameters)
    assert prototxt == (HERE / "digits.prototxt").read_text()
    assert caffemodel == (HERE / "digits.caffemodel").read_bytes()
    weights = (HERE / "digits.weights").read_bytes()
    assert darknet_files(parameters, seen_images(weights)) == ((HERE / "digits.cfg").read_text(), weights)
    assert onnx.load_from_string(onnx_bytes(parameters)) == onnx.load(HERE / "digits.onnx")


def test_the_caffe_twin_has_a_scale_factor(parameters):
    factors = [layer.blobs[2] for layer in layers(parameters) if layer.type == "BatchNorm"]
    assert len(factors) == sum(map(normalised, NETWORK))
    assert all(factor == FACTOR != 1 for factor in factors)


def test_opencv_reads_the_caffe_twin(dnn, pictures, probabilities):
    net = dnn.readNetFromCaffe(str(HERE / "digits.prototxt"), str(HERE / "digits.caffemodel"))
    net.setInput(pictures)
    np.testing.assert_allclose(net.forward(), probabilities, rtol=0, atol=5e-6)


def test_opencv_reads_the_darknet_twin(dnn, pictures, probabilities, parameters, monkeypatch):
    """To its own epsilon, 1e-6 for 1e-5. OpenCV takes the arrays of a connected layer with batch norm in the
    order of a convolution, which is not darknet's (it then reads past the statistics); so it gets that one
    layer in the order that it expects."""

    def convolutions_order(layer):
        keys = list(stored(layer))
        return (
            sorted(keys, key=lambda key: key.endswith("/weight"))
            if isinstance(layer, Dense) and layer.batch_norm
            else keys
        )

    monkeypatch.setattr("samples.write_darknet.stored", convolutions_order)
    cfg, weights = darknet_files(parameters, 0)
    assert len(weights) == (HERE / "digits.weights").stat().st_size
    net = dnn.readNetFromDarknet(np.frombuffer(cfg.encode(), np.uint8), np.frombuffer(weights, np.uint8))
    net.setInput(pictures)
    np.testing.assert_allclose(net.forward().reshape(probabilities.shape), probabilities, rtol=0, atol=1e-3)


def test_opencv_reads_the_darknet_file_itself_up_to_the_connected_layers(dnn, pictures):
    net = dnn.readNetFromDarknet(str(HERE / "digits.cfg"), str(HERE / "digits.weights"))
    net.setInput(pictures)
    pooled = net.forward("pool_6")
    reference = dnn.readNetFromCaffe(str(HERE / "digits.prototxt"), str(HERE / "digits.caffemodel"))
    reference.setInput(pictures)
    expected = reference.forward("pool")
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-3)


def seen_images(weights: bytes) -> int:
    """The count of training images in a darknet header: 64 bits behind three 32-bit version numbers."""
    return int.from_bytes(weights[12:20], "little")


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (("digits.onnx",), {}),
        (("digits.prototxt", "digits.caffemodel"), {"input_shapes": {INPUT: (450, 1, 8, 8)}}),
        (("digits.cfg", "digits.weights"), {}),
    ],
    ids=["onnx", "caffe", "darknet"],
)
def test_bnfold_folds_every_twin_to_the_same_predictions(files, options, pictures, probabilities):
    ort = pytest.importorskip("onnxruntime")
    model = bnfold.load(*(HERE / file for file in files), **options)
    result = bnfold.fold(model)
    assert result.plan.batch_norms == (sum(map(normalised, NETWORK)), 0)
    for each in (model, result.model):
        session = ort.InferenceSession(
            bnfold.to_onnx(each).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: pictures})
        np.testing.assert_allclose(found.reshape(probabilities.shape), probabilities, rtol=0, atol=5e-6)
