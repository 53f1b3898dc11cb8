"""Operators that work on every channel alone: batch norms, activations, sums and products.

Their output consists of the channels of their input; where several inputs have channels, these leave together
or stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..folding.reasons import Refused
from ..folding.recognise import read
from ..inference.constants import is_float
from ..ir.graph import attribute, ir, label
from . import intervals
from .groups import Channels, Reason
from .intervals import Bounds
from .linear_rules import batch_norm_input
from .trace import Norm, Trace

_STAYS = {"kept.training-mode": "stays.training-mode", "kept.non-finite": "stays.non-finite"}


def batch_norm(t: Trace, node: ir.Node) -> list[Channels | None]:
    """scale · x + shift, each channel its own."""
    try:
        reading = read(node, t.shapes, t.model)
    except Refused as refused:
        code = _STAYS.get(refused.code, "stays.weight-not-constant")
        _refused_norm(t, node, code, refused.words)
        return [*t.unknown(node, code, f"and {refused.words}")]
    gamma = t.shapes.constants.array(node.inputs[1])
    if reading is None or gamma is None:
        return [*t.unknown(node)]
    data, rank = t.of(node.inputs[0]), reading.map.rank
    if rank < 2:  # a vector is a batch of one channel, which no axis of it counts
        return [*t.unknown(node)]
    if data is None:
        data = batch_norm_input(t, node, gamma.size, rank)
    if data.axis != 1 or data.size != gamma.size:
        return [*t.unknown(node, why="along another axis")]
    scale, shift = (
        np.broadcast_to(v.reshape(-1), gamma.size) for v in (reading.map.scale, reading.map.shift)
    )
    place = len(t.nodes) - 1
    masked = t.masks.get(place)
    if masked is not None:
        scale, shift = (np.where(masked, 0.0, v) for v in (scale, shift))
    low, high = intervals.combined("Mul", [(data.low, data.high), (scale, scale)])
    made = Channels(data.axis, data.rank, data.ids, low + shift, high + shift)
    t.scaled[node.outputs[0]] = len(t.norms)
    t.norms.append(Norm(node, data.ids, np.abs(gamma), made.constant, place))
    return [made]


def _refused_norm(t: Trace, node: ir.Node, code: str, words: str) -> None:
    """A batch norm whose channels are counted, and stay; or not even that, where its scale is not known."""
    gamma = t.shapes.constants.array(node.inputs[1]) if len(node.inputs) > 1 else None
    if gamma is not None and gamma.ndim == 1 and gamma.dtype.kind == "f":
        ids = t.groups.fresh(gamma.size)
        t.groups.block(ids, code, words)
        t.norms.append(Norm(node, ids, np.abs(gamma), gamma == 0, len(t.nodes) - 1))
    elif len(node.inputs) > 1:
        t.unseen.append((node, t.shapes.dim(node.inputs[1], 0) or 0, Reason(code, words)))


def unary(t: Trace, node: ir.Node) -> list[Channels | None]:
    """An activation: f(x)."""
    data = t.of(node.inputs[0])
    rest = [t.shapes.constants.array(v) for v in node.inputs[1:]]
    if data is None or any(v is not None and a is None for v, a in zip(node.inputs[1:], rest, strict=True)):
        return [*t.unknown(node)]
    low, high = intervals.unary(node, (data.low, data.high), rest, t.shapes.opset(node))
    return [Channels(data.axis, data.rank, data.ids, low, high)]


def elementwise(t: Trace, node: ir.Node) -> list[Channels | None]:
    """A sum, a product, the larger of two: operands that broadcast."""
    rank = t.shapes.rank(node.outputs[0])
    if rank is None or attribute(node, "broadcast", 0) or any(v is None for v in node.inputs):
        return [*t.unknown(node)]
    operands = [v for v in node.inputs if v is not None]
    traced = [found for v in operands if (found := t.of(v)) is not None]
    if not traced:
        return [None]
    whole = [c for c in traced if c.size > 1] or traced
    axis, size = whole[0].axis - whole[0].rank, whole[0].size
    if any(c.axis - c.rank != axis or c.size != size for c in whole):
        return [*t.unknown(node, why="and its operands have channels along different axes")]
    bounds: list[Bounds] = []
    for value in operands:
        operand = _operand(t, value, axis, size)
        if operand is None:
            why = f"where '{value.name}' meets it, which gives every channel"
            return [*t.unknown(node, "stays.residual", why)]
        bounds.append(operand)
    for lone in traced:
        if lone.size != size:
            t.groups.block(lone.ids, "stays.last-channel")
    return [_joined(t, node, whole, bounds, rank)]


def _joined(t: Trace, node: ir.Node, whole: list[Channels], bounds: list[Bounds], rank: int) -> Channels:
    """The channels of operands that leave together or stay."""
    first, data = whole[0], _scaled_input(t, node, bounds)
    for other in whole[1:]:
        t.groups.tie(first.ids, other.ids)
    if data is not None and node.op_type == "Add":
        bounds[1 - data] = _masked_shift(t, node.inputs[data], bounds[1 - data])
    low, high = intervals.combined(node.op_type, bounds)
    made = Channels(first.axis - first.rank + rank, rank, first.ids, low, high)
    dead = np.any([c.constant for c in whole], axis=0) & ~made.constant
    words = f"{node.op_type} '{label(node)}' joins it with channels that are not dead"
    t.groups.hint(made.ids[dead], "stays.residual", words)
    if data is not None:
        _go_on(t, node, node.inputs[data], made, bounds[1 - data][0])
    return made


def _scaled_input(t: Trace, node: ir.Node, bounds: list[Bounds]) -> int | None:
    """Which input is a batch norm whose scale or shift this node is, as in a Scale layer of Caffe: one
    constant for each channel, behind it and nothing else."""
    if node.op_type not in ("Mul", "Add") or len(node.inputs) != 2:
        return None
    for data, value in enumerate(node.inputs):
        other = node.inputs[1 - data]
        if value is None or value not in t.scaled or t.shapes.constants.tensor(other) is None:
            continue
        alone = len(value.uses()) == 1 and not value.is_graph_output()
        per_channel = np.array_equal(*bounds[1 - data])
        if alone and per_channel and (node.op_type == "Add" or not t.norms[t.scaled[value]].shifts):
            return data
    return None


def _masked_shift(t: Trace, value: ir.Value | None, bounds: Bounds) -> Bounds:
    """A shift without the channels that count as multiplied by zero."""
    assert value is not None
    masked = t.masks.get(t.norms[t.scaled[value]].place)
    return bounds if masked is None else (np.where(masked, 0.0, bounds[0]), np.where(masked, 0.0, bounds[1]))


def _go_on(t: Trace, node: ir.Node, value: ir.Value | None, made: Channels, factor: np.ndarray) -> None:
    """What the batch norm and this node are together."""
    assert value is not None
    at = t.scaled[value]
    norm = replace(t.norms[at], constant=made.constant)
    if node.op_type == "Mul":
        t.norms[at] = replace(norm, gamma=norm.gamma * np.abs(factor))
    else:
        t.norms[at] = replace(norm, shifts=(*norm.shifts, node))
    t.scaled[node.outputs[0]] = at


def _operand(t: Trace, value: ir.Value, axis: int, size: int) -> Bounds | None:
    """The bounds of an operand along the channels; None where it has channels that are not traced."""
    found = t.of(value)
    if found is not None:
        return np.broadcast_to(found.low, size), np.broadcast_to(found.high, size)
    constant = t.shapes.constants.array(value)
    if constant is not None and constant.dtype.kind == "f":
        return spread(constant, axis, size)
    shape = t.shapes.of(value)
    if shape is None or (len(shape) >= -axis and shape[axis] != 1):
        return None
    return np.full(size, -np.inf), np.full(size, np.inf)


def spread(constant: np.ndarray, axis: int, size: int) -> Bounds | None:
    """The bounds of a constant operand for every channel."""
    if constant.size == 0 or (constant.ndim >= -axis and constant.shape[axis] not in (1, size)):
        return None
    if constant.ndim < -axis:
        low, high = np.asarray(constant.min()), np.asarray(constant.max())
    else:
        others = tuple(k for k in range(constant.ndim) if k != constant.ndim + axis)
        low, high = constant.min(axis=others), constant.max(axis=others)
    return np.broadcast_to(low, size), np.broadcast_to(high, size)


def cast(t: Trace, node: ir.Node) -> list[Channels | None]:
    """From one type of floats to another."""
    if not is_float(t.shapes.dtype(node.outputs[0])):
        return [*t.unknown(node)]
    return [t.of(node.inputs[0])]
