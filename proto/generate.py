#!/usr/bin/env python3
"""Make bnfold/reading/caffe/table.py of caffe.proto.

    python proto/generate.py            writes the table
    python proto/generate.py --check    exit code 1 when the table is not what caffe.proto says

Reads the part of the proto2 language that caffe.proto uses, line by line: one field, enum value or brace a
line.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = HERE / "caffe.proto"
TABLE = HERE.parent / "bnfold" / "reading" / "caffe" / "table.py"

SCALARS = {"int32", "int64", "uint32", "uint64", "float", "double", "bool", "string", "bytes"}
OPEN = re.compile(r"(message|enum) (\w+) \{(?:\s*// fork: (.*))?")
FIELD = re.compile(
    r"(optional|required|repeated) ([\w.]+) (\w+) = (\d+)(?: \[(\w+) = (.*?)\])?;(?:\s*// fork: (.*))?"
)
VALUE = re.compile(r"(\w+) = (-?\d+);(?:\s*// fork: (.*))?")

HEAD = '''"""The Caffe schema as a table, made by proto/generate.py from proto/caffe.proto; not edited.

    MESSAGES   message -> field -> (number, label, type, default, forks)
    ENUMS      enum -> name -> number

`forks` names the forks that a field comes from, "" for BVLC Caffe. A message without fields is open: it
takes any field.
"""
# ruff: noqa: E501

from typing import Any

Row = tuple[int, str, str, Any, str]
'''


def read(text: str) -> tuple[dict[str, dict[str, tuple]], dict[str, dict[str, int]]]:
    """(messages, enums) of a proto file, types by their full names."""
    messages: dict[str, dict[str, tuple]] = {}
    enums: dict[str, dict[str, int]] = {}
    scope: list[tuple[str, str, str]] = []
    for raw in text.splitlines():
        line = raw.strip()
        if match := OPEN.fullmatch(line):
            kind, name, forks = match.groups()
            full = ".".join([s[1] for s in scope] + [name])
            scope.append((kind, name, forks or (scope[-1][2] if scope else "")))
            (messages if kind == "message" else enums)[full] = {}
        elif line == "}":
            scope.pop()
        elif match := FIELD.fullmatch(line):
            label, type_, name, number, option, value, forks = match.groups()
            default = _default(type_, value) if option == "default" else None
            messages[".".join(s[1] for s in scope)][name] = (
                int(number),
                label,
                type_,
                default,
                forks or scope[-1][2],
            )
        elif match := VALUE.fullmatch(line):
            enums[".".join(s[1] for s in scope)][match[1]] = int(match[2])
        elif line and not line.startswith(("//", "syntax", "package", "option ")):
            raise SystemExit(f"{PROTO}: not understood: {raw}")
    return {
        m: {f: _full(m, row, messages, enums) for f, row in fields.items()} for m, fields in messages.items()
    }, enums


def _default(type_: str, value: str) -> object:
    if type_ == "bool":
        return value == "true"
    if type_ in SCALARS:
        return float(value) if type_ in ("float", "double") else ast.literal_eval(value)
    return value


def _full(message: str, row: tuple, messages: dict, enums: dict) -> tuple:
    number, label, type_, default, forks = row
    if type_ in SCALARS:
        return row
    scope = message.split(".")
    names = [".".join([*scope[:n], type_]) for n in range(len(scope), -1, -1)]
    return number, label, next(n for n in names if n in messages or n in enums), default, forks


def render(messages: dict, enums: dict) -> str:
    """The text of table.py."""
    lines = [HEAD, "MESSAGES: dict[str, dict[str, Row]] = {"]
    for message, fields in messages.items():
        lines += [
            f'    "{message}": {{',
            *(f'        "{f}": {_row(row)},' for f, row in fields.items()),
            "    },",
        ]
    lines += ["}", "", "ENUMS: dict[str, dict[str, int]] = {"]
    lines += [
        f'    "{enum}": {{' + ", ".join(f'"{n}": {v}' for n, v in values.items()) + "},"
        for enum, values in enums.items()
    ]
    return "\n".join([*lines, "}", ""])


def _row(row: tuple) -> str:
    return "(" + ", ".join(f'"{v}"' if isinstance(v, str) else repr(v) for v in row) + ")"


def main() -> int:
    """Write the table, or say whether it is current."""
    text = render(*read(PROTO.read_text()))
    if "--check" in sys.argv:
        return int(TABLE.read_text() != text)
    TABLE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
