"""One call of an operator, as the interpreter hands it to a kernel or to onnx's reference implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np

from ...ir.graph import GraphLike, ir
from ...records import dataclass
from .number_formats import storage_of


@dataclass
class Frame:
    """The state of one run of the main graph or of a model-local function: its values, their storage types,
    the attributes that the function was called with, and its opset."""

    opset: int
    imports: Mapping[str, int]
    values: dict[ir.Value, Any] = field(default_factory=dict)
    types: dict[ir.Value, ir.DataType] = field(default_factory=dict)
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict)


RunBody = Callable[[GraphLike, Frame], list[Any]]


class Call:
    """What a kernel sees of its node: attributes with references resolved, the opset, which outputs are
    wanted. `run_body(graph, frame)` computes the outputs of a body whose inputs are bound in the frame."""

    def __init__(self, node: ir.Node, frame: Frame, run_body: RunBody) -> None:
        self._frame = frame
        self._run_body = run_body
        self.node = node
        self.op = node.op_type
        self.opset = frame.opset
        self.wanted = tuple(bool(v.name) for v in node.outputs)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or the default: a float attribute is a float32 in the document's schema
        too."""
        found = self.attributes.get(name)
        if found is None:
            return float(np.float32(default)) if isinstance(default, float) else default
        return found.value

    @cached_property
    def attributes(self) -> dict[str, ir.Attr]:
        """All attributes; those that refer to the function's are replaced by what the caller gave, or
        absent."""
        result: dict[str, ir.Attr] = {}
        for name, attribute in self.node.attributes.items():
            if not attribute.is_ref():
                result[name] = attribute
            elif (given := self._frame.attributes.get(attribute.ref_attr_name or "")) is not None:
                result[name] = ir.Attr(name, given.type, given.value)
        return result

    def storage(self, index: int) -> ir.DataType:
        """The element type in which the model stores an input."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        return self._frame.types.get(value, ir.DataType.FLOAT) if value is not None else ir.DataType.FLOAT

    def evaluate(
        self, graph: ir.Graph, arguments: Sequence[Any], types: Sequence[ir.DataType] = ()
    ) -> list[Any]:
        """Run a body with its inputs bound; it sees the values around it."""
        for value, argument in zip(graph.inputs, arguments, strict=False):
            self._frame.values[value] = argument
            self._frame.types[value] = storage_of(argument, value.dtype)
        for value, known in zip(graph.inputs, types, strict=False):
            self._frame.types[value] = known
        return self._run_body(graph, self._frame)
