"""Branches of a sum, and a sum that can become one convolution, as values."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.graph import ir
from .affine import Affine
from .linear import Linear


@dataclass
class Branch:
    """One summand as a kernel over x. `leaf` is its value in the sum, `nodes` vanish with it; a Conv has its
    `linear`, anything else is one value in every tap and channel of its own, then `map`. `sign` is -1 where
    it is subtracted."""

    leaf: ir.Value
    nodes: list[ir.Node]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    linear: Linear | None
    map: Affine
    sign: float = 1.0


@dataclass
class Merge:
    """A sum, some of whose summands are branches of one value, ready to be merged into `host`, which is one
    of them. `sums` are the nodes of the sum, the root first."""

    root: ir.Node
    sums: list[ir.Node]
    branches: list[Branch]
    host: Linear
    offsets: list[tuple[int, ...]]
    taps: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
