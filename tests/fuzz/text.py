"""Mutation of texts: prototxts by tokens and blocks, cfgs by lines and sections.

Both work on a list of pieces (a token, a block in braces; a line, a section) that are dropped, doubled,
swapped, replaced and inserted, so that most of what comes out still parses and reaches the layers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "4",
    "7",
    "8",
    "16",
    "32",
    "0.5",
    "-0.5",
    "1e-45",
    "1e38",
    "1e39",
    "-1e39",
    "inf",
    "nan",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967295",
    "9223372036854775807",
    "18446744073709551616",
    "100000",
    "65536",
    "1000000000",
    "0x10",
    "010",
    "1f",
)
_TOKEN = re.compile(rb'"[^"\n]*"|\'[^\'\n]*\'|#[^\n]*|[A-Za-z_][\w./-]*|[-+]?[\d.][\w.+-]*|\s+|.', re.S)
MOST = 1 << 15


def prototxt(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """One to four changes of a text in protobuf's text format."""
    return changed_prototxt(data, chance, words, chance.choice((1, 1, 2, 4)))


def changed_prototxt(data: bytes, chance: random.Random, words: Sequence[bytes], times: int) -> bytes:
    """So many changes."""
    tokens = _TOKEN.findall(data[:MOST])
    for _ in range(times):
        if not tokens:
            return b"layer { }"
        chance.choice((_token, _token, _token, _piece, _block, _block, _field))(tokens, chance, words)
    return b"".join(tokens)[:MOST]


def _token(tokens: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """One token becomes another: a number a number, a name a name of the text or of the format."""
    places = [i for i, token in enumerate(tokens) if not token.isspace()]
    if not places:
        return
    i = chance.choice(places)
    old = tokens[i]
    if old[:1].isdigit() or old[:1] in b"+-." or old in (b"true", b"false"):
        tokens[i] = chance.choice((*NUMBERS, "true", "false")).encode()
    elif old[:1] in b"\"'":
        same = [token for token in tokens if token[:1] in b"\"'"]
        tokens[i] = chance.choice(
            (chance.choice(same), b'"' + chance.choice(words) + b'"', b'""', b'"' + chance.choice(ODD) + b'"')
        )
    else:
        tokens[i] = chance.choice((chance.choice(words), chance.choice(tokens)))


def _piece(tokens: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """A run of tokens is dropped, or comes again elsewhere."""
    _run(tokens, chance, (1, 2, 4, 8))


def _run(items: list[bytes], chance: random.Random, lengths: Sequence[int]) -> None:
    i = chance.randrange(len(items))
    run = items[i : i + chance.choice(lengths)]
    if chance.random() < 0.5:
        del items[i : i + len(run)]
    else:
        at = chance.randint(0, len(items))
        items[at:at] = run


def _block(tokens: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """A block with its name is dropped, doubled, or put somewhere else (into another, too)."""
    opens = [i for i, token in enumerate(tokens) if token == b"{"]
    if not opens:
        return
    i = chance.choice(opens)
    end = _closing(tokens, i)
    start = max((j for j in range(i) if tokens[j][:1].isalpha()), default=i)
    block = tokens[start : end + 1]
    match chance.randrange(4):
        case 0:
            del tokens[start : end + 1]
        case 1:
            tokens[start:start] = (
                [*block, b" "] * chance.choice((1, 1, 2, 20)) if len(tokens) < 4000 else block
            )
        case 2:
            at = chance.choice(opens) + 1
            tokens[at:at] = [b" ", *block, b" "]
        case _:
            tokens += [b" ", *block]


def _closing(tokens: list[bytes], i: int) -> int:
    depth = 0
    for j in range(i, len(tokens)):
        depth += (tokens[j] == b"{") - (tokens[j] == b"}")
        if depth == 0:
            return j
    return len(tokens) - 1


def _field(tokens: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """A field of the format, in some block."""
    opens = [i for i, token in enumerate(tokens) if token == b"{"]
    at = chance.choice(opens) + 1 if opens else 0
    word = chance.choice(words)
    value = chance.choice((chance.choice(NUMBERS).encode(), b'"' + word + b'"', word, b"{ }", b"{ dim: 2 }"))
    tokens[at:at] = [b" ", chance.choice(words), b" " if value[:1] == b"{" else b": ", value, b" "]


ODD = (
    b"\\x00",
    b"\\n",
    b"..",
    b"/",
    b"a/b",
    "ü".encode(),
    b"\\377",
    b"\\",
    b"\xff",
    b"a" * 300,
    b"data",
    b"%s",
    b"{}",
    b"\x1b[31m",
)


def cfg(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """One to four changes of a cfg. Words that begin with a bracket are sections, the others options."""
    return changed_cfg(data, chance, words, chance.choice((1, 1, 2, 4)))


def changed_cfg(data: bytes, chance: random.Random, words: Sequence[bytes], times: int) -> bytes:
    """So many changes."""
    lines = data[:MOST].split(b"\n")
    for _ in range(times):
        chance.choice((_line_value, _line_value, _line_value, _lines, _section, _section, _option, _option))(
            lines, chance, words
        )
        if not lines:
            return b"[net]\n"
    return b"\n".join(lines)[:MOST]


def _line_value(lines: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """Another value of an option: a number, a list, a word, the value of another line."""
    places = [i for i, line in enumerate(lines) if b"=" in line]
    if not places:
        return
    i = chance.choice(places)
    name, _, old = lines[i].partition(b"=")
    other = lines[chance.choice(places)].partition(b"=")[2]
    items = old.split(b",")
    items[chance.randrange(len(items))] = chance.choice(NUMBERS).encode()
    number = chance.choice(NUMBERS).encode()
    lines[i] = (
        name
        + b"="
        + chance.choice(
            (number, b",".join(items), other, old + b"," + other, chance.choice(words), chance.choice(ODD))
        )
    )


def _lines(lines: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """A run of lines is dropped, or comes again elsewhere."""
    _run(lines, chance, (1, 1, 3, 8))


def _section(lines: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """A section is dropped, doubled, moved to the end, or gets another name."""
    heads = [i for i, line in enumerate(lines) if line.startswith(b"[")]
    sections = [word for word in words if word.startswith(b"[")]
    if not heads:
        lines.insert(0, chance.choice(sections))
        return
    i = chance.choice(heads)
    end = next((j for j in heads if j > i), len(lines))
    match chance.randrange(5):
        case 0:
            del lines[i:end]
        case 1:
            lines[end:end] = lines[i:end] * chance.choice((1, 1, 2, 12)) if len(lines) < 2000 else []
        case 2:
            lines += lines[i:end]
        case 3:
            lines[i] = chance.choice(sections)
        case _:
            lines.insert(end, chance.choice(sections))


def _option(lines: list[bytes], chance: random.Random, words: Sequence[bytes]) -> None:
    """An option of the format, in some section."""
    options = [word for word in words if not word.startswith(b"[")]
    value = chance.choice((*NUMBERS, "1,2", "0,1,2", "-1,-3", "1,1,2,2")).encode()
    lines.insert(chance.randint(1, len(lines)), chance.choice(options) + b"=" + value)
