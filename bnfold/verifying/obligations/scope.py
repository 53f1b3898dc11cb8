"""What the obligations of one pair of models share, and the two graphs that are held against each other.

Context   both models, their constants, what runs of the reference recorded, and the verdicts so far
Scope     two graphs that mean the same if their inputs and what is around them does: the main graphs, or
          two bodies or functions
Sides     the tokens of a scope's values while some pairs of them are assumed to be equal
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import field

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import GraphLike, ir
from ...operators.table import op
from ...records import dataclass
from ...results.comparison import Figures, Obligation
from ..truth.call import Frame
from ..truth.interpreter import CannotEvaluate
from .alignment import Pairs
from .border_values import CannotDischarge, free_integers
from .cones import Half, half
from .discharge import Discharger, Places
from .recording import Recorded, Recorder
from .tokens import SideTokens, Token, Vocabulary, shared

OPENINGS = 3  # how often the border of a cone is opened before its pair is dropped


@dataclass
class Verdicts:
    """What came out: the obligations for the report, the nodes of the reference that a proof speaks for, and
    proved cones in which a pair of values was refuted."""

    obligations: list[Obligation] = field(default_factory=list)
    covered: set[ir.Node] = field(default_factory=set)
    doubtful: list[tuple[Half, Places]] = field(default_factory=list)


@dataclass
class Context:
    """What all scopes of one pair of models share. `strict` says that the candidate is a fold of ours, which
    gives a new name to whatever changed its meaning."""

    reference: ir.Model
    candidate: ir.Model
    ours: Constants
    theirs: Constants
    discharger: Discharger
    strict: bool
    tell: Callable[[float], None]
    words: Vocabulary = field(default_factory=Vocabulary)
    recorders: list[Recorder] = field(default_factory=list)
    verdicts: Verdicts = field(default_factory=Verdicts)

    def known(self, value: ir.Value) -> list[Recorded]:
        """What the runs of the reference recorded of a value."""
        return [r.recorded[value] for r in self.recorders if value in r.recorded]

    def frame(self, graph: GraphLike) -> Frame | None:
        """The frame in which a body of the reference ran."""
        return next((r.frames[graph] for r in self.recorders if graph in r.frames), None)


@dataclass
class Scope:
    """Two graphs, the tokens of what comes from outside of them, and the outputs that must be the same."""

    reference: GraphLike
    candidate: GraphLike
    given: dict[ir.Value, Token]
    theirs: dict[ir.Value, Token]
    outputs: Pairs
    where: str = ""
    reference_frame: Frame | None = None
    candidate_frame: Frame | None = None

    @property
    def places(self) -> Places:
        """Where the cones of this scope stand."""
        return Places(self.reference, self.candidate, self.reference_frame, self.candidate_frame)


class Sides:
    """The tokens of both graphs, where the values of `assumed` are equal in pairs."""

    def __init__(self, context: Context, scope: Scope, assumed: Pairs) -> None:
        self.context, self.scope = context, scope
        cuts: dict[ir.Value, Token] = {}
        other: dict[ir.Value, Token] = {}
        for a, b in assumed.items():
            cuts[a] = other[b] = context.words.token(("cut", id(a), id(b)))
        self.left = SideTokens(context.reference, scope.reference, context.ours, scope.given, cuts).compute(
            context.words
        )
        self.right = SideTokens(
            context.candidate, scope.candidate, context.theirs, scope.theirs, other
        ).compute(context.words)
        self.shared = shared(self.left, self.right)
        self.by_token: dict[Token, ir.Value] = {}
        for value, token in self.left.tokens.items():
            self.by_token.setdefault(token, value)

    def halves(self, mine: ir.Value, theirs: ir.Value, opened: Container[Token]) -> tuple[Half, Half]:
        """Both sides of a cone. Raises NoCone."""
        words = self.context.words
        return (
            half(mine, self.left, words, self.shared, opened),
            half(theirs, self.right, words, self.shared, opened),
        )

    def known(self, mine: Half, theirs: Half) -> dict[Token, list[Recorded]]:
        """What the runs recorded of the values on the border."""
        tokens = (*mine.border.values(), *theirs.border.values())
        return {t: self.context.known(self.by_token[t]) for t in tokens if t in self.by_token}

    def further(self, mine: Half, theirs: Half) -> set[Token]:
        """Values of the border behind which another may lie: floats, plain integers that are made of
        integers, and whatever is on the border of one side alone, for the other side knows what it is made
        of."""
        known = self.known(mine, theirs)
        alone = set(mine.border.values()) ^ set(theirs.border.values())
        plain = {token for token, rows in free_integers(mine, theirs).items() if not rows}
        return {
            token
            for token in known
            if self._is_computed(token)
            and (token in alone or _is_float(known[token]) or (token in plain and self._counts(token)))
        }

    def _counts(self, token: Token) -> bool:
        """Is a value made of integers and booleans alone, and decides nothing? Then as many numbers can be
        tried behind it."""
        producer = self.by_token[token].producer()
        if producer is None or op(producer).jumps:
            return False
        kinds = [self._kind(value) for value in producer.inputs if value is not None]
        return all(kind is not None and not kind.is_floating_point() for kind in kinds)

    def _kind(self, value: ir.Value) -> ir.DataType | None:
        """The element type of a value of the reference, as far as it is known."""
        if (tensor := self.context.ours.tensor(value)) is not None:
            return tensor.dtype
        recorded = self.context.known(value)
        return recorded[0].kind if recorded else value.dtype

    def _is_computed(self, token: Token) -> bool:
        producer = self.by_token[token].producer()
        return producer is not None and producer in self.left.order

    def judged(
        self, mine: Half, theirs: Half, through: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> Figures:
        """The figures of a cone, of its ends as they are or as whoever reads them sees them. Raises
        CannotDischarge."""
        try:
            return self.context.discharger.judge(
                mine, theirs, self.scope.places, self.known(mine, theirs), through
            )
        except CannotEvaluate as error:
            raise CannotDischarge(str(error)) from error

    def identical(self, mine: ir.Value, theirs: ir.Value) -> bool:
        """Are two values equal by their tokens?"""
        token = self.left.token(mine, self.context.words)
        return token is not None and token == self.right.token(theirs, self.context.words)


def _is_float(recorded: list[Recorded]) -> bool:
    """Is it a float, or unknown? Of integers in front of what makes them indices fewer numbers can be
    tried."""
    return not recorded or recorded[0].kind.is_floating_point()
