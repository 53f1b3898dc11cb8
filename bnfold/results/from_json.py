"""From plain JSON values to frozen dataclasses, by their type hints, strictly: the way back from
`dataclasses.asdict`.

A float that was not finite is null in JSON, and NaN here. Values come from files that anybody may have
written: each must fit its hint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import UsageError

_LONGEST = 80  # of a value that a message shows


class Unfit(Exception):
    """A value does not fit; the text says where and what."""


def decoded(hint: Any, value: Any, at: str = "the document") -> Any:
    """The value as the hint wants it: a dataclass, str, int, float, bool, Path, X | None, tuple[X, ...],
    tuple[X, Y]. Raises Unfit."""
    if is_dataclass(hint):
        return _dataclass(hint, value, at)
    if get_origin(hint) is UnionType:
        return (
            None
            if value is None
            else decoded(next(h for h in get_args(hint) if h is not NoneType), value, at)
        )
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, at)
    return _PLAIN[hint](value, at)


def _dataclass(hint: Any, value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        raise _unfit(at, value, "an object")
    hints, rows = _hints(hint), {f.name: f for f in fields(hint)}
    unknown = next((name for name in value if name not in rows), None)
    if unknown is not None:
        raise Unfit(f"{at} has the unknown field {_shown(unknown)}")
    missing = next(
        (
            n
            for n, f in rows.items()
            if n not in value and f.default is MISSING and f.default_factory is MISSING
        ),
        None,
    )
    if missing is not None:
        raise Unfit(f"{at} has no field '{missing}'")
    content = {name: decoded(hints[name], inner, name) for name, inner in value.items()}
    try:
        return hint(**content)
    except UsageError as error:  # options check their own values
        raise Unfit(str(error)) from error


def _tuple(hints: tuple[Any, ...], value: Any, at: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _unfit(at, value, "a list")
    if hints[-1] is Ellipsis:
        return tuple(decoded(hints[0], inner, at) for inner in value)
    if len(hints) != len(value):
        raise _unfit(at, value, f"a list of {len(hints)}")
    return tuple(decoded(hint, inner, at) for hint, inner in zip(hints, value, strict=True))


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise _unfit(at, value, "a text")
    return value


def _integer(value: Any, at: str) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise _unfit(at, value, "an integer of 64 bits")
    return value


def _boolean(value: Any, at: str) -> bool:
    if type(value) is not bool:
        raise _unfit(at, value, "true or false")
    return value


def _number(value: Any, at: str) -> float:
    if value is None:
        return float("nan")
    if type(value) is float:
        return value
    return float(_integer(value, at))


def _path(value: Any, at: str) -> Path:
    return Path(_text(value, at))


_PLAIN: dict[Any, Callable[[Any, str], Any]] = {
    str: _text,
    int: _integer,
    bool: _boolean,
    float: _number,
    Path: _path,
}


@cache
def _hints(hint: Any) -> dict[str, Any]:
    return get_type_hints(hint)


def _unfit(at: str, value: Any, expected: str) -> Unfit:
    return Unfit(f"'{at}' is {_shown(value)}, not {expected}")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "..."
