"""The channels of every value of a model, in one pass in the order of its graphs.

Every operator has a row (rules.py): it says which entries its outputs consist of, which must leave together,
which it reads, and how far each may vary. What has no row blocks all channels that reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase

import numpy as np

from ..folding.linear import Linear
from ..inference import Shapes
from ..ir.graph import GraphLike, bodies, function_graphs, graphs, ir, label
from ..records import dataclass
from ..results.stay_reasons import ALIVE
from .groups import Channels, Groups, Ids, Mask, Reason

Masks = Mapping[int, Mask]  # batch norm, by its place in `Trace.nodes` -> channels multiplied by zero
Rule = Callable[["Trace", ir.Node], "list[Channels | None]"]


@dataclass(frozen=True)
class Norm:
    """One batch norm: its channels, its scale, and its place among the nodes of the trace. `constant` are
    channels that it makes constant, as its scale is 0 or its input is one number. `shifts` are Adds behind it
    that hold its shift, as a Scale layer of Caffe does; the Mul before them is in `gamma`."""

    node: ir.Node
    ids: Ids
    gamma: np.ndarray
    constant: Mask
    place: int
    shifts: tuple[ir.Node, ...] = ()


@dataclass(frozen=True)
class Grouped:
    """A grouped convolution: entries of its input and output, one row a group. What is left of every group
    has to be of one size."""

    ins: Ids
    outs: Ids
    words: str


@dataclass
class Trace:
    """What a pass finds. `masks` are channels of batch norms that count as multiplied by zero; `keep` are
    patterns of node names whose channels stay. `doubted` are input channels of linear operators that count as
    varying for what these make: constants that stay. `scaled` has what batch norms give, with their place in
    `norms`; `counts` values, with those that hold how many channels they have; `unseen` batch norms whose
    scale is not known, with how many channels they have and why."""

    model: ir.Model
    shapes: Shapes
    rules: Mapping[str, Rule]
    masks: Masks = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    doubted: Mapping[ir.Node, Mask] = field(default_factory=dict)
    groups: Groups = field(default_factory=Groups)
    channels: dict[ir.Value, Channels] = field(default_factory=dict)
    norms: list[Norm] = field(default_factory=list)
    scaled: dict[ir.Value, int] = field(default_factory=dict)
    linears: dict[ir.Node, tuple[Linear, Channels | None, Channels]] = field(default_factory=dict)
    grouped: list[Grouped] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)
    counts: dict[ir.Value, list[ir.Value]] = field(default_factory=dict)
    unseen: list[tuple[ir.Node, int, Reason]] = field(default_factory=list)

    def run(self) -> Trace:
        """Trace every graph; bodies are met where their node stands."""
        functions = function_graphs(self.model)
        for graph in graphs(self.model):
            if graph is self.model.graph or graph in functions:
                self._walk(graph)
        return self

    def _walk(self, graph: GraphLike) -> None:
        """Node after node; what a node's bodies hold comes before it, and a graph's outputs behind its
        nodes. Without recursion: bodies may be nested in any depth."""
        waiting: list[ir.Node | GraphLike] = [graph, *reversed(graph)]
        entered: set[ir.Node] = set()
        while waiting:
            one = waiting.pop()
            if not isinstance(one, ir.Node):
                self._hold_outputs(one)
            elif (inner := bodies(one)) and one not in entered:
                entered.add(one)
                waiting.append(one)
                for body in reversed(inner):
                    waiting += [body, *reversed(body)]
            else:
                self._visit(one)

    def _hold_outputs(self, graph: GraphLike) -> None:
        for value in graph.outputs:
            if (found := self.channels.get(value)) is not None:
                self.groups.block(found.ids, "stays.graph-output", f"it is part of the output '{value.name}'")

    def _visit(self, node: ir.Node) -> None:
        self.nodes.append(node)
        self._hold_for_bodies(node)
        rule = self.rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        named = all(not a.is_ref() for a in node.attributes.values())
        if rule is None or not named or self.shapes.contradicts(node):
            self.unknown(node)
            return
        for value, found in zip(node.outputs, self._answered(rule, node), strict=False):
            if found is None:
                continue
            self.channels[value] = found
            if any(fnmatchcase(label(node), pattern) for pattern in self.keep):
                self.groups.block(found.ids, "stays.requested", "you asked to keep it")

    def _answered(self, rule: Rule, node: ir.Node) -> Sequence[Channels | None]:
        """What a rule says; where the node's arguments contradict its inputs, so that the rule runs into
        them, as of an operator without one."""
        try:
            return rule(self, node)
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
            return self.unknown(node)

    def _hold_for_bodies(self, node: ir.Node) -> None:
        """What a body reads from outside of it has to stay as it is: nothing could prove the body then."""
        for value in node.inputs:
            found = self.of(value)
            if found is not None and value is not None and value.graph is not node.graph:
                words = f"{node.op_type} '{label(node)}' reads it inside of a body"
                self.groups.block(found.ids, "stays.body", words)

    def of(self, value: ir.Value | None) -> Channels | None:
        """The channels of a value, where they are traced."""
        return None if value is None else self.channels.get(value)

    def unknown(self, node: ir.Node, code: str = "stays.unknown-operator", why: str = "") -> list[None]:
        """No channel that this node reads can leave, and none is traced behind it."""
        why = why or "and it is not known what a missing channel means there"
        for value in node.inputs:
            if (found := self.of(value)) is not None:
                self.groups.block(found.ids, code, f"{node.op_type} '{label(node)}' reads it, {why}")
        return [None] * len(node.outputs)

    def alive(self, ids: Ids) -> None:
        """These entries are read where they vary."""
        self.groups.block(ids, ALIVE)

    def fixed(self, count: int, axis: int, rank: int, code: str, words: str) -> Channels:
        """Entries of what gives every channel: they cannot leave, and may be anything."""
        ids = self.groups.fresh(count)
        self.groups.block(ids, code, words)
        return varying(axis, rank, ids)


def varying(axis: int, rank: int, ids: Ids) -> Channels:
    """Channels of which nothing is known."""
    return Channels(axis, rank, ids, np.full(len(ids), -np.inf), np.full(len(ids), np.inf))
