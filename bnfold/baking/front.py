"""The nodes of a preprocessing, behind an input: Cast, Transpose, Sub, Mul, Gather, each where it is needed.

    raw -> Cast (the network's type) -> Transpose (its layout) -> Sub (mean) -> Mul (scale / std)
        -> Gather (its order of channels) -> all that read the input

The input keeps its name. The order comes last, so that means and scales stand as they come in and a Gather
that the weights take stands right before them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Unsupported
from ..ir import tensor
from ..ir.graph import Names, ir, opset
from ..ir.provenance import BAKED_KEY, SOURCE_KEY
from .resolve import Wanted

BROADCASTING = 7  # the opset from which Sub and Mul broadcast by themselves
TYPES = {"uint8": ir.DataType.UINT8, "float16": ir.DataType.FLOAT16, "float32": ir.DataType.FLOAT}
INTO_NETWORK = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 2, 3, 1)}  # by the layout that comes in


def put_in_front(model: ir.Model, one: Wanted) -> None:
    """Put the nodes behind the input. Raises Unsupported for an opset that cannot hold them."""
    needed = one.mean is not None or one.factor is not None or one.baked.type
    if needed and opset(model) < BROADCASTING:
        raise Unsupported(
            f"the model is of opset {opset(model)}, in which Sub and Mul do not broadcast",
            expected=f"opset {BROADCASTING} or later to hold preprocessing",
            way_out="bring it to a later opset with onnx.version_converter",
        )
    _Front(model, one).build()


class _Front:
    def __init__(self, model: ir.Model, one: Wanted) -> None:
        self.model, self.one, self.names = model, one, Names(model)
        self.name = one.input.name or "input"
        self.dtype = one.at.dtype  # of the network, whatever comes in
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []

    def build(self) -> None:
        """Make the nodes, and give their last value to all that read the input."""
        one, baked = self.one, self.one.baked
        readers = list(one.at.uses())
        if one.dims is not None:
            one.input.shape = ir.Shape(list(one.dims))
        dtype, value = self.dtype, one.at
        if baked.type:
            one.input.type = ir.TensorType(TYPES[baked.type])
            value = self._node("Cast", value, what="cast", to=int(dtype or ir.DataType.FLOAT))
        if baked.layout:
            value = self._transposed(value, INTO_NETWORK[baked.layout])
        if one.mean is not None:
            value = self._node("Sub", value, self._constant("mean", one.mean, dtype), what="mean")
        if one.factor is not None:
            value = self._node("Mul", value, self._constant("scale", one.factor, dtype), what="scale")
        if order := baked.preprocessing.permutation:
            indices = self._constant("order", np.array(order), ir.DataType.INT64)
            value = self._node("Gather", value, indices, what="order", axis=baked.axis)
        if readers and value is not one.at:
            self._insert(readers, value)

    def _transposed(self, value: ir.Value, axes: tuple[int, ...]) -> ir.Value:
        """The input takes the other layout; what comes out has the network's shape."""
        shape = self.one.input.shape
        assert shape is not None
        inverse = [axes.index(i) for i in range(len(axes))]
        self.one.input.shape = ir.Shape([shape[i] for i in inverse])
        if value is not self.one.input:
            value.shape = ir.Shape([shape[i] for i in inverse])
        made = self._node("Transpose", value, what="layout", perm=list(axes))
        made.shape = ir.Shape(list(shape))
        return made

    def _constant(self, what: str, values: np.ndarray, dtype: ir.DataType | None) -> ir.Value:
        kind = dtype or ir.DataType.FLOAT
        name = self.names.value(f"{self.name}/{what}/value")
        stored = tensor.from_array(values.astype(kind.numpy()), name, dtype=kind)
        value = ir.Value(
            name=name, shape=ir.Shape(list(values.shape)), type=ir.TensorType(kind), const_value=stored
        )
        self.constants.append(value)
        return value

    def _node(self, op: str, *inputs: ir.Value, what: str, **attributes: Any) -> ir.Value:
        node = ir.node(op, list(inputs), attributes, name=self.names.node(f"{self.name}/{what}"))
        node.metadata_props[BAKED_KEY] = what
        node.metadata_props[SOURCE_KEY] = f"bake-input {self.one.baked}"
        made = node.outputs[0]
        made.name = self.names.value(f"{self.name}/{what}")
        made.type = ir.TensorType(self.dtype) if self.dtype is not None else None
        made.shape = inputs[0].shape.copy() if inputs[0].shape is not None else None
        self.nodes.append(node)
        return made

    def _insert(self, readers: list[Any], value: ir.Value) -> None:
        graph, behind = self.model.graph, self.one.at.producer()
        for constant in self.constants:
            graph.register_initializer(constant)
            if self.model.ir_version < 4:  # where every initializer is an input
                graph.inputs.append(constant)
        if behind is not None:
            graph.insert_after(behind, self.nodes)
        elif len(graph):
            graph.insert_before(graph[0], self.nodes)
        else:
            graph.extend(self.nodes)
        for user, index in readers:
            user.replace_input_with(index, value)
