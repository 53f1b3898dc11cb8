"""Parallel linear branches: values that are summed and are each linear in the same x become one convolution.

    Conv3x3(x) + Conv1x1(x) + BN(x) + x   ->   Conv3x3(x)          (RepVGG, MobileOne, ACNet, FastViT ...)

Every branch is a kernel: a Conv is its own, a batch norm, a per-channel scale and x itself are kernels of one
tap. Kernels are laid over one another so that equal input positions meet: with B the largest begin padding, a
kernel with begin padding b starts at tap (B - b) / dilation of the union. That is exact where strides,
dilations, groups and output sizes agree.

It is done only where it removes work (the union has no more taps than the branches together) and keeps
digits: a tap of 1 + w rounds w to the digits of 1, so the union is refused where its largest tap is more than
LARGEST_GROWTH (union.py) times that of its smallest branch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..inference import Shapes
from ..inference.node_arguments import reader
from ..ir.graph import GraphLike, attribute, ir, is_op
from ..ir.tensor import dims
from ..operators.arguments import Window, windows
from .affine import IDENTITY, Affine
from .branch import Branch, Merge
from .linear import Linear
from .reasons import Refused
from .recognise import Reading
from .rewire import can_rewire
from .union import keeps_digits

_LARGEST_SUM = 16  # summands that are looked at together


@dataclass
class Eyes:
    """What finding branches looks at."""

    shapes: Shapes
    linear: Callable[[ir.Node], Linear | None]
    reading: Callable[[ir.Node], Reading | None]


def find(graph: GraphLike, eyes: Eyes) -> Iterator[Merge]:
    """Every sum of the graph, outermost first, that can be merged."""
    for node in reversed(list(graph)):
        if node.graph is graph and _is_sum(node):
            merge = _merge_of(node, eyes)
            if merge is not None:
                yield merge


def _is_sum(node: ir.Node | None) -> bool:
    return (
        is_op(node, "Add", "Sub", "Sum")
        and node is not None
        and len(node.inputs) > 1
        and None not in node.inputs
    )


def _sole(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _merge_of(root: ir.Node, eyes: Eyes) -> Merge | None:
    """The first group of two or more summands of one value that can become one."""
    sums, leaves = _leaves(root)
    if len(leaves) > _LARGEST_SUM:
        return None
    hosts = [linear for value, _ in leaves if (linear := _linear_leaf(value, eyes)) is not None]
    for host in sorted(hosts, key=lambda h: -math.prod(h.view)):
        merge = _group(root, sums, leaves, host, eyes)
        if merge is not None:
            return merge
    return None


def _group(
    root: ir.Node, sums: list[ir.Node], leaves: list[tuple[ir.Value, float]], host: Linear, eyes: Eyes
) -> Merge | None:
    """The host and every other summand that lies over it, taken in one after the other."""
    x = host.node.inputs[0]
    own = _conv_branch(host, x, host.node.outputs[0]) if x is not None else None
    if x is None or own is None:
        return None
    own = replace(own, sign=next(sign for value, sign in leaves if value is own.leaf))
    chosen, placed = [own], None
    for value, sign in leaves:
        if value is own.leaf or eyes.shapes.constants.tensor(value) is not None:
            continue
        linear = _linear_leaf(value, eyes)
        branch = _conv_branch(linear, x, value) if linear is not None else _pointwise(value, x, host, eyes)
        if branch is None:
            continue
        larger = [*chosen, replace(branch, sign=sign)]
        if (found := _united(larger, host)) is not None:
            chosen, placed = larger, found
    if (
        placed is None
        or not keeps_digits(chosen, host)
        or not can_rewire(root, sums, [b.leaf for b in chosen[1:]])
    ):
        return None
    return Merge(root, sums, chosen, host, *placed)


def _leaves(root: ir.Node) -> tuple[list[ir.Node], list[tuple[ir.Value, float]]]:
    """The sums under a root and what they add up, left to right, each with its sign."""
    sums, waiting = [root], list(reversed(_signed(root, 1.0)))
    leaves: list[tuple[ir.Value, float]] = []
    while waiting and len(leaves) <= _LARGEST_SUM:
        value, sign = waiting.pop()
        producer = value.producer()
        if producer is not None and _is_sum(producer) and _sole(value) and producer.graph is root.graph:
            sums.append(producer)
            waiting.extend(reversed(_signed(producer, sign)))
        else:
            leaves.append((value, sign))
    return sums, leaves


def _signed(node: ir.Node, sign: float) -> list[tuple[ir.Value, float]]:
    """A sum's operands; the second of a Sub counts against."""
    return [
        (v, -sign if k == 1 and is_op(node, "Sub") else sign)
        for k, v in enumerate(node.inputs)
        if v is not None
    ]


def _linear_leaf(value: ir.Value, eyes: Eyes) -> Linear | None:
    """A summand that is a Conv of its own, one whose weights may be rewritten."""
    producer = value.producer()
    if not is_op(producer, "Conv") or producer is None or not _sole(value):
        return None
    try:
        return eyes.linear(producer)
    except Refused:
        return None


def _conv_branch(linear: Linear, x: ir.Value, leaf: ir.Value) -> Branch | None:
    node = linear.node
    taps = dims(linear.tensor)[2:]
    places = windows(reader(node), taps)
    if node.inputs[0] is not x or linear.quantized is not None or any(window.same for window in places):
        return None
    return _branch(leaf, [node], places, linear, IDENTITY)


def _branch(
    leaf: ir.Value, nodes: list[ir.Node], places: tuple[Window, ...], linear: Linear | None, map_: Affine
) -> Branch:
    """A branch whose taps lie as these windows say."""
    return Branch(
        leaf,
        nodes,
        tuple(window.kernel for window in places),
        tuple(window.stride for window in places),
        tuple(window.dilation for window in places),
        tuple(window.pads[0] for window in places),
        tuple(window.pads[1] for window in places),
        linear,
        map_,
    )


def _pointwise(value: ir.Value, x: ir.Value, host: Linear, eyes: Eyes) -> Branch | None:
    """x itself, an average of it, or affine nodes over either: the same kernel for every channel."""
    leaf, nodes, map_ = value, list[ir.Node](), IDENTITY
    rank = len(dims(host.tensor))
    while value is not x:
        node = value.producer()
        if node is None or not _sole(value) or node.graph is not host.node.graph:
            return None
        if is_op(node, "AveragePool"):
            nodes.append(node)
            return _average(leaf, x, nodes, map_, host, eyes)
        reading = _per_channel(node, eyes)
        if reading is None or not map_.meets(reading.map.scale):
            return None
        map_ = map_ @ reading.map
        nodes.append(node)
        before = node.inputs[reading.data]
        assert before is not None
        value = before
    ones, noughts = (1,) * (rank - 2), (0,) * (rank - 2)
    return _alike(x, Branch(leaf, nodes, ones, ones, ones, noughts, noughts, None, map_), host, eyes)


def _per_channel(node: ir.Node, eyes: Eyes) -> Reading | None:
    """The reading of an affine node that varies along channels alone."""
    try:
        reading = eyes.reading(node)
    except Refused:
        return None
    return reading if reading is not None and all(axis == 1 for axis in reading.map.varies()) else None


def _average(
    leaf: ir.Value, x: ir.Value, nodes: list[ir.Node], map_: Affine, host: Linear, eyes: Eyes
) -> Branch | None:
    """A mean over a window that counts what a convolution would count; it is the last of the nodes."""
    node = nodes[-1]
    if eyes.shapes.contradicts(node):
        return None
    places = windows(reader(node), attribute(node, "kernel_shape"))
    plain = not any(window.same or window.ceil or window.dilation != 1 for window in places)
    counted = attribute(node, "count_include_pad", 0) or not any(window.may_pad for window in places)
    if node.inputs[0] is not x or not plain or not counted:
        return None
    return _alike(x, _branch(leaf, nodes, places, None, map_), host, eyes)


def _alike(x: ir.Value, branch: Branch, host: Linear, eyes: Eyes) -> Branch | None:
    """A branch that treats every channel alike fits a host with as many outputs as inputs."""
    channels, rank = eyes.shapes.dim(x, 1), len(dims(host.tensor))
    if channels is None or channels != host.outs or channels != host.ins or len(branch.taps) != rank - 2:
        return None
    return replace(branch, map=branch.map.lifted(rank)) if branch.map.rank == 0 else branch


_Placed = tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _united(branches: list[Branch], host: Linear) -> _Placed | None:
    """The union of the kernels, or None where they do not lie over one another exactly, or where nothing is
    gained."""
    rank = len(branches[0].taps)
    if any(
        len(b.taps) != rank for b in branches
    ):  # weights of two ranks on one value: one of them contradicts it
        return None
    dilations = tuple(next((b.dilations[a] for b in branches if b.taps[a] > 1), 1) for a in range(rank))
    if not all(_fits(branch, branches[0], host, dilations) for branch in branches):
        return None
    placed = _placed(branches, dilations)
    work = sum(math.prod(b.taps) for b in branches if b.linear is not None)
    return placed if placed is not None and math.prod(placed[1]) <= work else None


def _fits(branch: Branch, first: Branch, host: Linear, dilations: tuple[int, ...]) -> bool:
    """Does it step like the first, which is the host's, with the same groups, and with its taps as far apart
    where it has several?"""
    alike = branch.linear is None or (
        branch.linear.view[0] == host.view[0] and branch.linear.outs == host.outs
    )
    apart = any(k > 1 and d != e for k, d, e in zip(branch.taps, branch.dilations, dilations, strict=True))
    return alike and not apart and branch.strides == first.strides


def _placed(branches: list[Branch], dilations: tuple[int, ...]) -> _Placed | None:
    """(offset of each kernel in the union, taps of the union, its pads). End paddings must agree once kernels
    are in place."""
    axes = range(len(dilations))
    begin = [max(b.begins[a] for b in branches) for a in axes]
    if any((begin[a] - b.begins[a]) % dilations[a] for a in axes for b in branches):
        return None
    offsets = [tuple((begin[a] - b.begins[a]) // dilations[a] for a in axes) for b in branches]
    taps = tuple(max(o[a] + b.taps[a] for o, b in zip(offsets, branches, strict=True)) for a in axes)
    ends = [
        {
            b.ends[a] + dilations[a] * (taps[a] - o[a] - b.taps[a])
            for o, b in zip(offsets, branches, strict=True)
        }
        for a in axes
    ]
    if any(len(e) != 1 for e in ends):
        return None
    return offsets, taps, (*begin, *(e.pop() for e in ends)), dilations
