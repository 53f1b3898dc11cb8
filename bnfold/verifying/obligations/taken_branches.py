"""An If whose condition is a constant is the branch that it takes: optimisers write the branch in its place,
and the other branch means nothing.

What is constant is said by the same rules that a fold rests on (inference/constants.py): a Constant node, an
initializer that no caller may override, arithmetic of sizes that are known.
"""

from __future__ import annotations

from ...inference import Shapes
from ...inference.constants import Constants
from ...ir.foreign_types import cloned
from ...ir.graph import ir, is_op, nodes


def without_constant_ifs(model: ir.Model, freeze_initializers: bool = False) -> ir.Model:
    """The model with the branch that is taken in the place of each If whose condition is a constant; itself
    where it has no such If."""
    copy: ir.Model | None = None
    while found := _taken(copy or model, freeze_initializers):
        if copy is None:
            copy = cloned(model)
            found = _taken(copy, freeze_initializers)
        for node, branch in found:
            _put_in_place(node, branch)
    return copy or model


def _taken(model: ir.Model, freeze_initializers: bool) -> list[tuple[ir.Node, ir.Graph]]:
    """Every If whose condition is a constant, with the branch that it takes. What stands in the place of one
    may tell the size that another asks for, so that sizes are derived anew each time."""
    ifs = [node for node in nodes(model) if is_op(node, "If")]
    if not ifs:
        return []
    constants = Shapes(model, freeze_initializers).constants
    return [(node, branch) for node in ifs if (branch := _branch(node, constants)) is not None]


def _branch(node: ir.Node, constants: Constants) -> ir.Graph | None:
    """The branch that an If always takes; None where that is not known."""
    condition = constants.typed(node.inputs[0])
    if condition is None or condition.size != 1:
        return None
    found = node.attributes.get("then_branch" if condition.reshape(()) else "else_branch")
    return None if found is None or found.is_ref() else found.as_graph()


def _put_in_place(node: ir.Node, branch: ir.Graph) -> None:
    """The nodes of a branch in the place of its If. What the branch gives stands for the If's outputs, and a
    copy of it where it is given twice."""
    graph = node.graph
    assert graph is not None
    given = list(branch.outputs)
    branch.outputs.clear()
    added = []
    for value in list(branch.initializers.values()):
        constant = ir.node("Constant", [], {"value": value.const_value})
        constant.outputs[0].name = value.name
        value.replace_all_uses_with(constant.outputs[0])
        given = [constant.outputs[0] if one is value else one for one in given]
        added.append(constant)
    added += list(branch)
    branch.remove(list(branch))
    for place, value in enumerate(given):
        if value in given[:place]:
            copy = ir.node("Identity", [value])
            added.append(copy)
            given[place] = copy.outputs[0]
    named = [(output, value) for output, value in zip(node.outputs, given, strict=False) if output.name]
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], added, [output for output, _ in named], [value for _, value in named]
    )
