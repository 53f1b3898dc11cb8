"""How an ONNX file is laid out: a list of pieces, some of them bytes, some of them tensors to be streamed.

The model is serialised once with stand-ins: every large deferred tensor gives a token in place of its
bytes. The tokens are then found in the result, the messages around them are opened (their lengths change),
and each token makes room for its tensor, or for an external-data entry. All sizes are known before the first
byte is written.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import BnfoldError, Malformed, root_cause, root_of
from ..files import onnx_fields, protobuf
from ..files.onnx_fields import DATA_LOCATION, EXTERNAL_DATA, INLINE, PATH_TO_TENSORS, RAW_DATA
from ..ir import tensor
from ..ir.foreign_types import TYPES_KEY, put_back
from ..ir.graph import ir, uncollected
from ..records import dataclass
from .serialised import serialised

if TYPE_CHECKING:
    import onnx

Piece = bytes | tensor.Deferred
LIMIT = (1 << 31) - 1  # protobuf's limit on one message
_Form = Callable[[tensor.Deferred], list[Piece]]


@dataclass(frozen=True)
class Skeleton:
    """The serialised model with tokens, the tensors they stand for in order, and where each token begins."""

    data: bytes
    tensors: tuple[tensor.Deferred, ...]
    at: tuple[int, ...]

    @property
    def payload(self) -> int:
        """Bytes of all tensors together."""
        return sum(t.nbytes for t in self.tensors)


def skeleton(model: ir.Model) -> Skeleton:
    """Serialise the model without the bytes of its large deferred tensors."""
    prefix = os.urandom(24)
    standing: list[tensor.Deferred] = []

    def stand_in(deferred: tensor.Deferred) -> bytes | None:
        if deferred.nbytes <= INLINE:
            return None
        standing.append(deferred)
        return prefix + len(standing).to_bytes(8, "little")

    with uncollected(), tensor.standing_in(stand_in):
        data = _serialised(model)
    order, at = [], []
    position = data.find(prefix)
    while position >= 0:
        number = int.from_bytes(data[position + len(prefix) : position + len(prefix) + 8], "little")
        order.append(standing[number - 1])
        at.append(position)
        position = data.find(prefix, position + len(prefix))
    return Skeleton(data, tuple(order), tuple(at))


def _serialised(model: ir.Model) -> bytes:
    try:
        if model.meta.get(TYPES_KEY):
            return bytes(message(model).SerializeToString(deterministic=True))
        data = serialised(model)
    except (
        Exception
    ) as error:  # onnx_ir wraps whatever it meets in a chain of its own errors; the root says what it was
        if isinstance(root := root_of(error), BnfoldError):
            raise root from None
        raise Malformed(f"the model cannot be written as ONNX ({root_cause(error)})") from error
    if len(data) > LIMIT:
        raise Malformed(
            f"the model cannot be written as ONNX (without its large weights it takes {len(data):,} bytes)",
            expected=f"at most {LIMIT:,}, which is all that protobuf reads",
        )
    return data


def message(model: ir.Model) -> onnx.ModelProto:
    """The model as onnx_ir makes a message of it, and the types that it has none for."""
    proto = ir.to_proto(model)
    if types := model.meta.get(TYPES_KEY):
        put_back(proto.graph, types)
    return proto


def inline(bones: Skeleton) -> list[Piece]:
    """The file with every tensor's bytes in it, as raw_data."""
    return list(
        _pieces(bones, 0, len(bones.data), "model", lambda t: [protobuf.header(RAW_DATA, t.nbytes), t])
    )


def external(bones: Skeleton, location: str, offsets: dict[int, int]) -> list[Piece]:
    """The file with every large tensor in `location`; `offsets` maps id(tensor) to its offset there."""

    def entries(t: tensor.Deferred) -> list[Piece]:
        table = {"location": location, "offset": str(offsets[id(t)]), "length": str(t.nbytes)}
        pairs = (
            protobuf.bytes_field(onnx_fields.KEY, k.encode())
            + protobuf.bytes_field(onnx_fields.VALUE, v.encode())
            for k, v in table.items()
        )
        return [
            b"".join(protobuf.bytes_field(EXTERNAL_DATA, pair) for pair in pairs)
            + protobuf.number_field(DATA_LOCATION, onnx_fields.EXTERNAL)
        ]

    return list(_pieces(bones, 0, len(bones.data), "model", entries))


def size(pieces: list[Piece]) -> int:
    """Bytes of the file."""
    return sum(len(p) if isinstance(p, bytes) else p.nbytes for p in pieces)


def _pieces(bones: Skeleton, start: int, end: int, message: str, form: _Form) -> Iterator[Piece]:
    """The message with its tokens replaced. Only messages that hold a token are opened."""
    inner_of = PATH_TO_TENSORS.get(message, {})
    run = start
    for field in protobuf.fields(bones.data, start, end):
        first = bisect.bisect_left(bones.at, field.start)
        if field.type != protobuf.BYTES or first == len(bones.at) or bones.at[first] >= field.end:
            continue
        if message == "tensor" and field.number == RAW_DATA:
            replaced = form(bones.tensors[first])
        elif field.number in inner_of:
            inner = list(_pieces(bones, field.start, field.end, inner_of[field.number], form))
            replaced = [protobuf.header(field.number, size(inner)), *inner]
        else:  # a token where no tensor can be: the same bytes by chance, left alone
            continue
        yield bones.data[run : field.key]
        yield from replaced
        run = field.end
    yield bones.data[run:end]
