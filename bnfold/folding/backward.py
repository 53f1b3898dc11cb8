"""The backward push: what produces the affine node's data takes its map. See push.py."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import reduce

import numpy as np

from ..inference import Shapes
from ..ir.graph import GraphLike, ir, is_op, label, opset, sole, usages
from . import commute, normalisations
from .affine import Affine, common_shape
from .commute_rule import Choices, CommuteContext
from .contractions import passes
from .linear import Linear, check_bias
from .negation import negated
from .push import FoldContext, Hold, Push, Recast, blind, channels_of, with_choices
from .rearrange import read_in_parts
from .reasons import Refused
from .recognise import Reading, placed
from .weight_ranges import check_constant, check_range

PER_CHANNEL_SCALES = 13  # the opset from which DequantizeLinear takes one scale for each channel


def backward(context: FoldContext, node: ir.Node, reading: Reading, map_: Affine | None = None) -> Push:
    """Push the node's map into what produces its data. Raises Refused."""
    return with_choices(
        lambda choices: _Backward(context, choices).run(node, reading, reading.map if map_ is None else map_)
    )


class _Backward:
    def __init__(self, context: FoldContext, choices: Choices) -> None:
        self.context = context
        self.commuting = CommuteContext(
            context.shapes, context.model, context.linear, choices, context.into_half
        )
        self.push = Push("backward")
        self.maps: dict[ir.Value, Affine] = {}
        # the slices of a value that others read too, each with the map that its output must carry
        self.parts: dict[ir.Value, list[tuple[ir.Node, Affine]]] = {}
        self.edges: set[tuple[ir.Node, int]] = set()
        self.heap: list[tuple[float, int, ir.Node]] = []
        self.queued: set[ir.Node] = set()
        self.steps = 0

    def run(self, node: ir.Node, reading: Reading, map_: Affine) -> Push:
        """Walk the cone in front of the node."""
        self.graph: GraphLike | None = node.graph
        # an Add behind a product is its bias already: a Gemm in its place would win nothing
        self.grow = is_op(node, "BatchNormalization")
        try:
            self._demand(node, reading.data, map_)
            while self.heap:
                producer = heapq.heappop(self.heap)[2]
                for value in producer.outputs:
                    if value in self.parts:
                        self.maps[value] = self._united(value)
                    if value in self.maps:
                        self._check_exclusive(value)
                self._take(producer)
        except Refused:
            self.context.in_vain += self.steps
            raise
        if not self.push.holds and not self.push.recasts:
            raise Refused(
                "kept.no-linear-neighbour",
                "it changes nothing, and nothing holds it (--simplify-leftovers drops it)",
            )
        return self.push

    def _demand(self, node: ir.Node, index: int, map_: Affine) -> None:
        """The value that `node` reads at `index` must become its image."""
        value = node.inputs[index]
        assert value is not None
        if self.context.shapes.constants.tensor(value) is not None:
            self._recast(node, index, map_)
            return
        producer = self._producer(value)
        if value in self.maps and not self.maps[value].equals(map_):
            raise _two_maps(value)
        self.maps.setdefault(value, map_)
        self._reach(node, index, producer)

    def _demand_part(self, node: ir.Node, map_: Affine) -> None:
        """What a slice takes of a value that others read too must become its image. What that asks of the
        value is known when all of its readers were met."""
        value = node.inputs[0]
        assert value is not None
        producer = self._producer(value)
        self.parts.setdefault(value, []).append((node, map_))
        self._reach(node, 0, producer)

    def _producer(self, value: ir.Value) -> ir.Node:
        """What computes a value of run time. Refuses inputs of the graph, and values around it."""
        producer = value.producer()
        if producer is None:
            raise Refused(
                "kept.graph-input",
                f"it works on '{value.name}', an input of the "
                f"{'function' if self._in_function() else 'graph'}",
            )
        if producer.graph is not self.graph:
            raise Refused(
                "kept.no-linear-neighbour", f"'{value.name}' comes from outside the body that it is in"
            )
        return producer

    def _reach(self, node: ir.Node, index: int, producer: ir.Node) -> None:
        """The cone goes on through what `node` reads at `index`."""
        self.edges.add((node, index))
        if producer not in self.queued:
            self.queued.add(producer)
            heapq.heappush(self.heap, (-self.context.order[producer], len(self.queued), producer))

    def _united(self, value: ir.Value) -> Affine:
        """The one map of a value of which every slice in the cone gets what it needs."""
        parts = self.parts[value]
        for map_ in self._candidates(value, parts):
            seen = [self._seen(node, map_) for node, _ in parts]
            if all(a is not None and a.equals(b) for a, (_, b) in zip(seen, parts, strict=True)):
                return map_
        raise _two_maps(value)

    def _candidates(self, value: ir.Value, parts: list[tuple[ir.Node, Affine]]) -> Iterator[Affine]:
        """Maps that may be the one: that of a reader of all of the value; that of the slices, where nobody
        else reads it; or each part as its slice needs it, and the rest as it is."""
        if value in self.maps:
            yield self.maps[value]
            return
        node, map_ = parts[0]
        before, after = (self.context.shapes.of(v) for v in (value, node.outputs[0]))
        uncut = before and after and all(before[axis] == after[axis] for axis in map_.varies())
        if uncut and all(use in self.edges or blind(*use) for use in usages(value)):
            yield map_
        pulled = (commute.back(node, [wanted], self.commuting)[0] for node, wanted in parts)
        yield reduce(_overlaid, (m for m in pulled if m is not None))

    def _seen(self, user: ir.Node, map_: Affine) -> Affine | None:
        """The map of what a reader takes of a value; None where it lets none pass."""
        try:
            return commute.forward(user, [map_, *([None] * (len(user.inputs) - 1))], self.commuting)[0]
        except Refused:
            return None

    def _in_function(self) -> bool:
        return self.context.shapes.in_function(self.graph)

    def _check_exclusive(self, value: ir.Value) -> None:
        if value.is_graph_output():
            raise Refused("kept.graph-output", f"'{value.name}' is also a graph output")
        if len(usages(value)) > commute.MOST_SIDES + len(self.edges):
            raise Refused(
                "kept.multiple-consumers", f"'{value.name}' is also read by {len(usages(value)) - 1:,} others"
            )
        for user, index in usages(value):
            if (
                (user, index) not in self.edges
                and not blind(user, index)
                and not self._reads_elsewhere(user, index, value)
            ):
                raise Refused(
                    "kept.multiple-consumers",
                    f"'{value.name}' is also read by {user.op_type} '{label(user)}'",
                )

    def _reads_elsewhere(self, user: ir.Node, index: int, value: ir.Value) -> bool:
        """Does a reader take only parts of the value that the map leaves as they are (other slices of it)?"""
        if index != 0 or not is_op(user, "Slice", "Gather"):
            return False
        seen = self._seen(user, self.maps[value])
        return seen is not None and not seen.scales and not seen.shifts

    def _take(self, producer: ir.Node) -> None:
        self.steps += 1
        self.context.check_reach(self.steps)
        linear = self.context.linear(producer)
        map_ = self.maps.get(producer.outputs[0])
        if (
            linear is not None
            and map_ is not None
            and not passes(linear, map_, self.context.shapes, behind=True)
        ):
            self.push.holds.append(Hold(linear, held_behind(linear, map_, self.context.shapes, self.grow)))
            self.push.changed.append(producer.outputs[0])
            return
        if (
            map_ is not None
            and (into := normalisations.recasts(producer, map_, self.context.shapes)) is not None
        ):
            self.push.recasts.extend(into)
            self.push.changed.append(producer.outputs[0])
            return
        reading = self._affine(producer)
        if reading is not None:
            self._through_affine(producer, reading)
            return
        outs = [self.maps.get(value) for value in producer.outputs]
        if read_in_parts(producer) and map_ is not None:
            self._demand_part(producer, map_)
        else:
            for index, wanted in enumerate(commute.back(producer, outs, self.commuting)):
                if wanted is not None and (wanted.scales or wanted.shifts):
                    self._demand(producer, index, wanted)
        self.push.changed.extend(v for v in producer.outputs if v in self.maps)
        self.push.via.append(producer.op_type)

    def _affine(self, producer: ir.Node) -> Reading | None:
        try:
            return self.context.reading(producer)
        except Refused as refused:
            raise Refused(
                "kept.non-linear",
                f"{producer.op_type} '{label(producer)}' stands in between and is kept itself: "
                f"{refused.words}",
            ) from refused

    def _through_affine(self, producer: ir.Node, reading: Reading) -> None:
        """An Add or Sub of a constant holds the shift itself and passes the scale on: s·(x + c) + t = s·x +
        (s·c + t)."""
        map_ = self.maps[producer.outputs[0]]
        x = producer.inputs[reading.data]
        assert x is not None
        if not is_op(producer, "Add", "Sub"):
            raise Refused(
                "kept.non-linear",
                f"{producer.op_type} '{label(producer)}' stands in between and could not be folded itself",
            )
        if not map_.scales and not _is_linear_output(self.context, x):
            raise Refused(
                "kept.no-linear-neighbour",
                "it follows another constant, and no linear operator stands before them",
            )
        subtracted = is_op(producer, "Sub") and reading.data == 0
        self._recast(producer, 1 - reading.data, Affine(map_.scale, -map_.shift) if subtracted else map_)
        self.push.changed.append(producer.outputs[0])
        self.push.via.append(producer.op_type)
        if map_.scales:
            self._demand(producer, reading.data, map_.scale_only())

    def _recast(self, node: ir.Node, index: int, map_: Affine) -> None:
        value = node.inputs[index]
        values = self.context.shapes.constants.array(value)
        name = value.name if value else ""
        if values is None:
            raise Refused(
                "kept.no-linear-neighbour", f"the constant '{name}' before it is too large to be rewritten"
            )
        if values.dtype != np.float64:
            raise Refused("kept.type", f"the constant '{name}' before it is {values.dtype}")
        old = opset(self.context.model, node.graph) < 7
        seen = placed(node, values, 1 - index, self.context.shapes.rank(node.outputs[0])) if old else values
        if not map_.meets(seen) or (old and map_(seen).shape != seen.shape):
            raise Refused("kept.wrong-axis", f"the constant '{name}' before it has other axes than its map")
        self.push.recasts.append(Recast(node, index, map_, seen.shape))


def _two_maps(value: ir.Value) -> Refused:
    return Refused("kept.ambiguous-maps", f"'{value.name}' would have to hold two different maps")


def _overlaid(one: Affine, other: Affine) -> Affine:
    """What changes where either map does; the first of them where both do."""
    common_shape(one.scale.shape, other.scale.shape)
    taken = (one.scale != 1) | (one.shift != 0)
    scale, shift = (np.where(taken, *pair) for pair in ((one.scale, other.scale), (one.shift, other.shift)))
    return Affine(scale, shift).compact()


def _is_linear_output(context: FoldContext, value: ir.Value) -> bool:
    producer = value.producer()
    try:
        return producer is not None and len(usages(value)) == 1 and context.linear(producer) is not None
    except Refused:
        return False


def held_behind(linear: Linear, map_: Affine, shapes: Shapes, grow: bool = False) -> Affine:
    """The map as output vectors of a linear operator that can hold it; with `grow`, a product of matrices may
    become a Gemm for that. Raises Refused."""
    node = linear.node
    if linear.forward_only:
        raise Refused("kept.non-linear", f"{node.op_type} stands in between and does not commute with it")
    vector = channels_of(linear, map_, linear.y_axis, linear.outs)
    if linear.grows and grow:
        pass
    elif linear.bias is None:
        if vector.shifts:
            raise Refused(
                "kept.shift-does-not-pass",
                f"{node.op_type} '{label(node)}' has no bias that could hold a shift",
            )
    else:
        check_bias(linear, shapes)
    if linear.quantized is not None:
        _check_quantized(linear, vector, shapes)
    else:
        check_range(linear, vector @ linear.after)
    return vector


def _check_quantized(linear: Linear, vector: Affine, shapes: Shapes) -> None:
    """A quantised weight takes positive factors along its output channels through its scale alone, negative
    ones where its sign can be turned."""
    dequantize, where = (
        linear.quantized,
        f"the quantised weight of {linear.node.op_type} '{label(linear.node)}'",
    )
    assert dequantize is not None
    weight = linear.node.inputs[linear.weight]
    if not sole(dequantize.outputs[0]) or weight is None or not sole(weight):
        raise Refused("kept.quantized-weight", f"{where} is also read by something else")
    if linear.stored_axis is None:
        raise Refused("kept.quantized-weight", f"the output channels do not lie on one axis of {where}")
    if not np.all(vector.scale):
        raise Refused("kept.quantized-weight", f"the scale of {where} would be zero")
    if shapes.opset(dequantize) < PER_CHANNEL_SCALES and vector.varies():
        raise Refused(
            "kept.quantized-weight",
            f"the DequantizeLinear of {where} takes one scale for all channels before opset "
            f"{PER_CHANNEL_SCALES}",
        )
    if linear.quantized_scale is None:
        raise Refused(
            "kept.quantized-weight",
            f"{where} has a scale that is not constant, or that runs along another axis",
        )
    dtype, after = shapes.dtype(dequantize.inputs[1]), vector @ linear.after
    assert dtype is not None  # the scale is a constant
    check_constant(linear.scale_times(after.scale), dtype, f"the scale of {where}", factor=True)
    check_constant(after.shift, dtype, f"the bias beside {where}")
    if not vector.nonnegative:
        negated(linear, vector.scale < 0, shapes)
