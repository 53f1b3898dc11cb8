"""A check as SARIF 2.1.0 (OASIS), which code scanning services show at the lines of a network's source.

Every service wants a line: a finding about a binary file, or a whole file, stands at its line 1. What tells
one finding from another over time is a fingerprint of file, rule and subject; with a baseline each says
whether it is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ..errors import one_line
from ..results.check_rules import RULEBOOK
from ..results.fold_result import Checked, Violation
from ..version import __version__
from .source_lines import file_of, uri_of

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = list(RULEBOOK)


def document(checks: Sequence[Checked], exit_code: int, *, ratchet: bool = False) -> str:
    """The log of one run. `ratchet`: a baseline was there, so that a finding is new or was there before."""
    results = [_result(one, v, ratchet) for one in checks for v in one.violations]
    run = {
        "tool": {
            "driver": {
                "name": "bnfold",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(c) for c in _RULES],
            }
        },
        "invocations": [{"executionSuccessful": True, "exitCode": exit_code}],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(code: str) -> dict[str, Any]:
    rule = RULEBOOK[code]
    return {
        "id": code,
        "name": rule.name,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.help},
        "help": {"text": rule.help},
        "defaultConfiguration": {"level": "error"},
    }


def _result(one: Checked, found: Violation, ratchet: bool) -> dict[str, Any]:
    uri = uri_of(file_of(one, found))
    identity = "\n".join((uri, found.code, found.subject))
    region = {"startLine": max(found.line or 1, 1), **({"startColumn": found.column} if found.column else {})}
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
    if found.subject:
        place["logicalLocations"] = [{"name": one_line(found.subject), "kind": "element"}]
    return {
        "ruleId": found.code,
        "ruleIndex": _RULES.index(found.code),
        "level": "note" if found.known else "error",
        "message": {"text": one_line(f"{found.where}: {found.text}")},
        "locations": [place],
        "partialFingerprints": {
            "bnfold/v1": hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
        },
        **({"baselineState": "unchanged" if found.known else "new"} if ratchet else {}),
    }
