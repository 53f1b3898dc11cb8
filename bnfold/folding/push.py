"""Pushing one affine map through the graph until linear operators hold it all, or saying why it cannot be done.

A push walks a cone. Backward: the value before the affine node must become its image, so every producer on the way either holds the map
(a linear operator) or passes it on to its inputs; each value on the way must be read by the cone alone. Forward: the affine node is
left out, so every consumer of its output either holds the map or passes it on. Nodes are taken in graph order (from the back, going
backward), so each is met once, when all its maps are known, and a graph of any depth needs no recursion.

Nothing is changed while walking: a Push is a list of what would change. It is applied by edit.py, whole or not at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..graph import GraphLike, function_graphs, ir, is_op, label
from ..shapes import Shapes
from . import commute
from .affine import Affine, Float
from .commute import Choices, Site
from .linear import Linear
from .ranges import check_range
from .reasons import Refused
from .recognise import Reading

CONDITION_LIMIT = 100.0  # largest predicted growth of rounding by a shift that is pushed forward
_TRIES = 16  # pushes tried with other choices before giving up
_VALUE_BLIND = ("Shape", "Size")  # they read a value's shape, which no map changes


@dataclass
class Hold:
    """A linear operator will take this map, as vectors over its channels. `add`: it has no bias, the shift needs an Add behind it."""

    linear: Linear
    map: Affine
    add: Float | None = None


@dataclass
class Recast:
    """A constant, or an affine node on the way, will have this map applied to its constant."""

    node: ir.Node
    index: int
    map: Affine


@dataclass
class Push:
    """What would change. `changed`: values whose meaning changes; `via`: operators passed."""

    direction: str
    holds: list[Hold] = field(default_factory=list)
    recasts: list[Recast] = field(default_factory=list)
    changed: list[ir.Value] = field(default_factory=list)
    via: list[str] = field(default_factory=list)


@dataclass
class World:
    """What pushes look at: the graph's order, shapes, the linear operators, and the affine readings of nodes."""

    model: ir.Model
    shapes: Shapes
    linear: Callable[[ir.Node], Linear | None]
    reading: Callable[[ir.Node], Reading | None]
    order: dict[ir.Node, float]


def backward(world: World, node: ir.Node, reading: Reading, map_: Affine | None = None) -> Push:
    """Push the node's map into what produces its data. Raises Refused."""
    return _with_choices(lambda choices: _Backward(world, choices).run(node, reading, reading.map if map_ is None else map_))


def forward(world: World, node: ir.Node, reading: Reading) -> Push:
    """Push the node's map into what consumes its output. Raises Refused."""
    return _with_choices(lambda choices: _Forward(world, choices).run(node, reading))


def _with_choices(attempt: Callable[[Choices], Push]) -> Push:
    """Try the first choices, then others; the first refusal is the one that is reported."""
    taken: tuple[int, ...] = ()
    first: Refused | None = None
    for _ in range(_TRIES):
        choices = Choices(taken)
        try:
            return attempt(choices)
        except Refused as refused:
            first = first or refused
            following = _next(taken, choices.asked)
            if following is None:
                raise first from None
            taken = following
    raise first or Refused("kept.no-linear-neighbour")


def _next(taken: tuple[int, ...], asked: int) -> tuple[int, ...] | None:
    """The next combination of two-way choices, counted in binary; None when all were tried."""
    digits = list(taken) + [0] * (asked - len(taken))
    for k in range(len(digits)):
        if digits[k] == 0:
            return tuple([0] * k + [1] + digits[k + 1:])
    return None


class _Backward:
    def __init__(self, world: World, choices: Choices) -> None:
        self.world = world
        self.site = Site(world.shapes, world.model, choices)
        self.push = Push("backward")
        self.maps: dict[ir.Value, Affine] = {}
        self.edges: set[tuple[ir.Node, int]] = set()
        self.heap: list[tuple[float, int, ir.Node]] = []
        self.queued: set[ir.Node] = set()

    def run(self, node: ir.Node, reading: Reading, map_: Affine) -> Push:
        """Walk the cone in front of the node."""
        self.graph: GraphLike | None = node.graph
        self._demand(node, reading.data, map_)
        while self.heap:
            producer = heapq.heappop(self.heap)[2]
            for value in producer.outputs:
                if value in self.maps:
                    self._check_exclusive(value)
            self._take(producer)
        return self.push

    def _demand(self, node: ir.Node, index: int, map_: Affine) -> None:
        """The value that `node` reads at `index` must become its image."""
        value = node.inputs[index]
        assert value is not None
        if self.world.shapes.constants.tensor(value) is not None:
            self._recast(node, index, map_)
            return
        producer = value.producer()
        if producer is None:
            raise Refused("kept.graph-input", f"it works on '{value.name}', an input of the {'function' if self._in_function() else 'graph'}")
        if producer.graph is not self.graph:
            raise Refused("kept.no-linear-neighbour", f"'{value.name}' comes from outside the body that it is in")
        if value in self.maps and not self.maps[value].equals(map_):
            raise Refused("kept.ambiguous-maps", f"'{value.name}' would have to hold two different maps")
        self.edges.add((node, index))
        self.maps.setdefault(value, map_)
        if producer not in self.queued:
            self.queued.add(producer)
            heapq.heappush(self.heap, (-self.world.order[producer], len(self.queued), producer))

    def _in_function(self) -> bool:
        return self.graph in function_graphs(self.world.model)

    def _check_exclusive(self, value: ir.Value) -> None:
        if value.is_graph_output():
            raise Refused("kept.graph-output", f"'{value.name}' is also a graph output")
        for user, index in value.uses():
            if (user, index) not in self.edges and not is_op(user, *_VALUE_BLIND):
                raise Refused("kept.multiple-consumers", f"'{value.name}' is also read by {user.op_type} '{label(user)}'")

    def _take(self, producer: ir.Node) -> None:
        linear = self.world.linear(producer)
        if linear is not None:
            map_ = self.maps[producer.outputs[0]]
            self.push.holds.append(Hold(linear, held_behind(linear, map_, self.world.shapes)))
            self.push.changed.append(producer.outputs[0])
            return
        reading = self._affine(producer)
        if reading is not None:
            self._through_affine(producer, reading)
            return
        outs = [self.maps.get(value) for value in producer.outputs]
        for index, map_ in enumerate(commute.back(producer, outs, self.site)):
            if map_ is not None and (map_.scales or map_.shifts):
                self._demand(producer, index, map_)
        self.push.changed.extend(v for v in producer.outputs if v in self.maps)
        self.push.via.append(producer.op_type)

    def _affine(self, producer: ir.Node) -> Reading | None:
        try:
            return self.world.reading(producer)
        except Refused as refused:
            raise Refused("kept.non-linear", f"{producer.op_type} '{label(producer)}' stands in between and is kept itself: {refused.words}") from refused

    def _through_affine(self, producer: ir.Node, reading: Reading) -> None:
        """An Add or Sub of a constant holds the shift itself and passes the scale on: s·(x + c) + t = s·x + (s·c + t)."""
        map_ = self.maps[producer.outputs[0]]
        x = producer.inputs[reading.data]
        assert x is not None
        if not is_op(producer, "Add", "Sub"):
            raise Refused("kept.non-linear", f"{producer.op_type} '{label(producer)}' stands in between and could not be folded itself")
        if not map_.scales and not _is_linear_output(self.world, x):
            raise Refused("kept.no-linear-neighbour", "it follows another constant, and no linear operator stands before them")
        subtracted = is_op(producer, "Sub") and reading.data == 0
        self._recast(producer, 1 - reading.data, Affine(map_.scale, -map_.shift) if subtracted else map_)
        self.push.changed.append(producer.outputs[0])
        self.push.via.append(producer.op_type)
        if map_.scales:
            self._demand(producer, reading.data, map_.scale_only())

    def _recast(self, node: ir.Node, index: int, map_: Affine) -> None:
        value = node.inputs[index]
        if self.world.shapes.constants.array(value) is None:
            raise Refused("kept.no-linear-neighbour", f"the constant '{value.name if value else ''}' before it is too large to be rewritten")
        self.push.recasts.append(Recast(node, index, map_))


def _is_linear_output(world: World, value: ir.Value) -> bool:
    producer = value.producer()
    try:
        return producer is not None and len(value.uses()) == 1 and world.linear(producer) is not None
    except Refused:
        return False


def _channels(linear: Linear, map_: Affine, value: ir.Value | None, axis: int, size: int, shapes: Shapes) -> Affine:
    """The map as vectors over the channels of one side of a linear operator."""
    if map_.rank == 0:
        return Affine(np.broadcast_to(map_.scale, size), np.broadcast_to(map_.shift, size))
    found = map_.along(axis % map_.rank, size)
    if found is None:
        raise Refused("kept.wrong-axis", f"its map varies along other axes than the channels of {linear.node.op_type} '{label(linear.node)}'")
    return found


def held_behind(linear: Linear, map_: Affine, shapes: Shapes) -> Affine:
    """The map as output vectors of a linear operator that can hold it. Raises Refused."""
    node = linear.node
    vector = _channels(linear, map_, node.outputs[0], linear.y_axis, linear.outs, shapes)
    if linear.bias is None:
        if vector.shifts:
            raise Refused("kept.shift-does-not-pass", f"{node.op_type} '{label(node)}' has no bias that could hold a shift")
    else:
        bias = node.inputs[linear.bias] if len(node.inputs) > linear.bias else None
        if bias is not None and shapes.constants.tensor(bias) is None:
            raise Refused("kept.bias-not-constant", f"the bias of {node.op_type} '{label(node)}' is computed or fed at run time")
    if linear.quantized is not None:
        _check_quantized(linear, vector)
    else:
        check_range(linear, vector @ linear.after)
    return vector


def _check_quantized(linear: Linear, vector: Affine) -> None:
    """A quantised weight takes positive factors along its output channels through its scale alone."""
    dequantize, where = linear.quantized, f"the quantised weight of {linear.node.op_type} '{label(linear.node)}'"
    assert dequantize is not None
    if len([u for u in dequantize.outputs[0].uses()]) != 1 or dequantize.outputs[0].is_graph_output():
        raise Refused("kept.quantized-weight", f"{where} is also read by something else")
    if linear.stored_axis is None:
        raise Refused("kept.quantized-weight", f"the output channels do not lie on one axis of {where}")
    if np.any(vector.scale <= 0):
        raise Refused("kept.quantized-weight", f"the scale of {where} has to stay positive")
    if linear.quantized_scale is None:
        raise Refused("kept.quantized-weight", f"{where} has a scale that is not constant, or that runs along another axis")


class _Forward:
    def __init__(self, world: World, choices: Choices) -> None:
        self.world = world
        self.site = Site(world.shapes, world.model, choices)
        self.push = Push("forward")
        self.maps: dict[ir.Value, Affine] = {}
        self.heap: list[tuple[float, int, ir.Node]] = []
        self.queued: set[ir.Node] = set()

    def run(self, node: ir.Node, reading: Reading) -> Push:
        """Walk the cone behind the node."""
        self.graph = node.graph
        self.reading = reading
        self._carry(node.outputs[0], reading.map)
        if not self.queued:
            raise Refused("kept.no-linear-neighbour", "nothing reads it")
        while self.heap:
            self._take(heapq.heappop(self.heap)[2])
        if sum(hold.add is not None for hold in self.push.holds) > 1:
            raise Refused("kept.would-add-nodes", "more than one MatMul behind it would need an Add")
        return self.push

    def _carry(self, value: ir.Value, map_: Affine) -> None:
        """The value's true content is the map of what it will hold; all its readers must know."""
        if value.is_graph_output():
            raise Refused("kept.graph-output", f"'{value.name}' is a graph output")
        self.maps[value] = map_
        for user, _ in value.uses():
            if is_op(user, *_VALUE_BLIND):
                continue
            if user.graph is not self.graph:
                raise Refused("kept.multiple-consumers", f"'{value.name}' is also read inside a body, by {user.op_type} '{label(user)}'")
            if user not in self.queued:
                self.queued.add(user)
                heapq.heappush(self.heap, (self.world.order[user], len(self.queued), user))

    def _take(self, user: ir.Node) -> None:
        ins = [self.maps.get(v) if v is not None else None for v in user.inputs]
        linear = self.world.linear(user)
        if linear is not None:
            self._hold(user, linear, ins)
            return
        try:
            reading = self.world.reading(user)
        except Refused:
            reading = None
        if reading is not None and ins[reading.data] is not None:
            outs = [_past(reading, ins[reading.data])] + [None] * (len(user.outputs) - 1)
        else:
            outs = commute.forward(user, ins, self.site)
        self.push.via.append(user.op_type)
        for value, map_ in zip(user.outputs, outs, strict=False):
            if map_ is not None and (map_.scales or map_.shifts):
                self.push.changed.append(value)
                self._carry(value, map_)

    def _hold(self, user: ir.Node, linear: Linear, ins: list[Affine | None]) -> None:
        map_ = ins[linear.data]
        if map_ is None or any(m is not None for k, m in enumerate(ins) if k != linear.data):
            raise Refused("kept.non-linear", f"{user.op_type} '{label(user)}' reads it as a weight or a bias")
        vector = _channels(linear, map_, user.inputs[linear.data], linear.x_axis, linear.ins, self.world.shapes)
        if linear.quantized is not None:
            raise Refused("kept.quantized-weight", "the scale of a quantised weight runs along its output channels, not its input channels")
        add = None
        if vector.shifts:
            self._check_shift(user, linear, vector)
            if linear.bias is None:
                add = linear.reach(linear.tensor.numpy(), linear.before.scale * vector.shift) * linear.after.scale
        self.push.holds.append(Hold(linear, vector, add))

    def _check_shift(self, user: ir.Node, linear: Linear, vector: Affine) -> None:
        if not linear.every_tap_real:
            what = "pads" if user.op_type != "ConvTranspose" else "reaches over the edges of its input"
            raise Refused("kept.padding-with-shift", f"{user.op_type} '{label(user)}' after it {what}, and the shift is not zero")
        bias = user.inputs[linear.bias] if linear.bias is not None and len(user.inputs) > linear.bias else None
        if bias is not None and self.world.shapes.constants.tensor(bias) is None:
            raise Refused("kept.bias-not-constant", f"the bias of {user.op_type} '{label(user)}' is computed or fed at run time")
        growth = amplification(self.reading, vector)
        if growth > CONDITION_LIMIT:
            raise Refused("kept.ill-conditioned", f"pushing its shift into {user.op_type} '{label(user)}' would amplify rounding about "
                                                  f"{growth:,.0f} times (limit {CONDITION_LIMIT:g})")


def _past(reading: Reading, map_: Affine | None) -> Affine:
    """K(m(x)) = m'(K(x)) for K = a·x + b: m' = (s, a·t + b - s·b)."""
    assert map_ is not None
    k = reading.map
    return Affine(map_.scale, k.scale * map_.shift + k.shift - map_.scale * k.shift)


def amplification(reading: Reading, vector: Affine) -> float:
    """How much larger the terms are that a forward push makes a linear operator add up, than those that it added before.

    Before: outputs of the batch norm, of size √(γ² + β²). After: s·x of about √(γ² + (β - t)²) each, and their sum's bulk is cancelled
    by the new bias. A map without statistics has no known size, so the measured gate alone judges it.
    """
    if reading.typical is None or reading.typical.scale.size not in (1, vector.shift.size):
        return 1.0
    typical = reading.typical.scale.reshape(-1)
    after = float(np.sqrt(np.mean(typical**2 + vector.shift**2)))
    before = float(np.sqrt(np.mean(typical**2)))
    return after / before if before else 1.0
