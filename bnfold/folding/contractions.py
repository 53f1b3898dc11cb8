"""Contractions: products of two operands, summed over the axes that the result lacks (MatMul, Einsum).

    y[r] = Σ a[..] · b[..]        every axis has a label; what is no label of y is summed over

A map that varies along labels of one operand that y has as well, so that nothing is summed over them, passes
between that operand and y: its scale always, its shift where the sums of the other operand are one number c,
since  Σ (a + t) · b = y + t·c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..inference import Shapes
from ..ir.graph import attribute, ir, is_op, label
from ..ir.tensor import dims
from ..records import dataclass
from .affine import Affine
from .commute_rule import CommuteContext
from .linear import Linear
from .mean_weights import sums_to_one
from .reasons import Refused

Labels = tuple[str, ...]
LARGEST_CANCELLATION = 2.0  # Σ|b| over |Σ b|: by so much the product may amplify the rounding of a shift
_ROUNDINGS = 2  # of its entries, by which sums differ that are equal but for the type they are stored in


@dataclass(frozen=True)
class Contraction:
    """The labels of both operands' axes and of the result's."""

    operands: tuple[Labels, Labels]
    result: Labels


def contraction(node: ir.Node, shapes: Shapes) -> Contraction:
    """The node's labels. Raises Refused where it is no contraction, or where a rank is not known."""
    return _matmul(node, shapes) if is_op(node, "MatMul") else _einsum(node)


def _matmul(node: ir.Node, shapes: Shapes) -> Contraction:
    first, second = (*(shapes.rank(value) for value in node.inputs), None, None)[:2]
    if not first or not second:
        raise Refused(
            "kept.unknown-rank", f"the operands of MatMul '{label(node)}' are not known to be matrices"
        )
    a = (*_stacked(first - 2), "row", "inner") if first > 1 else ("inner",)
    b = (*_stacked(second - 2), "inner", "column") if second > 1 else ("inner",)
    free = (name for name in ("row", "column") if name in a + b)
    return Contraction((a, b), (*_stacked(max(first, second) - 2), *free))


def _stacked(count: int) -> Labels:
    """Labels of leading axes, which broadcast from the back."""
    return tuple(str(place) for place in range(count, 0, -1))


def _einsum(node: ir.Node) -> Contraction:
    terms, _, result = str(attribute(node, "equation")).replace(" ", "").partition("->")
    operands = tuple(map(tuple, terms.split(",")))
    if not len(operands) == len(node.inputs) == 2 or not result or "." in terms + result:
        raise Refused(
            "kept.non-linear", f"Einsum '{label(node)}' is not a product of two operands with a named result"
        )
    if any(len(set(term)) != len(term) for term in (*operands, result)):
        raise Refused("kept.non-linear", f"Einsum '{label(node)}' takes a diagonal")
    return Contraction((operands[0], operands[1]), tuple(result))


def check_sizes(node: ir.Node, shapes: Shapes) -> None:
    """Refuse an Einsum that repeats the one entry of an operand: onnxruntime computes it, and takes the
    result to have one entry, too, wherever the nodes behind it say no more."""
    if not is_op(node, "Einsum"):
        return
    found, sizes = contraction(node, shapes), dict[str, int | None]()
    for value, labels in zip(node.inputs, found.operands, strict=True):
        for axis, name in enumerate(labels):
            size = shapes.dim(value, axis)
            if name in found.result and 1 in (size, other := sizes.setdefault(name, size)) and size != other:
                raise Refused(
                    "kept.non-linear",
                    f"Einsum '{label(node)}' repeats one entry along '{name}', and onnxruntime takes the "
                    "size of its result from it",
                )


def passes(linear: Linear, map_: Affine | None, shapes: Shapes, behind: bool) -> bool:
    """Is a map behind a product with a constant (or in front of it) for its data, and not for its weight? It
    can pass, and varies along axes that the weight lacks, or has a shift, for which that has no place."""
    if map_ is None or not map_.varies() or not is_op(linear.node, "MatMul", "Einsum"):
        return False
    moved = behind_to_operand if behind else operand_to_behind
    if moved(linear.node, linear.data, map_, shapes) is None:
        return False
    found = contraction(linear.node, shapes)
    sizes = zip(found.operands[linear.weight], dims(linear.tensor), strict=True)
    weight = [name for name, size in sizes if size != 1]
    varying = _varying(map_, found.result if behind else found.operands[linear.data])
    return map_.shifts or not any(name in weight for name in varying)


def behind_to_operand(node: ir.Node, index: int, map_: Affine, shapes: Shapes) -> Affine | None:
    """A map behind the node as one of an operand, its shift as it stands. None where the operand lacks an
    axis along which it varies."""
    if map_.rank == 0:
        return map_
    found = contraction(node, shapes)
    labels, across = found.operands[index], found.operands[1 - index]
    for name in _varying(map_, found.result):
        if name not in labels:
            return None
        size = map_.scale.shape[found.result.index(name)]
        if name in across and shapes.dim(node.inputs[index], labels.index(name)) != size:
            return None  # the one entry of the operand may be repeated
    return map_.mapped(_relabelled(found.result, labels))


def operand_to_behind(node: ir.Node, index: int, map_: Affine, shapes: Shapes) -> Affine | None:
    """A map of an operand as one behind the node, its shift as it stands. None where the node sums over an
    axis along which it varies."""
    if map_.rank == 0:
        return map_
    found = contraction(node, shapes)
    labels = found.operands[index]
    if any(name not in found.result for name in _varying(map_, labels)):
        return None
    return map_.mapped(_relabelled(labels, found.result))


def _varying(map_: Affine, labels: Labels) -> Labels:
    if map_.rank not in (0, len(labels)):
        raise Refused("kept.unknown-rank")
    return tuple(labels[axis] for axis in map_.varies())


def _relabelled(labels: Labels, wanted: Labels) -> Callable[[np.ndarray], np.ndarray]:
    """Moves a pattern whose axes have these labels to others. It varies along none that is not wanted."""
    common = [name for name in wanted if name in labels]
    gone = [name for name in labels if name not in wanted]
    order = [labels.index(name) for name in (*common, *gone)]

    def move(pattern: np.ndarray) -> np.ndarray:
        sizes = [pattern.shape[labels.index(name)] if name in labels else 1 for name in wanted]
        return pattern.transpose(order).reshape(sizes)

    return move


def sum_of_other(node: ir.Node, index: int, context: CommuteContext) -> float | None:
    """What the node makes of ones in the place of an operand, where that is one number everywhere: so often a
    shift of the operand is a shift of the result. None where it is not, or not known."""
    shapes = context.shapes
    found = contraction(node, shapes)
    other = node.inputs[1 - index]
    summed = [axis for axis, name in enumerate(found.operands[1 - index]) if name not in found.result]
    times = _repetitions(found, node, index, shapes)
    if times is None:
        return None
    if shapes.constants.tensor(other) is not None:
        values = _held_by_now(node, other, context)
        return None if values is None else _scaled(_equal_sums(values, summed, shapes.dtype(other)), times)
    return float(times) if len(summed) == 1 and sums_to_one(other, summed[0], shapes) else None


def _scaled(sums: float | None, times: int) -> float | None:
    return sums * times if sums is not None and times else None


def _repetitions(found: Contraction, node: ir.Node, index: int, shapes: Shapes) -> int | None:
    """How often each entry of the other operand is summed. It may lack an axis of this one that is summed
    over, or have one entry along it that all meet."""
    data, other = shapes.of(node.inputs[index]), shapes.of(node.inputs[1 - index])
    labels, across = found.operands[index], found.operands[1 - index]
    if data is None or other is None or len(data) != len(labels) or len(other) != len(across):
        return None
    times = 1
    for size, name in zip(data, labels, strict=True):
        wide = other[across.index(name)] if name in across else 1
        if name in found.result or wide == size or (isinstance(wide, int) and wide > 1):
            continue
        if wide != 1 or not isinstance(size, int):
            return None
        times *= size
    return times


def _held_by_now(node: ir.Node, value: ir.Value | None, context: CommuteContext) -> np.ndarray | None:
    """A constant operand with the maps that it holds by now, which are written into it in the end."""
    values = context.shapes.constants.array(value)
    try:
        linear = context.linear(node)
    except Refused:  # nothing can be held there
        linear = None
    if values is None or linear is None or not linear.touched:
        return values
    return linear.exact() if linear.quantized is None else None


def _equal_sums(values: np.ndarray, axes: Sequence[int], dtype: ir.DataType | None) -> float | None:
    """The sums of a constant over some axes, where they are one number but for the rounding of entries."""
    if values.dtype != np.float64 or not values.size or not np.all(np.isfinite(values)):
        return None
    sums, sizes = values.sum(tuple(axes)), np.abs(values).sum(tuple(axes))
    low, high, size = float(sums.min()), float(sums.max()), float(sizes.max())
    unit = float(np.finfo(np.float64 if dtype == ir.DataType.DOUBLE else np.float32).eps)
    middle = (low + high) / 2
    if high - low > _ROUNDINGS * unit * size or size > LARGEST_CANCELLATION * abs(middle):
        return None
    return middle
