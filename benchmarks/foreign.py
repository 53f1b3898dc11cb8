"""Large Caffe and darknet models of random weights: VGG-16 with batch norms (553 MB), a chain of convolutions
(255 MB)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bnfold.files.protobuf import bytes_field, encode_varint, header

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pooling
DENSE = ((4096, 25088), (4096, 4096), (1000, 4096))
CHAIN, CHANNELS = 27, 512  # 9.4 MB a convolution


def caffe(folder: Path) -> list[Path]:
    """`vgg.prototxt` and `vgg.caffemodel`."""
    network, weights = folder / "vgg.prototxt", folder / "vgg.caffemodel"
    text = ['name: "vgg" input: "data" input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }\n']
    layers: list[tuple[str, list[tuple[int, ...]]]] = []
    channels, blob = 3, "data"
    for i, width in enumerate(WIDTHS):
        if not width:
            text.append(
                layer(f"pool{i}", "Pooling", blob, f"p{i}", "pooling_param { kernel_size: 2 stride: 2 }")
            )
            blob = f"p{i}"
            continue
        text += [
            layer(
                f"conv{i}",
                "Convolution",
                blob,
                f"c{i}",
                f"convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 }}",
            ),
            layer(f"bn{i}", "BatchNorm", f"c{i}", f"c{i}", ""),
            layer(f"scale{i}", "Scale", f"c{i}", f"c{i}", "scale_param { bias_term: true }"),
            layer(f"relu{i}", "ReLU", f"c{i}", f"c{i}", ""),
        ]
        layers += [
            (f"conv{i}", [(width, channels, 3, 3), (width,)]),
            (f"bn{i}", [(width,), (width,), (1,)]),
            (f"scale{i}", [(width,), (width,)]),
        ]
        channels, blob = width, f"c{i}"
    for i, (rows, columns) in enumerate(DENSE):
        text.append(
            layer(f"fc{i}", "InnerProduct", blob, f"f{i}", f"inner_product_param {{ num_output: {rows} }}")
        )
        layers.append((f"fc{i}", [(rows, columns), (rows,)]))
        blob = f"f{i}"
    network.write_text("".join(text))
    with weights.open("wb") as file:
        for name, shapes in layers:
            file.writelines(stored(name, shapes))
    return [network, weights]


def layer(name: str, type_: str, bottom: str, top: str, params: str) -> str:
    return (
        f'layer {{\n  name: "{name}"\n  type: "{type_}"\n  bottom: "{bottom}"\n  top: "{top}"\n  '
        f"{params}\n}}\n"
    )


def stored(name: str, shapes: list[tuple[int, ...]]) -> Iterator[bytes]:
    """One layer of a caffemodel, piece by piece."""
    draw = np.random.default_rng(len(name))
    blobs = []
    for shape in shapes:
        values = np.abs(draw.standard_normal(shape, np.float32)) * 0.05 + 0.01
        dims = bytes_field(7, bytes_field(1, b"".join(encode_varint(d) for d in shape)))
        blobs.append(bytes_field(7, dims + bytes_field(5, values.tobytes())))
    body = bytes_field(1, name.encode())
    yield header(100, len(body) + sum(map(len, blobs))) + body
    yield from blobs


def darknet(folder: Path) -> list[Path]:
    """`chain.cfg` and `chain.weights`: per layer biases, scales, means, variances, then the kernel."""
    network, weights = folder / "chain.cfg", folder / "chain.weights"
    section = (
        f"[convolutional]\nbatch_normalize=1\nfilters={CHANNELS}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    )
    network.write_text(f"[net]\nwidth=8\nheight=8\nchannels={CHANNELS}\n" + section * CHAIN)
    draw = np.random.default_rng(1)
    with weights.open("wb") as file:
        file.write(struct.pack("<iiiQ", 0, 2, 0, 0))
        for _ in range(CHAIN):
            statistics = draw.uniform(0.5, 1.5, (4, CHANNELS)) - np.array([[1.0], [0], [1.0], [0]])
            kernel = draw.standard_normal(9 * CHANNELS**2, np.float32) * np.float32(
                (2 / (9 * CHANNELS)) ** 0.5
            )
            file.write(statistics.astype("<f4").tobytes())
            file.write(kernel.tobytes())
    return [network, weights]
