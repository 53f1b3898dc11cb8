"""The whole way with faults planted in the fold: what is wrong never gets the output's name, what is right is
saved where it can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import bnfold
from bnfold import folding, writing
from bnfold.ir import tensor
from bnfold.ir.graph import ir
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.results.options import FoldOptions
from bnfold.results.plan import Plan

from ..models import RELU_BN, TWO_BLOCKS, saved

HONEST = folding.fold
Spoil = Callable[[ir.Model], None]


def spoiled(spoil: Spoil, when: Callable[[Plan], bool]) -> Callable[..., tuple[ir.Model, Plan]]:
    """A fold engine with a fault that shows while `when(plan)`."""

    def fold(model: ir.Model, options: FoldOptions, in_place: bool) -> tuple[ir.Model, Plan]:
        folded, plan = HONEST(model, options, in_place)
        if when(plan):
            spoil(folded)
        return folded, plan

    return fold


def careless(spoil: Spoil) -> Callable[..., writing.Written]:
    """A writer with a fault."""
    honest = writing.write

    def write(model: ir.Model, path: Path, **options: bool) -> writing.Written:
        copy = model.clone()
        spoil(copy)
        return honest(copy, path, **options)

    return write


def change(model: ir.Model, node: str, index: int, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Apply a function to a constant input of a node."""
    found = next(n for n in model.graph if n.name == node)
    value = found.inputs[index]
    assert value is not None and value.const_value is not None
    value.const_value = tensor.from_array(
        function(value.const_value.numpy().copy()).astype(np.float32), value.name
    )


def wrong_epsilon(model: ir.Model) -> None:
    """As if 1e-6 had been read for 1e-5, at a variance of 0.5 to 3: a relative error of a few 1e-6 in every
    weight."""
    change(model, "Conv_c", 1, lambda w: w * (1 + 9e-6 / (2 * 0.6)))


def swapped_channels(model: ir.Model) -> None:
    change(model, "Conv_c", 1, lambda w: w[::-1])


def dropped_bias(model: ir.Model) -> None:
    change(model, "Conv_c", 2, lambda b: 0 * b)


def first_is_folded(plan: Plan) -> bool:
    return any(f.node == "BatchNormalization_n" for f in plan.folded)


@pytest.mark.parametrize("spoil", [wrong_epsilon, swapped_channels, dropped_bias])
def test_a_wrong_fold_is_taken_back_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    monkeypatch.setattr(folding, "fold", spoiled(spoil, first_is_folded))
    result = bnfold.fold_file(saved(tmp_path, TWO_BLOCKS))
    assert [f.node for f in result.plan.folded] == ["BatchNormalization_y"]
    (withdrawn,) = result.plan.withdrawn
    assert (withdrawn.node, withdrawn.code) == ("BatchNormalization_n", "kept.withdrawn")
    assert "noise" in withdrawn.reason
    assert result.report
    assert result.path is not None
    assert [n.op_type for n in onnx.load(result.path).graph.node] == [
        "Conv",
        "BatchNormalization",
        "Relu",
        "Conv",
    ]


@pytest.mark.parametrize("keep", [(), ("*",)])
def test_without_verification_the_same_bytes_and_figures_come_out(
    tmp_path: Path, keep: tuple[str, ...]
) -> None:
    """Then the model is folded where it lies, with no second graph; with every node kept it is written as it
    was read."""
    path = saved(tmp_path, TWO_BLOCKS)
    proved = bnfold.fold_file(path, out=tmp_path / "proved.onnx", keep=keep)
    quick = bnfold.fold_file(path, out=tmp_path / "quick.onnx", keep=keep, verify=False)
    assert (tmp_path / "quick.onnx").read_bytes() == (tmp_path / "proved.onnx").read_bytes()
    assert (quick.plan, quick.before, quick.after, quick.unchanged) == (
        proved.plan,
        proved.before,
        proved.after,
        proved.unchanged,
    )
    assert quick.before != quick.after or keep


@pytest.mark.parametrize("keep_failed", [False, True])
def test_what_stays_wrong_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_failed: bool
) -> None:
    """The fault is not in a fold: taking folds back does not help, so nothing may be written (but under
    another name, when asked)."""
    monkeypatch.setattr(writing, "write", careless(lambda m: change(m, "Conv_c", 1, lambda w: w * 1.01)))
    path = saved(tmp_path, TWO_BLOCKS)
    (tmp_path / "net.folded.onnx").write_bytes(b"an older file")
    with pytest.raises(bnfold.NotEquivalent, match="does not hold the model"):
        bnfold.fold_file(path, keep_failed=keep_failed)
    assert (tmp_path / "net.folded.onnx").read_bytes() == b"an older file"
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx", "net.folded.onnx"} | (
        {"net.folded.failed.onnx"} if keep_failed else set()
    )


def test_strict_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "fold", spoiled(dropped_bias, first_is_folded))
    with pytest.raises(bnfold.NotEquivalent, match="first value that differs"):
        bnfold.fold_file(saved(tmp_path, TWO_BLOCKS), strict=True)
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx"}


def test_a_writer_that_changes_an_untouched_model_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_bit = careless(
        lambda m: change(
            m, "BatchNormalization_y", 1, lambda g: np.nextafter(g, np.float32(9), dtype=np.float32)
        )
    )
    monkeypatch.setattr(writing, "write", last_bit)
    with pytest.raises(bnfold.NotEquivalent, match="initializer 'g'"):
        bnfold.fold_file(saved(tmp_path, RELU_BN))
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx"}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path, TWO_BLOCKS)
    files = [bnfold.fold_file(path, out=tmp_path / name).path for name in ("a.onnx", "b.onnx")]
    assert files[0] is not None and files[1] is not None
    assert files[0].read_bytes() == files[1].read_bytes()


def test_folding_twice_changes_nothing(tmp_path: Path) -> None:
    once = bnfold.fold_file(saved(tmp_path, TWO_BLOCKS), out=tmp_path / "once.onnx")
    twice = bnfold.fold_file(once.path, out=tmp_path / "twice.onnx")
    assert twice.unchanged
    assert (tmp_path / "once.onnx").read_bytes() == (tmp_path / "twice.onnx").read_bytes()


def test_external_data_lies_beside_the_model(tmp_path: Path) -> None:
    result = bnfold.fold_file(saved(tmp_path, TWO_BLOCKS), out=tmp_path / "out.onnx", external_data=True)
    assert result.report
    assert len({p for p in tmp_path.iterdir() if p.suffix == ".data"}) <= 1
    assert bnfold.verify(tmp_path / "net.onnx", tmp_path / "out.onnx")


def test_stages_are_told_and_timed(tmp_path: Path) -> None:
    heard: list[str] = []
    result = pipeline.fold_file(Job(source=saved(tmp_path), say=heard.append))
    assert heard[:4] == ["reading", "folding", "writing", "verifying"]
    assert {"read", "fold", "write", "verify", "commit"} <= dict(result.seconds).keys()


def test_a_quantization_annotation_that_is_dropped_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, TWO_BLOCKS)
    model = onnx.load(path)
    made = next(n for n in model.graph.node if n.op_type == "Conv").output[0]
    note = model.graph.quantization_annotation.add(tensor_name=made)
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=model.graph.initializer[0].name)
    onnx.save(model, path)
    for verify in (True, False):
        result = bnfold.fold_file(path, out=tmp_path / f"{verify}.onnx", verify=verify)
        assert [f.code for f in result.origin.findings] == ["onnx.annotation"]
