"""Many small models of all three formats, made in a moment: each a convolution (or two) with batch norms,
weights of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..models import CONV_BN_RELU, TWO_BLOCKS, model
from ..reading.caffe.files import caffemodel, input_layer, layer
from ..reading.darknet.nets import NET, header

CFG = NET + "".join(
    f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\npad=1\nactivation=leaky\n"
    for filters in (4, 2)
)
WIDE = CONV_BN_RELU.replace("float[4", "float[256").replace(
    "[N, 4,", "[N, 256,"
)  # its weights are worth a file of their own
FLOATS = 4 * 4 + 4 * 3 * 9 + 4 * 2 + 2 * 4 * 9
PROTOTXT = input_layer("data", 1, 3, 6, 6) + "".join(
    (
        layer(
            "Convolution", ["data"], ["conv"], "convolution_param { num_output: 4 kernel_size: 3 }", "conv"
        ),
        layer("BatchNorm", ["conv"], ["bn"], "", "bn"),
        layer("Scale", ["bn"], ["scale"], "scale_param { bias_term: true }", "scale"),
        layer("ReLU", ["scale"], ["out"], "", "relu"),
    )
)


def onnx(path: Path, seed: int) -> Path:
    """One or two blocks."""
    path.write_bytes(model(TWO_BLOCKS if seed % 2 else CONV_BN_RELU, seed).SerializeToString())
    return path


def darknet(path: Path, seed: int) -> Path:
    """A cfg with its weights beside it."""
    path.write_text(CFG)
    values = np.random.default_rng(seed).uniform(0.2, 0.9, FLOATS).astype("<f4")
    path.with_suffix(".weights").write_bytes(header() + values.tobytes())
    return path


def caffe(path: Path, seed: int) -> Path:
    """A prototxt with its caffemodel beside it."""
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> np.ndarray:
        return rng.uniform(0.2, 0.9, shape).astype(np.float32)

    path.write_text(PROTOTXT)
    layers = {
        "conv": [values(4, 3, 3, 3), values(4)],
        "bn": [values(4), values(4), np.ones(1, np.float32)],
        "scale": [values(4), values(4)],
    }
    path.with_suffix(".caffemodel").write_bytes(caffemodel(layers))
    return path


def zoo(folder: Path, count: int) -> list[Path]:
    """So many models, in folders of ten, the formats in turn."""
    made = []
    for seed in range(count):
        inner = folder / f"family{seed // 10}"
        inner.mkdir(parents=True, exist_ok=True)
        make, ending = ((onnx, ".onnx"), (darknet, ".cfg"), (caffe, ".prototxt"))[seed % 3]
        made.append(make(inner / f"net{seed}{ending}", seed))
    return made
