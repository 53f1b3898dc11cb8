"""Do two models hold the same graph and the same bytes? Exact, and no arithmetic: what a written file is held
against when nothing in it was meant to change.

Tensors are compared block by block, so a large model costs one reading of its file and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from . import tensor
from .graph import STANDARD, GraphLike, graphs, ir

DOUBLE_SLACK = (
    1e-12  # of the largest value of a weight stored in float64: what another order of summing may change
)
SameTensor = Callable[[ir.TensorProtocol | None, ir.TensorProtocol | None], bool]


def difference(one: ir.Model, other: ir.Model, same: SameTensor | None = None) -> str:
    """The first difference in words, or "". `same` says when two tensors are; the same bytes by default."""
    same = same or same_bytes
    if dict(one.opset_imports) != dict(other.opset_imports):
        return f"opsets {dict(one.opset_imports)} and {dict(other.opset_imports)}"
    if one.ir_version != other.ir_version:
        return f"IR versions {one.ir_version} and {other.ir_version}"
    for left, right in zip_longest(graphs(one), graphs(other)):
        if left is None or right is None:
            return "a graph or function is missing"
        if found := _graph_difference(left, right, same):
            return found
    return ""


def _graph_difference(one: GraphLike, other: GraphLike, same: SameTensor) -> str:
    for what, left, right in (("inputs", one.inputs, other.inputs), ("outputs", one.outputs, other.outputs)):
        if [_face(v) for v in left] != [_face(v) for v in right]:
            return f"{what} {[v.name for v in left]} and {[v.name for v in right]}"
    if isinstance(one, ir.Graph) and isinstance(other, ir.Graph):
        if set(one.initializers) != set(other.initializers):
            return (
                f"initializers: {sorted(set(one.initializers) ^ set(other.initializers))[:3]} are in "
                "one alone"
            )
        for name, value in one.initializers.items():
            if not same(value.const_value, other.initializers[name].const_value):
                return f"initializer '{name}'"
    for ours, theirs in zip_longest(one, other):
        if ours is None or theirs is None or not _same_node(ours, theirs, same):
            return f"node '{(ours or theirs).name or (ours or theirs).op_type}'"
    return ""


def _face(value: ir.Value) -> tuple[Any, ...]:
    return value.name, value.dtype, str(value.shape)


def _same_node(one: ir.Node, other: ir.Node, same: SameTensor) -> bool:
    def identity(node: ir.Node) -> tuple[Any, ...]:
        domain = "" if node.domain in STANDARD else node.domain
        return (
            node.op_type,
            domain,
            node.overload,
            node.name or "",
            _names(node.inputs),
            _names(node.outputs),
            set(node.attributes),
        )

    return identity(one) == identity(other) and all(
        same_attribute(a, other.attributes[name], same) for name, a in one.attributes.items()
    )


def _names(values: Sequence[ir.Value | None]) -> list[str]:
    """The names of a node's inputs or outputs. Empty names at the end say that they are left out, as no name
    at all does."""
    names = ["" if value is None else value.name or "" for value in values]
    while names and not names[-1]:
        names.pop()
    return names


def same_attribute(one: ir.Attr, other: ir.Attr, same: SameTensor) -> bool:
    """The same value; bodies count as the same here, as they are graphs of their own."""
    if one.is_ref() or other.is_ref():
        return one.ref_attr_name == other.ref_attr_name
    if one.type != other.type:
        return False
    if one.type == ir.AttributeType.TENSOR:
        return same(one.as_tensor(), other.as_tensor())
    if one.type == ir.AttributeType.TENSORS:
        return all(same(a, b) for a, b in zip_longest(one.as_tensors(), other.as_tensors()))
    if one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return True
    return bool(
        one.value == other.value or repr(one.value) == repr(other.value)
    )  # repr: a NaN does not equal itself


def same_bytes(one: ir.TensorProtocol | None, other: ir.TensorProtocol | None) -> bool:
    """The same type, shape and bytes."""
    if one is None or other is None:
        return one is other
    if one.dtype != other.dtype or one.shape.numpy() != other.shape.numpy():
        return False
    if one.dtype == ir.DataType.STRING:
        return bool((one.numpy() == other.numpy()).all())
    return _same_blocks(one, other)


def same_but_for_rounding(one: ir.TensorProtocol | None, other: ir.TensorProtocol | None) -> bool:
    """The same type and shape, and no number further away than the next one of its type: what is computed
    again from rounded numbers."""
    if same_bytes(one, other):
        return True
    if one is None or other is None or one.dtype != other.dtype or one.shape.numpy() != other.shape.numpy():
        return False
    return not beyond_rounding(one, other)


def _same_blocks(one: ir.TensorProtocol, other: ir.TensorProtocol) -> bool:
    """Block by block: both sides cut alike, unless one of them lies in memory whole."""
    if isinstance(one, tensor.Window) and isinstance(other, tensor.Window):
        return all(a == b for a, b in zip(one.blocks(), other.blocks(), strict=True))
    return one.tobytes() == other.tobytes()


def beyond_rounding(mine: ir.TensorProtocol, theirs: ir.TensorProtocol) -> int:
    """How many elements of two tensors of one type and shape are further apart than neighbouring numbers of
    that type. Two doubles may be DOUBLE_SLACK of the tensor's largest value apart. What is no floating-point
    number must be the same."""
    a, b = mine.numpy(), theirs.numpy()
    if not mine.dtype.is_floating_point() or mine.dtype.bitwidth < 16:
        return int(np.count_nonzero(a != b)) or 1
    if mine.dtype == ir.DataType.DOUBLE:
        with np.errstate(all="ignore"):
            near = np.abs(a - b) <= DOUBLE_SLACK * np.abs(a).max(initial=0.0)
        return int(np.count_nonzero(~near & (a != b)))
    steps = np.abs(_order(a) - _order(b))
    with np.errstate(all="ignore"):
        fine = (steps <= 1) & np.isfinite(a.astype(np.float64)) & np.isfinite(b.astype(np.float64))
    return int(np.count_nonzero(~fine & (steps != 0)))


def _order(values: np.ndarray) -> np.ndarray:
    """Floating-point numbers of 16 or 32 bits as integers in the same order, neighbours one apart; both zeros
    are 0."""
    bits = values.itemsize * 8
    raw = values.reshape(-1).view(f"u{values.itemsize}").astype(np.int64)
    magnitude = raw & ((1 << (bits - 1)) - 1)
    return np.asarray(np.where(raw >> (bits - 1), -magnitude, magnitude)).reshape(values.shape)
