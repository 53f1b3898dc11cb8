"""What each operator does to shapes: RULES, one row an operator.

A rule gets the context (for constants and fresh symbols), the node, and its inputs' shapes; it gives a shape,
or None, for each output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import attribute, ir, is_op
from ..ir.tensor import dims
from ..operators.arguments import (
    axis_argument,
    depth_to_space,
    flattened,
    padded,
    permutation,
    reshaped,
    same_size,
    shape_part,
    space_to_depth,
    squeezed_axes,
    tiled,
    unsqueezed,
)
from ..operators.table import OPERATORS, ShapeRule, op
from .node_arguments import cuts, integers, paddings, reader, reduced_axes, split_sizes
from .product_shapes import broadcast, einsum, gemm, matmul
from .rule_context import Dim, Given, Shape, ShapeContext, with_symbols
from .window_shapes import conv, conv_transpose, global_pool, pool, resize

Rule = Callable[[ShapeContext, ir.Node, Given], Sequence[Shape | None] | None]


def same(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """As the first input."""
    return [inputs[0]]


def _batch_norm(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """As the first input, which has as many channels as there are parameters."""
    x = inputs[0]
    channels = s.dim(node.inputs[1], 0)
    if x is not None and len(x) > 1 and channels is not None and not isinstance(x[1], int):
        x = (x[0], channels, *x[2:])
    return [x, *[None] * (len(node.outputs) - 1)]


def _transpose(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    return [None if x is None else tuple(x[p] for p in permutation(attribute(node, "perm"), len(x)))]


def _reshape(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    wanted = s.dims(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "shape")
    if wanted is None:
        return [None]
    return [with_symbols(s, reshaped(wanted, inputs[0], bool(attribute(node, "allowzero", 0))))]


def _flatten(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    axis = attribute(node, "axis", op(node).axis)
    return [with_symbols(s, (None, None) if x is None else flattened(axis, x))]


def _squeeze(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    was_given, named = integers(s, node, "axes", 1)
    if x is None or (was_given and named is None):
        return [None]
    axes = squeezed_axes(named, x)
    return [None if axes is None else tuple(d for k, d in enumerate(x) if k not in axes)]


def _unsqueeze(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x, axes = inputs[0], integers(s, node, "axes", 1)[1]
    return [None if x is None or axes is None else unsqueezed(axes, x)]


def _concat(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    known = [i for i in inputs if i is not None]
    if not known:
        return [None]
    rank = len(known[0])
    axis = axis_argument(reader(node), node.op_type, rank)
    parts = [i[axis] if i is not None else None for i in inputs]
    total: Dim = (
        sum(p for p in parts if isinstance(p, int)) if all(isinstance(p, int) for p in parts) else s.symbol()
    )
    columns = list(zip(*known, strict=True))
    return [tuple(total if k == axis else _met(column) for k, column in enumerate(columns))]


def _met(column: Sequence[Dim]) -> Dim:
    """The one size that all of these have to be: a number where one is known."""
    same_size(*column)
    return next((d for d in column if isinstance(d, int)), column[0])


def _split(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    axis = axis_argument(reader(node), node.op_type, len(x))
    sizes: Sequence[Dim | None] = split_sizes(s, node, x[axis]) or [None] * len(node.outputs)
    return [with_symbols(s, (*x[:axis], size, *x[axis + 1 :])) for size in sizes]


def _slice(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    taken = cuts(s, node, len(x))
    if taken is None:
        return [with_symbols(s, (None for _ in x))]
    return [
        with_symbols(s, (None if cut is None else cut.of(size) for cut, size in zip(taken, x, strict=True)))
    ]


def _gather(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x, indices = inputs[0], inputs[1]
    if x is None or indices is None:
        return [None]
    axis = axis_argument(reader(node), node.op_type, len(x))
    size, taken = x[axis], s.constants.array(node.inputs[1])
    if (
        isinstance(size, int)
        and taken is not None
        and taken.size
        and not (-size <= taken.min() and taken.max() < size)
    ):
        raise ValueError(f"an index outside of {size} entries")
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def _gather_elements(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    return [inputs[1]]


def _pad(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    if x is None:
        return [None]
    pads = paddings(s, node, len(x))
    if pads is None:
        return [with_symbols(s, (None for _ in x))]
    return [with_symbols(s, (padded(size, pad) for size, pad in zip(x, pads, strict=True)))]


def _reduce(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    gone = None if x is None else reduced_axes(s, node, len(x))
    if x is None or gone is None:
        return [None]
    if attribute(node, "keepdims", 1):
        return [tuple(1 if k in gone else d for k, d in enumerate(x))]
    return [tuple(d for k, d in enumerate(x) if k not in gone)]


def _arg(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """ArgMax and ArgMin: a reduction of one axis."""
    x = inputs[0]
    if x is None:
        return [None]
    gone = axis_argument(reader(node), node.op_type, len(x))
    one: Shape = (1,) if attribute(node, "keepdims", 1) else ()
    return [(*x[:gone], *one, *x[gone + 1 :])]


def _expand(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    wanted = s.dims(node.inputs[1])
    return [None] if wanted is None else broadcast(s, node, [inputs[0], wanted])


def _tile(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    # In opset 1 there is a third input, the axis.
    repeats = s.integers(node.inputs[1]) if len(node.inputs) == 2 else None
    if x is None or repeats is None:
        return [None if x is None else with_symbols(s, (None for _ in x))]
    return [with_symbols(s, tiled(x, repeats))]


def _blocks(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    moved = depth_to_space if is_op(node, "DepthToSpace") else space_to_depth
    return [None if x is None else with_symbols(s, moved(x, attribute(node, "blocksize")))]


def _constant(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    found = s.constants.stored(node.outputs[0])
    return [None if found is None else dims(found)]


def _shape_of(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    return [None if x is None else (len(shape_part(reader(node), x)),)]


def _constant_of_shape(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    return [s.dims(node.inputs[0])]


def _non_zero(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    x = inputs[0]
    return [None if x is None else (len(x), s.symbol())]


def _range(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """From nought in steps of one there are as many numbers as the limit says, known or not."""
    numbers = [s.content(v) or (None,) for v in node.inputs]
    start, limit, step = (row[0] if len(row) == 1 else None for row in numbers)
    if isinstance(start, int) and isinstance(limit, int) and isinstance(step, int):
        return [(len(range(start, limit, step)),)]
    if start == 0 and step == 1 and isinstance(limit, str):
        return [(limit,)]
    found = s.constants.array(node.outputs[0])
    return [(s.symbol() if found is None else found.size,)]


def _top_k(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """The values and the indices: as many along the axis as are asked for."""
    x = inputs[0]
    if x is None:
        return [None]
    axis = axis_argument(reader(node), node.op_type, len(x))
    stated = attribute(node, "k")
    asked_for = (
        [stated] if stated is not None else s.integers(node.inputs[1] if len(node.inputs) > 1 else None)
    )
    count, size = asked_for[0] if asked_for else None, x[axis]
    if count is not None and (count < 0 or (isinstance(size, int) and count > size)):
        raise ValueError(f"the {count} largest of {size}")
    return [with_symbols(s, (*x[:axis], count, *x[axis + 1 :]))] * len(node.outputs)


_SHARED: dict[ShapeRule, Rule] = {
    ShapeRule.SAME: same,
    ShapeRule.BROADCAST: broadcast,
    ShapeRule.REDUCE: _reduce,
    ShapeRule.POOL: pool,
    ShapeRule.GLOBAL_POOL: global_pool,
}
RULES: dict[str, Rule] = {
    **{name: _SHARED[row.shape] for name, row in OPERATORS.items() if row.shape in _SHARED},
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("Conv", "DeformConv"), conv),
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
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
    "Resize": resize,
    "Upsample": resize,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _blocks,
    "SpaceToDepth": _blocks,
    "Constant": _constant,
    "Shape": _shape_of,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "TopK": _top_k,
}
