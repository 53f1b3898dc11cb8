"""A Pad by the mean in place of the padding of a convolution, so that all of a baked preprocessing can be
folded.

    conv(pad((x - m) * s, 0)) = conv((pad(x, m) - m) * s)      for (m - m) * s is zero

Pad takes one value, so that means that differ take one Pad for each channel. Where the convolutions that
read the input pad differently, or something else reads it, the Sub stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inference import Shapes
from ..ir import tensor
from ..ir.graph import Names, attribute, ir, is_op, opset
from ..ir.provenance import BAKED_KEY, SOURCE_KEY

_PADS_ARE_INPUTS = 11  # the opset from which pads and value are inputs of Pad
_SPLIT_IS_INPUT = 13  # the opset from which the sizes are an input of Split


def pad_by_mean(model: ir.Model, sub: ir.Node, freeze_initializers: bool) -> None:
    """Put a Pad by the mean in front of a baked Sub, and take the padding from all that reads it. Nothing is
    changed where that is not possible."""
    shapes = Shapes(model, freeze_initializers)
    readers = _readers(sub.outputs[0], shapes)
    pads = {tuple(attribute(node, "pads", ()) or ()) for node in readers or ()}
    if not readers or len(pads) != 1 or min(amounts := next(iter(pads)), default=0) < 0 or not any(amounts):
        return
    mean, rank = shapes.constants.array(sub.inputs[1]), shapes.rank(sub.inputs[0])
    if mean is None or rank != len(amounts) // 2 + 2 or not _along_channels(mean, rank):
        return
    values = np.unique(mean) if len(np.unique(mean)) == 1 else mean.reshape(-1)
    if shapes.dim(sub.inputs[0], 1) != len(values) != 1:
        return
    _Padding(model, sub, amounts).build(values)
    for node in readers:
        node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(amounts))


def _along_channels(values: np.ndarray, rank: int) -> bool:
    """Is a constant one value, or one for each place of axis 1?"""
    return values.size == 1 or (values.ndim == rank and values.size == values.shape[1])


def _readers(value: ir.Value, shapes: Shapes) -> list[ir.Node] | None:
    """The convolutions that read what becomes of a value behind baked nodes; None where others do."""
    found: list[ir.Node] = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current.is_graph_output():
            return None
        for user, index in current.uses():
            if BAKED_KEY in user.metadata_props and is_op(user, "Mul"):
                factor, rank = shapes.constants.array(user.inputs[1 - index]), shapes.rank(current)
                if factor is None or rank is None or not _along_channels(factor, rank):
                    return None
                waiting.append(user.outputs[0])
            elif is_op(user, "Conv") and index == 0 and attribute(user, "auto_pad", "NOTSET") == "NOTSET":
                found.append(user)
            else:
                return None
    return found


class _Padding:
    def __init__(self, model: ir.Model, sub: ir.Node, amounts: tuple[int, ...]) -> None:
        self.model, self.sub, self.amounts = model, sub, amounts
        self.names, self.version = Names(model), opset(model)
        x = sub.inputs[0]
        assert x is not None
        self.x, self.name = x, (x.name or "input").partition("/")[0]

    def build(self, values: np.ndarray) -> None:
        """One Pad, or one for each channel."""
        axes = len(self.amounts) // 2
        pads = [0, 0, *self.amounts[:axes], 0, 0, *self.amounts[axes:]]
        if len(values) == 1:
            made = self._pad(self.x, pads, values[0])
        else:
            parts = self._split(len(values))
            each = [self._pad(part, pads, value) for part, value in zip(parts, values, strict=True)]
            made = self._node("Concat", each, axis=1).outputs[0]
        self._enlarge(made, pads)
        self.sub.replace_input_with(0, made)
        self._forget_shapes(self.sub.outputs[0])

    def _pad(self, x: ir.Value, pads: list[int], value: float) -> ir.Value:
        kind = self.x.dtype or ir.DataType.FLOAT
        if self.version < _PADS_ARE_INPUTS:
            return self._node("Pad", [x], mode="constant", pads=pads, value=float(value)).outputs[0]
        amounts = self._constant("pads", np.array(pads), ir.DataType.INT64)
        filled = self._constant("pad_value", np.asarray(value), kind)
        return self._node("Pad", [x, amounts, filled], mode="constant").outputs[0]

    def _split(self, count: int) -> list[ir.Value]:
        sizes = np.ones(count, np.int64)
        if self.version < _SPLIT_IS_INPUT:
            node = self._node("Split", [self.x], count, axis=1, split=sizes.tolist())
        else:
            constant = self._constant("split", sizes, ir.DataType.INT64)
            node = self._node("Split", [self.x, constant], count, axis=1)
        return list(node.outputs)

    def _node(self, op: str, inputs: list[ir.Value], outputs: int = 1, **attributes: Any) -> ir.Node:
        node = ir.node(
            op, inputs, attributes, num_outputs=outputs, name=self.names.node(f"{self.name}/{op.lower()}")
        )
        node.metadata_props[BAKED_KEY] = "pad"
        node.metadata_props[SOURCE_KEY] = self.sub.metadata_props.get(SOURCE_KEY, "")
        for value in node.outputs:
            value.name = self.names.value(f"{self.name}/{op.lower()}")
            value.type = self.x.type
        assert self.sub.graph is not None
        self.sub.graph.insert_before(self.sub, node)
        return node

    def _constant(self, what: str, values: np.ndarray, kind: ir.DataType) -> ir.Value:
        name = self.names.value(f"{self.name}/{what}")
        stored = tensor.from_array(values.astype(kind.numpy()), name, dtype=kind)
        value = ir.Value(
            name=name, shape=ir.Shape(list(values.shape)), type=ir.TensorType(kind), const_value=stored
        )
        self.model.graph.register_initializer(value)
        return value

    def _enlarge(self, made: ir.Value, pads: list[int]) -> None:
        if self.x.shape is None:
            return
        rank = len(self.x.shape)
        made.shape = ir.Shape(
            [
                d + pads[i] + pads[rank + i] if isinstance(d, int) else (d if i < 2 else None)
                for i, d in enumerate(self.x.shape)
            ]
        )

    def _forget_shapes(self, value: ir.Value) -> None:
        """Values behind have other sizes now, as far as the convolutions."""
        shape = self.sub.inputs[0].shape if self.sub.inputs[0] is not None else None
        waiting = [value]
        while waiting:
            current = waiting.pop()
            current.shape = shape.copy() if shape is not None else None
            waiting += [u.node.outputs[0] for u in current.uses() if BAKED_KEY in u.node.metadata_props]
