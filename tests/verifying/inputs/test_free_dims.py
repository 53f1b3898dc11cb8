"""The unknowns of a model's inputs: symbols, expressions in their names, what was asked for."""

from __future__ import annotations

import pytest

from bnfold.errors import UsageError
from bnfold.ir.graph import ir
from bnfold.verifying.inputs.free_dims import expression, free_dims
from bnfold.verifying.inputs.samples import Input


def floats(name: str, *dims: int | str | None) -> Input:
    return Input(name, ir.DataType.FLOAT, dims)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("past_seq_len+seq_len", 12),
        ("past_seq_len + seq_len", 12),
        ("2*seq_len", 16),
        ("(seq_len + 1)/2", 4),
        ("ceil((seq_len + 1)/2)", 5),
        ("max(seq_len, past_seq_len)", 8),
        ("past_seq_len - seq_len", 1),
    ],
)
def test_expressions_follow_from_names(text: str, value: int) -> None:
    parsed = expression(text)
    assert parsed is not None
    assert parsed.value({"seq_len": 8, "past_seq_len": 4}) == value


@pytest.mark.parametrize(
    "text",
    ["N", "total_seq_len", "", "a b + c", "f(x).y", "__import__('os')", "x**9", "1+2", "(", "a" * 999 + "+b"],
)
def test_what_is_no_arithmetic_is_a_name(text: str) -> None:
    assert expression(text) is None


def test_an_expression_is_no_unknown_of_its_own() -> None:
    inputs = [floats("ids", "batch", "seq"), floats("past", "batch", "past_seq"), floats("m", "past_seq+seq")]
    dims = free_dims(inputs, {})
    assert [u.key for u in dims.unknowns] == ["batch", "seq", "past_seq"]
    assert dims.shapes({"batch": 2, "seq": 3, "past_seq": 4}) == {"ids": (2, 3), "past": (2, 4), "m": (7,)}


def test_a_hyphen_in_a_name_is_no_subtraction() -> None:
    dims = free_dims([floats("x", "batch-size", 3)], {})
    assert [(u.key, u.role) for u in dims.unknowns] == [("batch-size", "batch")]


def test_names_say_what_a_dim_is() -> None:
    dims = free_dims(
        [floats("past", 2, "batch_size", 2, "past_seq_len", 8), floats("x", None, 3, None, None)], {}
    )
    assert [u.role for u in dims.unknowns] == ["batch", "length", "batch", "side", "side"]


def test_what_was_asked_fixes_the_symbol_everywhere() -> None:
    dims = free_dims([floats("x", "N", "T"), floats("m", "N")], {"x": (5, 7)})
    assert dims.unknowns == []
    assert dims.shapes({}) == {"x": (5, 7), "m": (5,)}
    with pytest.raises(UsageError, match="a dim of 4"):
        free_dims([floats("x", "N", 3)], {"x": (1, 4)})


def test_the_way_out_can_be_typed() -> None:
    dims = free_dims([floats("x", "N", 3, None), floats("m", "a + b"), floats("k", 4)], {})
    assert list(dims.placeholders()) == ["--input-shape x:N,3,D2", "--input-shape m:a_b"]
