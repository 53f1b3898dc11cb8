"""What could not be folded, brought to its cheapest exact form (`--simplify-leftovers`).

    a map that changes nothing vanishes
    affine nodes in a row become one:  a scale alone is one Mul, a shift alone one Add, both one
                                       BatchNormalization where one of them was one (its mean and variance
                                       stay, γ and β take the rest), else one Mul and one Add

A lone batch norm stays one: runtimes compute it in one pass, and a Mul and an Add in two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.graph import GraphLike, attribute, folded_name, ir, is_op, label, set_input, sole, usages
from ..records import dataclass
from .affine import Affine, Float, trimmed
from .edit import Editor, readers_instead
from .reasons import Refused
from .recognise import Reading
from .weight_ranges import fits


@dataclass
class Row:
    """Affine nodes, each the only reader of the one before, and what they do together."""

    nodes: list[ir.Node]
    readings: list[Reading]
    map: Affine

    @property
    def x(self) -> ir.Value:
        """What the first one reads."""
        value = self.nodes[0].inputs[self.readings[0].data]
        assert value is not None
        return value

    @property
    def y(self) -> ir.Value:
        """What the last one makes."""
        return self.nodes[-1].outputs[0]


def simplify(
    graph: GraphLike,
    editor: Editor,
    reading: Callable[[ir.Node], Reading | None],
    stays: Callable[[ir.Node], bool],
) -> list[str]:
    """Simplify what is left in a graph; returns the names of nodes that are gone."""
    gone: list[str] = []
    seen: set[ir.Node] = set()
    for node in list(graph):
        if node in seen or (row := _row_from(node, reading, stays)) is None:
            continue
        seen.update(row.nodes)
        names = {n: label(n) for n in row.nodes}
        if _without_effect(row):
            _vanish(row, editor)
        else:
            _as_one(row, editor)
        gone.extend(name for n, name in names.items() if n.graph is None)
    return gone


def _row_from(
    node: ir.Node, reading: Callable[[ir.Node], Reading | None], stays: Callable[[ir.Node], bool]
) -> Row | None:
    """The longest row that begins with this node, if it begins one. What stands before it was asked first."""
    first = _read(node, reading, stays)
    if first is None:
        return None
    row = Row([node], [first], first.map)
    while sole(row.y):
        following, index = next(iter(usages(row.y)))
        found = _read(following, reading, stays) if following.graph is node.graph else None
        if found is None or found.data != index or not found.map.meets(row.map.scale):
            break
        row.nodes.append(following)
        row.readings.append(found)
        row.map = found.map @ row.map
    return row


def _read(
    node: ir.Node, reading: Callable[[ir.Node], Reading | None], stays: Callable[[ir.Node], bool]
) -> Reading | None:
    try:
        return None if stays(node) else reading(node)
    except Refused:
        return None


def _without_effect(row: Row) -> bool:
    """Nothing changes, and the value may go: it is no graph output that a graph input, or another output,
    would have to be."""
    free = not row.y.is_graph_output() or (sole(row.x) and row.x.producer() is not None)
    return free and not row.map.scales and not row.map.shifts


def _vanish(row: Row, editor: Editor) -> None:
    readers_instead(row.y, row.x)
    if row.y.is_graph_output():
        editor.replace_value(row.y, row.x)
    for node in reversed(row.nodes):
        editor.drop(node)


def _as_one(row: Row, editor: Editor) -> None:
    """Rewrite a row of several nodes as fewer, where that is possible: as one batch norm where that can hold
    its map, else as a Mul, an Add or both."""
    steps = int(row.map.scales) + int(row.map.shifts)
    if len(row.nodes) == 1 or steps == 0:
        return
    dtype = editor.shapes.dtype(row.y) or editor.shapes.dtype(row.x)
    if (steps == 2 or dtype is None) and _one_norm(row, editor):
        return
    if dtype is None or steps == len(row.nodes):  # a constant of another type makes no valid node
        return
    if not (fits(row.map.scale, dtype, factor=True) and fits(row.map.shift, dtype)):
        return
    x = row.x
    if row.map.scales:
        x = _step(row, "Mul", x, row.map.scale, dtype, editor)
    if row.map.shifts:
        x = _step(row, "Add", x, row.map.shift, dtype, editor)
    editor.replace_value(row.y, x)
    for node in reversed(row.nodes):
        editor.drop(node)


def _step(row: Row, op: str, x: ir.Value, values: Float, dtype: ir.DataType, editor: Editor) -> ir.Value:
    wish = f"{row.y.name}/{'scale' if op == 'Mul' else 'shift'}"
    constant = editor.constant(row.nodes[-1].graph, wish, trimmed(values), dtype, row.nodes[-1])
    node = ir.node(op, [x, constant], name=editor.names.node(f"{label(row.nodes[-1])}/{op.lower()}"))
    graph = row.nodes[-1].graph
    assert graph is not None
    graph.insert_before(row.nodes[-1], node)
    node.outputs[0].name = editor.names.value(f"{row.y.name}/{op.lower()}")
    editor.shapes.put(node.outputs[0], editor.shapes.of(row.y))
    return node.outputs[0]


def _one_norm(row: Row, editor: Editor) -> bool:
    """γ' = s·√(σ² + ε) and β' = t + s·μ with the μ, σ² and ε of the first batch norm of the row. False: there
    is none, or the map varies along another axis than the channels."""
    norm = next((node for node in row.nodes if is_op(node, "BatchNormalization")), None)
    if norm is None:
        return False
    mean, variance = (editor.shapes.constants.array(norm.inputs[k]) for k in (3, 4))
    assert mean is not None and variance is not None
    vector = row.map.compact().along(1 if row.map.rank > 1 else 0, mean.size)
    if vector is None:
        return False
    epsilon = float(np.float32(attribute(norm, "epsilon", 1e-5)))
    gamma = vector.scale * np.sqrt(variance + epsilon)
    beta = vector.shift + vector.scale * mean
    types = [stored.dtype for value in norm.inputs[1:3] if (stored := editor.shapes.constants.tensor(value))]
    if not (fits(gamma, types[0], factor=True) and fits(beta, types[1])):
        return False
    for index, values in ((1, gamma), (2, beta)):
        old = norm.inputs[index]
        assert old is not None
        stored = editor.shapes.constants.tensor(old)
        assert stored is not None
        set_input(norm, index, editor.constant(norm.graph, folded_name(old.name), values, stored.dtype, norm))
        editor.replaced.append(old)
    set_input(norm, 0, row.x)
    y = norm.outputs[0]
    if y is not row.y:
        editor.replace_value(row.y, y)
    for node in reversed(row.nodes):
        if node is not norm:
            editor.drop(node)
    return True
