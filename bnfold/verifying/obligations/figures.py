"""The figures of one value at the end of a cone: the candidate's against the reference's, both in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...ir.graph import ir
from ...results.comparison import Figures
from ..composite_values import parts
from ..gate import FAINT, ratios
from ..truth.number_formats import tiny
from .deviations import UNIT_OF_DOUBLE, unit_of

LEAST_GROUP = 1e-300
NOT_FINITE = "NaN or infinity on one side, where the other has a number"


def compared(
    name: str, kind: ir.DataType, true: Any, result: Any, deviations: Sequence[Any], limit: float
) -> Figures:
    """The candidate's value against the reference's, both in float64. `deviations` are what rounding can do
    on each side."""
    if not isinstance(true, np.ndarray) or not isinstance(result, np.ndarray):
        return _compared_parts(name, kind, true, result, deviations, limit)
    if true.shape != result.shape:
        return failed(name, true, kind.name.lower(), f"its shape is {result.shape}, not {true.shape}")
    if true.dtype != np.float64 or result.dtype != np.float64:
        differ = int((true != result).sum()) if true.dtype.kind == result.dtype.kind else max(true.size, 1)
        return _exact(name, true, kind, differ)
    same = np.isfinite(true) == np.isfinite(result)
    if not same.all() or not np.array_equal(np.isnan(true), np.isnan(result)):
        return failed(name, true, kind.name.lower(), NOT_FINITE)
    variance = sum((np.broadcast_to(d, true.shape) ** 2 for d in deviations), np.zeros(()))
    return _judged(name, kind, true, result, np.sqrt(variance), limit)


def _compared_parts(
    name: str, kind: ir.DataType, true: Any, result: Any, deviations: Sequence[Any], limit: float
) -> Figures:
    """Sequences, maps and optional values, part by part, each with its own deviations."""
    ours, theirs = parts({name: true}), parts({name: result})
    of_parts = [parts({name: d}) for d in deviations if isinstance(d, (list, tuple))]
    if ours.keys() != theirs.keys():
        odd = min(ours.keys() ^ theirs.keys())
        return failed(
            name, np.zeros(()), kind.name.lower(), f"only one of the models has this output ('{odd}')"
        )
    figures = [
        compared(part, kind, ours[part], theirs[part], [d[part] for d in of_parts if part in d], limit)
        for part in ours
    ] or [_exact(name, np.zeros(()), kind, 0)]
    return next((f for f in figures if not f.passed), figures[0])


def _judged(
    name: str, kind: ir.DataType, true: np.ndarray, result: np.ndarray, deviation: np.ndarray, limit: float
) -> Figures:
    usable = np.isfinite(true)
    size = np.where(usable, np.abs(true), 0.0)
    error = np.where(usable, result - true, 0.0)
    magnitude = float(size.max(initial=0.0))
    unit = unit_of(kind)
    # neither side rounds on the way: what is left of the result's own size is what double precision loses
    expected = np.where(usable & np.isfinite(deviation), deviation, 0.0) ** 2
    expected = expected + (size * UNIT_OF_DOUBLE) ** 2 + (FAINT * unit * tiny(kind)) ** 2
    noise, where = 0.0, ""
    for words, sums in _groups(usable, expected, error**2):
        found = ratios(sums)
        at = int(np.argmax(found)) if found.size else 0
        if found.size and found[at] > noise:
            noise, where = float(found[at]), f", at index {at} of {words}" if words else ""
    reason = (
        ""
        if noise <= limit
        else f"the difference is {noise:.3g} times what rounding the weights can do (limit {limit:g}){where}"
    )
    total = max(float(usable.sum()), 1.0)
    peak = float(np.abs(error).max(initial=0.0)) / (magnitude or 1.0)
    rms = math.sqrt(float((error**2).sum()) / total) / (magnitude or 1.0)
    return Figures(
        value=name,
        shape=tuple(true.shape),
        dtype=kind.name.lower(),
        magnitude=magnitude,
        reference_error=0.0,
        candidate_error=peak,
        reference_rms=unit,
        candidate_rms=rms,
        noise=noise,
        roundings=rms / unit,
        passed=not reason,
        reason=reason,
    )


def _groups(usable: np.ndarray, expected: np.ndarray, found: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Rows of (count, 1 each, found over expected each), of all elements and of each entry of every axis: a
    channel may lie on any."""
    for axis in (None, *(k for k in range(usable.ndim) if usable.shape[k] > 1)):
        others = tuple(k for k in range(usable.ndim) if k != axis)
        count, allowed, measured = (
            np.atleast_1d(np.asarray(v.sum(axis=others if axis is not None else None), np.float64))
            for v in (usable, expected, found)
        )
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            share = np.where(measured > 0, measured / np.maximum(allowed, LEAST_GROUP), 0.0)
        yield f"axis {axis}" if axis is not None else "", np.stack([count, count, count * share], axis=1)


def _exact(name: str, true: np.ndarray, kind: ir.DataType, differ: int) -> Figures:
    reason = f"{differ} of {max(true.size, 1)} entries differ" if differ else ""
    share = differ / max(true.size, 1)
    return Figures(
        value=name,
        shape=tuple(true.shape),
        dtype=kind.name.lower(),
        magnitude=0.0,
        reference_error=0.0,
        candidate_error=share,
        reference_rms=0.0,
        candidate_rms=share,
        noise=math.inf if differ else 0.0,
        roundings=0.0,
        passed=not differ,
        reason=reason,
    )


def failed(name: str, true: np.ndarray, dtype: str, reason: str) -> Figures:
    """A value that differs in a way that no noise ratio measures."""
    return Figures(
        value=name,
        shape=tuple(true.shape),
        dtype=dtype,
        magnitude=math.nan,
        reference_error=0.0,
        candidate_error=math.inf,
        reference_rms=0.0,
        candidate_rms=math.inf,
        noise=math.inf,
        roundings=math.inf,
        passed=False,
        reason=reason,
    )
