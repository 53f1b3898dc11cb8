"""The gate on plain arrays: what passes, what fails, and what cannot hide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.ir.graph import ir
from bnfold.verifying.gate import Demands, Triple, judge

FLOAT = ir.DataType.FLOAT
U = 2.0**-24
LIMIT = Demands(4.0)


def triple(
    shape: tuple[int, ...] = (2, 8, 16, 16), reference: float = 3.0, candidate: float = 3.0, seed: int = 0
) -> Triple:
    """A value with errors of so many roundings of its magnitude."""
    random = np.random.default_rng(seed)
    truth = random.standard_normal(shape)
    size = np.abs(truth).max()
    errors = [random.standard_normal(shape) * size * U * scale for scale in (reference, candidate)]
    return Triple(truth, *((truth + e).astype(np.float32) for e in errors))


def changed(one: Triple, candidate: np.ndarray) -> Triple:
    return Triple(one.truth, one.reference, candidate)


def test_errors_of_the_same_size_pass() -> None:
    found = judge("y", [triple()], FLOAT, LIMIT)
    assert found.passed
    assert found.noise == pytest.approx(1, abs=0.3)
    assert found.shape == (2, 8, 16, 16)


@pytest.mark.parametrize(("candidate", "passes"), [(10, True), (15, False), (300, False)])
def test_the_limit_is_on_the_ratio(candidate: float, passes: bool) -> None:
    assert judge("y", [triple(candidate=candidate)], FLOAT, LIMIT).passed == passes


def test_a_few_roundings_pass_whatever_the_reference_does() -> None:
    one = triple(reference=0)
    assert judge("y", [changed(one, np.nextafter(one.reference, np.inf))], FLOAT, LIMIT).passed
    assert not judge("y", [triple(reference=0, candidate=30)], FLOAT, LIMIT).passed


def test_a_channel_cannot_hide_behind_its_neighbours() -> None:
    one = triple((1, 512, 8, 8))
    candidate = one.reference.copy()
    candidate[:, 77] *= 1 + 1e-5
    found = judge("y", [changed(one, candidate)], FLOAT, LIMIT)
    assert not found.passed
    assert "channel 77" in found.reason


def test_a_faint_channel_is_judged_by_its_own_magnitude() -> None:
    random = np.random.default_rng(1)
    truth = random.standard_normal((2, 4, 16, 16)) * np.array([1e3, 1, 1, 10]).reshape(-1, 1, 1)
    noisy = truth * (1 + U * random.standard_normal(truth.shape))
    candidate = noisy.astype(np.float32)
    candidate[:, 1] *= 1.001
    assert not judge("y", [Triple(truth, noisy.astype(np.float32), candidate)], FLOAT, LIMIT).passed


def test_a_sample_cannot_hide_behind_the_others() -> None:
    good = [triple(seed=i) for i in range(9)]
    bad = triple(seed=10, candidate=100)
    assert all(judge("y", [one], FLOAT, LIMIT).passed for one in good)
    found = judge("y", [*good, bad], FLOAT, LIMIT)
    assert not found.passed
    assert "sample 9" in found.reason


def test_new_nan_and_infinity_fail() -> None:
    one = triple()
    for value, word in ((np.nan, "NaN"), (np.inf, "infinit")):
        candidate = one.reference.copy()
        candidate[0, 0, 0, 0] = value
        found = judge("y", [changed(one, candidate)], FLOAT, LIMIT)
        assert not found.passed
        assert word in found.reason


def test_old_nan_and_infinity_pass_and_lost_ones_fail() -> None:
    one = triple()
    for value in (np.nan, np.inf, -np.inf):
        truth, reference, candidate = one.truth.copy(), one.reference.copy(), one.candidate.copy()
        for array in (truth, reference, candidate):
            array[1, 2, 3, 4] = value
        assert judge("y", [Triple(truth, reference, candidate)], FLOAT, LIMIT).passed
        candidate[1, 2, 3, 4] = 0
        assert not judge("y", [Triple(truth, reference, candidate)], FLOAT, LIMIT).passed


def test_an_infinity_of_the_other_sign_fails() -> None:
    one = triple()
    reference, candidate = one.reference.copy(), one.candidate.copy()
    reference[0, 0, 0, 0], candidate[0, 0, 0, 0] = np.inf, -np.inf
    assert not judge("y", [Triple(one.truth, reference, candidate)], FLOAT, LIMIT).passed


def test_an_infinity_where_the_truth_is_beyond_the_type_passes() -> None:
    truth = np.linspace(1, 1000, 512).reshape(2, 256)
    for beyond, passes in ((65600.0, True), (65000.0, False)):
        truth[0, 0] = beyond
        reference, candidate = (
            truth.clip(-65504, 65504).astype(np.float16),
            truth.clip(-65504, 65504).astype(np.float16),
        )
        candidate[0, 0] = np.inf
        assert judge("y", [Triple(truth, reference, candidate)], ir.DataType.FLOAT16, LIMIT).passed == passes


def test_another_shape_or_type_fails() -> None:
    one = triple()
    assert "shape" in judge("y", [changed(one, one.candidate[:1])], FLOAT, LIMIT).reason
    assert "type" in judge("y", [changed(one, one.candidate.astype(np.float64))], FLOAT, LIMIT).reason


def test_integers_must_be_equal() -> None:
    values = np.arange(12).reshape(3, 4)
    assert judge("y", [Triple(values, values, values.copy())], ir.DataType.INT64, LIMIT).passed
    found = judge("y", [Triple(values, values, values + (values == 5))], ir.DataType.INT64, LIMIT)
    assert not found.passed
    assert found.reason == "1 of 12 entries differ"


def test_half_precision_is_judged_by_its_own_rounding() -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal((2, 8, 16, 16))
    reference = truth.astype(np.float16)
    nudged = np.nextafter(reference, np.float16(np.inf))
    assert judge("y", [Triple(truth, reference, nudged)], ir.DataType.FLOAT16, LIMIT).passed
    assert not judge(
        "y", [Triple(truth, reference, (truth * 1.05).astype(np.float16))], ir.DataType.FLOAT16, LIMIT
    ).passed


def test_dead_outputs_pass() -> None:
    nothing = np.zeros((2, 8, 4, 4), np.float32)
    found = judge("y", [Triple(nothing.astype(np.float64), nothing, nothing)], FLOAT, LIMIT)
    assert found.passed
    assert found.candidate_error == 0


def test_fixed_tolerances_come_on_top() -> None:
    one = triple()
    assert judge("y", [one], FLOAT, Demands(4.0, rtol=1e-3, atol=1e-3)).passed
    found = judge("y", [one], FLOAT, Demands(4.0, rtol=0.0, atol=1e-9))
    assert not found.passed
    assert "atol" in found.reason


def test_class_scores_tell_how_far_the_ranking_agrees() -> None:
    one = triple((8, 10))
    found = judge("y", [one], FLOAT, LIMIT)
    assert (found.top1, found.top5) == (1.0, 1.0)
    turned = judge("y", [changed(one, one.candidate[:, ::-1].copy())], FLOAT, LIMIT)
    assert turned.top1 is not None
    assert turned.top1 < 1
    assert judge("y", [triple()], FLOAT, LIMIT).top1 is None


def test_the_gate_never_demands_less_than_the_spread() -> None:
    one = triple(candidate=60)
    assert not judge("y", [one], FLOAT, LIMIT).passed
    spread = np.full(one.truth.shape, 30 * U * np.abs(one.truth).max())
    assert judge("y", [Triple(one.truth, one.reference, one.candidate, spread=spread)], FLOAT, LIMIT).passed


def test_few_elements_do_not_fail_by_chance() -> None:
    refused = sum(
        not judge("y", [triple((2, 10), seed=s) for s in range(k, k + 12)], FLOAT, LIMIT).passed
        for k in range(0, 2400, 12)
    )
    assert refused == 0


def test_figures_of_a_failure_are_not_numbers_that_mislead() -> None:
    one = triple()
    found = judge("y", [changed(one, one.candidate[:1])], FLOAT, LIMIT)
    assert math.isinf(found.noise)
    assert math.isinf(found.candidate_error)


def test_what_is_no_float_is_judged_exactly_whatever_was_declared() -> None:
    flags = np.array([True, False])
    assert judge("y", [Triple(flags, flags, flags)], FLOAT, LIMIT).passed
    assert not judge("y", [Triple(flags, flags, ~flags)], FLOAT, LIMIT).passed


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_where_float64_has_no_number_the_candidate_has_that_of_the_reference(number: float) -> None:
    """An engine may put in what it likes, as 0 for the mean of nothing; a candidate may not."""
    one = triple()
    truth, reference, candidate = one.truth.copy(), one.reference.copy(), one.candidate.copy()
    truth[0, 1, 2, 3] = number
    reference[0, 1, 2, 3] = candidate[0, 1, 2, 3] = 0.5
    assert judge("y", [Triple(truth, reference, candidate)], FLOAT, LIMIT).passed
    candidate[0, 1, 2, 3] = 0.6
    found = judge("y", [Triple(truth, reference, candidate)], FLOAT, LIMIT)
    assert not found.passed
    assert found.reason == "1 numbers are not the reference's where float64 has none"
