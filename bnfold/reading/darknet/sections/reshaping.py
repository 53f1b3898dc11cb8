"""Sections that move pixels: [upsample], [reorg], [reorg3d], [crop]."""

from __future__ import annotations

from ....errors import Malformed, Unsupported
from ....ir.graph import ir
from ..dialects import Fork
from ..layer import Layer
from ..network import Feature
from ..schema import PjInt, positive, section


@section("upsample")
def upsample(layer: Layer, x: Feature, *, stride: int = 2, scale: float = 1.0) -> Feature:
    """Every pixel `stride` times in both directions, times scale; a negative stride sums blocks of pixels
    instead."""
    image, step = layer.image(x), abs(stride)
    if stride == 0:
        raise Malformed("stride=0", expected="a stride that is not 0")
    if stride < 0:
        return _summed(layer, x, image, step, scale)
    out = layer.feature(image, x.channels, x.height * step, x.width * step)
    scales = layer.constant("scales", [1.0, 1.0, float(step), float(step)])
    y = layer.op(
        "Resize",
        image,
        None,
        scales,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
        shape=layer.shape(out),
    )
    out.value = _scaled(layer, y, scale)
    return out


def _summed(layer: Layer, x: Feature, image: ir.Value, step: int, scale: float) -> Feature:
    if x.height % step or x.width % step:
        raise Unsupported(f"stride=-{step} over {x.height} x {x.width} pixels", expected="a divisor of both")
    out = layer.feature(image, x.channels, x.height // step, x.width // step)
    mean = layer.op("AveragePool", image, shape=layer.shape(out), kernel_shape=[step] * 2, strides=[step] * 2)
    out.value = _scaled(layer, mean, scale * step * step)
    return out


def _scaled(layer: Layer, value: ir.Value, scale: float) -> ir.Value:
    return layer.op("Mul", value, layer.scalar(scale), what="scaled") if scale != 1 else value


@section("reorg")
def reorg(
    layer: Layer, x: Feature, *, stride: int = 1, reverse: int = 0, flatten: PjInt = 0, extra: PjInt = 0
) -> Feature:
    """darknet's own reordering (not a space-to-depth of the picture, though made of one); reverse is a
    depth-to-space. With flatten=1 channels become the fastest index (reverse=1: back), with extra=n there are
    n zeros behind the input."""
    positive(stride=stride)
    image = layer.image(x)
    if extra:
        return _extended(layer, x, extra)
    dims = _shuffled(x, stride, reverse)
    out = layer.feature(image, *dims)
    if flatten:
        out.value = _flattened(layer, x, image, reverse, dims)
    elif reverse:
        out.value = layer.op("DepthToSpace", image, shape=layer.shape(out), blocksize=stride, mode="DCR")
    else:
        if x.channels % stride**2:
            raise Unsupported(
                f"{x.channels} channels at a stride of {stride}", expected=f"a multiple of {stride**2}"
            )
        wide = layer.reshape(image, [0, x.channels // stride**2, x.height * stride, x.width * stride], "wide")
        deep = layer.op("SpaceToDepth", wide, shape=layer.shape(x), blocksize=stride)
        out.value = layer.reshape(deep, [0, *dims])
    return out


@section("reorg3d", only=Fork.ALEXEYAB)
def reorg3d(layer: Layer, x: Feature, *, stride: int = 1, reverse: int = 0) -> Feature:
    """A space-to-depth of the picture; reverse is darknet's own reordering back."""
    positive(stride=stride)
    image, dims = layer.image(x), _shuffled(x, stride, reverse, fourth=bool(reverse))
    out = layer.feature(image, *dims)
    if not reverse:
        out.value = layer.op("SpaceToDepth", image, shape=layer.shape(out), blocksize=stride)
        return out
    wide = layer.reshape(image, [0, *dims], "wide")
    fine = layer.op(
        "DepthToSpace",
        wide,
        blocksize=stride,
        mode="DCR",
        shape=[layer.network.rows, dims[0] // stride**2, dims[1] * stride, dims[2] * stride],
    )
    out.value = layer.reshape(fine, [0, *dims])
    return out


def _shuffled(x: Feature, stride: int, reverse: int, fourth: bool = False) -> tuple[int, int, int]:
    """(channels, height, width) afterwards. Errors: Unsupported where darknet would leave its arrays."""
    block = stride**2
    if reverse:
        if x.channels % (block**2 if fourth else block):
            raise Unsupported(
                f"{x.channels} channels at a stride of {stride}",
                expected=f"a multiple of {block**2 if fourth else block}",
            )
        return x.channels // block, x.height * stride, x.width * stride
    if x.height % stride or x.width % stride:
        raise Unsupported(
            f"{x.height} x {x.width} pixels at a stride of {stride}", expected="multiples of the stride"
        )
    return x.channels * block, x.height // stride, x.width // stride


def _flattened(
    layer: Layer, x: Feature, image: ir.Value, reverse: int, dims: tuple[int, int, int]
) -> ir.Value:
    places = x.height * x.width
    apart = layer.reshape(image, [0, places, x.channels] if reverse else [0, x.channels, places])
    return layer.reshape(layer.transpose(apart, [0, 2, 1]), [0, *dims])


def _extended(layer: Layer, x: Feature, extra: int) -> Feature:
    positive(extra=extra)
    out = layer.feature(layer.flat(x), x.size + extra)
    out.value = layer.op(
        "Pad", out.value, layer.ints([0, 0, 0, extra]), shape=[layer.network.rows, x.size + extra]
    )
    return out


@section("crop")
def crop(
    layer: Layer, x: Feature, *, crop_height: int = 1, crop_width: int = 1, noadjust: int = 0
) -> Feature:
    """The middle of the picture, then 2 x - 1 unless noadjust=1 (at inference; training crops anywhere)."""
    positive(crop_height=crop_height, crop_width=crop_width)
    if crop_height > x.height or crop_width > x.width:
        raise Malformed(
            f"{crop_height} x {crop_width} pixels out of {x.height} x {x.width}",
            expected="a crop that is no larger",
        )
    top, left = (x.height - crop_height) // 2, (x.width - crop_width) // 2
    out = layer.feature(layer.image(x), x.channels, crop_height, crop_width)
    y = layer.op(
        "Slice",
        out.value,
        layer.ints([top, left]),
        layer.ints([top + crop_height, left + crop_width]),
        layer.ints([2, 3]),
        shape=layer.shape(out),
    )
    out.value = (
        y
        if noadjust
        else layer.op("Sub", layer.op("Mul", y, layer.scalar(2)), layer.scalar(1), what="adjusted")
    )
    return out
