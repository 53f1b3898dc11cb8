"""Operators without any implementation: seeded stand-ins replace their outputs, and their inputs are
recorded.

A stand-in depends only on the names of the node's outputs and on the seed, so the reference and the candidate
see the same values behind the cut. The parts in front of it are compared by the values that arrive there.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.graph import ir, label


class StandIns:
    """`given` maps `<node>[<index>]` to what the opaque node read; `nodes` lists them with their sources."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.given: dict[str, np.ndarray] = {}
        self.nodes: dict[str, str] = {}

    def __call__(self, node: ir.Node, arguments: Sequence[Any], source: str) -> tuple[Any, ...]:
        """Stand-ins for all outputs of a node."""
        key = ",".join(value.name or "" for value in node.outputs)
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
        random = np.random.default_rng([self.seed, zlib.crc32((value.name or "").encode())])
        if value.dtype is not None and value.dtype.is_integer():
            return np.zeros(shape, value.dtype.numpy())
        return random.standard_normal(shape)
