"""A network whose batch norms normalise with the statistics of the batch, as in training, in operators that
every engine has:

    y = (x - m) / sqrt(v + epsilon) * gamma + beta      m, v: mean and variance of x over all but the channels
"""

from __future__ import annotations

import numpy as np

from ..errors import UsageError
from ..inference import Shapes
from ..ir.foreign_types import cloned
from ..ir.graph import Names, ir, label, opset
from ..ir.tensor import from_array
from ..results.options import spelled
from .norms import Norm, Prepared

AXES_ARE_AN_INPUT = 18  # from this opset on, of ReduceMean
BROADCASTING = 7  # the opset from which Sub and Mul broadcast by themselves


def by_batches(found: Prepared) -> ir.Model:
    """A clone of the prepared model with every norm in such operators; all values keep their names. Raises
    UsageError where the rank of what a norm works on is not known."""
    version = opset(found.model)
    if version < BROADCASTING and found.norms:
        raise UsageError(
            f"{spelled('one_pass')} is for models of opset {BROADCASTING} or later; this one has {version}",
            way_out="leave it out",
        )
    model = cloned(found.model)
    shapes, names = Shapes(model), Names(model)
    places = {node.outputs[0].name: node for node in model.graph}
    for norm in found.norms:
        _Rewritten(model, places[norm.node.outputs[0].name], norm, shapes, names).put()
    return model


class _Rewritten:
    """One norm. The node becomes the last of the operators, so that its output stays what it is."""

    def __init__(self, model: ir.Model, node: ir.Node, norm: Norm, shapes: Shapes, names: Names) -> None:
        self.model, self.node, self.norm, self.names = model, node, norm, names
        self.name = label(node)
        rank = shapes.rank(node.inputs[0])
        if rank is None:
            raise UsageError(
                f"{spelled('one_pass')} needs the rank of what '{self.name}' works on, which is not known",
                way_out="leave it out",
            )
        self.rank = rank
        self.kind = shapes.dtype(node.inputs[0]) or ir.DataType.FLOAT
        self.new: list[ir.Node] = []

    def put(self) -> None:
        """Carry it out."""
        x, gamma, beta = (self._wide(value) for value in self.node.inputs[:3] if value is not None)
        axes = [0] if self.norm.per_activation else [axis for axis in range(self.rank) if axis != 1]
        centred = self._op("Sub", x, self._mean(x, axes))
        variance = self._mean(self._op("Mul", centred, centred), axes)
        epsilon = self._constant(np.array(self.norm.epsilon, np.float32), "epsilon")
        deviation = self._op("Sqrt", self._op("Add", variance, epsilon))
        scaled = self._op("Mul", self._op("Div", centred, deviation), self._placed(gamma))
        y = self._op("Add", scaled, self._placed(beta))
        last = self._op("Cast", y, to=self.kind)
        graph = self.model.graph
        graph.insert_before(self.node, self.new)
        old = self.node.outputs[0]
        name, old.name = old.name, self.names.value(f"{self.name}/unused")
        old.replace_all_uses_with(last, replace_graph_outputs=True)
        last.name, last.type, last.shape = name, old.type, old.shape
        graph.remove(self.node, safe=True)

    def _wide(self, value: ir.Value) -> ir.Value:
        """In float32 at least: sums of float16 overflow."""
        return self._op("Cast", value, to=ir.DataType.FLOAT)

    def _mean(self, x: ir.Value, axes: list[int]) -> ir.Value:
        if opset(self.model) < AXES_ARE_AN_INPUT:
            return self._op("ReduceMean", x, axes=axes, keepdims=1)
        return self._op("ReduceMean", x, self._constant(np.array(axes, np.int64), "axes"), keepdims=1)

    def _placed(self, vector: ir.Value) -> ir.Value:
        """A vector along the channels."""
        if self.norm.per_activation or self.rank < 3:
            return vector
        shape = np.array([-1] + [1] * (self.rank - 2), np.int64)
        return self._op("Reshape", vector, self._constant(shape, "shape"))

    def _constant(self, array: np.ndarray, what: str) -> ir.Value:
        name = self.names.value(f"{self.name}/{what}")
        value = ir.Value(name=name, const_value=from_array(array, name))
        self.model.graph.register_initializer(value)
        return value

    def _op(self, op: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        made = [
            ir.AttrInt64s(key, given) if isinstance(given, list) else ir.AttrInt64(key, int(given))  # type: ignore[call-overload]
            for key, given in attributes.items()
        ]
        node = ir.Node("", op, inputs, made, name=self.names.node(f"{self.name}/{op}"))
        node.outputs[0].name = self.names.value(f"{self.name}/{op}")
        self.new.append(node)
        return node.outputs[0]
