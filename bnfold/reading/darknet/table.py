"""The table of sections for docs/darknet.md, made from the signatures: `python -m
bnfold.reading.darknet.table`."""

from __future__ import annotations

from collections.abc import Iterator

from . import sections
from .dialects import Fork
from .schema import SECTIONS, Parameter, Row

SHORT = {Fork.PJREDDIE: "pjreddie", Fork.ALEXEYAB: "AlexeyAB"}
assert sections  # importing them has filled SECTIONS


def rows() -> Iterator[Row]:
    """Every section once, by name."""
    seen = {row.name: row for row in SECTIONS.values()}
    yield from (seen[name] for name in sorted(seen, key=str.lower))


def markdown() -> str:
    """A Markdown table: section, aliases, forks, options with their defaults (¹ AlexeyAB's alone, ²
    pjreddie's alone)."""
    lines = ["| section | forks | options (defaults) |", "|---|---|---|"]
    for row in rows():
        names = " ".join(f"`[{name}]`" for name in (row.name, *row.aliases))
        forks = ", ".join(SHORT[fork] for fork in row.forks)
        lines.append(
            f"| {names} | {forks} | "
            f"{', '.join(_option(name, p) for name, p in row.parameters.items()) or '-'} |"
        )
    return "\n".join(lines) + "\n\n¹ read by AlexeyAB's darknet alone, ² by pjreddie's alone\n"


def _option(name: str, parameter: Parameter) -> str:
    mark = {Fork.ALEXEYAB: "¹", Fork.PJREDDIE: "²"}.get(parameter.fork, "") if parameter.fork else ""
    default = (
        ""
        if parameter.default in (None, "") or (name == "share_index")
        else f" ({parameter.default:g})"
        if isinstance(parameter.default, (int, float))
        else f" ({parameter.default})"
    )
    return f"`{name}`{mark}{default}"


if __name__ == "__main__":
    print(markdown(), end="")
