"""A model's bytes, message by message: what protobuf makes of the message of onnx_ir, byte for byte, without
that message.

onnx_ir builds one message of the whole model, which is a second graph in memory and takes a dozen calls for
every tensor. Here the main graph is emitted as it is walked: nodes and tensors of the usual forms field by
field, everything rarer by onnx_ir, one small message at a time. Fields stand in the order of their numbers,
which is protobuf's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from ..files import onnx_fields as fields
from ..files.protobuf import bytes_field, header, number_field
from ..files.protobuf import fields as fields_of
from ..ir import tensor
from ..ir.graph import initializers, ir, notes, quantisation

_INTEGERS = (ir.AttributeType.INT, ir.AttributeType.INTS)  # many are equal, and equal ones have equal bytes
# Types whose bits onnx_ir looks at before it writes them.
_CHECKED = frozenset(dtype.value for dtype in ir.DataType if dtype.name.startswith("FLOAT6"))


def serialised(model: ir.Model) -> bytes:
    """The whole model."""
    message = ir.to_proto(_without_graph(model))
    # before IR 10 the graph describes the values inside functions, behind its own
    parts = _Graph(model.graph, _bytes(message.graph), model.ir_version).parts()
    message.ClearField("graph")
    around = _bytes(message)
    at = next((field.key for field in fields_of(around) if field.number > fields.MODEL_GRAPH), len(around))
    return b"".join((around[:at], header(fields.MODEL_GRAPH, sum(map(len, parts))), *parts, around[at:]))


def _without_graph(model: ir.Model) -> ir.Model:
    """All of the model but its main graph."""
    return ir.Model(
        ir.Graph((), (), nodes=(), opset_imports=dict(model.opset_imports)),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=tuple(model.functions.values()),
        metadata_props=model.metadata_props,
        device_configurations=model.device_configurations,
    )


class _Graph:
    """The fields of the main graph. `inner`: descriptions of values inside functions."""

    def __init__(self, graph: ir.Graph, inner: bytes, ir_version: int) -> None:
        self._graph = graph
        self._inner = inner
        self._ir_version = ir_version
        self._types: dict[tuple[Any, ...], bytes] = {}
        self._attributes: dict[tuple[Any, ...], bytes] = {}

    def parts(self) -> list[bytes]:
        """All fields in order."""
        graph = self._graph
        return [
            *(bytes_field(fields.GRAPH_NODE, self._node(node)) for node in graph),
            *_optional(fields.GRAPH_NAME, graph.name),
            *(bytes_field(fields.GRAPH_INITIALIZER, stored) for stored in self._initializers()),
            *_optional(fields.GRAPH_DOC_STRING, graph.doc_string),
            *(bytes_field(fields.GRAPH_INPUT, self._value(v)) for v in graph.inputs),
            *(bytes_field(fields.GRAPH_OUTPUT, self._value(v)) for v in graph.outputs),
            *(bytes_field(fields.GRAPH_VALUE_INFO, self._value(v)) for v in self._described()),
            self._inner,
            *self._annotations(),
            *_entries(fields.GRAPH_METADATA, graph.metadata_props),
        ]

    def _initializers(self) -> Iterator[bytes]:
        for value in initializers(self._graph):
            if (stored := value.const_value) is not None:
                stored.name = value.name
                yield _tensor(stored)

    def _made(self) -> Iterator[ir.Value]:
        """What nodes make and nobody outside sees."""
        return (v for node in self._graph for v in node.outputs if not v.is_graph_output())

    def _described(self) -> Iterator[ir.Value]:
        """Values with a type, a shape or notes that the inputs and outputs do not describe."""
        inputs = {value.name for value in self._graph.inputs}
        stored = (v for v in initializers(self._graph) if v.name not in inputs)
        for value in chain(stored, self._made()):
            known = value.type is not None or value.shape is not None
            if value.name and (known or value.doc_string or notes(value)):
                yield value

    def _annotations(self) -> Iterator[bytes]:
        """How values are quantised."""
        inputs = (v for v in self._graph.inputs if v.name not in self._graph.initializers)
        for value in chain(inputs, initializers(self._graph), self._made(), self._graph.outputs):
            if found := quantisation(value):
                name = _text(fields.ANNOTATION_NAME, value.name)
                yield bytes_field(
                    fields.GRAPH_ANNOTATION, b"".join([name, *_entries(fields.ANNOTATION_TENSORS, found)])
                )

    def _value(self, value: ir.Value) -> bytes:
        """A ValueInfoProto. A type with its shape is made once for all values that have it."""
        kind, shape = value.type, value.shape
        if type(kind) is not ir.TensorType or shape is None or value.doc_string or notes(value):
            return _bytes(ir.serde.serialize_value(value))
        meant = tuple(map(shape.get_denotation, range(len(shape))))
        key = (int(kind.dtype), kind.denotation, shape.dims, meant)
        if key not in self._types:
            self._types[key] = _bytes(ir.serde.serialize_value(value).type)
        return _text(fields.VALUE_NAME, value.name) + bytes_field(fields.VALUE_TYPE, self._types[key])

    def _node(self, node: ir.Node) -> bytes:
        """A NodeProto."""
        if node.device_configurations:
            import onnx

            message = onnx.NodeProto()
            ir.serde.serialize_node_into(message, node, model_ir_version=self._ir_version)
            return _bytes(message)
        outputs = [value.name for value in node.outputs]
        while outputs and not outputs[-1]:
            outputs.pop()
        return b"".join(
            (
                *(_text(fields.NODE_INPUT, "" if v is None else v.name) for v in node.inputs),
                *(_text(fields.NODE_OUTPUT, name) for name in outputs),
                *_optional(fields.NODE_NAME, node.name),
                _text(fields.NODE_OP_TYPE, node.op_type),
                *(bytes_field(fields.NODE_ATTRIBUTE, self._attribute(a)) for a in node.attributes.values()),
                *_optional(fields.NODE_DOC_STRING, node.doc_string),
                *_optional(fields.NODE_DOMAIN, node.domain),
                *_optional(fields.NODE_OVERLOAD, node.overload),
                *_entries(fields.NODE_METADATA, node.metadata_props),
            )
        )

    def _attribute(self, attribute: ir.Attr) -> bytes:
        """An AttributeProto."""
        if attribute.is_ref():
            return _bytes(ir.serde.serialize_reference_attribute(attribute))
        if attribute.type not in _INTEGERS:
            return _bytes(ir.serde.serialize_attribute(attribute))
        key = (attribute.name, attribute.type, attribute.value, attribute.doc_string)
        if key not in self._attributes:
            self._attributes[key] = _bytes(ir.serde.serialize_attribute(attribute))
        return self._attributes[key]


def _tensor(stored: ir.TensorProtocol) -> bytes:
    """A TensorProto."""
    if type(stored) is tensor.InProto:
        untouched = not notes(stored) and stored.raw.data_type not in _CHECKED
        return _bytes(stored.raw if untouched else ir.serde.serialize_tensor(stored))
    if not isinstance(stored, (ir.Tensor, tensor.Deferred)):
        return _bytes(ir.serde.serialize_tensor(stored))
    return b"".join(
        (
            *(number_field(fields.DIMS, dim) for dim in tensor.dims(stored)),
            number_field(fields.DATA_TYPE, stored.dtype.value),
            *_optional(fields.TENSOR_NAME, stored.name),
            bytes_field(fields.RAW_DATA, stored.tobytes()),
            *_optional(fields.TENSOR_DOC_STRING, stored.doc_string),
            *_entries(fields.TENSOR_METADATA, notes(stored)),
        )
    )


def _bytes(message: Any) -> bytes:
    return message.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _text(number: int, text: str | None) -> bytes:
    """A whole field of text."""
    if text is None:
        raise TypeError("a name is missing")
    return bytes_field(number, text.encode())


def _optional(number: int, text: str | None) -> tuple[bytes, ...]:
    """The field, if there is something to say."""
    return (_text(number, text),) if text else ()


def _entries(number: int, entries: Mapping[str, str]) -> Iterator[bytes]:
    """A field for each key and its value."""
    for key in sorted(entries):
        yield bytes_field(number, _text(fields.KEY, key) + _text(fields.VALUE, entries[key]))
