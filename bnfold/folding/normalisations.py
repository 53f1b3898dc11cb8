"""Normalisations that multiply by a scale and add a bias of their own: what a map behind them does to these.

    s·(γ·n + β) + t = (s·γ)·n + (s·β + t)

NORMALISATIONS has one row an operator: where its scale and bias are, and along which axes of its output they
run.
"""

from __future__ import annotations

from collections.abc import Callable

from ..inference import Shapes
from ..inference.node_arguments import reader
from ..ir.graph import ir, is_op, label
from ..operators.arguments import axis_argument
from ..records import dataclass
from .affine import Affine
from .push import Recast
from .reasons import Refused


@dataclass(frozen=True)
class Normalisation:
    """The inputs that are its scale and its bias (None: it has none), and the axes along which these run, of
    an output of so many axes. Both have one shape, and a bias that is left out is zero. `condition` says in
    words when it holds a map."""

    scale: int
    bias: int | None
    axes: Callable[[ir.Node, int, Shapes], range]
    condition: str


def _channels(node: ir.Node, rank: int, shapes: Shapes) -> range:
    return range(1, 2)


def _groups(node: ir.Node, rank: int, shapes: Shapes) -> range:
    """From opset 21 on there is a scale for each channel, before one for each group."""
    return range(1, 2) if shapes.opset(node) >= 21 else range(0)


def _trailing(node: ir.Node, rank: int, shapes: Shapes) -> range:
    return range(axis_argument(reader(node), node.op_type, rank), rank)


NORMALISATIONS: dict[str, Normalisation] = {
    "InstanceNormalization": Normalisation(1, 2, _channels, "along channels"),
    "GroupNormalization": Normalisation(1, 2, _groups, "along channels, from opset 21 on"),
    "LayerNormalization": Normalisation(1, 2, _trailing, "along what it normalises"),
    "RMSNormalization": Normalisation(1, None, _trailing, "along what it normalises, a scale alone"),
}


def recasts(node: ir.Node, map_: Affine, shapes: Shapes) -> list[Recast] | None:
    """What would change in a normalisation that takes this map behind it; None for another operator. Raises
    Refused where it cannot."""
    row = NORMALISATIONS.get(node.op_type) if is_op(node, *NORMALISATIONS) else None
    if row is None:
        return None
    where, rank = f"{node.op_type} '{label(node)}'", shapes.rank(node.outputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axes = row.axes(node, rank, shapes)
    found: list[Recast] = []
    for index, part, matters in ((row.scale, map_.scale_only(), map_.scales), (row.bias, map_, True)):
        if index is None and map_.shifts:
            raise Refused("kept.shift-does-not-pass", f"{where} has no bias that could hold a shift")
        if index is None or not matters:
            continue
        there = index < len(node.inputs) and node.inputs[index] is not None
        if not there and not map_.shifts:
            continue
        shape = _shape(node, index if there else row.scale, where, shapes)
        found.append(Recast(node, index, _over(part, axes, shape, where), shape))
    return found


def _shape(node: ir.Node, index: int, where: str, shapes: Shapes) -> tuple[int, ...]:
    """The shape of a parameter. Raises Refused where it is no constant."""
    value = node.inputs[index]
    values = shapes.constants.array(value)
    if value is None or values is None or shapes.constants.tensor(value) is None:
        name = value.name if value is not None else ""
        raise Refused("kept.parameter-not-constant", f"'{name}' of {where} is not a constant")
    return values.shape


def _over(map_: Affine, axes: range, shape: tuple[int, ...], where: str) -> Affine:
    """The map as one of a parameter that runs along these axes."""
    if map_.rank == 0:
        return map_
    if any(axis not in axes for axis in map_.varies()):
        raise Refused("kept.wrong-axis", f"its map varies along other axes than the scale of {where}")
    sizes = tuple(map_.scale.shape[axis] for axis in axes)
    if len(shape) != len(sizes) or any(s not in (1, d) for s, d in zip(sizes, shape, strict=True)):
        raise Refused("kept.wrong-axis", f"the scale of {where} has other axes than its map")
    return map_.mapped(lambda a: a.reshape(sizes))
