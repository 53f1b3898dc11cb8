"""Models that grow along one dimension are valid, and folding them takes work that grows in a straight line:
counted in calls of functions, which are the same on every machine."""

import cProfile
import pstats
import sys
from importlib import import_module
from pathlib import Path

import onnx
import pytest

import bnfold

sys.path.insert(0, str(FOLDER := Path(__file__).resolve().parents[2] / "benchmarks"))
growing = import_module("growing")
scaling = import_module("scaling")
sys.path.remove(str(FOLDER))
FEW = 160


def calls(make, count, folder):
    model = bnfold.load(make(count).saved(folder / "model.onnx")[0])
    profile = cProfile.Profile()
    profile.enable()
    result = bnfold.fold(model)
    profile.disable()
    return pstats.Stats(profile).total_calls, result  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", growing.GROWING)
def test_models_are_valid(name, tmp_path):
    growing.GROWING[name].make(40).saved(tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)


@pytest.mark.parametrize("name", [name for name in growing.GROWING if name != "bytes of weights"])
def test_work_grows_in_a_straight_line(name, tmp_path):
    make = growing.GROWING[name].make
    calls(make, FEW, tmp_path)  # imports, and what is remembered from one model to the next
    least, half, whole = (calls(make, FEW * times, tmp_path)[0] for times in (1, 2, 4))
    assert whole - half < 2.2 * (half - least) + 2_000


def test_walks_in_vain_are_bounded(tmp_path, monkeypatch):
    """Nodes that are neither affine nor foreseen, before a place that declines: each scale would walk them."""
    from bnfold.folding import push

    monkeypatch.setattr(push, "_IN_VAIN", 1_000)
    monkeypatch.setattr(push, "_IN_VAIN_EACH", 1)

    def make(count):
        graph, value = growing.Graph(), "x"
        for at in range(count):
            value = graph.op("Add", [value, graph.tensor(f"k{at}", (1, 4, 1, 1))], f"v{at}")
            value = graph.op("MaxPool", [value], f"p{at}", kernel_shape=[1, 1])
        graph.op("Relu", [value], "y")
        return graph

    half, whole = (calls(make, count, tmp_path) for count in (300, 600))
    assert whole[0] < 2.6 * half[0]
    assert len(whole[1].plan.kept) == 600


@pytest.mark.parametrize(("power", "expected"), [(1.0, 1.0), (2.0, 2.0)])
def test_the_exponent_is_the_slope(power, expected):
    points = [(count, 1e-3 * count**power) for count in (100, 200, 400, 800)]
    assert scaling.exponent(points) == pytest.approx(expected)
    assert "<polyline" in scaling.picture({"a row": points})
