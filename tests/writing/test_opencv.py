"""Both pairs in a reader that shares no code with us: OpenCV (before 5) computes of the folded files what
onnxruntime computes of the unfolded ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnfold

from ..reading.caffe.files import Net, normal
from .caffe.folding import INPUT, SCALE, STATISTICS, Folded, conv, norm, relu

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
if not hasattr(cv2.dnn, "readNetFromDarknet"):  # OpenCV 5 removed it
    pytest.skip("this OpenCV reads neither Caffe nor darknet files", allow_module_level=True)


def outcome(network: Path, weights: Path, x: np.ndarray) -> np.ndarray:
    """What OpenCV makes of an input."""
    net = cv2.dnn.readNet(str(weights), str(network))
    net.setInput(np.ascontiguousarray(x, np.float32))
    return net.forward()


@pytest.mark.parametrize(("network", "weights"), [("prototxt", "caffemodel"), ("cfg", "weights")])
def test_the_samples(tmp_path, network, weights):
    ort = pytest.importorskip("onnxruntime")
    out = tmp_path / f"merged.{network}"
    bnfold.fold_file(SAMPLES / f"digits.{network}", SAMPLES / f"digits.{weights}", out=out)
    with np.load(SAMPLES / "digits_inputs.npz") as inputs:
        pictures = next(iter(inputs.values()))[:8]
    session = ort.InferenceSession(str(SAMPLES / "digits.onnx"), providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: pictures})[0]
    for picture, expected in zip(pictures, want, strict=True):
        got = outcome(out, tmp_path / f"merged.{weights}", picture[None])
        np.testing.assert_allclose(got.ravel(), expected.ravel(), rtol=2e-4, atol=2e-5)


def test_rewired_names_and_new_biases(tmp_path):
    text = (
        INPUT.replace("dim: 2", "dim: 1", 1)
        + conv("data", "c", params="bias_term: false")
        + norm("c", "b")
        + relu("b", "b")
        + conv("b", "d", "second", params="group: 2")
        + norm("d", "d", "bn2")
    )
    layers = {"conv": [normal(4, 3, 3, 3)], "second": [normal(4, 2, 3, 3), normal(4)]}
    layers |= {"bn": STATISTICS, "bn/scale": SCALE, "bn2": STATISTICS, "bn2/scale": SCALE}
    folded = Folded(tmp_path, text, layers)
    x = normal(1, 3, 8, 8, seed=9)
    (tmp_path / "plain").mkdir()
    want = Net(tmp_path / "plain", text, layers).run(data=x)["d"]
    got = outcome(folded.out, tmp_path / "merged.caffemodel", x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
