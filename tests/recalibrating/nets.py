"""Small networks with batch norms, data for them, and what a plain computation says of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from bnfold.ir.graph import ir
from bnfold.recalibrating import recalibrate
from bnfold.results.options import RecalibrateOptions
from bnfold.results.recalibration import Recalibrated

from ..models import model

CHAIN = """
<ir_version: 9, opset_import: ["" : 17]>
chain (float[N, 3, H, W] x) => (float[N, 5, H, W] y)
<float[4, 3, 3, 3] w, float[4] g, float[4] b, float[4] m, float[4] v,
 float[5, 4, 1, 1] w2, float[5] g2, float[5] b2, float[5] m2, float[5] v2>
{
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  n = BatchNormalization (c, g, b, m, v)
  r = Relu(n)
  c2 = Conv (r, w2)
  y = BatchNormalization (c2, g2, b2, m2, v2)
}
"""
EPSILON = 1e-5


def data(rows: int = 40, size: int = 6, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(rows, 3, size, size)) * 2 + random.normal(size=(1, 3, 1, 1))).astype(
        np.float32
    )


def renewed(
    proto: onnx.ModelProto | str, inputs: Any, **options: Any
) -> tuple[onnx.ModelProto, Recalibrated]:
    """The model with new statistics, and what happened."""
    proto = model(proto) if isinstance(proto, str) else proto
    made, found = recalibrate(ir.from_proto(proto), RecalibrateOptions(recalibrate=inputs, **options))
    return ir.to_proto(made), found


def stored(proto: onnx.ModelProto, name: str) -> np.ndarray:
    """An initializer in float64."""
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    return onnx.numpy_helper.to_array(tensor).astype(np.float64)


def plain_chain(proto: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    """The statistics of CHAIN, layer after layer, in float64 and in loops that nobody has to believe."""
    w, w2 = stored(proto, "w"), stored(proto, "w2")[:, :, 0, 0]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    c = np.zeros((len(x), 4, height, width))
    for i in range(3):
        for j in range(3):
            patch = padded[:, :, i : i + height, j : j + width]
            c += np.einsum("nchw,oc->nohw", patch, w[:, :, i, j])
    mean, variance = c.mean(axis=(0, 2, 3)), c.var(axis=(0, 2, 3))
    normal = (c - mean[:, None, None]) / np.sqrt(variance + EPSILON)[:, None, None]
    n = normal * stored(proto, "g")[:, None, None] + stored(proto, "b")[:, None, None]
    c2 = np.einsum("nchw,oc->nohw", np.maximum(n, 0), w2)
    return {"m": mean, "v": variance, "m2": c2.mean(axis=(0, 2, 3)), "v2": c2.var(axis=(0, 2, 3))}
