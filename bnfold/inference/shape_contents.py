"""What small integer tensors hold: shapes on their way to a Reshape.

Exporters compute shapes at run time: Shape, Gather, Unsqueeze, Concat with a -1, Reshape. An element of such
a tensor is a number, a symbol (an unknown size with a name, see shapes.py), or None. Scalars count as one
element. CONTENTS has one row an operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..ir.graph import attribute, ir, is_op
from ..operators.arguments import shape_part
from .node_arguments import cuts, reader
from .rule_context import SHAPE_LENGTH, Content, Dim, ShapeContext


def _shape(s: ShapeContext, node: ir.Node) -> Content | None:
    shape = s.of(node.inputs[0])
    return None if shape is None else shape_part(reader(node), shape)


def _same(s: ShapeContext, node: ir.Node) -> Content | None:
    return s.content(node.inputs[0])


def _gather(s: ShapeContext, node: ir.Node) -> Content | None:
    if len(s.of(node.inputs[1]) or ()) > 1:  # what comes out is no row
        return None
    found, indices = s.content(node.inputs[0]), s.constants.integers(node.inputs[1])
    if found is None or indices is None or attribute(node, "axis", 0) not in (0, -1):
        return None
    return tuple(found[i] for i in indices)


def _slice(s: ShapeContext, node: ir.Node) -> Content | None:
    found, taken = s.content(node.inputs[0]), cuts(s, node, 1)
    if found is None or taken is None or taken[0] is None:
        return None
    return found[taken[0].index(len(found))]


def _concat(s: ShapeContext, node: ir.Node) -> Content | None:
    parts: list[Dim | None] = []
    for value in node.inputs:
        found, length = s.content(value), s.dim(value, 0)
        if found is None and (length is None or length > SHAPE_LENGTH):
            return None
        parts.extend(found if found is not None else (None,) * (length or 0))
    return tuple(parts)


def _arithmetic(s: ShapeContext, node: ir.Node) -> Content | None:
    a, b = s.content(node.inputs[0]), s.content(node.inputs[1])
    if a is None or b is None or (len(a) != len(b) and 1 not in (len(a), len(b))):
        return None
    size = max(len(a), len(b))
    pairs = zip(a * size if len(a) == 1 else a, b * size if len(b) == 1 else b, strict=False)
    return tuple(_combined(node, x, y) for x, y in pairs)


def _combined(node: ir.Node, x: Dim | None, y: Dim | None) -> Dim | None:
    """Numbers are computed; a symbol survives what leaves it unchanged."""
    neutral = 0 if is_op(node, "Add", "Sub") else 1
    if y == neutral:
        return x
    if x == neutral and is_op(node, "Add", "Mul"):
        return y
    if not isinstance(x, int) or not isinstance(y, int):
        return None
    if is_op(node, "Div"):
        return int(x / y) if y else None
    return {"Add": x + y, "Sub": x - y, "Mul": x * y}[node.op_type]


def _product(s: ShapeContext, node: ir.Node) -> Content | None:
    found = s.content(node.inputs[0])
    if found is None or None in found:
        return None
    symbols = [d for d in found if isinstance(d, str)]
    number = math.prod(d for d in found if isinstance(d, int))
    if not symbols:
        return (number,)
    return (symbols[0],) if len(symbols) == 1 and number == 1 else (None,)


CONTENTS: dict[str, Callable[[ShapeContext, ir.Node], Content | None]] = {
    **dict.fromkeys(["Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape"], _same),
    **dict.fromkeys(["Add", "Sub", "Mul", "Div"], _arithmetic),
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "ReduceProd": _product,
}
