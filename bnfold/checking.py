"""The CI gate: every model is held against a policy, and every violation is listed, not the first alone.

    expand(paths)          files, folders and globs -> (network, weights) pairs
    check(model, policy)   -> Checked: the violations of one model

A rule is a row in RULES: a code that CI can rely on, and the function that finds its violations.

    check.unreadable      it does not load (exit code 3, or 4 for a construct that is not known)
    check.invalid         the ONNX checker refuses it
    check.foldable        a batch norm that could be folded is left
    check.kept            a batch norm is kept for a reason that the policy does not allow
    check.size            it is larger than the policy allows
    check.not-equivalent  it is not numerically the model that it is held against
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from . import pipeline
from .comparison import VerifyOptions
from .errors import NOT_EQUIVALENT, BnfoldError, Unreadable, UsageError
from .job import Say
from .outcome import Checked, FoldResult, Violation, origin_of
from .record import FoldOptions, Loaded, ReadOptions

_WEIGHTS = {".prototxt": ".caffemodel", ".pbtxt": ".caffemodel", ".cfg": ".weights"}
_MODELS = (".onnx", *_WEIGHTS)
BATCH_NORM = "BatchNormalization"


@dataclass(frozen=True)
class Policy:
    """What a model must be.

    kept     fnmatch patterns of codes for which a batch norm may be kept (`kept.training-mode`); by default any reason will do
    against  a model (and its weights) that this one must be numerically equal to
    max_size bytes of the model's files together
    """

    kept: tuple[str, ...] = ("*",)
    max_size: int | None = None
    against: Path | None = None
    against_weights: Path | None = None
    read: ReadOptions = ReadOptions()  # noqa: RUF009 - frozen
    fold: FoldOptions = FoldOptions()  # noqa: RUF009
    verify: VerifyOptions = VerifyOptions()  # noqa: RUF009


@dataclass(frozen=True)
class _Case:
    loaded: Loaded
    planned: FoldResult
    policy: Policy


def check(network: Path, weights: Path | None, policy: Policy, say: Say) -> Checked:
    """Hold one model against the policy. What keeps it from loading is a violation like any other; never raises BnfoldError for it."""
    say(f"checking {network}")
    try:
        loaded = pipeline.load(network, weights, policy.read)
        case = _Case(loaded, pipeline.planned(loaded, policy.fold, origin_of(loaded).size), policy)
        violations = tuple(found for rule in RULES for found in rule(case))
    except BnfoldError as error:
        return Checked(network, (Violation("check.unreadable", str(error.where or network), str(error)),), error.exit_code)
    code = NOT_EQUIVALENT if violations else 0
    return Checked(network, violations, code, case.planned.origin, case.planned.before, case.planned.plan)


def expand(paths: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Networks with their weights. A folder gives every model in it; weights named after their network, or right behind it on the
    command line, go with it. Raises UsageError for a pattern without a match, and for weights without a network."""
    found: list[tuple[Path, Path | None]] = []
    for path in (hit for given in paths for hit in _hits(given)):
        if path.suffix.lower() in _WEIGHTS.values():
            if not found or _WEIGHTS.get(found[-1][0].suffix.lower()) != path.suffix.lower():
                raise UsageError(f"the weights {path} follow no network", expected="NETWORK WEIGHTS, in this order")
            found[-1] = (found[-1][0], path)
        else:
            found.append((path, _beside(path)))
    return list(dict.fromkeys(found))


def _hits(given: Path) -> list[Path]:
    if given.is_dir():
        models = sorted(p for p in given.rglob("*") if p.suffix.lower() in _MODELS and (p.suffix.lower() == ".onnx" or _beside(p)))
        if not models:
            raise Unreadable("holds no model", where=given, expected=".onnx files, or networks with weights of the same name")
        return models
    if given.exists() or not glob.has_magic(str(given)):
        return [given]
    hits = [Path(hit) for hit in sorted(glob.glob(str(given), recursive=True))]  # noqa: PTH207 - an absolute pattern is allowed
    if not hits:
        raise UsageError(f"nothing matches {given}")
    return hits


def _beside(network: Path) -> Path | None:
    weights = network.with_suffix(_WEIGHTS.get(network.suffix.lower(), ""))
    return weights if weights != network and weights.is_file() and weights.suffix else None


# The rules.


def _invalid(case: _Case) -> Iterator[Violation]:
    if case.loaded.format != "onnx":
        return
    import onnx

    try:
        onnx.checker.check_model(str(case.loaded.files[0]))
    except Exception as error:  # the checker raises types of its own, and a few of C++'s
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        yield Violation("check.invalid", str(case.loaded.files[0]), f"the ONNX checker refuses it: {first.strip()[:200]}")


def _foldable(case: _Case) -> Iterator[Violation]:
    for row in case.planned.plan.folded:
        if row.op == BATCH_NORM:
            yield Violation("check.foldable", row.source or row.node, f"batch norm '{row.node}' could be folded into {', '.join(row.into)}")


def _kept(case: _Case) -> Iterator[Violation]:
    for row in case.planned.plan.kept:
        if row.op == BATCH_NORM and not any(fnmatchcase(row.code, pattern) for pattern in case.policy.kept):
            yield Violation("check.kept", row.source or row.node, f"batch norm '{row.node}' is kept [{row.code}]: {row.reason}")


def _size(case: _Case) -> Iterator[Violation]:
    size, limit = case.planned.before.size, case.policy.max_size
    if size is not None and limit is not None and size > limit:
        yield Violation("check.size", case.loaded.name, f"{size:,} bytes, {limit:,} allowed")


def _not_equivalent(case: _Case) -> Iterator[Violation]:
    if case.policy.against is None:
        return
    reference = pipeline.load(case.policy.against, case.policy.against_weights, case.policy.read)
    report = pipeline.compare(reference, case.loaded, case.policy.verify)
    if not report.equivalent:
        place = f", first at '{report.divergence.value}'" if report.divergence else ""
        text = f"not numerically {case.policy.against}: {report.reason or f'noise ratio {report.noise:.3g}'}{place}"
        yield Violation("check.not-equivalent", case.loaded.name, text)


RULES: tuple[Callable[[_Case], Iterator[Violation]], ...] = (_invalid, _foldable, _kept, _size, _not_equivalent)
