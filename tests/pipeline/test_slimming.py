"""The whole way of a slimming: what is wrong never gets the output's name, what is right is saved where it can
be, and what an approximation costs is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest

import bnfold
from bnfold import slimming as room
from bnfold.ir import tensor
from bnfold.ir.graph import label
from bnfold.results.options import SlimOptions
from bnfold.slimming import Slimmed

from ..slimming.nets import behind, close, model, norm, run, values

HONEST = room.slim
X = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Two blocks; in each some channels are dead."""
    proto = model(
        """net (float[N,3,8,8] x) => (float[N,5] y) {
            c = Conv<pads=[1,1,1,1]>(x, w1)
            b = BatchNormalization(c, g1, be1, m1, v1)
            r = Relu(b)
            d = Conv<pads=[1,1,1,1]>(r, w2)
            e = BatchNormalization(d, g2, be2, m2, v2)
            s = Relu(e)
            p = GlobalAveragePool(s)
            f = Flatten(p)
            y = Gemm<transB=1>(f, w3, b3)
        }""",
        {
            "w1": values(6, 3, 3, 3),
            "w2": values(8, 6, 3, 3),
            "w3": values(5, 8),
            "b3": values(1, 5)[0],
            **norm(6, {1: -1, 4: -2}, "1"),
            **norm(8, {0: 0.5, 3: -2}, "2"),
        },
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def spoiling(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slimming that makes a mistake wherever this layer loses channels."""

    def slim(given: object, options: SlimOptions) -> Slimmed:
        found = HONEST(given, options)  # type: ignore[arg-type]
        row = next(one for one in found.slimming.layers if one.node == node)
        if row.before != row.after:
            wrong = next(one for one in found.model.graph if label(one) == node).inputs[1]
            assert wrong is not None and wrong.const_value is not None
            wrong.const_value = tensor.from_array(2 * wrong.const_value.numpy(), name=wrong.name)
        return found

    monkeypatch.setattr(room, "slim", slim)


def test_what_does_nothing_leaves_and_the_rest_is_proved(net: Path) -> None:
    result = bnfold.slim_file(net)
    assert result.path == net.with_name("net.slim.onnx")
    assert result.report is not None
    assert result.report
    assert result.report.unseen == ""
    assert [row.after for row in result.slimming.layers] == [4, 6, 5]
    assert result.after.parameters < result.before.parameters
    assert None not in result.macs
    assert result.macs[1] < result.macs[0]  # type: ignore[operator]
    assert close(run(onnx.load(net), x=X), run(onnx.load(result.path), x=X))
    assert sorted(p.name for p in net.parent.iterdir()) == ["net.onnx", "net.slim.onnx"]


def test_a_layer_that_fails_gets_its_channels_back(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling("d", monkeypatch)
    result = bnfold.slim_file(net)
    assert [row.after for row in result.slimming.layers] == [4, 8, 5]
    assert {row.code for row in result.slimming.stays} == {"stays.withdrawn"}
    assert result.report
    assert close(run(onnx.load(net), x=X), run(onnx.load(str(result.path)), x=X))


def test_strict_takes_nothing_back(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling("d", monkeypatch)
    with pytest.raises(bnfold.NotEquivalent):
        bnfold.slim_file(net, strict=True)
    assert [p.name for p in net.parent.iterdir()] == ["net.onnx"]


def test_a_refused_model_is_kept_on_demand(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling("d", monkeypatch)
    with pytest.raises(bnfold.NotEquivalent, match=r"net\.slim\.failed\.onnx"):
        bnfold.slim_file(net, strict=True, keep_failed=True)
    assert sorted(p.name for p in net.parent.iterdir()) == ["net.onnx", "net.slim.failed.onnx"]


def test_an_approximation_is_held_against_the_masked_network_and_measured(net: Path) -> None:
    result = bnfold.slim_file(net, ratio=0.5, inputs={"x": X}, runs=1, warm_up=1)
    assert result.slimming.channels > 4
    assert result.report
    found = result.agreement
    assert found is not None
    old, new = (run(onnx.load(str(path)), x=X)["y"] for path in (net, result.path))
    assert found.inputs == len(X)
    assert found.top1 == pytest.approx(np.mean(old.argmax(axis=1) == new.argmax(axis=1)))
    error = np.sqrt(np.mean((old - new) ** 2) / np.mean(old**2))
    assert found.error == pytest.approx(error, rel=1e-4)
    assert result.latency is not None
    assert not bnfold.verify(net, result.path), "it is no equivalence, and the gate says so"


def test_a_wrong_approximation_is_refused(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiling("d", monkeypatch)
    with pytest.raises(bnfold.NotEquivalent):
        bnfold.slim_file(net, ratio=0.5, inputs={"x": X}, strict=True)


@pytest.mark.parametrize("wanted", [{"ratio": 0.5}, {"below": 0.5}])
def test_an_approximation_needs_inputs(net: Path, wanted: dict[str, float]) -> None:
    for call in (bnfold.slim_file, bnfold.slim):
        with pytest.raises(bnfold.UsageError, match="inputs"):
            call(net, **wanted)  # type: ignore[operator]
    assert [p.name for p in net.parent.iterdir()] == ["net.onnx"]


def test_in_memory(net: Path) -> None:
    loaded = bnfold.load(net)
    result = bnfold.slim(loaded, ratio=0.5, inputs=X)
    assert result.agreement is not None
    assert result.path is None
    assert "7 of 19 channels removed" in repr(result)
    again = pickle.loads(pickle.dumps(result))
    assert again.slimming == result.slimming
    exact = bnfold.slim(loaded)
    assert bnfold.verify(loaded, exact)
    folded = bnfold.fold(exact)
    assert bnfold.verify(loaded, folded), "a slimmed model folds"


def test_a_folded_model_is_slimmed(net: Path) -> None:
    folded = bnfold.fold(net)
    exact = bnfold.slim(folded)
    assert [row.after for row in exact.slimming.layers] == [4, 6, 5]
    assert bnfold.verify(net, exact)


def test_nothing_to_take_out_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    proto = behind("y = Identity(r)", {}, out="float[N,6,8,8] y")
    path.write_bytes(proto.SerializeToString())
    result = bnfold.slim_file(path)
    assert (result.slimming.channels, result.report) == (0, None)
    assert close(run(proto, x=X), run(onnx.load(str(result.path)), x=X))


def test_the_own_format_is_refused(tmp_path: Path, net: Path) -> None:
    with pytest.raises(bnfold.UsageError, match="ONNX"):
        bnfold.slim_file(net, out=tmp_path / "out.prototxt")


def test_weights_beyond_memory_stay_in_their_file(net: Path) -> None:
    """What stays as it is is the window that was read; what is cut is a recipe over it."""
    loaded = bnfold.load(net)
    for value in bnfold.slim(loaded).model.graph.initializers.values():
        stored = value.const_value
        if value.name in loaded.graph.initializers:
            assert stored is loaded.graph.initializers[value.name].const_value
        elif value.name and value.name.startswith("w"):
            assert isinstance(stored, tensor.Recipe)


def test_statistics_are_estimated_again_in_one_go(net: Path) -> None:
    plain = bnfold.slim_file(net, ratio=0.5, inputs={"x": X}, runs=1, warm_up=1)
    result = bnfold.slim_file(net, ratio=0.5, inputs={"x": X}, recalibrate={"x": X}, runs=1, warm_up=1)
    assert result.recalibrated is not None
    assert {row.node for row in result.recalibrated.layers} == {"b", "e"}
    assert result.report, "it is proved before the statistics change"
    again = bnfold.recalibrate(plain.model, {"x": X})
    assert close(run(bnfold.to_onnx(again.model), x=X), run(onnx.load(str(result.path)), x=X), share=1e-5)
    assert sorted(p.name for p in net.parent.iterdir()) == ["net.onnx", "net.slim.onnx"]


def test_statistics_give_back_most_of_what_a_ratio_costs(tmp_path: Path) -> None:
    """The sample, which was trained without a penalty on its scales."""
    samples = Path(__file__).resolve().parents[2] / "samples"
    data = samples / "digits_inputs.npz"
    agreed = []
    for more in ({}, {"recalibrate": data}):
        result = bnfold.slim_file(
            samples / "digits.onnx",
            out=tmp_path / "out.onnx",
            ratio=0.3,
            inputs=data,
            verify=False,
            runs=1,
            **more,  # type: ignore[arg-type]
        )
        assert result.agreement is not None
        agreed.append(result.agreement.top1)
    assert agreed[0] < 0.5  # type: ignore[operator]
    assert agreed[1] > 0.9  # type: ignore[operator]


def test_data_for_another_input_are_wrong_usage(net: Path) -> None:
    with pytest.raises(bnfold.UsageError, match="'z'"):
        bnfold.slim_file(net, recalibrate={"z": X})
