"""Every obligation of two models, and what each weight of the reference is known by.

identical   computed alike from what is equal: nothing has to be run
proved      its cone was discharged
dropped     a conjecture that did not hold; what lies behind it is proved from further back
failed      an output (or the condition of a body) that is not the same, however large its cone, or a
            difference inside that nothing behind it shows
open        an obligation that nothing here can run
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...inference import Shapes
from ...inference.constants import Constants
from ...ir.foreign_types import cloned
from ...ir.functions import all_inlinable, inline
from ...ir.graph import ir
from ...results.comparison import Proof as Result
from ..composite_values import parts
from ..inputs.interface import Interface
from ..precision import is_converted
from ..truth.fused_operators import taken_apart
from ..truth.interpreter import CannotEvaluate
from ..truth.unknown_operators import renamed
from .alignment import Pairs, by_value, computed
from .coverage import cover_constants, weights
from .discharge import Bench, Discharger, weights_seen
from .recording import Recorder
from .scope import Context, Scope
from .taken_branches import without_constant_ifs
from .work import prove

MOST_PLANTED = 64  # weights of which it is tried whether they show
MOST_COMPUTED = 20_000  # nodes of a cone that are computed for that, all weights together


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
        reference, candidate = (
            without_constant_ifs(_written_out(model, reference, candidate), freeze_initializers)
            for model in (reference, candidate)
        )
        ours, theirs = Constants(reference, freeze_initializers), Constants(candidate, freeze_initializers)
        converted = is_converted(reference, candidate)
        types = Shapes(candidate, freeze_initializers).dtype if converted else None
        bench = Bench(reference, ours, seed)
        discharger = Discharger(
            bench,
            Bench(candidate, theirs, seed, types),
            seed=seed,
            limit=limit,
            strict=strict,
            converted=converted,
        )
        self.context = Context(
            reference, candidate, ours, theirs, discharger=discharger, strict=strict, tell=tell
        )
        self.seed = seed
        self._known = bench.interpreter.known
        self.opaque: dict[str, str] = {}
        self._first: dict[str, np.ndarray] = {}

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # a run may meet what is not finite
    def record(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the reference once and remember its values; the outputs by name, part by part, and what
        operators that nobody knows were given. Raises CannotEvaluate."""
        recorder = Recorder(self.context.reference, self.seed, known=self._known)
        outputs = recorder.record(feeds)
        self._first = self._first or dict(feeds)
        self.context.recorders.append(recorder)
        assert recorder.stand_ins is not None
        self.opaque.update(recorder.stand_ins.nodes)
        return {**parts(outputs), **recorder.stand_ins.given}

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # figures say so
    def prove(self, face: Interface, candidate_feeds: Mapping[str, np.ndarray] | None) -> Result:
        """Everything. `candidate_feeds` are those of the first run under the candidate's names: without names
        and structure in common, values are aligned by what they are on them."""
        self._note_defaults(face)
        prove(self.context, self._main(face), lambda known: self._by_value(known, candidate_feeds))
        return self._result()

    def _note_defaults(self, face: Interface) -> None:
        """An input with a default has just that in the runs. Where both models have such an input, a caller
        may give it to either, and cones are tried on other values, too."""
        context = self.context
        there = {value.name for value in context.candidate.graph.inputs}
        for value in context.reference.graph.inputs:
            shared = value.uses() and face.renamed_inputs.get(value.name or "", value.name) in there
            if shared and value.const_value is not None and context.ours.tensor(value) is None:
                for recorder in context.recorders:
                    recorder.note_default(value)

    def _main(self, face: Interface) -> Scope:
        """The scope of the two models' own graphs."""
        context = self.context
        ours, theirs = context.reference.graph, context.candidate.graph
        given = {
            v: context.words.token(("input", v.name)) for v in ours.inputs if context.ours.tensor(v) is None
        }
        back = {b: a for a, b in face.renamed_inputs.items()}
        other = {
            v: context.words.token(("input", back.get(v.name or "", v.name)))
            for v in theirs.inputs
            if context.theirs.tensor(v) is None
        }
        named = {v.name: v for v in theirs.outputs}
        outputs = {
            v: named[face.renamed_outputs.get(v.name or "", v.name or "")]
            for v in ours.outputs
            if face.renamed_outputs.get(v.name or "", v.name or "") in named
        }
        return Scope(ours, theirs, given, other, outputs)

    def _by_value(self, known: Pairs, feeds: Mapping[str, np.ndarray] | None) -> Pairs:
        if feeds is None:
            return {}
        marks = []
        names = renamed(self.context.reference, self.context.candidate)
        sides = (self.context.reference, self._first, None), (self.context.candidate, feeds, names)
        for model, fed, other_names in sides:
            recorder = Recorder(model, self.seed, prints=True, record=False, names=other_names)
            try:
                recorder.record(fed)
            except CannotEvaluate:
                return {}
            prints = recorder.prints or {}
            marks.append({v: prints[v] for v in computed(model.graph) if v in prints})
        return by_value(marks[0], marks[1], known)

    def _result(self) -> Result:
        context, verdicts = self.context, self.context.verdicts
        cover_constants(context.reference, context.ours, verdicts.covered)
        found = weights(context.reference, context.ours)
        proved = {w for w, readers in found.items() if readers <= verdicts.covered}
        for mine, places in verdicts.doubtful:
            waiting = [v for v in mine.constants if v in found and v not in proved]
            if waiting:
                known = {token: context.known(value) for value, token in mine.border.items()}
                tried = waiting[: min(MOST_PLANTED, max(1, MOST_COMPUTED // len(mine.nodes)))]
                proved |= weights_seen(context.discharger, mine, places, known, tried)
        unseen = [w for w in found if w not in proved]
        return Result(
            obligations=tuple(verdicts.obligations),
            proved=len(proved),
            unseen=len(unseen),
            unseen_weights=tuple(w.name or "" for w in unseen),
        )


def _written_out(model: ir.Model, *both: ir.Model) -> ir.Model:
    """A model as it is compared: fused nodes taken apart, and no calls where the other model calls other
    functions."""
    apart = taken_apart(model)
    if len({frozenset(one.functions) for one in both}) == 1:
        return apart
    copy = cloned(apart)
    inline(copy, all_inlinable(copy))
    return copy
