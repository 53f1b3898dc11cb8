"""The ONNX file on the wire: a skeleton small enough for protobuf, and windows for the weights.

A model file is mapped, never read. `skeleton` walks the map and copies everything but large payloads (raw_data, and the packed
float and double fields, which are the same bytes); in a payload's place stands an external-data entry whose location is a token
that nobody can guess, with offset and length in the map. protobuf and onnx_ir read the skeleton; reading/onnx.py then puts windows
where the tokens are, and treats the model's own external data the same way.

Only messages large enough to hold a large payload are opened, so a graph of many small nodes costs one step a node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import onnx_wire, wire
from ..errors import Malformed
from ..onnx_wire import DATA_LOCATION, DATA_TYPE, EXTERNAL_DATA, INLINE, MAX_DEPTH, PATH_TO_TENSORS, RAW_DATA

_PAYLOAD_TYPE = {onnx_wire.FLOAT_DATA: onnx_wire.FLOAT, onnx_wire.DOUBLE_DATA: onnx_wire.DOUBLE}


@dataclass(frozen=True)
class Skeleton:
    """`data` parses as a ModelProto; tensors whose location is `token` have their bytes at offset and length of the original."""

    data: bytes
    token: str


def skeleton(buffer: memoryview, token: str) -> Skeleton:
    """The model without its large payloads. Raises Malformed with the byte offset where the wire does not hold together."""
    chunks = b"".join(_copied(buffer, 0, len(buffer), "model", token, 0))
    return Skeleton(chunks, token)


def _copied(buffer: memoryview, start: int, end: int, message: str, token: str, depth: int) -> Iterator[bytes | memoryview]:
    """The message's bytes with large payloads cut out; runs of fields that need no change are copied in one piece."""
    if depth > MAX_DEPTH:
        raise Malformed(f"messages nest deeper than {MAX_DEPTH} levels at byte {start:,}")
    opened = PATH_TO_TENSORS[message]
    run = start
    for field in wire.fields(buffer, start, end):
        inner = opened.get(field.number)
        if inner is None or field.type != wire.BYTES or field.end - field.start <= INLINE:
            continue
        if inner == "tensor":
            replaced = _cut(buffer, field.start, field.end, token)
        else:
            replaced = b"".join(_copied(buffer, field.start, field.end, inner, token, depth + 1))
        if replaced is None or len(replaced) == field.end - field.start:
            continue
        yield buffer[run : field.key]
        yield wire.header(field.number, len(replaced))
        yield replaced
        run = field.end
    yield buffer[run:end]


def _cut(buffer: memoryview, start: int, end: int, token: str) -> bytes | None:
    """A TensorProto without its payload, or None where it has to stay (text, varints, several pieces, data elsewhere)."""
    found = list(wire.fields(buffer, start, end))
    data_type = next((f.value for f in found if f.number == DATA_TYPE), 0)
    payloads = [f for f in found if f.type == wire.BYTES and (f.number == RAW_DATA or _PAYLOAD_TYPE.get(f.number) == data_type)]
    if len(payloads) != 1 or data_type == onnx_wire.STRING or any(f.number in (EXTERNAL_DATA, DATA_LOCATION) for f in found):
        return None
    payload = payloads[0]
    if payload.end - payload.start <= INLINE:
        return None
    entries = {"location": token, "offset": str(payload.start), "length": str(payload.end - payload.start)}
    return b"".join(
        [
            bytes(buffer[start : payload.key]),
            bytes(buffer[payload.end : end]),
            *(
                wire.bytes_field(EXTERNAL_DATA, wire.bytes_field(onnx_wire.KEY, k.encode()) + wire.bytes_field(onnx_wire.VALUE, v.encode()))
                for k, v in entries.items()
            ),
            wire.number_field(DATA_LOCATION, onnx_wire.EXTERNAL),
        ]
    )
