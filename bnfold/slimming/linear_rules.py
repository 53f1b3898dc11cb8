"""What convolutions and products do to channels: they read those of their input, each weighted, and make new
ones.

    read       an input channel may leave where it is a constant that the bias can take: it is 0, or no window
               sees padding
    made       an output channel is a constant where every input channel of weight other than 0 is one
    depthwise  a group of one input channel leaves as a whole, so its outputs are tied to its input
    grouped    every group has to lose as many (selection.py)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import Malformed
from ..folding.linear import Linear, check_bias
from ..folding.linear_operators import as_linear
from ..folding.reasons import Refused
from ..ir.graph import ir, label
from ..ir.tensor import BLOCK, dims
from .groups import Channels
from .trace import Grouped, Trace, varying

BROADCASTING = 7  # the opset from which an Add broadcasts by itself


def linear(t: Trace, node: ir.Node) -> list[Channels | None]:
    """Conv, ConvTranspose, Gemm, MatMul, Einsum."""
    found = _seen(t, node)
    if found is None:
        return [None]
    rank = t.shapes.rank(node.outputs[0]) or _rank(found)
    if rank is None or -rank > min(found.y_axis, found.x_axis):
        return [*t.unknown(node, "stays.shape", "and the rank of its data is not known")]
    data = _data(t, found, rank)
    if len(dims(found.tensor)) < 2:  # a product with a vector sums over the channels, and makes none
        if data is not None:
            _read(t, found, data)
        t.linears[node] = (found, data, t.fixed(1, 0, 1, "stays.last-channel", ""))
        return [None]
    made = _made(t, found, data, rank)
    t.linears[node] = (found, data, made)
    return [made]


def _seen(t: Trace, node: ir.Node) -> Linear | None:
    """The node as a Linear whose weights can be cut; None, with what it reads blocked, where it is none."""
    try:
        found = as_linear(node, t.shapes)
        if found is not None:
            check_bias(found, t.shapes)
    except Refused as refused:
        t.unknown(node, "stays.weight-not-constant", f"and {refused.words}")
        return None
    except Malformed:  # of a node that nothing has to fold into, that is for a runtime to say
        found = None
    if found is None or found.forward_only or found.stack or (node.op_type == "Gemm" and found.data):
        t.unknown(node)
        return None
    if found.quantized is not None:
        t.unknown(node, "stays.quantized-weight", "and its weight is quantised")
        return None
    return found


def _rank(found: Linear) -> int | None:
    return len(dims(found.tensor)) if found.node.op_type in ("Conv", "ConvTranspose", "Gemm") else None


def _data(t: Trace, found: Linear, rank: int) -> Channels | None:
    """The channels that the operator sums over; None where they are not traced, or lie on another axis."""
    node = found.node
    data = t.of(node.inputs[found.data])
    if data is None:
        return None
    if data.axis != found.x_axis % data.rank or data.size != found.ins:
        t.unknown(node, why="along another axis")
        return None
    return data


def groups_of(found: Linear) -> tuple[int, int, int]:
    """(groups, outputs of one, inputs of one)."""
    count = found.view[0] if len(found.rows) == 2 else 1
    return count, found.outs // count, found.ins // count


def is_depthwise(found: Linear) -> bool:
    """Has every group one input channel?"""
    count, _, ins = groups_of(found)
    return count > 1 and ins == 1


def kernels(found: Linear) -> np.ndarray:
    """The weights as [group, output, input, tap]. A view: nothing is read."""
    view = found.view if len(found.rows) == 2 else (1, *found.view, 1)
    weights = np.asarray(found.tensor.numpy()).reshape(view)
    return weights.swapaxes(1, 2) if found.rows[-1] > found.columns[-1] else weights


def bias_of(t: Trace, found: Linear) -> np.ndarray:
    """What is added to every output channel, in float64; NaN where that varies along another axis."""
    node, index = found.node, found.bias
    value = node.inputs[index] if index is not None and len(node.inputs) > index else None
    stored = t.shapes.constants.tensor(value)
    if stored is None:
        return np.zeros(found.outs)
    values = stored.numpy().astype(np.float64) * found.beta
    if node.op_type == "Gemm" and values.ndim == 2 and values.shape[0] != 1:
        return np.full(found.outs, np.nan)
    return np.broadcast_to(values.reshape(-1), found.outs)


def usable(t: Trace, found: Linear, data: Channels) -> np.ndarray:
    """Which input channels are constants that the operator's bias can take."""
    if not found.every_tap_real:
        return np.asarray(data.constant & (data.constants == 0))
    if found.bias is None and not _can_add(t, found):
        return np.asarray(data.constant & (data.constants == 0))
    return data.constant


def _can_add(t: Trace, found: Linear) -> bool:
    """May an Add stand behind an operator that has no bias?"""
    return found.y_axis == -1 and len(dims(found.tensor)) == 2 and t.shapes.opset(found.node) >= BROADCASTING


def _made(t: Trace, found: Linear, data: Channels | None, rank: int) -> Channels:
    ids = t.groups.fresh(found.outs)
    low, high = _bounds(t, found, data)
    made = Channels(found.y_axis % rank, rank, ids, low, high)
    count, outs, ins = groups_of(found)
    words = f"{found.node.op_type} '{label(found.node)}' has {count} groups, which have to stay alike"
    if is_depthwise(found):
        _depthwise(t, found, data, ids.reshape(count, outs))
        return made
    if data is not None:
        _read(t, found, data)
    if count > 1:
        inner = data.ids.reshape(count, ins) if data is not None else np.zeros((count, 0), np.int64)
        t.grouped.append(Grouped(inner, ids.reshape(count, outs), words))
    return made


def _depthwise(t: Trace, found: Linear, data: Channels | None, outs: np.ndarray) -> None:
    """Every group leaves as a whole, with the channel that it reads."""
    if data is None:
        t.groups.block(outs.reshape(-1), "stays.graph-input")
        return
    for column in outs.T:
        t.groups.tie(data.ids, column)
    lost = data.ids[data.constant & ~usable(t, found, data)]
    t.groups.hint(lost, "stays.padding", _padding_words(found.node))


def _padding_words(node: ir.Node) -> str:
    what = "spreads it unevenly" if node.op_type == "ConvTranspose" else "reads it with padding beside it"
    return f"its constant is not 0, and {node.op_type} '{label(node)}' {what}"


def _read(t: Trace, found: Linear, data: Channels) -> None:
    """What has to be a constant for the operator to do without it."""
    node, fine = found.node, usable(t, found, data)
    t.groups.read(data.ids)
    t.alive(data.ids[~data.constant])
    lost = data.ids[data.constant & ~fine]
    if found.every_tap_real:
        t.groups.block(lost, "stays.no-bias", f"{node.op_type} '{label(node)}' has no bias for its constant")
    else:
        t.groups.block(lost, "stays.padding", _padding_words(node))


def _bounds(t: Trace, found: Linear, data: Channels | None) -> tuple[np.ndarray, np.ndarray]:
    """Constants that are made: of filters without weights, or over constants alone."""
    bias = bias_of(t, found)
    value = np.full(found.outs, np.nan)
    for rows, alive, total in _looked_at(t, found, data):
        value[rows] = np.where(alive, np.nan, total * found.alpha * found.summed)
    value = value + bias
    known = np.isfinite(value)
    return np.where(known, value, -np.inf), np.where(known, value, np.inf)


def _looked_at(
    t: Trace, found: Linear, data: Channels | None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """(outputs, which of them anything but a constant reaches, the sum of the constants that do), piece by
    piece."""
    count, outs, ins = groups_of(found)
    weights = kernels(found)
    vary = np.ones(found.ins, np.bool_) if data is None else ~usable(t, found, data)
    if (doubted := t.doubted.get(found.node)) is not None:
        vary = vary | doubted
    numbers = np.zeros(found.ins) if data is None else np.where(vary, 0.0, data.constants)
    step = max(1, BLOCK // max(1, ins * weights.shape[-1]))
    for group in range(count):
        here = slice(group * ins, (group + 1) * ins)
        for at in range(0, outs, step):
            part = weights[group, at : at + step]
            rows = slice(group * outs + at, group * outs + at + part.shape[0])
            alive = _reached(part, vary[here])
            total = np.zeros(part.shape[0])
            if numbers[here].any() and not alive.all():
                total = part.astype(np.float64).sum(axis=-1) @ numbers[here]
            yield rows, alive, total


def _reached(part: np.ndarray, vary: np.ndarray) -> np.ndarray:
    """Which outputs a varying input reaches; one weight tells of most of them."""
    if not vary.any():
        return np.zeros(part.shape[0], np.bool_)
    alive = np.asarray(part[:, int(np.argmax(vary)), 0] != 0)
    rest = np.flatnonzero(~alive)
    if len(rest):
        alive[rest] = ((part[rest] != 0).any(axis=-1) & vary).any(axis=-1)
    return alive


def constant_taken(found: Linear, data: Channels, gone: np.ndarray) -> np.ndarray:
    """What the constants of input channels that leave add to every output channel."""
    count, outs, ins = groups_of(found)
    total = np.zeros(found.outs)
    numbers = np.where(gone, data.constants, 0.0)
    if not numbers.any():
        return total
    weights = kernels(found)
    for group in range(count):
        row = numbers[group * ins : (group + 1) * ins]
        where = np.flatnonzero(row)
        step = max(1, BLOCK // max(1, len(where) * weights.shape[-1]))
        for at in range(0, outs if len(where) else 0, step):
            part = weights[group, at : at + step][:, where].astype(np.float64).sum(axis=-1)
            total[group * outs + at : group * outs + at + part.shape[0]] += part @ row[where]
    return total * found.alpha * found.summed


def batch_norm_input(t: Trace, node: ir.Node, size: int, rank: int) -> Channels:
    """The channels of a batch norm whose input is not traced."""
    words = f"the input of '{label(node)}' is fed, or comes from an operator that gives every channel"
    ids = t.groups.fresh(size)
    t.groups.block(ids, "stays.graph-input", words)
    return varying(1, rank, ids)
