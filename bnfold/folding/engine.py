"""Fold a model: every affine node whose map its neighbours can hold exactly.

    for each graph (main, bodies, functions), for each affine node in graph order:
        push its map backward; else forward; else, where only a scale can go, leave the Add of its shift
    until nothing changes; then give the linear operators their weights and drop what nobody reads

The caller's model is never touched: everything happens on a clone. The order is that of the graph's levels
and names, not of the file.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from ..inference import Shapes
from ..ir.foreign_types import cloned
from ..ir.functions import Identifier, inline
from ..ir.graph import GraphLike, graphs, ir, is_op, label, opset, sole, source_text, uncollected
from ..ir.provenance import BAKED_KEY, DECODING_KEY, FOLDED_KEY, SOURCE_KEY
from ..operators.table import OPERATORS
from ..results.kept_reasons import CODES
from ..results.options import FoldOptions
from ..results.plan import Kept, Plan
from . import branches, functions, fused, leftovers, own_format, recognise, unused
from .backward import backward, held_behind
from .edit import Editor, check_images
from .fed import fed_values
from .fold_record import Record
from .forward import forward
from .gemm import take_bias
from .linear import Linear
from .linear_operators import as_linear
from .order import canonical_order
from .push import FoldContext, Hold, Push
from .reasons import Refused
from .recognise import Reading
from .weight_ranges import check_constant
from .weights import copied, rewrite

if TYPE_CHECKING:
    from ..results.pair import Pair

BROADCASTING = 7  # the opset from which Add and Mul broadcast by themselves, so that we may insert one
_ROUNDS = 20  # passes over what is left; one or two are the rule
# Refusals of the forward push that say more than what the backward push met.
# What may stand between a batch norm and what takes its scale, if its shift stays as an Add.
_LIGHT = {"Add", "Sub", "MatMul", "Einsum", "Neg", "Cast", "CastLike"}
_TELLING = {"kept.padding-with-shift", "kept.ill-conditioned", "kept.would-add-nodes", "kept.overflow"}


@uncollected()
@np.errstate(
    over="ignore", invalid="ignore", divide="ignore"
)  # what is not finite is looked for where it matters, and refused there
def fold(
    model: ir.Model, options: FoldOptions | None = None, in_place: bool = False, pair: Pair | None = None
) -> tuple[ir.Model, Plan]:
    """A folded clone of the model, and the plan: every affine node with its verdict. With `in_place`, who
    calls has no more need of the model: it may be the one that is folded, which saves the time and memory of
    a second graph. With `pair` nothing is folded that the model's own format could not hold.

    Raises Malformed where a batch norm contradicts its input (exit 3)."""
    options = options or FoldOptions()
    if pair is not None:
        return _fold_for_pair(model, options, pair)
    copy = (
        model if in_place and not model.functions else cloned(model)
    )  # functions may be put in place, and all begins anew
    engine = Engine(copy, options)
    plan = engine.run()
    chosen = set[Identifier]()
    while copy.functions and (more := functions.stopping(copy, engine.stopped(functions.STOPPED)) - chosen):
        chosen |= more  # what is in its place may stop at the next
        inlined = cloned(model)
        inline(inlined, chosen)
        engine = Engine(inlined, options)
        again = engine.run()
        if _left(again) >= _left(plan):
            break
        copy, plan = inlined, again
    return copy, plan


def _left(plan: Plan) -> tuple[int, int]:
    """How many batch norms stay, and how many affine nodes of any kind."""
    return sum(kept.op == "BatchNormalization" for kept in plan.kept), len(plan.kept)


def _fold_for_pair(model: ir.Model, options: FoldOptions, pair: Pair) -> tuple[ir.Model, Plan]:
    """The fold that a pair of files can hold. What a layer can hold only if others join in is known when all
    is done: then it begins anew without what has shown itself to be impossible."""
    options = replace(options, **own_format.NOT_FOR_PAIRS)
    refused: dict[str, str] = {}
    while True:
        copy = cloned(model)
        plan = Engine(copy, options, own_format.OwnFormat(pair, refused)).run()
        found = own_format.impossible(model, copy, plan, pair)
        if not found:
            return copy, plan
        refused |= found


class Engine:
    """The fold of one model, which belongs to the engine."""

    def __init__(
        self, model: ir.Model, options: FoldOptions, target: own_format.OwnFormat | None = None
    ) -> None:
        self.model = model
        self.options = options
        self.target = target
        self.shapes = Shapes(model, options.freeze_initializers)
        self.editor = Editor(model, self.shapes)
        self.linears: dict[ir.Node, Linear | Refused | None] = {}
        self.records: list[Record] = []
        self.kept: dict[ir.Node, Kept] = {}
        self.places: dict[ir.Node, int] = {}
        self.merged: list[str] = []
        self.fresh: list[ir.Node] = []
        self.fused: dict[ir.Node, fused.Pattern] = {}

    def run(self) -> Plan:
        """Fold every graph; returns the plan."""
        if not self.options.fold_patterns:
            for graph in graphs(self.model):
                self.fused.update(fused.inside(graph, self.shapes))
        self._fold_graphs()
        if self.options.simplify_leftovers and opset(self.model) >= BROADCASTING:
            while self._simplify():  # a row of leftovers may pass as one where each alone could not
                self._fold_graphs()
        elif baked := self._baked_rows():
            self._simplify(baked)
        for linear in list(self.linears.values()):
            if isinstance(linear, Linear) and linear.touched and linear.node.graph is not None:
                rewrite(linear, self.editor, self.shapes)
                self._take_bias(linear)
                _remember(linear)
        unused.drop_unread(self.model, self.editor.replaced)
        return self._plan()

    def _take_bias(self, linear: Linear) -> None:
        """Let a product that was rewritten take the constant row behind it, as a Gemm."""
        add = take_bias(
            linear, self.editor, self.shapes, lambda node: self._requested(label(node)) is not None
        )
        if add is not None:
            linear.held.append(label(add))
            self.merged.append(label(add))
            self.kept.pop(add, None)

    def stopped(self, codes: set[str]) -> dict[ir.Node, str]:
        """Nodes that stay for one of these reasons, each with the code of its own."""
        return {node: kept.code for node, kept in self.kept.items() if kept.code in codes}

    def _fold_graphs(self) -> None:
        """Every graph; again, as long as what one graph became may be of use to another."""
        for _ in range(_ROUNDS):
            changed = [self._fold_graph(graph) for graph in list(graphs(self.model))]
            if len(changed) == 1 or not any(changed):
                break

    def _context(self, order: dict[ir.Node, float]) -> FoldContext:
        return FoldContext(
            self.model, self.shapes, self._linear, self._reading, order, self.options.fold_into_half
        )

    def _fold_graph(self, graph: GraphLike) -> bool:
        """What stays is tried again until nothing changes, the last time without anything that was found
        impossible before: it may have become possible. True: something changed."""
        order = canonical_order(graph)
        context = self._context(order)
        for node in graph:
            self.places.setdefault(node, len(self.places))
        waiting = sorted((n for n in order if is_op(n, *recognise.READERS)), key=order.__getitem__)
        batch_norms = (node for node in waiting if is_op(node, "BatchNormalization"))
        self.shapes.constants.read_together(value for node in batch_norms for value in node.inputs[1:5])
        changed = stale = False
        for _ in range(_ROUNDS):
            left = [node for node in waiting if node.graph is not None and not self._try(context, node)]
            merged = self.options.merge_branches and self._merge_branches(graph, context)
            if len(left) == len(waiting) and not merged and not self.fresh:
                if not stale:
                    break
                context, stale = self._context(order), False
                self._forget_refusals()
                continue
            changed = stale = True
            waiting = [node for node in left if node.graph is not None] + self.fresh
            self.fresh = []
        return changed

    def _forget_refusals(self) -> None:
        """Ask again what is a constant, and what is linear."""
        self.shapes.constants.reconsider()
        self.linears = {node: found for node, found in self.linears.items() if isinstance(found, Linear)}

    def _merge_branches(self, graph: GraphLike, context: FoldContext) -> bool:
        """Merge parallel branches whose batch norms nothing else can hold. True: something was merged."""
        found = False
        for merge in branches.find(graph, context):
            gone = [node for branch in merge.branches for node in branch.nodes if branch.linear is None]
            names = [label(node) for node in (*gone, *merge.sums)]
            if not branches.mergeable(merge, self.shapes) or any(self._requested(name) for name in names):
                continue
            for node in gone:
                reading = self._reading(node)
                if reading is None:  # the pooling of a branch
                    self.merged.append(label(node))
                    continue
                self._record(node, reading, Push("merged", [Hold(merge.host, reading.map)], via=["Add"]))
                self.kept.pop(node, None)
            branches.merge_into_host(merge, self.editor)
            context.runs.clear()
            for node in merge.sums:
                if node.graph is None:
                    self.kept.pop(node, None)
                    self.merged.append(label(node))
                    merge.host.held.append(label(node))
            found = True
        return found

    def _baked_rows(self) -> set[ir.Node]:
        """Baked preprocessing that stays, and the affine nodes that it stands in a row with: the user put
        the one in front of the other, and one node does for both."""
        found: set[ir.Node] = set()
        for node in self.model.graph if opset(self.model) >= BROADCASTING else ():
            if BAKED_KEY not in node.metadata_props or not is_op(node, *recognise.READERS):
                continue
            at: ir.Node | None = node
            while at is not None and at not in found and is_op(at, *recognise.READERS):
                found.add(at)
                uses = list(at.outputs[0].uses())
                at = uses[0].node if len(uses) == 1 and not at.outputs[0].is_graph_output() else None
        return found

    def _simplify(self, only: set[ir.Node] | None = None) -> bool:
        """Bring what stays to its cheapest form (`only` these nodes); a node that vanishes by it is no longer
        kept, and not folded into another either. True: something vanished."""
        before = len(self.merged)

        def stays(node: ir.Node) -> bool:
            return self._requested(label(node)) is not None or (only is not None and node not in only)

        for graph in list(graphs(self.model)):
            names = leftovers.simplify(graph, self.editor, self._reading, stays)
            self.merged.extend(names)
        self.kept = {node: kept for node, kept in self.kept.items() if node.graph is not None}
        return len(self.merged) > before

    def _try(self, context: FoldContext, node: ir.Node) -> bool:
        """Fold one node if it can be; remember why not. True: it is gone."""
        name = label(node)
        try:
            reading = self._reading(node)
            if reading is None:
                return False
            if refusal := self._requested(name):
                raise refusal.again()
            self._fold(context, node, reading)
        except Refused as refused:
            if not self._is_bias(node):
                self.kept[node] = Kept(name, node.op_type, source_text(node), refused.code, refused.words)
            return False
        self.kept.pop(node, None)
        return True

    def _is_bias(self, node: ir.Node) -> bool:
        """The Add of a constant right behind a MatMul or Einsum is that operator's bias: nothing that could
        be folded further."""
        x = next(
            (
                v
                for v in node.inputs
                if v is not None and v.producer() is not None and self.shapes.constants.tensor(v) is None
            ),
            None,
        )
        producer = x.producer() if x is not None else None
        if producer is None or not is_op(node, "Add", "Sub"):
            return False
        linear = self._sound_linear(producer)
        return linear is not None and linear.bias is None

    def _requested(self, name: str) -> Refused | None:
        """Did the user, or verification, say that this node stays?"""
        if self._kept_by_user(name):
            return Refused("kept.requested")
        if self.target is not None and (why := self.target.refused.get(name)):
            return Refused("kept.format", why)
        for withdrawn, reason in self.options.withdrawn:
            if withdrawn == name:
                return Refused("kept.withdrawn", reason or CODES["kept.withdrawn"])
        return None

    def _kept_by_user(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.options.keep)

    def _fold(self, context: FoldContext, node: ir.Node, reading: Reading) -> None:
        if self.options.duplicate_producers:
            self._duplicate(context, node, reading)
        try:
            plan = self._held(backward(context, node, reading), node)
        except Refused as behind:
            try:
                plan = self._held(forward(context, node, reading), node)
            except Refused as ahead:
                if BAKED_KEY in node.metadata_props:  # nothing but an input stands behind it
                    raise
                if (
                    self.target is None
                    and behind.code == "kept.shift-does-not-pass"
                    and self._leave_add(context, node, reading)
                ):
                    return
                raise _joined(self._priced(behind, node, reading), ahead) from None
        self._record(node, reading, plan)
        self.editor.apply(plan, node, reading)
        context.runs.clear()
        self._place_inserted(context)

    def _held(self, plan: Push, node: ir.Node) -> Push:
        """The push, if the types of constants and the format that is written can hold what it makes. Raises
        Refused."""
        check_images(plan, self.shapes)
        if self.target is not None:
            self.target.check(plan, node)
        return plan

    def _priced(self, refused: Refused, node: ir.Node, reading: Reading) -> Refused:
        """Where only another reader stands in the way, say what computing the producer twice would cost."""
        x = node.inputs[reading.data]
        producer = x.producer() if x is not None else None
        if refused.code not in ("kept.multiple-consumers", "kept.graph-output") or producer is None:
            return refused
        product, _ = self._product_of(producer)
        linear = self._sound_linear(product)
        if linear is None or linear.forward_only or linear.quantized is not None:
            return refused
        cost = (
            f"{product.op_type} '{label(product)}' would be computed twice, "
            f"{math.prod(linear.view):,} weights more"
        )
        return Refused(refused.code, f"{refused.words} (--duplicate-producers: {cost})")

    def _duplicate(self, context: FoldContext, node: ir.Node, reading: Reading) -> None:
        """Give the node a producer of its own, where a linear operator before it has other readers too. The
        Add of a constant behind a product without a bias goes with it."""
        x = node.inputs[reading.data]
        producer = x.producer() if x is not None else None
        if x is None or producer is None or producer.graph is not node.graph or sole(x):
            return
        product, bias = self._product_of(producer)
        try:
            linear = self._linear(product)
            if linear is None or linear.quantized is not None:  # both would read the one scale
                return
            if linear.node.graph is not node.graph:
                return
            held_behind(linear, reading.map if bias is None else reading.map.scale_only(), self.shapes)
        except Refused:
            return
        reader, index = node, reading.data
        if bias is not None:
            reader, index = self.editor.twin(producer, node, reading.data), bias.data
        twin = self.editor.twin(linear.node, reader, index)
        self.linears[twin] = replace(linear, node=twin, held=list(linear.held))
        context.runs.clear()
        self._place_inserted(context)

    def _product_of(self, node: ir.Node) -> tuple[ir.Node, Reading | None]:
        """The product before an Add of a constant that stands for its bias, and the reading of that Add; any
        other node as it is."""
        try:
            bias = self._reading(node) if self._is_bias(node) else None
        except Refused:
            bias = None
        return (node, None) if bias is None else (_known_producer(node.inputs[bias.data]), bias)

    def _leave_add(self, context: FoldContext, node: ir.Node, reading: Reading) -> bool:
        """A batch norm whose scale can be held but not its shift becomes one Add."""
        if (
            not is_op(node, "BatchNormalization")
            or not reading.map.scales
            or opset(self.model, node.graph) < BROADCASTING
        ):
            return False
        try:
            plan = self._held(backward(context, node, reading, reading.map.scale_only()), node)
            dtype = self.editor.added_dtype(plan, node, reading)
            check_constant(reading.map.shift, dtype, "its shift as the constant of an Add")
        except Refused:
            return False
        # Only where nothing but rearranging, adding, turning, converting and multiplying by a matrix stands
        # between it and what took its scale.
        if any(not OPERATORS[via].view and via not in _LIGHT for via in plan.via):
            return False
        self._record(node, reading, plan)
        self.editor.to_add(plan, node, reading)
        context.runs.clear()
        self._place_inserted(context)
        return True

    def _place_inserted(self, context: FoldContext) -> None:
        """Nodes that an edit added stand beside another in graph order."""
        while self.editor.inserted:
            added, beside = self.editor.inserted.pop()
            context.order[added], self.places[added] = context.order[beside] + 0.5, self.places[beside]
            self.fresh.append(added)

    def _record(self, node: ir.Node, reading: Reading, plan: Push) -> None:
        record = Record(self.places[node], label(node), node.op_type, source_text(node), reading, plan)
        for hold in plan.holds:
            hold.linear.held.append(record.node)
        self.records.append(record)

    def _linear(self, node: ir.Node) -> Linear | None:
        if node not in self.linears:
            try:
                self.linears[node] = as_linear(node, self.shapes)
            except Refused as refused:
                self.linears[node] = refused.again()
            if self.linears[node] is not None and self._kept_by_user(label(node)):
                self.linears[node] = Refused(
                    "kept.requested", f"you asked to keep {node.op_type} '{label(node)}', which would hold it"
                )
        found = self.linears[node]
        if isinstance(found, Refused):
            raise found.again()
        return found

    def _sound_linear(self, node: ir.Node) -> Linear | None:
        """The node as a linear operator that can hold maps, or None."""
        try:
            return self._linear(node)
        except Refused:
            return None

    def _reading(self, node: ir.Node) -> Reading | None:
        pattern = self.fused.get(node)
        try:
            reading = recognise.read(node, self.shapes, self.model)
        except Refused:
            if pattern is None:
                raise
        else:
            if reading is None or pattern is None:
                return reading
        raise Refused(
            "kept.pattern",
            f"it is a part of {pattern.name}, which runtimes compute as one operator (--fold-patterns)",
        )

    def _plan(self) -> Plan:
        folded = [r.folded() for r in sorted(self.records, key=lambda r: r.place)]
        fed = fed_values(self.model) if self.kept else set()
        users = [n for n in self.kept if _is_users(n, fed)]
        kept = [self.kept[n] for n in sorted(users, key=lambda n: self.places[n])]
        return Plan(tuple(folded), tuple(kept), merged=tuple(self.merged), copied=tuple(copied(self.editor)))


def _is_users(node: ir.Node, fed: set[ir.Value]) -> bool:
    """A batch norm, or an affine node that the user's network has on its data: none that a weight is computed
    by, and none by which a reader decodes detections."""
    if is_op(node, "BatchNormalization"):
        return True
    return DECODING_KEY not in node.meta and any(value in fed for value in node.inputs)


def _known_producer(value: ir.Value | None) -> ir.Node:
    assert value is not None
    producer = value.producer()
    assert producer is not None
    return producer


def _joined(behind: Refused, ahead: Refused) -> Refused:
    if ahead.code in _TELLING:
        return Refused(ahead.code, ahead.words)
    return Refused(behind.code, behind.words)


def _remember(linear: Linear) -> None:
    """What was folded into the node, and where it came from, travel with it."""
    node = linear.node
    before = node.metadata_props.get(FOLDED_KEY)
    node.metadata_props[FOLDED_KEY] = ", ".join(
        ([before] if before else []) + list(dict.fromkeys(linear.held))
    )
    if source := source_text(node):
        node.metadata_props.setdefault(SOURCE_KEY, source)
