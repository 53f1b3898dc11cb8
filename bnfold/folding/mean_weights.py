"""Matrices computed at run time whose entries sum to one along an axis: what attention multiplies by.

A product with such a matrix is a weighted mean, which lets a shift pass:  A (V + t) = A V + t.
"""

from __future__ import annotations

from ..inference import Shapes
from ..inference.node_arguments import reader
from ..ir.graph import attribute, ir, is_op
from ..operators.arguments import softmax_axes


def sums_to_one(value: ir.Value | None, axis: int, shapes: Shapes) -> bool:
    """Is the value a Softmax's along this one axis (counted from the front), perhaps transposed since?"""
    node = value.producer() if value is not None else None
    if value is None or node is None:
        return False
    if is_op(node, "Identity"):
        return sums_to_one(node.inputs[0], axis, shapes)
    rank = shapes.rank(value)
    if rank is None or axis >= rank:
        return False
    if is_op(node, "Transpose"):
        order = attribute(node, "perm", None) or range(rank)[::-1]
        return sums_to_one(node.inputs[0], order[axis], shapes)
    return is_op(node, "Softmax") and softmax_axes(reader(node), "Softmax", shapes.opset(node), rank) == (
        axis,
    )
