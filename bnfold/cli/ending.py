"""How a command ends: its exit code and the last line, in the fixed form that scripts grep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import NOT_EQUIVALENT, OK
from ..records import dataclass

if TYPE_CHECKING:  # help needs an ending, and no results
    from ..results.batch_run import Run
    from ..results.comparison import Check, Comparison
    from ..results.fold_result import Checked, FoldResult, Recalibration
    from ..results.latency import Latencies
    from ..results.slimming import SlimResult


@dataclass(frozen=True)
class Ending:
    """An exit code and a last line (without the name of the tool)."""

    code: int
    line: str


def of_fold(result: FoldResult, *, dry_run: bool = False, in_place: bool = False) -> Ending:
    """PASS with the figures that there are: `noise`, `max_error` and `ep` stand only where something was
    measured, `in_place` where the source was replaced."""
    plan = result.plan
    parts = [f"folded={len(plan.folded)}", f"kept={len(plan.kept) + len(plan.withdrawn)}"]
    if result.report is not None:
        parts += _figures(result.report)
    elif plan.changes and not dry_run:
        parts.append("verified=no")
    if result.recalibrated is not None:
        parts.append(f"recalibrated={len(result.recalibrated.layers)}")
    if plan.withdrawn:
        parts.append(f"withdrawn={len(plan.withdrawn)}")
    if dry_run:
        parts.append("written=no")
    if in_place:
        parts.append("in_place=yes")
    return Ending(OK, "PASS " + " ".join(parts))


def of_slim(result: SlimResult, *, dry_run: bool = False, in_place: bool = False) -> Ending:
    """PASS with the figures of verification where what left did nothing; SLIMMED with those of the user's
    inputs where it did something."""
    found = result.slimming
    parts = [f"channels={found.channels}", f"of={found.of}"]
    if found.threshold is not None and not dry_run:
        parts += _agreement(result)
    if result.report is not None:
        parts += _figures(result.report)
    elif found.changes and not dry_run:
        parts.append("verified=no")
    if result.recalibrated is not None:
        parts.append(f"recalibrated={len(result.recalibrated.layers)}")
    if dry_run:
        parts.append("written=no")
    if in_place:
        parts.append("in_place=yes")
    return Ending(OK, f"{'PASS' if found.threshold is None else 'SLIMMED'} {' '.join(parts)}")


def _agreement(result: SlimResult) -> list[str]:
    if result.agreement is None:  # nothing left, so that all agrees
        return ["agreement=1"]
    top1 = result.agreement.top1
    return [f"agreement={'none' if top1 is None else f'{top1:.4g}'}", f"error={result.agreement.error:.2g}"]


def of_bench(found: Latencies) -> Ending:
    """PASS, with the ratio of the two models in every runtime, or the milliseconds of one."""
    parts = []
    for row in found.rows:
        if row.ratio is not None:
            parts.append(f"{row.name}={row.ratio.median:.3g}")
        elif row.before is not None:
            parts.append(f"{row.name}_ms={1e3 * row.before.latency.median:.4g}")
    return Ending(OK, "PASS " + " ".join(parts))


def of_recalibration(result: Recalibration, *, in_place: bool = False) -> Ending:
    """RECALIBRATED, which is no PASS: the model computes something else than its source."""
    found = result.statistics
    place = " in_place=yes" if in_place else ""
    return Ending(
        OK, f"RECALIBRATED layers={len(found.layers)} inputs={found.inputs} moved={found.moved:.2g}{place}"
    )


def of_convert(result: FoldResult, *, in_place: bool = False) -> Ending:
    """PASS, with how much was written."""
    place = " in_place=yes" if in_place else ""
    return Ending(OK, f"PASS converted={result.after.nodes} bytes={result.after.size}{place}")


def of_comparison(report: Comparison) -> Ending:
    """PASS or FAIL of two models held against each other."""
    figures = " ".join(_figures(report))
    if report.equivalent:
        return Ending(OK, f"PASS {figures}")
    return Ending(NOT_EQUIVALENT, f"FAIL {figures} {_cause(report)}".rstrip())


def _cause(report: Comparison) -> str:
    """Where two models begin to differ, and why that is too much; each name once."""
    if report.divergence is None:
        return report.reason
    first = report.divergence.value
    why = report.reason.removeprefix(f"{first}: ")
    return f"first difference at '{first}'" + (f": {why}" if why else "")


def of_checks(checks: Sequence[Checked]) -> Ending:
    """PASS when every model is as the policy wants it. What could not be read gives its own exit code, before
    a policy's 1."""
    failed = [c for c in checks if c.code]
    known = sum(v.known for c in checks for v in c.violations)
    counts = (
        f"models={len(checks)} failed={len(failed)} "
        f"violations={sum(len(c.violations) for c in checks) - known}"
    )
    counts += f" known={known}" if known else ""
    code = max((c.code for c in failed), default=OK)
    return Ending(code, f"{'FAIL' if failed else 'PASS'} {counts}")


def of_batch(runs: Sequence[Run]) -> Ending:
    """PASS when every model is fine; how many there are of each outcome."""
    from ..results.batch_run import code_of, counts

    code = code_of(runs)
    figures = " ".join(f"{outcome}={count}" for outcome, count in counts(runs).items())
    return Ending(code, f"{'FAIL' if code else 'PASS'} models={len(runs)} {figures}")


def of_selftest(checks: Sequence[Check]) -> Ending:
    """PASS when nothing on this machine makes verdicts worthless (self-test), or contradicts a certificate
    (audit)."""
    levels = [c.level for c in checks]
    counts = f"checks={len(levels)} notes={levels.count('note')} faults={levels.count('fault')}"
    return Ending(NOT_EQUIVALENT, f"FAIL {counts}") if "fault" in levels else Ending(OK, f"PASS {counts}")


def _figures(report: Comparison) -> list[str]:
    providers = ",".join(p.provider for p in report.providers)
    found = [f"noise={report.noise:.2g}", f"max_error={report.max_error:.2g}", f"ep={providers or 'none'}"]
    if decided := sum(f.passed and f.decided for p in report.providers for f in p.outputs):
        found.append(f"decided={decided}")
    if (proof := report.proof) is not None:
        found += [f"proved={proof.proved}", f"seen={proof.seen}", f"unseen={proof.unseen}"]
    return found
