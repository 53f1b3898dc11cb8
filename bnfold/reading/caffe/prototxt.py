"""Protobuf text format, to a tree that loses nothing.

    Text      the file: its content, and the line and column of any offset
    Message   entries in file order
    Entry     one `name: value` or `name { ... }`, and where it stands
    Scalar    a value as it was written: an identifier, a number or a string

The tree knows no schema: whatever is well-formed text is kept, known or not (schema.py types it). Nesting is
kept on a list and not on the call stack, so that a hostile depth costs memory in proportion to the file and
nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

from ...errors import Malformed, Unreadable, reason
from ...ir.provenance import Source
from ...records import dataclass

TOKEN = re.compile(
    r"(?P<space>(?:\s|\#[^\n]*+)++)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<number>(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<mark>[{}<>\[\]:,;-])",
    re.ASCII,
)
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.S)
ESCAPES = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
    b"\\": b"\\",
    b"'": b"'",
    b'"': b'"',
    b"?": b"?",
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CLOSING = {"{": "}", "<": ">"}
OPENING = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*+)*+([A-Za-z_]\w*+)\s*+[:{<]"
)  # possessive: every byte is looked at once
FIRST_FIELDS = frozenset(
    b"name input input_dim input_shape layer layers state force_backward debug_info engine "
    b"default_forward_type mem_param".split()
)


def sniff(head: bytes) -> bool:
    """Does this look like the beginning of a network in text format? Comments alone do not."""
    match = OPENING.match(head)
    return bool(match) and match[1] in FIRST_FIELDS  # type: ignore[index]


class Scalar(NamedTuple):
    """A value as written. `kind` is "name", "number" or "string"; a string is unquoted and unescaped
    already."""

    kind: str
    text: str


@dataclass(slots=True)
class Entry:
    """One field as written; `at` is the offset of its name."""

    name: str
    value: Scalar | Message
    at: int


@dataclass(slots=True)
class Message:
    """Entries in file order; `at` is the offset of the field that it is, or of the file's beginning."""

    at: int = 0
    entries: list[Entry] = field(default_factory=list)


class Token(NamedTuple):
    """One token; `kind` is a group of TOKEN, or "end"."""

    kind: str
    text: str
    at: int


UTF_16 = (b"\xff\xfe", b"\xfe\xff")
QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u00ab\u00bb\u00b4`"
ENTITY = re.compile(r"&#?\w+;")
LIMIT = 32 << 20  # bytes; the largest published prototxt has 1 MB


class Text:
    """A text with its name. Bytes that are not UTF-8 are kept: comments may hold them, and strings that
    nothing reads."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.path = path
        self.prefix = BYTE_ORDER_MARK if data.startswith(BYTE_ORDER_MARK) else b""
        self.content = data[len(self.prefix) :].decode("utf-8", "surrogateescape")
        self._breaks: list[int] | None = None

    @classmethod
    def from_file(cls, path: Path) -> Text:
        """The text of a file; Unreadable when it cannot be had, Malformed when it is no text that a person
        has written or could read."""
        try:
            with path.open("rb") as file:
                data = file.read(LIMIT + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read ({reason(error)})", where=path) from error
        if len(data) > LIMIT:
            raise Malformed(
                f"the file is larger than {LIMIT:,} bytes", where=path, expected="a prototxt, which is a text"
            )
        if data.startswith(UTF_16) or (b"\0" in data[:2] and len(data) > 2):
            raise cls(b"", path).error(
                0, "the text is encoded as UTF-16", "UTF-8", "save it in another encoding: UTF-8"
            )
        return cls(data, path)

    def position(self, at: int) -> tuple[int, int]:
        """(line, column) of an offset, both from 1."""
        if self._breaks is None:
            self._breaks = [-1, *(m.start() for m in re.finditer("\n", self.content))]
        line = bisect_right(self._breaks, at - 1)
        return line, at - self._breaks[line - 1]

    def place(self, at: int, name: str = "", type_: str = "") -> Source:
        """file:line:column of an offset."""
        line, column = self.position(at)
        return Source(str(self.path), line, column, name=name, type=type_)

    def error(self, at: int, found: str, expected: str = "", way_out: str = "") -> Malformed:
        """A Malformed error at an offset."""
        return Malformed(found, where=self.place(at), expected=expected, way_out=way_out)


def parse(text: Text) -> Message:
    """The tree of a text. Raises Malformed with file:line:column."""
    return _Parser(text).run()


class _Parser:
    def __init__(self, text: Text) -> None:
        self.text = text
        self.tokens = self._scan()
        self.next = next(self.tokens)

    def _scan(self) -> Iterator[Token]:
        content, at = self.text.content, 0
        match = TOKEN.match
        while at < len(content):
            found = match(content, at)
            if not found:
                raise self.text.error(at, *_stray(content, at))
            kind = found.lastgroup
            if kind != "space":
                yield Token(kind or "", found.group(), at)
            at = found.end()
        yield Token("end", "", len(content))

    def take(self) -> Token:
        token = self.next
        if token.kind != "end":
            self.next = next(self.tokens)
        return token

    def accept(self, marks: str) -> Token | None:
        if self.next.kind == "mark" and self.next.text in marks:
            return self.take()
        return None

    def run(self) -> Message:
        root = Message()
        open_: list[tuple[Message, str]] = [(root, "")]
        lists: list[tuple[str, int]] = []  # the field of each list of messages that is open
        while True:
            message, closing = open_[-1]
            if closing and self.accept(closing):
                open_.pop()
                if lists and lists[-1][1] == len(open_):
                    self._after_item(open_, lists)
                else:
                    self.accept(",;")
                continue
            token = self.take()
            if token.kind == "end":
                if not closing:
                    return root
                raise self.text.error(
                    message.at,
                    f"'{'{' if closing == '}' else '<'}' is never closed",
                    f"'{closing}' before the end of the file",
                )
            if token.kind != "name":
                raise self.text.error(
                    token.at,
                    f"{_shown(token.text)} where a field begins",
                    "a field name" + (f" or '{closing}'" if closing else ""),
                )
            self._field(token, open_, lists)

    def _field(self, name: Token, open_: list[tuple[Message, str]], lists: list[tuple[str, int]]) -> None:
        colon = self.accept(":")
        if brace := self.accept("{<"):
            return self._open(name.text, name.at, brace, open_)
        entries = open_[-1][0].entries
        bracket = self.accept("[")
        if bracket and self.next.kind == "mark" and self.next.text in "{<":
            lists.append((name.text, len(open_)))
            return self._open(name.text, name.at, self.take(), open_)
        if not colon:
            after = bracket or self.next
            raise self.text.error(after.at, f"{_shown(after.text)} after '{name.text}'", "':' or '{'")
        if bracket:
            while not self.accept("]"):
                at = self.next.at
                entries.append(Entry(name.text, self._scalar(), at))
                if not self.accept(",") and not (self.next.kind == "mark" and self.next.text == "]"):
                    raise self.text.error(
                        self.next.at, f"{_shown(self.next.text)} in the list of '{name.text}'", "',' or ']'"
                    )
        else:
            entries.append(Entry(name.text, self._scalar(), name.at))
        self.accept(",;")
        return None

    def _open(self, name: str, at: int, brace: Token, open_: list[tuple[Message, str]]) -> None:
        message = Message(at)
        open_[-1][0].entries.append(Entry(name, message, at))
        open_.append((message, CLOSING[brace.text]))

    def _after_item(self, open_: list[tuple[Message, str]], lists: list[tuple[str, int]]) -> None:
        """Behind a message of a list `name: [{...}, {...}]`."""
        name, _ = lists[-1]
        if self.accept(",") and (brace := self.accept("{<")):
            return self._open(name, brace.at, brace, open_)
        if not self.accept("]"):
            raise self.text.error(
                self.next.at, f"{_shown(self.next.text)} in the list of '{name}'", "',' and a message, or ']'"
            )
        lists.pop()
        self.accept(",;")
        return None

    def _scalar(self) -> Scalar:
        token = self.take()
        if token.kind == "string":
            return Scalar("string", self._string(token))
        sign = ""
        if token.kind == "mark" and token.text == "-":
            sign, token = "-", self.take()
        if token.kind in ("number", "name"):
            return Scalar("number" if sign else token.kind, sign + token.text)
        raise self.text.error(
            token.at, f"{_shown(token.text)} where a value begins", "a number, an identifier or a string"
        )

    def _string(self, first: Token) -> str:
        parts, token = [], first
        while True:
            raw = token.text[1:-1].encode("utf-8", "surrogateescape")
            parts.append(ESCAPE.sub(_unescaped, raw) if b"\\" in raw else raw)
            if self.next.kind != "string":
                break
            token = self.take()
        return b"".join(parts).decode("utf-8", "surrogateescape")


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code in ESCAPES:
        return ESCAPES[code]
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code[:1].isdigit() and code[:1] < b"8":
        return bytes([int(code, 8) & 0xFF])
    return match[0]


def _stray(content: str, at: int) -> tuple[str, str, str]:
    """What stands where no token of text format does: (what it is, what is right, the way out)."""
    rest = content[at : at + 64]
    character = rest[0].encode("utf-8", "surrogateescape").decode("cp1252", "replace")[-1]
    if rest[0] in "\"'":
        return f"{_shown(rest[:12])} is no part of text format", "a string that ends on its line", ""
    if rest.startswith(("//", "/*")):
        return f"a comment that begins with '{rest[:2]}'", "a comment that begins with '#'", ""
    if entity := ENTITY.match(rest):
        return (
            f"'{entity[0]}', an entity of HTML: the text comes from a web page",
            "the characters themselves",
            "download the file itself",
        )
    if rest[0] in QUOTES or character in QUOTES:
        return f"a typographic quotation mark ({_called(rest[0], character)})", "a straight one: \" or '", ""
    if not rest[0].isascii():
        plain = unicodedata.normalize("NFKC", rest[0])
        instead = "a space" if plain.isspace() or not plain.isprintable() else f"'{plain}'"
        known = plain.isascii() or not rest[0].isprintable()
        return (
            f"{_called(rest[0], character)}, which is no part of text format",
            instead if known else "a field name, a value or a brace",
            "",
        )
    return f"{_shown(rest[:12])} is no part of text format", "a field name, a value or a brace", ""


def _called(written: str, windows: str) -> str:
    """A character by its name in Unicode; a byte that is no UTF-8 by its name on Windows."""
    character = windows if "\udc80" <= written <= "\udcff" else written
    return f"{unicodedata.name(character, 'a character').lower()}, U+{ord(character):04X}"


def _shown(text: str) -> str:
    return repr(text.encode("utf-8", "replace").decode("utf-8")) if text else "the end of the file"
