"""Verification, from two models to a verdict.

    interface    inputs and outputs of the two models fit each other            interface.py
    run          reference, candidate and truth on the same feeds               case.py, engines.py,
                 interpreter.py
    prove        every place where the two differ, where it stands              obligations/
    enlarge      more samples, at sizes that constants of the two name          larger_samples.py
    plant        do the outputs show the weights that no proof covers?          planted.py
    judge        every output over all samples                                  output_gate.py, gate.py
    providers    the same on other execution providers, errors taken apart      accelerators.py
    localise     the first value that leaves the noise, if the gate fails       divergence.py

onnxruntime is the engine wherever it can run the reference; elsewhere the float64 interpreter rounds each
node's result to its storage type instead, for both models alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..files.memory import SHORT, bounded, is_lack
from ..results.comparison import DECIDED, Comparison, Divergence, Figures, Proof, ProviderResult, Side
from ..results.options import NOISE_LIMIT, VerifyOptions, spelled
from .case import CandidateFails, Case, Progress, Runs
from .divergence import common_values, described, first_divergence, judged_values
from .engines.accelerators import judged_on
from .engines.environment import environment
from .engines.providers import CPU, required
from .inputs.interface import InterfaceExceptions, InterfacesDiffer, interface
from .inputs.samples import Unfillable
from .larger_samples import at_named_sizes
from .nondeterminism import behind_a_decision, judged_by_deciding_values
from .output_gate import figures as figures_of
from .output_gate import settled_by_proof
from .planted import SHARE, with_seen
from .truth.interpreter import CannotEvaluate
from .truth.number_formats import widened

FEW = 256  # elements below which one more look is cheaper than a doubtful verdict
AT_ONCE = 12
FAR_BELOW = 1 / 32  # a noise ratio that no rounding explains
NOTHING_KNOWN = (
    "cannot be verified: no difference could be proved, and no output would show a weight that is off by "
    f"{SHARE:.0%}"
)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what is not finite is foreseen, and judged
def compare(
    reference: Side, candidate: Side, options: VerifyOptions, progress: Progress | None = None
) -> Comparison:
    """Are the two models numerically the same?

    Raises UsageError where options do not fit the models, Unsupported where no sizes of free dims are found
    at which the reference runs, ProviderUnavailable where a requested execution provider is missing or falls
    back.
    """
    started = time.perf_counter()
    providers = required(options.providers)
    try:
        face = interface(reference, candidate, _exceptions(options))
    except InterfacesDiffer as error:
        return _not_compared(options, f"not the same: {error}")
    except Unfillable as error:
        return _not_compared(options, f"the reference cannot be verified here: {error}")
    case = Case(reference, candidate, options, face, progress or (lambda what, share: None))
    with bounded(options.max_memory, spelled("max_memory")):
        try:
            found = _verdict(case, providers)
        except Exception as error:
            if not is_lack(error):
                raise
            found = _comparison(case, None, (), None, f"the reference cannot be verified here: {SHORT}")
    return replace(found, seconds=time.perf_counter() - started, noise_limit=options.noise_limit)


def _not_compared(options: VerifyOptions, reason: str) -> Comparison:
    """The verdict on two models that were never run."""
    return Comparison(
        equivalent=False,
        providers=(),
        noise=math.nan,
        max_error=math.nan,
        truth="",
        seed=options.seed,
        reason=reason,
    )


def _exceptions(options: VerifyOptions) -> InterfaceExceptions:
    return InterfaceExceptions(
        rename=options.rename,
        by_position=options.by_position,
        any_order=options.any_order,
        fixed_shapes=options.fixed_shapes,
        drop_overridable=options.drop_overridable or options.freeze_initializers,
    )


def _verdict(case: Case, providers: Sequence[str]) -> Comparison:
    """Run, judge, and localise where the gate fails."""
    try:
        runs = case.reference_runs()
        case.complete(runs)
        if runs.proof is None or not runs.proof.refuted:
            at_named_sizes(case, runs)
            case.complete(runs)
    except (CannotEvaluate, Unfillable) as error:
        return _comparison(case, None, (), None, f"the reference cannot be verified here: {error}")
    except CandidateFails as error:
        return _comparison(case, None, (), None, str(error))
    figures = _judged(case, runs)
    if _doubtful(case, figures, runs):
        case.extend(runs)
        figures = _judged(case, runs)
    if runs.opaque:
        case.notes.append(
            "neither onnxruntime nor bnfold implements some operators, so only the parts around them were "
            "verified: " + ", ".join(runs.opaque)
        )
    if runs.proof is not None:
        runs.proof = with_seen(case, runs, runs.proof)
        if _nothing_known(runs.proof):
            figures = [replace(f, passed=False, reason=NOTHING_KNOWN) if f.passed else f for f in figures]
    results = [_result(runs, figures)] if CPU in providers else []
    results += [judged_on(case, runs, name) for name in providers if name != CPU]
    failed = _failing(runs, figures, results)
    case.notes += _far_below(results)
    divergence: Divergence | None = None
    if failed:
        case.progress("locating the first divergence", 0.9)
        own = all(f.passed for f in figures)
        inside = runs.proof is not None and bool(runs.proof.refuted)
        divergence = described(case, failed[0]) if inside or own else first_divergence(case, runs, figures)
    return _comparison(
        case, runs, tuple(results), divergence, f"{failed[0].value}: {failed[0].reason}" if failed else ""
    )


def _failing(runs: Runs, figures: list[Figures], results: list[ProviderResult]) -> list[Figures]:
    """What speaks against the candidate: what was refuted where it stands before what was measured behind
    it."""
    proof = runs.proof
    refuted: list[Figures] = []
    if proof is not None and proof.refuted:
        # what was refuted before what was dropped: a pair of values that is none is dropped, too
        ordered = sorted(proof.obligations, key=lambda o: o.verdict != "failed")
        causes = [o.figures for o in ordered if o.cause and o.figures is not None]
        refuted = causes or [o.figures for o in proof.refuted if o.figures is not None]
    wrong = [f for f in runs.folds if not f.passed and f not in refuted]
    return [
        *refuted,
        *wrong,
        *(f for f in figures if not f.passed),
        *(f for r in results for f in r.outputs if not f.passed),
    ]


def _judged(case: Case, runs: Runs) -> list[Figures]:
    """Every output, what reaches an operator that nobody knows, and on demand every value that both models
    have."""
    names = case.outputs(runs.references, runs.candidates) + [
        name for name in runs.truths[0] if not case.is_output(name)
    ]
    found = [figures_of(case, name, runs) for name in names]
    found = [_decided(case, f) if f.passed else _settled(case, runs, f) for f in found]
    if runs.proof is not None and not runs.proof.complete and not runs.proof.refuted:
        found = [_not_blind(f, runs) for f in found]
    if case.options.every_value:
        rest = [name for name in common_values(case) if name not in names]
        for start in range(0, len(rest), AT_ONCE):
            found += judged_values(case, runs, 0, rest[start : start + AT_ONCE]) or []
    return found


def _settled(case: Case, runs: Runs, figures: Figures) -> Figures:
    """An output over the limit may still be the same: behind a decision that is a tie within the noise, or,
    where all that differs was proved, as far off as the reference itself with its weights off by a
    rounding."""
    settled = figures
    for part in _failing_parts(case, runs, figures):
        settled = _settled_there(case, part, figures)
        if not settled.passed:
            break
    return settled


def _failing_parts(case: Case, runs: Runs, figures: Figures) -> list[Runs]:
    """The samples of all sizes but larger ones, and every larger one with a proof of its own, as far as the
    output fails there."""
    smaller = runs.only(*(index for index in range(len(runs.feeds)) if index not in runs.larger))
    smaller.proof = runs.proof
    larger = [runs.only(index) for index in runs.larger]
    parts = [smaller, *larger] if larger else []
    failing = [one for one in parts if not figures_of(case, figures.value, one).passed]
    for one in failing:
        if one is not smaller:
            case.prove(one)
    return failing or [runs]


def _settled_there(case: Case, runs: Runs, figures: Figures) -> Figures:
    if runs.proof is not None and runs.proof.refuted:
        return figures  # what decides may agree, and something else differ
    settled = judged_by_deciding_values(
        figures, case.reference.model, lambda values: judged_values(case, runs, 0, values)
    )
    if settled.passed or runs.proof is None or not runs.proof.complete:
        return settled
    return settled_by_proof(case, figures, runs)


def _decided(case: Case, figures: Figures) -> Figures:
    """An output behind a decision that the reference itself takes otherwise than float64: its error says
    nothing of the candidate."""
    if figures.candidate_error <= SHARE or not behind_a_decision(case.reference.model, figures.value):
        return figures
    reason = f"{DECIDED}: the reference itself is {figures.reference_error:.1g} away from float64 there"
    return replace(figures, reason=reason)


def _nothing_known(proof: Proof) -> bool:
    """Were all weights left neither proved nor seen?"""
    return not proof.complete and not proof.refuted and bool(proof.unseen) and not proof.proved + proof.seen


def _far_below(results: Sequence[ProviderResult]) -> list[str]:
    """A word on candidates that are nearer to float64 than the reference by more than chance."""
    return [
        f"the candidate is {1 / r.noise:.0f} times nearer to float64 than the reference on "
        f"{r.provider}, which no "
        "rounding explains: the two may not compute in the same type"
        for r in results
        if 0 < r.noise < FAR_BELOW
    ]


def _not_blind(figures: Figures, runs: Runs) -> Figures:
    """Where not all that differs could be proved, an output must be able to show a fault of one per cent."""
    if not figures.passed:
        return figures
    if lack := _says_nothing(figures.value, runs):
        reason = f"cannot be verified: it {lack} in every run, and what differs in front of it was not proved"
        return replace(figures, passed=False, reason=reason)
    if not figures.reference_rms * NOISE_LIMIT > SHARE:
        return figures
    reason = (
        f"cannot be verified: the reference itself is {figures.reference_rms:.1g} away from float64 there, "
        f"so it would not show a fault of {SHARE:.0%}, and some differences could not be proved"
    )
    return replace(figures, passed=False, reason=reason)


def _says_nothing(output: str, runs: Runs) -> str:
    """What is wrong with an output that has to show a difference and cannot, as a clause."""
    assert runs.proof is not None
    if not any(o.verdict == "open" and o.value == output and not o.where for o in runs.proof.obligations):
        return ""
    numbers = np.concatenate([widened(run[output]).reshape(-1) for run in runs.references if output in run])
    if not numbers.size:
        return "is empty"
    return "is the same number" if numbers.dtype.kind == "f" and not np.ptp(numbers) else ""


def _doubtful(case: Case, figures: list[Figures], runs: Runs) -> bool:
    """Is the noise of a value with few elements near the limit, on either side? Then it is a guess, and more
    samples decide."""
    if not case.interface.inputs or (runs.proof is not None and runs.proof.refuted):
        return False
    limit = case.options.noise_limit
    return any(
        limit / 2 < f.noise < limit * 64 and len(runs.feeds) * math.prod(f.shape) < FEW for f in figures
    )


def _result(runs: Runs, figures: list[Figures]) -> ProviderResult:
    compared = [f for f in figures if not (f.passed and f.decided)]
    noise = max((f.noise for f in compared), default=1.0)
    error = max((f.candidate_error for f in compared), default=0.0)
    return ProviderResult(
        provider="cpu",
        engine=runs.engine.name,
        outputs=tuple(figures),
        passed=all(f.passed for f in figures),
        noise=noise,
        max_error=error,
        seconds=runs.seconds,
    )


def _comparison(
    case: Case,
    runs: Runs | None,
    results: tuple[ProviderResult, ...],
    divergence: Divergence | None,
    reason: str,
) -> Comparison:
    folds = tuple(runs.folds) if runs else ()
    proof = runs.proof if runs else None
    passed = bool(results) and all(r.passed for r in results) and all(f.passed for f in folds)
    passed = passed and not (proof is not None and proof.refuted)
    inputs = tuple((name, "x".join(map(str, shape)) or "scalar") for name, shape in case.shapes.items())
    return Comparison(
        equivalent=passed,
        providers=results,
        noise=max((r.noise for r in results), default=math.nan),
        max_error=max((r.max_error for r in results), default=math.nan),
        truth=runs.truth if runs else "",
        seed=case.options.seed,
        inputs=inputs,
        divergence=divergence,
        reason=reason,
        notes=tuple(dict.fromkeys(case.notes)),
        folds=folds,
        environment=environment(),
        proof=proof,
    )
