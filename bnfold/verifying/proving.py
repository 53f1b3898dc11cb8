"""The obligations of two models without running the candidate, or either of them in onnxruntime: for an
audit.

What stands at the borders of what differs needs shapes and sizes of numbers. One run of the reference in
float64 gives them, at the smallest sizes of its free dims at which it runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from ..results.comparison import Proof, Side
from ..results.options import NOISE_LIMIT
from .inputs.integer_ranges import ranged
from .inputs.interface import InterfaceExceptions, InterfacesDiffer, interface
from .inputs.samples import Input, Unfillable, sample
from .inputs.sizes import Choice, Search
from .obligations import Prover, folded_by_us
from .truth.interpreter import CannotEvaluate

CHOICES = 8  # of sizes that are looked at
SEED = 0


class NotDerived(Exception):
    """The obligations could not be derived. The text is a clause."""


def prove(reference: Side, candidate: Side, *, freeze_initializers: bool = False) -> Proof:
    """Every place where the two models differ, proved where it stands. Raises NotDerived."""
    try:
        face = interface(reference, candidate, InterfaceExceptions(drop_overridable=freeze_initializers))
    except (InterfacesDiffer, Unfillable) as error:
        raise NotDerived(str(error)) from error
    prover = Prover(
        reference.model,
        candidate.model,
        seed=SEED,
        limit=NOISE_LIMIT,
        strict=folded_by_us(reference.model, candidate.model),
        freeze_initializers=freeze_initializers,
    )
    refusal = "no sizes of the free dims were found"
    for choice in _smallest(reference, face.inputs):
        inputs = ranged(face.inputs, reference.model, choice.outcome.shapes)
        try:
            prover.record(sample(inputs, choice.shapes, SEED, 0))
        except (CannotEvaluate, Unfillable) as error:
            refusal = str(error)
            continue
        return prover.prove(face, None)
    raise NotDerived(refusal)


def _smallest(reference: Side, inputs: list[Input]) -> Iterator[Choice]:
    """Sizes that fit, those first that make the smallest inputs."""
    choices = list(islice(Search(reference.model, inputs, {}).first(), CHOICES))
    yield from sorted(
        choices,
        key=lambda choice: (
            choice.outcome.contradiction is not None,
            len(choice.outcome.blind),
            sum(math.prod(shape) for shape in choice.shapes.values()),
        ),
    )
