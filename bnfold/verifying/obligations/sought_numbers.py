"""Numbers that decide inside of a cone that holds only from a border further back.

Where the two sides decide on other numbers, the smallest cone differs for values between them, and it may
differ rightly: the network may never have such values there. Generic values further back hardly come to a
narrow range. So they are scaled until they do, along a line, by the secant method; what cannot come there by
scaling is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from ...ir.graph import ir
from ...results.comparison import Figures
from ..truth.interpreter import CannotEvaluate
from .border_values import CannotDischarge, Setting
from .cones import Half
from .deciding_numbers import numbers_of
from .figures import NOT_FINITE
from .scope import Sides

MOST_SETTINGS = 2  # that are scaled
PLACES = 3  # of a value that are brought to a number, one after the other
STEPS = 12  # of the secant method, which needs one where all in between is affine
FARTHEST = 2.0**24  # a factor beyond it makes numbers that mean nothing to the operators
ON_IT = 1e-6  # of the number: near enough, for it lies in the middle of a range
MOST_ELEMENTS = 1 << 16  # of a border: a cone is run some hundred times


def sought(sides: Sides, mine: Half, theirs: Half, near: tuple[Half, Half]) -> Figures | None:
    """The figures of a cone where a value of its smallest border comes to a number on which only one side
    decides, and the two sides differ there; None where nothing of that is found."""
    context = sides.context
    numbers = numbers_of(*near, context.ours, context.theirs).between
    made = {v for node in mine.nodes for v in node.outputs}
    values = [v for v in near[0].border if v in made]
    if not numbers or not values:
        return None
    try:
        tried = context.discharger.settings_of(mine, theirs, sides.known(mine, theirs))
        settings = list(islice(tried, MOST_SETTINGS))
    except CannotDischarge:
        return None
    for setting in settings:
        for moved, where in _met(sides, mine, setting, values, numbers):
            try:
                figures = context.discharger.at(mine, theirs, sides.scope.places, moved)
            except CannotEvaluate:
                continue
            if not figures.passed and figures.reason != NOT_FINITE:
                return replace(figures, reason=f"{figures.reason}, {where}")
    return None


def _met(
    sides: Sides, mine: Half, setting: Setting, values: list[ir.Value], numbers: tuple[float, ...]
) -> Iterator[tuple[Setting, str]]:
    """Settings in which a value inside of the cone comes to one of these numbers, and where it does."""
    if sum(array.size for array, _ in setting.values()) > MOST_ELEMENTS:
        return

    def scaled(factor: float) -> Setting:
        return {
            token: (array * factor if kind.is_floating_point() else array, kind)
            for token, (array, kind) in setting.items()
        }

    for value in values:
        half = Half(value, mine.nodes, mine.border, mine.constants)

        def at(factor: float, half: Half = half) -> np.ndarray:
            found, _, _ = sides.context.discharger.reference_half(
                half, sides.scope.places, scaled(factor), None
            )
            return np.asarray(found, np.float64).reshape(-1)

        try:
            for number in numbers:
                for factor in _factors(at, number):
                    yield scaled(factor), f"where '{value.name}' comes to {number:.6g}"
        except (CannotEvaluate, ValueError, TypeError):
            continue


def _factors(at: Callable[[float], np.ndarray], number: float) -> Iterator[float]:
    """Factors at which some entry of a value comes to a number."""
    first, second = at(1.0), at(1.5)
    if first.shape != second.shape:
        return
    moving = np.flatnonzero(np.isfinite(first) & np.isfinite(second) & (first != second))
    for place in (
        moving[np.unique(np.linspace(0, moving.size - 1, PLACES).astype(int))] if moving.size else ()
    ):
        last, now = (1.0, float(first[place]) - number), (1.5, float(second[place]) - number)
        for _ in range(STEPS):
            if abs(now[1]) <= ON_IT * abs(number):
                yield now[0]
                break
            if now[1] == last[1]:
                break
            factor = now[0] - now[1] * (now[0] - last[0]) / (now[1] - last[1])
            if not abs(factor) <= FARTHEST:
                break
            found = at(factor)
            if found.shape != first.shape:
                break
            last, now = now, (factor, float(found[place]) - number)
