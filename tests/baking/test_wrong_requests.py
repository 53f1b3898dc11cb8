"""What cannot be baked is said in a sentence, with the exit code of whose fault it is; nothing is written."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bnfold
from bnfold.cli.main import run

from ..reading.caffe.files import blob
from .networks import convolution, saved

UNKNOWN_RANK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float data) => (float y) { y = Relu(data) }
"""
NO_SIZES = convolution(data="float[N, 3, H, W]")
INTEGERS = """
<ir_version: 8, opset_import: ["" : 17]>
net (int64[1, 3] data) => (float[1, 3] y) { a = Cast <to = 1> (data)  b = Cast <to = 1> (data)  y = Add(a, b) }
"""
OUTPUT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] data) => (float[1, 3, 8, 8] y, float[1, 3, 8, 8] data) { y = Relu(data) }
"""
OLD = """
<ir_version: 3, opset_import: ["" : 6]>
net (float[1, 3, 8, 8] data) => (float[1, 3, 8, 8] y) { y = Relu(data) }
"""
REFUSED: tuple[tuple[str, dict[str, Any], type[bnfold.BnfoldError], str], ...] = (
    (
        convolution(),
        {"bake_input": {"mean": [1, 2, 3, 4]}},
        bnfold.UsageError,
        "4 values of mean; expected 3",
    ),
    (convolution(), {"bake_input": {"std": [1, 2]}}, bnfold.UsageError, "2 values of std; expected 3"),
    (convolution(), {"bake_input": {"other": {"mean": 1}}}, bnfold.UsageError, "'other', which is no input"),
    (convolution(), {"input_type": {"other": "uint8"}}, bnfold.UsageError, "'other', which is no input"),
    (convolution(), {"input_layout": {"dat": "NHWC"}}, bnfold.UsageError, "did you mean 'data'"),
    (convolution(), {"fix_shape": {"dat": (1, 3, 8, 8)}}, bnfold.UsageError, "did you mean 'data'"),
    (convolution(), {"bake_input": "from-model"}, bnfold.UsageError, "an ONNX model says nothing"),
    (
        convolution(),
        {"bake_input": {"mean": 1, "mean_file": "m.npy"}},
        bnfold.UsageError,
        "both mean and mean_file",
    ),
    (convolution(), {"bake_input": {"std": 1e-42, "scale": 1e30}}, bnfold.UsageError, "cannot hold"),
    (
        convolution(),
        {"bake_input": {"mean_file": "absent.npy"}},
        bnfold.InputError,
        "absent.npy: cannot be read",
    ),
    (convolution(), {"bake_input": {"mean_file": "."}}, bnfold.InputError, "is a folder"),
    (UNKNOWN_RANK, {"bake_input": {"mean": [1, 2, 3]}}, bnfold.UsageError, "its rank is not known"),
    (UNKNOWN_RANK, {"bake_input": {"order": "bgr"}}, bnfold.UsageError, "of no known shape"),
    (UNKNOWN_RANK, {"input_layout": "NHWC"}, bnfold.UsageError, "of no known rank"),
    (INTEGERS, {"bake_input": {"mean": 1}}, bnfold.UsageError, "which is int64"),
    (INTEGERS, {"input_type": "uint8"}, bnfold.UsageError, "it is int64"),
    (INTEGERS, {"input_layout": "NHWC"}, bnfold.UsageError, "this one is of rank 2"),
    (OUTPUT, {"bake_input": {"mean": 1}}, bnfold.Unsupported, "is an output of the model as well"),
    (OLD, {"bake_input": {"mean": 1}}, bnfold.Unsupported, "opset 6"),
    (convolution(), {"fix_shape": (1, 3, 8)}, bnfold.UsageError, "expected 4 dims"),
)


@pytest.mark.parametrize(("text", "options", "error", "words"), REFUSED)
def test_it_is_refused(
    tmp_path: Path, text: str, options: dict[str, Any], error: type[bnfold.BnfoldError], words: str
) -> None:
    source = saved(tmp_path, text)
    if text == UNKNOWN_RANK:
        proto = onnx.load(source)
        proto.graph.input[0].type.tensor_type.ClearField("shape")
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        onnx.save(proto, source)
    for made in (bnfold.convert_file, bnfold.fold_file):
        with pytest.raises(error, match=words):
            made(source, out=tmp_path / "out.onnx", **options)  # type: ignore[operator]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def image(values: np.ndarray) -> bytes:
    """As Caffe's compute_image_mean writes it."""
    return blob(values, shapes="legacy")


IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "truncated": (image(np.zeros((3, 8, 8)))[:-100], "byte"),
    "another size": (
        image(np.random.default_rng(0).uniform(0, 9, (3, 9, 9))),
        "3x9x9; expected one that fits 'data', which is 1x3x8x8",
    ),
    "another count": (image(np.random.default_rng(0).uniform(0, 9, (4, 8, 8))), "4x8x8"),
    "another count of one colour": (image(np.ones((4, 8, 8))), "4x8x8"),
    "no values": (image(np.zeros((3, 8, 8)))[:8], "no values"),
    "not finite": (image(np.full((3, 8, 8), np.nan)), "not finite"),
    "text": (b"mean: 1 2 3\n" * 9, "expected"),
    "claims": (image(np.zeros((3, 8, 8))).replace(b"\x18\x08", b"\x18\x07"), "values"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_mean_image_that_does_not_fit(tmp_path: Path, name: str) -> None:
    data, words = IMAGES[name]
    source, file = saved(tmp_path, convolution()), tmp_path / "mean.binaryproto"
    file.write_bytes(data)
    with pytest.raises(bnfold.InputError, match=words) as caught:
        bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input={"mean_file": file})
    assert "mean.binaryproto" in str(caught.value) and caught.value.exit_code == 3


def test_a_mean_image_for_open_sizes(tmp_path: Path) -> None:
    np.save(file := tmp_path / "mean.npy", np.random.default_rng(0).uniform(0, 9, (3, 8, 8)))
    source = saved(tmp_path, NO_SIZES)
    with pytest.raises(bnfold.UsageError, match="whose size is open; expected 'fix_shape'"):
        bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input={"mean_file": file})
    shape = (1, 3, 8, 8)
    assert bnfold.fold_file(
        source, out=tmp_path / "out.onnx", bake_input={"mean_file": file}, fix_shape=shape
    ).outside


@pytest.mark.parametrize(
    "spec",
    [
        "mean=1,2,3,4",
        "std=0",
        "std=nan",
        "std=-1",
        "foo=1",
        "order=rgbx",
        "mean_file=absent.binaryproto",
        "mean=",
        "x:mean=1",
    ],
)
@pytest.mark.parametrize("command", ["fold", "convert", "inspect"])
def test_on_the_command_line(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    spec: str,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    source = saved(tmp_path, convolution())
    out = [] if command == "inspect" else ["-o", str(tmp_path / "out.onnx")]
    code = run([command, str(source), *out, "--bake-input", spec])
    said = capfd.readouterr().err
    assert code == (3 if "file" in spec else 2), said
    assert "--bake-input" in said or "absent.binaryproto" in said
    assert not (tmp_path / "out.onnx").exists()


def test_images_are_not_prepared_twice(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    source = saved(tmp_path, convolution())
    options: dict[str, Any] = {"bake_input": {"mean": 1}, "inputs": {"data": tmp_path / "a.png"}}
    with pytest.raises(bnfold.UsageError, match="'mean' beside 'bake_input'"):
        bnfold.fold_file(source, out=tmp_path / "out.onnx", mean=[1, 2, 3], **options)
    for layout in ("NCHW", "NHWC"):
        result = bnfold.fold_file(source, out=tmp_path / "out.onnx", input_layout=layout, **options)
        assert result.outside is not None and (result.outside.images, result.outside.passed) == (1, True)
