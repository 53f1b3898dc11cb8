"""How a small subgraph is described, and whether a node is the last one of it.

A term says what a value is computed by: `Node("Erf", ...)` by this operator of these terms, `Product(...)` by
multiplications and divisions, in whatever order and association, `Sum(...)` by additions, `Var("x")` by
anything, as long as all places that name it read the same value. A cast in between is passed over, since
exporters of half precision write casts inside.

Matching walks from a value to what produces it. It yields every way in which the term fits, as what the
names stand for and which nodes were seen; products and sums are taken apart to a few operands, so the number
of ways is small whatever the graph is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import Protocol

import numpy as np

from ...inference import Shapes
from ...ir.graph import ir, is_op, sole, usages
from ...records import dataclass

MOST_OPERANDS = 6  # of a product or a sum that is looked at
MOST_CASTS = 4  # in a row that are passed over
CLOSE = 1e-2  # relative distance of a constant to the number that is meant: half precision rounds them
ANY = math.nan  # as the number of a product or sum: any


@dataclass(frozen=True)
class Match:
    """A way in which a term fits: what its names stand for, and the nodes that it covers."""

    bound: Mapping[str, ir.Value]
    nodes: frozenset[ir.Node]

    def also(self, *nodes: ir.Node) -> Match:
        """The same, covering these nodes as well."""
        return Match(self.bound, self.nodes.union(nodes))


class Scope:
    """What terms ask about one graph; answers are kept, for every pattern asks them anew."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.operands: dict[tuple[str, ir.Value], _Operands | None] = {}
        self._numbers: dict[ir.Value, float | None] = {}

    def is_constant(self, value: ir.Value) -> bool:
        """Is it known without a run?"""
        return self.shapes.constants.tensor(value) is not None

    def number(self, value: ir.Value) -> float | None:
        """The number that a constant of one element holds."""
        if value not in self._numbers:
            array = self.shapes.constants.array(value) if self.is_constant(value) else None
            real = array is not None and array.dtype.kind in "fiu" and array.size == 1
            self._numbers[value] = float(array.reshape(-1)[0]) if real and array is not None else None
        return self._numbers[value]


class Term(Protocol):
    """A description of a value. `roots` are the operators that may compute it."""

    @property
    def roots(self) -> frozenset[str]:
        """The operators that may stand last."""
        ...

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """The ways in which the value fits."""
        ...


def whole(term: Term, node: ir.Node, scope: Scope) -> frozenset[ir.Node]:
    """The nodes of the subgraph that ends with this node, or none: nothing else may read what is inside."""
    for match in term.fits(node.outputs[0], Match({}, frozenset()), scope):
        inner = match.nodes - {node}
        if node in match.nodes and all(_read_within(one, match.nodes) for one in inner):
            return match.nodes
    return frozenset()


def _read_within(node: ir.Node, nodes: frozenset[ir.Node]) -> bool:
    return all(
        not value.is_graph_output() and all(user in nodes for user, _ in usages(value))
        for value in node.outputs
    )


def _past_casts(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """The value before the casts that it comes through, and these."""
    casts: list[ir.Node] = []
    while len(casts) < MOST_CASTS and (node := value.producer()) is not None and is_op(node, "Cast"):
        if node.inputs[0] is None:
            break
        casts.append(node)
        value = node.inputs[0]
    return value, casts


@dataclass(frozen=True)
class Var:
    """A value of run time; the same one wherever the name stands."""

    name: str
    roots: frozenset[str] = frozenset()

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """It fits where the name stands for nothing yet, or for this value."""
        origin, _ = _past_casts(value)
        known = so_far.bound.get(self.name)
        if known is origin:
            yield so_far
        elif known is None and not scope.is_constant(value):
            yield Match({**so_far.bound, self.name: origin}, so_far.nodes)


@dataclass(frozen=True)
class Anything:
    """Any value, constants included."""

    roots: frozenset[str] = frozenset()

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """It always fits."""
        yield so_far


@dataclass(frozen=True)
class Number:
    """A constant of one element with this value."""

    number: float
    roots: frozenset[str] = frozenset()

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """It fits where the constant is close."""
        if (found := scope.number(value)) is not None and _close(found, self.number):
            yield so_far


def _close(found: float, meant: float) -> bool:
    return abs(found - meant) <= CLOSE * max(abs(meant), CLOSE)


Condition = Callable[[ir.Node, Shapes], bool]


class Node:
    """The result of an operator whose first inputs fit these terms; `where` asks more of the node."""

    def __init__(self, op: str, *inputs: Term, where: Condition | None = None) -> None:
        self.op, self.inputs, self.where = op, inputs, where
        self.roots = frozenset({op})

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """The ways in which the inputs fit, one after the other."""
        origin, casts = _past_casts(value)
        node = origin.producer()
        if node is None or not is_op(node, self.op) or len(node.inputs) < len(self.inputs):
            return
        if self.where is None or self.where(node, scope.shapes):
            yield from self._inputs(node, 0, so_far.also(node, *casts), scope)

    def _inputs(self, node: ir.Node, index: int, so_far: Match, scope: Scope) -> Iterator[Match]:
        if index == len(self.inputs):
            yield so_far
            return
        value = node.inputs[index]
        if value is not None:
            for match in self.inputs[index].fits(value, so_far, scope):
                yield from self._inputs(node, index + 1, match, scope)


class Either:
    """One of several terms."""

    def __init__(self, *terms: Term) -> None:
        self.terms = terms
        self.roots = frozenset[str]().union(*(term.roots for term in terms))

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """The ways of each."""
        for term in self.terms:
            yield from term.fits(value, so_far, scope)


@dataclass(frozen=True)
class Under:
    """The denominator of a product; in a sum, what is subtracted."""

    term: Term


@dataclass
class _Operands:
    """A product (or sum) taken apart: its nodes, its operands of run time and whether they are denominators
    (are subtracted), the number that its constants of one element make, how many of these change anything,
    and how many other constants there are."""

    nodes: list[ir.Node]
    values: list[tuple[ir.Value, bool]]
    number: float
    numbers: int = 0
    weights: int = 0


class _Operation:
    """What Product and Sum share. Their constants of one element make `number`: by default none that changes
    anything, ANY for whatever they make, as long as there is one. With `weight` they have one constant at
    most, of whatever size, instead."""

    ops: tuple[str, ...]
    neutral: float

    def __init__(self, *terms: Term | Under, number: float | None = None, weight: bool = False) -> None:
        self.terms = [(t.term, True) if isinstance(t, Under) else (t, False) for t in terms]
        self.number = self.neutral if number is None else number
        self.weight = weight
        self.roots = frozenset(self.ops)

    def fits(self, value: ir.Value, so_far: Match, scope: Scope) -> Iterator[Match]:
        """The ways in which the operands fit the terms, in any order."""
        origin, casts = _past_casts(value)
        operands = self._operands(origin, scope)
        if operands is None or len(operands.values) != len(self.terms) or not self._constants(operands):
            return
        start = so_far.also(*operands.nodes, *casts)
        for order in permutations(operands.values):
            if all(under == below for (_, under), (_, below) in zip(order, self.terms, strict=True)):
                yield from self._in_order([v for v, _ in order], 0, start, scope)

    def _constants(self, operands: _Operands) -> bool:
        if self.weight:
            return operands.numbers + operands.weights <= 1
        if operands.weights or (self.number is ANY and not operands.numbers):
            return False
        return self.number is ANY or _close(operands.number, self.number)

    def _in_order(self, values: list[ir.Value], index: int, so_far: Match, scope: Scope) -> Iterator[Match]:
        if index == len(values):
            yield so_far
            return
        for match in self.terms[index][0].fits(values[index], so_far, scope):
            yield from self._in_order(values, index + 1, match, scope)

    def _operands(self, value: ir.Value, scope: Scope) -> _Operands | None:
        key = (self.ops[0], value)
        if key not in scope.operands:
            scope.operands[key] = self._apart(value, scope)
        return scope.operands[key]

    def _apart(self, value: ir.Value, scope: Scope) -> _Operands | None:
        """The operands; a part is taken apart as well where nothing else reads it."""
        found = _Operands([], [], self.neutral)
        waiting = [(value, False)]
        while waiting:
            current, under = waiting.pop()
            origin, casts = _past_casts(current)
            node = origin.producer()
            alone = current is value or all(map(sole, (current, *(c.outputs[0] for c in casts), origin)))
            if node is not None and alone and is_op(node, *self.ops) and not scope.is_constant(current):
                found.nodes.extend((*casts, node))
                waiting.extend(self._parts(node, under))
            elif (number := scope.number(current)) is not None:
                found.number = self.joined(found.number, number, under)
                found.numbers += number != self.neutral
            elif scope.is_constant(current):
                found.weights += 1
            else:
                found.values.append((current, under))
            if len(found.nodes) + len(found.values) > 2 * MOST_OPERANDS:
                return None
        return found if found.nodes and len(found.values) <= MOST_OPERANDS else None

    def _parts(self, node: ir.Node, under: bool) -> list[tuple[ir.Value, bool]]:
        inverse = is_op(node, "Div", "Sub")
        return [
            (value, under != (inverse and index == 1))
            for index, value in enumerate(node.inputs)
            if value is not None
        ]

    @staticmethod
    def joined(so_far: float, number: float, under: bool) -> float:
        """The number together with another constant."""
        raise NotImplementedError


class Product(_Operation):
    """A product of run-time operands and constants, by Mul and Div; `Under` marks a denominator."""

    ops = ("Mul", "Div")
    neutral = 1.0

    @staticmethod
    def joined(so_far: float, number: float, under: bool) -> float:
        """Times the number, or divided by it."""
        with np.errstate(all="ignore"):
            return float(np.float64(so_far) / number) if under else so_far * number


class Sum(_Operation):
    """A sum of run-time operands and constants, by Add and Sub; `Under` marks what is subtracted."""

    ops = ("Add", "Sub")
    neutral = 0.0

    @staticmethod
    def joined(so_far: float, number: float, under: bool) -> float:
        """Plus the number, or minus it."""
        return so_far - number if under else so_far + number
