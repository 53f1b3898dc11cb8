"""Does a node fit its operator? How many inputs and outputs it has, which of them must be there, of which
type its attributes are.

The rules are ONNX's own schemas, for the version of the operator set that the scope imports; an operator that
came only later is taken for what it was then, as some exporters write it. Where the scope imports a version
that the installed onnx does not know yet, an operator is what it was last, as long as it has nothing besides:
what an input, an output or an attribute more means nobody here can say. Operators without a schema (other
domains, functions of the model) are not judged. Any reader behind the door may then take a Conv to have a
weight, and `group` to be a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ...errors import Malformed, Unsupported
from ...records import dataclass

_UNBOUNDED = (1 << 31) - 1  # how a schema says "any number"
_TYPE_NUMBERS = (
    "to",
    "dtype",
    "output_dtype",
    "output_datatype",
    "stash_type",
)  # attributes whose number is an element type


@dataclass(frozen=True)
class _Rules:
    """What a schema asks, and whether one that is not known here may allow more (`newer`): (fewest, most)
    inputs and outputs, the inputs that must have a name (`named`, and all from `listed` on: the operands of a
    Concat or Sum), how many outputs must (the first ones), attribute name -> type, in this version or, where
    that has none of the name, in the last one, the attributes that must be there."""

    newer: bool
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    named: tuple[int, ...]
    listed: int
    made: int
    types: Mapping[str, int]
    required: tuple[str, ...]


@cache
def _rules(op_type: str, domain: str, version: int) -> _Rules | None:
    import onnx

    last = max(version, onnx.defs.onnx_opset_version()) if domain == "" else version
    known = next((v for v in range(version, last + 1) if onnx.defs.has(op_type, v, domain)), None)
    if known is None:
        return None
    schema = onnx.defs.get_schema(op_type, known, domain)
    latest = onnx.defs.get_schema(op_type, last, domain)
    optional = onnx.defs.OpSchema.FormalParameterOption
    return _Rules(
        newer=domain == "" and version > onnx.defs.onnx_opset_version(),
        inputs=(schema.min_input, schema.max_input),
        outputs=(schema.min_output, schema.max_output),
        named=tuple(i for i, formal in enumerate(schema.inputs) if formal.option == optional.Single),
        listed=next(
            (i for i, formal in enumerate(schema.inputs) if formal.option == optional.Variadic), _UNBOUNDED
        ),
        made=sum(formal.option == optional.Single for formal in schema.outputs),
        types={
            name: int(attribute.type.value)  # type: ignore[attr-defined]
            for name, attribute in [*latest.attributes.items(), *schema.attributes.items()]
        },
        required=tuple(name for name, attribute in schema.attributes.items() if attribute.required),
    )


def check_type(number: int, where: str) -> None:
    """Raise Malformed where a number means no element type. 0 is left to who knows whether one must be
    given."""
    if number not in _types():
        raise Malformed(
            f"{where} has the element type {number}",
            expected=f"a number that ONNX has given to a type, up to {max(_types())}",
        )


def _check_type_name(name: bytes, where: str) -> None:
    """Before opset 6, Cast names its type in words."""
    import onnx

    given = name.decode(errors="replace")
    if given.upper() not in set(onnx.TensorProto.DataType.keys()) - {"UNDEFINED"}:
        raise Malformed(f"{where} is '{given}'", expected="the name of an element type, such as FLOAT")


@cache
def _types() -> frozenset[int]:
    import onnx

    return frozenset(onnx.TensorProto.DataType.values())


def check_node(node: Any, imports: Mapping[str, int]) -> None:
    """Raise Malformed where a node contradicts its operator's schema. `imports`: domain -> version, "" for
    the standard one."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = imports.get(
        domain, 0 if domain else 1
    )  # without an import it is the first version, as in files of IR version 1 and 2
    if not version or (rules := _rules(node.op_type, domain, version)) is None:
        return
    inputs, outputs = node.input, node.output
    for what, count, (fewest, most) in (
        ("inputs", len(inputs), rules.inputs),
        ("outputs", len(outputs), rules.outputs),
    ):
        if rules.newer and count > most:
            raise _unknown(node, f"{count} {what}", version)
        if not fewest <= count <= most:
            wanted = (
                f"{fewest}"
                if fewest == most
                else f"at least {fewest}"
                if most == _UNBOUNDED
                else f"{fewest} to {most}"
            )
            raise Malformed(f"{_name(node)} has {count} {what}", expected=f"{wanted} in opset {version}")
    missing = next(
        (i for i, name in enumerate(inputs) if not name and (i in rules.named or i >= rules.listed)), None
    )
    if missing is not None:
        raise Malformed(
            f"{_name(node)} has no input {missing}", expected="a value, which the operator requires"
        )
    if not all(outputs[: rules.made]):
        raise Malformed(f"{_name(node)} has an output without a name")
    _check_attributes(node, rules, version)
    if not domain and node.op_type in _BODIES:
        _check_bodies(node)


# what a body gives besides the outputs of its node
_BODIES = {"If": 0, "Loop": 1, "Scan": 0}


def _check_bodies(node: Any) -> None:
    """Raise Malformed where a body gives less than its node."""
    wanted = len(node.output) + _BODIES[node.op_type]
    for attribute in node.attribute:
        is_body = attribute.type == type(attribute).GRAPH and not attribute.ref_attr_name
        if is_body and len(attribute.g.output) < wanted:
            raise Malformed(
                f"{_name(node)} has {len(node.output)} outputs, its '{attribute.name}' gives "
                f"{len(attribute.g.output)}",
                expected=f"{wanted} from the body",
            )


def _unknown(node: Any, what: str, version: int) -> Unsupported:
    import onnx

    return Unsupported(
        f"{_name(node)} has {what}, which no {node.op_type} that the installed onnx knows has",
        way_out=f"the model is of opset {version}, and onnx {onnx.__version__} ends at "
        f"{onnx.defs.onnx_opset_version()}: pip install --upgrade onnx",
    )


def _check_attributes(node: Any, rules: _Rules, version: int) -> None:
    given: set[str] = set()
    for attribute in node.attribute:
        wanted = rules.types.get(attribute.name)
        if attribute.name in given:
            raise Malformed(f"{_name(node)} has the attribute '{attribute.name}' twice")
        given.add(attribute.name)
        if rules.newer and wanted is None:
            raise _unknown(node, f"the attribute '{attribute.name}'", version)
        if attribute.name in _TYPE_NUMBERS and wanted == attribute.type == type(attribute).INT:
            check_type(attribute.i, f"attribute '{attribute.name}' of {_name(node)}")
        if attribute.name in _TYPE_NUMBERS and wanted == attribute.type == type(attribute).STRING:
            _check_type_name(attribute.s, f"attribute '{attribute.name}' of {_name(node)}")
        if wanted is not None and attribute.type != wanted:
            kinds = type(attribute).AttributeType
            found = f"attribute '{attribute.name}' of {_name(node)} is of type {kinds.Name(attribute.type)}"
            raise Malformed(found, expected=kinds.Name(wanted))
    missing = next((name for name in rules.required if name not in given), None)
    if missing is not None:
        raise Malformed(
            f"{_name(node)} has no attribute '{missing}'",
            expected="this attribute, which the operator requires",
        )


def _name(node: Any) -> str:
    return f"node '{node.name or next(iter(node.output), '')}' ({node.op_type})"
