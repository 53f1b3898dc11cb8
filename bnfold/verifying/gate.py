"""The gate: is the error of the candidate as small as the error of the reference itself?

    error       value - truth, per element, over the magnitude of its channel; a channel far fainter than its
                value (FAINT, or one over the root of its elements, for few of them say little about a
                magnitude) is seen as if it were just as faint as that
    rounding    the unit of all errors: unit roundoff of the value's storage type, 2^-24 for float32
    noise       RMS error of the candidate / max(RMS error of the reference, 1 rounding)

The figure that counts is the largest noise over three kinds of groups: all elements, each sample, each
channel. So a channel cannot hide behind its neighbours, nor a sample behind the others. A group of few
elements says little about a spread, so both its errors are moderated by those of the whole value, as in a
moderated t-statistic: PRIOR elements' worth.

Where the effective sample size is small, two equal errors differ by chance. A noise over the limit is divided
by the factor that chance alone explains (`chance`), so that a class score or two of a saturated softmax
decide nothing; compare.py also draws more samples.

A value passes when noise <= limit (default 4). As the denominator is at least one rounding, an error below
`limit` roundings always passes. Measured (benchmarks/confusion.py, 500 right folds of nets of 1 to 150
blocks, 90 planted faults): right folds 0.8 in the median, 3.3 at most. 76 of the faults are over the limit
here; 14 hide in nets that amplify rounding without end or are dead behind the fault, and show where every
fold is judged on its own (fold_checks.py). Of the same right folds rtol 1e-3 / atol 1e-4 refuses 74, 1e-4 /
1e-5 refuses 139, 1e-5 / 1e-5 refuses 171 (docs/verification.md has the table).

A difference that has no noise fails at once: another shape or type, a NaN or infinity that the reference does
not have, an integer that differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..ir.graph import ir
from ..records import dataclass
from ..results.comparison import Figures
from ..results.options import NOISE_LIMIT
from .truth.number_formats import is_float, largest, rounding, tiny, widened

FAINT = 2.0**-7
ROUGH = 2.0**-7  # of a number: more than any noise makes of it
PRIOR = 256.0


@dataclass(frozen=True)
class Triple:
    """One value of one sample: what float64 says, what the reference and the candidate computed.

    expected  for half and double precision, and where the interpreter is the engine: the reference with every
              result rounded to its storage type and every weight off by up to a rounding. onnxruntime's CPU
              provider runs half precision in float32, so its own error would say nothing about the type that
              the model is made for, and double precision is as wide as the truth, which then shares the
              reference's error; and where sums do not round, or few bits are left, the rounding of the folded
              weights, which pooling does not average out, is a noise of its own
    spread    how far the reference's own runs lie apart, where a provider is not deterministic
    """

    truth: np.ndarray
    reference: np.ndarray
    candidate: np.ndarray
    expected: np.ndarray | None = None
    spread: np.ndarray | None = None


@dataclass(frozen=True)
class Demands:
    """The limit on noise, fixed tolerances where the user wants them besides, and the least error in
    roundings that is expected."""

    limit: float
    rtol: float | None = None
    atol: float | None = None
    least: float = 1.0


def judge(name: str, triples: Sequence[Triple], kind: ir.DataType, demands: Demands) -> Figures:
    """All figures of one value over all samples, and the verdict. `kind` is the value's storage type."""
    first = triples[0]
    shape, dtype = tuple(first.reference.shape), kind.name.lower()
    if fault := _fault(triples, kind):
        return failed(name, shape, dtype, fault)
    if not kind.is_floating_point() or not all(
        is_float(v.dtype) for t in triples for v in (t.truth, t.reference)
    ):
        return _exact(name, triples, dtype)  # also where a model declares a float and computes none
    if any(t.truth.shape != t.reference.shape for t in triples):
        return failed(
            name, shape, dtype, f"float64 gives a shape of {first.truth.shape}, the reference {shape}"
        )
    errors = [_Errors(t, kind) for t in triples]
    noise, where = _noise(errors, demands)
    reason = (
        "" if noise <= demands.limit else f"noise {noise:.3g} is over the limit of {demands.limit:g} {where}"
    )
    reason = reason or _beyond_tolerance(triples, demands)
    figures = _summary(name, shape, dtype, errors, noise, reason)
    return figures if not _scores(triples) else _with_agreement(figures, triples)


def _fault(triples: Sequence[Triple], kind: ir.DataType) -> str:
    """A fault that is visible without arithmetic, such as another shape or type."""
    for t in triples:
        if t.candidate.shape != t.reference.shape:
            return f"its shape is {t.candidate.shape}, the reference has {t.reference.shape}"
        if t.candidate.dtype != t.reference.dtype:
            return f"its type is {t.candidate.dtype}, the reference has {t.reference.dtype}"
        r, c = widened(t.reference), widened(t.candidate)
        if r.dtype.kind != "f":
            continue
        beyond = _overflows(t, kind) if r.shape == t.truth.shape else np.zeros(r.shape, np.bool_)
        if fresh := int((np.isnan(c) & ~np.isnan(r) & ~beyond).sum()):
            return f"{fresh} NaN where the reference has none"
        if fresh := int(
            (np.isinf(c) & ~beyond & (np.isfinite(r) | (np.isinf(r) & (np.sign(c) != np.sign(r))))).sum()
        ):
            return f"{fresh} infinities where the reference has none"
        if t.truth.shape == r.shape and (fault := _fault_without_truth(t.truth, r, c)):
            return fault
    return ""


def _fault_without_truth(truth: np.ndarray, reference: np.ndarray, candidate: np.ndarray) -> str:
    """The same where float64 has no number: what an engine puts in the place of a mean of nothing, say, is
    its own, and the candidate has to have that too, give or take more than any noise."""
    blind = ~np.isfinite(truth) & np.isfinite(candidate)
    if not blind.any():
        return ""
    if lost := int((blind & ~np.isfinite(reference)).sum()):
        return f"{lost} numbers where the reference has NaN or infinity"
    size = np.abs(reference[np.isfinite(reference)]).max(initial=0.0)
    with np.errstate(all="ignore"):
        off = np.abs(candidate - reference) > ROUGH * np.maximum(np.abs(reference), FAINT * size)
    apart = int((off & blind).sum())
    return f"{apart} numbers are not the reference's where float64 has none" if apart else ""


def _overflows(t: Triple, kind: ir.DataType) -> np.ndarray:
    """Where the model itself leaves its type: the truth is beyond the largest number, or as near to it as its
    own noise, or a run that rounds every node got lost. A reference that is finite there owes it to an engine
    with wider sums."""
    if not kind.is_floating_point():
        return np.zeros(t.truth.shape, np.bool_)
    rounded = widened(t.reference if t.expected is None else t.expected)
    with np.errstate(invalid="ignore"):
        off = np.abs(rounded - t.truth)
    noise = float(off[np.isfinite(off)].max(initial=0.0))
    lost = np.zeros(t.truth.shape, np.bool_) if t.expected is None else ~np.isfinite(rounded)
    return np.asarray((np.abs(t.truth) + noise > largest(kind)) | lost)


def failed(name: str, shape: tuple[int, ...], dtype: str, reason: str) -> Figures:
    """The figures of a value with such a fault."""
    return Figures(
        value=name,
        shape=shape,
        dtype=dtype,
        magnitude=math.nan,
        reference_error=math.nan,
        candidate_error=math.inf,
        reference_rms=math.nan,
        candidate_rms=math.inf,
        noise=math.inf,
        roundings=math.inf,
        passed=False,
        reason=reason,
    )


def _exact(name: str, triples: Sequence[Triple], dtype: str) -> Figures:
    """Integers, bools and strings: no rounding, no noise."""
    total = sum(t.reference.size for t in triples)
    differ = sum(int((t.reference != t.candidate).sum()) for t in triples)
    wrong = sum(
        int((t.reference != t.truth).sum()) if t.truth.shape == t.reference.shape else t.reference.size
        for t in triples
    )
    share, own = (x / max(total, 1) for x in (differ, wrong))
    reason = f"{differ} of {total} entries differ" if differ else ""
    noise = math.inf if differ else 1.0
    return Figures(
        value=name,
        shape=tuple(triples[0].reference.shape),
        dtype=dtype,
        magnitude=float(total),
        reference_error=own,
        candidate_error=share,
        reference_rms=own,
        candidate_rms=share,
        noise=noise,
        roundings=0.0,
        passed=not differ,
        reason=reason,
    )


class _Errors:
    """The errors of one sample in roundings, relative to each channel's magnitude."""

    def __init__(self, triple: Triple, kind: ir.DataType) -> None:
        yardstick = triple.reference if triple.expected is None else triple.expected
        truth, reference, candidate = (widened(v) for v in (triple.truth, yardstick, triple.candidate))
        usable = np.isfinite(truth) & np.isfinite(reference) & np.isfinite(candidate)
        size = np.where(usable, np.abs(truth), 0.0)
        self.magnitude = float(size.max(initial=0.0))
        channel = _per_channel(size)
        faint = max(FAINT, (channel.size / max(size.size, 1)) ** 0.5)
        scale = np.maximum(channel, max(faint * self.magnitude, tiny(kind)))
        self.unit = rounding(kind)
        with np.errstate(invalid="ignore", over="ignore"):
            self.reference = np.where(usable, (reference - truth) / scale / self.unit, 0.0)
            self.candidate = np.where(usable, (candidate - truth) / scale / self.unit, 0.0)
            if triple.spread is not None:
                self.reference = np.hypot(
                    self.reference, np.where(usable, triple.spread / scale / self.unit, 0.0)
                )
            self.plain = tuple(
                float(np.abs(np.where(usable, v - truth, 0.0)).max(initial=0.0))
                for v in (reference, candidate)
            )
        self.count = int(usable.sum())
        self.usable = usable

    def channels(self) -> tuple[np.ndarray, ...]:
        """(count, sum of squares of the reference's errors, of the candidate's, sums of fourth powers of
        both), per channel."""
        axes = tuple(i for i in range(self.usable.ndim) if i != 1)
        return tuple(v.sum(axis=axes) for v in self._powers())

    def sums(self) -> tuple[float, ...]:
        """The same over all elements."""
        return tuple(float(v.sum()) for v in self._powers())

    def _powers(self) -> tuple[np.ndarray, ...]:
        return (self.usable, self.reference**2, self.candidate**2, self.reference**4, self.candidate**4)


def _per_channel(size: np.ndarray) -> np.ndarray:
    if size.ndim < 2:
        return np.asarray(size.max(initial=0.0))
    return np.asarray(size.max(axis=tuple(i for i in range(size.ndim) if i != 1), keepdims=True, initial=0.0))


def _noise(errors: Sequence[_Errors], demands: Demands) -> tuple[float, str]:
    """(the largest noise over all groups, the group in words)."""
    samples = np.array([e.sums() for e in errors], np.float64)
    total = samples.sum(axis=0)
    if not total[0]:
        return 1.0, ""
    groups = [("", total[None]), ("in sample", samples)]
    if all(e.usable.ndim >= 2 and e.usable.shape[1] == errors[0].usable.shape[1] for e in errors):
        groups.append(("in channel", np.array([e.channels() for e in errors], np.float64).sum(axis=0).T))
    worst, where = 0.0, ""
    for words, sums in groups:
        found = ratios(sums, demands.least)
        found = np.where(found > demands.limit, found / chance(effective_size(sums)), found)
        at = int(np.argmax(found)) if found.size else 0
        if found.size and found[at] > worst:
            worst, where = float(found[at]), f"{words} {at}" if words else ""
    return worst, where


def ratios(sums: np.ndarray, least: float = 1.0) -> np.ndarray:
    """Noise of each group, from rows that begin with (count, sum of squares of the expected error, of the
    error found), in roundings."""
    total = sums.sum(axis=0)
    count, expected, found = sums.T[:3]
    mean = total[1:3] / max(total[0], 1.0)
    expected, found = (
        (v + PRIOR * m) / (count + PRIOR) for v, m in zip((expected, found), mean, strict=True)
    )
    return np.asarray(np.sqrt(found / np.maximum(expected, least**2)))


def effective_size(sums: np.ndarray) -> np.ndarray:
    """The effective sample size of the errors of each group: the participation ratio (Σe²)² / Σe⁴ of the
    reference's or the candidate's errors, whichever is smaller. Each row of `sums` is a group: its count,
    both sums of squares, both sums of fourth powers. A small group is moderated by all elements together, so
    it cannot count for more than they do."""
    total = sums.sum(axis=0)
    weight = PRIOR / max(total[0], 1.0)
    squares, fourths = sums[:, 1:3] + weight * total[1:3], sums[:, 3:5] + weight * total[3:5]
    known = np.minimum(1.0, total[0] / (sums[:, 0] + PRIOR))[:, None]
    shares = np.divide(squares**2, fourths, out=np.full(squares.shape, np.inf), where=fourths > 0)
    return np.asarray((shares * known).min(axis=1))


def chance(size: np.ndarray) -> np.ndarray:
    """The factor by which the ratio of two equal errors may exceed the limit by chance alone, for an
    effective sample size.

    Two mean squares of n normal errors have a ratio whose logarithm spreads like 2/√n; its root is beyond
    e^(4.5/√(n - ½)) about once in 100,000 times. From 11 elements on that is less than the limit of 4, and
    chance needs no allowance of its own.
    """
    return np.maximum(1.0, np.exp(4.5 / np.sqrt(np.maximum(size - 0.5, 0.5))) / NOISE_LIMIT)


def _summary(
    name: str, shape: tuple[int, ...], dtype: str, errors: Sequence[_Errors], noise: float, reason: str
) -> Figures:
    count = max(sum(e.count for e in errors), 1)
    rms = [
        math.sqrt(sum(float((v**2).sum()) for v in part) / count)
        for part in ((e.reference for e in errors), (e.candidate for e in errors))
    ]
    peaks = [
        max(e.plain[side] / e.magnitude if e.magnitude else e.plain[side] for e in errors) for side in (0, 1)
    ]
    unit = errors[0].unit
    return Figures(
        value=name,
        shape=shape,
        dtype=dtype,
        magnitude=max(e.magnitude for e in errors),
        reference_error=peaks[0],
        candidate_error=peaks[1],
        reference_rms=rms[0] * unit,
        candidate_rms=rms[1] * unit,
        noise=noise,
        roundings=rms[1],
        passed=not reason,
        reason=reason,
    )


def _beyond_tolerance(triples: Sequence[Triple], demands: Demands) -> str:
    if demands.rtol is None and demands.atol is None:
        return ""
    pairs = [(widened(t.candidate), widened(t.reference)) for t in triples]
    rtol = demands.rtol or 0.0
    atol = rtol * _magnitude([r for _, r in pairs]) if demands.atol is None else demands.atol
    beyond = sum(int((~np.isclose(c, r, rtol=rtol, atol=atol, equal_nan=True)).sum()) for c, r in pairs)
    return f"{beyond} elements are beyond rtol {rtol:g}, atol {atol:.2g}" if beyond else ""


def _magnitude(values: Sequence[np.ndarray]) -> float:
    """The root mean square of what is finite. A relative tolerance alone would demand of a value near zero
    what no arithmetic gives: it is the sum of terms that are as large as the others."""
    flat = np.concatenate([v.reshape(-1) for v in values])
    flat = flat[np.isfinite(flat)]
    return float(np.sqrt(np.mean(np.square(flat)))) if flat.size else 0.0


def _scores(triples: Sequence[Triple]) -> bool:
    """Does it look like class scores: (batch, classes), or the same with axes of one behind?"""
    shape = triples[0].reference.shape
    return len(shape) >= 2 and shape[1] >= 5 and all(d == 1 for d in shape[2:])


def _with_agreement(figures: Figures, triples: Sequence[Triple]) -> Figures:
    pairs = [
        (
            widened(t.reference).reshape(len(t.reference), -1),
            widened(t.candidate).reshape(len(t.candidate), -1),
        )
        for t in triples
    ]
    rows = [row for ours, theirs in pairs for row in zip(ours, theirs, strict=True)]
    if not rows:
        return figures
    first = [np.argmax(a) == np.argmax(b) for a, b in rows]
    five = [len(set(np.argsort(-a)[:5].tolist()) & set(np.argsort(-b)[:5].tolist())) / 5 for a, b in rows]
    return replace(figures, top1=float(np.mean(first)), top5=float(np.mean(five)))
