"""The Python API as its users call it."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    assert len(functions) == 7
    for function in functions:
        assert inspect.getdoc(function)
        assert all(p.annotation is not p.empty for p in inspect.signature(function).parameters.values())
        assert inspect.signature(function).return_annotation is not inspect.Signature.empty
