"""Model-local functions: calls that fit them, no function that calls itself, and no small file that calls its
way to billions of nodes.

Whoever runs a model puts bodies in the place of calls (onnxruntime does, and so in effect does the
interpreter), so a chain of functions of which each calls the next one twice doubles with every link. The
nodes that all calls come to are counted here, without making them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...errors import Malformed, Unsupported

MOST_NODES = 10_000_000  # that calls may come to
_MAY_HOLD_GRAPHS = frozenset(
    (0, 5, 10)
)  # types of attributes: of a graph, of graphs, and none, as in old files
_STANDARD = frozenset(("", "ai.onnx"))
Identifier = tuple[str, str, str]


def identifier(function: Any) -> Identifier:
    """Domain, name and overload of a function."""
    return function.domain, function.name, function.overload


def called(node: Any) -> Identifier:
    """What a node would call, if the model has such a function."""
    return node.domain, node.op_type, node.overload


def bodies(node: Any) -> list[Any]:
    """The graphs in a node's attributes."""
    holding = [a for a in node.attribute if a.type in _MAY_HOLD_GRAPHS]
    return [body for a in holding for body in (*([a.g] if a.HasField("g") else []), *a.graphs)]


def referred(function: Any) -> dict[str, int]:
    """The type of every attribute of a function that its nodes refer to; `check_node` holds those against
    their operators."""
    return {
        attribute.ref_attr_name: attribute.type
        for node in _nodes(function.node)
        for attribute in node.attribute
        if attribute.ref_attr_name
    }


def check_attributes(owner: str, attributes: Iterable[Any], wanted: Mapping[str, int]) -> None:
    """Raise Malformed where a function gets an attribute of another type than its nodes refer to."""
    for attribute in attributes:
        kind = wanted.get(attribute.name, attribute.type)
        if attribute.type != kind:
            kinds = type(attribute).AttributeType
            raise Malformed(
                f"{owner} gives the attribute '{attribute.name}' as {kinds.Name(attribute.type)}",
                expected=f"{kinds.Name(kind)}, as the function uses it",
            )


def check_call(node: Any, function: Any) -> None:
    """Raise Malformed where a call gives or takes more than the function has, Unsupported where the function
    has the name of a standard operator: onnxruntime runs the operator then, others the function."""
    if function.domain in _STANDARD and _is_operator(function.name):
        raise Unsupported(
            f"the model has a function of its own for the standard operator '{function.name}', which node "
            f"'{node.name}' calls; runtimes disagree about which of the two runs",
            way_out="give the function a domain of its own",
        )
    for what, given, known in (
        ("inputs", node.input, function.input),
        ("outputs", node.output, function.output),
    ):
        if len(given) > len(known):
            found = f"node '{node.name}' calls the function '{function.name}' with {len(given)} {what}"
            raise Malformed(found, expected=f"at most {len(known)}")


def _is_operator(name: str) -> bool:
    import onnx

    return bool(onnx.defs.has(name))


def check_functions(functions: Mapping[Identifier, Any], main: Any) -> None:
    """Raise Malformed for a function that comes to call itself, Unsupported where calls come to more than
    MOST_NODES nodes."""
    if not functions:
        return
    calls = {name: [called(node) for node in _nodes(function.node)] for name, function in functions.items()}
    sizes: dict[Identifier, int] = {}
    open_: set[Identifier] = set()
    for start in functions:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            inner = [call for call in calls[name] if call in functions]
            unknown = [] if name in sizes else [call for call in inner if call not in sizes]
            if unknown and name in open_:
                raise Malformed(f"the function '{name[1]}' calls itself, directly or through other functions")
            if unknown:
                open_.add(name)
                waiting += dict.fromkeys(unknown)
                continue
            sizes.setdefault(name, len(calls[name]) + sum(sizes[call] for call in inner))
            waiting.pop()
    total = sum(sizes.get(called(node), 1) for node in _nodes(main))
    if total > MOST_NODES:
        raise Unsupported(
            f"the calls of functions expand to {total:.3g} nodes", expected=f"at most {MOST_NODES:,}"
        )


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes, and those of the bodies in them."""
    waiting = [nodes]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting += [body.node for body in bodies(node)]
