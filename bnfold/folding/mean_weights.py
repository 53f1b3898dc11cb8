"""Matrices computed at run time whose entries sum to one along an axis: what attention multiplies by.

A product with such a matrix is a weighted mean, which lets a shift pass:  A (V + t) = A V + t.
"""

from __future__ import annotations

from ..inference import Shapes
from ..inference.node_arguments import reader
from ..ir.graph import attribute, ir, is_op
from ..operators.arguments import permutation, softmax_axes


def sums_to_one(value: ir.Value | None, axis: int, shapes: Shapes) -> bool:
    """Is the value a Softmax's along this one axis (counted from the front), perhaps transposed since?"""
    while value is not None and (node := value.producer()) is not None:
        rank = shapes.rank(value)
        if rank is None or axis >= rank or shapes.contradicts(node):
            return False
        if is_op(node, "Softmax"):
            return softmax_axes(reader(node), "Softmax", shapes.opset(node), rank) == (axis,)
        if is_op(node, "Transpose"):
            axis = permutation(attribute(node, "perm"), rank)[axis]
        elif not is_op(node, "Identity"):
            return False
        value = node.inputs[0]
    return False
