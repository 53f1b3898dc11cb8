"""Small networks whose input is a picture, and preprocessing done outside, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from ..models import model

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def convolution(pads: int = 0, data: str = "float[1, 3, 8, 8]", opset: int = 17, ir: int = 8) -> str:
    """A convolution that pads or not, and a second one."""
    return f"""
<ir_version: {ir}, opset_import: ["" : {opset}]>
net ({data} data) => (float[a, 2, b, c] y) <float[4, 3, 3, 3] w, float[4] b, float[2, 4, 1, 1] v>
{{
  h = Conv <pads = [{pads}, {pads}, {pads}, {pads}]> (data, w, b)
  r = Relu(h)
  y = Conv(r, v)
}}
"""


DENSE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 4, 5] data) => (float[1, 6] y) <float[6, 60] w, float[6] b>
{
  f = Flatten(data)
  y = Gemm <transB = 1> (f, w, b)
}
"""


def saved(folder: Path, text: str, name: str = "net.onnx") -> Path:
    """A file of the network."""
    path = folder / name
    onnx.save(model(text), path)
    return path


def pixels(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """A picture of noise."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def prepared(
    raw: np.ndarray, mean: Any = 0, std: Any = 1, *, bgr: bool = False, nhwc: bool = False
) -> np.ndarray:
    """What the network was trained on."""
    values = raw if nhwc else raw.transpose(0, 2, 3, 1)
    values = (values.astype(np.float64) - np.asarray(mean)) / np.asarray(std)
    return (values[..., ::-1] if bgr else values).transpose(0, 3, 1, 2).astype(np.float32)


def run(path: Path | onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in onnxruntime."""
    data = path.SerializeToString() if isinstance(path, onnx.ModelProto) else str(path)
    return list(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, dict(feed)))


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]
