"""The Python API as its users call it."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

import bnfold

from .models import CONV_BN_RELU, TWO_BLOCKS, model, saved


@dataclass
class Exported:
    """What exporters return: an object that carries the model."""

    model_proto: onnx.ModelProto


def sources(folder: Path) -> dict[str, Any]:
    proto = model(CONV_BN_RELU)
    return {
        "path": saved(folder),
        "text": str(saved(folder)),
        "bytes": proto.SerializeToString(),
        "ModelProto": proto,
        "ir.Model": ir.from_proto(proto),
        "exporter": Exported(proto),
    }


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "ModelProto", "ir.Model", "exporter"])
def test_every_kind_of_source_is_loaded_folded_verified_and_saved(tmp_path: Path, kind: str) -> None:
    source = sources(tmp_path)[kind]
    loaded = bnfold.load(source)
    result = bnfold.fold(loaded)
    report = bnfold.verify(loaded, result.model, providers=("cpu",))
    assert report
    assert report.noise < 4
    assert json.loads(report.to_json())["equivalent"] is True
    assert bnfold.save(result.model, tmp_path / "out.onnx") == tmp_path / "out.onnx"
    assert [n.op_type for n in onnx.load(tmp_path / "out.onnx").graph.node] == ["Conv", "Relu"]
    assert [n.op_type for n in bnfold.to_onnx(result.model).graph.node] == ["Conv", "Relu"]
    assert result.plan.batch_norms == (1, 0)


def test_the_input_is_never_changed() -> None:
    proto = model(TWO_BLOCKS)
    before = proto.SerializeToString(deterministic=True)
    bnfold.fold(proto)
    assert proto.SerializeToString(deterministic=True) == before
    loaded = bnfold.load(proto)
    plain = bnfold.to_onnx(loaded).SerializeToString(deterministic=True)
    bnfold.fold(loaded)
    assert bnfold.to_onnx(loaded).SerializeToString(deterministic=True) == plain


def test_fold_takes_what_load_takes(tmp_path: Path) -> None:
    assert bnfold.fold(saved(tmp_path)).plan.batch_norms == (1, 0)
    assert bnfold.fold(model(TWO_BLOCKS), keep="*_n").plan.batch_norms == (1, 1)


def test_two_different_models_are_told_apart() -> None:
    report = bnfold.verify(model(CONV_BN_RELU, seed=0), model(CONV_BN_RELU, seed=1))
    assert not report
    assert report.divergence is not None
    assert report.divergence.value == "c"


def test_files_in_one_call(tmp_path: Path) -> None:
    result = bnfold.fold_file(saved(tmp_path), samples=1, seed=7, input_shapes={"x": (2, 3, 8, 8)})
    assert result.report
    assert result.report.seed == 7
    assert result.path == tmp_path / "net.folded.onnx"
    assert result.before.size == (tmp_path / "net.onnx").stat().st_size
    assert result.after.size == result.path.stat().st_size
    plain = bnfold.convert_file(tmp_path / "net.onnx", out=tmp_path / "plain.onnx")
    assert plain.unchanged
    assert plain.before.operators == plain.after.operators


def test_without_verification_there_is_no_report(tmp_path: Path) -> None:
    assert bnfold.fold_file(saved(tmp_path), verify=False).report is None


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda p: bnfold.load(p / "none.onnx"), bnfold.Unreadable),
        (lambda p: bnfold.load(42), bnfold.UsageError),
        (lambda p: bnfold.load(b"\x08\x09rubbish"), bnfold.Malformed),
        (lambda p: bnfold.load(saved(p), p / "w.caffemodel"), bnfold.UsageError),
        (lambda p: bnfold.load(saved(p), fase="TEST"), bnfold.UsageError),
        (lambda p: bnfold.fold_file(saved(p), sampels=3), bnfold.UsageError),
        (lambda p: bnfold.fold_file(saved(p), out=p / "none" / "x.onnx"), bnfold.WriteError),
        (lambda p: bnfold.verify(saved(p), saved(p), providers=("nosuch",)), bnfold.UsageError),
        (lambda p: bnfold.verify(saved(p), saved(p), providers=("abacus",)), bnfold.ProviderUnavailable),
        (lambda p: bnfold.fold(model(CONV_BN_RELU), keep=(1,)), bnfold.UsageError),
    ],
)
def test_only_our_errors_leave(
    tmp_path: Path, call: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    # onnxruntime's own list of names changes with its versions
    monkeypatch.setattr(
        onnxruntime, "get_all_providers", lambda: ["AbacusExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(error) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: bnfold.load(5), "'source': an object of type"),
        (lambda p: bnfold.load(""), "'source' cannot be ''"),
        (lambda p: bnfold.load(saved(p), 5), "'weights' cannot be 5"),
        (lambda p: bnfold.fold(None), "'model': an object of type"),
        (lambda p: bnfold.verify(saved(p), 5), "'candidate': an object of type"),
        (lambda p: bnfold.verify(5, saved(p)), "'reference': an object of type"),
        (lambda p: bnfold.save(saved(p), 5), "'path' cannot be 5"),
        (lambda p: bnfold.save(saved(p), b"x.onnx"), "'path' cannot be b'x.onnx'"),
        (lambda p: bnfold.save(saved(p), p / "x.onnx", external_data="no"), "'external_data' cannot be 'no'"),
        (lambda p: bnfold.save(saved(p), p / "x.onnx", verify=False), "save: got an unexpected keyword"),
        (lambda p: bnfold.to_onnx(saved(p), 5), "to_onnx: too many positional arguments"),
        (lambda p: bnfold.verify(saved(p)), "verify: missing a required argument: 'candidate'"),
        (lambda p: bnfold.fold_file(5), "'source': an object of type"),
        (lambda p: bnfold.fold_file(saved(p), out=5), "'out' cannot be 5"),
        (lambda p: bnfold.fold_file(saved(p), verify="no"), "'verify' cannot be 'no'"),
        (lambda p: bnfold.fold_file(saved(p), keep_failed=1), "'keep_failed' cannot be 1"),
        (lambda p: bnfold.convert_file(saved(p), out=p / "c.onnx", samples=2), "unknown keyword 'samples'"),
        (lambda p: bnfold.fold(saved(p), merge_branch=True), "did you mean 'merge_branches'"),
        (lambda p: bnfold.fold(saved(p), withdrawn=()), "unknown keyword 'withdrawn'"),
        (lambda p: bnfold.verify(saved(p), saved(p), max_memory=10), "'max_memory' cannot be 10 bytes"),
        (lambda p: bnfold.verify(saved(p), saved(p), providers="cudaa"), "'providers' names 'cudaa'"),
        (lambda p: bnfold.load(saved(p), heads="raw"), "'heads' is for darknet models; this one is onnx"),
        (lambda p: bnfold.load(saved(p), input_shapes={"y": (1,)}), "'input_shapes' names 'y'"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path: Path, call: Any, words: str) -> None:
    with pytest.raises(bnfold.UsageError, match=re.escape(words)):
        call(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx"} or not list(tmp_path.iterdir())


def test_verify_takes_arrays_in_memory(tmp_path: Path) -> None:
    folded = bnfold.fold(saved(tmp_path)).model
    x = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    before = x.copy()
    report = bnfold.verify(tmp_path / "net.onnx", folded, inputs={"x": x})
    assert report
    assert "array" not in report.to_json()
    assert np.array_equal(x, before)
    assert bnfold.fold_file(tmp_path / "net.onnx", inputs=x).report


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 3, 8, 8), np.float32), "it holds no row"),
        (np.zeros((1, 4, 8, 8), np.float32), "the array has the shape (1, 4, 8, 8)"),
        (np.zeros((1, 3, 8, 8), np.complex64), "the array has the type complex64"),
        (np.full((1, 3, 8, 8), "a"), "the array has the type <U1"),
    ],
)
def test_an_array_that_does_not_fit_is_named(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(bnfold.UsageError, match=r"'inputs' gives 'x' an array of ") as caught:
        bnfold.verify(saved(tmp_path), saved(tmp_path), inputs={"x": array})
    assert words in str(caught.value)


def test_a_pattern_that_keeps_nothing_is_said(tmp_path: Path) -> None:
    loaded = bnfold.load(saved(tmp_path))
    (found,) = bnfold.fold(loaded, keep="nosuchnode").origin.findings
    assert "'nosuchnode' matches no node" in found.text
    assert bnfold.fold(loaded).origin.findings == ()
    with pytest.raises(bnfold.UsageError, match="matches no node"):
        bnfold.fold_file(tmp_path / "net.onnx", keep="nosuchnode", strict=True)


def test_what_a_library_raises_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    from bnfold import folding

    def broken(*_: object) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(folding, "fold", broken)
    with pytest.raises(bnfold.BnfoldError, match="IndexError: out of range") as caught:
        bnfold.fold(model(CONV_BN_RELU))
    assert isinstance(caught.value.__cause__, IndexError)
    assert caught.value.exit_code == 70


def test_every_function_is_typed_and_explained() -> None:
    functions = [thing for name in bnfold.__all__ if inspect.isfunction(thing := getattr(bnfold, name))]
    assert len(functions) == 10
    for function in functions:
        assert inspect.getdoc(function)
        assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())
        assert inspect.signature(function).return_annotation is not inspect.Signature.empty


# -- statistics from data


def pictures(count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_recalibrate_takes_arrays_files_lists_and_dicts(tmp_path: Path) -> None:
    x = pictures()
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    halves = [x[:20], x[20:]]
    wanted = bnfold.recalibrate(model(CONV_BN_RELU), x)
    assert wanted.statistics.inputs == 40
    for given in (tmp_path / "x.npy", str(tmp_path / "x.npz"), halves, {"x": halves}, {"x": x}):
        found = bnfold.recalibrate(bnfold.load(model(CONV_BN_RELU)), given)
        assert bnfold.to_onnx(found.model) == bnfold.to_onnx(wanted.model)


def test_what_recalibrate_gives_goes_on(tmp_path: Path) -> None:
    found = bnfold.recalibrate(model(CONV_BN_RELU), pictures())
    folded = bnfold.fold(found)
    assert bnfold.verify(found, folded)
    assert bnfold.save(found, tmp_path / "net.onnx").is_file()
    again = pickle.loads(pickle.dumps(found))
    assert again.statistics == found.statistics
    assert bnfold.verify(again, found)
    assert "recalibrated on 40 inputs" in repr(found)
    assert "mean moved" in found._repr_html_()


def test_fold_file_recalibrates_first(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model(CONV_BN_RELU).SerializeToString())
    result = bnfold.fold_file(tmp_path / "net.onnx", recalibrate=pictures(), one_pass=True)
    assert result.report and result.recalibrated is not None
    assert result.recalibrated.one_pass
    assert "recalibrated on 40 inputs" in result.summary


@pytest.mark.parametrize("given", [[], (), {}, 5, [1, 2], {"x": []}, None, "", np.zeros(3), [[0.0]]])
def test_what_is_no_data(given: Any) -> None:
    with pytest.raises(bnfold.UsageError):
        bnfold.recalibrate(model(CONV_BN_RELU), given)


def test_keywords_of_recalibrate() -> None:
    with pytest.raises(bnfold.UsageError, match="unknown keyword 'recalibrate'"):
        bnfold.recalibrate(model(CONV_BN_RELU), pictures(), recalibrate="x.npy")
    with pytest.raises(bnfold.UsageError, match="'inputs' cannot be 5"):
        bnfold.recalibrate(model(CONV_BN_RELU), 5)
    with pytest.raises(bnfold.UsageError, match="'batch_size' cannot be 0"):
        bnfold.recalibrate(model(CONV_BN_RELU), pictures(), batch_size=0)
