"""Operators that move channels: joins, splits, slices, and what gives the channel axis another place."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ..inference import node_arguments
from ..inference.node_arguments import reader
from ..ir.graph import attribute, ir, is_op, label
from ..operators.arguments import axis_argument, axis_of, permutation, squeezed_axes
from .groups import Channels
from .trace import Trace
from .window_rules import follows_data

_SIZES = ("Gather", "Slice", "Unsqueeze", "Squeeze", "Concat", "Cast", "Identity")  # what a size passes
_TAKES_SIZES = {"Reshape": 1, "Resize": 1, "Upsample": 1, "Expand": 1}  # from which input on


def concat(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Concat: one channel behind the other, or channel by channel along another axis."""
    traced = [found for v in node.inputs if (found := t.of(v)) is not None]
    if not traced:
        return [None]
    first = traced[0]
    axis = axis_argument(reader(node), "Concat", first.rank)
    if any((c.axis, c.rank) != (first.axis, first.rank) for c in traced):
        return [*t.unknown(node, why="and its operands have channels along different axes")]
    if axis != first.axis:
        if len(traced) < len(node.inputs) or any(c.size != first.size for c in traced):
            return [*t.unknown(node, "stays.residual", "beside what gives every channel")]
        for other in traced[1:]:
            t.groups.tie(first.ids, other.ids)
        low, high = (np.stack([getattr(c, end) for c in traced]) for end in ("low", "high"))
        return [Channels(first.axis, first.rank, first.ids, low.min(axis=0), high.max(axis=0))]
    parts = []
    for value in node.inputs:
        found = t.of(value)
        if found is None:
            size = t.shapes.dim(value, axis)
            if size is None:
                return [*t.unknown(node, "stays.shape", "beside channels whose number is not known")]
            found = t.fixed(size, axis, first.rank, "stays.graph-input", f"'{label(node)}' takes it as it is")
        parts.append(found)
    ids, low, high = (np.concatenate([getattr(c, name) for c in parts]) for name in ("ids", "low", "high"))
    return [Channels(axis, first.rank, ids, low, high)]


def split(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Split: each output has some of the channels, or all of them along another axis."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None] * len(node.outputs)
    if axis_argument(reader(node), "Split", data.rank) != data.axis:
        return [data] * len(node.outputs)
    sizes = node_arguments.split_sizes(t.shapes, node, data.size)
    if sizes is None:
        return [*t.unknown(node, "stays.shape", "and the sizes of its parts are not known")]
    ends = np.cumsum([0, *sizes])
    return [picked(data, np.arange(a, b)) for a, b in pairwise(ends.tolist())]


def picked(data: Channels, places: np.ndarray) -> Channels:
    """Some of the channels."""
    return Channels(data.axis, data.rank, data.ids[places], data.low[places], data.high[places])


def _taken(t: Trace, data: Channels, places: np.ndarray) -> Channels:
    """Some of the channels; whatever the others are, nothing here wants them."""
    t.groups.read(np.delete(data.ids, places))
    return picked(data, places)


def slicing(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Slice: a run of channels, or all of them."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None]
    cuts = node_arguments.cuts(t.shapes, node, data.rank)
    cut = cuts[data.axis] if cuts is not None else None
    if cut is None or (cut.step != 1 and not cut.whole):
        return [*t.unknown(node, "stays.shape", "and which channels it takes is not known")]
    return [data if cut.whole else _taken(t, data, np.array(cut.positions(data.size), np.int64))]


def gather(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Gather: channels in another order, or all of them along another axis."""
    data, rank = t.of(node.inputs[0]), t.shapes.rank(node.inputs[1])
    if data is None or rank is None:
        return [*t.unknown(node)]
    axis = axis_argument(reader(node), "Gather", data.rank)
    if axis != data.axis:
        moved = data.axis if data.axis < axis else data.axis + rank - 1
        return [Channels(moved, data.rank + rank - 1, data.ids, data.low, data.high)]
    places = t.shapes.constants.array(node.inputs[1])
    if places is None or places.ndim != 1 or not ((places >= -data.size) & (places < data.size)).all():
        return [*t.unknown(node, why="and which channels it takes is not known")]
    return [_taken(t, data, places.astype(np.int64) % data.size)]


def transpose(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Transpose: the channel axis in another place."""
    data = t.of(node.inputs[0])
    if data is None:
        return [None]
    order = permutation(attribute(node, "perm"), data.rank)
    return [Channels(order.index(data.axis), data.rank, data.ids, data.low, data.high)]


def squeeze(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Squeeze: fewer axes."""
    data, shape = t.of(node.inputs[0]), t.shapes.of(node.inputs[0])
    _, axes = node_arguments.integers(t.shapes, node, "axes", 1)
    dropped = None if shape is None else squeezed_axes(axes, shape)
    if data is None or dropped is None or data.axis in dropped:
        return [*t.unknown(node, "stays.shape", "and which axes it drops is not known")]
    before = sum(axis < data.axis for axis in dropped)
    return [Channels(data.axis - before, data.rank - len(dropped), data.ids, data.low, data.high)]


def unsqueeze(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Unsqueeze: more axes."""
    data = t.of(node.inputs[0])
    _, axes = node_arguments.integers(t.shapes, node, "axes", 1)
    if data is None or axes is None:
        return [*t.unknown(node, "stays.shape", "and where it puts axes is not known")]
    rank = data.rank + len(axes)
    ones = {axis_of(axis, rank) for axis in axes}
    moved = [axis for axis in range(rank) if axis not in ones][data.axis]
    return [Channels(moved, rank, data.ids, data.low, data.high)]


def reshape(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Reshape and Flatten: the channel axis stays, or takes in the axes behind it, so that every channel
    becomes a run of numbers."""
    data, before, after = t.of(node.inputs[0]), t.shapes.of(node.inputs[0]), t.shapes.of(node.outputs[0])
    if data is None:
        return [None]
    count = None if before is None or after is None else _run_length(data, before, after)
    if count is None or (is_op(node, "Reshape") and not _size_can_change(t, node, data)):
        return [*t.unknown(node, "stays.shape", "and it gives the channels another shape")]
    ids, low, high = (np.repeat(v, count) for v in (data.ids, data.low, data.high))
    assert after is not None
    return [Channels(data.axis, len(after), ids, low, high)]


def _run_length(data: Channels, before: tuple[int | str, ...], after: tuple[int | str, ...]) -> int | None:
    """How many numbers of the output's axis are one channel; None where the channels do not stay together in
    one axis."""
    axis = data.axis
    if len(after) <= axis or before[:axis] != after[:axis] or not isinstance(after[axis], int):
        return None
    count, left = divmod(int(after[axis]), data.size)
    if left or not count:
        return None
    runs = [1]
    for size in before[axis + 1 :]:
        if not isinstance(size, int):
            break
        runs.append(runs[-1] * size)
    if count not in runs:
        return None
    rest, behind = before[axis + 1 :], after[axis + 1 :]
    known = all(isinstance(d, int) for d in (*rest, *behind))
    if known and math.prod(int(d) for d in rest) != count * math.prod(int(d) for d in behind):
        return None
    return count if known or (count == 1 and rest == behind) else None


def _size_can_change(t: Trace, node: ir.Node, data: Channels) -> bool:
    """Does the size of the channel axis follow by itself, or stand where it can be rewritten?"""
    if attribute(node, "shape") is not None or t.shapes.constants.tensor(node.inputs[1]) is not None:
        return True
    given = node.inputs[1]
    return given is not None and (follows_data(t, given, data.axis) or _is_rest(t, given, data.axis))


def _is_rest(t: Trace, given: ir.Value, at: int) -> bool:
    """Is this entry of a computed shape -1, the size that is left?"""
    content = t.shapes.content(given)
    return content is not None and at < len(content) and content[at] == -1


def shape(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Shape and Size: harmless where the number of channels ends in a shape again, which then follows."""
    value, data = node.inputs[0], t.of(node.inputs[0])
    if data is None or value is None:
        return [None]
    counts = _ending_in_shapes(t, node, data)
    if counts is None:
        t.unknown(node, "stays.shape", "and computes with its size")
    else:
        t.counts.setdefault(value, []).extend(counts)
    return [None]


def _ending_in_shapes(t: Trace, node: ir.Node, data: Channels) -> list[ir.Value] | None:
    """The values that hold the number of channels on its way into shapes; None where it goes elsewhere."""
    if not is_op(node, "Shape"):
        return None
    counts = [node.outputs[0]]
    waiting = [(user, place, value) for value in node.outputs for user, place in value.uses()]
    whole = node.outputs[0]
    if whole.is_graph_output():
        return None
    while waiting:
        user, place, value = waiting.pop()
        if value is whole and _takes_others(t, user, data):
            continue
        if is_op(user, *_TAKES_SIZES) and place >= _TAKES_SIZES[user.op_type]:
            continue
        if not is_op(user, *_SIZES) or any(v.is_graph_output() for v in user.outputs):
            return None
        counts.extend(user.outputs)
        waiting.extend((one, at, v) for v in user.outputs for one, at in v.uses())
    return counts


def _takes_others(t: Trace, user: ir.Node, data: Channels) -> bool:
    """Does it take sizes of other axes than the channels'?"""
    if is_op(user, "Gather"):
        places = t.shapes.constants.array(user.inputs[1])
        return places is not None and data.axis not in (places.reshape(-1) % data.rank).tolist()
    if is_op(user, "Slice"):
        cuts = node_arguments.cuts(t.shapes, user, 1)
        cut = cuts[0] if cuts else None
        return cut is not None and data.axis not in cut.positions(data.rank)
    return False
