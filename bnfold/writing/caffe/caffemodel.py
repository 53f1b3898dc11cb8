"""A caffemodel with some layers changed: everything else is copied as the bytes that it was.

Change     what becomes of one stored layer
pieces     the file as a list of pieces, most of them stretches of the old file
made       a whole caffemodel, of layers that another kind of file held
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from ...files import caffe_fields, protobuf
from ...files.caffe_fields import GENERATIONS, NET_LAYER, V0_LAYER, V0_NUMBERS
from ...ir.graph import ir
from ...ir.tensor import Deferred, Window
from ...records import dataclass
from ...results.pair import StoredLayer
from ..layout import Piece, size

Shape = tuple[int, ...]
_WIRES = {NET_LAYER: (3, 4), 2: (2, 3)}  # field of NetParameter -> numbers of bottom and top
_PARAMETERS = {  # field of NetParameter -> (message of parameters, its bias_term)
    NET_LAYER: {106: 2, 117: 2},  # convolution_param, inner_product_param
    2: {10: 2, 17: 2},
}
_VALUES = (
    caffe_fields.DATA,
    caffe_fields.DIFF,
    caffe_fields.DOUBLE_DATA,
    caffe_fields.DOUBLE_DIFF,
    caffe_fields.RAW_TYPE,
    caffe_fields.RAW_DATA,
)


@dataclass
class Change:
    """One layer: gone, or with other blobs (by number, with the shapes that new ones have) and names.
    `biased`: it has a bias now, and says so."""

    gone: bool = False
    blobs: dict[int, tuple[Shape, ir.TensorProtocol]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    biased: bool = False


def pieces(view: memoryview, changes: Mapping[int, Change], added: Sequence[StoredLayer]) -> Iterator[Piece]:
    """The file with its layers, by their numbers, changed, and further layers behind them."""
    run = number = 0
    generation = NET_LAYER
    for entry in protobuf.fields(view):
        if entry.number not in GENERATIONS or entry.type != protobuf.BYTES:
            continue
        generation = entry.number
        change = changes.get(number)
        number += 1
        if change is None:
            continue
        yield from _copied(view, run, entry.key)
        run = entry.end
        if not change.gone:
            body = list(_layer(view, entry, change))
            yield protobuf.header(entry.number, size(body))
            yield from body
    yield from _copied(view, run, len(view))
    for layer in added:
        yield from _added(layer, generation)


def made(name: str, layers: Iterable[StoredLayer]) -> Iterator[Piece]:
    """A caffemodel of the current generation."""
    yield protobuf.bytes_field(1, name.encode())
    for layer in layers:
        yield from _added(layer, NET_LAYER)


def changed(layer: StoredLayer, change: Change) -> StoredLayer:
    """A layer that is no part of a caffemodel yet, with other blobs."""
    blobs = dict(enumerate(layer.blobs)) | change.blobs
    return StoredLayer(name=layer.name, type=layer.type, blobs=tuple(blobs[i] for i in sorted(blobs)))


def _copied(view: memoryview, start: int, end: int) -> Iterator[Piece]:
    if end > start:
        yield Window(view, start, ir.DataType.UINT8, (end - start,))


def _added(layer: StoredLayer, generation: int) -> Iterator[Piece]:
    name, type_, blobs = GENERATIONS[generation]
    body: list[Piece] = [protobuf.bytes_field(name, layer.name.encode())]
    if generation == NET_LAYER and layer.type:
        body.append(protobuf.bytes_field(type_, layer.type.encode()))
    for shape, tensor in layer.blobs:
        body += _new_blob(blobs, _shape(shape), tensor)
    yield protobuf.header(generation, size(body))
    yield from body


def _layer(view: memoryview, entry: protobuf.Field, change: Change) -> Iterator[Piece]:
    inner = next(
        (
            part
            for part in protobuf.fields(view, entry.start, entry.end)
            if entry.number != NET_LAYER and part.number == V0_LAYER and part.type == protobuf.BYTES
        ),
        None,
    )
    if inner is None:
        yield from _body(view, entry, change, GENERATIONS[entry.number][2])
        return
    body = list(_body(view, inner._replace(number=0), change, V0_NUMBERS[2]))
    yield from _copied(view, entry.start, inner.key)
    yield protobuf.header(V0_LAYER, size(body))
    yield from body
    yield from _copied(view, inner.end, entry.end)


def _body(view: memoryview, entry: protobuf.Field, change: Change, blobs: int) -> Iterator[Piece]:
    """The fields of one layer; blobs that it did not have follow its last one."""
    parts = list(protobuf.fields(view, entry.start, entry.end))
    stored = [part for part in parts if part.number == blobs and part.type == protobuf.BYTES]
    numbers = {part.key: number for number, part in enumerate(stored)}
    last = stored[-1] if stored else parts[-1] if parts else None
    run = entry.start
    for part in parts:
        replaced = (
            list(_blob(view, part, change.blobs.get(numbers[part.key])))
            if part.key in numbers
            else list(_other(view, part, change, entry.number))
        )
        if replaced:
            yield from _copied(view, run, part.key)
            yield from replaced
            run = part.end
        if part is last:
            yield from _copied(view, run, part.end)
            yield from _further(view, change, stored, blobs)
            run = part.end
    yield from _copied(view, run, entry.end)


def _further(
    view: memoryview, change: Change, stored: Sequence[protobuf.Field], blobs: int
) -> Iterator[Piece]:
    """Blobs that the layer did not have, in the form of its others."""
    for index in sorted(i for i in change.blobs if i >= len(stored)):
        shape, tensor = change.blobs[index]
        axes = _legacy_axes(view, stored[0]) if stored else 0
        form = _legacy_shape(shape, axes) if axes else _shape(shape)
        yield from _new_blob(blobs, form, tensor, _data_field(axes))


def _blob(
    view: memoryview, part: protobuf.Field, new: tuple[Shape, ir.TensorProtocol] | None
) -> Iterator[Piece]:
    """A blob with other values, its shape as it was written."""
    if new is None:
        return
    shape = b"".join(
        bytes(view[one.key : one.end])
        for one in protobuf.fields(view, part.start, part.end)
        if one.number not in _VALUES or (one.number == caffe_fields.WIDTH_OF_FIVE and _is_number(one))
    )
    yield from _new_blob(part.number, shape, new[1], _data_field(_legacy_axes(view, part)))


def _new_blob(
    number: int, shape: bytes, tensor: ir.TensorProtocol, data: int = caffe_fields.DATA
) -> list[Piece]:
    values: Piece = tensor if isinstance(tensor, Deferred) else tensor.tobytes()
    body: list[Piece] = [shape, protobuf.header(data, tensor.nbytes), values]
    return [protobuf.header(number, size(body)), *body]


def _shape(shape: Shape) -> bytes:
    dims = b"".join(protobuf.encode_varint(d) for d in shape)
    return protobuf.bytes_field(
        caffe_fields.SHAPE, protobuf.bytes_field(caffe_fields.SHAPE_DIM, dims) if shape else b""
    )


def _legacy_shape(shape: Shape, axes: int) -> bytes:
    """num, channels, height and width (C3D: length before them), aligned at the right."""
    aligned = (1,) * (axes - len(shape)) + shape
    return b"".join(protobuf.number_field(number, d) for number, d in enumerate(aligned, 1))


def _legacy_axes(view: memoryview, blob: protobuf.Field) -> int:
    """How many numbers the shape of a blob is written as, 4 or C3D's 5; 0 where it is one of the current
    form."""
    found = 0
    for part in protobuf.fields(view, blob.start, blob.end):
        if part.number == caffe_fields.WIDTH_OF_FIVE and _is_number(part):
            return 5
        if part.number in caffe_fields.LEGACY:
            found = 4
        elif found:
            break
    return found


def _data_field(axes: int) -> int:
    return caffe_fields.DATA_OF_FIVE if axes == 5 else caffe_fields.DATA


def _is_number(part: protobuf.Field) -> bool:
    return part.type == protobuf.VARINT


def _other(view: memoryview, part: protobuf.Field, change: Change, generation: int) -> Iterator[Piece]:
    """A bottom or top of another name; parameters that say that there is a bias."""
    if part.type != protobuf.BYTES:
        return
    if part.number in _WIRES.get(generation, ()):
        name = change.names.get(bytes(view[part.start : part.end]).decode("utf-8", "replace"))
        if name is not None:
            yield protobuf.bytes_field(part.number, name.encode())
    term = _PARAMETERS.get(generation, {}).get(part.number)
    if change.biased and term is not None:
        body = b"".join(
            protobuf.number_field(term, 1)
            if inner.number == term and inner.type == protobuf.VARINT
            else bytes(view[inner.key : inner.end])
            for inner in protobuf.fields(view, part.start, part.end)
        )
        yield protobuf.bytes_field(part.number, body)
