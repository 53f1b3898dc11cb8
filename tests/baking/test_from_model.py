"""`from-model`: what Caffe's transform_param and darknet say of pictures, computed as they compute it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnfold

from ..reading.caffe.files import blob, caffemodel
from .networks import operators, pixels, run

DRAW = np.random.default_rng(5)
WEIGHT, BIAS = DRAW.normal(size=(4, 3, 3, 3)).astype(np.float32), DRAW.normal(size=4).astype(np.float32)
CAFFE = """
name: "net"
layer {{ name: "data" type: "{type}" top: "data" top: "label"
  transform_param {{ {transform} }} {source} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 4 kernel_size: 3 pad: {pad} }} }}
"""
IMAGE_DATA = 'image_data_param { source: "list.txt" batch_size: 1 new_height: 8 new_width: 8 }'
MEAN = DRAW.uniform(80, 140, (3, 12, 14)).astype(np.float32)


@pytest.fixture
def caffe(tmp_path: Path) -> Callable[..., Path]:
    def make(transform: str, pad: int = 0, type_: str = "ImageData", source: str = IMAGE_DATA) -> Path:
        path = tmp_path / "net.prototxt"
        path.write_text(CAFFE.format(type=type_, transform=transform, pad=pad, source=source))
        path.with_suffix(".caffemodel").write_bytes(caffemodel({"conv": [WEIGHT, BIAS]}))
        return path

    return make


def convolved(x: np.ndarray, pad: int = 0) -> np.ndarray:
    """The layer in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, WEIGHT) + BIAS[:, None, None]


MEANS = np.reshape([104, 117, 123], (3, 1, 1))
# what the transform says -> what Caffe's data transformer computes of a picture, blue first
SAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "scale: 0.00390625": lambda x: x * 0.00390625,
    "mean_value: 104 mean_value: 117 mean_value: 123": lambda x: x - MEANS,
    "mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017": lambda x: (x - MEANS) * np.float32(0.017),
    "mean_value: 127.5 mean_value: 127.5 mean_value: 127.5 scale: 0.0078125 mirror: true": lambda x: (
        (x - 127.5) / 128
    ),
    'mean_file: "/home/author/data/mean.binaryproto" crop_size: 8': lambda x: x - MEAN[:, 2:10, 3:11],
    'mean_file: "mean.binaryproto" crop_size: 8 scale: 2': lambda x: (x - MEAN[:, 2:10, 3:11]) * 2,
    "crop_size: 8": lambda x: x,
}


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("says", SAYS)
def test_caffe(tmp_path: Path, caffe: Callable[..., Path], says: str, pad: int) -> None:
    (tmp_path / "mean.binaryproto").write_bytes(blob(MEAN, shapes="legacy"))
    source, out = caffe(says, pad), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input="from-model", input_type="uint8")
    raw = pixels((1, 3, 8, 8))
    np.testing.assert_allclose(
        run(out, {"data": raw})[0], convolved(SAYS[says](raw.astype(np.float64)), pad), rtol=1e-4, atol=2e-3
    )
    assert ("Sub" in operators(out)) == ("mean" in says and (pad == 1 or "file" in says))
    assert result.origin.baked[0].where.startswith("net.prototxt:4")
    crop = [f for f in result.origin.findings if f.code == "bake.outside"]
    assert bool(crop) == ("crop" in says or "mirror" in says)


def test_pictures_of_another_order(tmp_path: Path, caffe: Callable[..., Path]) -> None:
    """The file's means stand in the network's order: blue first."""
    source, out = caffe("mean_value: 104 mean_value: 117 mean_value: 123"), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input={"from_model": True, "order": "bgr"})
    raw = pixels((1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(
        run(out, {"data": raw})[0], convolved(raw[:, ::-1] - MEANS), rtol=1e-4, atol=2e-3
    )
    assert operators(out) == ["Conv"]
    assert result.origin.baked[0].preprocessing.mean == (123.0, 117.0, 104.0)


def test_what_is_given_stands_before_what_is_said(tmp_path: Path, caffe: Callable[..., Path]) -> None:
    source, out = caffe('mean_file: "absent.binaryproto" scale: 0.5'), tmp_path / "out.onnx"
    np.save(tmp_path / "mean.npy", MEAN[:, :8, :8])
    asked = {"from_model": True, "mean_file": tmp_path / "mean.npy"}
    bnfold.fold_file(source, out=out, bake_input=asked, input_type="uint8")
    raw = pixels((1, 3, 8, 8))
    np.testing.assert_allclose(
        run(out, {"data": raw})[0], convolved((raw - MEAN[:, :8, :8]) / 2), rtol=1e-4, atol=2e-3
    )


WRONG: dict[str, tuple[type[bnfold.BnfoldError], str]] = {
    'mean_file: "absent.binaryproto"': (bnfold.InputError, "absent.binaryproto: cannot be read"),
    'mean_file: "../../etc/passwd"': (bnfold.InputError, "/passwd: cannot be read"),
    'mean_file: ".."': (bnfold.InputError, "a mean_file of '..'"),
    'mean_file: "mean.binaryproto"': (
        bnfold.InputError,
        "3x12x14; expected one that fits 'data', which is 1x3x8x8",
    ),
    'mean_file: "mean.binaryproto" crop_size: 9': (bnfold.InputError, ""),
    'mean_value: 1 mean_file: "mean.binaryproto"': (bnfold.InputError, "both mean_file and mean_value"),
    "mean_value: 1 mean_value: 2": (bnfold.UsageError, "2 values of mean"),
    "scale: 0": (bnfold.InputError, "a scale of 0"),
    "bgr2rgb: true": (bnfold.Unsupported, "'bgr2rgb' changes values"),
}


@pytest.mark.parametrize("says", [says for says, (_, words) in WRONG.items() if words])
def test_what_a_file_says_may_be_wrong(tmp_path: Path, caffe: Callable[..., Path], says: str) -> None:
    (tmp_path / "mean.binaryproto").write_bytes(blob(MEAN))
    error, words = WRONG[says]
    with pytest.raises(error, match=words):
        bnfold.fold_file(caffe(says), out=tmp_path / "out.onnx", bake_input="from-model")


def test_a_deploy_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"'
        " convolution_param { num_output: 4 kernel_size: 3 } }"
    )
    (tmp_path / "net.caffemodel").write_bytes(caffemodel({"conv": [WEIGHT, BIAS]}))
    with pytest.raises(bnfold.UsageError, match="no data layer of the prototxt says"):
        bnfold.fold_file(tmp_path / "net.prototxt", out=tmp_path / "out.onnx", bake_input="from-model")


def test_old_data_layers(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(
        'layers { name: "data" type: DATA top: "data" top: "label"'
        ' data_param { source: "x" batch_size: 1 crop_size: 8 scale: 0.25 } }'
        'layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"'
        " convolution_param { num_output: 4 kernel_size: 3 } }"
    )
    (tmp_path / "net.caffemodel").write_bytes(caffemodel({"conv": [WEIGHT, BIAS]}))
    result = bnfold.fold_file(tmp_path / "net.prototxt", out=tmp_path / "out.onnx", bake_input="from-model")
    assert result.origin.baked[0].preprocessing.scale == 0.25


def darknet(folder: Path, net: str = "channels=3\nheight=8\nwidth=8") -> Path:
    (folder / "net.cfg").write_text(
        f"[net]\n{net}\n[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"
    )
    return folder / "net.cfg"


@pytest.mark.parametrize("options", [{}, {"input_layout": "NHWC", "input_type": "uint8"}])
def test_darknet_divides_by_255(tmp_path: Path, options: dict[str, Any]) -> None:
    source = darknet(tmp_path)
    result = bnfold.fold_file(
        source, out=tmp_path / "out.onnx", random_weights=1, bake_input="from-model", **options
    )
    bnfold.convert_file(source, out=tmp_path / "plain.onnx", random_weights=1)
    raw = pixels((2, 8, 8, 3) if options else (2, 3, 8, 8))
    x = raw.transpose(0, 3, 1, 2) if options else raw
    theirs = run(tmp_path / "plain.onnx", {"data": (x / 255).astype(np.float32)})[0]
    ours = run(tmp_path / "out.onnx", {"data": raw if options else raw.astype(np.float32)})[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert operators(tmp_path / "out.onnx")[-1] == "Conv" and "Mul" not in operators(tmp_path / "out.onnx")
    assert result.outside is not None and result.outside.passed


def test_darknet_reads_numbers_too(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text("[net]\ninputs=12\n[connected]\noutput=4\nactivation=linear\n")
    with pytest.raises(bnfold.UsageError, match="reads numbers, not pictures"):
        bnfold.fold_file(
            tmp_path / "net.cfg", out=tmp_path / "out.onnx", random_weights=1, bake_input="from-model"
        )


def test_a_pair_of_files_holds_no_preprocessing(tmp_path: Path) -> None:
    for option in (
        {"bake_input": "from-model"},
        {"input_type": "uint8"},
        {"input_layout": "NHWC"},
        {"fix_shape": (1, 3, 8, 8)},
        {"bake_padding": "pad"},
    ):
        with pytest.raises(bnfold.UsageError, match=r"is for ONNX outputs, and merged\.cfg is none"):
            bnfold.fold_file(darknet(tmp_path), out=tmp_path / "merged.cfg", random_weights=None, **option)  # type: ignore[arg-type]


def test_a_network_that_is_cut(tmp_path: Path) -> None:
    result = bnfold.fold_file(
        darknet(tmp_path), out=tmp_path / "out.onnx", random_weights=1, bake_input="from-model", cut_at="0"
    )
    assert result.outside is not None and result.outside.passed
