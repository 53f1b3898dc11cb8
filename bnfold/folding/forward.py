"""The forward push: the affine node is left out, and what consumes its output takes its map. See push.py."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from ..ir.graph import ir, is_op, label, opset, sole, usages
from ..records import dataclass
from . import commute
from .affine import IDENTITY, Affine, common_shape
from .commute_rule import Choices, CommuteContext
from .contractions import passes
from .linear import Linear, check_bias
from .push import FoldContext, Hold, Push, blind, channels_of, constant_behind, shift_pattern, with_choices
from .reasons import Closed, Refused
from .recognise import Reading
from .weight_ranges import check_columns

CONDITION_LIMIT = 100.0  # largest predicted growth of rounding by a shift that is pushed forward


def forward(context: FoldContext, node: ir.Node, reading: Reading) -> Push:
    """Push the node's map into what consumes its output. Raises Refused."""
    return with_choices(lambda choices: _Forward(context, choices).run(node, reading))


@dataclass
class _Row:
    """Affine nodes in a row that maps came through: what each reads, and its map. `end` is what the last one
    makes."""

    passed: list[tuple[ir.Value, Affine]]
    end: ir.Value


class _Forward:
    def __init__(self, context: FoldContext, choices: Choices) -> None:
        self.context = context
        self.commuting = CommuteContext(
            context.shapes, context.model, context.linear, choices, context.into_half
        )
        self.push = Push("forward")
        self.maps: dict[ir.Value, Affine] = {}
        self.before: dict[
            ir.Value, ir.Value
        ] = {}  # what came through a node that loses none, from which value
        self.rows: list[_Row] = []
        self.heap: list[tuple[float, int, ir.Node]] = []
        self.queued: set[ir.Node] = set()
        self.steps = 0

    def run(self, node: ir.Node, reading: Reading) -> Push:
        """Walk the cone behind the node."""
        self.graph = node.graph
        self.reading = reading
        self._foresee(node.outputs[0], reading.map)
        self._carry(node.outputs[0], reading.map)
        if not self.queued:
            gone = node.outputs[0] in self.context.unread
            words = "nothing reads what becomes of it" if gone else "nothing reads it"
            raise Refused("kept.no-linear-neighbour", words)
        try:
            while self.heap:
                self._take(heapq.heappop(self.heap)[2])
        except Refused:
            self.context.in_vain += self.steps
            self._remember_rows()
            raise
        if not self.push.holds:
            # none was lost on the way, nor met another that made up for it: no other map would be
            if self.steps == len(self.before) == len(self.maps) - 1:
                self.context.unread.update(self.maps)
            raise Refused(
                "kept.no-linear-neighbour",
                "it changes nothing, and nothing holds it (--simplify-leftovers drops it)",
            )
        if sum(self._needs_add(hold) for hold in self.push.holds) > 1:
            raise Refused("kept.would-add-nodes", "more than one MatMul behind it would need an Add")
        return self.push

    def _foresee(self, value: ir.Value, map_: Affine) -> None:
        """Refuse what is declined at the end of a row of affine nodes without walking the row: the next node
        behind its end is asked, as long as another row follows."""
        while (known := self.context.runs.get(value)) is not None:
            end, row = known
            ahead = _Forward(self.context, Choices())
            ahead.graph, ahead.reading = self.graph, self.reading
            ahead._carry(end, _past(row, map_))
            if not ahead.heap:
                return
            ahead._take(heapq.heappop(ahead.heap)[2])
            if ahead.push.holds or len(ahead.push.changed) != 1:
                return
            value = ahead.push.changed[0]
            map_ = ahead.maps[value]

    def _remember_rows(self) -> None:
        """Something declined a map behind rows of affine nodes: what any map on their values becomes at their
        ends, as long as each is read by the next alone."""
        for row in self.rows:
            whole = IDENTITY
            if not sole(row.end):
                continue
            for value, map_ in reversed(row.passed):
                if not sole(value):
                    break
                whole = whole @ map_
                self.context.runs[value] = (row.end, whole)

    def _pass(self, x: ir.Value, map_: Affine, y: ir.Value) -> None:
        """A map came through an affine node, of this map, that makes y of x."""
        if not self.rows or self.rows[-1].end is not x:
            self.rows.append(_Row([], x))
        self.rows[-1].passed.append((x, map_))
        self.rows[-1].end = y

    def _needs_add(self, hold: Hold) -> bool:
        """Does its shift need an Add, because no constant behind it takes it?"""
        return hold.behind is not None and not self._taken(hold.linear)

    def _taken(self, linear: Linear) -> bool:
        any_shift = shift_pattern(linear, np.zeros(linear.outs))
        return constant_behind(linear, any_shift, self.context.shapes) is not None

    def _carry(self, value: ir.Value, map_: Affine) -> None:
        """The value's true content is the map of what it will hold; all its readers must know."""
        if value in self.context.closed:
            self._close([value], self.context.closed[value])
        if value.is_graph_output():
            self._close([value], Closed("kept.graph-output", f"'{value.name}' is a graph output"))
        self.maps[value] = map_
        if value in self.context.unread:
            return
        for user, index in usages(value):
            if blind(user, index):
                continue
            if user.graph is not self.graph:
                words = f"'{value.name}' is also read inside a body, by {user.op_type} '{label(user)}'"
                self._close([value], Closed("kept.multiple-consumers", words))
            if user not in self.queued:
                self.queued.add(user)
                heapq.heappush(self.heap, (self.context.order[user], len(self.queued), user))

    def _close(self, values: Iterable[ir.Value], closed: Closed) -> NoReturn:
        """Remember that these decline every map, and what stands before them behind affine nodes alone."""
        remembered = closed.again()
        for value in values:
            at: ir.Value | None = value
            while at is not None:
                self.context.closed[at] = remembered
                at = self.before.get(at)
        raise remembered.again()

    def _take(self, user: ir.Node) -> None:
        self.steps += 1
        self.context.check_reach(self.steps)
        commute.check_sides(user)
        ins = [self.maps.get(v) if v is not None else None for v in user.inputs]
        linear = self.context.linear(user)
        if linear is not None and not passes(linear, ins[linear.data], self.context.shapes, behind=False):
            self._hold(user, linear, ins)
            return
        try:
            reading = self.context.reading(user)
        except Refused:
            reading = None
        if reading is not None and (map_ := ins[reading.data]) is not None:
            outs = [_past(reading.map, map_)] + [None] * (len(user.outputs) - 1)
            if np.all(reading.map.scale):  # through a scale of zero a map becomes none
                self.before[user.outputs[0]] = _known(user.inputs[reading.data])
                self._pass(_known(user.inputs[reading.data]), reading.map, user.outputs[0])
        else:
            try:
                outs = commute.forward(user, ins, self.commuting)
            except Closed as closed:
                read = [v for k, v in enumerate(user.inputs) if v in self.maps and not blind(user, k)]
                self._close([_known(v) for v in read], closed)
            if is_op(user, "Identity"):
                self._pass(_known(user.inputs[0]), IDENTITY, user.outputs[0])
            if commute.loses_none(user):
                self.before[user.outputs[0]] = _known(user.inputs[0])
        self.push.via.append(user.op_type)
        for value, map_ in zip(user.outputs, outs, strict=False):
            if map_ is not None and (map_.scales or map_.shifts):
                self.push.changed.append(value)
                self._carry(value, map_)

    def _hold(self, user: ir.Node, linear: Linear, ins: list[Affine | None]) -> None:
        map_ = ins[linear.data]
        if map_ is None or any(m is not None for k, m in enumerate(ins) if k != linear.data):
            raise Refused("kept.non-linear", f"{user.op_type} '{label(user)}' reads it as a weight or a bias")
        vector = channels_of(linear, map_, linear.x_axis, linear.ins)
        if linear.quantized is not None:
            raise Refused(
                "kept.quantized-weight",
                "the scale of a quantised weight runs along its output channels, not its input channels",
            )
        check_columns(linear, linear.before.scale * vector.scale)
        behind = None
        if vector.shifts:
            self._check_shift(user, linear, vector)
            if linear.bias is None:
                if opset(self.context.model, user.graph) < 7:
                    raise Refused(
                        "kept.would-add-nodes", "an Add behind it would not broadcast in this opset"
                    )
                if linear.stack:
                    raise Refused(
                        "kept.would-add-nodes",
                        f"MatMul '{label(user)}' of stacked matrices has no bias that could hold a shift",
                    )
                if not linear.grows or self._taken(linear):
                    behind = linear.behind(vector.shift)
        self.push.holds.append(Hold(linear, vector, behind))

    def _check_shift(self, user: ir.Node, linear: Linear, vector: Affine) -> None:
        if not linear.every_tap_real:
            what = "pads" if user.op_type == "Conv" else "reaches over the edges of its input"
            raise Refused(
                "kept.padding-with-shift",
                f"{user.op_type} '{label(user)}' after it {what}, and the shift is not zero",
            )
        check_bias(linear, self.context.shapes)
        growth = amplification(self.reading, vector)
        if growth > CONDITION_LIMIT:
            raise Refused(
                "kept.ill-conditioned",
                f"pushing its shift into {user.op_type} '{label(user)}' would amplify rounding about "
                f"{growth:,.0f} times (limit {CONDITION_LIMIT:g})",
            )


def _known(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _past(k: Affine, map_: Affine) -> Affine:
    """K(m(x)) = m'(K(x)) for K = a·x + b: m' = (s, a·t + b - s·b)."""
    common_shape(k.scale.shape, map_.scale.shape)
    return Affine(map_.scale, k.scale * map_.shift + k.shift - map_.scale * k.shift)


def amplification(reading: Reading, vector: Affine) -> float:
    """How much larger the terms are that a forward push makes a linear operator add up, than those that it
    added before.

    Before: outputs of the batch norm, of size √(γ² + β²). After: s·x of about √(γ² + (β - t)²) each, and
    their sum's bulk is cancelled by the new bias. A map without statistics has no known size, so the measured
    gate alone judges it.
    """
    if reading.typical is None or reading.typical[0].size not in (1, vector.shift.size):
        return 1.0
    typical = np.hypot(*reading.typical)
    after = float(np.sqrt(np.mean(typical**2 + vector.shift**2)))
    before = float(np.sqrt(np.mean(typical**2)))
    return after / before if before else 1.0
