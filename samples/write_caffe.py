"""The sample network as Caffe: a deploy prototxt and a caffemodel.

Caffe splits a batch norm into BatchNorm (statistics, each times a factor that the third blob holds) and Scale
(gamma and beta). The factor is what Caffe's own moving average reaches: every step of training multiplies it
by `moving_average_fraction` and adds 1. The caffemodel goes out field by field on the protobuf wire; the
numbers are those of Caffe's NetParameter, LayerParameter and BlobProto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bnfold.files import protobuf

from .network import (
    EPSILON,
    IMAGE,
    INPUT,
    NAME,
    NETWORK,
    SLOPE,
    Conv,
    Dense,
    Layer,
    MaxPool,
    Parameters,
    Shortcut,
    normalised,
)

FRACTION = 0.9
FACTOR = np.float32(1 / (1 - FRACTION))
NET_NAME, NET_LAYER = 1, 100
LAYER_NAME, LAYER_TYPE, LAYER_BOTTOM, LAYER_TOP, LAYER_BLOBS = 1, 2, 3, 4, 7
BLOB_DATA, BLOB_SHAPE, SHAPE_DIM = 5, 7, 1


@dataclass(frozen=True)
class CaffeLayer:
    name: str
    type: str
    bottoms: tuple[str, ...]
    top: str
    options: str = ""
    blobs: tuple[np.ndarray, ...] = ()

    def text(self) -> str:
        bottoms = (f'bottom: "{bottom}"' for bottom in self.bottoms)
        lines = (f'name: "{self.name}"', f'type: "{self.type}"', *bottoms, f'top: "{self.top}"', self.options)
        return "layer {\n" + "".join(f"  {line}\n" for line in lines if line) + "}\n"

    def wire(self) -> bytes:
        texts = [
            (LAYER_NAME, self.name),
            (LAYER_TYPE, self.type),
            *((LAYER_BOTTOM, b) for b in self.bottoms),
            (LAYER_TOP, self.top),
        ]
        payloads = [(number, text.encode()) for number, text in texts] + [
            (LAYER_BLOBS, blob_bytes(blob)) for blob in self.blobs
        ]
        return b"".join(protobuf.bytes_field(number, payload) for number, payload in payloads)


def caffe_files(parameters: Parameters) -> tuple[str, bytes]:
    """The text of the prototxt and the bytes of the caffemodel."""
    dims = " ".join(f"dim: {d}" for d in (1, *IMAGE))
    rows = [
        CaffeLayer(INPUT, "Input", (), INPUT, f"input_param {{ shape {{ {dims} }} }}"),
        *layers(parameters),
    ]
    net = protobuf.bytes_field(NET_NAME, NAME.encode()) + b"".join(
        protobuf.bytes_field(NET_LAYER, row.wire()) for row in rows
    )
    return f'name: "{NAME}"\n' + "".join(row.text() for row in rows), net


def layers(parameters: Parameters) -> Iterator[CaffeLayer]:
    """Every Caffe layer in order; batch norms, scales and activations work in place."""
    bottom = INPUT
    for layer in NETWORK:
        kind, options = kind_of(layer)
        bottoms = (bottom, layer.source) if isinstance(layer, Shortcut) else (bottom,)
        blobs = tuple(
            parameters[key] for key in (f"{layer.name}/weight", f"{layer.name}/bias") if key in parameters
        )
        bottom = layer.name
        yield CaffeLayer(layer.name, kind, bottoms, bottom, options, blobs)
        if normalised(layer):
            gamma, beta, mean, variance = (
                parameters[f"{layer.name}/{what}"] for what in ("gamma", "beta", "mean", "variance")
            )
            options = f"batch_norm_param {{ moving_average_fraction: {FRACTION} eps: {EPSILON} }}"
            statistics = (mean * FACTOR, variance * FACTOR, np.full(1, FACTOR))
            yield CaffeLayer(f"{bottom}/bn", "BatchNorm", (bottom,), bottom, options, statistics)
            yield CaffeLayer(
                f"{bottom}/scale",
                "Scale",
                (bottom,),
                bottom,
                "scale_param { bias_term: true }",
                (gamma, beta),
            )
        slope = SLOPE.get(getattr(layer, "activation", "linear"))
        if slope is not None:
            options = f"relu_param {{ negative_slope: {slope} }}" if slope else ""
            yield CaffeLayer(f"{bottom}/act", "ReLU", (bottom,), bottom, options)


def kind_of(layer: Layer) -> tuple[str, str]:
    """Caffe's name of a layer's type, and its options."""
    if isinstance(layer, Conv):
        extra = "".join(
            f" {key}: {value}"
            for key, value in (("stride", layer.stride), ("group", layer.groups))
            if value != 1
        )
        sizes = f"num_output: {layer.filters} kernel_size: {layer.size} pad: {layer.size // 2}{extra}"
        return "Convolution", f"convolution_param {{ {sizes} bias_term: false }}"
    if isinstance(layer, Dense):
        bias = " bias_term: false" if layer.batch_norm else ""
        return "InnerProduct", f"inner_product_param {{ num_output: {layer.outputs}{bias} }}"
    if isinstance(layer, Shortcut):
        return "Eltwise", "eltwise_param { operation: SUM }"
    if isinstance(layer, MaxPool):
        return "Pooling", f"pooling_param {{ pool: MAX kernel_size: {layer.size} stride: {layer.size} }}"
    return "Softmax", ""


def blob_bytes(values: np.ndarray) -> bytes:
    """A BlobProto: its shape, and its values as packed little-endian floats."""
    dims = b"".join(protobuf.encode_varint(d) for d in values.shape)
    shape = protobuf.bytes_field(SHAPE_DIM, dims)
    return protobuf.bytes_field(BLOB_SHAPE, shape) + protobuf.bytes_field(
        BLOB_DATA, values.astype("<f4").tobytes()
    )
