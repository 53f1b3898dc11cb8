"""What SARIF 2.1.0 and JUnit demand of the parts that bnfold writes, as a JSON Schema and as a function.

The SARIF part says, object by object, which properties the OASIS standard allows and requires (sections 3.13
to 3.52); nothing else may stand there, so that a misspelt property fails. JUnit has no standard; the function
holds to the strictest schema in use, that of Jenkins' xUnit plugin.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

_TEXT, _POSITIVE = {"type": "string"}, {"type": "integer", "minimum": 1}
_LEVELS = {"enum": ["none", "note", "warning", "error"]}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


def _list(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


_MESSAGE = _object("text", text={"type": "string", "minLength": 1}, markdown=_TEXT)
_RULE = _object(
    "id",
    id=_TEXT,
    name=_TEXT,
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_MESSAGE,
    helpUri=_TEXT,
    defaultConfiguration=_object("", level=_LEVELS, enabled={"type": "boolean"}),
)
_REGION = {
    **_object("", startLine=_POSITIVE, startColumn=_POSITIVE, endLine=_POSITIVE, endColumn=_POSITIVE),
    "required": ["startLine"],
}
_PLACE = _object(
    "artifactLocation",
    region=_REGION,
    artifactLocation=_object(
        "uri",
        uriBaseId=_TEXT,
        uri={"type": "string", "pattern": r"^(file:///)?([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+$"},
    ),
)
_LOGICAL = _object("", name=_TEXT, fullyQualifiedName=_TEXT, kind=_TEXT)
_RESULT = _object(
    "ruleId message locations",
    ruleId=_TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=_LEVELS,
    message=_MESSAGE,
    locations=_list(
        _object("physicalLocation", physicalLocation=_PLACE, logicalLocations=_list(_LOGICAL)), minItems=1
    ),
    partialFingerprints={"type": "object", "additionalProperties": _TEXT},
    baselineState={"enum": ["new", "unchanged", "updated", "absent"]},
)
_DRIVER = _object(
    "name",
    name=_TEXT,
    version=_TEXT,
    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
    informationUri=_TEXT,
    rules=_list(_RULE, uniqueItems=True),
)
_RUN = _object(
    "tool results",
    tool=_object("driver", driver=_DRIVER),
    invocations=_list(
        _object("executionSuccessful", executionSuccessful={"type": "boolean"}, exitCode={"type": "integer"})
    ),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results=_list(_RESULT),
)
SARIF = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        "version runs",
        **{"$schema": {"type": "string", "format": "uri"}},
        version={"const": "2.1.0"},
        runs=_list(_RUN),
    ),
}


# Attributes that the schema of Jenkins' xUnit plugin (junit-10.xsd) allows, element by element.
_JUNIT = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {
        "name",
        "tests",
        "failures",
        "errors",
        "time",
        "disabled",
        "skipped",
        "timestamp",
        "hostname",
    }
    | {"id", "package", "group", "file", "log", "url", "version"},
    "testcase": {"name", "time", "classname", "group", "status", "assertions", "file", "line", "url"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message", "type"},
    "system-out": set(),
}


def check_junit(root: Element) -> None:
    """Elements and attributes as Jenkins' schema allows them; counts and times that add up; class names that
    no reader cuts at a dot."""
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) <= _JUNIT[element.tag], element.tag
    for suite in root:
        assert suite.tag == "testsuite" and suite.get("name")
        for case in suite:
            assert case.tag == "testcase" and case.get("name")
            assert case.get("classname") and "." not in case.attrib["classname"]
            assert len(case) <= 1
        assert abs(sum(float(case.attrib["time"]) for case in suite) - float(suite.attrib["time"])) < 1e-6
        _check_counts(suite)
    _check_counts(root)


def _check_counts(element: Element) -> None:
    for attribute, tag in (
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ):
        if attribute in element.attrib:
            assert element.attrib[attribute] == str(len(list(element.iter(tag)))), attribute
