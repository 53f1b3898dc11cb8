"""A product of two matrices and the constant row behind it, in the form that runtimes like: one Gemm.

onnxruntime makes a Gemm of such a pair at its basic level, OpenCV computes it in one layer and OpenVINO in
one operator. Only products that a fold has rewritten anyway are brought to this form; the others stay as they
are.
"""

from __future__ import annotations

from collections.abc import Callable

from ..inference import Shapes
from ..ir import tensor
from ..ir.graph import folded_name, ir, is_op, sole, usages
from .edit import Editor
from .linear import Linear


def take_bias(
    linear: Linear, editor: Editor, shapes: Shapes, stays: Callable[[ir.Node], bool]
) -> ir.Node | None:
    """Make a Gemm of the product and the Add of a constant row behind it; the Add that is gone, or None."""
    y = linear.node.outputs[0]
    if not linear.grows or not sole(y):
        return None
    add, index = next(iter(usages(y)))
    if not is_op(add, "Add") or add.graph is not linear.node.graph or stays(add):
        return None
    row = add.inputs[1 - index]
    stored = shapes.constants.tensor(row) if row is not None else None
    if row is None or stored is None:
        return None
    if shapes.of(row) not in ((linear.outs,), (1, linear.outs)):
        return None
    if row.producer() is not None:  # what computes it may stand behind the product
        editor.replaced.append(row)
        own = tensor.from_array(tensor.array(stored), dtype=stored.dtype)  # the caller's keeps its name
        row = editor.put(linear.node.graph, folded_name(row.name), own, linear.node)
    linear.grow()
    linear.node.resize_inputs(3)
    linear.node.replace_input_with(2, row)
    editor.replace_value(add.outputs[0], y)
    editor.drop(add)
    return add
