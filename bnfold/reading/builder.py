"""A builder of complete ONNX models, for readers of formats that are not ONNX.

    build = Build("net", opset=17)
    x = build.input("data", (1, 3, 224, 224))
    w = build.weight("conv1/weight", window)
    y = build.op("Conv", x, w, name="conv1", output="conv1", shape=(1, 64, 112, 112), source=Source(...),
    strides=[2, 2]) build.result(y)
    model = build.model()

Rule 1: every value has a static type and the shape that its reader computed by the framework's own formula.
Rule 2: names are given by the reader and unique; inner values of a layer are named `layer/what`.
Rule 3: every node carries its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import Malformed
from ..ir import tensor
from ..ir.graph import ir
from ..ir.provenance import DECODING_KEY, SOURCE_KEY, Source

Dim = int | str | None
IR_VERSION = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}


class Build:
    """One graph in the making. `source` may be set once per layer; nodes made until it changes carry it."""

    def __init__(self, name: str, opset: int = 17, producer: str = "bnfold") -> None:
        text = name.encode(
            "utf-8", "backslashreplace"
        ).decode()  # a file name may hold what UTF-8, and so protobuf, cannot
        self.graph = ir.Graph([], [], nodes=[], name=text, opset_imports={"": opset})
        self.opset = opset
        self.producer = producer
        self.source: Source | None = None
        self._decoding = False
        self._names: set[str] = set()
        self._node_names: set[str] = set()
        self._tried: dict[str, int] = {}

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """What is built meanwhile decodes detections or places: affine nodes of it are none of the user's."""
        self._decoding = True
        try:
            yield
        finally:
            self._decoding = False

    def input(self, name: str, shape: Sequence[Dim], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        """A graph input."""
        value = ir.Value(name=self._claim(name), shape=ir.Shape(list(shape)), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def weight(self, name: str, tensor_: ir.TensorProtocol) -> ir.Value:
        """An initializer that stands for a tensor, usually a window on the weights file."""
        shape, kind = ir.Shape(tensor_.shape.numpy()), ir.TensorType(tensor_.dtype)
        value = ir.Value(name=self._claim(name), shape=shape, type=kind, const_value=tensor_)
        tensor_.name = name
        self.graph.initializers[name] = value
        return value

    def constant(self, name: str, values: Any, dtype: Any = None) -> ir.Value:
        """An initializer of a few values: floats become float32, integers int64, unless `dtype` (a numpy
        type) says otherwise."""
        array = np.asarray(values)
        natural = {"f": np.float32, "i": np.int64, "u": np.int64}.get(array.dtype.kind, array.dtype)
        return self.weight(name, tensor.from_array(array.astype(dtype or natural), name))

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        name: str,
        output: str | Sequence[str] | None = None,
        shape: Sequence[Dim] | Sequence[Sequence[Dim]] | None = None,
        dtype: Any = None,
        source: Source | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """A node. `output` is the name of its value (its node name by default) or a list of names; returns a
        Value, or a tuple of them for a list. `shape` is the shape of its value (of each, for a list); `dtype`
        an ir.DataType (that of the first input by default), or one for each."""
        many = output is not None and not isinstance(output, str)
        names = [output or name] if output is None or isinstance(output, str) else list(output)
        shapes = list(shape) if many and shape is not None else [shape]
        default = next((v.dtype for v in inputs if v is not None), ir.DataType.FLOAT)
        types = list(dtype) if isinstance(dtype, (list, tuple)) else [dtype or default] * len(names)
        values = [
            ir.Value(
                name=self._claim(n),
                shape=None if s is None else ir.Shape(list(s)),  # type: ignore[arg-type]
                type=ir.TensorType(t),  # type: ignore[arg-type]
            )
            for n, s, t in zip(names, shapes + [None] * (len(names) - len(shapes)), types, strict=True)
        ]
        # ONNX stores float attributes as float32: rounded here, so that the model in memory is the one that
        # is written
        given = {
            k: float(np.float32(v)) if isinstance(v, float) else v
            for k, v in attributes.items()
            if v is not None
        }
        read = list(inputs)
        while read and read[-1] is None:  # OpenVINO cannot run a Gemm with an empty name for its third input
            read.pop()
        node = ir.node(op_type, read, given, domain=domain, outputs=values, name=self._claim_node(name))
        if where := source or self.source:
            node.metadata_props[SOURCE_KEY] = str(where)
        if self._decoding:
            node.meta[DECODING_KEY] = True
        self.graph.append(node)
        return tuple(values) if many else values[0]

    def rename(self, value: ir.Value, name: str) -> ir.Value:
        """Give a value the name of what it turned out to be (the result of a layer is known once its last
        node is made)."""
        value.name = self._claim(name)
        return value

    def result(self, value: ir.Value) -> None:
        """Make a value a graph output, under its own name."""
        self.graph.outputs.append(value)

    def model(self) -> ir.Model:
        """The finished model."""
        return ir.Model(
            self.graph,
            ir_version=IR_VERSION.get(self.opset, 11 if self.opset > 23 else 8),
            producer_name=self.producer,
        )

    def fresh(self, wish: str) -> str:
        """A value name that is not taken yet (not claimed: the node or weight that takes it will)."""
        count = self._tried.get(wish, 1)
        name = wish if count == 1 else f"{wish}_{count}"
        while name in self._names:
            count += 1
            name = f"{wish}_{count}"
        self._tried[wish] = count  # names are never given back, so the next search begins here
        return name

    def _claim(self, name: str) -> str:
        if name in self._names:
            raise Malformed(f"two values are named '{name}'")
        self._names.add(name)
        return name

    def _claim_node(self, wish: str) -> str:
        name, count = wish, 1
        while name in self._node_names:
            count += 1
            name = f"{wish}/{count}"
        self._node_names.add(name)
        return name
