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
from .rule_context import Content


class HasConstants(Protocol):
    """What knows the constants of a model, and the sizes on their way through it."""

    constants: Constants

    def integers(self, value: ir.Value | None) -> list[int] | None:
        """The numbers of a row that are all known."""
        ...

    def content(self, value: ir.Value | None) -> Content | None:
        """The elements of a small integer tensor, as far as they are known."""
        ...


def reader(node: ir.Node) -> Get:
    """How the decoder reads the attributes of a node."""
    return partial(attribute, node)


def _input(node: ir.Node, index: int | None) -> ir.Value | None:
    return node.inputs[index] if index is not None and index < len(node.inputs) else None


def integers(s: HasConstants, node: ir.Node, name: str, index: int) -> tuple[bool, list[int] | None]:
    """(was it given, its numbers) for an argument that was an attribute once and is an input now; None where
    they are not known."""
    stated = attribute(node, name)
    if stated is not None:
        return True, [int(n) for n in stated]
    value = _input(node, index)
    return value is not None, s.integers(value)


def scales_and_sizes(
    s: HasConstants, node: ir.Node, opset: int
) -> tuple[list[float] | None, list[int] | None]:
    """The scales and the sizes of a Resize or Upsample; None for what is empty, absent or not constant."""
    _, scales_at, sizes_at = arguments.resize_inputs(node.op_type, opset)
    stored = s.constants.array(_input(node, scales_at))
    scales = arguments.upsample_scales(reader(node), None if stored is None else stored.reshape(-1).tolist())
    return scales or None, s.integers(_input(node, sizes_at)) or None


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


def cuts(s: HasConstants, node: ir.Node, rank: int) -> list[Cut | None] | None:
    """What a Slice takes of every axis; None for an axis of which that is not known, or disputed among
    runtimes, and for all of them where it is not known which axes it cuts."""
    starts, ends = (_partly(s, node, name, index) for name, index in (("starts", 1), ("ends", 2)))
    was_given, axes = integers(s, node, "axes", 3)
    stepped, steps = integers(s, node, "steps", 4)
    count = next((len(row) for row in (axes, starts, ends) if row is not None), None)
    if count is None or (was_given and axes is None):
        return None
    rows = [row or [None] * count for row in (starts, ends, steps if stepped else [1] * count)]
    unknown = [any(not isinstance(n, int) for n in column) for column in zip(*rows, strict=True)]
    numbers = [[n if isinstance(n, int) else 1 for n in row] for row in rows]
    along = axes if axes is not None else list(range(count))
    taken = arguments.cuts(numbers[0], numbers[1], along, numbers[2], rank)
    vague = {axis % rank for axis, is_unknown in zip(along, unknown, strict=True) if is_unknown}
    return [None if axis in vague or cut.disputed else cut for axis, cut in enumerate(taken)]


def _partly(s: HasConstants, node: ir.Node, name: str, index: int) -> Sequence[Dim | None] | None:
    """An argument some of whose numbers may not be known."""
    numbers = integers(s, node, name, index)[1]
    return numbers if numbers is not None else s.content(_input(node, index))


def paddings(s: HasConstants, node: ir.Node, rank: int) -> list[tuple[int, int]] | None:
    """(before, after) for every axis of a Pad."""
    old: Sequence[int] | None = attribute(node, "paddings")
    pads = old if old is not None else integers(s, node, "pads", 1)[1]
    along = _input(node, 3)
    axes = s.integers(along)
    if pads is None or (along is not None and axes is None):
        return None
    return arguments.paddings(pads, axes, rank)
