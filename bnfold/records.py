"""Data classes that are cheap to define.

`dataclasses.dataclass` writes the methods of each class as Python text and compiles it: half a millisecond
for a frozen class, of which a plain fold defines over a hundred. The decorator here has the same name, the
same meaning and the same parameters, as far as bnfold uses them. It leaves the fields to the standard
library, so that `fields`, `replace`, `asdict` and pattern matching work as ever, and gives all classes the
same methods, which look the fields up.

Rule: what a class defines itself stays, as it does in the standard library.
"""

from __future__ import annotations

import dataclasses
import inspect
import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, kw_only=False, slots=False):
        """The class with its fields, as `dataclasses.dataclass` would make it."""

        def made(cls):
            if slots:  # the standard library makes a new class then, and the methods are faster for it
                return dataclasses.dataclass(frozen=frozen, eq=eq, repr=repr, kw_only=kw_only, slots=True)(
                    cls
                )
            return _defined(cls, frozen=frozen, eq=eq, repr=repr, kw_only=kw_only)

        return made if cls is None else made(cls)


__all__ = ["dataclass"]

T = TypeVar("T", bound=type)
_put = object.__setattr__


class _Shape(NamedTuple):
    """What the methods ask of a class: its fields by what happens to them.

    names       of what a call may give; `positional` are those that need no keyword, in their order
    defaults    of those that have one; `factories` make the defaults of the others
    compared    what equality and the hash look at; `shown` what the text shows
    checked     whether the class has a `__post_init__`
    """

    names: frozenset[str]
    positional: tuple[str, ...]
    defaults: dict[str, Any]
    factories: tuple[tuple[str, Callable[[], Any]], ...]
    compared: tuple[str, ...]
    shown: tuple[str, ...]
    checked: bool


def _defined(cls: T, *, frozen: bool, eq: bool, repr: bool, kw_only: bool) -> T:
    own = vars(cls).copy()
    dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    cls.__record__ = _shape(cls)  # type: ignore[attr-defined]
    methods: dict[str, Any] = {"__init__": _init, "__signature__": _Signature()}
    if repr:
        methods["__repr__"] = _repr
    if eq:
        methods["__eq__"] = _eq
        # As Python has it: what is equal by its values, and may change them, has no hash.
        if own.get("__hash__") is None:
            cls.__hash__ = _hash if frozen else None  # type: ignore[assignment]
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _no_change, _no_removal
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _shape(cls: type) -> _Shape:
    fields = dataclasses.fields(cls)
    given = [f for f in fields if f.init]
    missing = dataclasses.MISSING
    return _Shape(
        names=frozenset(f.name for f in given),
        positional=tuple(f.name for f in given if not f.kw_only),
        defaults={f.name: f.default for f in given if f.default is not missing},
        factories=tuple((f.name, f.default_factory) for f in given if f.default_factory is not missing),
        compared=tuple(f.name for f in fields if f.compare),
        shown=tuple(f.name for f in fields if f.repr),
        checked=hasattr(cls, "__post_init__"),
    )


def _init(self: Any, /, *given: Any, **named: Any) -> None:
    shape: _Shape = self.__record__
    values = dict(zip(shape.positional, given, strict=False))
    if len(given) > len(values) or not named.keys() <= shape.names or not named.keys().isdisjoint(values):
        _refuse(self, given, named)
    if len(given) + len(named) < len(shape.names):
        values = shape.defaults | values | named
        for name, factory in shape.factories:
            if name not in values:
                values[name] = factory()
        if len(values) < len(shape.names):
            _refuse(self, given, named)
    else:
        values |= named
    for name, value in values.items():
        _put(self, name, value)
    if shape.checked:
        self.__post_init__()


def _refuse(self: Any, given: tuple[Any, ...], named: dict[str, Any]) -> NoReturn:
    """The TypeError that a call with these arguments ends in, in Python's own words."""
    inspect.signature(type(self)).bind(*given, **named)
    raise AssertionError(f"{type(self).__qualname__} refuses arguments that fit its signature")


def _eq(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _compared(self) == _compared(other)


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__record__.compared)


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record__.shown)
    return f"{type(self).__qualname__}({values})"


def _no_change(self: Any, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_removal(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


class _Signature:
    """The signature of a class, made when `help` or `inspect` asks for it."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        by_place: list[inspect.Parameter] = []
        by_name: list[inspect.Parameter] = []
        for f in filter(lambda f: f.init, dataclasses.fields(owner)):
            default = f.default
            if f.default_factory is not dataclasses.MISSING:
                default = f.default_factory
            parameter = inspect.Parameter(
                f.name,
                inspect.Parameter.KEYWORD_ONLY if f.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
                annotation=f.type,
            )
            (by_name if f.kw_only else by_place).append(parameter)
        return inspect.Signature(by_place + by_name, return_annotation=None)
