"""Latency: processes in turn, what they are fed, and what is said where a runtime cannot run a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bnfold.errors import ProviderUnavailable, Unsupported
from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.comparison import Side
from bnfold.results.latency import ALIKE, FASTER, SLOWER, Latencies, Latency, Spread
from bnfold.results.options import TimeOptions, VerifyOptions
from bnfold.verifying.latency import measure, measured, runtimes

from ...models import CONV_BN_RELU, saved

QUICK = TimeOptions(runs=3, warm_up=1)


@pytest.fixture(autouse=True)
def onnxruntime_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other runtimes may be installed or not."""
    monkeypatch.setattr(measure, "installed", lambda: ["onnxruntime"])


def side(path: Path) -> Side:
    return Side(read(path).model, path, path.name)


def test_two_models_in_turn(tmp_path: Path) -> None:
    before = side(saved(tmp_path))
    after = Side(fold(before.model)[0])
    found = measured(before, after, QUICK, VerifyOptions(input_shapes=(("", (5, 3, 8, 8)),)))
    (row,) = found.rows
    assert (row.runtime, row.provider, row.name, row.reason) == ("onnxruntime", "cpu", "onnxruntime", "")
    assert row.before is not None and row.after is not None and row.ratio is not None
    for one in (row.before, row.after):
        assert 0 < one.latency.low <= one.latency.median <= one.latency.high < 1
        assert 0 < one.load < 60
        assert one.memory is None or one.memory >= 0
    assert 0.01 < row.ratio.median < 100
    assert found.inputs == (("x", "5x3x8x8"),)
    assert (found.threads, found.warm_up, found.runs) == (1, 1, 3)


def test_one_model_alone(tmp_path: Path) -> None:
    (row,) = measured(side(saved(tmp_path)), None, QUICK, VerifyOptions()).rows
    assert row.before is not None and row.after is None and row.ratio is None


def test_a_runtime_that_cannot_run_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "installed", lambda: ["onnxruntime", "nothing"])
    rows = measured(side(saved(tmp_path)), None, QUICK, VerifyOptions()).rows
    assert [row.runtime for row in rows] == ["onnxruntime", "nothing"]
    assert rows[1].before is None and "code 1" in rows[1].reason


def test_models_of_other_interfaces_are_not_held_against_each_other(tmp_path: Path) -> None:
    other = side(saved(tmp_path, CONV_BN_RELU.replace("x", "z"), "other.onnx"))
    with pytest.raises(Unsupported, match="cannot be compared") as refused:
        measured(side(saved(tmp_path)), other, QUICK, VerifyOptions())
    assert "--" not in str(refused.value)  # a measurement takes none of the flags that would allow it


def test_a_second_model_of_fixed_sizes_is_timed_at_these(tmp_path: Path) -> None:
    fixed = side(
        saved(tmp_path, CONV_BN_RELU.replace("float[N, 3, 8, 8]", "float[3, 3, 8, 8]"), "fixed.onnx")
    )
    found = measured(side(saved(tmp_path)), fixed, QUICK, VerifyOptions())
    assert found.inputs == (("x", "3x3x8x8"),)
    assert found.rows[0].ratio is not None
    assert not any("--" in note for note in found.notes)


def test_a_provider_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [measure.CPU])
    with pytest.raises(ProviderUnavailable):
        measured(side(saved(tmp_path)), None, QUICK, VerifyOptions(providers=("cuda",)))


def test_quartiles() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Spread(0.9, 0.88, 0.92), FASTER),
        (Spread(1.1, 1.05, 1.2), SLOWER),
        (Spread(1.01, 1.005, 1.02), ALIKE),
        (Spread(0.9, 0.7, 1.1), ALIKE),
    ],
)
def test_a_verdict_is_beyond_the_spread(ratio: Spread, verdict: str) -> None:
    assert Latency(runtime="onnxruntime", version="1", provider="cpu", ratio=ratio).verdict == verdict
    assert Latencies(rows=(), threads=1, warm_up=1, runs=1).rows == ()


def test_every_runtime_names_its_module() -> None:
    assert runtimes.installed()[0] == "onnxruntime"
    assert set(runtimes.RUNTIMES) == {"onnxruntime", "openvino", "opencv"}


def test_each_runtime_that_is_installed_runs_a_model(tmp_path: Path) -> None:
    """In this process, so that it is seen what the children do."""
    feeds = {"x": np.zeros((2, 3, 8, 8), np.float32)}
    text = CONV_BN_RELU.replace("<pads", "<kernel_shape = [3, 3], pads")  # older OpenCV looks nowhere else
    for name in runtimes.installed():
        assert runtimes.opened(name, saved(tmp_path, text), measure.CPU, 1)(feeds) is not None
