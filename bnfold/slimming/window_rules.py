"""Operators that look at each channel over space: pools, resizes, pads, reductions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..inference import node_arguments
from ..inference.node_arguments import reader, scales_and_sizes
from ..ir.graph import attribute, ir, is_op, label
from ..operators.arguments import resize_inputs, windows
from .groups import Channels
from .trace import Trace


def passed(t: Trace, node: ir.Node) -> list[Channels | None]:
    """What gives every channel as it is, or its largest or mean value."""
    if any(v.name and (v.uses() or v.is_graph_output()) for v in node.outputs[1:]):
        return [*t.unknown(node)]
    return [t.of(node.inputs[0])]


def dropout(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Dropout, which gives its input where nobody trains."""
    training = node.inputs[2] if len(node.inputs) > 2 else None
    stored = t.shapes.constants.tensor(training)
    if training is not None and (stored is None or stored.numpy().any()):
        return [*t.unknown(node, why="and may drop some of it at random")]
    return passed(t, node)


def average(t: Trace, node: ir.Node) -> list[Channels | None]:
    """AveragePool, which may count the zeros of its padding."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None]
    padded = any(w.may_pad for w in windows(reader(node), attribute(node, "kernel_shape")))
    return [_with(data, 0.0) if padded and attribute(node, "count_include_pad", 0) else data]


def _with(data: Channels, value: float) -> Channels:
    """Channels that may be this number as well."""
    return Channels(data.axis, data.rank, data.ids, np.minimum(data.low, value), np.maximum(data.high, value))


def pad(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Pad: a constant beside every channel, or more of itself."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None]
    pads = node_arguments.paddings(t.shapes, node, data.rank)
    if pads is None or min(pads[data.axis]) < 0:
        return [*t.unknown(node)]
    if str(attribute(node, "mode", "constant")) != "constant":
        return [*t.unknown(node)] if any(pads[data.axis]) else [data]
    given = node.inputs[2] if len(node.inputs) > 2 else None
    stored = t.shapes.constants.array(given)
    if given is not None and (stored is None or stored.size != 1):
        return [*t.unknown(node)]
    value = float(attribute(node, "value", 0.0)) if stored is None else float(stored.reshape(()))
    space = any(any(ends) for axis, ends in enumerate(pads) if axis != data.axis)
    return [_widened(t, node, _with(data, value) if space else data, pads[data.axis], value)]


def _widened(t: Trace, node: ir.Node, data: Channels, ends: tuple[int, int], value: float) -> Channels:
    """The channels between new ones of one number, which stay."""
    if not any(ends):
        return data
    words = f"Pad '{label(node)}' makes it"
    before, after = (t.fixed(n, data.axis, data.rank, "stays.graph-input", words) for n in ends)
    parts = [
        replace(one, low=np.full(one.size, value), high=np.full(one.size, value)) for one in (before, after)
    ]
    ids, low, high = (
        np.concatenate([getattr(parts[0], name), getattr(data, name), getattr(parts[1], name)])
        for name in ("ids", "low", "high")
    )
    return Channels(data.axis, data.rank, ids, low, high)


def resize(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Resize and Upsample: between the numbers of one channel."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None]
    scales, sizes = scales_and_sizes(t.shapes, node, t.shapes.opset(node))
    if not _keeps_channels(t, node, data, scales, sizes):
        return [*t.unknown(node, "stays.shape", "and how large it makes the channel axis is not known")]
    if attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        return [_with(data, float(attribute(node, "extrapolation_value", 0.0)))]
    if attribute(node, "mode", "nearest") == "cubic":
        low, high = np.where(data.constant, data.low, -np.inf), np.where(data.constant, data.high, np.inf)
        return [Channels(data.axis, data.rank, data.ids, low, high)]
    return [data]


def _keeps_channels(
    t: Trace, node: ir.Node, data: Channels, scales: list[float] | None, sizes: list[int] | None
) -> bool:
    axes = [a % data.rank for a in attribute(node, "axes") or range(data.rank)]
    if data.axis not in axes:
        return True
    at = axes.index(data.axis)
    if scales is not None:
        return scales[at] == 1
    if sizes is not None:
        return sizes[at] == data.size
    place = resize_inputs(node.op_type, t.shapes.opset(node))[2]
    given = node.inputs[place] if place is not None and place < len(node.inputs) else None
    return given is not None and follows_data(t, given, at)


def follows_data(t: Trace, sizes: ir.Value, at: int) -> bool:
    """Does an entry of a computed row of sizes come from the size of a value, and not from a number that
    stands in the file?"""
    node, left = sizes.producer(), at
    while node is not None and is_op(node, "Cast", "Concat", "Identity"):
        if not is_op(node, "Concat"):
            part = node.inputs[0]
        else:
            for part in node.inputs:
                length = t.shapes.dim(part, 0)
                if length is None:
                    return False
                if left < length:
                    break
                left -= length
            else:
                return False
        if part is None:
            return False
        node = part.producer()
    return is_op(node, "Shape", "Slice", "Gather", "Unsqueeze")


def reduction(t: Trace, node: ir.Node) -> list[Channels | None]:
    """ReduceMean and the like, over other axes than the channels'."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None]
    axes = node_arguments.reduced_axes(t.shapes, node, data.rank)
    if axes is None or data.axis in axes:
        return [*t.unknown(node, why="and it gathers channels")]
    kept = bool(attribute(node, "keepdims", 1))
    before = 0 if kept else sum(axis < data.axis for axis in axes)
    rank = data.rank if kept else data.rank - len(axes)
    low, high = data.low, data.high
    if is_op(node, "ReduceSum"):  # of how many numbers is not always known; of zeros it does not matter
        zero = data.constant & (data.constants == 0)
        low, high = np.where(zero, 0.0, -np.inf), np.where(zero, 0.0, np.inf)
    return [Channels(data.axis - before, rank, data.ids, low, high)]
