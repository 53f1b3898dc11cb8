"""Shapes behind operators for which no rule is written here: onnx's own inference is asked, one node at a
time.

It gets the shapes that are proved so far, and the numbers that are known. A symbol that it gives back is one
that it was given; what it does not say is unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.graph import bodies, ir
from .rule_context import Dim, Given, Shape, ShapeContext, with_symbols

_MOST = 64  # elements of a constant that may say something about a shape


def by_onnx(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """What onnx's inference says of a node's outputs."""
    from onnx import defs, shape_inference

    nothing: Given = [None] * len(node.outputs)
    if bodies(node):
        return nothing
    proto = ir.to_proto(node)
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(node.inputs)]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(f"o{k}" for k in range(len(node.outputs)))
    types = {
        name: _type(s, value) for name, value in zip(names, node.inputs, strict=True) if value is not None
    }
    if any(one is None for one in types.values()):
        return nothing
    data = {
        name: a for name, value in zip(names, node.inputs, strict=True) if (a := _data(s, value)) is not None
    }
    try:
        schema = defs.get_schema(node.op_type, s.opset(node), "")
        found = shape_inference.infer_node_outputs(schema, proto, types, data)
    except Exception:  # it raises what its kernels raise, and what it does not know has no shape
        return nothing
    symbols = {d for shape in inputs if shape is not None for d in shape if isinstance(d, str)}
    return [_shape(s, found.get(name), symbols) for name in proto.output]


def _type(s: ShapeContext, value: ir.Value) -> Any:
    """The type and shape of a tensor as onnx writes them; None where the type is not known."""
    from onnx import helper

    dtype = s.dtype(value)
    return None if dtype is None else helper.make_tensor_type_proto(int(dtype), s.of(value))


def _data(s: ShapeContext, value: ir.Value | None) -> Any:
    """The numbers of a small argument."""
    from onnx import numpy_helper

    shape = s.of(value)
    if (
        value is None
        or shape is None
        or len(shape) > 1
        or any(not isinstance(d, int) or d > _MOST for d in shape)
    ):
        return None
    values = s.constants.typed(value)
    if values is None and (numbers := s.integers(value)) is not None:
        values = np.array(numbers, np.int64).reshape([d for d in shape if isinstance(d, int)])
    return None if values is None or values.dtype.kind not in "iuf" else numpy_helper.from_array(values)


def _shape(s: ShapeContext, found: Any, symbols: set[str]) -> Shape | None:
    """A shape as onnx writes it."""
    if found is None or not found.HasField("tensor_type") or not found.tensor_type.HasField("shape"):
        return None
    sizes: list[Dim | None] = []
    for dim in found.tensor_type.shape.dim:
        known = dim.dim_value if dim.HasField("dim_value") else dim.dim_param
        sizes.append(known if isinstance(known, int) or known in symbols else None)
    return with_symbols(s, sizes)
