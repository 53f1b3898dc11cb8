"""The schema of the JSON document: exactly these fields. A field that goes away or changes its meaning needs
a new schema number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.errors import NotEquivalent, Unreadable
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.reporting import json as documents
from bnfold.results.comparison import Comparison, Figures

from ..models import TWO_BLOCKS, saved

HEAD = {"schema", "tool", "command", "verdict", "exit_code"}
CONVERT = HEAD | {"input", "output", "operators", "nodes", "parameters", "size", "seconds"}
FOLD = CONVERT | {"dry_run", "batch_norms", "plan", "verification"}


def reread(document: dict[str, Any]) -> dict[str, Any]:
    return json.loads(documents.text(document))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def fold(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    result = pipeline.fold_file(Job(source=saved(tmp_path_factory.mktemp("json"), TWO_BLOCKS), detail=True))
    return reread(documents.document("fold", 0, **documents.of_fold(result)))


def test_the_fields_of_a_fold(fold: dict[str, Any]) -> None:
    assert fold.keys() == FOLD | {"detail"}
    assert fold["input"].keys() == {
        "format",
        "name",
        "files",
        "size",
        "dialect",
        "dialect_reason",
        "findings",
    }
    assert fold["output"].keys() == {"path", "size", "data"}
    assert fold["operators"][0].keys() == {"op", "before", "after"}
    assert fold["plan"].keys() == {"folded", "kept", "withdrawn", "merged", "copied"}
    assert fold["plan"]["folded"][0].keys() == {
        "node",
        "op",
        "source",
        "into",
        "values",
        "scale",
        "shift",
        "channels",
        "dead",
        "smallest_variance",
        "via",
        "direction",
    }
    assert fold["verification"].keys() == Comparison.__dataclass_fields__.keys()
    assert fold["verification"]["providers"][0]["outputs"][0].keys() == Figures.__dataclass_fields__.keys()
    assert fold["detail"].keys() == {"before", "after", "batch_norms", "ranges", "gammas"}


def test_the_figures_agree_with_each_other(fold: dict[str, Any]) -> None:
    operators = {row["op"]: (row["before"], row["after"]) for row in fold["operators"]}
    assert operators["BatchNormalization"] == (2, 0)
    assert fold["nodes"] == {
        "before": sum(b for b, _ in operators.values()),
        "after": sum(a for _, a in operators.values()),
    }
    assert fold["batch_norms"] == {"folded": 2, "kept": 0}
    assert fold["parameters"]["before"] - fold["parameters"]["after"] == 2 * 4 * 4 - 2 * 4
    assert fold["size"]["before"] == fold["input"]["size"]


def test_the_scales_of_the_picture_are_those_of_the_plan(fold: dict[str, Any]) -> None:
    for row in fold["plan"]["folded"]:
        scale = next(b["scale"] for b in fold["detail"]["batch_norms"] if b["node"] == row["node"])
        assert [min(scale), max(scale)] == pytest.approx(row["scale"], rel=1e-9)


def test_the_ranges_of_the_picture_are_those_of_the_weights(tmp_path: Path) -> None:
    result = pipeline.fold_file(Job(source=saved(tmp_path, TWO_BLOCKS), detail=True))
    assert result.detail is not None
    node = next(n for n in result.model.graph if n.name == "Conv_c")
    assert node.inputs[1] is not None and node.inputs[1].const_value is not None
    largest = np.abs(node.inputs[1].const_value.numpy()).max(axis=(1, 2, 3))
    found = next(r for r in result.detail.ranges if r.node == "Conv_c")
    assert found.after == pytest.approx((largest.max(), np.median(largest), largest.min()))


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, "PASS"), (1, "FAIL"), (2, "ERROR"), (3, "ERROR"), (70, "ERROR")]
)
def test_the_verdict_follows_the_exit_code(code: int, verdict: str) -> None:
    assert documents.document("fold", code)["verdict"] == verdict


@pytest.mark.parametrize(("code", "verdict"), [(0, "PASS"), (1, "FAIL"), (3, "FAIL"), (5, "FAIL")])
def test_one_of_many_models_that_ends_in_an_error_fails_the_run(code: int, verdict: str) -> None:
    assert documents.document("batch", code, runs=[])["verdict"] == verdict
    assert documents.document("check", code, models=[])["verdict"] == verdict


def test_an_error_has_its_parts() -> None:
    error = Unreadable("cannot be read", where=Path("x.onnx"), expected="a model", way_out="look elsewhere")
    assert documents.of_error(error)["error"] == {
        "kind": "Unreadable",
        "where": "x.onnx",
        "found": "cannot be read",
        "expected": "a model",
        "way_out": "look elsewhere",
        "sentence": "x.onnx: cannot be read; expected a model; look elsewhere",
        "findings": (),
    }
    assert "verification" not in documents.of_error(NotEquivalent("differs"))


def test_what_json_does_not_know_is_null_or_a_plain_number() -> None:
    document = documents.plain(
        {"a": float("nan"), "b": [float("inf"), np.float32(0.5), np.int64(3)], "c": Path("p"), "d": "\udcff"}
    )
    assert reread(document) == {"a": None, "b": [None, 0.5, 3], "c": "p", "d": "\udcff"}
    assert documents.text(document).isascii()
