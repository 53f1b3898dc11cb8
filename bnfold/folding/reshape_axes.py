"""Reshapes: which axes of two shapes hold the same values, and how a pattern goes from one to the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from ..inference import Dim, Shape
from ..ir.graph import attribute, ir
from ..operators.arguments import axis_argument
from .affine import Float
from .reasons import Refused

LARGEST = 1 << 22  # elements of a pattern while it is being moved


def unclear(node: ir.Node, words: str) -> Refused:
    """The refusal of an operator that a map cannot be traced through."""
    return Refused("kept.wrong-axis", f"{node.op_type} stands in between and {words}")


def axis_of(node: ir.Node, rank: int) -> int:
    """The node's axis, counted from the front. What is declared of a value that nothing else is known of may
    have no such axis."""
    try:
        return axis_argument(partial(attribute, node), node.op_type, rank)
    except ValueError as error:
        raise unclear(node, f"has no {error}") from error


def check_room(shape: Sequence[int], node: ir.Node) -> None:
    """Refuse a pattern of absurd size before it is made: what a node asks for is a number in a file."""
    if (
        math.prod(max(size, 1) for size in shape) > LARGEST
    ):  # numpy counts like this, too: a size of zero makes room for nothing
        raise unclear(node, "the map would grow too large behind it")


def dim_groups(before: Shape, after: Shape) -> list[tuple[range, range]]:
    """Runs of axes of both shapes that hold the same values: equal dims from both ends, then runs of equal
    products."""
    left = 0
    while left < min(len(before), len(after)) and before[left] == after[left]:
        left += 1
    right = 0
    while right < min(len(before), len(after)) - left and before[-1 - right] == after[-1 - right]:
        right += 1
    groups = [(range(k, k + 1), range(k, k + 1)) for k in range(left)]
    groups += _middle(before, after, left, len(before) - right, len(after) - right)
    for k in range(right, 0, -1):
        groups.append(
            (range(len(before) - k, len(before) - k + 1), range(len(after) - k, len(after) - k + 1))
        )
    return groups


def _middle(before: Shape, after: Shape, start: int, end_b: int, end_a: int) -> list[tuple[range, range]]:
    dims = before[start:end_b] + after[start:end_a]
    if any(not isinstance(d, int) or d == 0 for d in dims):
        return [(range(start, end_b), range(start, end_a))]
    groups, i, j = [], start, start
    while i < end_b or j < end_a:
        i0, j0, size_b, size_a = i, j, 1, 1
        while i == i0 or j == j0 or size_b != size_a:
            if i < end_b and (i == i0 or size_b < size_a):
                size_b, i = size_b * int(before[i]), i + 1
            elif j < end_a and (j == j0 or size_a < size_b):
                size_a, j = size_a * int(after[j]), j + 1
            elif size_b == size_a:  # one side is used up, and what is left on the other are ones
                break
            else:  # the products never meet: the reshape is wrong, or its shapes are
                return [(range(start, end_b), range(start, end_a))]
        groups.append((range(i0, i), range(j0, j)))
    return groups


def regrouped(
    a: Float, groups: list[tuple[range, range]], before: Shape, after: Shape, node: ir.Node
) -> Float:
    """A pattern of `before` as one of `after`; a group along which it varies has to be known in full."""
    near: list[int] = [1] * len(before)
    far: list[int] = [1] * len(after)
    for here, there in groups:
        if all(a.shape[k] == 1 for k in here):
            continue
        dims: list[Dim] = [before[k] for k in here] + [after[k] for k in there]
        if len(here) == len(there) == 1 and before[here[0]] == after[there[0]]:
            near[here[0]] = far[there[0]] = a.shape[here[0]]
            continue
        if any(not isinstance(d, int) for d in dims) or math.prod(int(before[k]) for k in here) != math.prod(
            int(after[k]) for k in there
        ):
            raise unclear(node, "the channel axis cannot be traced through it")
        for k in here:
            near[k] = int(before[k])
        for k in there:
            far[k] = int(after[k])
    check_room(near, node)
    return np.broadcast_to(a, near).reshape(far)
