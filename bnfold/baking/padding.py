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
from ..ir.graph import Names, attribute, ir, is_op, label, opset
from ..ir.provenance import BAKED_KEY, SOURCE_KEY
from ..records import dataclass

_PADS_ARE_INPUTS = 11  # the opset from which pads and value are inputs of Pad
_SPLIT_IS_INPUT = 13  # the opset from which the sizes are an input of Split


class NoPad(Exception):
    """A Pad by the mean cannot take the place of padding; the text says why, a clause."""


@dataclass(frozen=True)
class Padding:
    """What a Pad would add, begins and ends of the axes behind the channels, by which values, and the
    convolutions that would no longer pad."""

    amounts: tuple[int, ...]
    values: np.ndarray
    readers: tuple[ir.Node, ...]


def padding(model: ir.Model, sub: ir.Node, freeze_initializers: bool) -> Padding:
    """The Pad that could stand in front of a baked Sub. Raises NoPad."""
    shapes = Shapes(model, freeze_initializers)
    readers = _readers(sub.outputs[0], shapes)
    found = {_amounts(node, shapes) for node in readers}
    amounts = next(iter(found), ())
    if len(found) > 1:
        raise NoPad("the convolutions that read it pad differently")
    if not any(amounts) or min(amounts) < 0:
        raise NoPad("no convolution that reads it pads by places")
    mean, rank = shapes.constants.array(sub.inputs[1]), shapes.rank(sub.inputs[0])
    if mean is None or rank != len(amounts) // 2 + 2 or not _along_channels(mean, rank):
        raise NoPad("the mean is not one value for each channel")
    values = np.unique(mean) if len(np.unique(mean)) == 1 else mean.reshape(-1)
    if shapes.dim(sub.inputs[0], 1) != len(values) != 1:
        raise NoPad("how many channels there are is not known")
    return Padding(amounts, values, tuple(readers))


def pad_by_mean(model: ir.Model, sub: ir.Node, wanted: Padding) -> None:
    """Put the Pad in front of the Sub, and take the padding from the convolutions."""
    _Padding(model, sub, wanted.amounts).build(wanted.values)
    for node in wanted.readers:
        node.attributes.pop("auto_pad", None)
        node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(wanted.amounts))


def _along_channels(values: np.ndarray, rank: int) -> bool:
    """Is a constant one value, or one for each place of axis 1?"""
    return values.size == 1 or (values.ndim == rank and values.size == values.shape[1])


def _readers(value: ir.Value, shapes: Shapes) -> list[ir.Node]:
    """The convolutions that read what becomes of a value behind baked nodes. Raises NoPad where others do."""
    found: list[ir.Node] = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current.is_graph_output():
            raise NoPad(f"'{current.name}' is a graph output")
        for user, index in current.uses():
            if BAKED_KEY in user.metadata_props and is_op(user, "Mul"):
                factor, rank = shapes.constants.array(user.inputs[1 - index]), shapes.rank(current)
                if factor is None or rank is None or not _along_channels(factor, rank):
                    raise NoPad("its scale is not one value for each channel")
                waiting.append(user.outputs[0])
            elif is_op(user, "Conv") and index == 0:
                found.append(user)
            else:
                raise NoPad(f"{user.op_type} '{label(user)}' reads it, too")
    return found


def _amounts(node: ir.Node, shapes: Shapes) -> tuple[int, ...]:
    """The pads of a convolution: written down, or as they follow from its sizes."""
    mode = attribute(node, "auto_pad", "NOTSET")
    kernel, before = shapes.of(node.inputs[1]), shapes.of(node.inputs[0])
    axes = range(len(kernel) - 2) if kernel is not None else range(0)
    if mode == "NOTSET":
        return tuple(attribute(node, "pads", ()) or [0] * (2 * len(axes)))
    if mode == "VALID" or kernel is None or before is None:
        return (0,) * (2 * len(axes))
    strides, dilations = (attribute(node, name, None) or [1] * len(axes) for name in ("strides", "dilations"))
    begins, ends = [], []
    for k in axes:
        size, taps = before[2 + k], kernel[2 + k]
        if not isinstance(size, int) or not isinstance(taps, int):
            raise NoPad(f"how much Conv '{label(node)}' pads follows from sizes that are open")
        places = -(-size // strides[k])
        total = max(0, (places - 1) * strides[k] + dilations[k] * (taps - 1) + 1 - size)
        first, second = total // 2, total - total // 2
        begins.append(first if mode == "SAME_UPPER" else second)
        ends.append(second if mode == "SAME_UPPER" else first)
    return (*begins, *ends)


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
