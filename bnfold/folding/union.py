"""The union of parallel branches: its weights, its bias, and the change to the graph. What may be united is
found in branches.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..inference import Shapes
from ..ir import tensor
from ..ir.graph import folded_name, ir, label
from .affine import Float
from .branch import Branch, Merge
from .edit import Editor
from .linear import Linear, check_bias
from .reasons import Refused
from .rewire import rewire

# How much larger the union's largest tap may be than the largest of its smallest branch, which then keeps all
# but so many of its digits.
LARGEST_GROWTH = {16: 2.0**3, 32: 2.0**11, 64: 2.0**24}


def keeps_digits(branches: list[Branch], host: Linear) -> bool:
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
    """All biases are constants that fit and can be read now."""
    for linear in (branch.linear for branch in merge.branches if branch.linear is not None):
        value = linear.node.inputs[2] if len(linear.node.inputs) > 2 else None
        try:
            check_bias(linear, shapes)
        except Refused:
            return False
        if value is not None and shapes.constants.array(value) is None:
            return False
    return True


def apply(merge: Merge, editor: Editor) -> None:
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
    host.become(weights, merge.taps)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(merge.taps))
    node.attributes["pads"] = ir.AttrInt64s("pads", list(merge.pads))
    if "dilations" in node.attributes or any(d != 1 for d in merge.dilations):
        node.attributes["dilations"] = ir.AttrInt64s("dilations", list(merge.dilations))
    node.attributes.pop("auto_pad", None)
    rewire(merge, editor)
    for branch in merge.branches:
        if branch.linear is not None and branch.linear is not host:
            branch.linear.joined = host
            host.held.extend(branch.linear.held)
        for gone in branch.nodes:
            if gone is not node:
                editor.drop(gone)
