"""Whose type a value has, where nothing says it: that of inputs, or of what a body or a function gives."""

from __future__ import annotations

from ..ir.graph import bodies, ir, is_op, named_type
from ..operators.table import Dtype, op
from .constants import Constants

_TYPES = {Dtype.BOOL: ir.DataType.BOOL, Dtype.INT64: ir.DataType.INT64}
_INPUTS = {Dtype.ALL: slice(None), Dtype.FIRST: slice(0, 1), Dtype.SECOND: slice(1, 2)}


def own_type(value: ir.Value, constants: Constants) -> ir.DataType | None:
    """The type that a value, or the node that makes it, declares."""
    if value.dtype is not None:
        return value.dtype
    stored = constants.stored(value)
    if stored is not None:
        return stored.dtype
    node = value.producer()
    if node is None or value is not node.outputs[0]:
        return None
    if op(node).dtype is Dtype.ATTRIBUTE:
        return named_type(node) or named_type(node, "dtype")
    return _TYPES.get(op(node).dtype)


def typed_alike(value: ir.Value, node: ir.Node, model: ir.Model) -> list[ir.Value | None]:
    """Values whose type an output of this node has."""
    place = value.index() or 0
    if (function := model.functions.get(node.op_identifier())) is not None:
        return list(function.outputs[place : place + 1])
    if is_op(node, "If", "Loop", "Scan"):
        place += is_op(node, "Loop")  # the first that its body gives is whether to go on
        return [one for body in bodies(node) for one in body.outputs[place : place + 1]]
    if is_op(node, "DequantizeLinear") and "output_dtype" not in node.attributes:
        return list(node.inputs[1:2])
    if is_op(node, "RNN", "GRU", "LSTM"):
        return list(node.inputs[:1])
    if place and not op(node).variadic:
        return []
    return list(node.inputs[_INPUTS.get(op(node).dtype, slice(0))])
