"""Batch norm, wherever it stands, in the formula of the dialect; [batchnorm]; [normalization]; [l2norm]."""

from __future__ import annotations

import numpy as np

from ....errors import Unsupported
from ....ir.graph import ir
from ....ir.tensor import Recipe, Window
from ..dialects import DIALECTS, EPSILON, EPSILON_OUTSIDE, Fork
from ..layer import Layer, dims_of
from ..network import Epsilon, Feature, Norm
from ..schema import positive, section
from ..weights import FLOAT, Missing, filled

MATTERS = 0.01  # relative change of a channel's scale between the formulas that is worth a note
MOST_CHANNELS = 4096  # for the matrix of [normalization]


def take_norm(layer: Layer, channels: int, prefix: str = "") -> Norm:
    """scales, mean and variance in file order; 1, 0, 0 where the file has none (dontloadscales)."""
    if layer.dontloadscales:
        ones, zeros = filled((channels,), 1), filled((channels,), 0)
        return Norm(
            layer.weight(f"{prefix}scales", ones),
            layer.weight(f"{prefix}mean", zeros),
            layer.weight(f"{prefix}variance", _variance(layer, filled((channels,), 0))),
        )
    scales, mean = layer.take(f"{prefix}scales", channels), layer.take(f"{prefix}mean", channels)
    variance = layer.tensor(f"{prefix}variance", channels)
    _examine(layer, scales.const_value, variance)
    return Norm(scales, mean, layer.weight(f"{prefix}variance", _variance(layer, variance)))


def _variance(layer: Layer, rolling: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor to store, see Dialect.variance; a recipe where it is not the file's own."""
    if not layer.dialect.outside or isinstance(rolling, Missing):
        return rolling
    dialect = layer.dialect
    return Recipe(FLOAT, rolling.shape.numpy(), lambda: iter([dialect.variance(rolling.numpy())]))


def _examine(layer: Layer, scales: ir.TensorProtocol | None, variance: ir.TensorProtocol) -> None:
    """Note what the smallest variances do to the choice of epsilon, and variances that are none."""
    if not isinstance(variance, Window) or scales is None:
        return
    with np.errstate(invalid="ignore"):  # a signalling NaN
        values = variance.numpy().astype(np.float64)
    if not np.isfinite(values).all() or values.min() < -EPSILON:
        layer.warn(
            "variance",
            f"running variances from {values.min():.3g} to {values.max():.3g}: do cfg and weights "
            "belong together?",
        )
        return
    if layer.dialect.outside and values.min() < 0:
        layer.warn(
            "variance",
            f"the smallest running variance is {values.min():.3g}; the root of a negative number is "
            "NaN, as in darknet",
        )
    values = np.maximum(values, 0)
    ratio = np.sqrt(values + EPSILON) / (np.sqrt(values) + EPSILON_OUTSIDE)
    alive = scales.numpy() != 0
    layer.network.epsilons.append(
        Epsilon(
            str(layer.source),
            channels=int((alive & (np.abs(ratio - 1) > MATTERS)).sum()),
            of=values.size,
            ratio=float(ratio[alive].max(initial=1)),
            smallest=float(values.min(initial=np.inf)),
        )
    )


def batch_norm(layer: Layer, x: ir.Value, norm: Norm, biases: ir.Value, prefix: str = "") -> ir.Value:
    """(x - mean) / sqrt(variance + epsilon) * scales + biases."""
    return layer.op(
        "BatchNormalization",
        x,
        norm.scales,
        biases,
        norm.mean,
        norm.variance,
        what=f"{prefix}norm",
        epsilon=layer.dialect.epsilon,
    )


@section("batchnorm")
def batchnorm(layer: Layer, x: Feature) -> Feature:
    """Batch norm over the channels. AlexeyAB's file has biases first, pjreddie's has none."""
    image = layer.image(x)
    biases = (
        layer.take("biases", x.channels)
        if layer.fork is Fork.ALEXEYAB
        else layer.weight("biases", filled((x.channels,), 0))
    )
    return layer.like(batch_norm(layer, image, take_norm(layer, x.channels), biases), x)


@section("normalization", "lrn")
def normalization(
    layer: Layer, x: Feature, *, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0, size: int = 5
) -> Feature:
    """x (kappa + alpha S)^-beta. S sums squares over `size` channels around each, less the square of channel
    size/2, which darknet's running sum never adds and later subtracts; alpha is not divided by the size."""
    positive(size=size)
    channels, image = x.channels, layer.image(x)
    if channels > MOST_CHANNELS or size // 2 >= channels:
        raise Unsupported(
            f"size={size} over {channels} channels",
            expected=f"at most {MOST_CHANNELS} channels, and more than size/2",
        )
    here, there = np.arange(channels)[:, None], np.arange(channels)[None, :]
    near = (there >= here - (size - 1) // 2) & (there <= here + size // 2)
    window = near.astype(np.float32) - (there == size // 2)
    kernel = layer.constant("window", window.astype(np.float32)[:, :, None, None])
    sums = layer.op("Conv", layer.op("Mul", image, image), kernel, what="sums")
    base = layer.op("Add", layer.op("Mul", sums, layer.scalar(alpha)), layer.scalar(kappa))
    return layer.like(layer.op("Mul", image, layer.op("Pow", base, layer.scalar(-beta))), x)


@section("l2norm", only=Fork.PJREDDIE)
def l2norm(layer: Layer, x: Feature) -> Feature:
    """x / sqrt(sum over channels of x^2), pixel by pixel. Where all is zero, the GPU code divides by one
    (src/blas_kernels.cu, l2norm_kernel) and the CPU code by zero."""
    image = layer.image(x)
    root = layer.op("Sqrt", layer.reduce("ReduceSum", layer.op("Mul", image, image), 1))
    if layer.dialect is not DIALECTS["pjreddie-cpu"]:
        empty = layer.op("Equal", root, layer.scalar(0), what="empty", dtype=ir.DataType.BOOL)
        root = layer.op(
            "Where", empty, layer.scalar(1), root, what="length", dtype=ir.DataType.FLOAT, shape=dims_of(root)
        )
    return layer.like(layer.op("Div", image, root), x)
