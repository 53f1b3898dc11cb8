"""Mutation of protobuf messages on the wire, with no schema: fields are dropped, doubled, moved, retagged,
resized, their numbers changed.

The bytes become a tree (a payload that reads as a message is taken for one), the tree is changed, and written
again with lengths that fit (mostly), so that a change deep inside still reaches the reader that it is meant
for.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

from bnfold.errors import BnfoldError
from bnfold.files import protobuf

DEEPEST, MOST = 12, 4000
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    10,
    16,
    17,
    64,
    127,
    128,
    255,
    256,
    1000,
    4096,
    65535,
    65536,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 62),
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 2,
    (1 << 64) - 1,
)
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"))


@dataclass
class Field:
    """One field: a number, a payload, or the fields of a message. `claim` is a length that does not fit, if
    one is to be written."""

    number: int
    kind: int
    value: int = 0
    payload: bytes = b""
    inner: list[Field] | None = None
    claim: int | None = None

    def encoded(self) -> bytes:
        """The field as bytes."""
        key = protobuf.key(self.number, self.kind)
        if self.kind == protobuf.VARINT:
            return key + protobuf.encode_varint(self.value)
        payload = encoded(self.inner) if self.inner is not None else self.payload
        if self.kind != protobuf.BYTES:
            return key + payload
        return key + protobuf.encode_varint(len(payload) if self.claim is None else self.claim) + payload


@dataclass
class Words:
    """What a mutation may put in: texts of the format, and field numbers that it knows."""

    texts: tuple[bytes, ...] = ()
    numbers: tuple[int, ...] = field(default_factory=lambda: tuple(range(1, 26)))


def decoded(data: bytes, depth: int = 0) -> list[Field]:
    """The fields of a message. Raises BnfoldError where it is none."""
    found = []
    for part in protobuf.fields(data):
        payload = data[part.start : part.end]
        one = Field(part.number, part.type, part.value, payload)
        if part.type == protobuf.BYTES and 2 <= len(payload) < 1 << 16 and depth < DEEPEST:
            try:
                one.inner = decoded(payload, depth + 1)
            except BnfoldError:
                one.inner = None
        found.append(one)
        if len(found) > MOST:
            break
    return found


def encoded(fields: list[Field]) -> bytes:
    """The bytes of a message."""
    return b"".join(one.encoded() for one in fields)


def mutated(data: bytes, chance: random.Random, words: Words) -> bytes:
    """One to four changes of a message; other bytes come back as they are."""
    try:
        tree = decoded(data)
    except BnfoldError:
        return data
    for _ in range(chance.choice((1, 1, 2, 4))):
        lists = _lists(tree)
        home = chance.choice(lists)
        chance.choice(MOVES)(home, chance, words, lists)
    return encoded(tree)


def _lists(tree: list[Field]) -> list[list[Field]]:
    """Every message of the tree, as its list of fields."""
    found, waiting = [], [tree]
    while waiting:
        here = waiting.pop()
        found.append(here)
        waiting += [one.inner for one in here if one.inner is not None]
    return found


def _any(home: list[Field], chance: random.Random) -> int | None:
    return chance.randrange(len(home)) if home else None


def _drop(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    if (i := _any(home, chance)) is not None:
        del home[i]


def _double(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    if (i := _any(home, chance)) is not None and len(home) < MOST:
        home[i:i] = [_copy(home[i]) for _ in range(chance.choice((1, 1, 2, 9)))]


def _swap(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    if home:
        i, j = chance.randrange(len(home)), chance.randrange(len(home))
        home[i], home[j] = home[j], home[i]


def _graft(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    """A field of another message comes here: names, shapes and tensors meet where they do not belong."""
    other = chance.choice(lists)
    if other:
        home.insert(chance.randint(0, len(home)), _copy(chance.choice(other)))


def _replace(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    """A field takes the content of another with the same number, from anywhere: the way to rename and to
    rewire."""
    if (i := _any(home, chance)) is None:
        return
    same = [
        one for there in lists for one in there if one.number == home[i].number and one.kind == home[i].kind
    ]
    home[i] = _copy(chance.choice(same))


def _retag(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    if (i := _any(home, chance)) is not None:
        home[i].number = chance.choice(words.numbers)


def _rekind(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    if (i := _any(home, chance)) is not None:
        home[i].kind = chance.randrange(8)


def _number(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    numbers = [one for one in home if one.kind == protobuf.VARINT]
    if numbers:
        one = chance.choice(numbers)
        near = (one.value + 1, max(0, one.value - 1), one.value ^ 1 << chance.randrange(64))
        one.value = chance.choice((chance.choice(NUMBERS), chance.randrange(40), *near)) & (1 << 64) - 1


def _insert(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    number = chance.choice(words.numbers)
    if chance.random() < 0.5 or not words.texts:
        one = Field(number, protobuf.VARINT, chance.choice(NUMBERS))
    else:
        one = Field(number, protobuf.BYTES, payload=chance.choice(words.texts))
    home.insert(chance.randint(0, len(home)), one)


def _rewrite(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    """Another payload: a word of the format, odd numbers, other sizes, other bytes."""
    payloads = [one for one in home if one.kind in (protobuf.BYTES, protobuf.FIXED32, protobuf.FIXED64)]
    if not payloads:
        return
    one = chance.choice(payloads)
    one.payload, one.inner = _payload(one, chance, words), None


def _payload(one: Field, chance: random.Random, words: Words) -> bytes:
    old = one.payload
    match chance.randrange(6):
        case 0 if words.texts:
            return chance.choice(words.texts)
        case 1:
            return b"".join(
                protobuf.encode_varint(chance.choice(NUMBERS)) for _ in range(chance.randint(0, 6))
            )
        case 2:
            return struct.pack(
                f"<{max(1, len(old) // 4)}f", *(chance.choice(REALS) for _ in range(max(1, len(old) // 4)))
            )
        case 3:
            return old[: chance.randint(0, len(old))]
        case 4:
            return old + old[: chance.randint(0, len(old))]
        case _:
            spoiled = bytearray(old or b"\0")
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
            return bytes(spoiled)


def _nest(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    """A message within a field of its own kind, again and again."""
    if (i := _any(home, chance)) is not None and home[i].kind == protobuf.BYTES:
        payload = home[i].encoded()
        for _ in range(chance.choice((1, 3, 30, 200))):
            if len(payload) > 1 << 14:
                break
            payload = protobuf.bytes_field(home[i].number, payload)
        home[i].payload, home[i].inner = payload, None


def _claim(home: list[Field], chance: random.Random, words: Words, lists: list[list[Field]]) -> None:
    """A length that does not fit what follows."""
    long = [one for one in home if one.kind == protobuf.BYTES]
    if long and chance.random() < 0.3:
        chance.choice(long).claim = chance.choice((*NUMBERS, len(chance.choice(long).payload) + 1))


MOVES = (
    _drop,
    _double,
    _swap,
    _graft,
    _graft,
    _replace,
    _replace,
    _replace,
    _retag,
    _rekind,
    _number,
    _number,
    _number,
    _insert,
    _rewrite,
    _rewrite,
    _nest,
    _claim,
)


def _copy(one: Field) -> Field:
    return Field(
        one.number,
        one.kind,
        one.value,
        one.payload,
        None if one.inner is None else [_copy(x) for x in one.inner],
        one.claim,
    )
