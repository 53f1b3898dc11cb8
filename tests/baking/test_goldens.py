"""The samples, and an SSD and a YOLO of the project's collection: raw pixels give the boxes that preprocessing outside gives, in
onnxruntime, OpenVINO and OpenCV, whether the first layer pads or not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnfold

from .networks import run

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT.parent / "shared" / "goldens"
Outputs = dict[str, np.ndarray]


def by_onnxruntime(path: Path, x: np.ndarray, names: list[str]) -> Outputs:
    return dict(zip(names, run(path, {"data": x}), strict=True))


def by_openvino(path: Path, x: np.ndarray, names: list[str]) -> Outputs:
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(x)
    return {name: np.array(found[compiled.output(name)]) for name in names}


def by_opencv(path: Path, x: np.ndarray, names: list[str]) -> Outputs:
    cv2 = pytest.importorskip("cv2")
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(x)
    return dict(zip(names, net.forward(names), strict=True))


RUNTIMES: dict[str, Callable[[Path, np.ndarray, list[str]], Outputs]] = {
    "onnxruntime": by_onnxruntime,
    "openvino": by_openvino,
    "opencv": by_opencv,
}


@dataclass(frozen=True)
class Network:
    """A network of the collection, what it was trained on, and how its files are made."""

    folder: str
    text: str
    weights: str
    maker: str
    read: Mapping[str, Any]
    bake: Mapping[str, Any]
    outside: Callable[[np.ndarray], np.ndarray]
    layout: str = "NCHW"
    without: tuple[str, ...] = ()
    opencv: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    # Its decoded boxes end in NonMaxSuppression, which OpenCV does not read: there it ends before them.
    "ssd": Network(
        "caffe/mobilenet_ssd",
        "deploy.prototxt",
        "weights.caffemodel",
        "make_caffemodel.py",
        {},
        {"mean": 127.5, "scale": 0.007843},
        lambda x: (x - 127.5) * 0.007843,
        opencv={"cut_at": ["mbox_loc", "mbox_conf_flatten"]},
    ),
    "yolo": Network(
        "darknet/alexeyab__yolov3-tiny",
        "net.cfg",
        "net.weights",
        "make_weights.py",
        {"heads": "boxes"},
        {"from_model": True},
        lambda x: x / 255,
        layout="NHWC",
    ),
    "cut": Network(
        "caffe/f_bn_before_conv_nopad",
        "deploy.prototxt",
        "weights.caffemodel",
        "make_caffemodel.py",
        {},
        {"mean": 100, "std": 50},
        lambda x: (x - 100) / 50,
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Network], tuple[Path, Path]]:
    known: dict[str, tuple[Path, Path]] = {}

    def make(network: Network) -> tuple[Path, Path]:
        source = GOLDENS / network.folder
        if not source.is_dir():
            pytest.skip("the collection is not here")
        if network.folder not in known:
            folder = tmp_path_factory.mktemp("golden")
            command = [sys.executable, str(GOLDENS / network.maker), str(source), str(folder)]
            subprocess.run(command, check=True, capture_output=True)
            shutil.copy(source / network.text, folder)
            known[network.folder] = folder / network.text, folder / network.weights
        return known[network.folder]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["sub", "pad"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_raw_pixels_give_the_same(
    tmp_path: Path, made: Callable[[Network], tuple[Path, Path]], name: str, runtime: str, padding: str
) -> None:
    network = NETWORKS[name]
    files, read = made(network), {**network.read, **(network.opencv if runtime == "opencv" else {})}
    bnfold.convert_file(*files, out=tmp_path / "plain.onnx", **read)
    asked: dict[str, Any] = {"input_type": "uint8", "bake_padding": padding, "input_layout": network.layout}
    result = bnfold.fold_file(
        *files, out=tmp_path / "baked.onnx", bake_input=dict(network.bake), **asked, **read
    )
    assert result.report and result.outside is not None and result.outside.passed
    names = [value.name for value in result.model.graph.outputs]
    shape = [d if isinstance(d, int) else 1 for d in result.model.graph.inputs[0].shape]
    raw = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    pixels = raw.transpose(0, 3, 1, 2) if network.layout == "NHWC" else raw
    outside = network.outside(pixels.astype(np.float64)).astype(np.float32)
    theirs = by_onnxruntime(tmp_path / "plain.onnx", outside, names)
    ours = RUNTIMES[runtime](tmp_path / "baked.onnx", raw, names)
    for value in names:
        largest = np.abs(theirs[value]).max()
        np.testing.assert_allclose(
            ours[value].reshape(theirs[value].shape), theirs[value], atol=1e-4 * largest
        )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("suffix", ["onnx", "prototxt", "cfg"])
def test_the_samples(tmp_path: Path, suffix: str, runtime: str) -> None:
    """They were trained on pixels from 0 to 16, divided by 16."""
    source = ROOT / "samples" / f"digits.{suffix}"
    result = bnfold.fold_file(
        source,
        out=tmp_path / "baked.onnx",
        bake_input={"mean": 3.5, "std": 16},
        input_type="uint8",
        fix_shape=(1, 1, 8, 8),
    )
    bnfold.convert_file(source, out=tmp_path / "plain.onnx", fix_shape=(1, 1, 8, 8))
    raw = np.random.default_rng(0).integers(0, 17, (1, 1, 8, 8)).astype(np.uint8)
    names = [value.name for value in result.model.graph.outputs]
    given, outside = result.model.graph.inputs[0].name, ((raw - 3.5) / 16).astype(np.float32)
    theirs = run(tmp_path / "plain.onnx", {given: outside})[0]
    if runtime == "onnxruntime":
        ours = run(tmp_path / "baked.onnx", {given: raw})[0]
    else:
        ours = RUNTIMES[runtime](tmp_path / "baked.onnx", raw, names)[names[0]]
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5)
