"""How far two models are from each other on the user's inputs."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from bnfold.errors import UsageError
from bnfold.results.comparison import Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying.agreement import agreement, decision_axis

from ..slimming.nets import model, values

TEXT = "net (float[N,6] x) => (float[N,4] y, float[N,4] z) {\n y = MatMul(x, w)\n z = Relu(y)\n}"
X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def sides(noise: float) -> tuple[Side, Side]:
    weight = values(6, 4)
    found = []
    for w in (weight, weight + noise * values(6, 4, seed=1)):
        found.append(Side(bnfold.load(model(TEXT, {"w": w}))))
    return found[0], found[1]


def test_the_figures_are_those_of_numpy() -> None:
    whole, other = sides(0.5)
    found = agreement(whole, other, VerifyOptions(inputs={"x": X}))
    weights = values(6, 4), values(6, 4) + 0.5 * values(6, 4, seed=1)
    old, new = (X @ w.astype(np.float32) for w in weights)
    assert found.inputs == 40
    assert found.top1 == np.mean(old.argmax(axis=1) == new.argmax(axis=1))
    errors = dict(found.outputs)
    assert errors["y"] == pytest.approx(np.sqrt(((old - new) ** 2).sum() / (old**2).sum()), rel=1e-4)
    assert found.error == max(errors.values())


def test_a_model_agrees_with_itself() -> None:
    whole, _ = sides(0.0)
    found = agreement(whole, whole, VerifyOptions(inputs={"x": X}))
    assert (found.top1, found.error) == (1.0, 0.0)


def test_inputs_are_needed() -> None:
    with pytest.raises(UsageError, match="inputs"):
        agreement(*sides(0.1), VerifyOptions())


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 10), 1), ((4, 10, 8, 8), 1), ((4, 7, 10), 2), ((4, 1), None), ((10,), None)]
)
def test_where_classes_stand(shape: tuple[int, ...], axis: int | None) -> None:
    assert decision_axis(shape) == axis


def test_whole_numbers_and_other_shapes() -> None:
    """What a model decides itself is compared as it is; an output of another shape agrees nowhere."""
    text = TEXT.replace(") {", ", int64[N] k, int64[1,M] n) {").replace(
        "z = Relu(y)",
        "z = Relu(y)\n k = ArgMax<axis=1, keepdims=0>(y)\n f = Greater(y, big)\n n = NonZero(k)",
    )
    text = text.replace(" f = Greater(y, big)\n", "")
    weight = values(6, 4)
    whole, other = (
        Side(bnfold.load(model(text, {"w": w}))) for w in (weight, weight + 0.5 * values(6, 4, seed=1))
    )
    found = agreement(whole, other, VerifyOptions(inputs={"x": X}))
    assert found.top1 is not None
    assert {name for name, _ in found.outputs} == {"y", "z"}
