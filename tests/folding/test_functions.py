"""Model-local functions: bodies in the place of calls, where a fold needs what the callers hand over."""

from __future__ import annotations

import pytest
from onnx import parser

from bnfold.folding import fold, functions
from bnfold.reading.onnx.reader import read

TWICE = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N, 2, H, W] x) => (float[N, 2, H, W] y)
<float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] a = {1, 2}, float[2] b = {3, 4}, float[2] c = {5, 6}, float[2] d = {7, 8}>
{ h = my.block (x, w, a, b, c, d)
  y = my.block (h, w, b, c, d, a) }
<domain: "my", opset_import: ["" : 17]>
block (x, w, g, b, m, v) => (y)
{ h = Conv (x, w)
  [bn] y = BatchNormalization (h, g, b, m, v) }"""


def test_a_function_called_twice_is_put_in_place_where_its_callers_hand_over_the_parameters() -> None:
    folded, plan = fold(read(parser.parse_model(TWICE)).model)
    assert [node.op_type for node in folded.graph] == ["Conv", "Conv"]
    assert not folded.functions
    assert len(plan.folded) == 2


def test_a_parameter_that_a_caller_hands_over_is_an_input_of_the_function() -> None:
    text = TWICE.replace("float[N, 2, H, W] x)", "float[N, 2, H, W] x, float[2] a)").replace(
        "float[2] a = {1, 2}, ", ""
    )
    _, plan = fold(read(parser.parse_model(text)).model)
    assert any("is an input of its function" in kept.reason for kept in plan.kept)


def test_functions_that_would_make_too_many_nodes_stay(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(functions, "MOST_NODES", 3)
    folded, plan = fold(read(parser.parse_model(TWICE)).model)
    assert len(folded.functions) == 1
    assert [kept.code for kept in plan.kept] == ["kept.parameter-not-constant"]


NESTED = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N, 2, H, W] x) => (float[N, 2, H, W] y)
<float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] a = {1, 2}, float[2] b = {3, 4}, float[2] c = {5, 6}, float[2] d = {7, 8}>
{ h = my.two (x, w, a, b, c, d)
  y = my.two (h, w, b, c, d, a) }
<domain: "my", opset_import: ["" : 17, "my" : 1]>
two (x, w, g, b, m, v) => (y)
{ h = my.block (x, w, g, b, m, v)
  y = my.block (h, w, g, b, m, v) }
<domain: "my", opset_import: ["" : 17]>
block (x, w, g, b, m, v) => (y)
{ h = Conv (x, w)
  [bn] y = BatchNormalization (h, g, b, m, v) }"""

RANKLESS = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[N, 2, H, W] x) => (float[N, 2, H, W] y)
<float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2, 2, 1, 1] u = {5, 6, 7, 8}>
{ h = my.scaled (x, w)
  y = my.scaled (h, u) }
<domain: "my", opset_import: ["" : 17]>
scaled (x, w) => (y)
{ s = Constant <value = float[2, 1, 1] {2, 3}> ()
  h = Conv (x, w)
  y = Mul (h, s) }"""


@pytest.mark.parametrize(("text", "left"), [(NESTED, ["Conv"] * 4), (RANKLESS, ["Conv"] * 2)])
def test_what_a_function_hands_on_and_ranks_are_known_in_place_of_its_calls(
    text: str, left: list[str]
) -> None:
    folded, _ = fold(read(parser.parse_model(text)).model)
    assert [node.op_type for node in folded.graph if node.op_type != "Constant"] == left
