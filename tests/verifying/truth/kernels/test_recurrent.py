"""RNN, GRU and LSTM with random attributes against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from bnfold.ir.graph import ir
from bnfold.verifying.truth.interpreter import CannotEvaluate, Interpreter

OLD = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 32)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
BOUNDED = ["Tanh", "Sigmoid", "Softsign", "HardSigmoid"]  # a gate that is not lets the state explode
PLAIN = [*BOUNDED, "Relu", "Softplus", "LeakyRelu", "Elu", "ThresholdedRelu"]
PARAMETERS = {"Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1, "ThresholdedRelu": 1}


def recurrent(
    op: str, random: np.random.Generator, **attributes: Any
) -> tuple[ir.Model, bytes, dict[str, Any]]:
    """A model of one node with random inputs: (ours, onnxruntime's, feeds)."""
    time, batch, inner, size = (int(random.integers(1, high)) for high in (7, 5, 6, 6))
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    rows = GATES[op] * size
    given: dict[str, np.ndarray | None] = {
        "x": random.standard_normal((time, batch, inner)),
        "w": random.standard_normal((directions, rows, inner)) * 0.5,
        "r": random.standard_normal((directions, rows, size)) * 0.5,
        "b": random.standard_normal((directions, 2 * rows)),
        "lens": random.integers(0, time + 1, batch),
        "h": random.standard_normal((directions, batch, size)),
    }
    if op == "LSTM":
        given["c"] = random.standard_normal((directions, batch, size))
        given["p"] = random.standard_normal((directions, 3 * size))
    for name in list(given)[3:]:
        if random.random() < 0.3:
            given[name] = None
    feeds = {
        name: values.astype(np.int32 if name == "lens" else np.float32)
        for name, values in given.items()
        if values is not None
    }
    outputs = ["y", "yh", "yc"][: 3 if op == "LSTM" else 2]
    names = [name if name in feeds else "" for name in given]
    node = helper.make_node(op, names, outputs, hidden_size=size, **attributes)
    return *_models(node, feeds, outputs), feeds


def _models(node: Any, feeds: dict[str, Any], outputs: list[str]) -> tuple[ir.Model, bytes]:
    fed = [helper.make_tensor_value_info("x", 1, feeds["x"].shape)]
    weights = [numpy_helper.from_array(values, name) for name, values in feeds.items() if name != "x"]
    graph = helper.make_graph(
        [node], "one", fed, [helper.make_tensor_value_info(n, 1, None) for n in outputs], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(model), model.SerializeToString()


def attributes(op: str, random: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {"direction": str(random.choice(["forward", "reverse", "bidirectional"]))}
    count = FUNCTIONS[op] * (2 if found["direction"] == "bidirectional" else 1)
    kind = random.integers(3)
    if kind:
        others = PLAIN if kind == 1 else list(PARAMETERS)
        found["activations"] = [
            str(random.choice(others if k % FUNCTIONS[op] or op == "RNN" else BOUNDED)) for k in range(count)
        ]
    if kind == 2:
        for least, name in ((1, "activation_alpha"), (2, "activation_beta")):
            taking = [n for n in found["activations"] if PARAMETERS.get(n, 0) >= least]
            if taking:
                found[name] = [float(random.uniform(0.2, 0.9)) for _ in taking]
    if random.random() < 0.3:
        found["clip"] = float(random.uniform(0.5, 2))
    if op == "GRU":
        found["linear_before_reset"] = int(random.integers(2))
    if op == "LSTM":
        found["input_forget"] = int(random.integers(2))
    return found


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("seed", range(60))
def test_as_onnxruntime(op: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    chosen = attributes(op, random)
    ours, theirs, feeds = recurrent(op, random, **chosen)
    if op == "RNN" and OLD and ("activations" in chosen or 0 in feeds.get("lens", ())):
        pytest.skip(
            "before 1.32, onnxruntime's RNN reads activation parameters from beyond their list, and gives an "
            "empty sequence in reverse another state than its initial one"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(theirs, options, providers=["CPUExecutionProvider"])
    wanted = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"x": feeds["x"]}), strict=True)
    )
    found = Interpreter(ours).run({"x": feeds["x"]})
    for name, want in wanted.items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-5, err_msg=f"{name} {chosen}")


@pytest.mark.parametrize("op", list(GATES))
def test_batch_first_is_the_same_with_axes_swapped(op: str) -> None:
    """onnxruntime's CPU provider has no layout 1."""
    random = np.random.default_rng(3)
    ours, _, feeds = recurrent(op, random, direction="bidirectional")
    plain = Interpreter(ours).run({"x": feeds["x"]})
    swapped = {n: v.swapaxes(0, 1) if n in ("x", "h", "c") else v for n, v in feeds.items()}
    outputs = [v.name or "" for v in ours.graph.outputs]
    size = feeds["r"].shape[2]
    names = [(v.name or "") if v is not None else "" for v in ours.graph[0].inputs]
    node = helper.make_node(op, names, outputs, hidden_size=size, direction="bidirectional", layout=1)
    found = Interpreter(_models(node, swapped, outputs)[0]).run({"x": swapped["x"]})
    np.testing.assert_array_equal(found["y"], plain["y"].transpose(2, 0, 1, 3))
    for name in outputs[1:]:
        np.testing.assert_array_equal(found[name], plain[name].swapaxes(0, 1))


def test_a_length_beyond_the_sequence_is_refused() -> None:
    ours, _, feeds = recurrent("LSTM", np.random.default_rng(1), direction="forward")
    lens = ours.graph.initializers.get("lens")
    assert lens is not None
    lens.const_value = ir.tensor(np.full(feeds["x"].shape[1], 99, np.int32), name="lens")
    with pytest.raises(CannotEvaluate, match="sequence_lens"):
        Interpreter(ours).run({"x": feeds["x"]})
