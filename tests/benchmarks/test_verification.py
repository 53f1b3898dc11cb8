"""The confusion table counts what it says, and the matrix for a GPU says when there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnxruntime
import pytest

from benchmarks import confusion, cuda_verify
from bnfold.verifying.selftest_networks import Recipe


def test_a_right_fold_and_a_fault_are_counted() -> None:
    row = confusion.Row("right")
    confusion.judged(row, Recipe(1, 2), None)
    assert row.accepted["ours"] == row.pairs == 1
    wrong = confusion.Row("dropped bias")
    confusion.judged(wrong, Recipe(1, 2), "dropped bias")
    assert wrong.accepted["ours"] == wrong.accepted["onnxslim 1e-3/1e-4"] == 0
    assert not wrong.strays


def test_what_is_accepted_against_its_plan_is_shown() -> None:
    row = confusion.Row("a fault that is none")
    confusion.judged(
        row, Recipe(4, 1, stats="far means"), "folded across a relu"
    )  # nothing is negative before this relu
    assert row.accepted["ours"] == 1
    assert "in float64 the outputs differ by" in row.strays[0]


def test_nets_of_every_kind_are_drawn() -> None:
    recipes = list(confusion.right(56, "float32"))
    assert {recipe.depth for recipe in recipes} == set(confusion.DEPTHS)
    assert {recipe.rank for recipe in recipes} == {1, 2, 3}
    assert {recipe.stats for recipe in recipes} == set(confusion.STATISTICS)


def test_without_a_gpu_the_matrix_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(sys, "argv", ["cuda_verify", "--out", str(tmp_path / "out.json")])
    assert cuda_verify.main() == 5
    assert "CUDAExecutionProvider is not available" in capsys.readouterr().err
    assert json.loads((tmp_path / "out.json").read_text()) == []
