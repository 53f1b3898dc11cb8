"""What a pair of files can hold, where the result is to be in the model's own format (results/pair.py).

    check        may this push be carried out? The node's layer can vanish, and every constant that the push
                 rewrites is a stored array of the format
    impossible   what has shown itself, when all is done, to need a layer in part or one array twice

A layer vanishes whole or not at all; an array that several nodes read (a layer of several bottoms, the steps
of a recurrent one) can be rewritten only if it becomes the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.difference import same_bytes
from ..ir.graph import ir, label
from ..records import dataclass
from ..results.plan import Plan
from .push import Hold, Push, Recast
from .reasons import Refused

if TYPE_CHECKING:
    from ..results.pair import ArrayKey, NodeInput, Pair

# A union of branches, an inserted node and a second producer have no layer to be.
NOT_FOR_PAIRS: dict[str, Any] = {
    "merge_branches": False,
    "simplify_leftovers": False,
    "duplicate_producers": False,
}


@dataclass(frozen=True)
class OwnFormat:
    """The pair that is written, and what of it is refused besides: names of nodes, with the reason."""

    pair: Pair
    refused: dict[str, str]

    def check(self, push: Push, node: ir.Node) -> None:
        """Raises Refused where the format has no place for what the push makes."""
        unit = self.pair.leaves.get(node.name or "")
        if unit is None:
            raise Refused(
                "kept.format", f"{self.pair.format}'s format has no layer that does the rest of its"
            )
        for hold in push.holds:
            if unit.inside and (hold.linear.node.name or "") not in unit.holders:
                raise Refused("kept.format", f"{unit.label} itself cannot hold it")
            self._check_hold(hold)
        for recast in push.recasts:
            self._check_recast(recast)

    def _check_hold(self, hold: Hold) -> None:
        linear = hold.linear
        shifts = hold.map.shifts or linear.before.shifts or linear.after.shifts
        wanted = [linear.weight] if hold.map.scales or not shifts else []
        if shifts:
            if linear.bias is None or linear.grows or hold.behind is not None:
                raise self._no_place(linear.node, "a bias")
            wanted.append(linear.bias)
        for index in wanted:
            self._check_place(linear.node, index)

    def _check_recast(self, recast: Recast) -> None:
        self._check_place(recast.node, recast.index)
        stored = recast.node.inputs[recast.index]
        size = np.broadcast_shapes(recast.map.scale.shape, recast.seen)
        if stored is None or size != recast.seen:
            raise self._no_place(recast.node, "a constant of that size")

    def _check_place(self, node: ir.Node, index: int) -> None:
        if (node.name or "", index) not in self.pair.arrays:
            raise self._no_place(node, "other numbers")

    def _no_place(self, node: ir.Node, what: str) -> Refused:
        return Refused(
            "kept.format",
            f"{node.op_type} '{label(node)}', which would hold it, has no place for {what} in "
            f"{self.pair.format}'s format",
        )


def impossible(model: ir.Model, folded: ir.Model, plan: Plan, pair: Pair) -> dict[str, str]:
    """Folded nodes that have to stay, each with the reason."""
    nodes = {node.name or "": node for node in folded.graph}
    before = {node.name or "": node for node in model.graph}
    return dict([*_in_part(nodes, pair), *_twice(before, nodes, plan, pair)])


def _in_part(nodes: dict[str, ir.Node], pair: Pair) -> Iterator[tuple[str, str]]:
    for unit in pair.units:
        gone = [name for name in unit.leaves if name not in nodes]
        if gone and len(gone) < len(unit.leaves):
            yield from ((name, f"{unit.label} would vanish in part only") for name in gone)


def _twice(
    before: dict[str, ir.Node], nodes: dict[str, ir.Node], plan: Plan, pair: Pair
) -> Iterator[tuple[str, str]]:
    groups: dict[ArrayKey, list[NodeInput]] = {}
    for place, key in pair.arrays.items():
        if place[0] in nodes:
            groups.setdefault(key, []).append(place)
    for places in groups.values():
        tensors = [_constant(nodes[name], index) for name, index in places]
        if all(same_bytes(tensors[0], other) for other in tensors[1:]):
            continue
        holders = {
            name
            for name, index in places
            if _constant(nodes[name], index) is not _constant(before[name], index)
        }
        for fold in plan.folded:
            if holders.intersection(fold.into):
                yield fold.node, f"{', '.join(fold.into)} would need weights that others with the same do not"


def _constant(node: ir.Node, index: int) -> ir.TensorProtocol | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value.const_value if value is not None else None
