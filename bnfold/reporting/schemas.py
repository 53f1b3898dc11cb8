"""The JSON Schemas (draft 2020-12) of what bnfold writes, made from the types that it is made of, so that
they cannot part ways.

`python -m bnfold.reporting.schemas result` prints the schema of every --json document, `... certificate` that
of certificates; docs/result.schema.json and docs/certificate.schema.json are this output, and a test holds
one against the other.

A result may gain fields within a version, so unknown ones are allowed there; a certificate may not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ..results import certificate
from ..results.baking import Baked
from ..results.batch_run import OUTCOMES, Fingerprint, Run
from ..results.check_rules import RULEBOOK
from ..results.comparison import Check, Comparison
from ..results.drawing import Detail
from ..results.fold_result import Violation
from ..results.latency import Latencies
from ..results.layers import Layer
from ..results.norm_channels import NormChannels
from ..results.outside import Outside
from ..results.plan import Finding, Plan
from ..results.recalibration import Recalibrated
from ..results.slimming import Agreement, Slimming
from .json import SCHEMA

COMMANDS = (
    "fold",
    "convert",
    "verify",
    "inspect",
    "batch",
    "check",
    "audit",
    "selftest",
    "bench",
    "slim",
    "recalibrate",
)  # whose results are documents
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": ["number", "null"], "description": "null where it is not finite"},
}
_TEXT, _COUNT, _SECONDS = (
    {"type": "string"},
    {"type": "integer", "minimum": 0},
    {"type": "number", "minimum": 0},
)


def result() -> dict[str, Any]:
    """The schema of what --json writes."""
    definitions: dict[str, Any] = {}

    def part(hint: Any) -> dict[str, Any]:
        return of(hint, definitions, closed=False)

    properties = {
        "schema": {"const": SCHEMA},
        "tool": _object({"name": {"const": "bnfold"}, "version": _TEXT}),
        "command": {"enum": list(COMMANDS)},
        "verdict": {"enum": ["PASS", "FAIL", "ERROR"]},
        "exit_code": {"enum": [0, 1, 2, 3, 4, 5, 6, 70]},
        "dry_run": {"type": "boolean"},
        "input": _origin(part),
        "candidate": _origin(part),
        "output": _or_null(_object({"path": _TEXT, "size": _or_null(_COUNT), "data": _list(_TEXT)})),
        "operators": _list(_object({"op": _TEXT, "before": _COUNT, "after": _COUNT})),
        "nodes": _both(_COUNT),
        "parameters": _both(_COUNT),
        "size": _both(_or_null(_COUNT)),
        "batch_norms": _object({"folded": _COUNT, "kept": _COUNT}),
        "plan": part(Plan),
        "layers": _list(part(Layer)),
        "norms": _list(part(NormChannels)),
        "slimming": part(Slimming),
        "channels": _object({"gone": _COUNT, "of": _COUNT}),
        "macs": _both(_or_null(_COUNT)),
        "agreement": part(Agreement),
        "verification": _or_null(part(Comparison)),
        "outside": part(Outside),
        "latency": part(Latencies),
        "recalibrated": part(Recalibrated),
        "detail": part(Detail),
        "seconds": {"type": "object", "additionalProperties": _SECONDS},
        "models": _list(
            _object(
                {
                    "path": _TEXT,
                    "exit_code": {"type": "integer"},
                    "ran": _list({"enum": list(RULEBOOK)}),
                    "violations": _list(part(Violation)),
                    "input": _or_null(_origin(part)),
                    "plan": _or_null(part(Plan)),
                }
            )
        ),
        "out": _TEXT,
        "counts": _object(dict.fromkeys(OUTCOMES, _COUNT), optional=list(OUTCOMES)),
        "runs": _list(_run(part)),
        "violations": _list(part(Violation)),
        "fingerprint": part(Fingerprint),
        "listed": _TEXT,
        "batch": _TEXT,
        "checks": _list(part(Check)),
        "error": _object(
            {
                "kind": _TEXT,
                "where": _or_null(_TEXT),
                "found": _TEXT,
                "expected": _TEXT,
                "way_out": _TEXT,
                "sentence": _TEXT,
                "findings": _list(part(Finding)),
            }
        ),
    }
    head = ["schema", "tool", "command", "verdict", "exit_code"]
    return {
        "$schema": DIALECT,
        "title": f"A result of bnfold ({SCHEMA})",
        "type": "object",
        "required": head,
        "properties": properties,
        "$defs": definitions,
    }


def certificates() -> dict[str, Any]:
    """The schema of what `bnfold fold --certificate` writes."""
    definitions: dict[str, Any] = {}
    whole = of(certificate.Certificate, definitions, closed=True)
    definitions["Certificate"]["properties"]["schema"] = {"const": certificate.SCHEMA}
    return {
        "$schema": DIALECT,
        "title": f"A certificate of bnfold ({certificate.SCHEMA})",
        **whole,
        "$defs": definitions,
    }


def of(hint: Any, definitions: dict[str, Any], *, closed: bool) -> dict[str, Any]:
    """The schema of a type hint; dataclasses go to `definitions`, `closed` ones take no other field. The
    counterpart of `decoding`."""
    if is_dataclass(hint):
        name: str = getattr(hint, "__name__")  # noqa: B009 - is_dataclass does not tell a class from a value
        if name not in definitions:
            definitions[name] = {}
            hints, rows = get_type_hints(hint), fields(hint)
            definitions[name] = _object(
                {f.name: of(hints[f.name], definitions, closed=closed) for f in rows},
                closed=closed,
                optional=[f.name for f in rows if closed and f.default is not MISSING],
            )
        return {"$ref": f"#/$defs/{name}"}
    arguments = get_args(hint)
    if get_origin(hint) is UnionType:
        return _or_null(of(next(h for h in arguments if h is not NoneType), definitions, closed=closed))
    if get_origin(hint) is tuple and arguments[-1] is Ellipsis:
        return _list(of(arguments[0], definitions, closed=closed))
    if get_origin(hint) is tuple:
        return {
            "type": "array",
            "prefixItems": [of(h, definitions, closed=closed) for h in arguments],
            "items": False,
            "minItems": len(arguments),
        }
    return dict(_PLAIN[hint])


def _run(part: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """A Run, whose outcome is one of a few words."""
    whole = part(Run)
    return {**whole, "properties": {"outcome": {"enum": list(OUTCOMES)}}}


def _origin(part: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    return _object(
        {
            "format": _TEXT,
            "name": _TEXT,
            "files": _list(_TEXT),
            "size": _or_null(_COUNT),
            "dialect": _TEXT,
            "dialect_reason": _TEXT,
            "findings": _list(part(Finding)),
            "baked": _list(part(Baked)),
        },
        optional=["baked"],
    )


def _object(
    properties: dict[str, Any], *, closed: bool = False, optional: list[str] | None = None
) -> dict[str, Any]:
    required = [name for name in properties if name not in (optional or [])]
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        **({"additionalProperties": False} if closed else {}),
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _both(kind: dict[str, Any]) -> dict[str, Any]:
    return _object({"before": kind, "after": kind})


def _or_null(kind: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}]}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {"result": result, "certificate": certificates}


def text(name: str) -> str:
    """One of SCHEMAS as the file in docs/ holds it."""
    return json.dumps(SCHEMAS[name](), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(sys.argv[1]))
