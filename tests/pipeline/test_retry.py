"""Which folds are taken back: by name where one is found, by halving where none is, never a failure passed
off as a success."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from bnfold.errors import NotEquivalent
from bnfold.pipeline.retry import ROUNDS, Withdrawn, Words, first_that_passes, reason
from bnfold.results.comparison import Comparison, Divergence, Figures, ProviderResult
from bnfold.results.plan import Folded, Plan

FIGURES = Figures(
    value="v",
    shape=(1,),
    dtype="FLOAT",
    magnitude=1.0,
    reference_error=1e-7,
    candidate_error=1e-3,
    reference_rms=1e-7,
    candidate_rms=1e-3,
    noise=1e4,
    roundings=1e4,
    passed=False,
)


@dataclass(frozen=True)
class Tried:
    plan: Plan
    report: Comparison | None


@dataclass
class Machine:
    """Folds `names`; verification fails while one of `bad` is folded, and names it where `localises`."""

    names: list[str]
    bad: set[str]
    localises: bool = True
    broken: bool = False
    runs: list[Withdrawn] = field(default_factory=list)

    def attempt(self, withdrawn: Withdrawn) -> Tried:
        self.runs.append(withdrawn)
        gone = {name for name, _ in withdrawn}
        names = [n for n in self.names if n not in gone]
        guilty = next((n for n in names if n in self.bad), None)
        plan = Plan(
            folded=tuple(
                Folded(
                    node=n,
                    op="BatchNormalization",
                    source="",
                    into=(f"conv_{n}",),
                    values=(f"value_{n}",),
                    scale=(1, 1),
                    shift=(0, 0),
                    channels=1,
                )
                for n in names
            )
        )
        return Tried(
            plan, report(guilty, passed=guilty is None and not self.broken, localised=self.localises)
        )


def report(guilty: str | None, *, passed: bool, localised: bool) -> Comparison:
    place = Divergence(f"value_{guilty}", f"conv_{guilty}", "", "", FIGURES) if guilty and localised else None
    provider = ProviderResult(
        provider="cpu",
        engine="onnxruntime",
        outputs=(),
        passed=passed,
        noise=1.0 if passed else 1e4,
        max_error=1e-7,
    )
    return Comparison(
        equivalent=passed,
        providers=(provider,),
        noise=provider.noise,
        max_error=1e-7,
        truth="float64",
        seed=0,
        divergence=place,
    )


def folded(attempt: Tried) -> list[str]:
    return [f.node for f in attempt.plan.folded]


def test_nothing_is_taken_back_from_a_fold_that_passes() -> None:
    machine = Machine(list("abc"), set())
    assert folded(first_that_passes(machine.attempt)) == list("abc")
    assert machine.runs == [()]


def test_the_named_fold_is_taken_back_and_the_rest_stays() -> None:
    machine = Machine(list("abcd"), {"b", "d"})
    assert folded(first_that_passes(machine.attempt)) == ["a", "c"]
    assert len(machine.runs) == 3


def test_all_folds_that_are_wrong_on_their_own_are_taken_back_at_once() -> None:
    machine = Machine(list("abcd"), {"b", "d"}, localises=False)

    def attempt(withdrawn: Withdrawn) -> Tried:
        tried = machine.attempt(withdrawn)
        assert tried.report is not None
        folds = tuple(
            replace(FIGURES, value=f"value_{n}", passed=n not in machine.bad) for n in folded(tried)
        )
        return Tried(tried.plan, replace(tried.report, folds=folds))

    assert folded(first_that_passes(attempt)) == ["a", "c"]
    assert len(machine.runs) == 2


def test_halving_finds_a_fold_that_nothing_names() -> None:
    names = [str(i) for i in range(53)]
    machine = Machine(names, {"37"}, localises=False)
    assert folded(first_that_passes(machine.attempt)) == [n for n in names if n != "37"]
    assert len(machine.runs) <= 16


def test_halving_with_a_culprit_in_both_halves_takes_back_what_is_known_to_help() -> None:
    machine = Machine(list("abcd"), {"a", "d"}, localises=False)
    assert folded(first_that_passes(machine.attempt)) == []


def test_a_failure_that_is_not_the_folds_fault_is_a_failure() -> None:
    machine = Machine(list("abc"), set(), localises=False, broken=True)
    with pytest.raises(NotEquivalent) as caught:
        first_that_passes(machine.attempt)
    assert caught.value.report is not None
    assert len(machine.runs) == 2


def test_rounds_are_bounded() -> None:
    names = [str(i) for i in range(100)]
    machine = Machine(names, set(names))
    with pytest.raises(NotEquivalent, match="value_0"):
        first_that_passes(machine.attempt)
    assert len(machine.runs) == ROUNDS + 1


def test_the_last_round_counts() -> None:
    names = [str(i) for i in range(ROUNDS)]
    machine = Machine(names, set(names))
    assert folded(first_that_passes(machine.attempt)) == []


def test_what_nothing_can_check_fails_at_once() -> None:
    unchecked = Comparison(
        equivalent=False,
        providers=(),
        noise=float("nan"),
        max_error=float("nan"),
        truth="float64",
        seed=0,
        reason="no engine runs 'Mystery'",
    )
    tries: list[Withdrawn] = []

    def attempt(withdrawn: Withdrawn) -> Tried:
        tries.append(withdrawn)
        return Tried(Plan(), unchecked)

    with pytest.raises(NotEquivalent, match=r"Mystery.*--no-verify"):
        first_that_passes(attempt)
    assert len(tries) == 1


def test_unverified_work_is_taken_as_it_is() -> None:
    assert first_that_passes(lambda withdrawn: Tried(Plan(), None)).report is None


def test_what_is_taken_back_for_something_else_than_noise_says_so() -> None:
    noisy = replace(report("b", passed=False, localised=True), reason="v: the noise is too large")
    assert reason(noisy, Words()).startswith("with it, verification measured 1e+04 times the noise")
    empty = replace(noisy, noise=0.5, reason="v: cannot be verified")
    assert reason(empty, Words()) == "with it, verification says: v: cannot be verified"
