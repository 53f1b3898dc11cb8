"""Every obligation of two models, and what each weight of the reference is known by.

    identical   computed alike from what is equal: nothing has to be run
    proved      its cone was discharged
    dropped     a conjecture that did not hold; what lies behind it is proved from further back
    failed      an output (or the condition of a body) that is not the same, however large its cone
    open        an obligation that nothing here can run

A pair of values that fails is not yet a difference: the two may not mean the same, or hold only for the
values that the network has there. So the border is opened a few nodes back first, then the pair is dropped
and the cones behind it grow. What is left in the end is the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ...inference.constants import Constants
from ...ir.graph import GraphLike, bodies, graphs, ir, is_op, label
from ...ir.provenance import FOLDED_KEY
from ...results.comparison import Figures, Obligation
from ...results.comparison import Proof as Result
from ..composite_values import parts
from ..inputs.interface import Interface
from ..nondeterminism import jumps
from ..truth.call import Frame
from ..truth.interpreter import CannotEvaluate
from ..truth.number_formats import widened
from .alignment import Pairs, by_name, by_structure, by_value, computed
from .cones import Half, NoCone, half
from .deviations import unit_of
from .discharge import Bench, CannotDischarge, Discharger, Places, weights_seen
from .fused import taken_apart
from .recording import Recorded, Recorder
from .tokens import SideTokens, Token, Vocabulary, shared

# their constants show in numbers, and what follows may undo another zero point
QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear")
OPENINGS = 3  # how often the border of a cone is opened before its pair is dropped
MOST_DROPPED = 24  # conjectures of one graph that may fail before the outputs alone are looked at
MOST_PLANTED = 64  # weights of which it is tried whether they show


@dataclass
class _Scope:
    """Two graphs that mean the same if their inputs and what is around them does."""

    reference: GraphLike
    candidate: GraphLike
    given: dict[ir.Value, Token]
    theirs: dict[ir.Value, Token]
    outputs: Pairs
    where: str = ""
    reference_frame: Frame | None = None
    candidate_frame: Frame | None = None


@dataclass
class _Verdicts:
    obligations: list[Obligation] = field(default_factory=list)
    covered: set[ir.Node] = field(default_factory=set)
    doubtful: list[tuple[Half, Places]] = field(default_factory=list)


class Prover:
    """The obligations of one pair of models."""

    def __init__(
        self,
        reference: ir.Model,
        candidate: ir.Model,
        *,
        seed: int,
        limit: float,
        strict: bool,
        freeze_initializers: bool = False,
        tell: Callable[[float], None] = lambda share: None,
    ) -> None:
        reference, candidate = taken_apart(reference), taken_apart(candidate)
        self.reference, self.candidate, self.seed, self.tell = reference, candidate, seed, tell
        self.named = strict  # our own folds give a new name to whatever changed its meaning
        self.words = Vocabulary()
        self.ours = Constants(reference, freeze_initializers)
        self.theirs = Constants(candidate, freeze_initializers)
        self.discharger = Discharger(
            Bench(reference, self.ours, seed),
            Bench(candidate, self.theirs, seed),
            seed=seed,
            limit=limit,
            strict=strict,
        )
        self.recorders: list[Recorder] = []
        self.opaque: dict[str, str] = {}
        self._first: dict[str, np.ndarray] = {}
        self.verdicts = _Verdicts()

    def record(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the reference once and remember its values; the outputs by name, part by part, and what
        operators that nobody knows were given. Raises CannotEvaluate."""
        recorder = Recorder(self.reference, self.seed)
        outputs = recorder.record(feeds)
        self._first = self._first or dict(feeds)
        self.recorders.append(recorder)
        assert recorder.stand_ins is not None
        self.opaque.update(recorder.stand_ins.nodes)
        return {**parts(outputs), **recorder.stand_ins.given}

    def prove(self, face: Interface, candidate_feeds: Mapping[str, np.ndarray] | None) -> Result:
        """Everything. `candidate_feeds` are those of the first run under the candidate's names: without names
        and structure in common, values are aligned by what they are on them."""
        scope = self._main(face)
        self._prove(scope, lambda known: self._by_value(known, candidate_feeds))
        return self._result()

    # -- scopes

    def _main(self, face: Interface) -> _Scope:
        ours, theirs = self.reference.graph, self.candidate.graph
        given = {v: self.words.token(("input", v.name)) for v in ours.inputs if not self._fixed(v, self.ours)}
        back = {b: a for a, b in face.renamed_inputs.items()}
        other = {
            v: self.words.token(("input", back.get(v.name or "", v.name)))
            for v in theirs.inputs
            if not self._fixed(v, self.theirs)
        }
        named = {v.name: v for v in theirs.outputs}
        outputs = {
            v: named[face.renamed_outputs.get(v.name or "", v.name or "")]
            for v in ours.outputs
            if face.renamed_outputs.get(v.name or "", v.name or "") in named
        }
        return _Scope(ours, theirs, given, other, outputs)

    def _fixed(self, value: ir.Value, constants: Constants) -> bool:
        return constants.tensor(value) is not None

    def _prove(self, scope: _Scope, aligned: Callable[[Pairs], Pairs] | None = None) -> bool:
        """All obligations of a scope; whether its outputs are the same."""
        pairs = by_name(scope.reference, scope.candidate, scope.outputs)
        work = _Work(self, scope, pairs)
        if not self.named:
            pairs.update(by_structure(work.left, work.right, pairs))
        passed = work.run(pairs)
        if not passed and aligned is not None and work.failed_outputs:
            further = aligned(work.pairs)
            further = {a: b for a, b in further.items() if a not in work.refuted}
            if further:
                work.pairs.update(further)
                passed = work.run(work.pairs)
        work.report()
        return passed

    def body(self, scope: _Scope) -> bool:
        """The obligations of two bodies."""
        return self._prove(scope)

    def _by_value(self, known: Pairs, feeds: Mapping[str, np.ndarray] | None) -> Pairs:
        if feeds is None:
            return {}
        marks = []
        for model, fed in ((self.reference, self._first), (self.candidate, feeds)):
            recorder = Recorder(model, self.seed, prints=True, record=False)
            try:
                recorder.record(fed)
            except CannotEvaluate:
                return {}
            prints = recorder.prints or {}
            marks.append({v: prints[v] for v in computed(model.graph) if v in prints})
        return by_value(marks[0], marks[1], known)

    def known(self, value: ir.Value) -> list[Recorded]:
        """What the runs of the reference recorded of a value."""
        return [r.recorded[value] for r in self.recorders if value in r.recorded]

    def frame(self, graph: GraphLike) -> Frame | None:
        """The frame in which a body of the reference ran."""
        return next((r.frames[graph] for r in self.recorders if graph in r.frames), None)

    # -- weights

    def _result(self) -> Result:
        self._cover_constants()
        weights = self._weights()
        proved = {w for w, readers in weights.items() if readers <= self.verdicts.covered}
        for mine, places in self.verdicts.doubtful:
            waiting = [v for v in mine.constants if v in weights and v not in proved]
            if waiting:
                known = {token: self.known(value) for value, token in mine.border.items()}
                proved |= weights_seen(self.discharger, mine, places, known, waiting[:MOST_PLANTED])
        unseen = [w for w in weights if w not in proved]
        return Result(
            obligations=tuple(self.verdicts.obligations),
            proved=len(proved),
            unseen=len(unseen),
            unseen_weights=tuple(w.name or "" for w in unseen),
        )

    def _cover_constants(self) -> None:
        """Nodes that compute constants are covered where all that reads their results is."""
        covered = self.verdicts.covered
        for graph in graphs(self.reference):
            for node in reversed(list(graph)):
                constant = all(
                    self.ours.tensor(v) is not None and not v.is_graph_output() for v in node.outputs
                )
                if constant and all(reader in covered for v in node.outputs for reader, _ in v.uses()):
                    covered.add(node)

    def _weights(self) -> dict[ir.Value, set[ir.Node]]:
        """The float constants of the reference that nodes read, with the nodes that read them."""
        found: dict[ir.Value, set[ir.Node]] = {}
        live = _live(self.reference)
        for graph in graphs(self.reference):
            for node in graph:
                if node not in live:
                    continue
                for value in node.inputs:
                    tensor = self.ours.stored(value) if value is not None else None
                    if tensor is not None and tensor.dtype.is_floating_point() and value is not None:
                        found.setdefault(value, set()).update(self._readers(node))
        return {value: readers for value, readers in found.items() if readers}

    def _readers(self, node: ir.Node) -> set[ir.Node]:
        """The node, or, where it gives constants alone, those that read them at run time."""
        readers, waiting, seen = set[ir.Node](), [node], {node}
        while waiting:
            one = waiting.pop()
            if not all(self.ours.tensor(v) is not None for v in one.outputs if v.name):
                readers.add(one)
                continue
            users = {user for v in one.outputs for user, _ in v.uses()} - seen
            seen |= users
            waiting.extend(users)
        return readers


class _Work:
    """The obligations of one scope, in the order of the reference."""

    def __init__(self, prover: Prover, scope: _Scope, pairs: Pairs) -> None:
        self.prover, self.scope, self.pairs = prover, scope, dict(pairs)
        self.refuted: set[ir.Value] = set()
        self.measured: dict[ir.Value, Figures | None] = {}
        self.tried: dict[ir.Value, tuple[Half, Half]] = {}
        self.openness: dict[ir.Value, str] = {}
        self.proved: dict[ir.Value, tuple[str, Figures | None, Half | None, Half | None]] = {}
        self.same_bodies: dict[tuple[ir.Node, ir.Node], bool] = {}
        self.failed_outputs: list[ir.Value] = []
        self._compute()

    def _compute(self) -> None:
        prover, scope = self.prover, self.scope
        cuts, other = {}, {}
        for a, b in self.pairs.items():
            if a in self.refuted:
                continue
            token = prover.words.token(("cut", id(a), id(b)))
            cuts[a], other[b] = token, token
        self.left = SideTokens(prover.reference, scope.reference, prover.ours, scope.given, cuts).compute(
            prover.words
        )
        self.right = SideTokens(
            prover.candidate, scope.candidate, prover.theirs, scope.theirs, other
        ).compute(prover.words)
        self.shared = shared(self.left, self.right)
        self.places = Places(scope.reference, scope.candidate, scope.reference_frame, scope.candidate_frame)
        self.by_token: dict[Token, ir.Value] = {}
        for value, token in self.left.tokens.items():
            self.by_token.setdefault(token, value)

    def run(self, pairs: Pairs) -> bool:
        """Every pair in order; whether the outputs are the same."""
        self.pairs = dict(pairs)
        self._compute()
        self.proved.clear()
        self.same_bodies.clear()  # what was not aligned before may be now
        self.failed_outputs = []
        outputs = set(self.scope.outputs)
        waiting = sorted(
            (a for a in self.pairs if a not in self.refuted), key=lambda v: self._place(v, outputs)
        )
        for count, value in enumerate(waiting):
            self.prover.tell(count / len(waiting))
            if value in self.refuted:
                continue
            is_output = value in outputs
            if len(self.refuted) >= MOST_DROPPED and not is_output and not self._identical(value):
                self._drop(value)
                continue
            if self._holds(value, is_output):
                continue
            if is_output:
                self.failed_outputs.append(value)
            else:
                self._drop(value)
        return not self.failed_outputs and len(self.scope.outputs) == len(self.scope.reference.outputs)

    def _place(self, value: ir.Value, outputs: Collection[ir.Value]) -> tuple[int, int]:
        producer = value.producer()
        return (self.left.order.get(producer, -1) if producer is not None else -1, value in outputs)

    def _drop(self, value: ir.Value) -> None:
        self.refuted.add(value)
        self._compute()

    def _identical(self, value: ir.Value) -> bool:
        other = self.pairs[value]
        mine = self.left.expressions.get(value, self.left.tokens.get(value))
        theirs = self.right.expressions.get(other, self.right.tokens.get(other))
        if mine is not None and mine == theirs:
            return True
        a, b = self.left.token(value, self.prover.words), self.right.token(other, self.prover.words)
        return value not in self.left.expressions and a is not None and a == b

    def _holds(self, value: ir.Value, is_output: bool) -> bool:
        other = self.pairs[value]
        if self._identical(value):
            self.proved[value] = ("identical", None, None, None)
            return True
        if self._same_but_for_bodies(value, other):
            self.proved[value] = ("bodies", None, None, None)
            return True
        return self._discharged(value, other)

    def _discharged(self, value: ir.Value, other: ir.Value) -> bool:
        """Is there a cone of this pair, of the smallest border or of one opened further back, that holds?"""
        opened: set[Token] = set()
        figures: Figures | None = None
        for _ in range(OPENINGS + 1):
            try:
                mine = half(value, self.left, self.prover.words, self.shared, opened)
                theirs = half(other, self.right, self.prover.words, self.shared, opened)
            except NoCone as error:
                self.openness[value] = str(error)
                return False
            if not opened:
                self.tried[value] = (mine, theirs)
            known = self._known(mine, theirs)
            figures = self._judged(value, mine, theirs, known)
            if figures is not None and figures.passed and (reason := self._decided_by(mine, theirs, opened)):
                figures = replace(figures, passed=False, noise=math.inf, reason=reason)
                break
            if figures is not None and figures.passed:
                self.proved[value] = ("proved", figures, mine, theirs)
                self.openness.pop(value, None)
                return True
            further = {token for token in known if self._may_open(token, known)} - opened
            if not further:
                break
            opened |= further
        if figures is not None:
            self.openness.pop(value, None)
        self.measured[value] = figures
        return False

    def _known(self, mine: Half, theirs: Half) -> dict[Token, list[Recorded]]:
        """What the runs recorded of the values on the border."""
        tokens = (*mine.border.values(), *theirs.border.values())
        return {t: self.prover.known(self.by_token[t]) for t in tokens if t in self.by_token}

    def _judged(
        self, value: ir.Value, mine: Half, theirs: Half, known: dict[Token, list[Recorded]]
    ) -> Figures | None:
        """The figures of a cone; None, with the reason, where it cannot be run."""
        try:
            return self.prover.discharger.judge(mine, theirs, self.places, known)
        except (CannotDischarge, CannotEvaluate) as error:
            self.openness[value] = str(error)
            return None

    def _decided_by(self, mine: Half, theirs: Half, opened: set[Token]) -> str:
        """What decides on both sides and differs, as a clause; empty where nothing does. A decision hides
        what stands before it from any number of samples, so that running it proves nothing."""
        if branch := next((n for n in (*mine.nodes, *theirs.nodes) if is_op(n, "If")), None):
            return f"the branches of '{label(branch)}' are not the same"
        ours = [node for node in mine.nodes if jumps(node)]
        others = [node for node in theirs.nodes if jumps(node)]
        if [n.op_identifier() for n in ours] != [n.op_identifier() for n in others]:
            return ""
        found = (self._decides_otherwise(a, b, opened) for a, b in zip(ours, others, strict=True))
        return next(filter(None, found), "")

    def _decides_otherwise(self, mine: ir.Node, theirs: ir.Node, opened: set[Token]) -> str:
        """Two nodes that decide in the same way: by what else?"""
        words = self.prover.words
        inputs = [
            (a, b)
            for a, b in zip(mine.inputs, theirs.inputs, strict=False)
            if a is not None and b is not None
        ]
        apart = [(a, b) for a, b in inputs if self.left.token(a, words) != self.right.token(b, words)]
        for a, b in apart:
            if (measured := self._deciding(a, b, opened)) is not None and not measured.passed:
                return f"'{a.name}' decides it, and is not the same: {measured.reason}"
        constants = [(self.prover.ours.tensor(a), self.prover.theirs.tensor(b)) for a, b in apart]
        if (
            constants
            and not is_op(mine, *QUANTISING)
            and all(_other_numbers(one, other) for one, other in constants)
        ):
            return f"the constant '{apart[0][0].name}' that decides it is another one"
        return ""

    def _deciding(self, mine: ir.Value, theirs: ir.Value, opened: set[Token]) -> Figures | None:
        """The figures of two values that decide; None where they cannot be had, or are no floats."""
        if self._identical_values(mine, theirs) or mine.producer() not in self.left.order:
            return None
        figures: Figures | None = None
        for further in (set[Token](), opened):
            try:
                halves = [
                    half(value, side, self.prover.words, self.shared, further)
                    for value, side in ((mine, self.left), (theirs, self.right))
                ]
                mine_half, their_half = halves
                known = self._known(mine_half, their_half)
                figures = self.prover.discharger.judge(mine_half, their_half, self.places, known)
            except (NoCone, CannotDischarge, CannotEvaluate):
                continue
            if figures.passed:
                return figures
        return figures

    def _identical_values(self, mine: ir.Value, theirs: ir.Value) -> bool:
        token = self.left.token(mine, self.prover.words)
        return token is not None and token == self.right.token(theirs, self.prover.words)

    def _may_open(self, token: Token, known: Mapping[Token, list[Recorded]]) -> bool:
        """May a border lie further back here? Floats alone: fewer numbers can be tried for integers in front
        of what makes them indices."""
        producer = self.by_token[token].producer() if token in self.by_token else None
        recorded = known.get(token)
        return (
            producer is not None
            and producer in self.left.order
            and (not recorded or recorded[0].kind.is_floating_point())
        )

    # -- bodies and functions

    def _same_but_for_bodies(self, value: ir.Value, other: ir.Value) -> bool:
        """Are two nodes alike but for their bodies, and are those the same?"""
        mine, theirs = value.producer(), other.producer()
        if mine is None or theirs is None or mine.op_identifier() != theirs.op_identifier():
            return False
        if list(mine.outputs).index(value) != list(theirs.outputs).index(other):
            return False
        key = (mine, theirs)
        if key not in self.same_bodies:
            self.same_bodies[key] = self._prove_bodies(mine, theirs)
        return self.same_bodies[key]

    def _prove_bodies(self, mine: ir.Node, theirs: ir.Node) -> bool:
        prover = self.prover
        functions = mine.op_identifier() in prover.reference.functions
        if not functions and not (bodies(mine) and bodies(theirs)):
            return False
        if functions != (theirs.op_identifier() in prover.candidate.functions):
            return False
        tokens = [
            [None if v is None else side.token(v, prover.words) for v in node.inputs]
            for side, node in ((self.left, mine), (self.right, theirs))
        ]
        if tokens[0] != tokens[1] or not _same_attributes(mine, theirs, prover.words):
            return False
        if functions:
            scopes = [self._function(mine, theirs)]
        else:
            ours, others = _by_attribute(mine), _by_attribute(theirs)
            if ours.keys() != others.keys():
                return False
            scopes = [
                self._body(body, others[key], f"{label(mine)}/{place}")
                for place, (key, body) in enumerate(ours.items())
            ]
        verdicts = [
            scope is not None and prover.body(scope) for scope in scopes
        ]  # all of them, for the report
        return all(verdicts)

    def _body(self, mine: ir.Graph, theirs: ir.Graph, where: str) -> _Scope | None:
        if len(mine.inputs) != len(theirs.inputs) or len(mine.outputs) != len(theirs.outputs):
            return None
        given, other = dict(self.left.tokens), dict(self.right.tokens)
        for place, (a, b) in enumerate(zip(mine.inputs, theirs.inputs, strict=True)):
            given[a] = other[b] = self.prover.words.token(("body", id(mine), place))
        frame = self.prover.frame(mine)
        return _Scope(
            reference=mine,
            candidate=theirs,
            given=given,
            theirs=other,
            outputs=dict(zip(mine.outputs, theirs.outputs, strict=True)),
            where=where,
            reference_frame=frame,
            candidate_frame=self.scope.candidate_frame,
        )

    def _function(self, mine: ir.Node, theirs: ir.Node) -> _Scope | None:
        a = self.prover.reference.functions[mine.op_identifier()]
        b = self.prover.candidate.functions[theirs.op_identifier()]
        if len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
            return None
        given, other = {}, {}
        for place, (v, w) in enumerate(zip(a.inputs, b.inputs, strict=True)):
            given[v] = other[w] = self.prover.words.token(("parameter", id(a), place))
        frame = self.prover.frame(a.graph)
        theirs_frame = (
            Frame(frame.opset, b.opset_imports, attributes=frame.attributes) if frame is not None else None
        )
        return _Scope(
            reference=a.graph,
            candidate=b.graph,
            given=given,
            theirs=other,
            outputs=dict(zip(a.outputs, b.outputs, strict=True)),
            where=label(mine),
            reference_frame=frame,
            candidate_frame=theirs_frame,
        )

    # -- what came out

    def report(self) -> None:
        """The obligations of this scope, for the report, and which nodes are covered by what was proved."""
        for value, (how, figures, mine, theirs) in self.proved.items():
            if value not in self.refuted:
                self._cover(value, how, mine)
                if how != "identical":
                    self._add(self._obligation(value, "proved", figures, mine, theirs))
        self._cover_alike()
        for value in sorted(self.refuted, key=lambda v: self._place(v, ())):
            self._add(self._refutation(value, "dropped"))
        for value in self.failed_outputs:
            self._add(self._refutation(value, "open" if self.measured.get(value) is None else "failed"))

    def _add(self, obligation: Obligation) -> None:
        self.prover.verdicts.obligations.append(obligation)

    def _cover(self, value: ir.Value, how: str, mine: Half | None) -> None:
        """Remember which nodes of the reference a proof speaks for."""
        verdicts, producer = self.prover.verdicts, value.producer()
        if mine is None:
            if producer is not None:
                verdicts.covered.update(self._within(producer) if how == "identical" else [producer])
        elif any(v in self.refuted for node in mine.nodes for v in node.outputs):
            verdicts.doubtful.append((mine, self.places))
        else:
            verdicts.covered.update(mine.nodes)

    def _cover_alike(self) -> None:
        """What nobody paired, but both sides compute alike: the same expression over the same tokens."""
        theirs = set(self.right.expressions.values())
        for node in self.left.order:
            made = [v for v in node.outputs if v.name]
            if (
                made
                and all(self.left.tokens.get(v) in self.shared and v not in self.refuted for v in made)
                and all(self.left.expressions[v] in theirs for v in made)
            ):
                self.prover.verdicts.covered.update(self._within(node))

    def _within(self, node: ir.Node) -> list[ir.Node]:
        """A node, and the nodes of its bodies and of the function that it calls."""
        found = [node]
        function = self.prover.reference.functions.get(node.op_identifier())
        for graph in [*bodies(node), *([function.graph] if function is not None else [])]:
            for inner in graph:
                found.extend(self._within(inner))
        return found

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
            reason=self.openness.get(value, figures.reason if figures is not None else ""),
        )


def _by_attribute(node: ir.Node) -> dict[tuple[str, int], ir.Graph]:
    """The bodies of a node by their attributes, which may stand in any order."""
    return {
        (name, place): body
        for name, attribute in sorted(node.attributes.items())
        if not attribute.is_ref()
        for place, body in enumerate(_graphs_of(attribute))
    }


def _graphs_of(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else []


def _other_numbers(one: ir.TensorProtocol | None, other: ir.TensorProtocol | None) -> bool:
    """Are two constants further apart than a rounding or two?"""
    if one is None or other is None:
        return False
    a, b = np.asarray(widened(one.numpy())), np.asarray(widened(other.numpy()))
    if a.size != b.size or a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return a.size != b.size
    if not one.dtype.is_floating_point():
        return not np.array_equal(a.reshape(-1), b.reshape(-1))
    return not np.allclose(b.reshape(-1), a.reshape(-1), rtol=4 * unit_of(one.dtype), atol=0.0)


def _same_attributes(mine: ir.Node, theirs: ir.Node, words: Vocabulary) -> bool:
    """Are the attributes the same, graphs aside?"""

    def plain(node: ir.Node) -> dict[str, object]:
        return {
            name: a.ref_attr_name if a.is_ref() else repr(a.value)
            for name, a in node.attributes.items()
            if a.is_ref() or a.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        }

    return plain(mine) == plain(theirs)


def _live(model: ir.Model) -> set[ir.Node]:
    """The nodes that some output depends on; all nodes of bodies and functions count as live with their
    node."""
    live: set[ir.Node] = set()
    waiting = [v.producer() for v in model.graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in live:
            continue
        live.add(node)
        waiting.extend(v.producer() for v in node.inputs if v is not None)
        for body in bodies(node):
            for inner in body:
                waiting.append(inner)
            waiting.extend(v.producer() for v in body.outputs)
        function = model.functions.get(node.op_identifier())
        if function is not None:
            waiting.extend(function.graph)
    return live
