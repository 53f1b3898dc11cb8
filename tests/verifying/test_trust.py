"""The self-test, and OpenCV as a judge that shares no code with ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import Unsupported, UsageError
from bnfold.ir.tensor import from_array
from bnfold.pipeline import pipeline
from bnfold.results.comparison import Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import against_opencv, selftest, selftest_networks

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def test_the_self_test_passes_here() -> None:
    heard: list[str] = []
    checks = selftest(lambda name, share: heard.append(name))
    assert [check.name for check in checks] == heard
    assert all(checks), [check for check in checks if not check]
    assert {"arithmetic", "operators", "wrong folds"} <= set(heard)


def test_a_gate_that_lets_a_fault_pass_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(selftest_networks.FAULTS, "dropped bias", lambda fold: None)
    found = next(check for check in selftest() if check.name == "wrong folds")
    assert found.level == "fault"
    assert "dropped bias" in found.detail


def converted() -> tuple[Path, Path, Side]:
    network, weights = SAMPLES / "digits.prototxt", SAMPLES / "digits.caffemodel"
    return network, weights, Side(pipeline.load(network, weights).model)


def test_opencv_agrees_with_a_right_conversion() -> None:
    pytest.importorskip("cv2", reason="the oracle needs OpenCV")
    found = against_opencv(*converted(), VerifyOptions())
    assert found, found.reason
    assert found.providers[0].provider == "opencv"
    assert dict(found.environment)["opencv-python-headless"]


def test_opencv_sees_a_wrong_conversion() -> None:
    pytest.importorskip("cv2", reason="the oracle needs OpenCV")
    network, weights, right = converted()
    kernel = next(node for node in right.model.graph if node.op_type == "Conv").inputs[1]
    assert kernel is not None
    assert kernel.const_value is not None
    kernel.const_value = from_array(np.ascontiguousarray(kernel.const_value.numpy()[..., ::-1]), kernel.name)
    assert not against_opencv(network, weights, right, VerifyOptions())


def test_opencv_is_no_oracle_for_onnx(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the oracle needs OpenCV")
    _, _, right = converted()
    with pytest.raises(UsageError, match="onnxruntime"):
        against_opencv(SAMPLES / "digits.onnx", None, right, VerifyOptions())
    broken = tmp_path / "net.prototxt"
    broken.write_text("layer { name: 'x' type: 'Nonsense' }", encoding="utf-8")
    with pytest.raises(Unsupported, match="OpenCV"):
        against_opencv(broken, SAMPLES / "digits.caffemodel", right, VerifyOptions())
