"""The sample network as one table, which the trainer and the three writers walk over.

A layer's input is the layer before it; a Shortcut also adds the layer that it names. Every kind of layer
means the same in ONNX, Caffe and darknet, so that the three files are twins: convolutions without bias before
a batch norm, square kernels padded by size // 2, slopes 0 (relu) and 0.1 (leaky), and one epsilon inside the
root.

Parameters are a dict of float32 arrays: `layer/weight`, then `layer/gamma`, `/beta`, `/mean`, `/variance`
where a batch norm follows, else `layer/bias`. Weights are (filters, inputs / groups, size, size), or
(outputs, inputs) of a dense layer that reads its input as C, H, W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NAME = "digits"
INPUT = "data"
IMAGE = (1, 8, 8)
CLASSES = 10
EPSILON = 1e-5
SLOPE = {"relu": 0.0, "leaky": 0.1}
Parameters = dict[str, np.ndarray]


@dataclass(frozen=True)
class Conv:
    name: str
    filters: int
    size: int
    activation: str
    stride: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Shortcut:
    name: str
    source: str
    activation: str


@dataclass(frozen=True)
class MaxPool:
    name: str
    size: int


@dataclass(frozen=True)
class Dense:
    name: str
    outputs: int
    activation: str = "linear"
    batch_norm: bool = False


@dataclass(frozen=True)
class Softmax:
    name: str


Layer = Conv | Shortcut | MaxPool | Dense | Softmax

NETWORK: tuple[Layer, ...] = (
    Conv("conv1", 16, 3, "relu"),
    Conv("conv2", 32, 3, "relu"),
    Conv("depthwise", 32, 3, "leaky", groups=32),
    Conv("pointwise", 32, 1, "linear"),
    Shortcut("residual", "conv2", "relu"),
    Conv("conv3", 48, 3, "leaky", stride=2),
    MaxPool("pool", 2),
    Dense("hidden", 64, "leaky", batch_norm=True),
    Dense("logits", CLASSES),
    Softmax("prob"),
)


def normalised(layer: Layer) -> bool:
    """Does a batch norm follow this layer's linear part?"""
    return isinstance(layer, Conv) or (isinstance(layer, Dense) and layer.batch_norm)


def shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every parameter, in the order of the network."""
    found: dict[str, tuple[int, ...]] = {}
    channels, height, width = IMAGE
    for layer in NETWORK:
        if isinstance(layer, Conv):
            found[f"{layer.name}/weight"] = (layer.filters, channels // layer.groups, layer.size, layer.size)
            channels, height, width = layer.filters, -(-height // layer.stride), -(-width // layer.stride)
        elif isinstance(layer, Dense):
            found[f"{layer.name}/weight"] = (layer.outputs, channels * height * width)
            channels, height, width = layer.outputs, 1, 1
        elif isinstance(layer, MaxPool):
            height, width = height // layer.size, width // layer.size
        if normalised(layer):
            found.update(
                {f"{layer.name}/{what}": (channels,) for what in ("gamma", "beta", "mean", "variance")}
            )
        elif isinstance(layer, Dense):
            found[f"{layer.name}/bias"] = (channels,)
    return found
