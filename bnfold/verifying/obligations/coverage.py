"""What each weight of the reference is known by: a proof that speaks for all nodes that read it, or none."""

from __future__ import annotations

from collections.abc import Iterator

from ...inference.constants import Constants
from ...ir.graph import bodies, graphs, ir


def within(node: ir.Node, model: ir.Model) -> Iterator[ir.Node]:
    """A node, and the nodes of its bodies and of the function that it calls."""
    yield node
    function = model.functions.get(node.op_identifier())
    for graph in [*bodies(node), *([function.graph] if function is not None else [])]:
        for inner in graph:
            yield from within(inner, model)


def cover_constants(model: ir.Model, constants: Constants, covered: set[ir.Node]) -> None:
    """Nodes that compute constants are covered where all that reads their results is."""
    for graph in graphs(model):
        for node in reversed(list(graph)):
            constant = all(constants.tensor(v) is not None and not v.is_graph_output() for v in node.outputs)
            if constant and all(reader in covered for v in node.outputs for reader, _ in v.uses()):
                covered.add(node)


def weights(model: ir.Model, constants: Constants) -> dict[ir.Value, set[ir.Node]]:
    """The float constants that nodes read, with the nodes that read them at run time."""
    found: dict[ir.Value, set[ir.Node]] = {}
    live = _live(model)
    for graph in graphs(model):
        for node in graph:
            if node not in live:
                continue
            for value in node.inputs:
                tensor = constants.stored(value) if value is not None else None
                if tensor is not None and tensor.dtype.is_floating_point() and value is not None:
                    found.setdefault(value, set()).update(_readers(node, constants))
    return {value: readers for value, readers in found.items() if readers}


def _readers(node: ir.Node, constants: Constants) -> set[ir.Node]:
    """The node, or, where it gives constants alone, those that read them at run time."""
    readers, waiting, seen = set[ir.Node](), [node], {node}
    while waiting:
        one = waiting.pop()
        if not all(constants.tensor(v) is not None for v in one.outputs if v.name):
            readers.add(one)
            continue
        users = {user for v in one.outputs for user, _ in v.uses()} - seen
        seen |= users
        waiting.extend(users)
    return readers


def _live(model: ir.Model) -> set[ir.Node]:
    """The nodes that some output depends on; all nodes of bodies and functions count as live with their
    node."""
    live: set[ir.Node] = set()
    waiting = [v.producer() for v in model.graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in live:
            continue
        live.add(node)
        waiting.extend(v.producer() for v in node.inputs if v is not None)
        for body in bodies(node):
            for inner in body:
                waiting.append(inner)
            waiting.extend(v.producer() for v in body.outputs)
        function = model.functions.get(node.op_identifier())
        if function is not None:
            waiting.extend(function.graph)
    return live
