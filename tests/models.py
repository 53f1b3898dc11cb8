"""Small models for tests of the whole way: as ONNX text, with seeded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

CONV_BN_RELU = """
<ir_version: 9, opset_import: ["" : 17]>
conv_bn_relu (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
<float[4, 3, 3, 3] w, float[4] g, float[4] b, float[4] m, float[4] v>
{
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  n = BatchNormalization (c, g, b, m, v)
  y = Relu(n)
}
"""
TWO_BLOCKS = """
<ir_version: 9, opset_import: ["" : 17]>
two_blocks (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[4, 3, 3, 3] w, float[4] g, float[4] b, float[4] m, float[4] v,
 float[4, 4, 3, 3] w2, float[4] g2, float[4] b2, float[4] m2, float[4] v2>
{
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  n = BatchNormalization (c, g, b, m, v)
  r = Relu(n)
  c2 = Conv <pads = [1, 1, 1, 1]> (r, w2)
  y = BatchNormalization (c2, g2, b2, m2, v2)
}
"""
RELU_BN = """
<ir_version: 9, opset_import: ["" : 17]>
relu_bn (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[4] g, float[4] b, float[4] m, float[4] v>
{
  r = Relu(x)
  y = BatchNormalization (r, g, b, m, v)
}
"""


def model(text: str, seed: int = 0) -> onnx.ModelProto:
    """The text with its initializers filled: variances positive, the rest normal. Nodes are named after their
    first output."""
    proto = parser.parse_model(text)
    rng = np.random.default_rng(seed)
    for value in proto.graph.value_info:
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        proto.graph.initializer.append(numpy_helper.from_array(_values(value.name, shape, rng), value.name))
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    onnx.checker.check_model(proto)
    return proto


def saved(folder: Path, text: str = CONV_BN_RELU, name: str = "net.onnx") -> Path:
    """The model as a file."""
    path = folder / name
    path.write_bytes(model(text).SerializeToString())
    return path


def _values(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=shape)
    return (values**2 + 0.5 if name.startswith("v") else values).astype(np.float32)
