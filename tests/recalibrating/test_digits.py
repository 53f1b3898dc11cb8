"""The sample against a plain float64 computation: layer after layer, the interpreter runs the whole network on
all pictures and the moments of each batch norm's input take their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import bnfold
from bnfold.ir.graph import ir
from bnfold.verifying.truth.interpreter import Interpreter

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def plain(proto: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and variance of every batch norm, in float64."""
    model, found = ir.from_proto(proto), {}
    for node in [node for node in model.graph if node.op_type == "BatchNormalization"]:
        read = node.inputs[0].name
        value = Interpreter(model).run({"data": x}, watch=[read])[read]
        axes = tuple(axis for axis in range(value.ndim) if axis != 1)
        for place, moment in ((3, value.mean(axis=axes)), (4, value.var(axis=axes))):
            slot = node.inputs[place]
            found[slot.name] = moment
            slot.const_value = ir.tensor(moment.astype(np.float32), name=slot.name)
    return found


def test_the_samples_statistics_are_those_of_plain_arithmetic():
    proto = onnx.load(SAMPLES / "digits.onnx")
    with np.load(SAMPLES / "digits_inputs.npz") as stored:
        x = stored["data"]
    result = bnfold.recalibrate(proto, x)
    made = {t.name: numpy_helper.to_array(t) for t in bnfold.to_onnx(result).graph.initializer}
    expected = plain(proto, x)
    assert len(expected) == 12
    for name, values in expected.items():
        assert np.allclose(made[name], values, rtol=1e-6, atol=1e-6), name
