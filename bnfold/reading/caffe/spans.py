"""Where every field of a prototxt stands: for whoever edits the text, which the tree of prototxt.py is not
enough for.

The text has been parsed before, so it is well-formed; a field begins where its Entry does, which is how the
two trees meet.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...records import dataclass
from .prototxt import CLOSING, TOKEN


@dataclass(slots=True)
class FieldSpan:
    """One field: from its name (in a list: from its value) to behind its value and a separator. The value
    itself stands in value:value_end."""

    start: int
    value: int
    value_end: int
    end: int


Token = tuple[str, str, int, int]


def spans(content: str) -> dict[int, FieldSpan]:
    """Every field by its start."""
    return _Scanner(content).run()


class _Scanner:
    def __init__(self, content: str) -> None:
        self.tokens = _tokens(content)
        self.next: Token = next(self.tokens)
        self.found: dict[int, FieldSpan] = {}

    def run(self) -> dict[int, FieldSpan]:
        """Walk the text; open messages are kept on a list, as hostile depths cost no stack then."""
        open_: list[
            tuple[FieldSpan, str, bool]
        ] = []  # a message, what closes it, and whether a list holds it
        while self.next[0] != "end":
            if open_ and self.next[1] == open_[-1][1]:
                span, _, listed = open_.pop()
                span.value_end = span.end = self._take()[3]
                if listed:
                    self._after_item(open_)
                else:
                    self._separator(span)
                continue
            self._field(open_)
        return self.found

    def _take(self) -> Token:
        token = self.next
        if token[0] != "end":
            self.next = next(self.tokens)
        return token

    def _accept(self, marks: str) -> Token | None:
        return self._take() if self.next[0] == "mark" and self.next[1] in marks else None

    def _separator(self, span: FieldSpan) -> None:
        if mark := self._accept(",;"):
            span.end = mark[3]

    def _field(self, open_: list[tuple[FieldSpan, str, bool]]) -> None:
        name = self._take()
        self._accept(":")
        if brace := self._accept("{<"):
            self._open(name[2], brace, open_, listed=False)
        elif self._accept("["):
            self._list(name[2], open_)
        else:
            self._separator(self._value(name[2]))

    def _open(
        self, start: int, brace: Token, open_: list[tuple[FieldSpan, str, bool]], *, listed: bool
    ) -> None:
        span = self.found[start] = FieldSpan(start, brace[2], brace[3], brace[3])
        open_.append((span, CLOSING[brace[1]], listed))

    def _list(self, start: int, open_: list[tuple[FieldSpan, str, bool]]) -> None:
        if brace := self._accept("{<"):
            self._open(start, brace, open_, listed=True)
            return
        while not self._accept("]"):
            self._value(self.next[2])
            self._accept(",")
        self._accept(",;")

    def _after_item(self, open_: list[tuple[FieldSpan, str, bool]]) -> None:
        self._accept(",")
        if brace := self._accept("{<"):
            self._open(brace[2], brace, open_, listed=True)
            return
        self._accept("]")
        self._accept(",;")

    def _value(self, start: int) -> FieldSpan:
        first = last = self._take()
        if first[1] == "-":
            last = self._take()
        while first[0] == "string" and self.next[0] == "string":
            last = self._take()
        span = self.found[start] = FieldSpan(start, first[2], last[3], last[3])
        return span


def _tokens(content: str) -> Iterator[Token]:
    at = 0
    while at < len(content) and (match := TOKEN.match(content, at)):
        if match.lastgroup != "space":
            yield match.lastgroup or "", match.group(), at, match.end()
        at = match.end()
    yield "end", "", len(content), len(content)
