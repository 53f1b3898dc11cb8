"""How large would it get? An upper bound on what an operator makes of constants, before it is run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..ir.graph import attribute, ir
from ..operators.table import op


def elements(node: ir.Node, inputs: list[np.ndarray | None]) -> float:
    """An upper bound on the elements that a node reads and makes, before it is run: sizes in a file are not
    to be trusted."""
    given = [a for a in inputs if a is not None]
    read = max((a.size for a in given), default=0)
    try:
        return max(float(read), _MADE.get(node.op_type, _broadcast)(node, given))
    except (
        IndexError,
        ValueError,
        TypeError,
        ZeroDivisionError,
        OverflowError,
    ):  # inputs that contradict the operator
        return math.inf


def _broadcast(node: ir.Node, given: list[np.ndarray]) -> float:
    """Elementwise operators; those that make no more than they read are below this bound as well, or have a
    row in _MADE."""
    return math.prod(np.broadcast_shapes(*(a.shape for a in given)))


def _as_given(node: ir.Node, given: list[np.ndarray]) -> float:
    return sum(a.size for a in given)


def _counted(node: ir.Node, given: list[np.ndarray]) -> float:
    """ConstantOfShape, Expand, Tile: the product of the last input, times what is repeated."""
    if given[-1].dtype.kind not in "iu" or np.any(given[-1] < 0):
        return math.inf
    return math.prod(int(d) for d in given[-1].reshape(-1)) * (1 if len(given) == 1 else given[0].size)


def _range(node: ir.Node, given: list[np.ndarray]) -> float:
    start, stop, step = (float(a.reshape(-1)[0]) for a in given)
    return float(abs((stop - start) / step))


def _padded(node: ir.Node, given: list[np.ndarray]) -> float:
    pads = given[1].reshape(-1) if len(given) > 1 else np.asarray(attribute(node, "pads", ()))
    return float(math.prod(d + 2 * max(abs(int(p)) for p in pads) for d in given[0].shape))


def _gathered(node: ir.Node, given: list[np.ndarray]) -> float:
    return float(
        given[1].size * given[0].size / max(1, int(given[0].shape[attribute(node, "axis", op(node).axis)]))
    )


def _one_hot(node: ir.Node, given: list[np.ndarray]) -> float:
    return given[0].size * abs(float(given[1].reshape(-1)[0]))


def _product(node: ir.Node, given: list[np.ndarray]) -> float:
    """MatMul and Gemm: every row with every column, of every matrix with every matrix that it may meet."""
    a, b = (x if x.ndim > 1 else x.reshape(1, -1) for x in given[:2])
    if node.op_type == "Gemm":
        return float(max(a.shape) * max(b.shape))
    return float(math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * a.shape[-2] * max(b.shape[-2:]))


_MADE: dict[str, Callable[[ir.Node, list[np.ndarray]], float]] = {
    **dict.fromkeys(("ConstantOfShape", "Expand", "Tile"), _counted),
    "Range": _range,
    "Pad": _padded,
    "Gather": _gathered,
    "OneHot": _one_hot,
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    **dict.fromkeys(
        (
            "Concat",
            "CumSum",
            "Flatten",
            "GatherElements",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "Reshape",
            "ScatterND",
            "Slice",
            "Split",
            "Squeeze",
            "Transpose",
            "Unsqueeze",
        ),
        _as_given,
    ),
}
