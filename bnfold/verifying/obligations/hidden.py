"""Differences inside of a proved cone that its end does not show: behind a dead Relu, a saturated Softmax.
There a proof says that the ends are the same, and not that the models are.

A right rewriting may change a value inside, if what follows makes up for it. Then the reference with the
candidate's value in that place gives another end. Where it gives the same, nothing made up for the
difference: it is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir.graph import ir
from ...results.comparison import Figures
from ..truth.interpreter import CannotEvaluate
from ..truth.number_formats import widened
from .alignment import Pairs
from .border_values import CannotDischarge, Setting
from .cones import Half
from .deviations import unit_of
from .figures import NOT_FINITE, compared, failed
from .scope import Sides

APART = 1e-3  # of the size of a weight: a change that no rewriting's rounding makes
_ARRANGING = ir.AttributeType.INT, ir.AttributeType.INTS, ir.AttributeType.STRING
Computed = Mapping[ir.Value, tuple[Any, ir.DataType]]


def hidden(sides: Sides, mine: Half, theirs: Half, value: ir.Value, other: ir.Value) -> Figures | None:
    """The figures of a pair inside of a cone that differs while the end does not show it; None where the end
    shows it, where nothing can tell, and where the candidate's value is another one of the reference's
    further on: what was fused may keep the name of its first node."""
    figures: Figures | None = None
    namesakes = _behind(mine, value)
    try:
        for setting in _settings(sides, mine, theirs):
            ours = _computed(sides, mine, setting)
            true, kind = ours[value]
            moved, _ = _computed(sides, theirs, setting, reference=False)[other]
            namesakes = [
                v
                for v in namesakes
                if ours[v][1] == kind and _compared(sides, v.name, kind, ours[v][0], moved).passed
            ]
            apart = _compared(sides, value.name, kind, true, moved)
            if apart.passed:
                continue
            if _form(true) != _form(moved) or _shows(sides, mine, setting, ours, value, moved):
                return None
            figures = apart
    except (CannotEvaluate, KeyError):
        return None
    if figures is None or namesakes:
        return None
    reason = f"{figures.reason}, and '{mine.end.name}' behind it does not show it"
    return replace(figures, noise=math.inf, reason=reason)


def _form(value: Any) -> Any:
    """The shape of a tensor; those of all parts of a sequence, which need not be the same."""
    return tuple(map(_form, value)) if isinstance(value, (list, tuple)) else np.shape(value)


def _behind(half: Half, value: ir.Value) -> list[ir.Value]:
    """The values that a cone computes after this one."""
    made = [v for node in half.nodes for v in node.outputs]
    return made[made.index(value) + 1 :]


def hidden_weights(
    sides: Sides, mine: Half, theirs: Half, pairs: Pairs
) -> Iterator[tuple[ir.Value, Figures]]:
    """The end of a cone that does not show that a weight inside is another one. It is looked for where the
    cone holds only for what the network has at its border."""
    for weight, other in _changed_weights(sides, mine, theirs, pairs):
        try:
            shown = [
                _shows(sides, mine, setting, _computed(sides, mine, setting), weight, other)
                for setting in _settings(sides, mine, theirs)
            ]
        except (CannotEvaluate, KeyError):
            continue
        if shown and not any(shown):
            tensor = sides.context.ours.tensor(weight)
            assert tensor is not None
            found = _compared(sides, mine.end.name, tensor.dtype, _numbers(tensor), other)
            reason = f"the weight '{weight.name}' in front of it is another one, and no value here shows it"
            yield mine.end, replace(found, passed=False, noise=math.inf, reason=reason)


def dead_border(sides: Sides, mine: Half, theirs: Half, near: Half) -> Iterator[tuple[ir.Value, Figures]]:
    """The end of a cone that differs for other values of its smallest border, and holds only because a value
    there is always the same number."""
    made = {v for node in mine.nodes for v in node.outputs}
    dead = [value for value in near.border if value in made]
    kind = mine.end.dtype or ir.DataType.FLOAT
    try:
        for setting in _settings(sides, mine, theirs):
            ours = _computed(sides, mine, setting)
            dead = [value for value in dead if _is_one_float(ours[value][0])]
            kind = ours[mine.end][1]
    except (CannotEvaluate, KeyError):
        return
    if dead:
        reason = f"'{dead[0].name}' in front of it is always the same, and for other values the two differ"
        yield mine.end, failed(mine.end.name or "", np.zeros(()), kind.name.lower(), reason)


def lost_in_rounding(sides: Sides, mine: Half, theirs: Half) -> Iterator[tuple[ir.Value, Figures]]:
    """The end of the smallest cone of a pair, where that has the same operators on both sides, reads the same
    and differs on the network's own values. That it holds from a border further back only says how much the
    weights in between may be rounded: what stands here is another slope, threshold or constant. Where it
    reads other values, or arranges them in another way, the two were only written in another order."""
    if set(mine.border.values()) != set(theirs.border.values()) or not _alike(mine, theirs):
        return
    try:
        found = sides.context.discharger.on_own_values(
            mine, theirs, sides.scope.places, sides.known(mine, theirs)
        )
    except (CannotDischarge, CannotEvaluate):
        return
    if not found.passed and found.reason != NOT_FINITE:
        reason = f"{found.reason}; what rounds further back hides it from what follows"
        yield mine.end, replace(found, noise=math.inf, reason=reason)


def _alike(mine: Half, theirs: Half) -> bool:
    """Have two cones the same operators, which arrange what they read in the same way? An attribute that is
    not stated has its default, which says nothing else."""
    return len(mine.nodes) == len(theirs.nodes) and all(
        one.op_identifier() == other.op_identifier()
        and not any(
            given.type in _ARRANGING
            and name in other.attributes
            and given.value != other.attributes[name].value
            for name, given in one.attributes.items()
        )
        for one, other in zip(mine.nodes, theirs.nodes, strict=True)
    )


def _is_one_float(values: Any) -> bool:
    return (
        isinstance(values, np.ndarray)
        and values.dtype == np.float64
        and values.size > 1
        and not np.ptp(values)
    )


def _changed_weights(
    sides: Sides, mine: Half, theirs: Half, pairs: Pairs
) -> Iterator[tuple[ir.Value, np.ndarray]]:
    """Constants of nodes that are paired, each with the candidate's numbers, where those are others by more
    than a rounding."""
    for node in mine.nodes:
        partner = next((pairs[v].producer() for v in node.outputs if v in pairs), None)
        if partner is None or partner.op_identifier() != node.op_identifier():
            continue
        for value, theirs_value in zip(node.inputs, partner.inputs, strict=False):
            if value not in mine.constants or theirs_value not in theirs.constants:
                continue
            one, other = sides.context.ours.tensor(value), sides.context.theirs.tensor(theirs_value)
            if one is None or other is None or not one.dtype.is_floating_point():
                continue
            a, b = _numbers(one), _numbers(other)
            apart = max(APART, 4 * unit_of(other.dtype))
            if a.shape == b.shape and np.abs(a - b).max(initial=0.0) > apart * np.abs(a).max(initial=0.0):
                assert value is not None
                yield value, b


def _numbers(tensor: ir.TensorProtocol) -> np.ndarray:
    return np.asarray(widened(tensor.numpy()))


def _settings(sides: Sides, mine: Half, theirs: Half) -> Iterator[Setting]:
    try:
        yield from sides.context.discharger.settings_of(mine, theirs, sides.known(mine, theirs))
    except CannotDischarge:
        return


def _computed(sides: Sides, half: Half, setting: Setting, *, reference: bool = True) -> Computed:
    """All values of one side of a cone. Raises CannotEvaluate."""
    bench, graph, frame = sides.context.discharger.side(sides.scope.places, reference=reference)
    return {
        value: (result, kind)
        for step in bench.run(half, graph, frame, setting)
        for value, result, kind in zip(step.node.outputs, step.results, step.kinds, strict=False)
    }


def _shows(
    sides: Sides, mine: Half, setting: Setting, ours: Computed, place: ir.Value, numbers: np.ndarray
) -> bool:
    """Is the end of the reference's side another one where these numbers stand in one place?"""
    true, kind = ours[mine.end]
    token = -1
    stored = ours[place][1] if place in ours else kind
    half = Half(
        mine.end,
        [node for node in mine.nodes if place not in node.outputs],
        {**mine.border, place: token},
        {value: t for value, t in mine.constants.items() if value is not place},
    )
    moved, _ = _computed(sides, half, {**setting, token: (numbers, stored)})[mine.end]
    return not _compared(sides, mine.end.name, kind, true, moved).passed


def _compared(sides: Sides, name: str | None, kind: ir.DataType, true: Any, moved: Any) -> Figures:
    """Two values that are the same where they are within a rounding of each other."""
    return compared(name or "", kind, true, moved, (_rounding(true, kind),), sides.context.discharger.limit)


def _rounding(value: Any, kind: ir.DataType) -> Any:
    """One rounding of every number; of a sequence, part by part."""
    if isinstance(value, (list, tuple)):
        return [_rounding(part, kind) for part in value]
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return np.abs(value) * unit_of(kind) if is_float else np.zeros(())
