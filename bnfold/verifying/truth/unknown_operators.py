"""Operators without any implementation: seeded stand-ins replace their outputs, and their inputs are
recorded.

A stand-in depends only on the names of the node's outputs and on the seed, so the reference and the candidate
see the same values behind the cut. Where a candidate has other names, its nodes take those of the reference's
nodes of their operator, in order. The parts in front of a stand-in are compared by the values that arrive
there.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...ir.graph import STANDARD, ir, label, nodes
from ...operators.table import op


def renamed(reference: ir.Model, candidate: ir.Model) -> dict[str, str]:
    """Names in the candidate -> names in the reference of what stand-ins may replace: of random nodes, and of
    operators of other domains. Names that both have stay; the others of an operator are paired in order, if
    there are as many."""
    names: dict[str, str] = {}
    theirs = _replaceable(candidate)
    for operator, all_ours in _replaceable(reference).items():
        ours = [name for name in all_ours if name not in theirs[operator]]
        other = [name for name in theirs[operator] if name not in all_ours]
        if len(ours) == len(other):
            names.update(zip(other, ours, strict=True))
    return names


def _replaceable(model: ir.Model) -> defaultdict[ir.OperatorIdentifier, list[str]]:
    found = defaultdict[ir.OperatorIdentifier, list[str]](list)
    for node in nodes(model):
        if op(node).random or node.domain not in STANDARD:
            found[node.op_identifier()].extend(value.name or "" for value in node.outputs)
    return found


class StandIns:
    """`given` maps `<node>[<index>]` to what the opaque node read; `nodes` lists them with their sources.
    `names` says under which other name a value is known (`renamed`)."""

    def __init__(self, seed: int, names: Mapping[str, str] | None = None) -> None:
        self.seed, self.names = seed, names or {}
        self.given: dict[str, np.ndarray] = {}
        self.nodes: dict[str, str] = {}

    def __call__(self, node: ir.Node, arguments: Sequence[Any], source: str) -> tuple[Any, ...]:
        """Stand-ins for all outputs of a node."""
        key = ",".join(map(self._name, node.outputs))
        self.nodes[f"{node.domain}::{node.op_type} {label(node)}"] = source
        for index, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                self.given[f"{key}[{index}]"] = argument
        return tuple(self._stand_in(node, value, arguments) for value in node.outputs)

    def _stand_in(self, node: ir.Node, value: ir.Value, arguments: Sequence[Any]) -> np.ndarray:
        """Of the declared shape, else of the one that the node's attribute names, else of the first
        input's."""
        first = next((a for a in arguments if isinstance(a, np.ndarray)), np.zeros(()))
        shape = tuple(first.shape)
        asked = node.attributes.get("shape")
        if asked is not None and asked.type == ir.AttributeType.INTS:
            shape = tuple(asked.as_ints())
        elif value.shape is not None and value.shape.is_static():
            shape = tuple(int(d) for d in value.shape.numpy())
        elif value.shape is not None and len(value.shape) == len(shape):
            shape = tuple(d if isinstance(d, int) else shape[i] for i, d in enumerate(value.shape))
        random = np.random.default_rng([self.seed, zlib.crc32(self._name(value).encode())])
        if value.dtype is not None and value.dtype.is_integer():
            return np.zeros(shape, value.dtype.numpy())
        return random.standard_normal(shape)

    def _name(self, value: ir.Value) -> str:
        return self.names.get(value.name or "", value.name or "")
