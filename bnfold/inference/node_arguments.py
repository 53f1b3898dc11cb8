"""Arguments of the nodes of a graph, decoded by operators/arguments.py: numbers that are attributes in some
opsets and constant inputs in others.

Each function gives None where a number that it needs is not constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from ..ir.graph import attribute, ir
from ..operators import arguments
from ..operators.arguments import Cut, Dim, Get
from .constants import Constants


class HasConstants(Protocol):
    """What knows the constants of a model."""

    constants: Constants


def reader(node: ir.Node) -> Get:
    """How the decoder reads the attributes of a node."""
    return partial(attribute, node)


def _input(node: ir.Node, index: int | None) -> ir.Value | None:
    return node.inputs[index] if index is not None and index < len(node.inputs) else None


def integers(s: HasConstants, node: ir.Node, name: str, index: int) -> tuple[bool, list[int] | None]:
    """(was it given, its numbers) for an argument that was an attribute once and is an input now; None where
    it is not constant."""
    stated = attribute(node, name)
    if stated is not None:
        return True, [int(n) for n in stated]
    value = _input(node, index)
    return value is not None, s.constants.integers(value)


def scales_and_sizes(
    s: HasConstants, node: ir.Node, opset: int
) -> tuple[list[float] | None, list[int] | None]:
    """The scales and the sizes of a Resize or Upsample; None for what is empty, absent or not constant."""
    _, scales_at, sizes_at = arguments.resize_inputs(node.op_type, opset)
    stored = s.constants.array(_input(node, scales_at))
    scales = arguments.upsample_scales(reader(node), None if stored is None else stored.reshape(-1).tolist())
    return scales or None, s.constants.integers(_input(node, sizes_at)) or None


def reduced_axes(s: HasConstants, node: ir.Node, rank: int) -> list[int] | None:
    """The axes that a reduction reduces."""
    was_given, axes = integers(s, node, "axes", 1)
    if was_given and axes is None:
        return None
    return arguments.reduced_axes(axes, rank, bool(attribute(node, "noop_with_empty_axes", 0)))


def split_sizes(s: HasConstants, node: ir.Node, whole: Dim) -> list[int] | None:
    """The sizes of a Split's outputs."""
    was_given, sizes = integers(s, node, "split", 1)
    if was_given and sizes is None:
        return None
    return arguments.split_sizes(sizes, whole, len(node.outputs), attribute(node, "num_outputs"))


def cuts(s: HasConstants, node: ir.Node, rank: int) -> list[Cut] | None:
    """What a Slice takes of every axis, where all runtimes agree."""
    names = enumerate(("starts", "ends", "axes", "steps"), start=1)
    parts = [integers(s, node, name, index) for index, name in names]
    if any(was_given and numbers is None for was_given, numbers in parts):
        return None
    starts, ends, axes, steps = (numbers for _, numbers in parts)
    taken = arguments.cuts(starts or (), ends or (), axes, steps, rank)
    return None if any(cut.disputed for cut in taken) else taken


def paddings(s: HasConstants, node: ir.Node, rank: int) -> list[tuple[int, int]] | None:
    """(before, after) for every axis of a Pad."""
    old: Sequence[int] | None = attribute(node, "paddings")
    pads = old if old is not None else integers(s, node, "pads", 1)[1]
    along = _input(node, 3)
    axes = s.constants.integers(along)
    if pads is None or (along is not None and axes is None):
        return None
    return arguments.paddings(pads, axes, rank)
