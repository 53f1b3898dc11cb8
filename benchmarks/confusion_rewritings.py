"""Right ways to write a network in another way: what a gate must accept.

Ours, the same fold by a dozen lines of numpy, what onnxruntime's optimiser leaves, and other tools where they
are installed. Every rewriting takes a model and gives a new one, or None where it changes nothing.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from bnfold.folding import fold
from bnfold.ir.graph import ir

Model = onnx.ModelProto
Rewriting = Callable[[Model], Model | None]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the bodies in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def copied(model: Model) -> Model:
    other = Model()
    other.CopyFrom(model)
    return other


def tensors(model: Model) -> dict[str, onnx.TensorProto]:
    """The initializers of a model by name; names are unique in it."""
    return {t.name: t for graph in graphs(model.graph) for t in graph.initializer}


def ours(model: Model) -> Model | None:
    folded, plan = fold(ir.from_proto(model))
    return ir.to_proto(folded) if plan.changes else None  # type: ignore[no-any-return]


def by_hand(
    model: Model,
    arithmetic: type = np.float64,
    *,
    epsilon: float | None = None,
    root: bool = True,
    bias: bool = True,
) -> Model | None:
    """Batch norms behind convolutions folded by hand, rightly, or with a mistake in every one."""
    model = copied(model)
    held, found = tensors(model), False
    for graph in graphs(model.graph):
        makers = {name: node for node in graph.node for name in node.output}
        for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
            node = makers.get(norm.input[0])
            if node is None or node.op_type not in ("Conv", "ConvTranspose"):
                continue
            values = [numpy_helper.to_array(held[name]).astype(arithmetic) for name in norm.input[1:5]]
            own = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
            variance = values[3] + arithmetic(own if epsilon is None else epsilon)
            factor = values[0] / (np.sqrt(variance) if root else variance)
            kernel = held[node.input[1]]
            kind = numpy_helper.to_array(kernel).dtype
            spread = (-1, 1, 1, 1) if node.op_type == "Conv" else (1, -1, 1, 1)
            weight = numpy_helper.to_array(kernel).astype(arithmetic) * factor.reshape(spread)
            before = (
                numpy_helper.to_array(held[node.input[2]]).astype(arithmetic) if len(node.input) > 2 else 0.0
            )
            shift = (before - values[2]) * factor + (values[1] if bias else arithmetic(0))
            kernel.CopyFrom(numpy_helper.from_array(weight.astype(kind), kernel.name))
            name = f"{node.input[1]}_shift"
            model.graph.initializer.append(numpy_helper.from_array(shift.astype(kind), name))
            node.input[2:] = [name]
            node.output[0] = norm.output[0]
            graph.node.remove(norm)
            found = True
    if not found:
        return None
    read = {name for graph in graphs(model.graph) for node in graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
    return model


def renamed(model: Model) -> Model:
    """Other names for all nodes and values but inputs and outputs, and no word on where they came from."""
    model = copied(model)
    kept = {v.name for v in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {}

    def other(name: str) -> str:
        return name if not name or name in kept else names.setdefault(name, f"v{len(names)}")

    for graph in graphs(model.graph):
        del graph.value_info[:], graph.metadata_props[:]
        for tensor in graph.initializer:
            tensor.name = other(tensor.name)
        for value in graph.output if graph is not model.graph else ():
            value.name = other(value.name)
        for place, node in enumerate(graph.node):
            node.name = f"node{place}"
            del node.metadata_props[:]
            node.input[:] = [other(name) for name in node.input]
            node.output[:] = [other(name) for name in node.output]
    return model


def optimised(level: str) -> Rewriting:
    """What onnxruntime leaves of a model."""

    def rewriting(model: Model) -> Model:
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
            options.optimized_model_filepath = str(Path(folder) / "out.onnx")
            options.log_severity_level = 4
            onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
            return onnx.load(options.optimized_model_filepath)

    return rewriting


def simplified(model: Model) -> Model:
    import onnxsim

    return onnxsim.simplify(copied(model))[0]  # type: ignore[no-any-return]


def slimmed(model: Model) -> Model:
    import onnxslim

    return onnxslim.slim(copied(model))  # type: ignore[no-any-return]


def rewritten(model: Model) -> Model:
    from onnxscript import optimizer

    return optimizer.optimize(copied(model))  # type: ignore[no-any-return]


def _or_none(model: Model | None, further: Callable[[Model], Model]) -> Model | None:
    return None if model is None else further(model)


TOOLS: dict[str, Rewriting] = {"onnxsim": simplified, "onnxslim": slimmed, "onnxscript": rewritten}
REWRITINGS: dict[str, Rewriting] = {
    "our folds": ours,
    "our folds, renamed": lambda model: _or_none(ours(model), renamed),
    "by hand in float64": by_hand,
    "by hand in float32": lambda model: by_hand(model, np.float32),
    "by hand, renamed": lambda model: _or_none(by_hand(model), renamed),
    "onnxruntime, basic": optimised("ORT_ENABLE_BASIC"),
    "onnxruntime, extended": optimised("ORT_ENABLE_EXTENDED"),
    **{name: tool for name, tool in TOOLS.items() if importlib.util.find_spec(name)},
}
MISSING = tuple(name for name in TOOLS if name not in REWRITINGS)
