"""Names in options that the model has not: what is refused, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.errors import UsageError
from bnfold.results.model_names import check_shapes, check_verification, idle_patterns
from bnfold.results.options import FoldOptions, VerifyOptions, command_line

from ..models import CONV_BN_RELU, model

TWO = ir.from_onnx_text(
    '<ir_version: 9, opset_import: ["" : 17]> g (float[N, 3] left, float[N, 3] right, float[1] k = {2})'
    " => (float[N, 3] sum) { scaled = Mul(left, k) sum = Add(scaled, right) }"
)
ONE = ir.from_onnx_text(
    '<ir_version: 9, opset_import: ["" : 17]> g (float[N, 3] data) => (float[N, 3] y) { y = Relu(data) }'
)


@pytest.mark.parametrize("asked", [{}, {"left": (5, 3)}, {"left": (5, 3), "right": (5, 3)}])
def test_shapes_that_fit(asked: Any) -> None:
    check_verification(TWO, VerifyOptions(input_shapes=asked))


@pytest.mark.parametrize(
    ("graph", "asked", "words"),
    [
        (
            TWO,
            {"lef": (5, 3)},
            "'input_shapes' names 'lef', which is no input .*left, right; did you mean 'left'",
        ),
        (TWO, {"k": (1,)}, "names 'k', which is no input"),
        (TWO, {"sum": (1, 3)}, "names 'sum', which is no input"),
        (TWO, (5, 3), "'input_shapes' without a name; expected the name of an input: left, right"),
        (TWO, {"left": (5, 4)}, r"gives 'left' the shape \[5, 4\]; expected one that fits \[N, 3\]"),
        (TWO, {"left": (5,)}, r"gives 'left' the shape \[5\]"),
        (ONE, (3,), r"gives 'data' the shape \[3\]"),
    ],
)
def test_shapes_that_do_not(graph: ir.Model, asked: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_shapes(graph, VerifyOptions(input_shapes=asked).input_shapes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inputs": {"rihgt": "x.npy"}}, "'inputs' names 'rihgt', .*did you mean 'right'"),
        ({"inputs": {"k": np.zeros(1)}}, "'inputs' names 'k'"),
        ({"inputs": "x.npy"}, "'inputs' without a name"),
        ({"inputs": np.zeros(1)}, "'inputs' without a name"),
        ({"rtol": {"some": 1}}, "'rtol' names 'some', which is no output of the model; expected one of sum"),
        ({"atol": {"left": 1}}, "'atol' names 'left', which is no output"),
        ({"atol": {"scaled": 1}}, "'atol' names 'scaled', which is no output"),
        (
            {"atol": {"scald": 1}, "every_value": True},
            "which is no value of the model; .*did you mean 'scaled'",
        ),
        ({"mean": 1}, "'mean' is for inputs that are images, and there are none"),
        ({"std": 1}, "'std' is for inputs that are images"),
        ({"layout": "NHWC", "inputs": {"left": "a.npy"}}, "'layout' is for inputs that are images"),
    ],
)
def test_names_that_verification_does_not_know(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_verification(TWO, VerifyOptions(**given))


@pytest.mark.parametrize(
    "given",
    [
        {"inputs": "all.npz"},
        {"inputs": {"left": "x.npy", "": "rest.npz"}},
        {"rtol": 1e-3, "atol": {"sum": 1}},
        {"atol": {"sum [0]": 1}},
        {"atol": {"scaled": 1}, "every_value": True},
        {"mean": 1, "std": (1, 2, 3), "layout": "NHWC", "inputs": {"left": "cat.PNG"}},
    ],
)
def test_names_that_it_knows(given: Any) -> None:
    check_verification(TWO, VerifyOptions(**given))


def test_a_folder_holds_images(tmp_path: Path) -> None:
    check_verification(ONE, VerifyOptions(mean=1, inputs=tmp_path))


def test_patterns_that_match_no_node() -> None:
    graph = ir.from_proto(model(CONV_BN_RELU))
    names = [node.name or "" for node in graph.graph]
    assert idle_patterns(graph, FoldOptions()) == idle_patterns(graph, FoldOptions(keep=("*",))) == ()
    (found,) = idle_patterns(graph, FoldOptions(keep=(f"{names[0]}x", names[0])))
    assert (found.level, found.code) == ("warning", "keep.no-node")
    assert found.text.startswith(f"'keep' '{names[0]}x' matches no node of the model; did you mean '")


def test_the_command_line_reads_of_its_flags() -> None:
    with command_line(), pytest.raises(UsageError, match=r"^--input-shape names 'x'"):
        check_shapes(ONE, (("x", (1,)),))
    with pytest.raises(UsageError, match=r"^'input_shapes' names 'x'"):
        check_shapes(ONE, (("x", (1,)),))
