"""Affine nodes that nothing can hold, in their cheapest form."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.results.options import FoldOptions

from .held import hold
from .nets import Net
from .test_commute import batch_norm

X = (1, 4, 3, 3)
SIMPLE = FoldOptions(simplify_leftovers=True)


def chain(*steps: tuple[str, np.ndarray | str]) -> Net:
    net = Net(0)
    y = net.op("Relu", [net.input("x", X)], X)
    for kind, value in steps:
        y = (
            batch_norm(net, y, str(value))
            if kind == "BatchNormalization"
            else net.op(kind, [y, net.constant(np.asarray(value))], X)
        )
    net.op("Relu", [y], X)
    return net


V = np.arange(1.0, 5.0).reshape(4, 1, 1)


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([("Mul", V), ("Mul", 2 * V)], ["Mul"]),
        ([("Add", V), ("Sub", 2 * V)], ["Add"]),
        ([("Mul", V), ("Add", V), ("Mul", V)], ["Mul", "Add"]),
        ([("BatchNormalization", "S"), ("Mul", V), ("Add", V)], ["BatchNormalization"]),
        ([("BatchNormalization", "S"), ("BatchNormalization", "N")], ["BatchNormalization"]),
        ([("Mul", np.array(1.0)), ("Add", np.array(0.0))], []),
        ([("Mul", V), ("Div", V)], []),
        ([("BatchNormalization", "S")], ["BatchNormalization"]),
    ],
)
def test_rows_become_short(steps: list[tuple[str, np.ndarray | str]], left: list[str]) -> None:
    net = chain(*steps)
    assert [n.op_type for n in hold(net.model()).model.graph] == [
        "Relu",
        *(kind for kind, _ in steps),
        "Relu",
    ]
    assert [n.op_type for n in hold(net.model(), SIMPLE).model.graph] == ["Relu", *left, "Relu"]


def test_what_the_user_keeps_is_left_alone() -> None:
    net = chain(("Mul", V), ("Mul", V))
    assert hold(net.model(), FoldOptions(simplify_leftovers=True, keep=("Mul_2",))).count("Mul") == 2


def test_an_output_that_is_its_input_stays_an_output() -> None:
    net = Net(0)
    net.op("Mul", [net.input("x", X), net.constant(np.array(1.0))], X)
    assert hold(net.model(), SIMPLE).count("Mul") == 1


def test_a_row_passes_where_each_of_its_nodes_alone_could_not() -> None:
    """Two negative scales make a positive one, which passes a Relu."""
    net = Net(0)
    y = net.op("Conv", [net.input("x", X), net.constant(net.normal(4, 4, 1, 1))], X)
    y = net.op("Relu", [y], X)
    for _ in range(2):
        y = net.op("Mul", [y, net.constant(-V)], X)
    net.op("Sigmoid", [y], X)
    assert [n.op_type for n in hold(net.model(), SIMPLE).model.graph] == ["Conv", "Relu", "Sigmoid"]
