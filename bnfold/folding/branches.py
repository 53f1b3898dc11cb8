"""Parallel linear branches: values that are summed and are each linear in the same x become one convolution.

    Conv3x3(x) + Conv1x1(x) + BN(x) + x   ->   Conv3x3(x)          (RepVGG, MobileOne, ACNet, FastViT ...)

Every branch is a kernel: a Conv is its own, a batch norm, a per-channel scale and x itself are kernels of one tap. Kernels are laid over
one another so that equal input positions meet: with B the largest begin padding, a kernel with begin padding b starts at tap
(B - b) / dilation of the union. That is exact where strides, dilations, groups and output sizes agree.

It is done only where it removes work (the union has no more taps than the branches together) and keeps digits: a tap of 1 + w rounds w
to the digits of 1, so the union is refused where the rounding of its largest tap exceeds ROUNDING_LIMIT of its smallest branch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import tensor
from ..graph import GraphLike, attribute, ir, is_op, label
from ..shapes import Shapes
from .affine import IDENTITY, Affine, Float
from .edit import Editor
from .linear import Linear
from .ranges import limits
from .reasons import Refused
from .recognise import Reading

ROUNDING_LIMIT = 2.0**-13  # float32 loses 2**-24 of the largest tap, float16 2**-11
_SumTerms = list[tuple[ir.Node, int]]


@dataclass
class Branch:
    """One summand as a kernel over x: `nodes` vanish with it, `kernel` gives its float64 weights (outs, ins/group, *taps)."""

    nodes: list[ir.Node]
    taps: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    linear: Linear | None
    map: Affine


@dataclass
class Merge:
    """A sum whose summands are branches of one value, ready to be merged into `host`."""

    root: ir.Node
    sums: list[ir.Node]
    branches: list[Branch]
    host: Linear
    offsets: list[tuple[int, ...]]
    taps: tuple[int, ...]
    pads: tuple[int, ...]


@dataclass
class Eyes:
    """What finding branches looks at."""

    shapes: Shapes
    linear: Callable[[ir.Node], Linear | None]
    reading: Callable[[ir.Node], Reading | None]


def find(graph: GraphLike, eyes: Eyes) -> Iterator[Merge]:
    """Every sum of the graph, outermost first, that can be merged."""
    for node in list(graph):
        if node.graph is graph and _is_sum(node) and not _inner(node):
            merge = _merge_of(node, eyes)
            if merge is not None:
                yield merge


def _is_sum(node: ir.Node | None) -> bool:
    return is_op(node, "Add", "Sum") and node is not None and len(node.inputs) > 1 and None not in node.inputs


def _sole(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _inner(node: ir.Node) -> bool:
    """Is it a summand of a sum itself?"""
    uses = list(node.outputs[0].uses())
    return _sole(node.outputs[0]) and _is_sum(uses[0].node) and uses[0].node.graph is node.graph


def _merge_of(root: ir.Node, eyes: Eyes) -> Merge | None:
    sums, leaves = _leaves(root)
    if any(eyes.shapes.constants.tensor(v) is not None for v in leaves):
        return None
    try:
        seen = [_linear_leaf(v, eyes) for v in leaves]
    except Refused:
        return None
    hosts = [s for s in seen if s is not None]
    if not hosts:
        return None
    x = hosts[0].node.inputs[0]
    assert x is not None
    branches = []
    for leaf, linear in zip(leaves, seen, strict=True):
        branch = _conv_branch(linear, x) if linear is not None else _pointwise(leaf, x, hosts[0], eyes)
        if branch is None:
            return None
        branches.append(branch)
    return _united(root, sums, branches, hosts, eyes.shapes)


def _leaves(root: ir.Node) -> tuple[list[ir.Node], list[ir.Value]]:
    """The sums under a root and what they add up, left to right."""
    sums, leaves, waiting = [root], [], list(reversed(root.inputs))
    while waiting:
        value = waiting.pop()
        assert value is not None
        producer = value.producer()
        if producer is not None and _is_sum(producer) and _sole(value) and producer.graph is root.graph:
            sums.append(producer)
            waiting.extend(reversed(producer.inputs))
        else:
            leaves.append(value)
    return sums, leaves


def _linear_leaf(value: ir.Value, eyes: Eyes) -> Linear | None:
    producer = value.producer()
    if not is_op(producer, "Conv") or producer is None or not _sole(value):
        return None
    return eyes.linear(producer)


def _conv_branch(linear: Linear, x: ir.Value) -> Branch | None:
    node = linear.node
    taps = tuple(int(d) for d in linear.tensor.shape.numpy()[2:])
    auto = attribute(node, "auto_pad", "NOTSET")
    if node.inputs[0] is not x or linear.quantized is not None or auto.startswith("SAME"):
        return None
    pads = tuple(attribute(node, "pads") or ()) if auto == "NOTSET" else ()
    pads = pads or (0,) * (2 * len(taps))
    return Branch([node], taps, pads[: len(taps)], pads[len(taps) :], linear, IDENTITY)


def _pointwise(value: ir.Value, x: ir.Value, host: Linear, eyes: Eyes) -> Branch | None:
    """x itself, or affine nodes over it, as a kernel of one tap."""
    nodes: list[ir.Node] = []
    map_ = IDENTITY
    rank = len(host.tensor.shape.numpy())
    while value is not x:
        node = value.producer()
        if node is None or not _sole(value) or node.graph is not host.node.graph:
            return None
        try:
            reading = eyes.reading(node)
        except Refused:
            return None
        if reading is None or any(axis != 1 for axis in reading.map.varies()):
            return None
        map_ = map_ @ reading.map
        nodes.append(node)
        before = node.inputs[reading.data]
        assert before is not None
        value = before
    channels = eyes.shapes.dim(x, 1)
    if channels is None or channels != host.outs or channels != host.ins:
        return None
    ones = (1,) * (rank - 2)
    return Branch(nodes, ones, (0,) * (rank - 2), (0,) * (rank - 2), None, map_.lifted(rank) if map_.rank == 0 else map_)


def _united(root: ir.Node, sums: list[ir.Node], branches: list[Branch], hosts: list[Linear], shapes: Shapes) -> Merge | None:
    """The union of the kernels, or None where they do not lie over one another exactly, or where nothing is gained."""
    host = max(hosts, key=lambda h: math.prod(h.view))
    rank = len(branches[0].taps)
    strides = list(attribute(host.node, "strides") or [1] * rank)
    dilations = (
        _dilations(host, rank)
        if any(k > 1 for k in _taps(host))
        else next((_dilations(h, rank) for h in hosts if any(k > 1 for k in _taps(h))), [1] * rank)
    )
    for branch in branches:
        node = branch.linear.node if branch.linear is not None else None
        if (list(attribute(node, "strides") or [1] * rank) if node is not None else [1] * rank) != strides:
            return None
        if branch.linear is not None and (branch.linear.view[0] != host.view[0] or branch.linear.outs != host.outs):
            return None
        if branch.linear is not None and any(
            k > 1 and d != e for k, d, e in zip(branch.taps, _dilations(branch.linear, rank), dilations, strict=True)
        ):
            return None
    placed = _placed(branches, dilations)
    if placed is None:
        return None
    offsets, taps, pads = placed
    work = sum(math.prod(b.taps) for b in branches if b.linear is not None)
    if math.prod(taps) > work or not _keeps_digits(branches, host):
        return None
    return Merge(root, sums, branches, host, offsets, taps, pads)


def _taps(linear: Linear) -> tuple[int, ...]:
    return tuple(int(d) for d in linear.tensor.shape.numpy()[2:])


def _dilations(linear: Linear, rank: int) -> list[int]:
    return list(attribute(linear.node, "dilations") or [1] * rank)


def _placed(branches: list[Branch], dilations: list[int]) -> tuple[list[tuple[int, ...]], tuple[int, ...], tuple[int, ...]] | None:
    """(offset of each kernel in the union, taps of the union, its pads). End paddings must agree once kernels are in place."""
    axes = range(len(dilations))
    begin = [max(b.begins[a] for b in branches) for a in axes]
    if any((begin[a] - b.begins[a]) % dilations[a] for a in axes for b in branches):
        return None
    offsets = [tuple((begin[a] - b.begins[a]) // dilations[a] for a in axes) for b in branches]
    taps = tuple(max(o[a] + b.taps[a] for o, b in zip(offsets, branches, strict=True)) for a in axes)
    ends = [{b.ends[a] + dilations[a] * (taps[a] - o[a] - b.taps[a]) for o, b in zip(offsets, branches, strict=True)} for a in axes]
    if any(len(e) != 1 for e in ends):
        return None
    return offsets, taps, (*begin, *(e.pop() for e in ends))


def _keeps_digits(branches: list[Branch], host: Linear) -> bool:
    _, _, rounding = limits(host.store)
    peaks = [float(np.abs(_kernel(b, host)).max(initial=0.0)) for b in branches]
    smallest = min((p for p in peaks if p > 0), default=1.0)
    return rounding * max(peaks, default=0.0) <= ROUNDING_LIMIT * smallest


def _kernel(branch: Branch, host: Linear) -> Float:
    """A branch's float64 kernel, (outs, ins/group, *taps)."""
    if branch.linear is not None:
        return branch.linear.exact()
    inner = host.ins // host.view[0]
    kernel = np.zeros((host.outs, inner, *branch.taps))
    scale = np.broadcast_to(branch.map.scale.reshape(-1), host.outs)
    channel = np.arange(host.outs)
    kernel.reshape(host.outs, inner)[channel, channel % inner] = scale
    return kernel


def _bias(branch: Branch, host: Linear, shapes: Shapes) -> Float:
    if branch.linear is None:
        return np.broadcast_to(branch.map.shift.reshape(-1), host.outs)
    linear = branch.linear
    value = linear.node.inputs[2] if len(linear.node.inputs) > 2 else None
    stored = shapes.constants.array(value)
    base = np.zeros(linear.outs) if stored is None else stored
    if linear.before.shifts:
        base = base + linear.reach(linear.tensor.numpy(), np.broadcast_to(linear.before.shift, linear.ins))
    return np.broadcast_to(linear.after.scale, linear.outs) * base + np.broadcast_to(linear.after.shift, linear.outs)


def mergeable(merge: Merge, shapes: Shapes) -> bool:
    """All biases are constants that can be read now."""
    for branch in merge.branches:
        node = branch.linear.node if branch.linear is not None else None
        value = node.inputs[2] if node is not None and len(node.inputs) > 2 else None
        if value is not None and shapes.constants.array(value) is None:
            return False
    return True


def apply(merge: Merge, editor: Editor) -> None:
    """Make the host the union and take the other branches and the sums out."""
    host, shapes = merge.host, editor.shapes
    kernels = [(_frozen(b, host), o) for b, o in zip(merge.branches, merge.offsets, strict=True)]
    shape = (host.outs, host.ins // host.view[0], *merge.taps)

    def arrays() -> Iterator[np.ndarray]:
        union = np.zeros(shape)
        for kernel, offset in kernels:
            values = kernel()
            union[(slice(None), slice(None), *(slice(o, o + k) for o, k in zip(offset, values.shape[2:], strict=True)))] += values
        yield union

    bias = sum((_bias(b, host, shapes) for b in merge.branches), np.zeros(host.outs))
    _take_over(merge, editor, tensor.Recipe(ir.DataType.DOUBLE, shape, arrays), bias)


def _frozen(branch: Branch, host: Linear) -> Callable[[], Float]:
    """The branch's kernel as it is now: maps that are pushed into the host later must not be counted twice."""
    if branch.linear is None:
        kernel = _kernel(branch, host)
        return lambda: kernel
    return branch.linear.frozen()


def _take_over(merge: Merge, editor: Editor, weights: tensor.Recipe, bias: Float) -> None:
    host, node = merge.host, merge.host.node
    old = node.inputs[2] if len(node.inputs) > 2 else None
    value = editor.constant(node.graph, f"{label(node)}_bias_merged" if old is None else f"{old.name}_folded", bias, host.store, node)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, value)
    if old is not None:
        editor.replaced.append(old)
    host.become(weights, merge.taps)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(merge.taps))
    node.attributes["pads"] = ir.AttrInt64s("pads", list(merge.pads))
    node.attributes.pop("auto_pad", None)
    editor.replace_value(merge.root.outputs[0], node.outputs[0])
    for sum_node in merge.sums:
        editor.drop(sum_node)
    for branch in merge.branches:
        if branch.linear is not None and branch.linear is not host:
            branch.linear.joined = host
            host.held.extend(branch.linear.held)
        for gone in branch.nodes:
            if gone is not node:
                editor.drop(gone)
