"""Operators without a kernel of ours: onnx's reference implementation, one node at a time.

Each node becomes a model of one node whose float inputs are double, so operators that are defined as
functions expand with the right types. Evaluators are kept per node, since making one costs more than running
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...ir.graph import ir
from .call import Call

_RENAMED = {"Scatter": "ScatterElements"}  # deprecated names of operators that still run
# inputs that may be scalars or vectors of one number, of which onnx's implementation takes vectors alone
_VECTORS = {"NonMaxSuppression": (2, 3, 4)}
# inputs that are cast to integers, which onnx's implementation forgets
_WHOLE = {"OneHot": (0, 1)}


class Evaluators:
    """The evaluators that were made so far, by node and element types of its inputs."""

    def __init__(self) -> None:
        self._known: dict[tuple[ir.Node, tuple[str, ...]], Any] = {}

    def __call__(self, call: Call, arguments: Sequence[Any], imports: Mapping[str, int]) -> list[Any] | None:
        """The outputs of a node, with None for each output that nothing reads; None where onnx has no
        reference implementation of the operator."""
        arguments = [_as_it_takes(call.op, place, a) for place, a in enumerate(arguments)]
        key = (call.node, tuple(_kind(a) for a in arguments))
        if key not in self._known:
            self._known[key] = _evaluator(call, arguments, imports)
        evaluator, names = self._known[key]
        if evaluator is None:
            return None
        feeds = {
            name: argument for name, argument in zip(names, arguments, strict=True) if argument is not None
        }
        results: list[Any] = evaluator.run(None, feeds)
        outputs = iter(results)
        return [next(outputs) if wanted else None for wanted in call.wanted]


def _as_it_takes(operator: str, place: int, argument: Any) -> Any:
    """An argument in the form that onnx's implementation takes."""
    if argument is None:
        return None
    if place in _VECTORS.get(operator, ()):
        return np.atleast_1d(argument)
    return np.asarray(argument).astype(np.int64) if place in _WHOLE.get(operator, ()) else argument


def _kind(argument: Any) -> str:
    return str(argument.dtype) if isinstance(argument, np.ndarray) else type(argument).__name__


def _evaluator(call: Call, arguments: Sequence[Any], imports: Mapping[str, int]) -> tuple[Any, list[str]]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    domain = "" if call.node.domain == "ai.onnx" else call.node.domain
    names = ["" if a is None else f"in{i}" for i, a in enumerate(arguments)]
    outputs = [f"out{i}" if wanted else "" for i, wanted in enumerate(call.wanted)]
    node = onnx.helper.make_node(_RENAMED.get(call.op, call.op), names, outputs, domain=domain)
    node.attribute.extend(ir.to_proto(a) for a in call.attributes.values())
    graph = onnx.GraphProto(name="one node", node=[node])
    graph.input.extend(
        _value_info(name, a) for name, a in zip(names, arguments, strict=True) if a is not None
    )
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name)
    opsets = [onnx.helper.make_opsetid("" if d == "ai.onnx" else d, v) for d, v in imports.items()]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    try:
        return ReferenceEvaluator(model), names
    except (NotImplementedError, onnx.defs.SchemaError, AttributeError):
        return None, names


def _value_info(name: str, argument: Any) -> Any:
    import onnx

    if not isinstance(argument, np.ndarray):
        return onnx.ValueInfoProto(name=name)
    return onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(argument.dtype), argument.shape
    )
