"""The gate on other execution providers than the CPU's, and their errors taken apart (see providers.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...results.comparison import Figures, ProviderResult
from ..case import Case, Runs
from ..gate import Triple, failed, judge
from ..truth.number_formats import widened
from .engines import Values
from .providers import SUFFIX, ProviderRuns, run_on

KERNEL = (
    "every difference between the two models was proved, so this provider's kernels differ, not the models"
)


def judged_on(case: Case, runs: Runs, provider: str) -> ProviderResult:
    """Both models on one provider against the same truth. Raises ProviderUnavailable where it is not really
    used."""
    case.progress(f"running on {provider}", 0.8)
    found = run_on(
        provider,
        case.reference,
        case.candidate,
        runs.feeds,
        [case.interface.for_candidate(feed) for feed in runs.feeds],
    )
    found.candidates = [case.interface.in_reference_names(values) for values in found.candidates]
    figures = tuple(
        _blamed(_figures(case, runs, found, name), runs)
        for name in case.outputs(found.references, found.candidates)
    )
    spread = _largest(found.references, [values for repeat in found.repeats for values in repeat])
    of_provider = _largest(runs.references, found.references) if runs.engine.name == "onnxruntime" else None
    tf32 = _largest(found.references, found.tf32) if found.tf32 else None
    notes = tuple(f"{key}: {value}" for key, value in found.versions)
    return ProviderResult(
        provider=provider.removesuffix(SUFFIX).lower(),
        engine="onnxruntime",
        outputs=figures,
        passed=all(f.passed for f in figures),
        noise=max((f.noise for f in figures), default=1.0),
        max_error=max((f.candidate_error for f in figures), default=0.0),
        seconds=found.seconds,
        spread=spread,
        provider_error=of_provider,
        tf32_error=tf32,
        notes=notes,
    )


def _blamed(figures: Figures, runs: Runs) -> Figures:
    """A proved candidate that fails here alone fails by the provider's kernels."""
    if figures.passed or runs.proof is None or not runs.proof.complete:
        return figures
    return replace(figures, reason=f"{figures.reason}; {KERNEL}")


def _figures(case: Case, runs: Runs, found: ProviderRuns, name: str) -> Figures:
    triples = []
    for index, truth in enumerate(runs.truths):
        lists = (
            found.references[index],
            found.candidates[index],
            truth,
            *(repeat[index] for repeat in found.repeats),
        )
        if not any(name in values for values in lists[:2]):
            continue
        if not all(name in values for values in lists):
            return failed(name, (), "", "not every run has this output")
        reference, candidate, true, *repeats = (values[name] for values in lists)
        base = widened(reference)
        apart = [np.abs(widened(repeat) - base) for repeat in repeats] if base.dtype.kind == "f" else []
        triples.append(Triple(true, reference, candidate, spread=np.max(apart, axis=0) if apart else None))
    return judge(name, triples, case.kind(name, triples[0]), case.demands(name, runs))


def _largest(ours: list[Values], theirs: list[Values]) -> float:
    """The largest difference between two lists of runs (the shorter one starts again), relative to each
    value's magnitude."""
    worst = 0.0
    for index, values in enumerate(theirs):
        base = ours[index % len(ours)]
        for name in base.keys() & values.keys():
            a, b = widened(base[name]), widened(values[name])
            if a.dtype.kind == "f" and a.shape == b.shape and a.size:
                usable = np.isfinite(a) & np.isfinite(b)
                size = np.abs(np.where(usable, a, 0.0)).max()
                worst = max(worst, float(np.abs(np.where(usable, a - b, 0.0)).max() / (size or 1.0)))
    return worst
