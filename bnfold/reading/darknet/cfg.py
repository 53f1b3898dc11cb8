"""The syntax of a cfg, as darknet's own code reads it.

    [convolutional]          a header is a whole line; what follows the bracket belongs to the name
    filters = 32             every blank is removed from anywhere in a line
    # or ;                   a comment, at the beginning of a line only
    size=3 # kernel          the text is "3#kernel": numbers survive, names do not
    filters=64               the first of two wins
    pad                      a key without a value: darknet finds it first, and takes the default
    stride=                  a syntax message, ignored

Rule 1: bytes are decoded line by line, so an error has a line and a comment may be in any encoding.
Rule 2: numbers are read as C's atoi and atof read them; what they skip is reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ...errors import Malformed, Unreadable, reason
from ...ir.provenance import Source
from .findings import Notes

LIMIT, CHUNK = 16 << 20, 1 << 16  # bytes; the largest published cfg has 60 kB
INT_MAX = 2**31 - 1
_BLANKS = bytes.maketrans(b"", b"")
_INT = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Option:
    """The text of one option (None: a key without '='), and its line."""

    text: str | None
    line: int


@dataclass
class Section:
    """One section: its name as written (without the brackets where it is well-formed), its line, its options
    by key."""

    name: str
    line: int
    options: dict[str, Option] = field(default_factory=dict)


def read_sections(path: Path, notes: Notes) -> list[Section]:
    """The sections of a cfg file, [net] first. Errors: Unreadable, Malformed with `file:line`."""
    try:
        with path.open("rb") as file:
            data = b"".join(islice(iter(lambda: file.read(CHUNK), b""), LIMIT // CHUNK + 1))
    except OSError as error:
        raise Unreadable(f"cannot be read ({reason(error)})", where=path) from error
    if len(data) > LIMIT:
        raise Malformed(
            f"the file is larger than {LIMIT:,} bytes",
            where=path,
            expected="a darknet cfg, which is a short text",
        )
    return parse(data, path.name, notes)


def parse(data: bytes, file: str, notes: Notes) -> list[Section]:
    """The sections of a cfg's content; `file` is its name in errors and findings."""
    if (at := data.find(b"\0")) >= 0:
        raise Malformed(
            f"binary data at byte {at:,}",
            where=file,
            expected="a darknet cfg, which is text",
            way_out="the network comes first, the weights second",
        )
    if data.startswith(b"\xef\xbb\xbf"):
        notes.warn(
            "byte-order-mark",
            Source(file, 1),
            "starts with a byte order mark, which darknet itself does not skip",
        )
        data = data[3:]
    sections: list[Section] = []
    for line, text in _lines(data, file):
        if text.startswith("["):
            sections.append(Section(text[1:-1] if text.endswith("]") else text, line))
        elif sections:
            _option(sections[-1], text, Source(file, line), notes)
        else:
            raise Malformed(
                f"'{_cut(text)}' stands before any section", where=Source(file, line), expected="[net] first"
            )
    if not sections:
        raise Malformed(
            "no section in the file", where=file, expected="a darknet cfg, which begins with [net]"
        )
    if sections[0].name not in ("net", "network"):
        raise Malformed(
            f"the first section is [{_cut(sections[0].name)}]",
            where=Source(file, sections[0].line),
            expected="[net] or [network] first, alone on its line",
        )
    return sections


def _lines(data: bytes, file: str) -> Iterator[tuple[int, str]]:
    """(line, text without blanks) of every line that says something."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        stripped = raw.translate(_BLANKS, b" \t\r")
        if stripped and stripped[:1] not in b"#;":
            try:
                yield number, stripped.decode()
            except UnicodeDecodeError as error:
                raise Malformed(
                    f"byte 0x{stripped[error.start]:02x} is not UTF-8",
                    where=Source(file, number),
                    expected="ASCII or UTF-8 text outside comments",
                ) from error


def _option(section: Section, text: str, where: Source, notes: Notes) -> None:
    key, equals, value = text.partition("=")
    if equals and not value:
        notes.warn("no-value", where, f"'{_cut(text)}' has no value; bnfold ignores it, as darknet does")
    elif key in section.options:
        first = section.options[key]
        if first.text != value:
            notes.warn(
                "duplicate-option",
                where,
                f"a second '{_cut(key)}' is ignored: darknet takes the first (line {first.line})",
            )
    else:
        if not equals:
            notes.warn("no-value", where, f"'{_cut(text)}' is not an option; bnfold ignores it")
        section.options[key] = Option(value if equals else None, where.line or 0)


def atoi(text: str) -> tuple[int, str]:
    """(the number that C's atoi reads, what is left of the text). Errors: Malformed for a number beyond 32
    bits."""
    match = _INT.match(text)
    if not match:
        return 0, text
    number = int(match[0])
    if not -INT_MAX <= number <= INT_MAX or text[match.end() : match.end() + 1].isdigit():
        raise Malformed(f"'{_cut(text)}' does not fit darknet's 32-bit integers")
    return number, text[match.end() :]


def atof(text: str) -> tuple[float, str]:
    """(the number that C's atof reads, what is left of the text). Errors: Malformed where it is not
    finite."""
    match = _FLOAT.match(text)
    if not match:
        if re.match(r"[+-]?(inf|nan)", text, re.I):
            raise Malformed(f"'{_cut(text)}' is not finite", expected="a number")
        return 0.0, text
    number = float(match[0])
    if not math.isfinite(number) or abs(number) > 3.4e38:
        raise Malformed(f"'{_cut(text)}' does not fit darknet's 32-bit floats")
    return number, text[match.end() :]


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
