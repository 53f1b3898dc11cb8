"""A baseline makes the gate a ratchet: what an earlier run found is known and fails nothing, unless it got
worse.

    read(path)              what `bnfold check --json` wrote, as a Baseline
    held(checks, baseline)  the same checks with the known violations marked

Two violations are the same when model, code and subject are; of several alike (unnamed nodes) as many are
known as there were. One with a figure (bytes, noise ratio) is known only while the figure does not grow
beyond the rule's slack.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..errors import Malformed
from ..files.text_files import read_json
from ..records import dataclass
from ..results.check_rules import RULEBOOK
from ..results.fold_result import Checked, Violation
from ..results.from_json import Unfit, decoded

_LARGEST = 1 << 28  # bytes of a result file
_EXPECTED = "what 'bnfold check --json' wrote"
Identity = tuple[str, str, str]


@dataclass(frozen=True)
class Baseline:
    """How bad every known violation was: model, code and subject -> figures, one for each."""

    known: dict[Identity, list[float | None]]


@dataclass(frozen=True)
class _Model:
    path: str
    violations: tuple[Violation, ...]


def read(path: Path, schema: str) -> Baseline:
    """The violations of a document of this schema. Raises Unreadable, and Malformed for what is no result of
    a check."""
    document = read_json(path, _LARGEST, _EXPECTED)
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise Malformed(f"the schema is {found!r}"[:100], where=path, expected=f"'{schema}', {_EXPECTED}")
    models = document.get("models")
    if (
        document.get("command") != "check"
        or not isinstance(models, list)
        or not all(isinstance(m, dict) for m in models)
    ):
        raise Malformed("holds no models with their violations", where=path, expected=_EXPECTED)
    known: dict[Identity, list[float | None]] = defaultdict(list)
    for model in models:
        try:
            one: _Model = decoded(_Model, _without_new(model))
        except Unfit as error:
            raise Malformed(str(error), where=path, expected=_EXPECTED) from error
        for violation in one.violations:
            known[_identity(Path(one.path), violation)].append(violation.amount)
    return Baseline(dict(known))


def held(checks: Sequence[Checked], baseline: Baseline) -> list[Checked]:
    """The checks, with `known` set on what the baseline has already."""
    left = {identity: sorted(figures, key=_severity) for identity, figures in baseline.known.items()}
    return [
        replace(one, violations=tuple(_marked(one.path, v, left) for v in one.violations)) for one in checks
    ]


def _marked(model: Path, violation: Violation, left: dict[Identity, list[float | None]]) -> Violation:
    figures = left.get(_identity(model, violation), [])
    slack = RULEBOOK[violation.code].slack
    hit = next(
        (i for i, was in enumerate(figures) if _severity(violation.amount) <= _severity(was) * slack), None
    )
    if hit is None:
        return violation
    figures.pop(hit)
    return replace(violation, known=True)


def _without_new(model: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that a later bnfold may have added."""
    ours = {f.name for f in fields(Violation)}
    wanted = {f.name: model[f.name] for f in fields(_Model) if f.name in model}
    found = wanted.get("violations")
    if isinstance(found, list):
        wanted["violations"] = [
            {k: v for k, v in one.items() if k in ours} if isinstance(one, dict) else one for one in found
        ]
    return wanted


def _severity(amount: float | None) -> float:
    """A figure that was not finite is null in JSON: nothing is worse. A violation without a figure is as bad
    as another."""
    return float("inf") if amount is None or math.isnan(amount) else amount


def _identity(model: Path, violation: Violation) -> Identity:
    """Paths as seen from here, so that a run with absolute ones knows those of a run with relative ones."""
    try:
        path = Path(os.path.relpath(model)).as_posix()
    except ValueError:  # another drive of Windows, or a path with a null byte
        path = str(model)
    return path, violation.code, violation.subject
