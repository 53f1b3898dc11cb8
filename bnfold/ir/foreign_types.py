"""Types of ONNX that onnx_ir has none for, maps and opaque types: set aside when a model is read, put back
when it is written.

They are types of values beside the network (what ZipMap of ai.onnx.ml gives, what a custom operator takes).
No fold touches such a value, so its name is enough to find it again: `model.meta[TYPES_KEY]` maps names of
the main graph to serialised types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import Malformed

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

TYPES_KEY = "bnfold.types"
_ELEMENTS = ("sequence_type", "optional_type")
_FOREIGN = ("map_type", "opaque_type")


def is_foreign(value: onnx.ValueInfoProto) -> bool:
    """Is there a map or an opaque type in the type of this value?"""
    found: Any = value.type
    while (kind := found.WhichOneof("value")) in _ELEMENTS:
        found = getattr(found, kind).elem_type
    return kind in _FOREIGN


def without_foreign_types(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    """The model as onnx_ir can take it, and the types that its main graph has besides. The message given is
    not changed. Raises Malformed for a value that is declared to be a map here and something else there."""
    types = {
        value.name: value.type.SerializeToString() for value in _declared(proto.graph) if is_foreign(value)
    }
    if not types:
        return proto, types
    torn = next(
        (
            v.name
            for v in _declared(proto.graph)
            if types.get(v.name) not in (None, v.type.SerializeToString())
        ),
        None,
    )
    if torn is not None:
        raise Malformed(f"'{torn}' is declared with two types", expected="one")
    plain = type(proto)()
    plain.CopyFrom(proto)
    for value in _declared(plain.graph):
        if value.name in types:
            value.ClearField("type")
    return plain, types


def put_back(graph: onnx.GraphProto, types: Mapping[str, bytes]) -> None:
    """Give the values of a graph their types again; those of values that are not there any more are
    forgotten."""
    there = {value.name for value in _declared(graph)}
    made = {name for node in graph.node for name in node.output}
    for name in types.keys() & made - there:
        graph.value_info.add(name=name)
    for value in _declared(graph):
        if value.name in types:
            value.type.ParseFromString(types[value.name])


def cloned(model: ir.Model) -> ir.Model:
    """A clone that has these types as well."""
    copy = model.clone()
    if TYPES_KEY in model.meta:
        copy.meta[TYPES_KEY] = model.meta[TYPES_KEY]
    return copy


def _declared(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.input, *graph.output, *graph.value_info]
