"""A check or a batch as JUnit XML, which every CI service shows. A check has a suite for each model, with a
test case for each rule; a batch has one suite, with a test case for each model.

A rule that the policy does not ask for is skipped; known violations of a baseline are told, and pass. The
schema is that of Jenkins' xUnit plugin, the strictest of those in use.
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
    return _text([_suite(one) for one in checks])


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
    suite.attrib.update(_counts(suite))
    return _text([suite])


def _suite(one: Checked) -> Element:
    name = one_line(os.fspath(one.path))
    suite, seconds = Element("testsuite", {"name": name}), dict(one.seconds)
    for code, rule in RULEBOOK.items():
        case = SubElement(
            suite,
            "testcase",
            {"classname": _class_name(name), "name": code, "time": f"{seconds.get(code, 0.0):.3f}"},
        )
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


def _class_name(name: str) -> str:
    """A reader takes what stands before the last dot for a package: `net.onnx` would be the class `onnx`."""
    return name.replace(".", "_")


def _lines(violations: Sequence[Violation]) -> str:
    return "\n".join(one_line(f"{v.where}: {v.text}") for v in violations)


def _counts(suite: Element) -> dict[str, str]:
    """The attributes of a suite that its test cases add up to."""
    tags = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {name: str(sum(1 for _ in suite.iter(tag))) for name, tag in tags.items()}
    return counts | {"time": f"{sum(float(case.attrib['time']) for case in suite):.3f}"}


def _text(suites: Sequence[Element]) -> str:
    """The document of all suites. The schema has no number of skipped cases at its root."""
    totals = {name: str(sum(int(s.attrib[name]) for s in suites)) for name in ("tests", "failures", "errors")}
    time = sum(float(s.attrib["time"]) for s in suites)
    root = Element("testsuites", {"name": "bnfold", **totals, "time": f"{time:.3f}"})
    root.extend(suites)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"
