"""Yardsticks: the rounding of weights where sums do not round, and what happens where float64 is not the
truth."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from bnfold.ir.graph import ir
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.engines import engines
from bnfold.verifying.selftest_networks import Recipe, pair
from bnfold.verifying.truth.kernels import KERNELS

from .sides import proto, side, verdict


@pytest.fixture
def rounding_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter as engine: its sums do not round, so that pooling takes nearly all noise away but that
    of the weights."""
    monkeypatch.setattr(engines, "crashes", lambda model: "not today")


@pytest.mark.usefixtures("rounding_engine")
@pytest.mark.parametrize("seed", [317, 332, 361])
def test_the_rounding_of_weights_is_no_fault(seed: int) -> None:
    recipe = Recipe(seed, 3, size=24, stats="negative scales")
    found = verdict(recipe)
    assert found, found.reason
    assert found.providers[0].engine == "float64"
    assert found.noise < 3
    reference, candidate = pair(recipe, "one scale off by 1e-3")
    for node in candidate.graph.node:
        del node.metadata_props[:]
    assert not compare(side(reference), side(candidate), VerifyOptions(seed=seed))


@pytest.fixture
def wrong_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that computes something else than onnxruntime."""
    honest = KERNELS["Relu"]
    monkeypatch.setitem(KERNELS, "Relu", lambda call, x: honest(call, x) + 0.05 * np.abs(x))


@pytest.mark.usefixtures("wrong_relu")
def test_where_float64_is_not_the_truth_the_unfolded_model_is_asked() -> None:
    right = verdict(Recipe(2, 5))
    assert right, right.reason
    assert any("unfolded model besides" in note for note in right.notes)
    reference, candidate = pair(Recipe(2, 5), "one scale off by 1e-3")
    for node in candidate.graph.node:
        del node.metadata_props[:]
    assert not compare(side(reference), side(candidate), VerifyOptions())


def test_a_truth_of_another_shape_is_no_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        KERNELS, "GlobalAveragePool", lambda call, x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)[:1]
    )
    found = verdict(Recipe(2, 3))
    assert found, found.reason
    assert any("another shape" in note for note in found.notes)


def test_far_means_are_noise_of_the_reference_and_no_disagreement() -> None:
    found = verdict(Recipe(10_046, 50, 2, 12, stats="far means"))
    assert found, found.reason
    assert not any("besides" in note for note in found.notes)


@pytest.mark.parametrize("seed", range(20))
def test_double_precision_is_as_wide_as_its_truth(seed: int) -> None:
    """The truth sums in the reference's order and shares its errors; the candidate may not be held against
    what is left."""
    random = np.random.default_rng(seed)
    ins = int(random.integers(50, 300))
    model = proto(
        f"""<ir_version: 8, opset_import: ["": 17]> net (double[2,{ins}] x) => (double[2,5] y)
        <double[5,{ins}] w, double[5] s, double[5] b, double[5] m, double[5] v>
        {{ c = Gemm<transB=1>(x, w) y = BatchNormalization(c, s, b, m, v) }}""",
        w=random.standard_normal((5, ins)) * 0.5,
        v=random.random(5) + 0.5,
        **{name: random.standard_normal(5) for name in "sbm"},
    )
    folded = bnfold.fold(model).model
    found = bnfold.verify(model, folded, seed=seed)
    assert found, found.reason
    assert found.providers[0].engine == "onnxruntime"
    weight = folded.graph.initializers["w/folded"]
    weight.const_value = ir.tensor(weight.const_value.numpy() * (1 + 1e-12), name="w/folded")
    assert not bnfold.verify(model, folded, seed=seed)
