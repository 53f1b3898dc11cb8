"""The ONNX file on the wire: a skeleton small enough for protobuf, which says where the weights are.

A model file is mapped, never read. `skeleton` walks the map and copies everything but large payloads
(raw_data, and the packed float and double fields, which are the same bytes); in a payload's place stands an
external-data entry with offset and length in the file.

    location = a token that nobody can guess    reading/onnx.py puts windows where the tokens are
    location = the file's own name              onnxruntime maps the weights where they lie
                                                (verifying/runtime.py)

Only messages large enough to hold a large payload are opened, so a graph of many small nodes costs one step a
node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import Malformed
from ..records import dataclass
from . import onnx_fields, protobuf
from .onnx_fields import DATA_LOCATION, DATA_TYPE, EXTERNAL_DATA, INLINE, MAX_DEPTH, PATH_TO_TENSORS, RAW_DATA

_PAYLOAD_TYPE = {onnx_fields.FLOAT_DATA: onnx_fields.FLOAT, onnx_fields.DOUBLE_DATA: onnx_fields.DOUBLE}
Paths = Mapping[str, Mapping[int, str]]


def skeleton(
    buffer: memoryview, location: str, paths: Paths = PATH_TO_TENSORS, inline: int = INLINE
) -> bytes:
    """The model, but payloads of more than `inline` bytes that lie on `paths` are external data in
    `location`.

    Raises Malformed with the byte offset where the wire does not hold together.
    """
    return b"".join(_Walk(buffer, location, paths, inline).message(0, len(buffer), "model", 0))


@dataclass(frozen=True)
class _Walk:
    buffer: memoryview
    location: str
    paths: Paths
    inline: int

    def message(self, start: int, end: int, name: str, depth: int) -> Iterator[bytes | memoryview]:
        """The message's bytes with large payloads cut out; runs of fields that need no change are copied in
        one piece."""
        if depth > MAX_DEPTH:
            raise Malformed(f"messages nest deeper than {MAX_DEPTH} levels at byte {start:,}")
        opened = self.paths.get(name, {})
        run = start
        for field in protobuf.fields(self.buffer, start, end):
            inner = opened.get(field.number)
            if inner is None or field.type != protobuf.BYTES or field.end - field.start <= self.inline:
                continue
            if inner == "tensor":
                replaced = self.tensor(field.start, field.end)
            else:
                replaced = b"".join(self.message(field.start, field.end, inner, depth + 1))
            if replaced is None or len(replaced) == field.end - field.start:
                continue
            yield self.buffer[run : field.key]
            yield protobuf.header(field.number, len(replaced))
            yield replaced
            run = field.end
        yield self.buffer[run:end]

    def tensor(self, start: int, end: int) -> bytes | None:
        """A TensorProto without its payload, or None where it has to stay (text, varints, several pieces,
        data elsewhere)."""
        found = list(protobuf.fields(self.buffer, start, end))
        data_type = next((f.value for f in found if f.number == DATA_TYPE), 0)
        payloads = [
            f
            for f in found
            if f.type == protobuf.BYTES and (f.number == RAW_DATA or _PAYLOAD_TYPE.get(f.number) == data_type)
        ]
        if (
            len(payloads) != 1
            or data_type == onnx_fields.STRING
            or any(f.number in (EXTERNAL_DATA, DATA_LOCATION) for f in found)
        ):
            return None
        payload = payloads[0]
        if payload.end - payload.start <= self.inline:
            return None
        entries = {
            "location": self.location,
            "offset": str(payload.start),
            "length": str(payload.end - payload.start),
        }
        pairs = (
            protobuf.bytes_field(onnx_fields.KEY, k.encode())
            + protobuf.bytes_field(onnx_fields.VALUE, v.encode())
            for k, v in entries.items()
        )
        return b"".join(
            [
                self.buffer[start : payload.key],
                self.buffer[payload.end : end],
                *(protobuf.bytes_field(EXTERNAL_DATA, pair) for pair in pairs),
                protobuf.number_field(DATA_LOCATION, onnx_fields.EXTERNAL),
            ]
        )
