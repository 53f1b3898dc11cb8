"""Parallel linear branches: values that are summed and are each linear in the same x become one convolution.

    Conv3x3(x) + Conv1x1(x) + BN(x) + x   ->   Conv3x3(x)          (RepVGG, MobileOne, ACNet, FastViT ...)

Every branch is a kernel: a Conv is its own, a batch norm, a per-channel scale and x itself are kernels of one
tap. Kernels are laid over one another so that equal input positions meet: with B the largest begin padding, a
kernel with begin padding b starts at tap (B - b) / dilation of the union. That is exact where strides,
dilations, groups and output sizes agree.

It is done only where it removes work (the union has no more taps than the branches together) and keeps
digits: a tap of 1 + w rounds w to the digits of 1, so the union is refused where its largest tap is more than
LARGEST_GROWTH times that of its smallest branch.

The summands that the host takes in leave the sum; its nodes shrink or vanish, and names keep telling the
truth. A value of the new sum carries the same numbers as an old one exactly if both cover the same summands,
the host covering all that it took in. Then it takes that one's name; otherwise it gets a new one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..inference import Shapes
from ..inference.node_arguments import reader
from ..ir import tensor
from ..ir.graph import GraphLike, attribute, folded_name, ir, is_op, label, sole
from ..ir.tensor import dims
from ..operators.arguments import Window, windows
from ..records import dataclass
from .affine import IDENTITY, Affine, Float
from .edit import Editor, readers_instead
from .linear import Linear, check_bias
from .push import FoldContext
from .reasons import Refused
from .recognise import Reading

_LARGEST_SUM = 16  # summands that are looked at together
# How much larger the union's largest tap may be than the largest of its smallest branch, which then keeps all
# but so many of its digits.
LARGEST_GROWTH = {16: 2.0**3, 32: 2.0**11, 64: 2.0**24}
_Cover = Counter[tuple[ir.Value, float]]


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


# Finding what can be merged


def find(graph: GraphLike, context: FoldContext) -> Iterator[Merge]:
    """Every sum of the graph, outermost first, that can be merged."""
    for node in reversed(list(graph)):
        if node.graph is graph and _is_sum(node):
            merge = _merge_of(node, context)
            if merge is not None:
                yield merge


def _is_sum(node: ir.Node | None) -> bool:
    return (
        is_op(node, "Add", "Sub", "Sum")
        and node is not None
        and len(node.inputs) > 1
        and None not in node.inputs
    )


def _merge_of(root: ir.Node, context: FoldContext) -> Merge | None:
    """The first group of two or more summands of one value that can become one."""
    found = _leaves(root)
    if found is None:
        return None
    sums, leaves = found
    hosts = [linear for value, _ in leaves if (linear := _linear_leaf(value, root, context)) is not None]
    for host in sorted(hosts, key=lambda h: -math.prod(h.view)):
        merge = _group(root, sums, leaves, host, context)
        if merge is not None:
            return merge
    return None


def _group(
    root: ir.Node,
    sums: list[ir.Node],
    leaves: list[tuple[ir.Value, float]],
    host: Linear,
    context: FoldContext,
) -> Merge | None:
    """The host and every other summand that lies over it, taken in one after the other."""
    x = host.node.inputs[0]
    own = _conv_branch(host, x, host.node.outputs[0]) if x is not None else None
    if x is None or own is None:
        return None
    own = replace(own, sign=next(sign for value, sign in leaves if value is own.leaf))
    chosen, placed = [own], None
    for value, sign in leaves:
        if value is own.leaf or context.shapes.constants.tensor(value) is not None:
            continue
        linear = _linear_leaf(value, root, context)
        branch = _conv_branch(linear, x, value) if linear is not None else _pointwise(value, x, host, context)
        if branch is None:
            continue
        larger = [*chosen, replace(branch, sign=sign)]
        if (found := _united(larger, host)) is not None:
            chosen, placed = larger, found
    if (
        placed is None
        or not _keeps_digits(chosen, host)
        or not _can_rewire(root, sums, [b.leaf for b in chosen[1:]])
    ):
        return None
    return Merge(root, sums, chosen, host, *placed)


def _leaves(root: ir.Node) -> tuple[list[ir.Node], list[tuple[ir.Value, float]]] | None:
    """The sums under a root and what they add up, left to right, each with its sign; None where there are
    more than are looked at together. That shows before they are reached: an operand ends in one or more."""
    sums, count = [root], len(root.inputs)
    if count > _LARGEST_SUM:
        return None
    waiting = list(reversed(_signed(root, 1.0)))
    leaves: list[tuple[ir.Value, float]] = []
    while waiting:
        value, sign = waiting.pop()
        producer = value.producer()
        if producer is not None and _is_sum(producer) and sole(value) and producer.graph is root.graph:
            count += len(producer.inputs) - 1
            if count > _LARGEST_SUM:
                return None
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


def _linear_leaf(value: ir.Value, root: ir.Node, context: FoldContext) -> Linear | None:
    """A summand that is a Conv of its own beside the sum, one whose weights may be rewritten."""
    producer = value.producer()
    if producer is None or not is_op(producer, "Conv") or producer.graph is not root.graph or not sole(value):
        return None
    try:
        return context.linear(producer)
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


def _pointwise(value: ir.Value, x: ir.Value, host: Linear, context: FoldContext) -> Branch | None:
    """x itself, an average of it, or affine nodes over either: the same kernel for every channel."""
    leaf, nodes, map_ = value, list[ir.Node](), IDENTITY
    rank = len(dims(host.tensor))
    while value is not x:
        node = value.producer()
        if node is None or not sole(value) or node.graph is not host.node.graph:
            return None
        if is_op(node, "AveragePool"):
            nodes.append(node)
            return _average(leaf, x, nodes, map_, host, context)
        reading = _per_channel(node, context)
        if reading is None or not map_.meets(reading.map.scale):
            return None
        map_ = map_ @ reading.map
        nodes.append(node)
        before = node.inputs[reading.data]
        assert before is not None
        value = before
    ones, noughts = (1,) * (rank - 2), (0,) * (rank - 2)
    return _alike(x, Branch(leaf, nodes, ones, ones, ones, noughts, noughts, None, map_), host, context)


def _per_channel(node: ir.Node, context: FoldContext) -> Reading | None:
    """The reading of an affine node that varies along channels alone."""
    try:
        reading = context.reading(node)
    except Refused:
        return None
    return reading if reading is not None and all(axis == 1 for axis in reading.map.varies()) else None


def _average(
    leaf: ir.Value, x: ir.Value, nodes: list[ir.Node], map_: Affine, host: Linear, context: FoldContext
) -> Branch | None:
    """A mean over a window that counts what a convolution would count; it is the last of the nodes."""
    node = nodes[-1]
    if context.shapes.contradicts(node):
        return None
    places = windows(reader(node), attribute(node, "kernel_shape"))
    plain = not any(window.same or window.ceil or window.dilation != 1 for window in places)
    counted = attribute(node, "count_include_pad", 0) or not any(window.may_pad for window in places)
    if node.inputs[0] is not x or not plain or not counted:
        return None
    return _alike(x, _branch(leaf, nodes, places, None, map_), host, context)


def _alike(x: ir.Value, branch: Branch, host: Linear, context: FoldContext) -> Branch | None:
    """A branch that treats every channel alike fits a host with as many outputs as inputs."""
    channels, rank = context.shapes.dim(x, 1), len(dims(host.tensor))
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


# The union


def _keeps_digits(branches: list[Branch], host: Linear) -> bool:
    """Does the rounding of the union's largest tap leave the smallest branch its digits?"""
    peaks = [float(np.abs(_kernel(b, host)).max(initial=0.0)) for b in branches]
    smallest = min((p for p in peaks if p > 0), default=1.0)
    return max(peaks, default=0.0) <= LARGEST_GROWTH[host.store.bitwidth] * smallest


def _kernel(branch: Branch, host: Linear) -> Float:
    """A branch's float64 kernel, (outs, ins/group, *taps)."""
    if branch.linear is not None:
        return branch.sign * branch.linear.exact()
    inner = host.ins // host.view[0]
    kernel = np.zeros((host.outs, inner, *branch.taps))
    scale = np.broadcast_to(branch.map.scale.reshape(-1), host.outs)
    channel = np.arange(host.outs)
    kernel.reshape(host.outs, inner, -1)[channel, channel % inner] = (
        branch.sign * scale[:, np.newaxis] / math.prod(branch.taps)
    )
    return kernel


def _bias(branch: Branch, host: Linear, shapes: Shapes) -> Float:
    if branch.linear is None:
        return branch.sign * np.broadcast_to(branch.map.shift.reshape(-1), host.outs)
    linear = branch.linear
    value = linear.node.inputs[2] if len(linear.node.inputs) > 2 else None
    stored = shapes.constants.array(value)
    base = np.zeros(linear.outs) if stored is None else stored
    if linear.before.shifts:
        base = base + linear.reach(linear.tensor.numpy(), np.broadcast_to(linear.before.shift, linear.ins))
    return branch.sign * (
        np.broadcast_to(linear.after.scale, linear.outs) * base
        + np.broadcast_to(linear.after.shift, linear.outs)
    )


def mergeable(merge: Merge, shapes: Shapes) -> bool:
    """Are all biases constants that fit and can be read now?"""
    for linear in (branch.linear for branch in merge.branches if branch.linear is not None):
        value = linear.node.inputs[2] if len(linear.node.inputs) > 2 else None
        try:
            check_bias(linear, shapes)
        except Refused:
            return False
        if value is not None and shapes.constants.array(value) is None:
            return False
    return True


def merge_into_host(merge: Merge, editor: Editor) -> None:
    """Make the host the union and take the other branches and the sums out."""
    host, shapes = merge.host, editor.shapes
    kernels = [(_frozen(b, host), o) for b, o in zip(merge.branches, merge.offsets, strict=True)]
    shape, sign = (host.outs, host.ins // host.view[0], *merge.taps), merge.branches[0].sign

    def arrays() -> Iterator[np.ndarray]:
        union = np.zeros(shape)
        for kernel, offset in kernels:
            values = kernel()
            union[
                (
                    slice(None),
                    slice(None),
                    *(slice(o, o + k) for o, k in zip(offset, values.shape[2:], strict=True)),
                )
            ] += values
        yield union * sign  # of the host: where it is subtracted, so is all that it takes in

    bias = sum((_bias(b, host, shapes) for b in merge.branches), np.zeros(host.outs)) * merge.branches[0].sign
    _take_over(merge, editor, tensor.Recipe(ir.DataType.DOUBLE, shape, arrays), bias)


def _frozen(branch: Branch, host: Linear) -> Callable[[], Float]:
    """The branch's kernel as it is now: maps that are pushed into the host later must not be counted
    twice."""
    if branch.linear is None:
        kernel = _kernel(branch, host)
        return lambda: kernel
    sign, kernel_of = branch.sign, branch.linear.frozen()
    return lambda: sign * kernel_of()


def _take_over(merge: Merge, editor: Editor, weights: tensor.Recipe, bias: Float) -> None:
    host, node = merge.host, merge.host.node
    old = node.inputs[2] if len(node.inputs) > 2 else None
    value = editor.constant(
        node.graph, f"{label(node)}/bias" if old is None else folded_name(old.name), bias, host.store, node
    )
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, value)
    if old is not None:
        editor.replaced.append(old)
    host.become(weights, merge.taps, merge.pads)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(merge.taps))
    node.attributes["pads"] = ir.AttrInt64s("pads", list(merge.pads))
    if "dilations" in node.attributes or any(d != 1 for d in merge.dilations):
        node.attributes["dilations"] = ir.AttrInt64s("dilations", list(merge.dilations))
    node.attributes.pop("auto_pad", None)
    _rewire(merge, editor)
    for branch in merge.branches:
        if branch.linear is not None and branch.linear is not host:
            branch.linear.joined = host
            host.held.extend(branch.linear.held)
        for gone in branch.nodes:
            if gone is not node:
                editor.drop(gone)


# The sum


def _can_rewire(root: ir.Node, sums: list[ir.Node], removed: Collection[ir.Value]) -> bool:
    """May these summands go? Not where a Sub would be left with what it subtracts alone."""
    gone = set(removed)
    for node in reversed(sums):  # inner sums first
        left = [v for v in node.inputs if v not in gone]
        if is_op(node, "Sub") and node.inputs[0] in gone and left:
            return False
        if not left:
            gone.add(node.outputs[0])
    return root.outputs[0] not in gone


def _rewire(merge: Merge, editor: Editor) -> None:
    """Take every branch but the host's out of the sum."""
    host, others = merge.branches[0], merge.branches[1:]
    old = _covers(merge.sums)
    removed = {branch.leaf for branch in others}
    for node in reversed(merge.sums):
        _shrink(node, removed, editor, node is merge.root)
    for node in merge.sums:  # outer before inner, so that a node's reader is gone before it
        if node.outputs[0] in removed:
            editor.drop(node)
    taken = Counter((branch.leaf, branch.sign * host.sign) for branch in others)
    new = {
        node.outputs[0]: cover
        for node, cover in _covers([n for n in merge.sums if n.graph is not None]).items()
    }
    new[host.leaf] = Counter([(host.leaf, 1.0)])
    for cover in new.values():
        sign = next((s for leaf, s in cover if leaf is host.leaf), 0.0)
        if sign:
            cover.update({(leaf, s * sign): count for (leaf, s), count in taken.items()})
    _rename(new, old, editor)


def _covers(sums: list[ir.Node]) -> dict[ir.Node, _Cover]:
    """What each node of a sum adds up: summands with their signs, and how often; inner nodes come later in
    `sums`."""
    inner = {node.outputs[0]: node for node in sums}
    covers: dict[ir.Node, _Cover] = {}
    for node in reversed(sums):
        covers[node] = Counter()
        for index, value in enumerate(node.inputs):
            if value is not None:
                sign = -1.0 if index == 1 and is_op(node, "Sub") else 1.0
                part = covers[inner[value]] if value in inner else Counter([(value, 1.0)])
                covers[node].update({(leaf, s * sign): count for (leaf, s), count in part.items()})
    return covers


def _key(cover: _Cover) -> frozenset[tuple[tuple[ir.Value, float], int]]:
    return frozenset(cover.items())


def _shrink(node: ir.Node, removed: set[ir.Value], editor: Editor, is_root: bool) -> None:
    """Drop a node's removed operands; with one left it is that operand, with none it is removed with its
    reader."""
    left = [v for v in node.inputs if v is not None and v not in removed]
    y = node.outputs[0]
    if len(left) == len(node.inputs):
        return
    if len(left) > 1:  # only Sum has more than two
        for index in range(len(node.inputs)):
            node.replace_input_with(index, left[index] if index < len(left) else None)
        node.resize_inputs(len(left))
        return
    if not left:
        removed.add(y)
        return
    if is_root:
        editor.replace_value(y, left[0])
    else:
        readers_instead(y, left[0])
    editor.drop(node)


def _rename(new: dict[ir.Value, _Cover], old: dict[ir.Node, _Cover], editor: Editor) -> None:
    """A value whose cover changed takes the name of the old value that covered the same, or one that says
    that it changed. Two values may have come to cover the same: only one of them takes the name."""
    changed = [
        value
        for value, cover in new.items()
        if not value.is_graph_output() and _cover_of(value, old) != cover
    ]
    names = {_key(cover): node.outputs[0].name for node, cover in old.items()}
    taken = {value.name for value in new} - {value.name for value in changed}
    for value in changed:
        known = names.get(_key(new[value]))
        if known is None or known in taken:
            editor.rename(value)
        else:
            taken.add(known)
            value.name = known


def _cover_of(value: ir.Value, covers: Mapping[ir.Node, _Cover]) -> _Cover | None:
    producer = value.producer()
    return covers.get(producer) if producer is not None else None
