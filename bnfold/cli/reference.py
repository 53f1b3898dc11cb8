"""The reference pages, made from the code: every command with its options, every public name with its
docstring.

`python -m bnfold.cli.reference docs` writes docs/cli.md and docs/api.md; a test holds the pages against the
code.

A docstring is prose, and lists of definitions ("name  what it is", aligned): those become tables, the rest
                                                       stays as it stands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click

import bnfold

from ..results.options import (
    EstimateKeywords,
    FoldKeywords,
    ReadKeywords,
    RecalibrateKeywords,
    SlimKeywords,
    TimeKeywords,
    VerifyKeywords,
)
from .help import Command
from .main import COMMANDS, group

_DEFINITION = re.compile(r"^(\w+(?:, \w+)*) {2,}(\S.*)$")
_CODE = re.compile(r"\n\n((?: {4}.*\n?|\n)+)")
_KEYWORDS = (
    ReadKeywords,
    FoldKeywords,
    SlimKeywords,
    VerifyKeywords,
    TimeKeywords,
    EstimateKeywords,
    RecalibrateKeywords,
)
_NOTE = "This page is made from the code: `python -m bnfold.cli.reference docs`."


# The command line.


def commands() -> str:
    """The page of commands as Markdown."""
    parts = ["# Command line", _NOTE, _prose(group.help or "")]
    context = click.Context(group, info_name="bnfold")
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        parts += _command(command, click.Context(command, info_name=f"bnfold {name}"))
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, context: click.Context) -> list[str]:
    usage = f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    assert isinstance(command, Command)
    parts = [f"## bnfold {command.name}", usage, _prose(command.help or "")]
    lines = [f"# {words}\n{line}" for words, line in command.examples]
    parts.append("```text\n" + "\n".join(lines) + "\n```")
    parts += [_table((f"{name}", "meaning"), map(_option, found)) for name, found in command.groups()]
    return parts


def _option(option: click.Option) -> tuple[str, str]:
    value = "" if option.is_flag else " " + (option.metavar or _choices(option.type))
    return ", ".join(f"`{flag}{value}`" for flag in option.opts), option.help or ""


def _choices(kind: Any) -> str:
    return "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else kind.name.upper()


# The API.


def names() -> str:
    """The page of the API as Markdown."""
    things = [(name, getattr(bnfold, name)) for name in bnfold.__all__]
    functions = [(name, thing) for name, thing in things if inspect.isfunction(thing)]
    errors = [
        (name, thing) for name, thing in things if inspect.isclass(thing) and issubclass(thing, BaseException)
    ]
    results = [
        (name, thing)
        for name, thing in things
        if (name, thing) not in functions and (name, thing) not in errors
    ]
    parts = ["# Python API", _NOTE, "Every name here is in `bnfold`; nothing else is public.", "## Functions"]
    parts += [part for name, function in functions for part in _function(name, function)]
    parts += ["## Keywords"]
    parts += [part for keywords in _KEYWORDS for part in _keywords(keywords)]
    parts += ["## Results"]
    parts += [part for name, cls in results for part in _class(name, cls)]
    parts += [
        "## Errors",
        _table(("error", "exit code", "what it says"), map(_error, dict(errors).values())),
        _layers(),
    ]
    return "\n\n".join(parts) + "\n"


def _function(name: str, function: Callable[..., Any]) -> list[str]:
    return [
        f"### bnfold.{name}",
        f"```text\nbnfold.{name}{_signature(function)}\n```",
        _prose(inspect.getdoc(function) or ""),
    ]


def _signature(function: Callable[..., Any]) -> str:
    """One line, or a parameter on each; annotations as they are written."""
    text = str(inspect.signature(function)).replace("'", "")
    return (
        text
        if len(text) < 90
        else re.sub(r"^\((.*)\)( -> .*)$", lambda m: f"(\n    {_split(m[1])},\n){m[2]}", text)
    )


def _split(parameters: str) -> str:
    return re.sub(r", (?=[\w*]+(?::|,|$)|\*,)", ",\n    ", parameters)


def _keywords(keywords: Any) -> list[str]:
    rows = [(f"`{name}`", f"`{_annotation(kind)}`") for name, kind in keywords.__annotations__.items()]
    return [
        f"### {keywords.__name__}",
        _prose(inspect.getdoc(keywords) or ""),
        _table(("keyword", "type"), rows),
    ]


def _annotation(kind: Any) -> str:
    return str(getattr(kind, "__forward_arg__", kind))


def _class(name: str, cls: type) -> list[str]:
    prose, meanings = _parted(inspect.getdoc(cls) or "")
    rows = [
        (f"`{field}`", f"`{kind}`", meanings.get(field, "")) for field, kind in cls.__annotations__.items()
    ]
    return [f"### bnfold.{name}", prose, _table(("field", "type", "meaning"), rows)]


def _error(cls: type) -> tuple[str, str, str]:
    family = "" if cls is bnfold.BnfoldError else f" ({cls.__bases__[0].__name__})"
    first = (inspect.getdoc(cls) or "").partition("\n\n")[0]
    return f"`{cls.__name__}`{family}", str(cls.exit_code), first  # type: ignore[attr-defined]


def _layers() -> str:
    from .. import caffe

    return f"## bnfold.caffe\n\n{_prose(inspect.getdoc(caffe) or '')}"


# Docstrings and tables as Markdown.


def _prose(text: str) -> str:
    """A docstring in Markdown: indented code as it stands, every other paragraph by `_blocks`."""
    parts = _CODE.split(inspect.cleandoc(text))
    blocks = [
        [f"```text\n{inspect.cleandoc(part)}\n```"]
        if i % 2
        else [block for paragraph in part.strip().split("\n\n") for block in _blocks(paragraph)]
        for i, part in enumerate(parts)
    ]
    return "\n\n".join(block for of_part in blocks for block in of_part)


def _blocks(paragraph: str) -> Iterator[str]:
    """Definitions as a table, between the lines before and after them."""
    for defined, run in groupby(_joined(paragraph), key=lambda line: bool(_DEFINITION.match(line))):
        lines = list(run)
        if defined:
            yield _table(
                ("name", "meaning"), (tuple(_DEFINITION.sub(r"`\1`\0\2", line).split("\0")) for line in lines)
            )
        else:
            yield "\n".join(map(_escaped, lines))


def _joined(paragraph: str) -> list[str]:
    """Its lines; an indented one belongs to the definition above it."""
    return re.sub(r"\n +", " ", paragraph).splitlines()


def _parted(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's prose, and what it defines."""
    lines = [line for paragraph in doc.split("\n\n") for line in [*_joined(paragraph), ""]]
    found = [match for line in lines if (match := _DEFINITION.match(line))]
    meanings = {name: match[2] for match in found for name in match[1].split(", ")}
    return _escaped("\n".join(line for line in lines if not _DEFINITION.match(line)).strip()), meanings


def _escaped(text: str) -> str:
    """What is no code must not be taken for HTML."""
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(text.split("`")))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(_escaped(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


PAGES = {"cli.md": commands, "api.md": names}


def main(folder: Path) -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]))
