"""Where blobs come from: graph inputs, constants, learned blobs. Data sources become inputs whose shape they
tell in part."""

from __future__ import annotations

import math

import numpy as np

from ....ir.tensor import from_array
from ..blob import Shape, shown
from ..layer import FLOAT, Layer, Value, dims
from ..registry import layer
from ..schema import Node


def dims_of(at: Layer, shape: Node) -> Shape:
    """The dimensions that a BlobShape states. Malformed below 1, or when there are too many."""
    wanted = tuple(int(d) for d in shape.all("dim"))
    if any(d < 1 for d in wanted) or len(wanted) > 32 or math.prod(wanted) > (1 << 31) - 1:
        raise at.malformed(
            f"a shape of {shown(wanted)}", "up to 32 positive dimensions of fewer than 2^31 values in all"
        )
    return wanted


@layer("Input", param="input_param", role="source")
def input_(at: Layer, *, shape: tuple[Node, ...] = ()) -> list[Value | None]:
    """Graph inputs: one shape for all tops, or one for each"""
    if len(shape) not in (0, 1, len(at.tops)):
        raise at.malformed(
            f"{len(shape)} shapes for {len(at.tops)} tops",
            "one, or one for each top",
            at=("input_param", "shape"),
        )
    shapes = shape * len(at.tops) if len(shape) == 1 else shape
    return [at.input(i, _declared(at, shapes[i]) if shapes else None) for i in range(len(at.tops))]


def _declared(at: Layer, shape: Node) -> Shape:
    """The dimensions of an input; those below 1 are left open, for --input-shape to set."""
    wanted = tuple(int(d) for d in shape.all("dim"))
    return wanted if any(d < 1 for d in wanted) else dims_of(at, shape)


@layer(
    "Data",
    "ImageData",
    "HDF5Data",
    "WindowData",
    "AnnotatedData",
    "VideoData",
    "DenseImageData",
    "SegData",
    "ImageSegData",
    role="source",
)
def data(at: Layer) -> list[Value | None]:
    """A graph input in place of a data source: batch and image size as its parameters tell them"""
    batch = next((int(p.get("batch_size")) for p in _messages(at) if p.has("batch_size")), 1) or 1
    size = _image_size(at)
    lengths = [int(p.get("new_length")) for p in _messages(at) if p.type == "ImageDataParameter"]
    clip = [length for length in lengths if length]  # of images in a row, as C3D has it
    image = (batch, _channels(at), *clip, *size) if size else None
    return [at.input(i, image if i == 0 else (batch,)) for i in range(len(at.tops))]


def _messages(at: Layer) -> list[Node]:
    """The parameter messages of a data layer."""
    found = (
        given[0].value
        for name, given in at.node.fields.items()
        if name.endswith("_data_param") or name == "data_param"
    )
    return [message for message in found if isinstance(message, Node) and "batch_size" in _fields(message)]


def _fields(message: Node) -> set[str]:
    from ..table import MESSAGES

    return set(MESSAGES[message.type])


def _image_size(at: Layer) -> Shape:
    """(height, width) that a data layer gives its images; empty when it does not say."""
    transform = at.node.get("transform_param")
    pairs: list[tuple[int, int]] = []
    if transform is not None:
        pairs += [(transform.get("crop_size"),) * 2, (transform.get("crop_h"), transform.get("crop_w"))]
        pairs += [(resize.get("height"), resize.get("width")) for resize in transform.all("resize_param")]
    pairs += [(p.get("crop_size"),) * 2 for p in _messages(at) if "crop_size" in _fields(p)]
    pairs += [(p.get("new_height"), p.get("new_width")) for p in _messages(at) if "new_height" in _fields(p)]
    return next((pair for pair in pairs if all(pair)), ())


def _channels(at: Layer) -> int:
    transform = at.node.get("transform_param")
    if transform is not None and (transform.get("force_gray") or len(transform.all("mean_value")) == 1):
        return 1
    at.note(
        "caffe.assumed-channels",
        "the prototxt does not say how many channels the data has; bnfold assumes 3 (--input-shape "
        "overrides this)",
    )
    return 3


@layer("MemoryData", param="memory_data_param", role="source")
def memory_data(at: Layer, *, batch_size: int, channels: int, height: int, width: int) -> list[Value | None]:
    """A graph input of the shape that the parameters tell"""
    return [
        at.input(i, (batch_size, channels, height, width) if i == 0 else (batch_size,))
        for i in range(len(at.tops))
    ]


@layer("DummyData", param="dummy_data_param", role="source")
def dummy_data(
    at: Layer,
    *,
    data_filler: tuple[Node, ...] = (),
    shape: tuple[Node, ...] = (),
    num: tuple[int, ...] = (),
    channels: tuple[int, ...] = (),
    height: tuple[int, ...] = (),
    width: tuple[int, ...] = (),
) -> list[Value | None]:
    """Constants where the filler is constant; a graph input where Caffe draws new numbers each time"""
    count = len(at.tops)
    shapes = [dims_of(at, s) for s in shape] or list(zip(num, channels, height, width, strict=False))
    for what, have, fewest in (("shapes", len(shapes), 1), ("fillers", len(data_filler), 0)):
        if have not in (fewest, 1, count):
            raise at.malformed(f"{have} {what} for {count} tops", "one, or one for each top")
    values: list[Value | None] = []
    for i in range(count):
        wanted = shapes[i if len(shapes) > 1 else 0]
        filler = data_filler[i if len(data_filler) > 1 else 0] if data_filler else None
        if filler is not None and filler.get("type") != "constant":
            at.note(
                "caffe.random-data",
                f"'{at.tops[i]}' is filled with new random values in each pass ({filler.get('type')}); it "
                "becomes an input",
                "warning",
            )
            values.append(at.input(i, wanted))
            continue
        value = np.array([filler.get("value") if filler is not None else 0.0], np.float32)
        target = at.constant(np.array(wanted, np.int64), "dims")
        values.append(at.op("ConstantOfShape", target, shape=wanted, dtype=FLOAT, value=from_array(value)))
    return values


@layer("Parameter", param="parameter_param")
def parameter(at: Layer, *, shape: Node) -> Value:
    """A learned blob"""
    return at.blob(0, "value", dims_of(at, shape))


@layer("ContinuationIndicator", param="continuation_indicator_param", origin="crnn, deepdetect")
def continuation_indicator(
    at: Layer, like: Value | None = None, *, time_step: int = 0, batch_size: int = 0, axis: int = 0
) -> Value:
    """The marks that an LSTM reads, (T, N): 0 in the first step of a sequence, 1 in the others; N is given,
    or the size of a bottom along an axis"""
    if like is not None:
        where = at.axis(axis, len(dims(like)), ("continuation_indicator_param", "axis"))
        batch_size = dims(like)[where]
    if time_step < 1 or batch_size < 1:
        raise at.malformed(
            f"marks of shape {shown((time_step, batch_size))}",
            "continuation_indicator_param { time_step: ... batch_size: ... }",
        )
    at.limit_constant(time_step, batch_size)
    marks = np.ones((time_step, batch_size), np.float32)
    marks[0] = 0
    return at.constant(marks, "marks")
