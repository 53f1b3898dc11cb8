"""Small networks of one batch norm, for the tests of slimming: what stands behind it is given."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

DEAD = {1: 0.7, 2: -1.0, 4: -1.0}  # channels of scale 0, with their shifts: a Relu gives 0.7, 0 and 0


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights that keep the size of what they weigh."""
    return np.random.default_rng([seed, *shape]).normal(size=shape) / np.sqrt(np.prod(shape[1:]))


def norm(channels: int, dead: dict[int, float], name: str = "", seed: int = 0) -> dict[str, np.ndarray]:
    """The parameters of a batch norm."""
    rng = np.random.default_rng([seed, channels])
    gamma, beta = rng.uniform(0.5, 1.5, channels), rng.normal(size=channels)
    for channel, shift in dead.items():
        gamma[channel], beta[channel] = 0, shift
    found = {"g": gamma, "be": beta, "m": rng.normal(size=channels), "v": rng.uniform(0.5, 2, channels)}
    return {key + name: array for key, array in found.items()}


def model(
    text: str, initializers: dict[str, np.ndarray], opset: int = 17, dtype: type = np.float32
) -> onnx.ModelProto:
    """A network as text; floats among the initializers are stored in one type."""
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    for name, given in initializers.items():
        array = np.asarray(given)
        stored = array.astype(dtype) if array.dtype.kind == "f" else array
        proto.graph.initializer.append(numpy_helper.from_array(stored, name))
    for node in proto.graph.node:
        node.name = node.output[0]
    return proto


def behind(body: str, initializers: dict[str, np.ndarray], out: str = "float[N,4,8,8] y", **more):
    """Conv, batch norm with three dead channels of six, Relu, and then `body`, which reads `r`."""
    text = f"""net (float[N,3,8,8] x) => ({out}) {{
        c = Conv(x, w1)
        b = BatchNormalization(c, g, be, m, v)
        r = Relu(b)
        {body}
    }}"""
    return model(text, {"w1": values(6, 3, 1, 1), **norm(6, DEAD), **initializers}, **more)


def run(proto: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of onnxruntime without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def close(one: dict[str, np.ndarray], other: dict[str, np.ndarray], share: float = 1e-4) -> bool:
    """Are all outputs the same but for rounding?"""
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape
        and np.abs(one[name] - other[name]).max(initial=0)
        <= share * (np.abs(one[name]).max(initial=0) + 1e-6)
        for name in one
    )
