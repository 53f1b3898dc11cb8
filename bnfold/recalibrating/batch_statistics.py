"""A network whose batch norms normalise with the statistics of the batch, as in training: each gets mean and
variance of what it works on as computed inputs, in operators that every engine has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..inference import Shapes
from ..ir.foreign_types import cloned
from ..ir.graph import Names, ir, label, opset
from ..ir.tensor import from_array
from ..results.options import spelled
from .norms import MEAN, VARIANCE, Norm, Prepared

AXES_ARE_AN_INPUT = 18  # from this opset on, of reductions
BROADCASTING = 7  # the opset from which Sub and Mul broadcast by themselves


class Computed(NamedTuple):
    """The names of what the network computes of a batch for one norm: how many values there are in all
    channels together, the mean and the variance of each channel."""

    size: str
    mean: str
    variance: str


def by_batches(found: Prepared) -> tuple[ir.Model, dict[Norm, Computed]]:
    """A clone of the prepared model in which every norm does that, and what it computes for each; all values
    keep their names. Raises UsageError where the rank of what a norm works on is not known."""
    version = opset(found.model)
    if version < BROADCASTING and found.norms:
        raise UsageError(
            f"{spelled('one_pass')} is for models of opset {BROADCASTING} or later; this one has {version}",
            way_out="leave it out",
        )
    model = cloned(found.model)
    shapes, names = Shapes(model), Names(model)
    places = {node.outputs[0].name: node for node in model.graph}
    computed = {
        norm: _Rewritten(model, places[norm.node.outputs[0].name], norm, shapes, names).put()
        for norm in found.norms
    }
    return model, computed


class _Rewritten:
    """One norm, with what computes its statistics before it."""

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
        stored = node.inputs[MEAN]
        assert stored is not None and stored.const_value is not None
        self.shape = tuple(stored.const_value.shape.numpy())
        self.new: list[ir.Node] = []

    def put(self) -> Computed:
        """Carry it out. The node stays, and gets computed statistics; what has 16 bits is widened around it,
        for its sums overflow."""
        wide = self.kind not in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
        if wide:
            for index in range(3):
                self.node.replace_input_with(index, self._op("Cast", self._read(index), to=ir.DataType.FLOAT))
        size, mean, variance = self._statistics(self._read(0))
        self.node.replace_input_with(MEAN, mean)
        self.node.replace_input_with(VARIANCE, variance)
        self.model.graph.insert_before(self.node, self.new)
        if wide:
            self._narrow_output()
        return Computed(size.name or "", mean.name or "", variance.name or "")

    def _read(self, index: int) -> ir.Value:
        value = self.node.inputs[index]
        assert value is not None
        return value

    def _statistics(self, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """How many values there are, the mean, and the variance as the mean of squared deviations from it."""
        axes = [0] if self.norm.per_activation else [axis for axis in range(self.rank) if axis != 1]
        mean = self._reduced("ReduceMean", x, axes, keepdims=1)
        squares = self._reduced("ReduceSumSquare", self._op("Sub", x, mean), axes, keepdims=0)
        kind = ir.DataType.DOUBLE if self.kind == ir.DataType.DOUBLE else ir.DataType.FLOAT
        size = self._op("Size", x)
        all_values = self._op("Cast", size, to=kind)
        channels = self._constant(np.array(len(self.norm.mean), kind.numpy()), "channels")
        variance = self._op("Div", squares, self._op("Div", all_values, channels))
        return size, self._shaped(mean), self._shaped(variance)

    def _shaped(self, value: ir.Value) -> ir.Value:
        """In the shape of the stored statistics."""
        return self._op("Reshape", value, self._constant(np.array(self.shape, np.int64), "shape"))

    def _reduced(self, op: str, x: ir.Value, axes: list[int], keepdims: int) -> ir.Value:
        if opset(self.model) < AXES_ARE_AN_INPUT:
            return self._op(op, x, axes=axes, keepdims=keepdims)
        return self._op(op, x, self._constant(np.array(axes, np.int64), "axes"), keepdims=keepdims)

    def _narrow_output(self) -> None:
        """What others read has the type that it had, under the name that it had."""
        output = self.node.outputs[0]
        cast = ir.Node("", "Cast", [output], [ir.AttrInt64("to", int(self.kind))])
        narrow = cast.outputs[0]
        output.replace_all_uses_with(narrow, replace_graph_outputs=True)
        cast.replace_input_with(0, output)
        narrow.type, narrow.shape = output.type, output.shape
        output.type = ir.TensorType(ir.DataType.FLOAT)
        name, output.name = output.name, self.names.value(f"{self.name}/wide")
        narrow.name = name
        self.model.graph.insert_after(self.node, cast)

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
