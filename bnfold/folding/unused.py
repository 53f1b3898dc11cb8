"""Dropping what nobody reads: constants that folding replaced, and the constant subgraphs that made them."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.graph import GraphLike, graphs, ir, is_op
from ..operators.table import op


def drop_unread(model: ir.Model, replaced: Iterable[ir.Value]) -> None:
    """Remove replaced constants without readers, their makers, and every unread initializer and Constant node
    of the model."""
    waiting = list(replaced)
    for graph in graphs(model):
        waiting.extend(_constants(graph))
    old = model.ir_version < 4
    replaced_inputs = set(replaced) if old else set()
    while waiting:
        value = waiting.pop()
        if value.uses() or value.is_graph_output():
            continue
        node = value.producer()
        if node is not None:
            waiting.extend(_drop_maker(node))
        elif value.is_initializer() and (not value.is_graph_input() or value in replaced_inputs):
            _drop_initializer(model, value)


def _constants(graph: GraphLike) -> list[ir.Value]:
    return list(graph.initializers.values()) + [
        v for node in graph if is_op(node, "Constant") for v in node.outputs
    ]


def _drop_maker(node: ir.Node) -> list[ir.Value]:
    """A constant's maker goes when nothing it makes is read; its own inputs are looked at next."""
    if node.graph is None or not (op(node).evaluated or is_op(node, "Constant", "DequantizeLinear")):
        return []
    if any(v.uses() or v.is_graph_output() for v in node.outputs):
        return []
    inputs = [v for v in node.inputs if v is not None]
    node.graph.remove(node, safe=True)
    return inputs


def _drop_initializer(model: ir.Model, value: ir.Value) -> None:
    graph = value.graph
    if graph is None or not value.name or value.name not in graph.initializers:
        return
    if value.is_graph_input() and graph is model.graph:
        graph.inputs.remove(value)
    del graph.initializers[value.name]
