"""[maxpool], [local_avgpool], [avgpool]."""

from __future__ import annotations

import numpy as np

from ....errors import Malformed, Unsupported
from ....ir.graph import ir
from ..dialects import Fork
from ..layer import Layer
from ..network import Feature
from ..schema import AlexeyInt, positive, section
from .convolution import blurred, windows

LOWEST = float(np.finfo(np.float32).min)  # what darknet begins a maximum with


def _geometry(
    x: Feature, size: int, stride: tuple[int, int], padding: int
) -> tuple[tuple[int, int], list[int]]:
    """((height, width), ONNX pads). `padding` is the total of both sides; the smaller half comes first."""
    positive(size=size, stride=min(stride))
    if padding < 0:
        raise Malformed(f"padding={padding}", expected="padding of at least 0")
    height, width = (
        windows(extent, padding, size, step) for extent, step in zip(x.spot, stride, strict=True)
    )
    before, after = padding // 2, padding - padding // 2
    return (height, width), [before, before, *(after + max(0, size - extent - padding) for extent in x.spot)]


@section("maxpool", "max")
def maxpool(
    layer: Layer,
    x: Feature,
    *,
    stride: int = 1,
    size: int | None = None,
    padding: int | None = None,
    stride_x: AlexeyInt | None = None,
    stride_y: AlexeyInt | None = None,
    maxpool_depth: AlexeyInt = 0,
    out_channels: AlexeyInt = 1,
    antialiasing: AlexeyInt = 0,
) -> Feature:
    """The largest in a window; outside pixels do not count. The size is the stride by default, the padding
    size - 1."""
    image = layer.image(x)
    if maxpool_depth:
        return _over_channels(layer, x, image, out_channels)
    size = stride if size is None else size
    down, across = stride if stride_y is None else stride_y, stride if stride_x is None else stride_x
    steps = (1, 1) if antialiasing else (down, across)
    positive(stride=min(down, across))
    spot, pads = _geometry(x, size, steps, size - 1 if padding is None else padding)
    out = layer.feature(image, x.channels, *spot)
    if max(pads) >= size:  # onnxruntime takes no window that lies in the padding
        image = layer.op(
            "Pad",
            image,
            layer.ints([0, 0, *pads[:2], 0, 0, *pads[2:]]),
            layer.scalar(LOWEST),
            shape=[layer.network.rows, x.channels, x.height + pads[0] + pads[2], x.width + pads[1] + pads[3]],
        )
        pads = [0] * 4
    out.value = layer.op(
        "MaxPool",
        image,
        what="pool",
        shape=layer.shape(out),
        kernel_shape=[size] * 2,
        strides=list(steps),
        pads=pads,
    )
    return blurred(layer, out, antialiasing, across, down)


def _over_channels(layer: Layer, x: Feature, image: ir.Value, out_channels: int) -> Feature:
    """The largest over channels k, k + n, k + 2n ... for each k below n; where there is none, the lowest
    number."""
    positive(out_channels=out_channels)
    rounds = -(-x.channels // out_channels)
    if lacking := rounds * out_channels - x.channels:
        image = layer.op(
            "Pad",
            image,
            layer.ints([0, 0, 0, 0, 0, lacking, 0, 0]),
            layer.scalar(LOWEST),
            shape=[layer.network.rows, rounds * out_channels, *x.spot],
        )
    apart = layer.reshape(image, [0, rounds, out_channels, *x.spot])
    out = layer.feature(image, out_channels, *x.spot)
    out.value = layer.reduce("ReduceMax", apart, 1, keep=False)
    return out


@section("local_avgpool", "local_avg", only=Fork.ALEXEYAB)
def local_avgpool(
    layer: Layer,
    x: Feature,
    *,
    stride: int = 1,
    size: int | None = None,
    padding: int | None = None,
    stride_x: int | None = None,
    stride_y: int | None = None,
) -> Feature:
    """The mean of a window over the pixels that are in the picture."""
    image, size = layer.image(x), stride if size is None else size
    steps = (stride if stride_y is None else stride_y, stride if stride_x is None else stride_x)
    spot, pads = _geometry(x, size, steps, size - 1 if padding is None else padding)
    if max(pads) >= size:
        raise Unsupported(
            f"padding={sum(pads[::2])} with size={size}: windows without a single pixel",
            expected="a padding below twice the size",
        )
    out = layer.feature(image, x.channels, *spot)
    out.value = layer.op(
        "AveragePool",
        image,
        what="pool",
        shape=layer.shape(out),
        kernel_shape=[size] * 2,
        strides=list(steps),
        pads=pads,
        count_include_pad=0,
    )
    return out


@section("avgpool", "avg")
def avgpool(layer: Layer, x: Feature) -> Feature:
    """The mean of every channel."""
    out = layer.feature(layer.image(x), x.channels, 1, 1)
    out.value = layer.op("GlobalAveragePool", out.value, what="mean", shape=layer.shape(out))
    return out
