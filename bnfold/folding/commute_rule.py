"""What rules of commute.py share: the form of a rule, what it may ask, and the conditions that several rules
set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..inference import Shapes
from ..ir.graph import ir
from ..records import dataclass
from .affine import Affine
from .linear import Linear
from .reasons import Refused

Maps = list[Affine | None]


@dataclass
class Choices:
    """Where a rule may choose (which summand takes the shift), it asks here; a refused push is tried again
    with other choices."""

    taken: tuple[int, ...] = ()
    asked: int = 0

    def pick(self, count: int) -> int:
        """The choice for this question, 0 where none was made yet."""
        choice = self.taken[self.asked] if self.asked < len(self.taken) else 0
        self.asked += 1
        return choice % count


@dataclass
class CommuteContext:
    """What a rule may ask: shapes, the model, linear operators with what they hold by now, and choices.
    `into_half`: may weights of 16 bits hold what the model computes in a wider type?"""

    shapes: Shapes
    model: ir.Model
    linear: Callable[[ir.Node], Linear | None]
    choices: Choices
    into_half: bool = False


@dataclass(frozen=True)
class Commute:
    """The two directions of one operator, and in words the condition under which a map passes it.
    `lossless`: a map that passes is a map behind it as well, so that none vanishes here."""

    condition: str
    back: Callable[[ir.Node, Maps, CommuteContext], Maps]
    forward: Callable[[ir.Node, Maps, CommuteContext], Maps]
    lossless: bool = False


def data_map(maps: Maps, node: ir.Node) -> Affine:
    """The map of the data (first) value; a map on any other value is not this rule's business."""
    if any(m is not None for m in maps[1:]) or maps[0] is None:
        raise Refused("kept.non-linear", f"{node.op_type} takes the value as an argument, not as data")
    return maps[0]


def only_data(node: ir.Node, map_: Affine) -> Maps:
    """A map for the data input, none for the others."""
    return [map_, *([None] * (len(node.inputs) - 1))]


def no_shift(node: ir.Node, map_: Affine) -> None:
    """Refuse a map with a shift."""
    if map_.shifts:
        raise Refused("kept.shift-does-not-pass", f"{node.op_type} stands in between and lets no shift pass")


def no_negative(node: ir.Node, map_: Affine) -> None:
    """Refuse a map with a negative scale."""
    if not map_.nonnegative:
        raise Refused(
            "kept.negative-scale", f"{node.op_type} stands in between and lets no negative scale pass"
        )


def uniform_over(map_: Affine, axes: Sequence[int], node: ir.Node) -> None:
    """Refuse a map that varies along axes that the node mixes."""
    if any(axis in map_.varies() for axis in axes):
        raise Refused("kept.wrong-axis", f"{node.op_type} mixes positions along which the map varies")
