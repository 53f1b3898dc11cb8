"""A cone: the nodes that compute one pair of values, on both sides, from values that both sides share.

For all numbers on its border both sides of a cone must give the same at its end. By induction over the graph
that proves the outputs: whatever the border stands for, it is equal on both sides.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import field

from ...ir.graph import ir, reads
from ...records import dataclass
from .tokens import SideTokens, Token, Vocabulary

LARGEST = 4096  # nodes of one side: a cone beyond is the network itself, which the runs of verification cover


@dataclass
class Half:
    """One side of a cone: its nodes in the order of the graph, the value that stands for each token of the
    border, and the constants that its nodes read, with their tokens."""

    end: ir.Value
    nodes: list[ir.Node]
    border: dict[ir.Value, Token]
    constants: dict[ir.Value, Token] = field(default_factory=dict)


class NoCone(Exception):
    """A value outside that the other side does not have. The text is a clause."""


def half(
    end: ir.Value,
    side: SideTokens,
    words: Vocabulary,
    shared: Container[Token],
    opened: Container[Token] = (),
) -> Half:
    """The nodes between a value and what both sides share. `opened` are tokens that are no border this time.

    Raises NoCone where that leads to an input that is not shared, or too far."""
    found: dict[ir.Node, None] = {}
    border: dict[ir.Value, Token] = {}
    constants: dict[ir.Value, Token] = {}
    waiting = [end]
    seen: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        tensor = side.constants.tensor(value) if value is not end else None
        if tensor is not None:
            constants[value] = words.constant(tensor)
            continue
        token = side.tokens.get(value)
        producer = value.producer()
        inside = producer is not None and producer in side.order
        if value is not end and token in shared and not (inside and token in opened):
            border[value] = token  # type: ignore[assignment]
            continue
        if not inside or producer is None:
            raise NoCone(f"'{value.name}' is of one side alone")
        found[producer] = None
        if len(found) > LARGEST:
            raise NoCone(f"more than {LARGEST} nodes")
        waiting.extend(reads(producer))
    nodes = sorted(found, key=side.order.__getitem__)
    return Half(end, nodes, border, constants)
