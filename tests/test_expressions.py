"""Regular expressions that strangers' bytes meet take time that grows in a straight line, or nearly.

A repeat inside a repeat that nothing parts from itself, as in `(\\s+|#.*)*`, is tried in every way there is
before it fails: 62 bytes once held a run for ever. So inside an unbounded repeat that may go back, no
alternative may consist of an unbounded repeat alone. Python's own parser of expressions says how each of ours
is built.
"""

from __future__ import annotations

import ast
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bnfold"
CALLS = {"compile", "match", "search", "fullmatch", "sub", "split", "findall", "finditer"}
BACKTRACKING = {sre.MAX_REPEAT, sre.MIN_REPEAT}


def patterns() -> list[tuple[str, str | bytes]]:
    """(where, pattern) of every call of `re` in the package; what a formatted string puts in counts as a
    letter."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Attribute)
                or node.func.attr not in CALLS
            ):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "re":
                found.append((f"{file.relative_to(PACKAGE)}:{node.lineno}", text(node.args[0])))
    return found


def text(argument: ast.expr) -> str | bytes:
    if isinstance(argument, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in argument.values)
    assert isinstance(argument, ast.Constant)
    return argument.value  # type: ignore[return-value]


def is_unbounded(item: tuple[Any, Any]) -> bool:
    return item[0] in BACKTRACKING and item[1][1] == sre.MAXREPEAT


def branches(parsed: Any) -> list[Any]:
    """The alternatives of a repeat's body, groups opened."""
    if len(parsed) == 1 and parsed[0][0] == sre.SUBPATTERN:
        return branches(parsed[0][1][3])
    if len(parsed) == 1 and parsed[0][0] == sre.BRANCH:
        return [inner for branch in parsed[0][1][1] for inner in branches(branch)]
    return [parsed]


def inside(parsed: Any) -> list[Any]:
    """All items of a parsed expression, at any depth."""
    items = []
    waiting = [parsed]
    while waiting:
        for item in waiting.pop():
            items.append(item)
            operator, argument = item
            if operator in (*BACKTRACKING, sre.POSSESSIVE_REPEAT):
                waiting.append(argument[2])
            elif operator == sre.SUBPATTERN:
                waiting.append(argument[3])
            elif operator == sre.BRANCH:
                waiting += argument[1]
            elif operator in (sre.ASSERT, sre.ASSERT_NOT):
                waiting.append(argument[1])
            elif operator == sre.ATOMIC_GROUP:
                waiting.append(argument)
    return items


def explodes(pattern: str | bytes) -> bool:
    repeats = [item for item in inside(parser.parse(pattern)) if is_unbounded(item)]
    return any(
        len(branch) == 1 and is_unbounded(branch[0])
        for _, (_, _, body) in repeats
        for branch in branches(body)
    )


@pytest.mark.parametrize(("where", "pattern"), [pytest.param(*found, id=found[0]) for found in patterns()])
def test_no_repeat_is_all_that_a_repeat_repeats(where: str, pattern: str | bytes) -> None:
    assert not explodes(pattern), f"{where}: make the outer repeat possessive: (...)*+"


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        (rb"(?:\s+|#[^\n]*(?:\n|$))*x", True),
        (r"(a+)+b", True),
        (r"((?:x|a*?))*b", True),
        (r"(?:\s|#[^\n]*+)*+x", False),
        (r"\d+([,x]\d+)*", False),
        (r"(a+)b", False),
    ],
)
def test_what_the_check_sees(pattern: str | bytes, wanted: bool) -> None:
    assert explodes(pattern) is wanted
