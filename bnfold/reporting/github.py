"""A check for GitHub Actions: workflow commands that annotate lines, and the summary of the job in Markdown.

Rule 1: names come from model files and are hostile: a workflow command is one line with its reserved
        characters escaped, and in Markdown every character that could be markup is an entity.
Rule 2: GitHub shows ten annotations of a step and a megabyte of summary, so both end early and say how much
        is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..errors import one_line
from ..results.check_rules import RULEBOOK
from ..results.fold_result import Checked, Violation
from .source_lines import file_of

ANNOTATIONS = 10
ROWS = 200
CELL = 250  # characters, each of which may become an entity of seven


def commands(checks: Sequence[Checked]) -> Iterator[str]:
    """Lines for the log. Of each model and rule the first comes before the second of any, so that one bad
    model hides no other."""
    found = _fresh(checks)
    met: Counter[tuple[str, str]] = Counter()
    ranks = []
    for one, violation in found:
        met[str(one.path), violation.code] += 1
        ranks.append(met[str(one.path), violation.code])
    for _, (one, violation) in sorted(zip(ranks, found, strict=True), key=lambda row: row[0])[:ANNOTATIONS]:
        yield _command(one, violation)
    if len(found) > ANNOTATIONS:
        yield (
            f"::notice title=bnfold::{len(found) - ANNOTATIONS} more violations are in the log and in "
            "the job's summary"
        )


def summary(checks: Sequence[Checked]) -> str:
    """Markdown: a table of models, then every violation at its place."""
    failed = sum(1 for c in checks if c.code)
    lines = [
        "### bnfold check: "
        f"{f'{failed} of {len(checks)} models failed' if failed else f'all models fine ({len(checks)})'}",
        "",
        "| model | verdict | violations |",
        "| --- | --- | --- |",
    ]
    for one in checks[:ROWS]:
        fresh = sum(1 for v in one.violations if not v.known)
        known = len(one.violations) - fresh
        lines.append(
            f"| {_code(str(one.path))} | {'FAIL' if one.code else 'ok'} | "
            f"{fresh}{f' (and {known} known)' if known else ''} |"
        )
    rows = _fresh(checks)
    if rows:
        lines += ["", "| place | what | rule |", "| --- | --- | --- |"]
        lines += [
            f"| {_code(_place(one, v))} | {_plain(f'{v.where}: {v.text}')} | {_code(v.code)} |"
            for one, v in rows[:ROWS]
        ]
    if max(len(rows), len(checks)) > ROWS:
        lines += ["", f"Only {ROWS} rows are shown."]
    return "\n".join(lines) + "\n"


def _fresh(checks: Sequence[Checked]) -> list[tuple[Checked, Violation]]:
    return [(one, v) for one in checks for v in one.violations if not v.known]


def _command(one: Checked, found: Violation) -> str:
    place = {
        "file": file_of(one, found).as_posix(),
        "line": found.line,
        "col": found.column,
        "title": RULEBOOK[found.code].title,
    }
    fields = ",".join(f"{key}={_property(str(value))}" for key, value in place.items() if value is not None)
    return f"::error {fields}::{_data(one_line(f'{found.where}: {found.text} [{found.code}]'))}"


def _place(one: Checked, found: Violation) -> str:
    return ":".join(str(part) for part in (file_of(one, found).as_posix(), found.line) if part is not None)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")


def _plain(text: str) -> str:
    """Text in a cell, in which nothing is markup: every character that Markdown may mean something by is an
    entity."""
    return "".join(c if c.isalnum() or c in " .,;/'" else f"&#{ord(c)};" for c in one_line(text)[:CELL])


def _code(text: str) -> str:
    return f"<code>{_plain(text)}</code>"
