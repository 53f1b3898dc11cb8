"""Checks that two models have the same interface: inputs and outputs are paired by name, else by position,
and their types and shapes must agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from ...ir.graph import ir
from ...results.comparison import Side
from ..composite_values import renamed
from .samples import Input, inputs_of


@dataclass(frozen=True)
class Interface:
    """`inputs` are the reference's. `renamed_inputs` and `renamed_outputs` map the reference's names to the
    candidate's."""

    inputs: list[Input]
    outputs: list[str]
    kinds: dict[str, ir.DataType]
    renamed_inputs: dict[str, str]
    renamed_outputs: dict[str, str]
    notes: tuple[str, ...]

    def for_candidate(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same feeds under the candidate's names."""
        return {self.renamed_inputs.get(name, name): value for name, value in feeds.items()}

    def in_reference_names(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The candidate's values under the reference's names."""
        back = {theirs: ours for ours, theirs in self.renamed_outputs.items()}
        return {renamed(name, back): value for name, value in values.items()}


def interface(reference: Side, candidate: Side) -> Interface:
    """Raises UsageError where the two models cannot be compared at all."""
    inputs, theirs = inputs_of(reference.model), inputs_of(candidate.model)
    notes: list[str] = []
    renamed_inputs = _paired("inputs", [i.name for i in inputs], [i.name for i in theirs], notes)
    known = {i.name: i for i in theirs}
    for one in inputs:
        _fitting(one, known[renamed_inputs[one.name]])
    outputs = [value.name or "" for value in reference.model.graph.outputs]
    renamed_outputs = _paired(
        "outputs", outputs, [value.name or "" for value in candidate.model.graph.outputs], notes
    )
    kinds = {
        value.name or "": value.dtype for value in reference.model.graph.outputs if value.dtype is not None
    }
    return Interface(inputs, outputs, kinds, renamed_inputs, renamed_outputs, tuple(notes))


def _paired(what: str, ours: list[str], theirs: list[str], notes: list[str]) -> dict[str, str]:
    if set(ours) == set(theirs):
        return {name: name for name in ours}
    if len(ours) != len(theirs):
        raise UsageError(
            f"the reference has the {what} {', '.join(ours) or '(none)'}, the candidate "
            f"{', '.join(theirs) or '(none)'}",
            expected=f"two models with the same {what}",
        )
    pairs = dict(zip(ours, theirs, strict=True))
    notes.append(
        f"{what} have different names and are compared by position: "
        + ", ".join(f"{a} = {b}" for a, b in pairs.items())
    )
    return pairs


def _fitting(ours: Input, theirs: Input) -> None:
    if ours.kind != theirs.kind:
        raise UsageError(
            f"input '{ours.name}' is {ours.kind.name.lower()} in the reference, "
            f"{theirs.kind.name.lower()} in the candidate",
            expected="the same type",
        )
    clash = len(ours.dims) != len(theirs.dims) or any(
        isinstance(a, int) and isinstance(b, int) and a != b
        for a, b in zip(ours.dims, theirs.dims, strict=True)
    )
    if clash and ours.dims and theirs.dims:
        raise UsageError(
            f"input '{ours.name}' is {list(ours.dims)} in the reference, {list(theirs.dims)} in the "
            "candidate",
            expected="the same shape",
        )
