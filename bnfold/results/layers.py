"""What each layer of a model costs: its parameters, and its multiply-accumulate operations (MACs).

Only what multiplies matrices counts: convolutions, products, recurrent layers. Everything else is small
beside it. The batch, where it is free, is 1. Another free size makes the MACs of what depends on it unknown,
unless its input's shape is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..inference.rule_context import Shape
from ..inference.shapes import Shapes
from ..ir.graph import STANDARD, attribute, label
from ..ir.tensor import dims
from ..records import dataclass

if TYPE_CHECKING:
    import onnx_ir as ir

Rule = Callable[[Shapes, "ir.Node"], int]


@dataclass(frozen=True)
class Layer:
    """One node with weights, or one that multiplies. `macs` is None where a size is not known."""

    node: str
    op: str
    output: str
    parameters: int
    macs: int | None


def layers(model: ir.Model, given: Sequence[tuple[str, tuple[int, ...]]] = ()) -> tuple[Layer, ...]:
    """The layers of the main graph in its order; `given` are (input name, dims), "" for the only input."""
    shapes = Shapes(model)
    _fix_inputs(model, shapes, dict(given))
    counted: set[ir.Value] = set()  # a weight that two layers share is counted once
    found = []
    for node in model.graph:
        rule = MACS.get(node.op_type) if node.domain in STANDARD else None
        parameters = 0
        for value in node.inputs:
            if value is not None and value.const_value is not None and value not in counted:
                counted.add(value)
                parameters += math.prod(dims(value.const_value))
        if rule is None and not parameters:
            continue
        shape = shapes.of(node.outputs[0])
        text = "x".join(map(str, shape)) if shape is not None else "unknown"
        macs = _known(rule, shapes, node) if rule is not None else 0
        found.append(Layer(label(node), node.op_type, text, parameters, macs))
    return tuple(found)


def _fix_inputs(model: ir.Model, shapes: Shapes, given: dict[str, tuple[int, ...]]) -> None:
    for value in model.graph.inputs:
        if value.name in model.graph.initializers or value.shape is None:
            continue
        asked = given.get(value.name or "", given.get(""))
        declared: Shape = tuple(
            d if isinstance(d, int) else (d.value or shapes.symbol()) for d in value.shape
        )
        batch = (1, *declared[1:]) if declared and not isinstance(declared[0], int) else declared
        shapes.put(value, asked if asked is not None and len(asked) == len(declared) else batch)


def _known(rule: Rule, shapes: Shapes, node: ir.Node) -> int | None:
    try:
        return rule(shapes, node)
    except (TypeError, ValueError, IndexError):  # a size that is not known, an argument that does not fit
        return None


def _size(shape: Shape | None) -> int:
    """The elements of a shape. Raises ValueError where a dim is not known."""
    if shape is None or not all(isinstance(d, int) for d in shape):
        raise ValueError("a size is not known")
    return math.prod(int(d) for d in shape)


def _conv(shapes: Shapes, node: ir.Node) -> int:
    weight = shapes.of(node.inputs[1])
    return _size(shapes.of(node.outputs[0])) * _size(None if weight is None else weight[1:])


def _conv_transpose(shapes: Shapes, node: ir.Node) -> int:
    weight = shapes.of(node.inputs[1])
    return _size(shapes.of(node.inputs[0])) * _size(None if weight is None else weight[1:])


def _gemm(shapes: Shapes, node: ir.Node) -> int:
    left = shapes.of(node.inputs[0]) or ()
    inner = left[0 if attribute(node, "transA", 0) else 1]
    return _size(shapes.of(node.outputs[0])) * _size((inner,))


def _product(shapes: Shapes, node: ir.Node) -> int:
    left = shapes.of(node.inputs[0]) or ()
    return _size(shapes.of(node.outputs[0])) * _size(left[-1:])


def _recurrent(shapes: Shapes, node: ir.Node) -> int:
    """Both weights are multiplied at every step: [directions, gates * hidden, inputs] and [..., hidden]."""
    x = shapes.of(node.inputs[0]) or ()
    return _size(x[:2]) * (_size(shapes.of(node.inputs[1])) + _size(shapes.of(node.inputs[2])))


MACS: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "ConvInteger": _conv,
    "Gemm": _gemm,
    "MatMul": _product,
    "MatMulInteger": _product,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}
