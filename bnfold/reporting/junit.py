"""A check or a batch as JUnit XML, which every CI service shows: of a check one suite a model, one test case
a rule; of a batch one test case a model.

A rule that the policy does not ask for is skipped; known violations of a baseline are told, and pass.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..errors import NOT_EQUIVALENT, one_line
from ..results.batch_run import OUTCOMES, Run
from ..results.check_rules import RULEBOOK
from ..results.fold_result import Checked, Violation


def document(checks: Sequence[Checked]) -> str:
    """The XML of all checks. Names come from files: what XML cannot hold is shown escaped."""
    suites = [_suite(one) for one in checks]
    root = Element("testsuites", {"name": "bnfold", **_totals(suites)})
    root.extend(suites)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def of_runs(runs: Sequence[Run]) -> str:
    """The XML of a batch: one suite, one test case a model."""
    suite = Element("testsuite", {"name": "bnfold batch"})
    for run in runs:
        case = SubElement(
            suite,
            "testcase",
            {"classname": "bnfold batch", "name": one_line(run.name), "time": f"{run.seconds:.3f}"},
        )
        if not run.fine:
            kind = "failure" if run.exit_code == NOT_EQUIVALENT else "error"
            fault = SubElement(case, kind, {"message": one_line(run.sentence), "type": run.outcome})
            fault.text = _lines(run.violations) or one_line(f"{run.network}: {run.sentence}")
        elif run.outcome == "unchanged":
            SubElement(case, "system-out").text = OUTCOMES[run.outcome]
    suite.attrib.update({**_counts(suite), "time": f"{sum(run.seconds for run in runs):.3f}"})
    root = Element("testsuites", {"name": "bnfold", **_totals([suite]), "time": suite.attrib["time"]})
    root.append(suite)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(one: Checked) -> Element:
    name = one_line(os.fspath(one.path))
    suite = Element("testsuite", {"name": name})
    for code, rule in RULEBOOK.items():
        case = SubElement(suite, "testcase", {"classname": name, "name": code, "time": "0"})
        violations = [v for v in one.violations if v.code == code]
        fresh = [v for v in violations if not v.known]
        if code not in one.ran:
            SubElement(case, "skipped", {"message": "the rule was not requested, or it had nothing to check"})
        elif fresh:
            kind = "failure" if all(v.exit_code == NOT_EQUIVALENT for v in fresh) else "error"
            fault = SubElement(case, kind, {"message": f"{rule.title} ({len(fresh)})", "type": code})
            fault.text = _lines(fresh)
        elif violations:
            SubElement(case, "system-out").text = f"known from the baseline:\n{_lines(violations)}"
    suite.attrib.update(_counts(suite))
    return suite


def _lines(violations: Sequence[Violation]) -> str:
    return "\n".join(one_line(f"{v.where}: {v.text}") for v in violations)


def _counts(suite: Element) -> dict[str, str]:
    tags = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    return {name: str(sum(1 for _ in suite.iter(tag))) for name, tag in tags.items()} | {"time": "0"}


def _totals(suites: Sequence[Element]) -> dict[str, str]:
    return {
        name: str(sum(int(s.attrib[name]) for s in suites))
        for name in ("tests", "failures", "errors", "skipped")
    } | {"time": "0"}
