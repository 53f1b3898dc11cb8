"""The door of the ONNX reader: what must not pass in silence, checked on the parsed message before onnx_ir
takes it.

    refused as unsupported   training_info, sparse initializers, sparse attributes: onnx_ir would drop them
    refused as malformed     text that is not UTF-8, a value that two nodes make or that nothing makes,
                             offsets that are no numbers, an element type that there is not, a graph that
                             gives nothing, a node that contradicts its operator (node_schema.py)
    set aside                types that onnx_ir has none for (foreign_types.py)

Scopes are walked with a list of their own, so that no nesting reaches the interpreter's limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import Malformed, Unsupported
from ...ir.foreign_types import is_foreign
from ...ir.graph import STANDARD
from ...records import dataclass
from .functions import bodies, called, check_attributes, check_call, check_functions, identifier, referred
from .node_schema import check_node, check_type

if TYPE_CHECKING:
    import onnx

_DEVICES_IR = 11  # the first with device_configurations; onnx_ir leaves them out of older files
_IMPORTS_IR = 3  # the first in which a model says which version of the operators it means
_MOST = 1 << 58  # elements: numpy counts a size of zero as one
_NEWEST_IR = 32  # anything above is not an IR version but rubbish that happened to parse


@dataclass(frozen=True)
class _Scope:
    """One graph, body or function: its message, its nodes, every name that is known around it, domain ->
    version."""

    message: Any
    nodes: Any
    outer: tuple[frozenset[str], ...]
    imports: Mapping[str, int]
    in_function: bool = False


def check_door(proto: onnx.ModelProto) -> bool:
    """Raise Unsupported or Malformed for what must not pass. True where every node stands behind those that
    it reads."""
    if not proto.HasField("graph") or not 0 < proto.ir_version <= _NEWEST_IR:
        raise Malformed(
            "the file is not an ONNX model: it has no graph or no IR version",
            expected="a file written by an ONNX exporter",
        )
    if proto.training_info:
        raise Unsupported(
            f"the model carries training_info ({len(proto.training_info)})", way_out="export it for inference"
        )
    if not proto.graph.output:
        raise Malformed("the graph has no outputs, so it computes nothing")
    _check_texts(proto, "the model")
    for message in (*proto.opset_import, *proto.metadata_props):
        _check_texts(message, "the model")
    own = {identifier(function): function for function in proto.functions}
    types = _attribute_types(own)
    ordered = True
    for scope in _scopes(proto):
        ordered = ordered and _ordered(scope)
        _check_tensors(scope.message)
        _check_types(scope)
        _check_import(scope, own, proto.ir_version)
        for node in scope.nodes:
            for attribute in node.attribute:
                _check_attribute(node, attribute)
                if attribute.ref_attr_name and not scope.in_function:
                    found = (
                        f"attribute '{attribute.name}' of node '{node.name}' refers to "
                        f"'{attribute.ref_attr_name}' of a function"
                    )
                    raise Malformed(found, expected="a value, since the node is not in a function")
            if (function := own.get(called(node))) is not None:
                check_call(node, function)
                check_attributes(
                    f"node '{node.name}', a call of '{function.name}',", node.attribute, types[called(node)]
                )
            else:
                check_node(node, scope.imports)
    check_functions(own, proto.graph.node)
    return ordered


def _check_import(scope: _Scope, own: Mapping[Any, Any], ir_version: int) -> None:
    """Refuse a standard operator of no version: onnxruntime takes the newest that it knows, or nothing."""
    if "" in scope.imports or ir_version < _IMPORTS_IR:
        return
    found = next((n for n in scope.nodes if n.domain in STANDARD and called(n) not in own), None)
    if found is not None:
        raise Malformed(
            f"node '{found.name}' ({found.op_type}) is a standard operator, and the model imports no version "
            "of these",
            expected="an opset_import for the domain ''",
        )


def _attribute_types(functions: Mapping[Any, Any]) -> dict[Any, dict[str, int]]:
    """The types of the attributes of every function, which its own defaults have."""
    types = {name: referred(function) for name, function in functions.items()}
    for name, function in functions.items():
        check_attributes(f"the function '{function.name}'", function.attribute_proto, types[name])
    return types


def _ordered(scope: _Scope) -> bool:
    """Does every node stand behind the nodes that it, or a body in it, reads?"""
    coming = {name for node in scope.nodes for name in node.output}
    for node in scope.nodes:
        if not coming.isdisjoint(node.input) or any(
            not coming.isdisjoint(_read_inside(body)) for body in bodies(node)
        ):
            return False
        coming.difference_update(node.output)
    return True


def _read_inside(body: Any) -> Iterator[str]:
    """Every name that a body reads, or a body in it; a name that it makes itself is among them."""
    waiting = [body]
    while waiting:
        here = waiting.pop()
        for node in here.node:
            yield from node.input
            waiting += bodies(node)


def _scopes(proto: onnx.ModelProto) -> Iterator[_Scope]:
    """Every scope, checked: a name is made once, and what is read is made somewhere."""
    imports = _imports(proto)
    waiting = [_Scope(proto.graph, proto.graph.node, (), imports)]
    waiting += [
        _Scope(function, function.node, (), _imports(function) or imports, True)
        for function in proto.functions
    ]
    while waiting:
        scope = waiting.pop()
        _check_scope_texts(scope.message)
        made = _made(scope)
        known = (made, *scope.outer)  # not one set: thousands of bodies would each copy the names around them
        for node in scope.nodes:
            inputs = tuple(node.input)
            own = (node.name, node.op_type, node.domain, node.doc_string, node.overload)
            _check_each((*inputs, *node.output, *own), "a node")
            for entry in node.metadata_props:
                _check_texts(entry, "a node")
            if node.device_configurations and proto.ir_version < _DEVICES_IR:
                raise Unsupported(
                    f"node '{node.name}' has device configurations, which IR version "
                    f"{proto.ir_version} does not have",
                    expected=f"IR version {_DEVICES_IR}",
                )
            if not node.op_type:
                raise Malformed(f"node '{node.name}' has no operator")
            missing = next(
                (
                    name
                    for name in inputs
                    if name and name not in made and not any(name in names for names in scope.outer)
                ),
                None,
            )
            if missing is not None:
                raise Malformed(
                    f"node '{node.name}' ({node.op_type}) reads '{missing}', which nothing produces"
                )
            waiting += [
                _Scope(body, body.node, known, scope.imports, scope.in_function) for body in bodies(node)
            ]
        lost = next((name for name in _names(scope.message.output) if not name or name not in made), None)
        if lost is not None:
            raise Malformed(
                f"the graph '{scope.message.name}' has the output '{lost}', which nothing in it produces"
            )
        yield scope


def _made(scope: _Scope) -> frozenset[str]:
    """The names that a scope makes itself, each once; an initializer may be an input as well."""
    made = set(_names(scope.message.input))
    stored = [t.name for t in getattr(scope.message, "initializer", ())]
    stored += [t.values.name for t in getattr(scope.message, "sparse_initializer", ())]
    _check_each((*stored, *made), "a value")
    outputs = [name for node in scope.nodes for name in node.output if name]
    if not all(stored):
        raise Malformed("an initializer has no name, so nothing can read it")
    twice = next(_repeated(stored), None) or next(_repeated([*(made | set(stored)), *outputs]), None)
    if twice is not None:
        raise Malformed(f"two nodes or initializers produce '{twice}'")
    if (again := next(_repeated(_names(scope.message.input)), None)) is not None:
        raise Malformed(f"two inputs of '{scope.message.name}' are named '{again}'")
    return frozenset(made).union(stored, outputs)


def _imports(message: Any) -> dict[str, int]:
    """Domain -> version of the operators that a model or a function uses."""
    found = {
        "" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in message.opset_import
    }
    odd = next(((domain, version) for domain, version in found.items() if not 0 < version < 1 << 31), None)
    if odd is not None:
        raise Malformed(
            f"the model imports version {odd[1]} of the operators of domain '{odd[0] or 'ai.onnx'}'",
            expected="a version of at least 1",
        )
    return found


def _names(values: Iterable[Any]) -> list[str]:
    """The names of a graph's inputs or outputs; a function lists names alone."""
    return [value if isinstance(value, (str, bytes)) else value.name for value in values]  # type: ignore[misc]


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)


def _check_text(text: str | bytes, what: str) -> None:
    if isinstance(text, bytes):
        raise Malformed(f"a text of {what} is not UTF-8 ({text[:40]!r})")


def _check_each(texts: tuple[str | bytes, ...], what: str) -> None:
    if bytes in map(type, texts):  # a node has a dozen
        for text in texts:
            _check_text(text, what)


def _check_texts(message: Any, what: str) -> None:
    """Every text field of one message, not of the messages in it."""
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_STRING:
            for text in value if descriptor.is_repeated else (value,):
                _check_text(text, what)


def _check_scope_texts(scope: Any) -> None:
    """The texts of a graph or function, of its values and of its tensors."""
    _check_texts(scope, "a graph")
    values = () if scope.DESCRIPTOR.name == "FunctionProto" else (*scope.input, *scope.output)
    entries = getattr(scope, "metadata_props", ())
    for message in (*values, *scope.value_info, *entries, *getattr(scope, "opset_import", ())):
        _check_texts(message, "a value")
        for inner in getattr(message, "metadata_props", ()):
            _check_texts(inner, "a value")
    for stored in getattr(scope, "initializer", ()):  # their names are looked at with all others
        _check_text(stored.doc_string, "a value")
        for inner in stored.metadata_props:
            _check_texts(inner, "a value")
    untyped = next(
        (v for v in values if v.type.tensor_type.HasField("shape") and not v.type.tensor_type.elem_type), None
    )
    if untyped is not None:
        raise Malformed(f"'{untyped.name}' has a shape and no element type")
    for value in (*values, *scope.value_info):
        for dim in value.type.tensor_type.shape.dim:
            _check_texts(dim, "a dim")


def _check_types(scope: _Scope) -> None:
    """Maps and opaque types are kept by name (foreign_types.py), and a name is only of one value in the main
    graph."""
    if not scope.outer and not scope.in_function:
        return
    inner = (
        *getattr(scope.message, "value_info", ()),
        *(() if scope.in_function else (*scope.message.input, *scope.message.output)),
    )
    found = next((value.name for value in inner if is_foreign(value)), None)
    if found is not None:
        raise Unsupported(
            f"'{found}' in '{scope.message.name}' is a map or of an opaque type, which would be "
            "lost on writing"
        )


def _check_tensors(graph: Any) -> None:
    if sparse := getattr(graph, "sparse_initializer", ()):
        names = ", ".join(s.values.name for s in sparse[:3])
        raise Unsupported(
            f"sparse initializers ({names}) would be lost on writing", way_out="store them dense"
        )
    for stored in getattr(graph, "initializer", ()):
        _check_tensor(stored)


def _check_tensor(stored: onnx.TensorProto) -> None:
    """Its type is one of ONNX's. Where external data lies is text in the file; offset and length must be
    numbers, and not negative."""
    check_type(stored.data_type, f"tensor '{stored.name}'")
    if 0 in stored.dims and math.prod(max(size, 1) for size in stored.dims) > _MOST:
        raise Malformed(
            f"tensor '{stored.name}' has the dimensions {list(stored.dims)}, which no memory can hold"
        )
    for entry in stored.external_data:
        if entry.key in ("offset", "length") and not (
            entry.value.isascii() and entry.value.isdigit() and len(entry.value) < 20
        ):
            raise Malformed(
                f"the external data of tensor '{stored.name}' has the {entry.key} '{entry.value}'",
                expected="a number of bytes",
            )


# AttributeProto fields by AttributeType, for files older than the type field.
_FIELD_TYPES = {
    "f": 1,
    "i": 2,
    "s": 3,
    "t": 4,
    "g": 5,
    "floats": 6,
    "ints": 7,
    "strings": 8,
    "tensors": 9,
    "graphs": 10,
}
_PLAIN = frozenset(
    (1, 2, 3, 6, 7, 8)
)  # numbers and texts: whatever else such an attribute carries, onnx_ir reads these alone


def _check_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    _check_each((attribute.name, attribute.doc_string, attribute.ref_attr_name), "an attribute")
    if attribute.type in _PLAIN:
        return
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        raise Unsupported(
            f"attribute '{attribute.name}' of node '{node.name or node.op_type}' is a sparse "
            "tensor, which would be lost on writing",
            way_out="store it dense",
        )
    for stored in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
        _check_tensor(stored)
    if attribute.type == 0 and not attribute.ref_attr_name:
        present = {field.name for field, _ in attribute.ListFields()} & set(_FIELD_TYPES)
        attribute.type = _FIELD_TYPES[present.pop()] if len(present) == 1 else 0  # type: ignore[assignment]
    if attribute.type == 0:
        raise Malformed(f"attribute '{attribute.name}' of node '{node.name}' has no type")
