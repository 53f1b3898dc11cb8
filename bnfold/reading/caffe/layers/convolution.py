"""Convolution in any number of dimensions, its transpose, its depthwise forms, and im2col.

    Convolution     floor((in + 2 pad - (dilation (kernel - 1) + 1)) / stride) + 1
    Deconvolution   stride (in - 1) + dilation (kernel - 1) + 1 - 2 pad

The channel axis is `axis`; axes before it are all batch, axes behind it spatial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....records import dataclass
from ..blob import Shape, shown
from ..layer import Layer, Value, dims
from ..registry import ENGINE, layer
from ..schema import Node
from .sampling import sampled

PARAM = "convolution_param"
PARAM_3D = "convolution3d_param"
IGNORED = {
    "engine": ENGINE,
    "force_nd_im2col": ENGINE,
    "conv_algorithm": ENGINE,
    "cudnn_convolution_algo_seeker": ENGINE,
    "conv_algos_override": ENGINE,
}


@dataclass(frozen=True)
class Window:
    """Kernel, stride, pad and dilation along each spatial axis."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

    @property
    def reach(self) -> Shape:
        """How far one kernel application reaches."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def spread(
    at: Layer,
    field: str,
    values: Sequence[int],
    pair: tuple[int | None, int | None],
    spatial: int,
    default: int | None,
) -> Shape:
    """A repeated option along the spatial axes, or its _h/_w form, of which Caffe takes a missing half for
    0."""
    if any(pair):
        if values or spatial != 2:
            raise at.malformed(
                f"'{field}_h' and '{field}_w' "
                + (f"beside '{field}'" if values else f"for {spatial} spatial axes"),
                "one of the two forms, and two spatial axes",
                at=(PARAM, field),
            )
        return tuple(value or 0 for value in pair)
    if not values:
        if default is None:
            raise at.malformed(f"'{field}' is missing", f"{PARAM} {{ {field}: ... }}")
        return (default,) * spatial
    if len(values) not in (1, spatial):
        raise at.malformed(
            f"{len(values)} values of '{field}' for {spatial} spatial axes",
            f"1 or {spatial}",
            at=(PARAM, field),
        )
    return tuple(values) * (spatial if len(values) == 1 else 1)


def window(
    at: Layer, x: Value, axis: int, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape
) -> Window:
    """A window held against the blob that it moves over."""
    for field, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if any(v < 1 for v in values):
            raise at.malformed(
                f"{field} is {shown(values)} (an _h or _w alone leaves the other 0)",
                "positive numbers",
                at=(PARAM, field),
            )
    return Window(kernel, stride, pad, dilation)


def convolved(at: Layer, window_: Window, spatial: Sequence[int]) -> Shape:
    """Output sizes of a convolution."""
    sizes = tuple(
        (n + 2 * p - r) // s + 1
        for n, p, r, s in zip(spatial, window_.pad, window_.reach, window_.stride, strict=True)
    )
    if any(size < 1 for size in sizes):
        raise at.malformed(
            f"a kernel that reaches over {shown(window_.reach)} of an input of {shown(spatial)}, "
            f"padded by {shown(window_.pad)}",
            "a kernel no larger than the padded input",
        )
    return sizes


def transposed(at: Layer, window_: Window, spatial: Sequence[int]) -> Shape:
    """Output sizes of a deconvolution."""
    sizes = tuple(
        s * (n - 1) + r - 2 * p
        for n, p, r, s in zip(spatial, window_.pad, window_.reach, window_.stride, strict=True)
    )
    if any(size < 1 for size in sizes):
        raise at.malformed(f"an output of {shown(sizes)}", "at least one value in every dimension")
    return sizes


def _apply(
    at: Layer,
    op_type: str,
    x: Value,
    *,
    axis: int,
    weight: Value,
    bias: Value | None,
    window_: Window,
    group: int,
    channels: int,
    sizes: Shape,
) -> Value:
    """One Conv or ConvTranspose, with batch axes merged and at least one spatial axis, as ONNX wants them."""
    shape = dims(x)
    flat = axis != 1 or not window_.kernel
    if flat:
        x = at.reshape(x, (math.prod(shape[:axis]), shape[axis], *(shape[axis + 1 :] or (1,))))
    attributes: dict[str, Any] = {
        "kernel_shape": list(window_.kernel or (1,)),
        "strides": list(window_.stride or (1,)),
        "pads": list(window_.pad + window_.pad or (0, 0)),
        "dilations": list(window_.dilation or (1,)),
        "group": group,
    }
    y = at.op(op_type, x, weight, bias, shape=(dims(x)[0], channels, *(sizes or (1,))), **attributes)
    return at.reshape(y, (*shape[:axis], channels, *sizes)) if flat else y


def _layers(
    at: Layer,
    xs: Sequence[Value],
    *,
    transpose: bool,
    channels: int,
    group: int,
    axis: int,
    windows: tuple[Shape, Shape, Shape, Shape],
    bias_term: bool,
    weight_filler: Node | None,
    bias_filler: Node | None,
) -> list[Value]:
    """The same weights applied to every bottom."""
    shape = dims(xs[0])
    into = shape[axis]
    for field, count in (("num_output", channels), ("channels", into)):
        if group < 1 or count < 1 or count % group:
            raise at.malformed(
                f"{field} is {count}, group {group}",
                "positive numbers, the first a multiple of group",
                at=(PARAM, "group"),
            )
    window_ = window(at, xs[0], axis, *windows)
    rows, columns = (into, channels // group) if transpose else (channels, into // group)
    stored = (rows, columns, *window_.kernel)
    weight = at.blob(
        0, "weight", stored, filler=weight_filler, view=(rows, columns, *(window_.kernel or (1,)))
    )
    bias = at.blob(1, "bias", (channels,), filler=bias_filler, default=0.0) if bias_term else None
    results = []
    for x in xs:
        if len(dims(x)) != len(shape) or dims(x)[axis] != into:
            raise at.malformed(
                f"bottoms of shapes {shown(shape)} and {shown(dims(x))}",
                "the same number of axes and of channels",
            )
        spatial = dims(x)[axis + 1 :]
        sizes = transposed(at, window_, spatial) if transpose else convolved(at, window_, spatial)
        results.append(
            _apply(
                at,
                "ConvTranspose" if transpose else "Conv",
                x,
                axis=axis,
                weight=weight,
                bias=bias,
                window_=window_,
                group=group,
                channels=channels,
                sizes=sizes,
            )
        )
    return results


@layer(
    "Convolution",
    "Deconvolution",
    "DepthwiseConvolution",
    "ConvolutionDepthwise",
    "DepthwiseConv",
    param=PARAM,
    ignoring=IGNORED,
)
def convolution(
    at: Layer,
    first: Value,
    *more: Value,
    num_output: int | None = None,
    bias_term: bool = True,
    pad: tuple[int, ...] = (),
    kernel_size: tuple[int, ...] = (),
    stride: tuple[int, ...] = (),
    dilation: tuple[int, ...] = (),
    pad_h: int = 0,
    pad_w: int = 0,
    kernel_h: int | None = None,
    kernel_w: int | None = None,
    stride_h: int | None = None,
    stride_w: int | None = None,
    group: int = 1,
    weight_filler: Node | None = None,
    bias_filler: Node | None = None,
    axis: int = 1,
    dilation_h: int | None = None,
    dilation_w: int | None = None,
    relu: bool = False,
    negative_slope: float = 0.0,
    coeff: tuple[float, ...] = (),
    fusion_type: str = "NONE_FUSION",
) -> list[Value]:
    """Convolution in any number of dimensions, with groups and dilation; the transposed and the depthwise
    forms.

    DepthwiseConvolution takes `group` as it is written, ConvolutionDepthwise ignores it, and num_output, for
    the number of channels; DepthwiseConv takes the number of channels where no group is written. Intel's
    fused ReLU follows where it is asked for.
    """
    at.expect("fusion_type", fusion_type, "NONE_FUSION")
    at.expect("coeff", coeff, ())
    axis = at.axis(axis, len(dims(first)), (PARAM, "axis"))
    channels = dims(first)[axis]
    if at.type == "ConvolutionDepthwise":
        num_output, group = channels, channels
    elif at.type == "DepthwiseConv" and group == 1:
        group = channels
    if not num_output:
        raise at.malformed(
            "'num_output' is missing" if num_output is None else "'num_output' is 0",
            f"{PARAM} {{ num_output: ... }}",
            at=(PARAM, "num_output"),
        )
    spatial = len(dims(first)) - axis - 1
    if (kernel_h is None) != (kernel_w is None):
        raise at.malformed(
            "only one of kernel_h and kernel_w",
            "both",
            at=(PARAM, "kernel_h" if kernel_w is None else "kernel_w"),
        )
    windows = (
        spread(
            at,
            "kernel_size" if kernel_h is None else "kernel",
            kernel_size,
            (kernel_h, kernel_w),
            spatial,
            None,
        ),
        spread(at, "stride", stride, (stride_h, stride_w), spatial, 1),
        spread(at, "pad", pad, (pad_h, pad_w), spatial, 0),
        spread(at, "dilation", dilation, (dilation_h, dilation_w), spatial, 1),
    )
    values = _layers(
        at,
        xs=(first, *more),
        transpose=at.type == "Deconvolution",
        channels=num_output,
        group=group,
        axis=axis,
        windows=windows,
        bias_term=bias_term,
        weight_filler=weight_filler,
        bias_filler=bias_filler,
    )
    if relu:
        values = [
            at.op("LeakyRelu", y, alpha=negative_slope) if negative_slope else at.op("Relu", y)
            for y in values
        ]
    return values


@layer(
    "Im2col",
    param=PARAM,
    ignoring=IGNORED
    | dict.fromkeys(
        (
            "num_output",
            "bias_term",
            "group",
            "weight_filler",
            "bias_filler",
            "relu",
            "negative_slope",
            "coeff",
            "fusion_type",
        ),
        "no weights, no arithmetic",
    ),
)
def im2col(
    at: Layer,
    x: Value,
    *,
    pad: tuple[int, ...] = (),
    kernel_size: tuple[int, ...] = (),
    stride: tuple[int, ...] = (),
    dilation: tuple[int, ...] = (),
    pad_h: int = 0,
    pad_w: int = 0,
    kernel_h: int | None = None,
    kernel_w: int | None = None,
    stride_h: int | None = None,
    stride_w: int | None = None,
    axis: int = 1,
    dilation_h: int | None = None,
    dilation_w: int | None = None,
) -> Value:
    """Every window as a column of channels: a convolution with one-hot kernels."""
    axis = at.axis(axis, len(dims(x)), (PARAM, "axis"))
    spatial = len(dims(x)) - axis - 1
    window_ = window(
        at,
        x=x,
        axis=axis,
        kernel=spread(at, "kernel_size", kernel_size, (kernel_h, kernel_w), spatial, None),
        stride=spread(at, "stride", stride, (stride_h, stride_w), spatial, 1),
        pad=spread(at, "pad", pad, (pad_h, pad_w), spatial, 0),
        dilation=spread(at, "dilation", dilation, (dilation_h, dilation_w), spatial, 1),
    )
    sizes = convolved(at, window_, dims(x)[axis + 1 :])
    taps, channels = math.prod(window_.kernel), dims(x)[axis]
    if taps > 4096:
        raise at.unsupported(f"windows of {taps:,} values", "at most 4,096")
    at.limit_constant(channels, taps, taps)
    one_hot = np.tile(
        np.eye(taps, dtype=np.float32).reshape(taps, 1, *window_.kernel), (channels, *(1,) * (spatial + 1))
    )
    return _apply(
        at,
        op_type="Conv",
        x=x,
        axis=axis,
        weight=at.constant(one_hot, "windows"),
        bias=None,
        window_=window_,
        group=channels,
        channels=channels * taps,
        sizes=sizes,
    )


@layer(
    "Convolution3D",
    "Deconvolution3D",
    param=PARAM_3D,
    origin="c3d",
    ignoring={"group": "nothing reads it", "filter_group": "splits the work and not the channels"},
)
def convolution_3d(
    at: Layer,
    x: Value,
    *,
    num_output: int | None = None,
    bias_term: bool = True,
    pad: int = 0,
    kernel_size: int | None = None,
    kernel_depth: int | None = None,
    stride: int = 1,
    temporal_stride: int = 1,
    temporal_pad: int = 0,
    weight_filler: Node | None = None,
    bias_filler: Node | None = None,
) -> Value:
    """Convolution over time, height and width, and its transpose; with an extent, a stride and a pad of its
    own along time"""
    _, channels, *spatial = at.rank(x, 5)
    if not num_output or not kernel_size or not kernel_depth:
        raise at.malformed(
            "'num_output', 'kernel_size' or 'kernel_depth' is missing",
            f"{PARAM_3D} {{ num_output: ... kernel_size: ... kernel_depth: ... }}",
        )
    window_ = window(
        at,
        x=x,
        axis=1,
        kernel=(kernel_depth, kernel_size, kernel_size),
        stride=(temporal_stride, stride, stride),
        pad=(temporal_pad, pad, pad),
        dilation=(1, 1, 1),
    )
    transpose = at.type == "Deconvolution3D"
    stored = (channels, num_output) if transpose else (num_output, channels)
    bias_form = (1, 1, 1, 1, num_output)  # C3D's blobs have five axes
    return _apply(
        at,
        op_type="ConvTranspose" if transpose else "Conv",
        x=x,
        axis=1,
        weight=at.blob(0, "weight", (*stored, *window_.kernel), filler=weight_filler),
        bias=at.blob(1, "bias", (num_output,), forms=[bias_form], filler=bias_filler, default=0.0)
        if bias_term
        else None,
        window_=window_,
        group=1,
        channels=num_output,
        sizes=transposed(at, window_, spatial) if transpose else convolved(at, window_, spatial),
    )


@layer(
    "DeformableConvolution",
    param="deformable_convolution_param",
    origin="deformable",
    ignoring={"engine": ENGINE, "force_nd_im2col": ENGINE},
)
def deformable_convolution(
    at: Layer,
    x: Value,
    offsets: Value,
    *,
    num_output: int | None = None,
    bias_term: bool = True,
    pad: tuple[int, ...] = (),
    kernel_size: tuple[int, ...] = (),
    stride: tuple[int, ...] = (),
    dilation: tuple[int, ...] = (),
    pad_h: int = 0,
    pad_w: int = 0,
    kernel_h: int | None = None,
    kernel_w: int | None = None,
    stride_h: int | None = None,
    stride_w: int | None = None,
    group: int = 1,
    deformable_group: int = 4,
    weight_filler: Node | None = None,
    bias_filler: Node | None = None,
    axis: int = 1,
) -> Value:
    """A convolution whose taps are moved by offsets (N, groups kernel 2, H', W'), y before x: the values at
    all taps are taken out of the image, and a product with the weights follows

    ONNX's DeformConv differs in the pixel around the image, where this layer has nothing before it and goes
    on behind it.
    """
    n, channels, *spatial = at.rank(x, 4)
    at.expect("axis", at.axis(axis, 4, ("deformable_convolution_param", "axis")), 1)
    kernel = spread(at, "kernel_size", kernel_size, (kernel_h, kernel_w), 2, None)
    window_ = window(
        at,
        x=x,
        axis=1,
        kernel=kernel,
        stride=spread(at, "stride", stride, (stride_h, stride_w), 2, 1),
        pad=spread(at, "pad", pad, (pad_h, pad_w), 2, 0),
        dilation=spread(at, "dilation", dilation, (None, None), 2, 1),
    )
    size, taps, parts = convolved(at, window_, spatial), math.prod(kernel), deformable_group
    if not num_output or group < 1 or channels % group or num_output % group:
        raise at.malformed(f"num_output is {num_output}, group {group}", "multiples of group")
    if parts < 1 or channels % parts or dims(offsets) != (n, parts * taps * 2, *size):
        raise at.malformed(
            f"offsets of shape {shown(dims(offsets))} for {parts} groups of {channels} channels",
            f"{shown((n, max(parts, 1) * taps * 2, *size))}, and groups that divide the channels",
        )
    with at.build.decoding():
        moved = at.reshape(offsets, (n * parts, taps, 2, *size))
        moved = at.op("Add", moved, at.constant(_places(at, window_, size), "taps"))
        flipped = at.op("Concat", at.cut(moved, 2, 1, 2), at.cut(moved, 2, 0, 1), shape=dims(moved), axis=2)
        places = at.reshape(at.transpose(flipped, [0, 2, 1, 3, 4]), (n * parts, 2, taps * size[0], size[1]))
        images = at.reshape(x, (n * parts, channels // parts, *spatial))
        columns = at.reshape(sampled(at, images, places, 0.0), (n, channels * taps, *size))
    stored, depth = (num_output, channels // group, *kernel), channels // group * taps
    return at.op(
        "Conv",
        columns,
        at.blob(0, "weight", stored, filler=weight_filler, view=(num_output, depth, 1, 1)),
        at.blob(1, "bias", (num_output,), filler=bias_filler, default=0.0) if bias_term else None,
        shape=(n, num_output, *size),
        kernel_shape=[1, 1],
        group=group,
    )


def _places(at: Layer, window_: Window, size: Shape) -> np.ndarray:
    """(1, taps, 2, H', W'): where each tap stands before it is moved, y and x."""
    at.limit_constant(math.prod(window_.kernel), 2, *size)
    starts = [np.arange(o) * s - p for o, s, p in zip(size, window_.stride, window_.pad, strict=True)]
    steps = [np.arange(k) * d for k, d in zip(window_.kernel, window_.dilation, strict=True)]
    y = steps[0][:, None, None, None] + starts[0][:, None]
    x = steps[1][None, :, None, None] + starts[1]
    both = np.broadcast_arrays(y, x)
    return np.stack([v.reshape(-1, *size) for v in both], 1)[None].astype(np.float32)
