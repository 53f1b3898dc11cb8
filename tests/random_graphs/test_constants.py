"""A random graph whose inputs are given is a constant: every value of it is what onnxruntime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnfold.inference import Shapes
from bnfold.reading.onnx.reader import read

from .generator import random_sample
from .net import session

FROM, GRAPHS = 400_000_000, 120
WITHIN = 5e-3  # two libraries, and half precision that onnxruntime computes in single
FAINT = 1e-3  # below it onnxruntime's Sigmoid is coarse


def given(seed: int) -> onnx.ModelProto:
    """The graph of this seed with its inputs as initializers."""
    sample = random_sample(seed)
    model = onnx.ModelProto.FromString(sample.model.SerializeToString())
    stored = [tensor for tensor in model.graph.initializer if tensor.name not in sample.feeds[0]]
    stored += [numpy_helper.from_array(np.asarray(array), name) for name, array in sample.feeds[0].items()]
    asked = [value for value in model.graph.input if value.name not in {tensor.name for tensor in stored}]
    del model.graph.initializer[:], model.graph.input[:]
    model.graph.initializer.extend(stored)
    model.graph.input.extend(asked)
    return model


def computed(model: onnx.ModelProto) -> dict[str, Any]:
    """Every value of the main graph, by onnxruntime; nothing where it does not run."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    there = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    try:
        return dict(zip(names, session(model).run(names, {}), strict=True))
    except Exception:  # what onnxruntime refuses, as the type of a value that is an output now
        return {}


@pytest.mark.parametrize("part", range(6))
def test_constants_are_what_onnxruntime_computes(part: int) -> None:
    held = 0
    for seed in range(FROM + part * GRAPHS // 6, FROM + (part + 1) * GRAPHS // 6):
        model = given(seed)
        if not (wanted := computed(model)):
            continue
        read_model = read(model).model
        constants = Shapes(read_model).constants
        for node in read_model.graph:
            for value in node.outputs:
                array, truth = constants.array(value), wanted.get(value.name or "")
                if array is None or not isinstance(truth, np.ndarray):
                    continue
                held += 1
                assert array.shape == truth.shape, f"--seed {seed}: {node.op_type} '{node.name}'"
                if truth.dtype.kind != "f":
                    assert np.array_equal(array, truth), f"--seed {seed}: {node.op_type} '{node.name}'"
                    continue
                size = np.abs(truth[np.isfinite(truth)]).max(initial=FAINT).astype(float)
                np.testing.assert_allclose(
                    array,
                    truth.astype(float),
                    rtol=WITHIN,
                    atol=WITHIN * size,
                    err_msg=f"--seed {seed}: {node.op_type} '{node.name}'",
                )
    assert held > 50
