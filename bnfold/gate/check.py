"""The CI gate: every model is held against a policy, and every violation is listed, not the first alone.

    expand(paths)          files, folders and globs -> (network, weights) pairs
    check(model, policy)   -> Checked: the violations of one model
    check_result(result, policy)   the same for a model that was just made

What a rule means stands in check_rules.py; here is what finds its violations: of a file as it lies
(FILE_RULES), and of a model that could be read (MODEL_RULES). A finder gives None where the policy does not
ask, or where there is nothing to look at.

Rule: an error that a finder meets is a violation of its rule with its own exit code, so that it hides no
other.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from ..errors import BnfoldError, one_line
from ..files import discovery
from ..files.names import native
from ..files.temporary import scratch
from ..ir import provenance
from ..pipeline import compare, pipeline
from ..pipeline.job import Say
from ..records import dataclass
from ..results.certificate import Certificate
from ..results.fold_result import Checked, FoldResult, Violation, origin_of
from ..results.plan import Loaded
from . import certificate, places
from .audit import audit
from .policy import Policy

BATCH_NORM = "BatchNormalization"


@dataclass(frozen=True)
class _File:
    path: Path
    policy: Policy


@dataclass(frozen=True)
class _Case:
    path: Path
    policy: Policy
    loaded: Loaded
    planned: FoldResult


def check(network: Path, weights: Path | None, policy: Policy, say: Say) -> Checked:
    """Hold one model against the policy. What keeps it from loading is a violation like any other; never
    raises BnfoldError for it."""
    say(f"checking {network}")
    found = [
        _applied(code, partial(find, _File(network, policy)), network) for code, find in FILE_RULES.items()
    ]
    begun = time.perf_counter()
    try:
        loaded = pipeline.load(network, weights, policy.read.unbaked)
        loaded = pipeline.with_idle_patterns(loaded, policy.fold, policy.read.strict)
        planned = pipeline.planned(loaded, policy.fold, origin_of(loaded).size)
    except BnfoldError as error:
        return _checked(
            network,
            (network,),
            [
                _Applied(
                    "check.unreadable",
                    (_of_error("check.unreadable", error, network),),
                    time.perf_counter() - begun,
                ),
                *found,
            ],
        )
    readable = _Applied("check.unreadable", (), time.perf_counter() - begun)
    case = _Case(network, policy, loaded, planned)
    found += [_applied(code, partial(find, case), network) for code, find in MODEL_RULES.items()]
    checked = _checked(network, loaded.files, [readable, *found])
    return replace(checked, origin=planned.origin, census=planned.before, plan=planned.plan)


def check_result(result: FoldResult, policy: Policy) -> Checked:
    """Hold a model that was just folded and written against the policy, by the plan of its own fold: a fold
    that verification took back counts as kept, with the code of that. Never raises BnfoldError for the
    model."""
    path, plan = result.path, result.plan
    assert path is not None
    try:
        loaded = pipeline.load(path)
    except BnfoldError as error:
        return _checked(
            path, (path,), [_Applied("check.unreadable", (_of_error("check.unreadable", error, path),))]
        )
    now = replace(
        result,
        before=result.after,
        plan=replace(plan, folded=(), merged=(), copied=(), kept=plan.kept + plan.withdrawn, withdrawn=()),
    )
    case = _Case(path, policy, loaded, now)
    return _checked(
        path, (path,), [_applied(code, partial(find, case), path) for code, find in MODEL_RULES.items()]
    )


@dataclass(frozen=True)
class _Applied:
    """One rule, what it found (None where it was not asked), and how long it took."""

    code: str
    found: tuple[Violation, ...] | None
    seconds: float = 0.0


def _applied(code: str, find: Callable[[], Iterable[Violation] | None], network: Path) -> _Applied:
    begun = time.perf_counter()
    try:
        violations = find()
        found = None if violations is None else tuple(violations)
    except BnfoldError as error:
        found = (_of_error(code, error, network),)
    return _Applied(code, found, time.perf_counter() - begun)


def _of_error(code: str, error: BnfoldError, network: Path) -> Violation:
    where = error.where if error.where is not None else network
    place = os.fspath(where) if isinstance(where, os.PathLike) else str(where)
    return Violation(code, place, str(error).removeprefix(f"{one_line(place)}: "), exit_code=error.exit_code)


def _checked(network: Path, files: Sequence[Path], applied: Sequence[_Applied]) -> Checked:
    violations = tuple(_placed(v, network, files) for rule in applied for v in rule.found or ())
    ran = [rule for rule in applied if rule.found is not None]
    return Checked(
        network,
        violations,
        ran=tuple(rule.code for rule in ran),
        seconds=tuple((rule.code, rule.seconds) for rule in ran),
    )


def _placed(found: Violation, network: Path, files: Sequence[Path]) -> Violation:
    """The file and line that a violation's words name.

    A folded model still names lines of its sources: they count where they lie beside it.
    """
    place = provenance.parse(found.where)
    name = Path(place.file).name
    near = (*(f for f in (*files, network) if f.name == name), network.parent / name)
    hit = next((f for f in near if name and os.path.isfile(f)), None)  # noqa: PTH113 - a name that no file can have is no error here
    if hit is None:
        return replace(found, path=os.fspath(network))
    return replace(found, path=os.fspath(hit), line=place.line, column=place.column)


def expand(paths: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Networks with their weights, as `gathering` finds them. Raises UsageError, Unreadable."""
    found = discovery.gathered([os.fspath(path) for path in paths])
    return [(Path(one.network), None if one.weights is None else Path(one.weights)) for one in found]


# The rules of a file.


def _certificate(case: _File) -> Iterable[Violation] | None:
    path = places.found_beside(case.path)
    if path is None:
        missing = Violation(
            "check.certificate", str(case.path), f"no certificate {places.beside(case.path).name} beside it"
        )
        return [missing] if case.policy.require_certificate else None
    faults = (one for one in audit(path, case.path) if not one)
    return [
        Violation(
            "check.certificate",
            str(case.path),
            f"not what {path.name} certifies: {one.detail.removeprefix(f'{case.path}: ')}",
        )
        for one in faults
    ]


def _unverified(case: _File) -> Iterable[Violation] | None:
    policy, path = case.policy, places.found_beside(case.path)
    if policy.against is not None or not (
        policy.providers or policy.noise_limit
    ):  # what it is held against is measured, not believed
        return None
    if path is None:
        text = f"neither a certificate nor a comparison shows that it passed on {', '.join(policy.providers)}"
        return [Violation("check.unverified", str(case.path), text)] if policy.providers else None
    return _shortcomings(certificate.read(path), case)


def _shortcomings(evidence: Certificate, case: _File) -> Iterator[Violation]:
    if evidence.unchanged:
        return
    measured = (
        {_provider(p.provider): p for p in evidence.verification.providers}
        if evidence.verification is not None
        else {}
    )
    for wanted in case.policy.providers or list(measured):
        found, limit = measured.get(_provider(wanted)), case.policy.noise_limit
        if found is None or not found.passed:
            yield Violation(
                "check.unverified",
                str(case.path),
                f"its certificate does not show that it passed on {wanted}",
                wanted,
            )
        elif limit is not None and not found.noise <= limit:
            text = f"noise ratio {found.noise:.3g} on {wanted}, {limit:g} allowed"
            yield Violation("check.unverified", str(case.path), text, wanted, found.noise)


def _provider(name: str) -> str:
    """ "cuda" and "CUDAExecutionProvider" are one."""
    return name.lower().removesuffix("executionprovider")


# The rules of a model.


def _invalid(case: _Case) -> Iterable[Violation] | None:
    if case.loaded.format != "onnx":
        return None
    import onnx

    try:
        with _as_text(case.loaded.files) as path:
            onnx.checker.check_model(path)
    except Exception as error:  # the checker raises types of its own, and a few of C++'s
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return [
            Violation("check.invalid", str(case.path), f"the ONNX checker refuses it: {first.strip()[:200]}")
        ]
    return []


@contextmanager
def _as_text(files: Sequence[Path]) -> Iterator[str]:
    """The path of a model for the checker, which takes text alone; where the name is none, that of a copy
    with its data."""
    try:
        text = native(files[0])
    except UnicodeDecodeError:
        text = ""
    if text:
        yield text
        return
    with scratch() as folder:
        for file in files:
            copy = folder / (file.relative_to(files[0].parent) if file != files[0] else "model.onnx")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        yield str(folder / "model.onnx")


def _foldable(case: _Case) -> Iterator[Violation]:
    for row in case.planned.plan.folded:
        if row.op == BATCH_NORM:
            text = f"batch norm '{row.node}' could be folded into {', '.join(row.into)}"
            yield Violation("check.foldable", row.source or row.node, text, row.node)


def _kept(case: _Case) -> Iterable[Violation] | None:
    if "*" in case.policy.kept:
        return None
    kept = (row for row in case.planned.plan.kept if row.op == BATCH_NORM)
    return [
        Violation(
            "check.kept",
            row.source or row.node,
            f"batch norm '{row.node}' is kept [{row.code}]: {row.reason}",
            row.node,
        )
        for row in kept
        if not any(fnmatchcase(row.code, pattern) for pattern in case.policy.kept)
    ]


def _size(case: _Case) -> Iterable[Violation] | None:
    size, limit = case.planned.before.size, case.policy.max_size
    if size is None or limit is None:
        return None
    return (
        [Violation("check.size", str(case.path), f"{size:,} bytes, {limit:,} allowed", amount=size)]
        if size > limit
        else []
    )


def _not_equivalent(case: _Case) -> Iterable[Violation] | None:
    if case.policy.against is None:
        return None
    weights = case.policy.against_weights or discovery.beside(os.fspath(case.policy.against))
    reference = pipeline.load(
        case.policy.against, None if weights is None else Path(weights), case.policy.reading_against
    )
    report = compare.compare(reference, case.loaded, case.policy.comparing)
    if report.equivalent:
        return []
    place = f", first at '{report.divergence.value}'" if report.divergence else ""
    text = (
        f"not numerically {case.policy.against}: {report.reason or f'noise ratio {report.noise:.3g}'}{place}"
    )
    where = report.divergence.source if report.divergence and report.divergence.source else str(case.path)
    return [Violation("check.not-equivalent", where, text, amount=report.noise)]


FILE_RULES: dict[str, Callable[[_File], Iterable[Violation] | None]] = {
    "check.certificate": _certificate,
    "check.unverified": _unverified,
}
MODEL_RULES: dict[str, Callable[[_Case], Iterable[Violation] | None]] = {
    "check.invalid": _invalid,
    "check.foldable": _foldable,
    "check.kept": _kept,
    "check.size": _size,
    "check.not-equivalent": _not_equivalent,
}
