"""The other proof finds what is wrong: another order, a forgotten scale, another layout. So does `verify`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnfold
from bnfold.baking import outside
from bnfold.pipeline import pipeline
from bnfold.results.baking import Preprocessing
from bnfold.results.comparison import Side
from bnfold.results.options import ReadOptions, VerifyOptions

from .networks import MEAN, STD, convolution, saved

RIGHT: dict[str, Any] = {"mean": MEAN, "std": STD, "order": "bgr"}
WRONG: dict[str, dict[str, Any]] = {
    "another order": {"mean": MEAN, "std": STD},
    "no scale": {"mean": MEAN, "order": "bgr"},
    "no mean": {"std": STD, "order": "bgr"},
    "another mean": {"mean": (123.7, 116.3, 103.5), "std": STD, "order": "bgr"},
    "means in the other order": {"mean": MEAN[::-1], "std": STD, "order": "bgr"},
    "a scale of 255": {**RIGHT, "scale": 1 / 255},
    "a mean of 8 bits": {"mean": (124, 116, 104), "std": STD, "order": "bgr"},
}


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_preprocessing_is_found(tmp_path: Path, name: str, pads: int) -> None:
    source, out = saved(tmp_path, convolution(pads)), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, bake_input=WRONG[name], input_type="uint8")
    asked = pipeline.load(source, None, ReadOptions(bake_input=RIGHT, input_type="uint8"))  # type: ignore[arg-type]
    found = outside(asked, Side(bnfold.load(out), out), VerifyOptions())
    assert found is not None and not found.passed and found.samples and found.noise > 1e3
    verdict = bnfold.verify(bnfold.load(source, bake_input=RIGHT, input_type="uint8"), out)
    assert not verdict and verdict.noise > 1e3


@pytest.mark.parametrize("folded", [True, False])
def test_a_right_one_passes_both(tmp_path: Path, folded: bool) -> None:
    source, out = saved(tmp_path, convolution(1)), tmp_path / "out.onnx"
    (bnfold.fold_file if folded else bnfold.convert_file)(
        source, out=out, bake_input=RIGHT, input_type="uint8"
    )
    assert bnfold.verify(bnfold.load(source, bake_input=RIGHT, input_type="uint8"), out)


def test_a_fault_of_the_front_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A front that forgets the order gives a reference that the gate believes; the other proof does not."""
    monkeypatch.setattr(Preprocessing, "permutation", property(lambda self: ()))
    monkeypatch.setattr("bnfold.baking.outside_check.channel_order", lambda asked: (2, 1, 0))
    source = saved(tmp_path, convolution())
    for made in (bnfold.fold_file, bnfold.convert_file):
        with pytest.raises(bnfold.NotEquivalent, match="preprocessing done outside") as caught:
            made(source, out=tmp_path / "out.onnx", bake_input=RIGHT)
        assert caught.value.exit_code == 1
    assert not (tmp_path / "out.onnx").exists()


DECIDES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] data) => (float[1, 5] values, int64[1, 5] places) <float[4, 3, 3, 3] w>
{
  k = Constant <value = int64[1] {5}> ()
  h = Conv(data, w)
  f = Flatten(h)
  values, places = TopK(f, k)
}
"""


def test_outputs_behind_a_decision(tmp_path: Path) -> None:
    source = saved(tmp_path, DECIDES)
    result = bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input=RIGHT, input_type="uint8")
    assert result.outside is not None and result.outside.passed


def test_not_verified_is_not_run(tmp_path: Path) -> None:
    result = bnfold.fold_file(
        saved(tmp_path, convolution()), out=tmp_path / "out.onnx", bake_input=RIGHT, verify=False
    )
    assert result.outside is None and result.report is None


def test_open_sizes_and_the_users_own_arrays(tmp_path: Path) -> None:
    source = saved(tmp_path, convolution(data="float[N, 3, H, W]"))
    own: Mapping[str, Any] = {
        "data": np.random.default_rng(0).integers(0, 256, (2, 3, 11, 12)).astype(np.uint8)
    }
    result = bnfold.fold_file(
        source, out=tmp_path / "out.onnx", bake_input=RIGHT, input_type="uint8", inputs=own
    )
    assert result.outside is not None and (result.outside.images, result.outside.passed) == (1, True)


def test_what_the_certificate_carries(tmp_path: Path) -> None:
    source = saved(tmp_path, convolution())
    result = bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input=RIGHT)
    again = replace(result.origin.baked[0])
    assert again.portable == again and again.preprocessing == Preprocessing(mean=MEAN, std=STD, order="bgr")


BEHIND = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] data) => (float[1, 5] y) <float[4, 3, 3, 3] w, float[5, 5] v>
{
  k = Constant <value = int64[1] {5}> ()
  h = Conv(data, w)
  f = Flatten(h)
  values, places = TopK(f, k)
  p = Cast <to = 1> (places)
  y = MatMul(p, v)
}
"""


def test_what_decides_may_be_out_of_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then what the preprocessing makes is held against numpy alone; a forgotten order still shows."""
    monkeypatch.setattr("bnfold.baking.outside_check.LIMIT", 1e-9)  # as if every output were off
    source = saved(tmp_path, BEHIND)
    with pytest.raises(bnfold.NotEquivalent, match="preprocessing done outside"):
        bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input=RIGHT)
    monkeypatch.undo()
    asked = pipeline.load(source, None, ReadOptions(bake_input=RIGHT))  # type: ignore[arg-type]
    bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input={"mean": MEAN})
    found = outside(asked, Side(bnfold.load(tmp_path / "out.onnx"), tmp_path / "out.onnx"), VerifyOptions())
    assert found is not None and found.samples and "data/order" in found.outputs[0].reason
    monkeypatch.setattr(Preprocessing, "permutation", property(lambda self: ()))
    wrong = pipeline.load(source, None, ReadOptions(bake_input=RIGHT))  # type: ignore[arg-type]
    found = outside(wrong, Side(bnfold.load(tmp_path / "out.onnx"), tmp_path / "out.onnx"), VerifyOptions())
    assert found is not None and not found.passed
