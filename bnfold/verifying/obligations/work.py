"""The work of one scope: every pair of values in the order of the reference, proved or dropped.

A pair of values that fails is not yet a difference: the two may not mean the same, or hold only for the
values that the network has there. So the border is opened a few nodes back first, then the pair is dropped
and the cones behind it grow. What is left in the end is the outputs, and what nothing shows (hidden.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from ...ir.graph import ir, label, reads
from ...ir.provenance import FOLDED_KEY
from ...records import dataclass
from ...results.comparison import Figures, Obligation
from ...results.options import spelled
from .alignment import Pairs, by_name, by_structure, moved
from .bodies import scopes_of
from .border_values import CannotDischarge
from .cones import Half, NoCone
from .coverage import within
from .decisions import decided_by
from .discharge import OTHER_TIES
from .hidden import dead_border, hidden, hidden_weights, lost_in_rounding
from .lone_weights import lone_weight
from .scope import OPENINGS, Context, Scope, Sides
from .sought_numbers import sought
from .tokens import Token

MOST_LOOKED_AT = 8  # refuted values of which it is looked whether anything shows them
MOST_DROPPED = 24  # conjectures of one graph that may fail in a row before the outputs alone are looked at
MOST_AGAIN = 100_000  # nodes whose tokens are computed again, each time that one more is dropped


def prove(context: Context, scope: Scope, aligned: Callable[[Pairs], Pairs] | None = None) -> bool:
    """All obligations of a scope; whether its outputs are the same. `aligned` finds further pairs where those
    that names and structure give do not suffice."""
    pairs = by_name(scope.reference, scope.candidate, scope.outputs)
    if not context.strict:
        pairs = {a: b for a, b in moved(pairs).items() if a in scope.outputs or not _apart(context, a, b)}
    work = _Work(context, scope, pairs)
    if not context.strict:
        pairs.update(by_structure(work.sides.left, work.sides.right, pairs))
    passed = work.run(pairs)
    if aligned is not None and (work.failed_outputs or work.doubtful()):
        held = {a: b for a, b in work.pairs.items() if a not in work.refuted}
        further = {a: b for a, b in aligned(held).items() if a not in work.refuted}
        if further:
            passed = work.run({**work.pairs, **further})
    passed = work.nothing_hidden() and passed
    work.report()
    return passed


def _apart(context: Context, value: ir.Value, other: ir.Value) -> bool:
    """Does the candidate declare another shape than a value of the reference has? Then they are no pair,
    whatever they are called: a product of matrices may have lost an axis of one, as onnxsim writes it."""
    shape = None if other.shape is None else [d for d in other.shape if isinstance(d, int)]
    recorded = context.known(value)
    if shape is None or other.shape is None or len(shape) < len(other.shape):
        return False
    return bool(recorded) and all(list(one.shape) != shape for one in recorded)


@dataclass
class _Proved:
    """How a pair was proved: by what, with which figures, and the cone, if one was run. `near` is the
    smallest cone of the pair, both sides, where only one of a border further back holds."""

    how: str
    figures: Figures | None = None
    mine: Half | None = None
    theirs: Half | None = None
    near: tuple[Half, Half] | None = None


class _Work:
    """The obligations of one scope, in the order of the reference."""

    def __init__(self, context: Context, scope: Scope, pairs: Pairs) -> None:
        self.context, self.scope, self.pairs = context, scope, dict(pairs)
        self.refuted: set[ir.Value] = set()
        self.measured: dict[ir.Value, Figures | None] = {}
        self.tried: dict[ir.Value, tuple[Half, Half]] = {}
        self.openness: dict[ir.Value, str] = {}
        self.proved: dict[ir.Value, _Proved] = {}
        self.hidden: dict[ir.Value, Figures] = {}
        self.same_bodies: dict[tuple[ir.Node, ir.Node], bool] = {}
        self.failed_outputs: list[ir.Value] = []
        self._assumed = dict(pairs)
        self.sides = Sides(context, scope, self._assumed)

    def _look_again(self) -> None:
        """The tokens of both sides, if other pairs are assumed than before."""
        assumed = {a: b for a, b in self.pairs.items() if a not in self.refuted}
        if assumed != self._assumed:
            self._assumed = assumed
            self.sides = Sides(self.context, self.scope, assumed)

    def run(self, pairs: Pairs) -> bool:
        """Every pair in order; whether the outputs are the same."""
        self.pairs = dict(pairs)
        self._look_again()
        self.proved.clear()
        self.same_bodies.clear()  # what was not aligned before may be now
        self.failed_outputs = []
        in_a_row = 0
        outputs = set(self.scope.outputs)
        waiting = sorted(
            (a for a in self.pairs if a not in self.refuted), key=lambda v: self._place(v, outputs)
        )
        for count, value in enumerate(waiting):
            self.context.tell(count / len(waiting))
            if value in self.refuted:
                continue
            is_output = value in outputs
            if self._too_many(in_a_row) and not is_output and not self._identical(value):
                self._drop_the_rest(waiting[count:], outputs)
                continue
            if self._holds(value):
                in_a_row = in_a_row if self.proved[value].how == "identical" else 0
                continue
            in_a_row += 1
            if is_output:
                self.failed_outputs.append(value)
            else:
                self._drop(value)
        return not self.failed_outputs and len(self.scope.outputs) == len(self.scope.reference.outputs)

    def _too_many(self, in_a_row: int) -> bool:
        """Did so many pairs fail that the rest is dropped with them? What merged two nodes may keep the name
        of the first for what the second gave: such pairs fail one by one, and those between them hold."""
        again = len(self.refuted) * len(self.sides.left.order)
        return in_a_row >= MOST_DROPPED or (len(self.refuted) >= MOST_DROPPED and again > MOST_AGAIN)

    def _place(self, value: ir.Value, outputs: Collection[ir.Value]) -> tuple[int, int]:
        producer = value.producer()
        return (self.sides.left.order.get(producer, -1) if producer is not None else -1, value in outputs)

    def _drop(self, value: ir.Value) -> None:
        self.refuted.add(value)
        self._look_again()

    def _drop_the_rest(self, waiting: Iterable[ir.Value], outputs: Collection[ir.Value]) -> None:
        """Drop every pair that is left and not identical, outputs aside, in one step: to drop them one after
        the other, each with the tokens of both graphs, takes the square of their number. A pair that is
        identical only while one of those is assumed goes with it."""
        left = set(waiting).difference(outputs)
        dropped = {value for value in left if not self._identical(value)}
        leans = set(dropped)
        for node in self.scope.reference:
            if any(value in leans for value in reads(node)):
                leans.update(node.outputs)
                dropped.update(left.intersection(node.outputs))
        self.refuted |= dropped
        self._look_again()

    def _identical(self, value: ir.Value) -> bool:
        other, left, right = self.pairs[value], self.sides.left, self.sides.right
        mine = left.expressions.get(value, left.tokens.get(value))
        theirs = right.expressions.get(other, right.tokens.get(other))
        if mine is not None and mine == theirs:
            return True
        return value not in left.expressions and self.sides.identical(value, other)

    def _holds(self, value: ir.Value) -> bool:
        other = self.pairs[value]
        if self._identical(value):
            self.proved[value] = _Proved("identical")
            return True
        if self._same_but_for_bodies(value, other):
            self.proved[value] = _Proved("bodies")
            return True
        return self._discharged(value, other)

    def _same_but_for_bodies(self, value: ir.Value, other: ir.Value) -> bool:
        """Are two nodes alike but for their bodies, and are those the same?"""
        mine, theirs = value.producer(), other.producer()
        if mine is None or theirs is None or mine.op_identifier() != theirs.op_identifier():
            return False
        if list(mine.outputs).index(value) != list(theirs.outputs).index(other):
            return False
        key = (mine, theirs)
        if key not in self.same_bodies:
            scopes = scopes_of(self.sides, mine, theirs)
            verdicts = [prove(self.context, scope) for scope in scopes]  # all of them, for the report
            self.same_bodies[key] = bool(scopes) and all(verdicts)
        return self.same_bodies[key]

    def _discharged(self, value: ir.Value, other: ir.Value) -> bool:
        """Is there a cone of this pair, of the smallest border or of one opened further back, that holds?"""
        opened: set[Token] = set()
        near: tuple[Half, Half] | None = None
        figures: Figures | None = None
        for _ in range(OPENINGS + 1):
            try:
                mine, theirs = self.sides.halves(value, other, opened)
            except NoCone as error:
                self.openness[value] = str(error)
                return False
            if not opened:
                near = self.tried[value] = (mine, theirs)
            figures = self._judged(value, mine, theirs)
            if opened and near is not None and figures is not None and figures.passed:
                figures = self._sought(mine, theirs, near) or figures
            if figures is not None and figures.passed:
                if not (reason := decided_by(self.sides, mine, theirs, opened)):
                    self.proved[value] = _Proved("proved", figures, mine, theirs, near if opened else None)
                    self.openness.pop(value, None)
                    return True
                figures = replace(figures, passed=False, noise=math.inf, reason=reason)
                break
            further = self.sides.further(mine, theirs) - opened
            if not further or (figures is not None and figures.reason.startswith(OTHER_TIES)):
                break  # further back no value would meet the tie
            opened |= further
        if figures is not None:
            self.openness.pop(value, None)
        self.measured[value] = figures
        return False

    def _sought(self, mine: Half, theirs: Half, near: tuple[Half, Half]) -> Figures | None:
        """The figures where a number that decides in the smallest cone is met from this border, if the two
        differ there. A fold of ours decides on no other numbers."""
        return None if self.context.strict else sought(self.sides, mine, theirs, near)

    def _judged(self, value: ir.Value, mine: Half, theirs: Half) -> Figures | None:
        """The figures of a cone; None, with the reason, where it cannot be run."""
        try:
            return self.sides.judged(mine, theirs)
        except CannotDischarge as error:
            self.openness[value] = str(error)
            return None

    # -- what nothing shows

    def doubtful(self) -> bool:
        """Was any pair refuted inside of a cone that was proved?"""
        taken = self._taken()
        return any(self._refuted_in(proved, taken) for proved in self.proved.values())

    def _taken(self) -> set[ir.Value]:
        """The candidate's values that were proved to be one of the reference's."""
        return {self.pairs[a] for a in self.proved}

    def _refuted_in(self, proved: _Proved, taken: Collection[ir.Value]) -> Pairs:
        """Pairs inside of a cone that were measured and are not the same. A candidate's value that was proved
        to be another one is no pair."""
        if proved.mine is None or proved.theirs is None or not self.refuted:
            return {}
        made = {v for node in proved.theirs.nodes for v in node.outputs}
        return {
            value: self.pairs[value]
            for node in proved.mine.nodes
            for value in node.outputs
            if value in self.refuted
            and self.measured.get(value) is not None
            and self.pairs[value] in made
            and self.pairs[value] not in taken
        }

    def nothing_hidden(self) -> bool:
        """Does whatever differs inside of proved cones show at the end of one, so that the rest of the
        candidate makes up for it? What does not is a difference that the ends only hide."""
        inside: dict[ir.Value, list[tuple[Half, Half]]] = {}
        taken = self._taken()
        for proved in self.proved.values():
            if proved.mine is None or proved.theirs is None:
                continue
            if reason := lone_weight(proved.mine, proved.theirs, self.context.ours, self.context.theirs):
                assert proved.figures is not None
                self.hidden[proved.mine.end] = replace(
                    proved.figures, passed=False, noise=math.inf, reason=reason
                )
            for value in self._refuted_in(proved, taken):
                inside.setdefault(value, []).append((proved.mine, proved.theirs))
            if proved.near is None:
                continue
            if not self.context.strict:
                self.hidden.update(hidden_weights(self.sides, proved.mine, proved.theirs, self.pairs))
                self.hidden.update(dead_border(self.sides, proved.mine, proved.theirs, proved.near[0]))
            self.hidden.update(lost_in_rounding(self.sides, *proved.near))
        for value, cones in list(inside.items())[:MOST_LOOKED_AT]:
            found = [hidden(self.sides, *cone, value, self.pairs[value]) for cone in cones]
            if (figures := [f for f in found if f is not None]) and len(figures) == len(found):
                self.hidden[value] = figures[0]
        return not self.hidden

    # -- what came out

    def report(self) -> None:
        """The obligations of this scope, for the report, and which nodes are covered by what was proved."""
        for value, proved in self.proved.items():
            if value not in self.refuted and value not in self.hidden:
                self._cover(value, proved)
                if proved.how != "identical":
                    self._add(self._obligation(value, "proved", proved.figures, proved.mine, proved.theirs))
        self._cover_alike()
        for value in sorted(self.refuted - self.hidden.keys(), key=lambda v: self._place(v, ())):
            self._add(self._refutation(value, "dropped"))
        for value, figures in self.hidden.items():
            mine, theirs = self.tried.get(value, (None, None))
            self._add(self._obligation(value, "failed", figures, mine, theirs, cause=True))
        for value in self.failed_outputs:
            self._add(self._refutation(value, "open" if self.measured.get(value) is None else "failed"))

    def _add(self, obligation: Obligation) -> None:
        self.context.verdicts.obligations.append(obligation)

    def _cover(self, value: ir.Value, proved: _Proved) -> None:
        """Remember which nodes of the reference a proof speaks for."""
        verdicts, producer = self.context.verdicts, value.producer()
        if proved.mine is None:
            if producer is not None:
                verdicts.covered.update(
                    within(producer, self.context.reference) if proved.how == "identical" else [producer]
                )
        elif any(v in self.refuted for node in proved.mine.nodes for v in node.outputs):
            verdicts.doubtful.append((proved.mine, self.scope.places))
        else:
            for node in proved.mine.nodes:
                verdicts.covered.update(within(node, self.context.reference))

    def _cover_alike(self) -> None:
        """What nobody paired, but both sides compute alike: the same expression over the same tokens."""
        left, theirs = self.sides.left, set(self.sides.right.expressions.values())
        for node in left.order:
            made = [v for v in node.outputs if v.name]
            if (
                made
                and all(left.tokens.get(v) in self.sides.shared and v not in self.refuted for v in made)
                and all(left.expressions[v] in theirs for v in made)
            ):
                self.context.verdicts.covered.update(within(node, self.context.reference))

    def _refutation(self, value: ir.Value, verdict: str) -> Obligation:
        """A pair that does not hold; it is a cause where no other such pair lies in its cone."""
        mine, theirs = self.tried.get(value, (None, None))
        figures = self.measured.get(value)
        cause = figures is not None and (
            mine is None
            or not any(v in self.refuted and v is not value for node in mine.nodes for v in node.outputs)
        )
        return self._obligation(value, verdict, figures, mine, theirs, cause=cause)

    def _obligation(
        self,
        value: ir.Value,
        verdict: str,
        figures: Figures | None,
        mine: Half | None,
        theirs: Half | None,
        *,
        cause: bool = False,
    ) -> Obligation:
        other = self.pairs.get(value)
        producer = other.producer() if other is not None else None
        nodes = theirs.nodes if theirs is not None else [producer] if producer is not None else []
        folds = [n.metadata_props[FOLDED_KEY] for n in nodes if FOLDED_KEY in n.metadata_props]
        return Obligation(
            value=value.name or "",
            verdict=verdict,
            where=self.scope.where,
            reference=tuple(label(n) for n in mine.nodes) if mine is not None else (),
            candidate=tuple(label(n) for n in nodes),
            folds=tuple(folds),
            figures=figures,
            cause=cause,
            reason=self.openness.get(value, _reason(figures, mine) if figures is not None else ""),
        )


def _reason(figures: Figures, mine: Half | None) -> str:
    """Why a pair does not hold, and what else may be meant where a caller may override what it reads."""
    defaults = [v.name for v in mine.border if v.const_value is not None] if mine is not None else []
    if figures.passed or not defaults:
        return figures.reason
    return (
        f"{figures.reason}; a caller may override '{defaults[0]}' "
        f"({spelled('freeze_initializers')} takes it as a constant)"
    )
