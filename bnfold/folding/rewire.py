"""Taking summands out of a sum. The sum's nodes that lose an operand shrink or vanish, and names keep telling
the truth.

A value of the new sum carries the same numbers as an old one exactly if both cover the same summands, the
host covering all that it took in. Then it takes that one's name; otherwise it gets a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ..ir.graph import ir, is_op
from .branch import Merge
from .edit import Editor

_Cover = Counter[tuple[ir.Value, float]]


def can_rewire(root: ir.Node, sums: list[ir.Node], removed: Collection[ir.Value]) -> bool:
    """May these summands go? Not where a Sub would be left with what it subtracts alone."""
    gone = set(removed)
    for node in reversed(sums):  # inner sums first
        left = [v for v in node.inputs if v not in gone]
        if is_op(node, "Sub") and node.inputs[0] in gone and left:
            return False
        if not left:
            gone.add(node.outputs[0])
    return root.outputs[0] not in gone


def rewire(merge: Merge, editor: Editor) -> None:
    """Take every branch but the host's out of the sum."""
    host, others = merge.branches[0], merge.branches[1:]
    old = _covers(merge.sums)
    names = {_key(cover): node.outputs[0].name for node, cover in old.items()}
    removed = {branch.leaf for branch in others}
    for node in reversed(merge.sums):
        _shrink(node, removed, editor, node is merge.root)
    for node in merge.sums:  # outer before inner, so that a node's reader is gone before it
        if node.outputs[0] in removed:
            editor.drop(node)
    taken = Counter((branch.leaf, branch.sign * host.sign) for branch in others)
    new = {
        node.outputs[0]: cover
        for node, cover in _covers([n for n in merge.sums if n.graph is not None]).items()
    }
    new[host.leaf] = Counter([(host.leaf, 1.0)])
    for value, cover in new.items():
        sign = next((s for leaf, s in cover if leaf is host.leaf), 0.0)
        if sign:
            cover.update({(leaf, s * sign): count for (leaf, s), count in taken.items()})
        _name(value, cover, names, old, editor)


def _covers(sums: list[ir.Node]) -> dict[ir.Node, _Cover]:
    """What each node of a sum adds up: summands with their signs, and how often; inner nodes come later in
    `sums`."""
    inner = {node.outputs[0]: node for node in sums}
    covers: dict[ir.Node, _Cover] = {}
    for node in reversed(sums):
        covers[node] = Counter()
        for index, value in enumerate(node.inputs):
            if value is not None:
                sign = -1.0 if index == 1 and is_op(node, "Sub") else 1.0
                part = covers[inner[value]] if value in inner else Counter([(value, 1.0)])
                covers[node].update({(leaf, s * sign): count for (leaf, s), count in part.items()})
    return covers


def _key(cover: _Cover) -> frozenset[tuple[tuple[ir.Value, float], int]]:
    return frozenset(cover.items())


def _shrink(node: ir.Node, removed: set[ir.Value], editor: Editor, is_root: bool) -> None:
    """Drop a node's removed operands; with one left it is that operand, with none it is removed with its
    reader."""
    left = [v for v in node.inputs if v is not None and v not in removed]
    y = node.outputs[0]
    if len(left) == len(node.inputs):
        return
    if len(left) > 1:  # only Sum has more than two
        for index in range(len(node.inputs)):
            node.replace_input_with(index, left[index] if index < len(left) else None)
        node.resize_inputs(len(left))
        return
    if not left:
        removed.add(y)
        return
    if is_root:
        editor.replace_value(y, left[0])
    else:
        for user, index in list(y.uses()):
            user.replace_input_with(index, left[0])
    editor.drop(node)


def _name(
    value: ir.Value,
    cover: _Cover,
    names: Mapping[Any, str | None],
    old: dict[ir.Node, _Cover],
    editor: Editor,
) -> None:
    """The name of the old value that covered the same, or one that says that it changed."""
    producer = value.producer()
    before = old.get(producer) if producer is not None else None
    if before == cover or value.is_graph_output():
        return
    if (known := names.get(_key(cover))) is not None:
        value.name = known
    else:
        editor.rename(value)
