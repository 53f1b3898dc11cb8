"""Channels of batch norms that count as multiplied by zero: those of the smallest |gamma|.

By a ratio the smallest of all batch norms of the model together, as in "Learning Efficient Convolutional
Networks through Network Slimming" (Liu et al. 2017, section 3); by a bound those that are smaller. Every
batch norm keeps at least one channel, that of its largest |gamma|.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..folding.edit import Editor
from ..ir import tensor
from ..ir.graph import ir
from ..results.options import SlimOptions
from .groups import Mask
from .trace import Norm, Trace

SCALE, SHIFT = 1, 2  # inputs of a BatchNormalization


def chosen(norms: Sequence[Norm], options: SlimOptions) -> dict[int, Mask]:
    """The channels of every batch norm that are chosen, by its place in the trace."""
    if not norms or not options.approximates:
        return {}
    gammas = [np.where(np.isfinite(norm.gamma), norm.gamma, np.inf) for norm in norms]
    if options.below is not None:
        masks = [gamma < options.below for gamma in gammas]
    else:
        assert options.ratio is not None
        every = np.concatenate(gammas)
        smallest = np.zeros(every.size, np.bool_)
        smallest[np.argsort(every, kind="stable")[: int(every.size * options.ratio)]] = True
        masks = np.split(smallest, np.cumsum([gamma.size for gamma in gammas])[:-1])
    for mask, gamma in zip(masks, gammas, strict=True):
        if mask.size and mask.all():
            mask[int(np.argmax(gamma))] = False
    return {norm.place: mask for norm, mask in zip(norms, masks, strict=True) if mask.any()}


def largest(norms: Sequence[Norm], masks: dict[int, Mask]) -> float:
    """The largest |gamma| that is multiplied by zero."""
    found = [float(norm.gamma[masks[norm.place]].max()) for norm in norms if norm.place in masks]
    return max(found, default=0.0)


def multiply_by_zero(t: Trace, masks: dict[int, Mask]) -> None:
    """Give the batch norms of a trace's model the scale and shift 0 in these channels: the model that a
    slimmed one is the same as."""
    editor = Editor(t.model, t.shapes)
    for norm in t.norms:
        mask = masks.get(norm.place)
        if mask is None:
            continue
        for index in (SCALE, SHIFT):
            old = norm.node.inputs[index]
            stored = t.shapes.constants.tensor(old)
            assert stored is not None and old is not None
            values = np.where(mask, np.zeros((), stored.dtype.numpy()), stored.numpy())
            masked = tensor.from_array(values.astype(stored.dtype.numpy()), dtype=stored.dtype)
            value = editor.put_once(masked, old, f"{old.name}/masked", norm.node, mask.tobytes())
            norm.node.replace_input_with(index, value)
        for node in norm.shifts:
            _shift_by_zero(t, editor, node, mask)


def _shift_by_zero(t: Trace, editor: Editor, node: ir.Node, mask: Mask) -> None:
    """Nothing is added to these channels."""
    made = t.channels[node.outputs[0]]
    index = next(k for k, v in enumerate(node.inputs) if t.of(v) is None)
    old = node.inputs[index]
    stored = t.shapes.constants.tensor(old)
    assert stored is not None and old is not None
    row = mask.reshape([made.size if axis == made.axis else 1 for axis in range(made.rank)])
    zero = np.zeros((), stored.dtype.numpy())
    values = np.where(row, zero, stored.numpy()).astype(stored.dtype.numpy())
    shifted = tensor.from_array(values, dtype=stored.dtype)
    node.replace_input_with(
        index, editor.put_once(shifted, old, f"{old.name}/masked", node, mask.tobytes(), made.axis)
    )


def still_leaving(t: Trace, masks: dict[int, Mask], gone: Sequence[Mask]) -> dict[int, Mask]:
    """The masks without the channels that stay all the same: multiplied by zero they would be lost for
    nothing."""
    left = {}
    for norm, leaves in zip(t.norms, gone, strict=True):
        mask = masks.get(norm.place)
        if mask is not None and (mask & leaves).any():
            left[norm.place] = mask & leaves
    return left


def same(one: dict[int, Mask], other: dict[int, Mask]) -> bool:
    """Are two choices the same?"""
    return one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)
