"""A table that never breaks a name: where its columns do not fit side by side, every row becomes a paragraph.

A name that is cut in the middle can be neither read, nor searched for, nor copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 1 << 16  # columns: more than any name has
_INDENT = "    "


class Listing:
    """Rows under the names of their columns. `right` are columns of numbers, `prose` columns whose words may
    be wrapped."""

    def __init__(self, *columns: str, right: Sequence[str] = (), prose: Sequence[str] = ()) -> None:
        self._columns = columns
        self._rows: list[tuple[Text, ...]] = []
        self._table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            self._table.add_column(
                name, justify="right" if name in right else "left", no_wrap=name not in prose
            )

    def add_row(self, *cells: str | Text) -> None:
        """One row."""
        row = tuple(Text(cell) if isinstance(cell, str) else cell for cell in cells)
        self._rows.append(row)
        self._table.add_row(*row)

    def add_section(self) -> None:
        """A line between the rows before and behind it."""
        self._table.add_section()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update_width(_UNBOUNDED), self._table).minimum
        if needed <= options.max_width:
            yield self._table
            return
        for row in self._rows:
            yield from self._paragraph(row, options.max_width)

    def _paragraph(self, row: Sequence[Text], width: int) -> Iterator[Text]:
        """The first cell, and indented below it the others with the names of their columns."""
        first, *others = row
        yield first
        line = Text(_INDENT)
        for name, cell in zip(self._columns[1:], others, strict=True):
            if not cell.plain:
                continue
            item = Text.assemble(f"{name} " if name else "", cell)
            if line.plain.strip() and len(line) + 2 + len(item) > width:
                yield line
                line = Text(_INDENT)
            line.append(", " if line.plain.strip() else "").append_text(item)
        if line.plain.strip():
            yield line
