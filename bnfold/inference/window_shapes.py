"""Shapes behind windows: convolutions, pooling, resizing."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import attribute, ir
from ..operators.arguments import resized, same_size, transposed_windows, windows
from .node_arguments import reader, scales_and_sizes
from .rule_context import Dim, Given, Shape, ShapeContext, with_symbols


def conv(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """Conv: as many channels as the weight has filters."""
    x, w = inputs[0], inputs[1]
    if w is None:
        return [None]
    if x is None:
        return [with_symbols(s, (None, w[0], *(None for _ in w[2:])))]
    _check_weight(node, x, w, w[1] * attribute(node, "group", 1) if isinstance(w[1], int) else None)
    kernel = [d for d in w[2:] if isinstance(d, int)]
    if len(kernel) != len(w) - 2:
        return [with_symbols(s, (x[0], w[0], *(None for _ in w[2:])))]
    places = zip(windows(reader(node), kernel), x[2:], strict=True)
    return [with_symbols(s, (x[0], w[0], *(window.output(size) for window, size in places)))]


def _check_weight(node: ir.Node, x: Shape, w: Shape, channels: Dim | None) -> None:
    """ValueError where a weight is not one for this input."""
    if len(x) != len(w) or len(w) < 3:
        raise ValueError(f"{node.op_type} has an input of {len(x)} axes and a weight of {len(w)}")
    same_size(x[1], channels)


def conv_transpose(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """ConvTranspose: channels of its weight times its groups."""
    x, w = inputs[0], inputs[1]
    if w is None:
        return [None]
    if x is not None:
        _check_weight(node, x, w, w[0])
    group = attribute(node, "group", 1)
    channels = w[1] * group if isinstance(w[1], int) else w[1] if group == 1 else None
    batch, space = (None, [None] * (len(w) - 2)) if x is None else (x[0], _grown(node, x[2:], w[2:]))
    return [with_symbols(s, (batch, channels, *space))]


def _grown(node: ir.Node, sizes: Shape, kernel: Shape) -> Sequence[Dim | None]:
    known = [k for k in kernel if isinstance(k, int)]
    if len(known) < len(kernel):
        return attribute(node, "output_shape") or [None] * len(kernel)
    return [
        window.output(size)
        for window, size in zip(transposed_windows(reader(node), known), sizes, strict=True)
    ]


def pool(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """Pooling, with its indices if it gives them."""
    x = inputs[0]
    if x is None:
        return [None]
    places = zip(windows(reader(node), attribute(node, "kernel_shape")), x[2:], strict=True)
    return [with_symbols(s, (*x[:2], *(window.output(size) for window, size in places)))] * len(node.outputs)


def global_pool(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """One position is left of every spatial axis."""
    x = inputs[0]
    return [None if x is None else (*x[:2], *(1 for _ in x[2:]))]


def resize(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """Resize and Upsample, by scales or by sizes."""
    x = inputs[0]
    if x is None:
        return [None]
    scales, sizes = scales_and_sizes(s, node, s.opset(node))
    if scales is None and sizes is None:
        return [with_symbols(s, (None for _ in x))]
    after = resized(reader(node), x, scales, sizes)
    found: list[Dim | None] = list(x)
    for axis, size in zip(after.axes, after.sizes, strict=True):
        found[axis] = None if after.disputed else size
    return [with_symbols(s, found)]
