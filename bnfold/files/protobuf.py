"""Protobuf on the wire: walk and emit. Knows no schema.

ONNX files and caffemodels both stand on it. A message is a run of fields; a field is a key (number and wire
type) and a payload:

    0  varint           a number, 7 bits a byte
    1  fixed 64-bit     8 bytes
    2  length-delimited varint length, then so many bytes: text, bytes, a message, a packed list
    3/4 group           start and end markers, deprecated; skipped as one field
    5  fixed 32-bit     4 bytes

`fields` never copies: it yields offsets into the buffer that it was given, checked against that buffer's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import Malformed

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
_FIXED = {FIXED64: 8, FIXED32: 4}
_SHORT = [bytes([value]) for value in range(0x80)]  # the varints of one byte, which are most of all
Buffer = memoryview | bytes


class Field(NamedTuple):
    """One field. `start:end` is its payload; for a varint `value` is the number and `start:end` its encoding.

    `key` is where the field itself begins, so that `key:end` copies it whole.
    """

    number: int
    type: int
    key: int
    start: int
    end: int
    value: int


def varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """(value, next offset) of the varint at `at`; at most ten bytes, as 64 bits need."""
    if at < end and (byte := buffer[at]) < 0x80:
        return byte, at + 1
    result = shift = 0
    for position in range(at, min(end, at + 10)):
        byte = buffer[position]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position + 1
        shift += 7
    raise Malformed(
        f"the number at byte {at:,} does not end", expected="a protobuf varint of at most ten bytes"
    )


def fields(buffer: Buffer, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the message in buffer[start:end], in file order. Raises Malformed with the byte
    offset."""
    at, end = start, len(buffer) if end is None else end
    while at < end:
        field = _field(buffer, at, end)
        yield field
        at = field.end


def _field(buffer: Buffer, at: int, end: int) -> Field:
    key, start = varint(buffer, at, end)
    number, kind = key >> 3, key & 7
    if not 0 < number < 1 << 29:
        raise Malformed(f"field number {number} at byte {at:,}", expected="a protobuf field number")
    if kind == VARINT:
        value, stop = varint(buffer, start, end)
        return Field(number, kind, at, start, stop, value)
    if kind == GROUP:
        return Field(number, kind, at, start, _skip_group(buffer, number, start, end), 0)
    if kind == BYTES:
        size, start = varint(buffer, start, end)
    elif kind in _FIXED:
        size = _FIXED[kind]
    else:
        raise Malformed(f"wire type {kind} at byte {at:,}", expected="a protobuf wire type (0, 1, 2, 3 or 5)")
    if size > end - start:
        raise Malformed(
            f"the field at byte {at:,} claims {size:,} bytes, {end - start:,} are left",
            expected="a whole file: it is cut off or damaged",
        )
    return Field(number, kind, at, start, start + size, 0)


def _skip_group(buffer: Buffer, number: int, at: int, end: int) -> int:
    """The offset behind a group. Groups nest, so open ones are kept on a list and not on the call stack."""
    open_groups = [number]
    while open_groups and at < end:
        key, start = varint(buffer, at, end)
        if key & 7 == GROUP:
            open_groups.append(key >> 3)
            at = start
        elif key & 7 == END_GROUP:
            if open_groups.pop() != key >> 3:
                raise Malformed(f"the group end at byte {at:,} closes another group")
            at = start
        else:
            at = _field(buffer, at, end).end
    if open_groups:
        raise Malformed(f"group {open_groups[-1]} does not end")
    return at


def encode_varint(value: int) -> bytes:
    """Protobuf's variable-length form of a non-negative number below 2**64."""
    if value < 0x80:
        return _SHORT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, kind: int) -> bytes:
    """The key that opens a field."""
    return encode_varint(number << 3 | kind)


def header(number: int, size: int) -> bytes:
    """Key and length of a length-delimited field whose payload of `size` bytes follows."""
    if number < 16 and size < 0x80:
        return _SHORT[number << 3 | BYTES] + _SHORT[size]
    return key(number, BYTES) + encode_varint(size)


def number_field(number: int, value: int) -> bytes:
    """A whole varint field; negative values take ten bytes, as int32 and int64 do."""
    return key(number, VARINT) + encode_varint(value & 0xFFFFFFFFFFFFFFFF)


def bytes_field(number: int, payload: bytes) -> bytes:
    """A whole length-delimited field."""
    return header(number, len(payload)) + payload
