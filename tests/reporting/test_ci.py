"""JUnit, SARIF, GitHub: valid whatever the names, each violation at its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bnfold.reporting import github, junit, sarif
from bnfold.results.check_rules import RULEBOOK
from bnfold.results.fold_result import Checked, Violation

from .ci_schemas import SARIF, check_junit

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra 'dev' (jsonschema)")
HOSTILE = "a]]>\x00\x1b[31m\udcff\ufffe|`<script>&::error::%0A\r\n*x*\u202e"
RAN = tuple(RULEBOOK)


def foldable(subject: str = "bn1", *, known: bool = False, line: int | None = 15) -> Violation:
    return Violation(
        "check.foldable",
        f"net.prototxt:15 {subject} (BatchNorm)",
        f"batch norm '{subject}' could be folded",
        subject,
        path="net.prototxt",
        line=line,
        known=known,
    )


UNREADABLE = Violation("check.unreadable", "cut.onnx", "cut off", path="cut.onnx", exit_code=3)
CHECKS = [
    Checked(Path("net.prototxt"), (foldable(), foldable("bn2")), ran=("check.unreadable", "check.foldable")),
    Checked(Path("cut.onnx"), (UNREADABLE,), ran=("check.unreadable",)),
    Checked(Path("known.onnx"), (foldable(known=True),), ran=RAN),
    Checked(Path("fine.onnx"), (), ran=RAN),
]
HOSTILE_CHECKS = [
    Checked(
        Path(HOSTILE.replace("/", "").replace("\0", "")),
        (Violation("check.foldable", HOSTILE, HOSTILE, HOSTILE, path=HOSTILE, line=3),),
        ran=RAN,
    )
]


def rows(checks: list[Checked], **options: bool) -> list[dict[str, object]]:
    log = json.loads(sarif.document(checks, 1, **options))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    return log["runs"][0]["results"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("checks", [CHECKS, HOSTILE_CHECKS, []], ids=["plain", "hostile", "none"])
def test_sarif_is_valid(checks: list[Checked]) -> None:
    assert len(rows(checks)) == sum(len(c.violations) for c in checks)


def test_the_schema_would_notice() -> None:
    log = json.loads(sarif.document(CHECKS, 1))
    log["runs"][0]["results"][0]["rule"] = "x"
    assert not jsonschema.Draft202012Validator(SARIF).is_valid(log)


def test_sarif_names_rules_lines_and_nodes() -> None:
    log = json.loads(sarif.document(CHECKS, 3))["runs"][0]
    rules = log["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == list(RULEBOOK) and all(r["help"]["text"] for r in rules)
    first, second, third, _ = log["results"]
    place = first["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]) == ("net.prototxt", {"startLine": 15})
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "check.foldable"
    assert first["locations"][0]["logicalLocations"] == [{"name": "bn1", "kind": "element"}]
    assert first["partialFingerprints"] != second["partialFingerprints"]
    assert third["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    assert log["invocations"] == [{"executionSuccessful": True, "exitCode": 3}]


def test_fingerprints_outlive_moved_lines_and_baselines_tell_old_from_new() -> None:
    (here,) = rows([Checked(Path("net.prototxt"), (foldable(line=15),))])
    (there,) = rows([Checked(Path("net.prototxt"), (foldable(line=99),))])
    assert here["partialFingerprints"] == there["partialFingerprints"]
    assert [(r["baselineState"], r["level"]) for r in rows(CHECKS, ratchet=True)] == [
        ("new", "error")
    ] * 3 + [("unchanged", "note")]
    assert "baselineState" not in here


@pytest.mark.parametrize("checks", [CHECKS, HOSTILE_CHECKS, []], ids=["plain", "hostile", "none"])
def test_junit_is_valid(checks: list[Checked]) -> None:
    check_junit(ElementTree.fromstring(junit.document(checks)))


def test_junit_has_one_case_for_each_model_and_rule() -> None:
    root = ElementTree.fromstring(junit.document(CHECKS))
    cases = {(s.get("name"), c.get("name")): c for s in root for c in s}
    assert set(cases) == {(str(c.path), code) for c in CHECKS for code in RULEBOOK}
    assert not any("." in (c.get("classname") or ".") for c in cases.values())
    assert (root.get("failures"), root.get("errors")) == ("1", "1")
    failure = cases["net.prototxt", "check.foldable"].find("failure")
    assert failure is not None and failure.text is not None and len(failure.text.splitlines()) == 2
    assert "net.prototxt:15 bn1" in failure.text
    assert cases["cut.onnx", "check.unreadable"].find("error") is not None
    assert cases["cut.onnx", "check.size"].find("skipped") is not None
    assert "known from the baseline" in (cases["known.onnx", "check.foldable"].findtext("system-out") or "")
    assert len(cases["fine.onnx", "check.size"]) == 0


def test_annotations_stand_at_their_lines() -> None:
    lines = list(github.commands(CHECKS))
    assert lines == [
        "::error file=net.prototxt,line=15,title=A batch norm that could be folded is "
        "left::net.prototxt:15 bn1 (BatchNorm): "
        "batch norm 'bn1' could be folded [check.foldable]",
        "::error file=cut.onnx,title=The model cannot be read::cut.onnx: cut off [check.unreadable]",
        "::error file=net.prototxt,line=15,title=A batch norm that could be folded is "
        "left::net.prototxt:15 bn2 (BatchNorm): "
        "batch norm 'bn2' could be folded [check.foldable]",
    ]


def test_one_bad_model_hides_no_other() -> None:
    many = Checked(Path("many.prototxt"), tuple(foldable(f"bn{i}") for i in range(50)))
    lines = list(github.commands([many, CHECKS[1]]))
    assert len(lines) == github.ANNOTATIONS + 1 and "cut.onnx" in lines[1]
    assert lines[-1].endswith("::41 more violations are in the log and in the job's summary")


def test_hostile_names_stay_on_their_line_and_are_no_markup() -> None:
    (line,) = github.commands(HOSTILE_CHECKS)
    assert line.startswith("::error file=") and line.isprintable() and line.count("::error file") == 1
    assert "%0A" not in line.replace("%250A", "")
    summary = github.summary(HOSTILE_CHECKS)
    cells = [row.strip("|").split("|") for row in summary.splitlines() if row.startswith("|")]
    assert [len(row) for row in cells] == [3] * 6
    assert not re.search(r"<(?!/?code>)|`|\*", summary)


def test_the_summary_names_each_trouble() -> None:
    text = github.summary(CHECKS).replace("&#46;", ".").replace("&#58;", ":").replace("&#45;", "-")
    assert text.startswith("### bnfold check: 2 of 4 models failed\n")
    assert "| <code>known.onnx</code> | ok | 0 (and 1 known) |" in text
    assert "<code>net.prototxt:15</code>" in text
    assert github.summary([CHECKS[3]]).startswith("### bnfold check: all models fine (1)")


def test_a_long_summary_ends_early() -> None:
    text = github.summary([Checked(Path("a.onnx"), tuple(foldable("<" * 1000) for _ in range(5000)))] * 300)
    assert len(text.encode()) < 1 << 20 and "Only 200 rows are shown" in text
