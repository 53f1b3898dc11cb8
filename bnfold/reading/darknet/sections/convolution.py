"""Linear layers with weights: [convolutional], [deconvolutional], [connected], [local].

Conv, Dense             what a layer computes
take_conv, take_dense   its arrays, in file order
apply_conv, apply_dense its operators; recurrent sections apply the same arrays at every time step
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ....errors import Malformed, Mismatch, Unsupported
from ....ir.graph import ir
from ....ir.tensor import Recipe
from ....records import dataclass
from ..activations import IN_PLACES, activate
from ..dialects import Fork
from ..layer import Layer, dims_of
from ..network import Feature, Kernel
from ..schema import AlexeyInt, positive, section
from ..weights import FLOAT, Missing, by_rows, repeated, transposed
from .normalising import batch_norm, take_norm

CONV, LINEAR = IN_PLACES, "linear"
NOBODY = -1_000_000_000  # darknet's own "no share_index"
LARGEST_LOCAL = 31  # the one-hot kernels that cut patches have size^4 numbers
BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


@dataclass(frozen=True)
class Conv:
    """A convolution: sizes, padding in pixels before dilation, what follows it."""

    filters: int
    size: int = 1
    stride_x: int = 1
    stride_y: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    norm: bool = False
    activation: str = LINEAR
    xnor: bool = False
    flipped: bool = False

    @property
    def uneven(self) -> bool:
        """Do the groups leave filters over, for which darknet computes nothing?"""
        return self.filters % self.groups != 0

    def check(self, channels: int, uneven: bool = False) -> Conv:
        """The same with groups as darknet reads them; `uneven` ones may leave filters over. Errors: Malformed
        for sizes that are none."""
        positive(
            filters=self.filters,
            size=self.size,
            stride=min(self.stride_x, self.stride_y),
            dilation=self.dilation,
        )
        if self.padding < 0:
            raise Malformed(f"padding={self.padding}", expected="padding of at least 0")
        groups = 1 if self.xnor or self.groups < 1 else self.groups
        if channels % groups or (self.filters % groups and not uneven):
            raise Malformed(
                f"groups={groups} for {channels} channels and {self.filters} filters",
                expected="groups that divide both",
            )
        return replace(self, groups=groups, dilation=1 if self.size == 1 else self.dilation)

    def out(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) by darknet's formula, which leaves dilation out."""
        return (
            _out(height, self.size, self.padding, self.stride_y, self.dilation),
            _out(width, self.size, self.padding, self.stride_x, self.dilation),
        )

    def pads(self, height: int, width: int) -> list[int]:
        """ONNX pads: the padding at real distance, and what a window lacks that reaches over the end."""
        reach = self.padding * self.dilation
        return [
            reach,
            reach,
            *(reach + max(0, self.size - extent - 2 * self.padding) for extent in (height, width)),
        ]


def windows(extent: int, padding: int, size: int, stride: int) -> int:
    """How many windows: (extent + padding - size) / stride + 1 with C's division towards zero, so that one
    window may reach over the end by less than a stride. `padding` is that of both sides. Errors: Malformed
    where none fits."""
    room = extent + padding - size
    if room <= -stride:
        raise Malformed(
            f"a window of {size} over {extent} pixels and {padding} of padding", expected="a window that fits"
        )
    return max(room, 0) // stride + 1


def _out(extent: int, size: int, padding: int, stride: int, dilation: int) -> int:
    out = windows(extent, 2 * padding, size, stride)
    if dilation > 1 and out != (extent + 2 * padding * dilation - dilation * (size - 1) - 1) // stride + 1:
        raise Unsupported(
            f"dilation={dilation} with size={size} and padding={padding}: darknet sizes the result "
            "without dilation",
            expected="padding (size - 1) / 2 with an odd size",
        )
    return out


def take_conv(layer: Layer, conv: Conv, channels: int, prefix: str = "") -> Kernel:
    """biases, then scales, mean and variance with batch norm, then the kernel."""
    biases = layer.take(f"{prefix}biases", conv.filters)
    norm = take_norm(layer, conv.filters, prefix) if conv.norm else None
    shape = (conv.filters, channels // conv.groups, conv.size, conv.size)
    if conv.flipped:
        stored: ir.TensorProtocol = transposed(
            layer.tensor(f"{prefix}weights", int(np.prod(shape[1:])), conv.filters), shape
        )
    else:
        stored = layer.tensor(f"{prefix}weights", *shape)
    return Kernel(biases, norm, layer.weight(f"{prefix}weights", _as_used(stored, conv, channels)), stored)


def _as_used(stored: ir.TensorProtocol, conv: Conv, channels: int) -> ir.TensorProtocol:
    """The kernel that is applied, made of the stored one."""
    if conv.xnor:
        return by_rows(stored, _binary)
    return _ungrouped(stored, conv, channels) if conv.uneven else stored


def _ungrouped(stored: ir.TensorProtocol, conv: Conv, channels: int) -> Recipe:
    """Uneven groups as one convolution: group j has filters/groups filters, whose weights begin at j/groups
    of all stored numbers; filters behind those of the last group are zero (src/convolutional_layer.c,
    forward_convolutional_layer)."""
    per_group, taps = conv.filters // conv.groups, (channels // conv.groups, conv.size, conv.size)
    shape = (conv.filters, channels, conv.size, conv.size)
    if isinstance(stored, Missing):
        return Missing(shape, stored.where, stored.why)

    def rows() -> Iterator[np.ndarray]:
        numbers, count = stored.numpy().reshape(-1), math.prod(taps)
        for number in range(conv.filters):
            row = np.zeros((1, *shape[1:]), np.float32)
            group = number // per_group if per_group else conv.groups
            if group < conv.groups:
                begin = group * numbers.size // conv.groups + number % per_group * count
                row[0, group * taps[0] : (group + 1) * taps[0]] = numbers[begin : begin + count].reshape(taps)
            yield row

    return Recipe(FLOAT, shape, rows)


def _binary(rows: np.ndarray) -> np.ndarray:
    """Every weight as plus or minus the mean magnitude of its filter (pjreddie: src/convolutional_layer.c,
    binarize_weights)."""
    mean: np.ndarray = np.abs(rows).mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return np.where(rows > 0, mean, -mean)


def apply_conv(layer: Layer, x: ir.Value, conv: Conv, kernel: Kernel, prefix: str = "") -> ir.Value:
    """conv -> (batch norm | biases) -> activation; with xnor the input is +1 or -1, and padding stays 0."""
    if conv.xnor:
        x = layer.op(
            "Where",
            layer.op("Greater", x, layer.scalar(0), dtype=ir.DataType.BOOL),
            layer.scalar(1),
            layer.scalar(-1),
            what=f"{prefix}sign",
            dtype=ir.DataType.FLOAT,
            shape=dims_of(x),
        )
    rows, _, height, width = dims_of(x)
    y = layer.op(
        "Conv",
        x,
        kernel.weights,
        None if kernel.norm else kernel.biases,
        what=f"{prefix}conv",
        shape=[rows, conv.filters, *conv.out(height, width)],
        kernel_shape=[conv.size] * 2,
        strides=[conv.stride_y, conv.stride_x],
        pads=conv.pads(height, width),
        dilations=[conv.dilation] * 2,
        group=conv.groups,
    )
    if kernel.norm:
        y = batch_norm(layer, y, kernel.norm, kernel.biases, prefix)
    return activate(layer, y, conv.activation, special=CONV)


@section("convolutional", "conv")
def convolutional(
    layer: Layer,
    x: Feature,
    *,
    filters: int = 1,
    size: int = 1,
    stride: int = 1,
    stride_x: AlexeyInt = -1,
    stride_y: AlexeyInt = -1,
    pad: int = 0,
    padding: int = 0,
    groups: int = 1,
    dilation: AlexeyInt = 1,
    batch_normalize: int = 0,
    cbn: AlexeyInt = 0,
    activation: str = "logistic",
    antialiasing: AlexeyInt = 0,
    share_index: AlexeyInt = NOBODY,
    flipped: int = 0,
    binary: int = 0,
    xnor: int = 0,
    coordconv: AlexeyInt = 0,
) -> Feature:
    """A convolution, its batch norm and its activation; `antialiasing` blurs, and strides only then."""
    image = layer.image(x)
    across, down = stride_x if stride_x >= 1 else stride, stride_y if stride_y >= 1 else stride
    conv = Conv(
        filters=filters,
        size=size,
        stride_x=across,
        stride_y=down,
        padding=size // 2 if pad else padding,
        dilation=dilation,
        groups=groups,
        norm=bool(batch_normalize or cbn),
        activation=activation,
        xnor=bool(xnor),
        flipped=bool(flipped),
    ).check(x.channels, uneven=True)
    if antialiasing:
        conv = replace(conv, stride_x=1, stride_y=1)
    _remark(layer, conv, binary, coordconv)
    kernel = (
        _shared(layer, share_index, conv) if share_index != NOBODY else take_conv(layer, conv, x.channels)
    )
    layer.network.kernels[layer.index] = kernel
    out = layer.feature(image, filters, *conv.out(*x.spot))  # a wrong size is found before a node is made
    out.value = apply_conv(layer, image, replace(conv, groups=1) if conv.uneven else conv, kernel)
    layer.network.note_predictor(
        layer.index, floats=x.channels // conv.groups * size * size + (4 if conv.norm else 1)
    )
    return blurred(layer, out, antialiasing, across, down)


def _remark(layer: Layer, conv: Conv, binary: int, coordconv: int) -> None:
    """What a user should know of options that darknet's CPU and GPU code treat differently."""
    if conv.xnor and layer.fork is Fork.ALEXEYAB:
        layer.warn(
            "xnor",
            "xnor is computed as pjreddie's darknet does; alexeyab's CPU code needs packed bits first",
            "xnor",
        )
    if binary and not conv.xnor:
        layer.note("binary", "binary=1 changes nothing at inference, as on darknet's CPU", "binary")
    if conv.uneven:
        layer.warn(
            "groups",
            f"groups={conv.groups} leave {conv.filters % conv.groups} of {conv.filters} filters over: as in "
            "darknet, their channels hold only their biases",
            "groups",
        )
    if layer.fork is Fork.ALEXEYAB and conv.size == conv.stride_x == 1 < conv.stride_y:
        layer.warn(
            "stride",
            f"stride_x=1 stride_y={conv.stride_y} with size=1 is computed as on the GPU; {layer.whose}'s CPU "
            "code takes the input without the stride",
            "stride_y",
        )
    if coordconv:
        layer.warn(
            "coordconv",
            "coordconv=1 is ignored, as on the CPU; darknet's GPU code writes coordinates into channels",
            "coordconv",
        )
    if conv.flipped and conv.groups > 1 and layer.fork is Fork.PJREDDIE:
        raise Unsupported(
            f"flipped=1 with groups={conv.groups}: pjreddie's darknet turns more numbers than the kernel has",
            where=layer.at("flipped"),
            way_out="--dialect alexeyab turns the kernel alone",
        )
    if layer.numload not in (0, conv.filters):
        raise Unsupported(
            f"numload={layer.numload}: the file holds {layer.numload} of {conv.filters} filters, and the "
            "others stay random",
            where=layer.at("numload"),
            way_out="use the weights file that training wrote afterwards",
        )


def _shared(layer: Layer, share_index: int, conv: Conv) -> Kernel:
    """The arrays of another convolution; they are not in the file again."""
    layer.earlier(share_index)
    at = share_index if share_index >= 0 else layer.index + share_index
    kernel = layer.network.kernels.get(at)
    if kernel is None:
        raise Malformed(
            f"share_index={share_index} names layer #{at}, which is no convolution",
            where=layer.at("share_index"),
        )
    x = layer.network.features[layer.index - 1].channels if layer.index else layer.network.input.channels
    want, have = (conv.filters, x // conv.groups, conv.size, conv.size), tuple(kernel.stored.shape.numpy())
    if want != have:
        raise Mismatch(
            f"the kernel of layer #{at} is {have}",
            where=layer.at("share_index"),
            expected=f"{want}, as this layer needs",
        )
    if conv.norm and not kernel.norm:
        raise Malformed(
            f"batch_normalize=1, but layer #{at} has no batch norm to share",
            where=layer.at("batch_normalize"),
        )
    weights = layer.weight("weights", _as_used(kernel.stored, conv, x)) if conv.xnor else kernel.weights
    return replace(kernel, norm=kernel.norm if conv.norm else None, weights=weights)


def blurred(layer: Layer, x: Feature, antialiasing: int, stride_x: int, stride_y: int) -> Feature:
    """A fixed blur, channel by channel, that applies the stride: 3 x 3 binomial with padding 1, or (2) the
    mean of 2 x 2."""
    if not antialiasing:
        return x
    size, padding = (2, 0) if antialiasing == 2 else (3, 1)
    kernel = np.full((2, 2), 0.25) if antialiasing == 2 else BLUR
    conv = Conv(x.channels, size, stride_x, stride_y, padding, groups=x.channels)
    spot = conv.out(*x.spot)
    y = layer.op(
        "Conv",
        x.value,
        layer.weight("blur", repeated(kernel[None, None], x.channels)),
        what="blurred",
        shape=[layer.network.rows, x.channels, *spot],
        kernel_shape=[size] * 2,
        strides=[stride_y, stride_x],
        pads=conv.pads(*x.spot),
        group=x.channels,
    )
    out = layer.feature(y, x.channels, *spot)
    out.unstrided = x.spot
    return out


@section("deconvolutional", "deconv", only=Fork.PJREDDIE)
def deconvolutional(
    layer: Layer,
    x: Feature,
    *,
    filters: int = 1,
    size: int = 1,
    stride: int = 1,
    pad: int = 0,
    padding: int = 0,
    batch_normalize: int = 0,
    activation: str = "logistic",
) -> Feature:
    """A transposed convolution; the kernel is stored [channels][filters][row][column], as in ONNX."""
    positive(filters=filters, size=size, stride=stride)
    image, padding = layer.image(x), size // 2 if pad else padding
    spot = tuple((extent - 1) * stride + size - 2 * padding for extent in x.spot)
    if padding < 0 or min(spot) < 1:
        raise Malformed(
            f"size={size} stride={stride} padding={padding} gives {spot[0]} x {spot[1]} pixels",
            expected="at least 1 x 1",
        )
    out = layer.feature(image, filters, *spot)
    biases = layer.take("biases", filters)
    norm = take_norm(layer, filters) if batch_normalize else None
    weights = layer.take("weights", x.channels, filters, size, size)
    y = layer.op(
        "ConvTranspose",
        image,
        weights,
        None if norm else biases,
        what="conv",
        shape=[layer.network.rows, filters, *spot],
        kernel_shape=[size] * 2,
        strides=[stride] * 2,
        pads=[padding] * 4,
    )
    if norm:
        y = batch_norm(layer, y, norm, biases)
    out.value = activate(layer, y, activation)
    return out


def take_dense(layer: Layer, inputs: int, outputs: int, norm: bool, prefix: str = "") -> Kernel:
    """biases, then the matrix, then the batch norm (after the matrix, unlike a convolution)."""
    biases = layer.take(f"{prefix}biases", outputs)
    shape = (inputs, outputs) if layer.network.arrays.transposed else (outputs, inputs)
    stored = layer.tensor(f"{prefix}weights", *shape)
    weights = layer.weight(f"{prefix}weights", stored)
    return Kernel(biases, take_norm(layer, outputs, prefix) if norm else None, weights, stored)


def apply_dense(
    layer: Layer, x: ir.Value, kernel: Kernel, activation: str = LINEAR, prefix: str = ""
) -> ir.Value:
    """W x -> (batch norm | biases) -> activation on (rows, inputs)."""
    across = 0 if layer.network.arrays.transposed else 1
    y = layer.op(
        "Gemm",
        x,
        kernel.weights,
        None if kernel.norm else kernel.biases,
        what=f"{prefix}gemm",
        transB=across,
        shape=[dims_of(x)[0], *dims_of(kernel.biases)],
    )
    if kernel.norm:
        y = batch_norm(layer, y, kernel.norm, kernel.biases, prefix)
    return activate(layer, y, activation)


@section("connected", "conn")
def connected(
    layer: Layer, x: Feature, *, output: int = 1, activation: str = "logistic", batch_normalize: int = 0
) -> Feature:
    """A fully connected layer over the input in the order channel, row, column."""
    positive(output=output)
    flat = layer.flat(x)
    out = layer.feature(flat, output, 1, 1)
    out.value = apply_dense(layer, flat, take_dense(layer, x.size, output, bool(batch_normalize)), activation)
    return out


@section("local")
def local(
    layer: Layer,
    x: Feature,
    *,
    filters: int = 1,
    size: int = 1,
    stride: int = 1,
    pad: int = 0,
    activation: str = "logistic",
) -> Feature:
    """A convolution with a kernel of its own at every location, stored
    [location][filter][channel][row][column].

    Patches are cut by a convolution with one-hot kernels; then one matrix per location."""
    conv = Conv(filters, size, stride, stride, pad).check(x.channels)
    image, taps = layer.image(x), x.channels * size * size
    spot = tuple(windows(extent, 0, 1 if pad else size, stride) for extent in x.spot)
    if spot != conv.out(*x.spot) or pad not in (0, 1):
        raise Unsupported(
            f"pad={pad} with size={size}: darknet sizes the result as if the size were 3",
            expected="pad=0, or size=3 with pad=1",
        )
    places = spot[0] * spot[1]
    out = layer.feature(image, filters, *spot)
    biases = layer.take("biases", filters, *spot)
    weights = layer.take("weights", places, filters, taps)
    if size > LARGEST_LOCAL:
        raise Unsupported(f"size={size} in a [local]", expected=f"at most {LARGEST_LOCAL}")
    cutter = layer.weight("cutter", repeated(np.eye(size * size).reshape(-1, 1, size, size), x.channels))
    patches = layer.op(
        "Conv",
        image,
        cutter,
        what="patches",
        shape=[layer.network.rows, taps, *spot],
        kernel_shape=[size] * 2,
        strides=[stride] * 2,
        pads=conv.pads(*x.spot),
        group=x.channels,
    )
    columns = layer.transpose(layer.reshape(patches, [0, taps, places]), [2, 1, 0])
    products = layer.op("MatMul", weights, columns, shape=[places, filters, layer.network.rows])
    y = layer.reshape(layer.transpose(products, [2, 1, 0]), [0, filters, *spot])
    out.value = activate(layer, layer.op("Add", y, biases, what="biased"), activation)
    return out
