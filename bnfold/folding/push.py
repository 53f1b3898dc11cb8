"""Pushing one affine map through the graph until linear operators hold it all, or saying why it cannot be
done.

A push walks a cone. Backward (backward.py): the value before the affine node must become its image, so every
producer on the way either holds the map (a linear operator) or passes it on to its inputs; each value on the
way must be read by the cone alone. Forward (forward.py): the affine node is left out, so every consumer of
its output either holds the map or passes it on. Nodes are taken in graph order (from the back, going
backward), so each is met once, when all its maps are known, and a graph of any depth needs no recursion.

Nothing is changed while walking: a Push is a list of what would change. It is applied by edit.py, whole or
not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from functools import cached_property

import numpy as np

from ..inference import Shapes
from ..ir.graph import ir, is_op, label, sole, usages
from ..operators.table import op
from ..records import dataclass
from .affine import Affine, Float, spread
from .commute_rule import Choices
from .linear import Linear
from .reasons import Closed, Refused
from .recognise import Reading

_TRIES = 16  # pushes tried with other choices before giving up
# How many nodes pushes may walk in vain, in one graph and for each of its nodes, until those that follow go
# no farther than so many: time must not be the square of a graph in which they all lead nowhere.
_IN_VAIN, _IN_VAIN_EACH, _SHORT = 20_000, 20, 64


def blind(user: ir.Node, index: int) -> bool:
    """Does a reader look at the shape or the type of a value alone, which no map changes?"""
    return index in op(user).metadata


@dataclass
class Hold:
    """A linear operator will take this map, as vectors over its channels. `behind`: it has no bias, and this
    computes what the shift adds to its output, from all of its weights; most pushes that ask for an Add are
    refused for another reason."""

    linear: Linear
    map: Affine
    behind: Callable[[], Float] | None = None

    @cached_property
    def add(self) -> Float:
        """What an Add behind it adds."""
        assert self.behind is not None
        return self.behind()


@dataclass
class Recast:
    """A constant, or an affine node on the way, will have this map applied to its constant. `seen`: the shape
    in which they meet. A bias that is not there is zero."""

    node: ir.Node
    index: int
    map: Affine
    seen: tuple[int, ...]


@dataclass
class Push:
    """What would change. `changed`: values whose meaning changes; `via`: operators passed."""

    direction: str
    holds: list[Hold] = field(default_factory=list)
    recasts: list[Recast] = field(default_factory=list)
    changed: list[ir.Value] = field(default_factory=list)
    via: list[str] = field(default_factory=list)


@dataclass
class FoldContext:
    """What pushes look at: the graph's order, shapes, the linear operators, and the affine readings of
    nodes. `closed`: values behind which nothing that a map could end in stands before a place that declines
    every map; `unread`: values from which a map comes to nobody. A chain of them would otherwise be walked to
    its end from each of its nodes.

    `runs`: what a map on a value becomes at the end of a row of affine nodes, each the only reader of the one
    before, behind which some map was declined: that end, and the map of the row. `in_vain`: nodes that were
    walked by pushes that came to nothing."""

    model: ir.Model
    shapes: Shapes
    linear: Callable[[ir.Node], Linear | None]
    reading: Callable[[ir.Node], Reading | None]
    order: dict[ir.Node, float]
    into_half: bool = False
    closed: dict[ir.Value, Closed] = field(default_factory=dict)
    unread: set[ir.Value] = field(default_factory=set)
    runs: dict[ir.Value, tuple[ir.Value, Affine]] = field(default_factory=dict)
    in_vain: int = 0

    def check_reach(self, steps: int) -> None:
        """Refuse a walk of so many steps where too many in this graph have come to nothing."""
        if steps > _SHORT and self.in_vain > _IN_VAIN + _IN_VAIN_EACH * len(self.order):
            raise Refused(
                "kept.no-linear-neighbour",
                f"nothing within {_SHORT} nodes holds it, and too many longer ways in this graph led nowhere",
            )


def with_choices(attempt: Callable[[Choices], Push]) -> Push:
    """Try the first choices, then others; the first refusal is the one that is reported."""
    taken: tuple[int, ...] = ()
    first: Refused | None = None
    try:
        for _ in range(_TRIES):
            choices = Choices(taken)
            try:
                return attempt(choices)
            except Refused as refused:
                first = first or refused
                following = _next(taken, choices.asked)
                if following is None:
                    raise first from None
                taken = following
        raise first or Refused("kept.no-linear-neighbour")
    finally:
        # an error knows this frame, and this frame the error: a circle that would keep every refusal's frames
        # alive
        first = None


def _next(taken: tuple[int, ...], asked: int) -> tuple[int, ...] | None:
    """The next combination of two-way choices, counted in binary; None when all were tried."""
    digits = list(taken) + [0] * (asked - len(taken))
    for k in range(len(digits)):
        if digits[k] == 0:
            return tuple([0] * k + [1] + digits[k + 1 :])
    return None


def channels_of(linear: Linear, map_: Affine, axis: int, size: int) -> Affine:
    """The map as vectors over the channels of one side of a linear operator."""
    if map_.rank == 0:
        return Affine(spread(map_.scale, size), spread(map_.shift, size))
    found = _along_stack(linear, map_, axis, size) if linear.stack else map_.along(axis % map_.rank, size)
    if found is None:
        raise Refused(
            "kept.wrong-axis",
            f"its map varies along other axes than the channels of {linear.node.op_type} "
            f"'{label(linear.node)}'",
        )
    return found


def _along_stack(linear: Linear, map_: Affine, axis: int, size: int) -> Affine | None:
    """The map as vectors over a stack of matrices and their channels on one side."""
    lead, rank = linear.stack, linear.stack + 2
    shape = [1] * rank
    shape[:lead] = linear.view[:lead]
    shape[axis] = size // math.prod(shape)
    pattern = map_.scale.shape
    padded = (1,) * (rank - len(pattern)) + pattern
    if any(d != 1 for d in padded[: len(padded) - rank]):
        return None
    if any(d not in (1, whole) for d, whole in zip(padded[-rank:], shape, strict=True)):
        return None
    scale, shift = (
        np.broadcast_to(a.reshape(padded[-rank:]), shape).reshape(-1) for a in (map_.scale, map_.shift)
    )
    return Affine(scale, shift)


def constant_behind(linear: Linear, pattern: Float, shapes: Shapes) -> tuple[ir.Node, int, Affine] | None:
    """The Add or Sub of a constant right behind an operator without bias, the index of that constant, and the
    map by which it takes this shift: (y + a) - c = y - (c - a), and c - (y + a) = (c - a) - y."""
    y = linear.node.outputs[0]
    if not sole(y):
        return None
    node, index = next(iter(usages(y)))
    if not is_op(node, "Add", "Sub"):
        return None
    index = 1 - index
    values = shapes.constants.array(node.inputs[index])
    map_ = Affine.plus(-pattern if is_op(node, "Sub") else pattern)
    if values is None or values.dtype != np.float64 or not map_.meets(values):
        return None
    return node, index, map_


def shift_pattern(linear: Linear, add: Float) -> Float:
    """A shift of the output channels, shaped to broadcast against the output."""
    if len(linear.tensor.shape) == 1:  # the product with a vector has no axis of channels
        return add.reshape(())
    return add.reshape((-1,) + (1,) * (-linear.y_axis - 1))
