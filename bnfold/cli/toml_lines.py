"""Where things stand in a TOML text: tomllib tells no lines, so headers and keys are found in the text, which
it has read already.

Tables that are not written one header a line (inline ones, arrays) are all at the line that they begin on: a
count would prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ..records import dataclass


@dataclass(frozen=True)
class Section:
    """A table in the text: the line of its header, and the lines up to the next one."""

    where: str
    key: Callable[[str], str]


class Lines:
    """Where things stand in a TOML text."""

    def __init__(self, text: str, shown: str) -> None:
        self._shown = shown
        self._lines = list(_outside_of_texts(text))
        self._headers = [number for number, line in self._lines if line.lstrip().startswith("[")]

    def top(self, key: str) -> str:
        """The first line that says this key or table."""
        pattern = re.compile(rf"^\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[]=.]")
        return next(
            (f"{self._shown}:{number}" for number, line in self._lines if pattern.match(line)), self._shown
        )

    def section(self, name: str) -> Section:
        """A table that is there once."""
        return self._of(self._named(name), 0, 1) or self._somewhere(name)

    def model(self, index: int, count: int) -> Section:
        """One of so many tables [[model]]."""
        return self._of(self._named("model"), index, count) or self._somewhere("model")

    def _named(self, name: str) -> list[int]:
        return [
            number for number, line in self._lines if re.match(rf"\s*\[+\s*[\"']?{name}[\"']?\s*\]+", line)
        ]

    def _of(self, headers: Sequence[int], index: int, count: int) -> Section | None:
        if len(headers) != count:  # written in another way: then a count proves nothing
            return None
        start = headers[index]
        end = next((number for number in self._headers if number > start), len(self._lines) + 1)

        def key(name: str) -> str:
            pattern = re.compile(rf"^\s*[\"']?{re.escape(name)}[\"']?\s*[=.]")
            found = (number for number, line in self._lines if start < number < end and pattern.match(line))
            return f"{self._shown}:{next(found, start)}"

        return Section(f"{self._shown}:{start}", key)

    def _somewhere(self, name: str) -> Section:
        where = self.top(name)
        return Section(where, lambda _: where)


def _outside_of_texts(text: str) -> Iterator[tuple[int, str]]:
    """(number, line); a line that lies in a text of several lines is empty."""
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        yield number, "" if closing else line
        rest = line
        while rest:
            if closing:
                _, found, rest = rest.partition(closing)
                closing = "" if found else closing
            else:
                opened = re.search(r"#|\"\"\"|'''|\"(?:\\.|[^\"\\])*\"|'[^']*'", rest)
                if opened is None or opened[0] == "#":
                    break
                rest = rest[opened.end() :]
                closing = opened[0] if opened[0] in ('"""', "'''") else ""
