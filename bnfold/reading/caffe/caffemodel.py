"""The learned blobs of a caffemodel, found where they lie.

A caffemodel is one serialized NetParameter of any generation. Only name, type and blobs are read from it:
forks number everything else as they please. The walk touches the headers of messages and none of the values;
what a blob claims is held against what lies there before anybody allocates by it.

Values come in four forms: packed floats (a window, nothing is copied), doubles, unpacked values with a tag
each (old writers), and NVCaffe's raw data in half, single or double precision.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import Malformed, Mismatch, Unreadable, blamed_on
from ...files import caffe_fields, protobuf
from ...files.caffe_fields import GENERATIONS, V0_NUMBERS
from ...ir.tensor import FileMap
from .blob import Blob, Piece, Shape, Stored
from .prototxt import sniff
from .weights_h5 import load_h5

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}  # NVCaffe's Type: DOUBLE, FLOAT, FLOAT16
TAKEN_FOR_WEIGHTS = (  # first bytes -> what the file is, and the way out
    (
        b"version https://git-lfs",
        "a Git LFS pointer stands in place of the file",
        "fetch the file itself with 'git lfs pull'",
    ),
    (b"<", "the file is HTML or XML: a web page was saved in its place", "download the file itself"),
    (b"PK\x03\x04", "the file is a zip archive", "unpack it first"),
    (b"\x1f\x8b", "the file is compressed with gzip", "unpack it first"),
)


def load(path: Path) -> list[Stored]:
    """The layers of a weights file in file order. Unreadable, or Malformed with a byte offset."""
    file = FileMap(path)
    head = bytes(file.view[:64])
    if head.startswith(HDF5_SIGNATURE):
        return load_h5(path)
    _check_kind(head, path)
    with blamed_on(path):
        return _net(file.view, path)


def is_h5(path: Path) -> bool:
    """Is a weights file HDF5, and no caffemodel?"""
    return bytes(FileMap(path).view[: len(HDF5_SIGNATURE)]) == HDF5_SIGNATURE


def _check_kind(head: bytes, path: Path) -> None:
    """Refuse what people take for a caffemodel by mistake, and say what it is."""
    if head.startswith(b"\x00\x00\x00\x00"):  # no protobuf has a field 0; darknet's major version is 0
        raise Mismatch(
            "the weights file is darknet's, while the network is a prototxt, which is Caffe's",
            where=path,
            way_out="give the .caffemodel of this prototxt, or the .cfg that the .weights file belongs to",
        )
    if sniff(head):
        raise Unreadable(
            "the file is a prototxt, the text of a network",
            where=path,
            expected="a .caffemodel, which holds weights",
        )
    for magic, what, way_out in TAKEN_FOR_WEIGHTS:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n" if magic == b"<" else b"").startswith(magic):
            raise Unreadable(what, where=path, way_out=way_out)


def _net(view: memoryview, path: Path) -> list[Stored]:
    layers, named = [], False
    for entry in protobuf.fields(view):
        if entry.number in GENERATIONS and entry.type == protobuf.BYTES:
            layers.append(_layer(view, entry, GENERATIONS[entry.number], path))
        named |= entry.number == 1 and entry.type == protobuf.BYTES
    if not layers and not named:
        raise Malformed("neither layers nor a name in it", expected="a caffemodel: a serialized NetParameter")
    return layers


def _layer(view: memoryview, entry: protobuf.Field, numbers: tuple[int, int, int], path: Path) -> Stored:
    name, type_ = "", ""
    blobs: list[Blob] = []
    for part in protobuf.fields(view, entry.start, entry.end):
        if (
            part.number == caffe_fields.V0_LAYER and entry.number == 2 and part.type == protobuf.BYTES
        ):  # V0: the layer lies one message deeper
            return _layer(view, part._replace(number=0), V0_NUMBERS, path)
        if part.number == numbers[0] and part.type == protobuf.BYTES:
            name = _utf8(view, part)
        elif part.number == numbers[1]:
            type_ = _utf8(view, part) if part.type == protobuf.BYTES else str(part.value)
        elif part.number == numbers[2] and part.type == protobuf.BYTES:
            with blamed_on(f"{path}: layer '{name}', blob {len(blobs)}"):
                blobs.append(blob_of(view, part))
    return Stored(name, type_, blobs)


def _utf8(view: memoryview, part: protobuf.Field) -> str:
    try:
        return bytes(view[part.start : part.end]).decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"a name that is not UTF-8 at byte {part.start:,}", expected="UTF-8 text") from error


def blob_of(view: memoryview, entry: protobuf.Field) -> Blob:
    """A BlobProto."""
    blob = Blob(view, at=entry.start)
    legacy: dict[int, int] = {}
    doubles: list[Piece] = []
    raw, raw_type = None, 1
    at = entry.start
    while at < entry.end:
        part = next(protobuf.fields(view, at, entry.end))
        at = part.end
        if part.number in caffe_fields.LEGACY and part.type == protobuf.VARINT:
            legacy[part.number] = part.value if part.value < 1 << 63 else part.value - (1 << 64)
        elif part.number == caffe_fields.WIDTH_OF_FIVE and part.type == protobuf.VARINT:
            legacy[part.number] = part.value
        elif part.number == caffe_fields.SHAPE and part.type == protobuf.BYTES:
            blob.shape = _dims(view, part)
        elif part.number in (caffe_fields.DATA, caffe_fields.DOUBLE_DATA) or (
            part.number == caffe_fields.DATA_OF_FIVE and caffe_fields.WIDTH_OF_FIVE in legacy
        ):
            piece, at = _values(view, part, entry.end)
            (doubles if part.number == caffe_fields.DOUBLE_DATA else blob.pieces).append(piece)
        elif part.number == caffe_fields.RAW_TYPE and part.type == protobuf.VARINT:
            raw_type = part.value
        elif part.number == caffe_fields.RAW_DATA and part.type == protobuf.BYTES:
            raw = part
    if legacy:
        axes = range(1, 6 if caffe_fields.WIDTH_OF_FIVE in legacy else 5)
        blob.shape, blob.legacy = tuple(legacy.get(i, 0) for i in axes), True
    blob.pieces = doubles or blob.pieces or ([_raw(raw, raw_type)] if raw else [])
    return blob


def _values(view: memoryview, part: protobuf.Field, end: int) -> tuple[Piece, int]:
    """The values of field 8 (double) or another one (float) from here, packed or one by one, and the offset
    behind them."""
    size = 8 if part.number == caffe_fields.DOUBLE_DATA else 4
    kind = f"<f{size}"
    if part.type == protobuf.BYTES:
        if (part.end - part.start) % size:
            raise Malformed(
                f"{part.end - part.start:,} bytes of values at byte {part.start:,}",
                expected=f"a multiple of {size}",
            )
        return Piece(part.start, (part.end - part.start) // size, kind, size), part.end
    if part.type != (protobuf.FIXED32 if size == 4 else protobuf.FIXED64):
        raise Malformed(
            f"values of wire type {part.type} at byte {part.key:,}", expected="floating-point values"
        )
    stride = part.end - part.key
    count = _run(view, part.key, stride, (end - part.key) // stride)
    return Piece(part.start, count, kind, stride), part.key + count * stride


def _run(view: memoryview, at: int, stride: int, records: int) -> int:
    """How many of the records from here begin with the same byte. Looks ahead in steps that grow, so that
    many short runs cost no more than one long one."""
    first, seen, step = view[at], 1, 64
    while seen < records:
        tags = np.ndarray((min(step, records - seen),), np.uint8, view, at + seen * stride, (stride,))
        others = np.flatnonzero(tags != first)
        if others.size:
            return seen + int(others[0])
        seen, step = seen + tags.size, step * 4
    return seen


def _dims(view: memoryview, entry: protobuf.Field) -> Shape:
    dims: list[int] = []
    for part in protobuf.fields(view, entry.start, entry.end):
        if part.number != caffe_fields.SHAPE_DIM:
            continue
        if part.type == protobuf.VARINT:
            dims.append(part.value)
            continue
        at = part.start
        while at < part.end:
            value, at = protobuf.varint(view, at, part.end)
            dims.append(value)
        if len(dims) > 32:
            raise Malformed(
                f"a shape of {len(dims)} dimensions at byte {entry.start:,}", expected="at most 32"
            )
    return tuple(d if d < 1 << 63 else d - (1 << 64) for d in dims)


def _raw(part: protobuf.Field, raw_type: int) -> Piece:
    if raw_type not in RAW_TYPES:
        raise Malformed(
            f"raw data of type {raw_type} at byte {part.start:,}", expected="half, single or double precision"
        )
    dtype = RAW_TYPES[raw_type]
    size = int(dtype[-1])
    if (part.end - part.start) % size:
        raise Malformed(
            f"{part.end - part.start:,} bytes of raw data at byte {part.start:,}",
            expected=f"a multiple of {size}",
        )
    return Piece(part.start, (part.end - part.start) // size, dtype, size)
