"""What operators say about shapes in their attributes or inputs, whatever the opset: axes, slices, pads,
split sizes, windows.

Each function gives a plain value, or None where the argument is not constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..ir.graph import attribute, ir
from .constants import Constants
from .rule_context import Dim


class Known(Protocol):
    """Who knows constants."""

    constants: Constants


def spatial_out(
    size: Dim, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool
) -> int | None:
    """Output size of a convolution or pooling along one axis, as the ONNX operators define it."""
    if not isinstance(size, int):
        return None
    room = size + before + after - (dilation * (kernel - 1) + 1)
    out = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (out - 1) * stride >= size + before:  # a window that begins in the end padding is not taken
        out -= 1
    return out


def window_of(node: ir.Node, rank: int, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """(strides, dilations, pads) of a windowed operator with their defaults; pads are all begins, then all
    ends."""
    strides = list(attribute(node, "strides") or [1] * rank)
    dilations = list(attribute(node, "dilations") or [1] * rank)
    pads = list(attribute(node, "pads") or [0] * 2 * rank)
    return strides, dilations, pads


def listed(s: Known, node: ir.Node, name: str, index: int) -> tuple[bool, list[int] | None]:
    """(was it given, its numbers) for an argument that was an attribute once and is an input now; None where
    it is not constant."""
    given = attribute(node, name)
    if given is not None:
        return True, [int(g) for g in given]
    if len(node.inputs) <= index or node.inputs[index] is None:
        return False, None
    return True, s.constants.integers(node.inputs[index])


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front. ValueError where there is no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def first_axis(node: ir.Node, index: int, rank: int, whole: int) -> int:
    """Where the axes of a broadcast operand begin among the output's: they end with them, unless `axis` of
    opsets before 7 says more."""
    axis = attribute(node, "axis") if index == 1 and attribute(node, "broadcast", 0) else None
    return whole - rank if axis is None else axis % max(whole, 1)


def axes_of(s: Known, node: ir.Node, rank: int) -> list[int] | None:
    """The axes of Squeeze, Unsqueeze or a reduction, from the attribute or the second input, counted from the
    front. ValueError for one that is not there, or there twice."""
    axes = listed(s, node, "axes", 1)[1]
    if axes is None:
        return None
    found = sorted(axis_of(a, rank) for a in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"axes {found}")
    return found


def split_sizes(s: Known, node: ir.Node, whole: Dim) -> list[int] | None:
    """The sizes of a Split's outputs: an attribute, an input, or equal parts of which the last may be
    smaller."""
    was_given, sizes = listed(s, node, "split", 1)
    if was_given:
        return sizes
    if not isinstance(whole, int):
        return None
    count = len(node.outputs)
    part = -(-whole // count)
    return [part] * (count - 1) + [whole - part * (count - 1)]


def slices_of(s: Known, node: ir.Node, rank: int) -> list[slice] | None:
    """One Python slice an axis, or None where starts, ends, axes or steps are not constant."""
    parts = [
        listed(s, node, name, index)
        for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    ]
    if any(was_given and numbers is None for was_given, numbers in parts):
        return None
    starts, ends, axes, steps = (numbers for _, numbers in parts)
    if starts is None or ends is None:
        return None
    cuts = [slice(None)] * rank
    for start, end, axis, step in zip(
        starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True
    ):
        floor = step < 0 and end < -(1 << 31)
        cuts[axis_of(axis, rank)] = slice(start, None if floor else end, step)
    return cuts


def pads_of(s: Known, node: ir.Node, rank: int) -> list[tuple[int, int]] | None:
    """(before, after) for every axis of a Pad, or None where they are not constant."""
    given = attribute(node, "pads") or attribute(node, "paddings")
    if given is None and len(node.inputs) > 1:
        given = s.constants.integers(node.inputs[1])
    if given is None:
        return None
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        chosen = s.constants.integers(node.inputs[3])
        if chosen is None:
            return None
        axes = [axis_of(a, rank) for a in chosen]
    if len(given) != 2 * len(axes):
        return None
    pads = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        pads[axis] = (int(given[k]), int(given[k + len(axes)]))
    return pads
