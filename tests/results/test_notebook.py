"""Results as people meet them: one line in a terminal, a table in a notebook, the same thing in another process, a
log for whoever listens."""

from __future__ import annotations

import copy
import logging
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest

import bnfold
from bnfold.results.comparison import Comparison
from bnfold.results.fold_result import FoldResult

from ..models import CONV_BN_RELU, saved

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture
def result(tmp_path: Path) -> FoldResult:
    return bnfold.fold_file(saved(tmp_path, CONV_BN_RELU), out=tmp_path / "out.onnx")


def test_a_result_is_one_line(result: FoldResult) -> None:
    assert repr(result).startswith(
        "<FoldResult: net.onnx: 1 batch norm folded, 0 kept, 3 -> 2 nodes, equivalent"
    )
    assert len(repr(result).splitlines()) == 1


def test_a_comparison_is_one_line_however_long_its_reason() -> None:
    report = Comparison(
        equivalent=False, providers=(), noise=9.0, max_error=0.1, truth="float64", seed=0, reason="x" * 9999
    )
    assert repr(report).startswith("<Comparison: not equivalent noise=9 max_error=0.1 ep=none (xxx")
    assert len(repr(report)) < 200


def test_a_notebook_shows_the_summary(result: FoldResult) -> None:
    page = result._repr_html_()
    assert all(word in page for word in ("BatchNormalization", "parameters", "max error", "equivalent"))
    assert "<script" not in page and "<style" not in page


def test_names_of_models_are_escaped(tmp_path: Path) -> None:
    model = onnx.load(saved(tmp_path, CONV_BN_RELU))
    model.graph.output[0].name = model.graph.node[-1].output[0] = "<script>y"
    assert "<script>" not in bnfold.verify(model, model)._repr_html_()


@pytest.mark.parametrize("travel", [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy, copy.copy])
def test_a_result_travels(result: FoldResult, travel: object) -> None:
    again = travel(result)  # type: ignore[operator]
    assert (again.plan, again.before, again.after, again.report, again.path, again.origin) == (
        result.plan,
        result.before,
        result.after,
        result.report,
        result.path,
        result.origin,
    )
    assert bnfold.to_onnx(again.model).SerializeToString() == bnfold.to_onnx(result.model).SerializeToString()


def test_a_result_of_another_process(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        result = pool.submit(bnfold.fold, str(SAMPLES / "digits.prototxt")).result(60)
        failed = pool.submit(bnfold.fold, "no.onnx").exception(60)
    assert result.origin.format == "caffe"
    assert bnfold.verify(bnfold.load(SAMPLES / "digits.prototxt"), result.model)
    assert isinstance(failed, bnfold.Unreadable) and "no.onnx" in str(failed)


def test_arrays_are_inputs(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    path = saved(tmp_path, CONV_BN_RELU)
    report = bnfold.verify(path, bnfold.fold(path), inputs={"x": x})
    assert report and dict(report.inputs)["x"] == "2x3x8x8"
    with pytest.raises(bnfold.BnfoldError, match="'x'"):
        bnfold.verify(path, path, inputs={"x": x[:, :2]})


def test_what_is_done_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "bnfold"):
        bnfold.fold_file(saved(tmp_path, CONV_BN_RELU), out=tmp_path / "out.onnx")
    ours = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "bnfold"]
    assert ("DEBUG", "folding") in ours
    assert ours[-1][0] == "INFO" and ours[-1][1].startswith("<FoldResult: net.onnx")


def test_warnings_of_a_reader_are_logged_and_not_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.cfg").write_text(
        (SAMPLES / "digits.cfg").read_text().replace("[net]", "[net]\nno_such=1")
    )
    (tmp_path / "net.weights").write_bytes((SAMPLES / "digits.weights").read_bytes())
    bnfold.load(tmp_path / "net.cfg")
    assert any("no_such" in r.getMessage() for r in caplog.records if r.name == "bnfold")
    assert capfd.readouterr() == ("", "")


def test_a_model_in_memory_keeps_where_its_nodes_came_from() -> None:
    model = bnfold.to_onnx(bnfold.fold(bnfold.load(SAMPLES / "digits.prototxt")))
    notes = [{p.key: p.value for p in node.metadata_props} for node in model.graph.node]
    assert any(note.get("bnfold.source", "").startswith("digits.prototxt:") for note in notes)
    assert any("bnfold.folded" in note for note in notes)
