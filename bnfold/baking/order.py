"""An order of channels that the first layers' weights take, so that no node moves a value.

    conv(W, x[:, p]) = conv(W', x)   with W'[:, p] = W

The Gather is walked forward. What treats every channel alike lets it pass; constants along the channels are
put into the other order; a convolution (of one group), and a product behind a Flatten, end the walk. Where
anything else reads the channels, the Gather stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field

import numpy as np

from ..folding.unused import drop_unread
from ..inference import Shapes
from ..ir import tensor
from ..ir.graph import Names, attribute, folded_name, ir, is_op, label
from ..records import dataclass

_ALIKE = ("Identity", "Cast", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "Neg", "Abs", "Sqrt", "Elu")
_POOLS = ("MaxPool", "AveragePool")
_BINARY = ("Add", "Sub", "Mul", "Div", "PRelu")
_BLIND = ("Shape", "Size")  # read no value
_BROADCASTING = 7  # the opset from which a constant's last axis meets the last one of the data


class Stays(Exception):
    """Something reads the channels that cannot take another order; the text says what, a clause."""


@dataclass
class _Edit:
    """One constant input of a node that takes another order along an axis."""

    node: ir.Node
    index: int
    axis: int
    order: np.ndarray


@dataclass
class _Walk:
    """The way of one permutation through the graph."""

    model: ir.Model
    shapes: Shapes
    axis: int
    order: tuple[int, ...]
    edits: list[_Edit] = field(default_factory=list)
    passed: set[ir.Value] = field(default_factory=set)

    def carry(self, value: ir.Value, blocks: int = 1) -> None:
        """All that reads the value must take its channels as they came in. Behind a Flatten channels are
        `blocks` values each. Raises Stays."""
        waiting = [(value, blocks)]
        while waiting:
            current, size = waiting.pop()
            if current in self.passed:
                continue
            self.passed.add(current)
            if current.is_graph_output():
                raise Stays(f"'{current.name}' is a graph output")
            for user, index in current.uses():
                waiting += self._take(user, index, size)

    def _take(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        if user.graph is not self.model.graph:
            raise Stays(f"'{label(user)}' reads it inside a body")
        if is_op(user, *_BLIND):
            return []
        if blocks > 1 and not is_op(user, *_ALIKE, "MatMul", "Gemm"):
            raise Stays(self._words(user))
        for types, rule in _RULES:
            if is_op(user, *types):
                return rule(self, user, index, blocks)
        raise Stays(self._words(user))

    def _words(self, user: ir.Node) -> str:
        return f"{user.op_type} '{label(user)}' reads the channels in the network's order"

    def alike(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """A node that treats every channel alike."""
        if index:
            raise Stays(self._words(user))
        return [(user.outputs[0], blocks)]

    def pool(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """A window over places; the indices of a maximum count channels, too."""
        if self.axis != 1 or any(v.uses() or v.is_graph_output() for v in user.outputs[1:]):
            raise Stays(self._words(user))
        return self.alike(user, index, blocks)

    def binary(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """A sum or product with a constant, or slopes."""
        if is_op(user, "PRelu") and index:
            raise Stays(self._words(user))
        values = self.shapes.constants.array(user.inputs[1 - index])
        rank = self.shapes.rank(user.inputs[index])
        broadcasts = self.shapes.opset(user) >= _BROADCASTING
        if values is None or rank is None or values.ndim > rank or not broadcasts:
            raise Stays(self._words(user))
        axis = self.axis - rank + values.ndim
        if axis >= 0 and values.shape[axis] not in (1, len(self.order)):
            raise Stays(self._words(user))
        if axis >= 0 and values.shape[axis] != 1:
            self._edit(user, 1 - index, axis, np.array(self.order))
        return [(user.outputs[0], blocks)]

    def batch_norm(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """A batch norm: its four vectors."""
        if index or self.axis != 1 or any(v.uses() for v in user.outputs[1:]):
            raise Stays(self._words(user))
        for place in range(1, 5):
            self._edit(user, place, 0, np.array(self.order))
        return [(user.outputs[0], blocks)]

    def convolution(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """A convolution of one group: the columns of its weight."""
        if index or self.axis != 1 or attribute(user, "group", 1) != 1:
            raise Stays(self._words(user))
        self._edit(user, 1, 1 if is_op(user, "Conv") else 0, np.array(self.order))
        return []

    def flatten(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """Flatten, or a Reshape that does the same: channels become blocks."""
        before, after = self.shapes.of(user.inputs[0]), self.shapes.of(user.outputs[0])
        sizes = [] if before is None else [d for d in before[1:] if isinstance(d, int)]
        whole = before is not None and len(sizes) == len(before) - 1 and self.axis == 1
        if index or not whole or after is None or after[1:] != (math.prod(sizes),):
            raise Stays(self._words(user))
        return [(user.outputs[0], math.prod(sizes[1:]))]

    def product(self, user: ir.Node, index: int, blocks: int) -> list[tuple[ir.Value, int]]:
        """The product of rows and a weight: the weight's rows, a block for each channel."""
        if index or self.axis != 1 or self.shapes.rank(user.inputs[0]) != 2 or attribute(user, "transA", 0):
            raise Stays(self._words(user))
        axis = 1 if is_op(user, "Gemm") and attribute(user, "transB", 0) else 0
        rows = np.arange(len(self.order) * blocks).reshape(len(self.order), blocks)
        self._edit(user, 1, axis, rows[list(self.order)].reshape(-1))
        return []

    def _edit(self, node: ir.Node, index: int, axis: int, order: np.ndarray) -> None:
        value = node.inputs[index] if len(node.inputs) > index else None
        stored = self.shapes.constants.stored(value) if value is not None else None
        size = tensor.dims(stored)[axis] if stored is not None and len(tensor.dims(stored)) > axis else None
        if size != len(order):
            raise Stays(f"the weight of {node.op_type} '{label(node)}' is no constant of its own")
        self.edits.append(_Edit(node, index, axis, order))

    def apply(self) -> None:
        """Store the constants in the other order, each under a name of its own."""
        names = Names(self.model)
        made: dict[tuple[ir.Value, int, bytes], ir.Value] = {}
        for edit in self.edits:
            old = edit.node.inputs[edit.index]
            assert old is not None
            key = (old, edit.axis, edit.order.tobytes())
            if key not in made:
                made[key] = self._reordered(old, edit, names)
            edit.node.replace_input_with(edit.index, made[key])
        drop_unread(self.model, [old for old, _, _ in made])

    def _reordered(self, old: ir.Value, edit: _Edit, names: Names) -> ir.Value:
        stored = self.shapes.constants.stored(old)
        assert stored is not None
        values = np.take(stored.numpy(), np.argsort(edit.order), axis=edit.axis)
        name = names.value(folded_name(old.name))
        made = tensor.from_array(values, name, dtype=stored.dtype)
        value = ir.Value(
            name=name, shape=ir.Shape(list(values.shape)), type=ir.TensorType(stored.dtype), const_value=made
        )
        self.model.graph.register_initializer(value)
        if self.model.ir_version < 4:
            self.model.graph.inputs.append(value)
        return value


_Rule = Callable[[_Walk, ir.Node, int, int], list[tuple[ir.Value, int]]]
_RULES: tuple[tuple[tuple[str, ...], _Rule], ...] = (
    (_ALIKE, _Walk.alike),
    (_POOLS, _Walk.pool),
    (_BINARY, _Walk.binary),
    (("BatchNormalization",), _Walk.batch_norm),
    (("Conv", "ConvTranspose"), _Walk.convolution),
    (("Flatten", "Reshape"), _Walk.flatten),
    (("MatMul", "Gemm"), _Walk.product),
)


def taken(model: ir.Model, node: ir.Node, freeze_initializers: bool) -> None:
    """Let the weights behind a baked Gather take its order, and drop it. Raises Stays, and changes
    nothing."""
    shapes = Shapes(model, freeze_initializers)
    axis, order = attribute(node, "axis", 0), shapes.constants.integers(node.inputs[1])
    before, after = node.inputs[0], node.outputs[0]
    assert before is not None and node.graph is not None
    if order is None or sorted(order) != list(range(len(order))) or shapes.dim(before, axis) != len(order):
        raise Stays("it is no order of all channels")  # whatever the file says of it
    walk = _Walk(model, shapes, axis, tuple(order))
    walk.carry(after)
    walk.apply()
    for user, index in list(after.uses()):
        user.replace_input_with(index, before)
    indices = node.inputs[1]
    node.graph.remove(node, safe=True)
    drop_unread(model, [indices] if indices is not None else [])
