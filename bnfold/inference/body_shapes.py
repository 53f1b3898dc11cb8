"""Shapes behind operators with bodies: If, Loop and Scan.

The shapes inside a body are derived before those of its node. A size that not every way through the node
gives alike is unknown.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.graph import attribute, bodies, ir
from .rule_context import Given, Shape, ShapeContext, with_symbols


def _if(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """What both branches agree on."""
    branches = [[s.of(value) for value in body.outputs] for body in bodies(node)]
    return [agreed(s, *shapes) for shapes in zip(*branches, strict=True)]


def _loop(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """What is carried has the sizes that it begins with, where every turn gives them again; what is collected
    has one entry for every turn."""
    given = [s.of(value) for value in bodies(node)[0].outputs[1:]]
    first = inputs[2:]
    carried = [agreed(s, *shapes) for shapes in zip(first, given, strict=False)]
    return [*carried, *(_collected(s, shape, 0) for shape in given[len(first) :])]


def _scan(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """As Loop; the axis along which turns are collected may be told."""
    states = len(node.inputs) - attribute(node, "num_scan_inputs")
    if not 0 <= states <= len(node.inputs):
        raise ValueError("it scans more inputs than it has, or fewer than none")
    if s.opset(node) < 9:  # before, there was a batch axis in front of all
        return [None] * len(node.outputs)
    given = [s.of(value) for value in bodies(node)[0].outputs]
    axes = attribute(node, "scan_output_axes") or [0] * (len(given) - states)
    carried = [agreed(s, *shapes) for shapes in zip(inputs[:states], given[:states], strict=True)]
    return [*carried, *(_collected(s, shape, axis) for shape, axis in zip(given[states:], axes, strict=True))]


def agreed(s: ShapeContext, *shapes: Shape | None) -> Shape | None:
    """The rank, and the sizes, in which all shapes agree."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or len({len(shape) for shape in known}) > 1:
        return None
    return with_symbols(
        s, (column[0] if len(set(column)) == 1 else None for column in zip(*known, strict=True))
    )


def _collected(s: ShapeContext, shape: Shape | None, axis: int) -> Shape | None:
    """One more axis, along which the turns lie."""
    if shape is None:
        return None
    at = axis % (len(shape) + 1)
    return with_symbols(s, (*shape[:at], None, *shape[at:]))


BODIES: dict[str, Callable[[ShapeContext, ir.Node, Given], Given]] = {"If": _if, "Loop": _loop, "Scan": _scan}
