"""A random graph whose inputs are given is a constant: every value of it is what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnfold.inference import Shapes
from bnfold.reading.onnx.reader import read

from .generator import random_sample
from .net import session
from .tally import Places, Tally, judged_apart

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

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


def held(seed: int, model: onnx.ModelProto, wanted: dict[str, Any]) -> int:
    """How many constants are what onnxruntime computes; AssertionError for the first that is not."""
    read_model = read(model).model
    constants = Shapes(read_model).constants
    count = 0
    for node in read_model.graph:
        for value in node.outputs:
            array, truth = constants.array(value), wanted.get(value.name or "")
            if array is None or not isinstance(truth, np.ndarray):
                continue
            count += 1
            where = f"--seed {seed}: {node.op_type} '{node.name}'"
            assert array.shape == truth.shape, where
            if truth.dtype.kind != "f":
                assert np.array_equal(array, truth), where
                continue
            size = np.abs(truth[np.isfinite(truth)]).max(initial=FAINT).astype(float)
            np.testing.assert_allclose(
                array, truth.astype(float), rtol=WITHIN, atol=WITHIN * size, err_msg=where
            )
    return count


def hold_all(sender: Connection, places: Places, end: int, only: str, folder: Path | None) -> None:
    """What judges these graphs in a process of its own."""
    tally, (reached, ran) = Tally(folder), places
    while reached.value < end:
        seed = reached.value
        model = given(seed)
        wanted = computed(model)
        ran.value = seed
        tally.graphs += 1
        try:
            tally.kept["constants"] += held(seed, model, wanted) if wanted else 0
        except AssertionError as error:
            tally.findings["constant"] += 1
            print(error)
        reached.value += 1
    sender.send(tally)


@pytest.mark.parametrize("part", range(6))
def test_constants_are_what_onnxruntime_computes(part: int) -> None:
    tally = Tally()
    seed, end = FROM + part * GRAPHS // 6, FROM + (part + 1) * GRAPHS // 6
    while seed < end:
        seed = judged_apart(tally, seed, end, "", hold_all)
    assert not tally.findings, "the output shows which constants"
    assert tally.kept["constants"] > 50
