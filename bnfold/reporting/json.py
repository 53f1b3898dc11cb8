"""What happened, as a JSON document with a versioned schema.

    {"schema": "bnfold.result/1",            changes only when a field goes away or changes its meaning;
                                             fields may be added
     "tool": {"name", "version"},
     "command": "fold",
     "verdict": "PASS" | "FAIL" | "ERROR",
     "exit_code": 0,
     "input":  {"format", "name", "files", "size", "dialect", "dialect_reason", "findings"},
     "output": {"path", "size", "data"} or null,
     "operators": [{"op", "before", "after"}],  "nodes", "parameters", "size": {"before", "after"},
     "batch_norms": {"folded", "kept"},
     "layers": [{"node", "op", "output", "parameters", "macs"}],   of inspect and of a dry run
     "norms": [{"node", "channels", "dead", "nearly_dead", "constant", "gone", "histogram"}],  of inspect
     "slimming": {"norms": [...], "layers": [...], "stays": [...], "threshold"}, "channels": {"gone", "of"},
     "macs": {"before", "after"}, "agreement": {"inputs", "top1", "error", "outputs"},               of slim
     "plan": {"folded": [...], "kept": [...], "withdrawn": [...], "merged": [...], "copied": [...]},
     "verification": what Comparison.as_dict gives, or null,
     "recalibrated": {"inputs", "passes", "layers": [...], "left": [...], "outputs": [...]},   of recalibrate,
     and of a fold with --recalibrate
     "latency": {"rows": [{"runtime", "provider", "before", "after", "ratio", "reason"}], "threads", ...},
     "detail": {"before", "after": {"nodes": [[name, op, state]], "edges": [[from, to, value]]},
     "batch_norms", "ranges"}, "seconds": {stage: seconds},
     "models": [{"path", "exit_code", "violations": [{"code", "where", "text"}], "input", "plan"}],     of
     check alone
     "out", "counts": {outcome: n}, "runs": [{"name", "network", "outcome", "exit_code", ...}],         of
     batch alone
     "fingerprint": {"version", "options", "inputs", "outputs"},                                        of a
     model of a batch
     "checks": [{"name", "level", "detail", "seconds"}],                                                of
     selftest alone "error": {"kind", "where", "found", "expected", "way_out", "sentence", "findings"}}

A number that is not finite is null, as JSON has no NaN. docs/result.schema.json says all of this to machines.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..errors import NOT_EQUIVALENT, OK, BnfoldError, NotEquivalent
from ..results.comparison import Check, Comparison
from ..results.fold_result import Census, Checked, FoldResult, Origin, Recalibration
from ..version import __version__

if TYPE_CHECKING:
    from ..results.batch_run import Run
    from ..results.slimming import SlimResult

SCHEMA = "bnfold.result/1"
_VERDICTS = {OK: "PASS", NOT_EQUIVALENT: "FAIL"}
_OF_MANY = {"models", "runs"}  # where some of several models end in errors, the run fails: it did its work


def document(command: str, code: int, **content: Any) -> dict[str, Any]:
    """The document of one run of one command, in plain values."""
    head = {
        "schema": SCHEMA,
        "tool": {"name": "bnfold", "version": __version__},
        "command": command,
        "verdict": _VERDICTS.get(code, "FAIL" if _OF_MANY & content.keys() else "ERROR"),
        "exit_code": code,
    }
    return plain({**head, **content})  # type: ignore[no-any-return]


def text(document: dict[str, Any]) -> str:
    """As text: indented, in the order of the schema, pure ASCII (a file name may hold what no encoding can),
    nothing that JSON lacks."""
    return json.dumps(document, indent=2, allow_nan=False)


def of_fold(result: FoldResult, *, dry_run: bool = False) -> dict[str, Any]:
    """The fields of a fold, or of a plan that was not carried out."""
    plan = result.plan
    folded, kept = plan.batch_norms
    return {
        **of_convert(result),
        "dry_run": dry_run,
        "batch_norms": {"folded": folded, "kept": kept},
        "plan": plan,
        "verification": result.report,
        **({"recalibrated": result.recalibrated} if result.recalibrated is not None else {}),
        **({"latency": result.latency} if result.latency is not None else {}),
        **({"detail": result.detail} if result.detail is not None else {}),
        **({"layers": result.layers} if dry_run else {}),
        **({"norms": result.norms} if result.norms else {}),
    }


def of_slim(result: SlimResult, *, dry_run: bool = False) -> dict[str, Any]:
    """The fields of a slimming, or of one that was not carried out."""
    before, after = result.macs
    return {
        **of_convert(result),
        "dry_run": dry_run,
        "slimming": result.slimming,
        "channels": {"gone": result.slimming.channels, "of": result.slimming.of},
        "macs": {"before": before, "after": after},
        "verification": result.report,
        **({"recalibrated": result.recalibrated} if result.recalibrated is not None else {}),
        **({"agreement": result.agreement} if result.agreement is not None else {}),
        **({"latency": result.latency} if result.latency is not None else {}),
    }


def of_recalibration(result: Recalibration) -> dict[str, Any]:
    """The fields of a model with new statistics."""
    return {**of_convert(result), "recalibrated": result.statistics}


def of_convert(result: FoldResult | Recalibration | SlimResult) -> dict[str, Any]:
    """The fields of a model that was read and written."""
    return {
        "input": of_origin(result.origin),
        "output": {
            "path": os.fspath(result.path),
            "size": result.after.size,
            "data": [os.fspath(file) for file in result.data],
        }
        if result.path is not None
        else None,
        "operators": operators(result.before, result.after),
        "nodes": {"before": result.before.nodes, "after": result.after.nodes},
        "parameters": {"before": result.before.parameters, "after": result.after.parameters},
        "size": {"before": result.before.size, "after": result.after.size},
        "seconds": dict(result.seconds),
        **_outside(result),
    }


def _outside(result: FoldResult | Recalibration | SlimResult) -> dict[str, Any]:
    """What preprocessing done outside gives, where some was baked in."""
    found = result.outside if isinstance(result, FoldResult) else None
    return {} if found is None else {"outside": found}


def of_checks(checks: Sequence[Checked]) -> dict[str, Any]:
    """The fields of a check: every model with every violation."""
    return {
        "models": [
            {
                "path": os.fspath(c.path),
                "exit_code": c.code,
                "ran": list(c.ran),
                "violations": c.violations,
                "input": of_origin(c.origin) if c.origin else None,
                "plan": c.plan,
            }
            for c in checks
        ]
    }


def of_batch(runs: Sequence[Run], out: str) -> dict[str, Any]:
    """The fields of a batch: the folder of all outputs, and every model on a line."""
    from ..results.batch_run import counts

    return {"out": out, "counts": counts(runs), "runs": runs}


def of_selftest(checks: Sequence[Check]) -> dict[str, Any]:
    """The fields of a self-test or an audit."""
    return {"checks": checks}


def of_origin(origin: Origin) -> dict[str, Any]:
    """Where a model came from and what its reader noticed."""
    return {
        "format": origin.format,
        "name": origin.name,
        "files": [os.fspath(f) for f in origin.files],
        "size": origin.size,
        "dialect": origin.dialect,
        "dialect_reason": origin.dialect_reason,
        "findings": origin.findings,
        **({"baked": [{"text": str(b), **plain(b)} for b in origin.baked]} if origin.baked else {}),
    }


def of_error(error: BnfoldError) -> dict[str, Any]:
    """Why there is no result, and what verification measured where it is the reason."""
    content: dict[str, Any] = {
        "error": {
            "kind": type(error).__name__,
            "where": None if error.where is None else str(error.where),
            "found": error.found,
            "expected": error.expected,
            "way_out": error.way_out,
            "sentence": str(error),
            "findings": error.findings,
        }
    }
    if isinstance(error, NotEquivalent) and isinstance(error.report, Comparison):
        content["verification"] = error.report
    return content


def operators(before: Census, after: Census) -> list[dict[str, Any]]:
    """Every operator of either model, the most frequent first."""
    old, new = dict(before.operators), dict(after.operators)
    return [{"op": op, "before": old.get(op, 0), "after": new.get(op, 0)} for op in {**old, **new}]


def plain(value: Any) -> Any:
    """Lists, dicts (dataclasses become such), texts and numbers alone; what is not finite is None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return (
        {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        if is_dataclass(value)
        else _number(value)
    )


def _number(value: Any) -> Any:
    """numpy scalars as Python numbers, paths as text."""
    return plain(value.item()) if hasattr(value, "item") else str(value)
