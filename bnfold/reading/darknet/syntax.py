"""How the forks read a line of a cfg, and the numbers in it.

    CLASSIC   pjreddie's and AlexeyAB's: every blank goes, wherever it stands; a comment is a line of its own;
              numbers end where they end (atoi, atof), and a list has commas
    HANK_AI   hank-ai's: blanks around key and value go, a # begins a comment anywhere, lines that are neither
              header nor option are nothing; numbers are numbers or it stops, and a list is whatever numbers
              stand there

Both give an Entry for a line that says something. What a fork stops at is Malformed.
"""

from __future__ import annotations

import math
import re
from itertools import takewhile
from typing import ClassVar, Protocol

from ...errors import Malformed
from ...records import dataclass

INT_MAX = 2**31 - 1
_BLANKS = str.maketrans("", "", " \t\r")
_INT = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One line: a header with the name between its brackets (what has no closing one keeps all of its
    characters), or a key with its value (None: there is no '=')."""

    header: str = ""
    key: str = ""
    value: str | None = None


class Syntax(Protocol):
    """How lines and numbers are read. `stops_at_duplicates`: a second equal key is an error."""

    stops_at_duplicates: bool

    def entry(self, line: str) -> Entry | None:
        """What a line says, None for a comment or an empty line."""

    def number(self, kind: str, text: str) -> tuple[int | float, str]:
        """(the number that an option has, what is left of its text). `kind` is int or float."""

    def items(self, kind: str, text: str) -> list[str]:
        """The texts of the numbers in a list."""


class _Classic:
    stops_at_duplicates = False

    def entry(self, line: str) -> Entry | None:
        text = line.translate(_BLANKS)
        if not text or text[0] in "#;":
            return None
        if text.startswith("["):
            return Entry(header=text[1:-1] if text.endswith("]") else text)
        key, equals, value = text.partition("=")
        return Entry(key=key, value=value if equals else None)

    def number(self, kind: str, text: str) -> tuple[int | float, str]:
        return atoi(text) if kind == "int" else atof(text)

    def items(self, kind: str, text: str) -> list[str]:
        return text.partition("#")[0].split(",")


class _HankAi:
    stops_at_duplicates = True
    _header = re.compile(r"\[(.+)\]")
    _option = re.compile(r"([^#= \t]+)[ \t]*=([^#]+)")
    _digits: ClassVar = {"int": re.compile(r"[-0-9]+"), "float": re.compile(r"[-.0-9]+")}

    def entry(self, line: str) -> Entry | None:
        text = line.strip()
        if header := self._header.match(text):
            return Entry(header=header[1])
        option = self._option.match(text)
        return Entry(key=option[1], value=option[2].strip()) if option else None

    def number(self, kind: str, text: str) -> tuple[int | float, str]:
        if not self._digits["float"].fullmatch(text) or not _FLOAT.match(text):
            raise Malformed(
                f"'{cut(text)}' is no number, and hank-ai's darknet stops",
                expected="digits, with a point or a minus sign",
            )
        return atoi(text) if kind == "int" else atof(text)

    def items(self, kind: str, text: str) -> list[str]:
        found = self._digits[kind].findall(text)
        return list(takewhile(_FLOAT.match, found))  # it stops at what is no number, without a word


CLASSIC: Syntax = _Classic()
HANK_AI: Syntax = _HankAi()


def atoi(text: str) -> tuple[int, str]:
    """(the number that C's atoi reads, what is left of the text). Errors: Malformed for a number beyond 32
    bits."""
    match = _INT.match(text)
    if not match:
        return 0, text
    number = int(match[0])
    if not -INT_MAX <= number <= INT_MAX or text[match.end() : match.end() + 1].isdigit():
        raise Malformed(f"'{cut(text)}' does not fit darknet's 32-bit integers")
    return number, text[match.end() :]


def atof(text: str) -> tuple[float, str]:
    """(the number that C's atof reads, what is left of the text). Errors: Malformed where it is not
    finite."""
    match = _FLOAT.match(text)
    if not match:
        if re.match(r"[+-]?(inf|nan)", text, re.I):
            raise Malformed(f"'{cut(text)}' is not finite", expected="a number")
        return 0.0, text
    number = float(match[0])
    if not math.isfinite(number) or abs(number) > 3.4e38:
        raise Malformed(f"'{cut(text)}' does not fit darknet's 32-bit floats")
    return number, text[match.end() :]


def cut(text: str) -> str:
    """A text that is short enough for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
