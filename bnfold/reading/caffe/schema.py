"""The tree of a prototxt, typed by the schema.

    Node     a message whose fields are numbers, strings, enum names and nodes; what the schema does not know
             stays in `unknown` (fields) and `foreign` (words of an enum)
    typed    Message -> Node
    strange  what the schema does not know, of a Node and of the messages in it

The schema is a table (table.py, made from proto/caffe.proto). Floats are rounded to float32 here, as Caffe
stores them.
"""

from __future__ import annotations

import ctypes
import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...errors import Malformed
from ...ir.provenance import Source
from .prototxt import Entry, Message, Scalar, Text
from .table import ENUMS, MESSAGES, Row

INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)")
LIMITS = {
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
BOOLS = {
    "true": True,
    "True": True,
    "t": True,
    "1": True,
    "false": False,
    "False": False,
    "f": False,
    "0": False,
}
SPECIAL = {"inf": "inf", "infinity": "inf", "inff": "inf", "nan": "nan", "nanf": "nan"}


class Given(NamedTuple):
    """One value of a field, and the offset where it stands."""

    value: Any
    at: int


class Node:
    """A typed message. `fields` holds what was given, in order; absent fields have the schema's defaults.
    `unknown` are the entries that the schema has no field for, `foreign` those whose word the field's enum
    does not have."""

    __slots__ = ("at", "fields", "foreign", "text", "type", "unknown")

    def __init__(self, type_: str, text: Text, at: int) -> None:
        self.type = type_
        self.text = text
        self.at = at
        self.fields: dict[str, list[Given]] = {}
        self.unknown: list[Entry] = []
        self.foreign: list[Entry] = []

    def has(self, name: str) -> bool:
        """Was the field given?"""
        return name in self.fields

    def get(self, name: str) -> Any:
        """The value of a single field; the schema's default (None without one) where it was not given."""
        given = self.fields.get(name)
        return given[0].value if given else MESSAGES[self.type][name][3]

    def all(self, name: str) -> list[Any]:
        """Every value of a repeated field."""
        return [given.value for given in self.fields.get(name, ())]

    def put(self, name: str, value: Any, at: int | None = None) -> None:
        """Append a value to a field."""
        self.fields.setdefault(name, []).append(Given(value, self.at if at is None else at))

    def place(self, name: str = "") -> Source:
        """Where a field stands, or the message itself."""
        given = self.fields.get(name)
        return self.text.place(given[0].at if given else self.at)

    def error(self, name: str, found: str, expected: str = "", way_out: str = "") -> Malformed:
        """A Malformed error at a field."""
        return Malformed(found, where=self.place(name), expected=expected, way_out=way_out)


def typed(message: Message, type_: str, text: Text) -> Node:
    """The message as a Node. Raises Malformed with file:line:column."""
    node = Node(type_, text, message.at)
    rows = fields_of(type_)
    for entry in message.entries:
        row = rows.get(entry.name)
        if row is None:
            node.unknown.append(entry)
            continue
        if entry.name in node.fields and row[1] != "repeated":
            raise text.error(
                entry.at,
                f"'{entry.name}' is given twice",
                "one value, since the field is not repeated (the first is in line "
                f"{text.position(node.fields[entry.name][0].at)[0]})",
            )
        if _foreign(entry, row[2]):
            node.foreign.append(entry)
        node.put(entry.name, _value(entry, row[2], text), entry.at)
    for name, row in rows.items():
        if row[1] == "required" and name not in node.fields:
            raise text.error(message.at, f"'{name}' is missing", f"it in every {type_}")
    return node


def fields_of(type_: str) -> Mapping[str, Row]:
    """The fields that a message may have. A layer of the second generation may have the parameters of the
    current one too: forks gave them to both."""
    return V1_FIELDS if type_ == "V1LayerParameter" else MESSAGES[type_]


V1_FIELDS: Mapping[str, Row] = {
    **{name: row for name, row in MESSAGES["LayerParameter"].items() if row[2] in MESSAGES},
    **MESSAGES["V1LayerParameter"],
}


def strange(node: Node, path: str = "") -> Iterator[tuple[str, Node, Entry]]:
    """(dotted name, message, entry) of everything that the schema does not know; a message without fields of
    its own may have any."""
    for entry in [*(node.unknown if MESSAGES[node.type] else ()), *node.foreign]:
        yield f"{path}{entry.name}", node, entry
    for name, given in node.fields.items():
        for value in (one.value for one in given):
            if isinstance(value, Node):
                yield from strange(value, f"{path}{name}.")


def _foreign(entry: Entry, type_: str) -> bool:
    """Is the value a word that an enum does not have? A fork may have it, but no fork has other phases."""
    value = entry.value
    if type_ not in ENUMS or type_ == "Phase" or not isinstance(value, Scalar) or value.kind != "name":
        return False
    return value.text not in ENUMS[type_] and not type_.endswith(".Engine")


def _value(entry: Entry, type_: str, text: Text) -> Any:
    value = entry.value
    if type_ in MESSAGES:
        if not isinstance(value, Message):
            raise text.error(entry.at, f"'{entry.name}' is {_words(value)}", f"a message {{ ... }} ({type_})")
        return typed(value, type_, text)
    if isinstance(value, Message):
        raise text.error(entry.at, f"'{entry.name}' is a message", f"a value of type {type_}")
    if _foreign(entry, type_):
        return value.text
    try:
        return enum(value, type_) if type_ in ENUMS else scalar(value, type_)
    except ValueError as error:
        raise text.error(entry.at, f"'{entry.name}' is {_words(value)}", str(error)) from error


def scalar(value: Scalar, type_: str) -> Any:
    """A value of one of protobuf's scalar types. ValueError says what was expected."""
    kind, word = value
    if type_ in ("string", "bytes"):
        if kind != "string":
            raise ValueError("a quoted string")
        return word
    if type_ == "bool":
        if kind == "string" or word not in BOOLS:
            raise ValueError("true or false")
        return BOOLS[word]
    if type_ in LIMITS:
        return _integer(kind, word, type_)
    return real(kind, word)


def integer(word: str) -> int:
    """A whole number as C writes it: 0x for hexadecimal, a leading 0 for octal. `word` matches INTEGER."""
    digits = word.lstrip("-")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    return int(digits, base) * (-1 if word[0] == "-" else 1)


def _integer(kind: str, word: str, type_: str) -> int:
    low, high = LIMITS[type_]
    if kind != "number" or len(word) > 32 or not INTEGER.fullmatch(word):
        raise ValueError("a whole number" if low else "a whole number, not negative")
    number = integer(word)
    if not low <= number <= high:
        raise ValueError(f"a whole number from {low} to {high} ({type_})")
    return number


def real(kind: str, word: str) -> float:
    """A floating-point number, rounded to float32. ValueError says what was expected."""
    sign, digits = ("-", word[1:]) if word.startswith("-") else ("", word)
    if kind != "string":
        if digits.lower() in SPECIAL:
            return float(sign + SPECIAL[digits.lower()])
        if digits[:2].lower() == "0x" and len(digits) < 32:
            return ctypes.c_float(float(sign + str(int(digits, 16)))).value
        if digits[:1].isdigit() or digits[:1] == ".":
            return ctypes.c_float(float(sign + digits.rstrip("fF"))).value
    raise ValueError("a number")


def enum(value: Scalar, type_: str) -> str:
    """The name of an enum's value, given by name or by number. ValueError says what was expected."""
    names = ENUMS[type_]
    if value.kind == "name" and (
        value.text in names or type_.endswith(".Engine")
    ):  # every fork has engines of its own; none matters here
        return value.text
    if value.kind == "number" and INTEGER.fullmatch(value.text) and len(value.text) < 12:
        number = integer(value.text)
        if found := next((name for name, n in names.items() if n == number), None):
            return found
    quoted = " (without quotes)" if value.kind == "string" else ""
    raise ValueError(f"one of {words_like(value.text, type_)}{quoted}")


def words_like(word: str, type_: str) -> str:
    """The words of an enum that are near to one, or all."""
    names = ENUMS[type_]
    return ", ".join(difflib.get_close_matches(word, names, 3) or list(names)[:12])


def _words(value: Scalar | Message) -> str:
    if isinstance(value, Message):
        return "a message"
    return repr(value.text) if value.kind == "string" else value.text[:40]
