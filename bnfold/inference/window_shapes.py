"""Shapes behind windows: convolutions, pooling, resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ir.graph import attribute, ir, is_op
from .arguments import spatial_out, window_of
from .product_shapes import meeting
from .rule_context import Asker, Dim, Given, Shape


def _windowed(s: Asker, node: ir.Node, x: Shape, channels: Dim, kernel: Sequence[int]) -> Shape:
    rank = len(kernel)
    strides, dilations, pads = window_of(node, rank, kernel)
    auto = attribute(node, "auto_pad", "NOTSET")
    ceil = bool(attribute(node, "ceil_mode", 0))
    out: list[Dim] = []
    for k, size in enumerate(x[2:]):
        if auto.startswith("SAME"):
            found = -(-size // strides[k]) if isinstance(size, int) else None
        else:
            found = spatial_out(size, kernel[k], strides[k], dilations[k], pads[k], pads[k + rank], ceil)
        keeps = strides[k] == 1 and (
            auto.startswith("SAME") or pads[k] + pads[k + rank] == dilations[k] * (kernel[k] - 1)
        )
        out.append(found if found is not None else size if keeps else s.symbol())
    return (x[0], channels, *out)


def conv(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """Conv: as many channels as the weight has filters."""
    x, w = inputs[0], inputs[1]
    if w is None:
        return [None]
    if x is None:
        return [tuple(s.symbol() if k != 1 else w[0] for k in range(len(w)))]
    _meets(node, x, w, w[1] * attribute(node, "group", 1) if isinstance(w[1], int) else None)
    kernel = [d for d in w[2:] if isinstance(d, int)]
    if len(kernel) != len(w) - 2:
        return [(x[0], w[0], *(s.symbol() for _ in w[2:]))]
    return [_windowed(s, node, x, w[0], kernel)]


def _meets(node: ir.Node, x: Shape, w: Shape, channels: Dim | None) -> None:
    """ValueError where a weight is not one for this input."""
    if len(x) != len(w) or len(w) < 3:
        raise ValueError(f"{node.op_type} has an input of {len(x)} axes and a weight of {len(w)}")
    meeting(x[1], channels)


def conv_transpose(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """ConvTranspose: channels of its weight times its groups."""
    x, w = inputs[0], inputs[1]
    if w is None:
        return [None]
    if x is not None:
        _meets(node, x, w, w[0])
    group = attribute(node, "group", 1)
    channels: Dim = w[1] * group if isinstance(w[1], int) else w[1] if group == 1 else s.symbol()
    batch: Dim = x[0] if x is not None else s.symbol()
    return [(batch, channels, *(_grown(s, node, x, w, k) for k in range(len(w) - 2)))]


def _grown(s: Asker, node: ir.Node, x: Shape | None, w: Shape, k: int) -> Dim:
    rank = len(w) - 2
    size, kernel = (x[k + 2] if x is not None else s.symbol()), w[k + 2]
    wanted = attribute(node, "output_shape")
    if wanted:
        return int(wanted[k - rank])
    strides, dilations, pads = window_of(node, rank, ())
    if not isinstance(size, int) or not isinstance(kernel, int):
        return s.symbol()
    if attribute(node, "auto_pad", "NOTSET").startswith("SAME"):
        return int(size * strides[k])
    extra = list(attribute(node, "output_padding") or [0] * rank)
    return int(
        strides[k] * (size - 1) + extra[k] + (kernel - 1) * dilations[k] + 1 - pads[k] - pads[k + rank]
    )


def pool(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """Pooling, with its indices if it gives them."""
    x = inputs[0]
    if x is None:
        return [None]
    shape = _windowed(s, node, x, x[1], list(attribute(node, "kernel_shape")))
    return [shape] * len(node.outputs)


def global_pool(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """One position is left of every spatial axis."""
    x = inputs[0]
    return [None if x is None else (*x[:2], *(1 for _ in x[2:]))]


def resize(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """Resize and Upsample, by scales or by sizes."""
    x = inputs[0]
    if x is None:
        return [None]
    where = 1 if is_op(node, "Upsample") or len(node.inputs) == 2 else 2
    scales = attribute(node, "scales")
    if scales is None and len(node.inputs) > where and node.inputs[where] is not None:
        found = s.constants.array(node.inputs[where])
        scales = None if found is None or not found.size else found.reshape(-1).tolist()
    if scales is not None and len(scales) == len(x) and attribute(node, "axes") is None:
        return [
            tuple(
                d if f == 1 else math.floor(d * f) if isinstance(d, int) else s.symbol()
                for d, f in zip(x, scales, strict=True)
            )
        ]
    sizes = (
        s.constants.integers(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else None
    )
    if (
        sizes is not None
        and len(sizes) == len(x)
        and attribute(node, "keep_aspect_ratio_policy", "stretch") == "stretch"
    ):
        return [tuple(sizes)]
    return [tuple(s.symbol() for _ in x)]
