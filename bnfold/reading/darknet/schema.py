"""Sections and their options: the signature of a section's function is its schema.

    @section("maxpool", "max")
    def maxpool(layer: Layer, x: Feature, *, stride: int = 1, size: int | None = None, maxpool_depth:
    AlexeyInt = 0) -> Feature: ...

Keyword-only parameters are the options, annotations the parsers, defaults darknet's; an `Alexey...` or
`Pj...` annotation marks an option that only one fork reads. The binder fills them from a section of a cfg and
reports what it does not know.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Annotated, Any, Union

from ...errors import Malformed, Unsupported, blamed_on
from ...ir.provenance import Source
from ...records import dataclass
from .activations import only_alexeyab
from .cfg import Option, Section
from .dialects import BOTH, Dialect, Evidence, Fork
from .findings import Notes
from .foreign_sections import foreign
from .ignored_options import ignored
from .spelling import likely
from .syntax import HANK_AI, Syntax

AlexeyInt = Annotated[int, Fork.ALEXEYAB]
AlexeyFloat = Annotated[float, Fork.ALEXEYAB]
AlexeyStr = Annotated[str, Fork.ALEXEYAB]
PjInt = Annotated[int, Fork.PJREDDIE]
PjFloat = Annotated[float, Fork.PJREDDIE]
LAYER_OPTIONS = ("dontload", "dontloadscales", "numload")  # read for every section, by the layer itself


@dataclass(frozen=True)
class Parameter:
    """One option of a section; `argument` is the keyword of the function (from_ for the option from)."""

    argument: str
    kind: str
    default: Any
    fork: Fork | None


@dataclass(frozen=True)
class Row:
    """One section: its name, its function, which forks know it under which names. `meaning` says what a name
    that another program made up stands for, "" where the forks made it up."""

    name: str
    function: Callable[..., Any]
    forks: tuple[Fork, ...]
    aliases: tuple[str, ...]
    recurrent: bool
    meaning: str = ""

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The options by name, in the order of the signature."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        return {
            p.name.rstrip("_"): _parameter(p, hints[p.name])
            for p in inspect.signature(self.function).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        }


SECTIONS: dict[str, Row] = {}


Function = Callable[..., Any]


def section(
    name: str, *aliases: str, only: Fork | None = None, recurrent: bool = False, meaning: str = ""
) -> Callable[[Function], Function]:
    """Register a section's function under its name and aliases. `recurrent`: rows of the batch are time
    steps."""

    def register(function: Function) -> Function:
        row = Row(name, function, (only,) if only else BOTH, aliases, recurrent, meaning)
        for key in (name, *aliases):
            SECTIONS[key] = row
        return function

    return register


def find(section_: Section, where: Source) -> Row:
    """The row of a section after [net]. Errors: Unsupported for a name that no darknet knows, Malformed for a
    second [net]."""
    name, row = section_.name, SECTIONS.get(section_.name)
    if row and row.name == "net":
        raise Malformed("a second [net]", where=where, expected="one [net], at the beginning")
    if row:
        return row
    if "]" in name:
        theirs = HANK_AI.entry(name)
        raise Unsupported(
            f"the section header reads '{name}'",
            where=where,
            expected="a name in brackets, alone on its line",
            way_out=f"hank-ai's darknet takes it for [{theirs.header}] (--dialect hank-ai)" if theirs else "",
        )
    if known := foreign(name):
        raise Unsupported(f"no darknet has a section [{name}]; {known[0]}", where=where, way_out=known[1])
    raise Unsupported(
        f"no darknet has a section [{name}]",
        where=where,
        way_out=next(
            (f"did the file mean [{near}]?" for near in likely(name, SECTIONS)),
            "bnfold reads those of pjreddie's and AlexeyAB's darknet",
        ),
    )


def bind(section_: Section, row: Row, dialect: Dialect, file: str, notes: Notes) -> dict[str, Any]:
    """The keyword arguments of a section's function, from the section's options."""
    values: dict[str, Any] = {}
    for key, option in section_.options.items():
        where = Source(file, option.line)
        parameter = row.parameters.get(key)
        if parameter is None:
            _leftover(section_, row, key, where, notes)
        elif parameter.fork not in (None, dialect.fork):
            notes.warn(
                "other-fork",
                where,
                f"{dialect.whose}'s darknet does not read '{key}' in [{row.name}]; only "
                f"{parameter.fork}'s does",
            )
        elif option.text is not None:
            values[parameter.argument] = value_of(parameter.kind, option, dialect.syntax, where, notes)
    return values


def _leftover(section_: Section, row: Row, key: str, where: Source, notes: Notes) -> None:
    if key in LAYER_OPTIONS or ignored(row.name, key):
        return
    hint = "".join(f"; did it mean '{near}'?" for near in likely(key, row.parameters))
    notes.warn(
        "unknown-option", where, f"no darknet reads '{key}' in [{section_.name}], so it has no effect{hint}"
    )


def value_of(kind: str, option: Option, syntax: Syntax, where: Source, notes: Notes) -> Any:
    """The value that darknet reads from an option's text; `kind` is int, float, str, ints or floats."""
    text = option.text or ""
    if kind == "str":
        return text
    with blamed_on(where):
        if kind in ("int", "float"):
            return _number(kind, text, syntax, where, notes)
        return [_number(kind[:-1], item, syntax, where, notes) for item in syntax.items(kind[:-1], text)]


def _number(kind: str, text: str, syntax: Syntax, where: Source, notes: Notes) -> int | float:
    number, rest = syntax.number(kind, text)
    if rest and rest[0] not in "#;":
        notes.warn("number", where, f"'{text[:60]}' is read as {number:g}, as darknet does")
    elif not text:
        notes.warn("number", where, "an empty item is read as 0, as darknet does")
    return number


def layer_options(section_: Section, syntax: Syntax, file: str, notes: Notes) -> dict[str, int]:
    """The options that every section has, 0 where they are absent."""
    given = {key: section_.options.get(key) for key in LAYER_OPTIONS}
    return {
        key: value_of("int", option, syntax, Source(file, option.line), notes)
        if option and option.text is not None
        else 0
        for key, option in given.items()
    }


def evidence(sections: list[Section], file: str) -> Iterator[Evidence]:
    """What only one fork has, in file order. Values of options are not looked at, but for activations and
    lists."""
    given = sections[0].options
    if not any(key in given and (given[key].text or "").strip("0") for key in ("width", "height")):
        yield Evidence(
            Fork.PJREDDIE, "training", f"{file}:{sections[0].line}", "nets without pictures"
        )  # the other divides by 0
    for section_ in sections:
        row = SECTIONS.get(section_.name)
        if row is None:
            continue
        if len(row.forks) == 1 and section_ is not sections[0]:
            yield Evidence(
                row.forks[0], "section", f"{file}:{section_.line}", row.meaning or f"[{section_.name}]"
            )
        for key, option in section_.options.items():
            where = f"{file}:{option.line}"
            parameter, reason = row.parameters.get(key), ignored(row.name, key)
            if parameter and parameter.fork:
                yield Evidence(parameter.fork, "option", where, f"'{key}' in [{row.name}]")
            elif reason and reason.fork:
                yield Evidence(reason.fork, "training", where, f"'{key}' in [{row.name}]")
            elif key == "activation" and only_alexeyab(option.text or ""):
                yield Evidence(Fork.ALEXEYAB, "option", where, f"the activation {option.text}")
            elif (row.name, key) == ("shortcut", "from") and "," in (option.text or "").split("#")[0]:
                yield Evidence(Fork.ALEXEYAB, "option", where, "a [shortcut] from several layers")


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    fork = None
    if typing.get_origin(hint) in (Union, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is Annotated:
        hint, fork = typing.get_args(hint)
    kind = f"{typing.get_args(hint)[0].__name__}s" if typing.get_origin(hint) is list else hint.__name__
    if kind not in ("int", "float", "str", "ints", "floats"):
        raise TypeError(f"option {parameter.name} has the annotation {hint}")
    return Parameter(parameter.name, kind, parameter.default, fork)


def positive(**sizes: int) -> None:
    """Malformed for the first of the options that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise Malformed(f"{name}={size}", expected=f"{name} of at least 1")
