"""What each operator does to shapes: RULES, one row an operator.

A rule gets the asker (for constants and fresh symbols), the node, and its inputs' shapes; it gives a shape,
or None, for each output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..ir.graph import attribute, ir, is_op
from ..ir.tensor import dims
from ..operators.table import OPERATORS, ShapeRule
from .arguments import axes_of, axis_of, pads_of, slices_of, split_sizes
from .product_shapes import broadcast, einsum, gemm, matmul, meeting
from .rule_context import Asker, Dim, Given, Shape
from .window_shapes import conv, conv_transpose, global_pool, pool, resize

Rule = Callable[[Asker, ir.Node, Given], Sequence[Shape | None] | None]


def same(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """As the first input."""
    return [inputs[0]]


def _transpose(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    permutation = list(attribute(node, "perm") or range(len(x))[::-1])
    if sorted(permutation) != list(range(len(x))):
        raise ValueError(f"{permutation} does not permute {len(x)} axes")
    return [tuple(x[p] for p in permutation)]


def _reshape(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    wanted = s.dims(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "shape")
    if wanted is None:
        return [None]
    allow_zero = attribute(node, "allowzero", 0)
    dims: list[Dim] = []
    for k, d in enumerate(wanted):
        copied = d == 0 and not allow_zero
        dims.append((x[k] if x is not None else s.symbol()) if copied else d)
    if -1 in dims:
        dims[dims.index(-1)] = _inferred(s, x, dims)
    elif x is not None and all(isinstance(d, int) for d in (*x, *dims)):
        meeting(
            math.prod(d for d in x if isinstance(d, int)), math.prod(d for d in dims if isinstance(d, int))
        )
    return [tuple(dims)]


def _inferred(s: Asker, x: Shape | None, dims: list[Dim]) -> Dim:
    """The dim that -1 stands for: the input's product over the rest's, symbols cancelled against equal
    symbols."""
    if x is None:
        return s.symbol()
    over, under = list(x), [d for d in dims if d != -1]
    for symbol in [d for d in under if isinstance(d, str)]:
        if symbol not in over:
            return s.symbol()
        over.remove(symbol)
        under.remove(symbol)
    symbols = [d for d in over if isinstance(d, str)]
    top, bottom = (
        math.prod(d for d in over if isinstance(d, int)),
        math.prod(d for d in under if isinstance(d, int)),
    )
    if not symbols:
        return _divided(top, bottom)
    return symbols[0] if len(symbols) == 1 and top == bottom else s.symbol()


def _divided(whole: int, parts: int) -> int:
    """ValueError where something is left over."""
    if whole % parts:
        raise ValueError(f"{whole} is no multiple of {parts}")
    return whole // parts


def _flatten(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [(s.symbol(), s.symbol())]
    axis = attribute(node, "axis", 1)
    if axis != len(x):  # behind the last one is a place, too
        axis = axis_of(axis, len(x))
    return [tuple(_inferred(s, part, [-1]) for part in (x[:axis], x[axis:]))]


def _squeeze(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    axes = axes_of(s, node, len(x))
    if axes is None:
        if any(not isinstance(d, int) for d in x) or (len(node.inputs) > 1 and node.inputs[1] is not None):
            return [None]
        axes = [k for k, d in enumerate(x) if d == 1]
    meeting(1, *(x[k] for k in axes))
    return [tuple(d for k, d in enumerate(x) if k not in axes)]


def _unsqueeze(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    count = s.dim(node.inputs[1], 0) if len(node.inputs) > 1 else len(attribute(node, "axes"))
    if x is None or count is None:
        return [None]
    axes = axes_of(s, node, len(x) + count)
    if axes is None:
        return [None]
    meeting(count, len(set(axes)))
    rest = iter(x)
    return [tuple(1 if k in axes else next(rest) for k in range(len(x) + count))]


def _concat(s: Asker, node: ir.Node, inputs: Given) -> Given:
    known = [i for i in inputs if i is not None]
    if not known:
        return [None]
    rank = len(known[0])
    axis = axis_of(attribute(node, "axis", 1), rank)
    parts = [i[axis] if i is not None else None for i in inputs]
    total: Dim = (
        sum(p for p in parts if isinstance(p, int)) if all(isinstance(p, int) for p in parts) else s.symbol()
    )
    columns = list(zip(*known, strict=True))
    return [tuple(total if k == axis else _met(column) for k, column in enumerate(columns))]


def _met(column: Sequence[Dim]) -> Dim:
    """The one size that all of these have to be: a number where one is known."""
    meeting(*column)
    return next((d for d in column if isinstance(d, int)), column[0])


def _split(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    axis = axis_of(attribute(node, "axis", 0), len(x))
    sizes: Sequence[int | None] | None = split_sizes(s, node, x[axis])
    if sizes is not None and (
        len(sizes) != len(node.outputs)
        or (isinstance(x[axis], int) and sum(d or 0 for d in sizes) != x[axis])
    ):
        raise ValueError(f"parts of {sizes} do not make {x[axis]}")
    return [
        (*x[:axis], size if size is not None else s.symbol(), *x[axis + 1 :])
        for size in sizes or [None] * len(node.outputs)
    ]


def _slice(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    cuts = slices_of(s, node, len(x)) if x is not None else None
    if x is None or cuts is None:
        return [None if x is None else tuple(s.symbol() for _ in x)]
    return [
        tuple(
            d if cut == slice(None) else len(range(d)[cut]) if isinstance(d, int) else s.symbol()
            for d, cut in zip(x, cuts, strict=True)
        )
    ]


def _gather(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x, indices = inputs[0], inputs[1]
    if x is None or indices is None:
        return [None]
    axis = axis_of(attribute(node, "axis", 0), len(x))
    size, taken = x[axis], s.constants.array(node.inputs[1])
    if (
        isinstance(size, int)
        and taken is not None
        and taken.size
        and not (-size <= taken.min() and taken.max() < size)
    ):
        raise ValueError(f"an index outside of {size} entries")
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def _pad(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    pads = pads_of(s, node, len(x))
    if pads is None:
        return [tuple(s.symbol() for _ in x)]
    return [
        tuple(
            d if not any(p) else d + sum(p) if isinstance(d, int) else s.symbol()
            for d, p in zip(x, pads, strict=True)
        )
    ]


def _reduce(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    axes = axes_of(s, node, len(x))
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return [None]
    gone = set(axes or range(len(x)))
    if attribute(node, "keepdims", 1):
        return [tuple(1 if k in gone else d for k, d in enumerate(x))]
    return [tuple(d for k, d in enumerate(x) if k not in gone)]


def _expand(s: Asker, node: ir.Node, inputs: Given) -> Given:
    wanted = s.dims(node.inputs[1])
    return [None] if wanted is None else broadcast(s, node, [inputs[0], wanted])


def _tile(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    repeats = (
        s.constants.integers(node.inputs[1]) if len(node.inputs) == 2 else None
    )  # in opset 1 there is a third, the axis
    if x is None or repeats is None:
        return [None if x is None else tuple(s.symbol() for _ in x)]
    return [
        tuple(
            d if r == 1 else d * r if isinstance(d, int) else s.symbol()
            for d, r in zip(x, repeats, strict=True)
        )
    ]


def _depth_to_space(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x, block = inputs[0], attribute(node, "blocksize")
    if x is None or not isinstance(x[1], int):
        return [None if x is None else (x[0], *(s.symbol() for _ in x[1:]))]
    if is_op(node, "DepthToSpace"):
        return [
            (
                x[0],
                _divided(x[1], block * block),
                *(d * block if isinstance(d, int) else s.symbol() for d in x[2:]),
            )
        ]
    return [
        (
            x[0],
            x[1] * block * block,
            *(_divided(d, block) if isinstance(d, int) else s.symbol() for d in x[2:]),
        )
    ]


def _constant(s: Asker, node: ir.Node, inputs: Given) -> Given:
    found = s.constants.stored(node.outputs[0])
    return [None if found is None else dims(found)]


def _shape_of(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    return [None if x is None else (len(x[attribute(node, "start", 0) : attribute(node, "end")]),)]


def _constant_of_shape(s: Asker, node: ir.Node, inputs: Given) -> Given:
    return [s.dims(node.inputs[0])]


def _non_zero(s: Asker, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    return [None if x is None else (len(x), s.symbol())]


_SHARED: dict[ShapeRule, Rule] = {
    ShapeRule.SAME: same,
    ShapeRule.BROADCAST: broadcast,
    ShapeRule.REDUCE: _reduce,
    ShapeRule.POOL: pool,
    ShapeRule.GLOBAL_POOL: global_pool,
}
RULES: dict[str, Rule] = {
    **{name: _SHARED[row.shape] for name, row in OPERATORS.items() if row.shape in _SHARED},
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Einsum": einsum,
    "NonZero": _non_zero,
    "Gemm": gemm,
    "MatMul": matmul,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Resize": resize,
    "Upsample": resize,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _depth_to_space,
    "Constant": _constant,
    "Shape": _shape_of,
    "ConstantOfShape": _constant_of_shape,
}
