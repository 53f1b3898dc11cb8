"""Our own float64 kernels, one table: operator -> function(call, *inputs) -> output or tuple of outputs.

A kernel gets float64 for every float, the model's own integers and bools, None for an absent optional input.
It reads attributes with `call.get` and the opset from `call.opset`, so all versions of an operator stand in
one function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.graph import STANDARD, ir
from . import (
    contrib,
    control,
    convert,
    deform,
    elementwise,
    linear,
    norm,
    pool,
    recurrent,
    reduce,
    resize,
    shape,
)

KERNELS: dict[str, Callable[..., Any]] = {
    **elementwise.TABLE,
    **reduce.TABLE,
    **shape.TABLE,
    **convert.TABLE,
    **linear.TABLE,
    **deform.TABLE,
    **pool.TABLE,
    **norm.TABLE,
    **resize.TABLE,
    **recurrent.TABLE,
    **control.TABLE,
}


def kernel_of(node: ir.Node) -> Callable[..., Any] | None:
    """The kernel of a node: of a standard operator, or of one that onnxruntime's optimiser makes."""
    if node.domain in STANDARD:
        return KERNELS.get(node.op_type)
    return contrib.CONTRIB.get(node.op_type) if node.domain == contrib.DOMAIN else None
