"""Dropping what nobody reads: constants that folding replaced, and the constant subgraphs that made them."""

from __future__ import annotations

from collections.abc import Iterable

from ..inference.size_bounds import is_bounded
from ..ir.graph import ir, is_op, remove, usages
from .fed import fed_values


def drop_unread(model: ir.Model, replaced: Iterable[ir.Value]) -> None:
    """Remove replaced constants without readers, and their makers. What nobody read before stays: a caller
    may know what it is for. So does what makes something of data and leads nowhere."""
    waiting = list(replaced)
    fed = fed_values(model) if waiting else set()
    old = model.ir_version < 4
    replaced_inputs = set(replaced) if old else set()
    while waiting:
        value = waiting.pop()
        if usages(value) or value.is_graph_output() or (value in fed and value.producer() is not None):
            continue
        node = value.producer()
        if node is not None:
            waiting.extend(_drop_maker(node))
        elif value.is_initializer() and (not value.is_graph_input() or value in replaced_inputs):
            _drop_initializer(model, value)


def _drop_maker(node: ir.Node) -> list[ir.Value]:
    """A constant's maker goes when nothing it makes is read; its own inputs are looked at next."""
    if node.graph is None or not (is_bounded(node) or is_op(node, "Constant")):
        return []
    if any(usages(v) or v.is_graph_output() for v in node.outputs):
        return []
    inputs = [v for v in node.inputs if v is not None]
    remove(node)
    return inputs


def _drop_initializer(model: ir.Model, value: ir.Value) -> None:
    graph = value.graph
    if graph is None or not value.name or value.name not in graph.initializers:
        return
    if value.is_graph_input() and graph is model.graph:
        graph.inputs.remove(value)
    del graph.initializers[value.name]
