"""The sections of a cfg, as darknet's own code reads it. What a fork makes of a line is in syntax.py; as most
of them have it:

    [convolutional]          a header is a whole line; what follows the bracket belongs to the name
    filters = 32             every blank is removed from anywhere in a line
    # or ;                   a comment, at the beginning of a line only
    size=3 # kernel          the text is "3#kernel": numbers survive, names do not
    filters=64               the first of two wins
    pad                      a key without a value: darknet finds it first, and takes the default
    stride=                  a syntax message, ignored

Rule 1: bytes are decoded line by line, so an error has a line, and behind a # any encoding will do.
Rule 2: numbers are read as C's atoi and atof read them; what they skip is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from itertools import islice
from pathlib import Path

from ...errors import Malformed, Unreadable, reason
from ...ir.provenance import Source
from ...records import dataclass
from .findings import Notes
from .syntax import CLASSIC, Entry, Syntax, cut

LIMIT, CHUNK = 16 << 20, 1 << 16  # bytes; the largest published cfg has 60 kB


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


def read_bytes(path: Path) -> bytes:
    """The content of a cfg file. Errors: Unreadable, Malformed."""
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
    return data


def parse(data: bytes, file: str, notes: Notes, syntax: Syntax = CLASSIC) -> list[Section]:
    """The sections of a cfg's content, [net] first; `file` is its name in errors and findings. Errors:
    Malformed with `file:line`."""
    if encoding := _wide(data):
        raise Malformed(
            f"the file is text in {encoding}",
            where=file,
            expected="ASCII or UTF-8, which is what darknet reads",
            way_out="save it as UTF-8 (in Notepad: Save as, Encoding)",
        )
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
    for line, entry in entries(data, file, syntax):
        if entry.header:
            sections.append(Section(entry.header, line))
        elif sections:
            _option(sections[-1], entry, Source(file, line), notes, syntax)
        else:
            raise Malformed(
                f"'{_shown(entry)}' stands before any section",
                where=Source(file, line),
                expected="[net] first",
            )
    if not sections:
        raise Malformed(
            "no section in the file", where=file, expected="a darknet cfg, which begins with [net]"
        )
    if sections[0].name not in ("net", "network"):
        raise Malformed(
            f"the first section is [{cut(sections[0].name)}]",
            where=Source(file, sections[0].line),
            expected="[net] or [network] first, alone on its line",
        )
    return sections


def _wide(data: bytes) -> str:
    """The name of the encoding where characters take two or four bytes; "" otherwise."""
    for mark, name in (
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if data.startswith(mark):
            return name
    for text, zeros in ((data[0:64:2], data[1:64:2]), (data[1:64:2], data[0:64:2])):
        if zeros and not any(zeros) and text.decode("latin-1").replace("\r\n", "").isprintable():
            return "UTF-16"
    return ""


def entries(data: bytes, file: str, syntax: Syntax) -> Iterator[tuple[int, Entry]]:
    """(line, what it says) of every line that says something."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        said, mark, remark = raw.partition(b"#")
        try:
            line = said.decode()
        except UnicodeDecodeError as error:
            if said.lstrip(b" \t\r").startswith(b";"):
                continue
            raise Malformed(
                f"byte 0x{said[error.start]:02x} is not UTF-8",
                where=Source(file, number),
                expected="ASCII or UTF-8 text outside comments",
            ) from error
        entry = syntax.entry(line + (mark + remark).decode("utf-8", "backslashreplace"))
        if entry is not None:
            yield number, entry


def _option(section: Section, entry: Entry, where: Source, notes: Notes, syntax: Syntax) -> None:
    key, value = entry.key, entry.value
    if value == "":
        notes.warn("no-value", where, f"'{_shown(entry)}' has no value; bnfold ignores it, as darknet does")
    elif key in section.options:
        first = section.options[key]
        if syntax.stops_at_duplicates:
            raise Malformed(
                f"a second '{cut(key)}' in [{cut(section.name)}], the first is in line {first.line}",
                where=where,
                expected="one of them: hank-ai's darknet stops here",
            )
        if first.text != value:
            notes.warn(
                "duplicate-option",
                where,
                f"a second '{cut(key)}' is ignored: darknet takes the first (line {first.line})",
            )
    else:
        if value is None:
            notes.warn("no-value", where, f"'{_shown(entry)}' is not an option; bnfold ignores it")
        section.options[key] = Option(value, where.line or 0)


def _shown(entry: Entry) -> str:
    """A line that is no header, without its blanks."""
    return cut(entry.key if entry.value is None else f"{entry.key}={entry.value}")
