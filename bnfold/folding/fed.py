"""Which values depend on what a caller feeds, and not on weights alone."""

from __future__ import annotations

from ..ir.graph import bodies, graphs, ir, is_op, usages
from ..operators.table import op


def fed_values(model: ir.Model) -> set[ir.Value]:
    """Every value that some input without a default reaches, by more than its shape. Whatever a body or
    function is given counts, and so does what a node draws by itself; a weight that a caller may override
    is a weight all the same."""
    found: set[ir.Value] = set()
    waiting: list[ir.Value] = []
    for graph in graphs(model):
        waiting += [v for v in graph.inputs if not v.is_initializer()]
        for node in graph:
            if bodies(node) or op(node).random or not (node.inputs or is_op(node, "Constant")):
                waiting += node.outputs
    while waiting:
        value = waiting.pop()
        if value not in found:
            found.add(value)
            for node, index in usages(value):
                waiting += node.outputs if index not in op(node).metadata else ()
    return found
