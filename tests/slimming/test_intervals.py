"""Bounds of channels hold for every number within them, and are one number where that is certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ir import Attr, AttributeType, Node

from bnfold.inference.evaluation import evaluated
from bnfold.slimming.intervals import ARITHMETIC, INCREASING, combined, unary

NUMBERS = st.floats(-8, 8, allow_subnormal=False)
PLAIN = {
    "Add": np.add,
    "Sum": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Pow": np.power,
    "PRelu": lambda a, slope: np.where(a >= 0, a, slope * a),
}


def test_every_operator_is_tried() -> None:
    assert PLAIN.keys() == ARITHMETIC.keys()


@pytest.mark.parametrize("op", PLAIN)
@given(st.lists(NUMBERS, min_size=6, max_size=6))
def test_a_result_lies_within_its_bounds(op: str, numbers: list[float]) -> None:
    (a, b), inside = sorted(numbers[:2]), numbers[2]
    c, d = sorted(numbers[3:5])
    x, y = np.clip(inside, a, b), np.clip(numbers[5], c, d)
    with np.errstate(all="ignore"):
        value = PLAIN[op](x, y)
        low, high = combined(op, [(np.array([a]), np.array([b])), (np.array([c]), np.array([d]))])
    if np.isfinite(value):
        slack = 1e-9 * (1 + abs(value))
        assert low[0] - slack <= value <= high[0] + slack


@pytest.mark.parametrize("op", PLAIN)
def test_two_constants_make_one(op: str) -> None:
    a, b = np.array([2.0, -3.0]), np.array([0.5, 2.0])
    low, high = combined(op, [(a, a), (b, b)])
    assert low.tolist() == high.tolist() == PLAIN[op](a, b).tolist()


def test_zero_times_anything_is_zero() -> None:
    zero, any_ = np.zeros(1), (np.array([-np.inf]), np.array([np.inf]))
    assert [end.tolist() for end in combined("Mul", [(zero, zero), any_])] == [[0.0], [0.0]]


@pytest.mark.parametrize("op", sorted(INCREASING | {"Gelu", "HardSwish", "Abs", "Neg", "Mish"}))
def test_activations_at_constants_and_between(op: str) -> None:
    node = Node("", op, [])
    at = np.array([-1.5, 0.0, 0.25, 3.0])
    low, high = unary(node, (at, at), [], 20)
    assert np.array_equal(low, high)
    assert np.allclose(low, evaluated(node, [at], 20)[0])  # type: ignore[index]
    low, high = unary(node, (at, at + 2), [], 20)
    for share in (0.0, 0.3, 1.0):
        value = evaluated(node, [at + 2 * share], 20)[0]  # type: ignore[index]
        assert ((low <= value + 1e-12) & (value <= high + 1e-12)).all()


def test_a_relu_of_what_is_never_positive_is_zero() -> None:
    low, high = unary(Node("", "Relu", []), (np.array([-np.inf]), np.array([-0.1])), [], 17)
    assert (low[0], high[0]) == (0, 0)


def test_a_negative_slope_turns_bounds_around() -> None:
    node = Node("", "LeakyRelu", [], [Attr("alpha", AttributeType.FLOAT, -1.0)])
    low, high = unary(node, (np.array([-2.0]), np.array([-1.0])), [], 17)
    assert (low[0], high[0]) == (-np.inf, np.inf)
