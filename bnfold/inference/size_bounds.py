"""How large would it get? An upper bound on what an operator makes of constants, before it is run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..ir.graph import STANDARD, attribute, ir, is_op
from ..operators.table import ShapeRule, op


def is_bounded(node: ir.Node) -> bool:
    """Is it a deterministic operator whose results have a bound here?"""
    row = op(node)
    if row.random or is_op(node, "Dropout"):
        return False
    return node.domain in STANDARD and (node.op_type in _MADE or row.shape in _BY_SHAPE)


def elements(node: ir.Node, inputs: list[np.ndarray | None]) -> float:
    """An upper bound on the elements that a node reads and makes, before it is run: sizes in a file are not
    to be trusted."""
    given = [a for a in inputs if a is not None]
    read = max((a.size for a in given), default=0)
    try:
        return max(float(read), _rule(node)(node, given))
    except (
        IndexError,
        ValueError,
        TypeError,
        ZeroDivisionError,
        OverflowError,
    ):  # inputs that contradict the operator
        return math.inf


def _rule(node: ir.Node) -> Callable[[ir.Node, list[np.ndarray]], float]:
    return _MADE.get(node.op_type) or _BY_SHAPE.get(op(node).shape, _broadcast)


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


def _convolved(node: ir.Node, given: list[np.ndarray]) -> float:
    """Conv: every weight at every position of the padded input."""
    x, w = given[:2]
    pads = max(map(int, attribute(node, "pads", (0,))), default=0)
    reach = max(w.shape[2:], default=0) * max(map(int, attribute(node, "dilations", (1,))), default=1)
    if pads < 0 or reach < 0:
        return math.inf
    return float(x.shape[0] * w.size * math.prod(d + 2 * max(pads, reach) for d in x.shape[2:]))


def _einsum(node: ir.Node, given: list[np.ndarray]) -> float:
    """Every letter with every other: the sums that are made."""
    terms = str(attribute(node, "equation", "")).replace(" ", "").partition("->")[0].split(",")
    if any("." in term for term in terms):
        return math.inf
    sizes = {
        letter: d
        for term, a in zip(terms, given, strict=True)
        for letter, d in zip(term, a.shape, strict=True)
    }
    return float(math.prod(sizes.values()))


def _picked(node: ir.Node, given: list[np.ndarray]) -> float:
    """GatherND: a slice for every row of indices."""
    rows, depth = given[1].size / max(1, given[1].shape[-1]), given[1].shape[-1]
    return float(rows * math.prod(given[0].shape[depth:]))


def _places(node: ir.Node, given: list[np.ndarray]) -> float:
    """NonZero: a row of coordinates for every axis."""
    return float(given[0].size * max(1, given[0].ndim))


def _long(node: ir.Node, given: list[np.ndarray]) -> float:
    """Windows of signals: as many numbers as the first input says."""
    return abs(float(given[0].reshape(-1)[0]))


def _few(node: ir.Node, given: list[np.ndarray]) -> float:
    return 64.0


_MADE: dict[str, Callable[[ir.Node, list[np.ndarray]], float]] = {
    **dict.fromkeys(("ConstantOfShape", "Expand", "Tile"), _counted),
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    **dict.fromkeys(("Shape", "Size"), _few),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), _long),
    **dict.fromkeys(
        (
            *(
                "ArgMax",
                "ArgMin",
                "Compress",
                "Concat",
                "DepthToSpace",
                "Flatten",
                "GatherElements",
                "Reshape",
            ),
            *("Slice", "SpaceToDepth", "Split", "Squeeze", "TopK", "Transpose", "Unsqueeze"),
        ),
        _as_given,
    ),
    "Conv": _convolved,
    "Einsum": _einsum,
    "EyeLike": _as_given,
    "Gather": _gathered,
    "GatherND": _picked,
    "NonZero": _places,
    "OneHot": _one_hot,
    "Pad": _padded,
    "Range": _range,
}
# operators that share a rule of shapes make no more than it says
_BY_SHAPE = {
    ShapeRule.SAME: _as_given,
    ShapeRule.REDUCE: _as_given,
    ShapeRule.GLOBAL_POOL: _as_given,
    ShapeRule.BROADCAST: _broadcast,
}
