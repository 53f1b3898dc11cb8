"""Data classes that are cheap to define: everything that bnfold uses of `dataclasses.dataclass` is the same."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import KW_ONLY, field
from typing import Any, ClassVar

import pytest

from bnfold.records import dataclass

Decorator = Callable[..., Any]


@dataclass(frozen=True)
class Point:
    """At module level, so that it can be pickled."""

    x: int
    y: int = 2
    names: list[str] = field(default_factory=list, compare=False)


def family(decorator: Decorator) -> dict[str, type]:
    """Classes of every form that the package has, made by one decorator."""

    @decorator(frozen=True)
    class Plain:
        """A class."""

        a: int
        b: tuple[int, ...] = (1, 2)
        c: dict[str, int] = field(default_factory=dict, repr=False)
        kind: ClassVar[str] = "plain"

    @decorator(frozen=True)
    class Longer(Plain):
        """One that has more fields than its base."""

        d: str = "d"

    @decorator
    class Open:
        """One that may change."""

        a: int = 0
        later: int = field(init=False)

    @decorator(frozen=True, kw_only=True)
    class Named:
        """Keywords alone, and a check."""

        a: int
        b: int = 1

        def __post_init__(self) -> None:
            object.__setattr__(self, "b", self.b + 1)

    @decorator(frozen=True)
    class Mixed:
        """Places first, keywords then."""

        a: int
        _: KW_ONLY
        b: int
        c: int = 3

    @decorator(frozen=True, eq=False, repr=False)
    class Own:
        """Its identity is its own."""

        a: int

    @decorator(frozen=True)
    class Words:  # noqa: PLW1641  # whether it has a hash is what is tested
        """It says itself how it looks and what is equal."""

        a: int

        def __repr__(self) -> str:
            return "words"

        def __eq__(self, other: object) -> bool:
            return True

    return {cls.__name__: cls for cls in (Plain, Longer, Open, Named, Mixed, Own, Words)}


STANDARD, OURS = family(dataclasses.dataclass), family(dataclass)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Plain", (1,), {}),
    ("Plain", (1, (2,), {"k": 3}), {}),
    ("Plain", (), {"b": (), "a": 1}),
    ("Plain", (), {}),
    ("Plain", (1, 2, 3, 4), {}),
    ("Plain", (1,), {"a": 1}),
    ("Plain", (1,), {"unknown": 1}),
    ("Plain", (), {"unknown": 1}),
    ("Plain", (1,), {"kind": "other"}),
    ("Longer", (1,), {"d": "e"}),
    ("Longer", (1, 2, 3, 4), {}),
    ("Open", (), {}),
    ("Open", (), {"later": 1}),
    ("Named", (), {"a": 1}),
    ("Named", (1,), {}),
    ("Named", (), {"b": 1}),
    ("Mixed", (1,), {"b": 2}),
    ("Mixed", (1, 2), {}),
    ("Mixed", (1,), {}),
    ("Own", (1,), {}),
    ("Words", (1,), {}),
]


def outcome(classes: dict[str, type], name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What a call gives: the values and the text, or the kind of error."""
    try:
        made = classes[name](*given, **named)
    except TypeError:
        return TypeError
    if name in ("Own", "Open"):  # by identity, and with a field that has no value yet
        return vars(made)
    return vars(made), repr(made), made == copy.copy(made)


@pytest.mark.parametrize(("name", "given", "named"), CALLS)
def test_a_call_means_what_it_means_in_the_standard_library(
    name: str, given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    assert outcome(OURS, name, given, named) == outcome(STANDARD, name, given, named)


@pytest.mark.parametrize("name", STANDARD)
def test_fields_and_signature_are_those_of_the_standard_library(name: str) -> None:
    ours, standard = OURS[name], STANDARD[name]
    assert [f.name for f in dataclasses.fields(ours)] == [f.name for f in dataclasses.fields(standard)]
    mine, theirs = inspect.signature(ours).parameters, inspect.signature(standard).parameters
    assert list(mine) == list(theirs)
    for one, other in zip(mine.values(), theirs.values(), strict=True):
        assert (one.kind, one.annotation) == (other.kind, other.annotation)
        assert (one.default is one.empty) == (other.default is other.empty)
    assert getattr(ours, "__match_args__", ()) == getattr(standard, "__match_args__", ())
    assert (ours.__hash__ is None) == (standard.__hash__ is None)


def test_what_is_frozen_does_not_change() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert point == Point(1)


def test_what_is_open_changes_and_has_no_hash() -> None:
    made = OURS["Open"]()
    made.a = made.later = 5
    assert repr(made).endswith("Open(a=5, later=5)")
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


def test_equality_and_hash_look_at_compared_fields_alone() -> None:
    assert Point(1, 2, ["a"]) == Point(1, 2, ["b"])
    assert hash(Point(1, 2, ["a"])) == hash(Point(1, 2, ["b"])) == hash((1, 2))
    assert Point(1) != Point(2)
    assert Point(1) != (1, 2)
    assert OURS["Plain"](1) != OURS["Longer"](1)
    assert OURS["Own"](1) != OURS["Own"](1)


def test_every_instance_gets_a_default_of_its_own() -> None:
    Point(1).names.append("a")
    assert Point(1).names == []


def test_tools_of_the_standard_library_work() -> None:
    point = Point(1, 3, ["a"])
    assert dataclasses.replace(point, x=4) == Point(4, 3)
    assert dataclasses.asdict(point) == {"x": 1, "y": 3, "names": ["a"]}
    assert pickle.loads(pickle.dumps(point)) == point
    assert copy.deepcopy(point).names is not point.names
    match point:
        case Point(x, y):
            assert (x, y) == (1, 3)


def test_a_text_that_contains_itself_ends() -> None:
    point = Point(1)
    point.names.append(point)  # type: ignore[arg-type]
    assert repr(point) == "Point(x=1, y=2, names=[...])"


def test_slots_are_made_by_the_standard_library() -> None:
    @dataclass(frozen=True, slots=True)
    class Narrow:
        a: int

    assert not hasattr(Narrow(1), "__dict__")
    assert Narrow(1) == Narrow(1)


def test_a_wrong_call_says_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Point(1, z=2)  # type: ignore[call-arg]
