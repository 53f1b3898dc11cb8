"""Obligations: what must hold for two models to be the same, proved where they differ.

tokens.py      values that are computed alike get equal numbers; those need no run
alignment.py   which values of the two models may mean the same: by name, by structure, by what they compute
scope.py       two graphs that are held against each other, and what all of them share
taken_branches.py  an If whose condition is a constant is its branch
cones.py       the nodes between such values, on both sides
recording.py   one run of the reference: shapes, types and sizes of numbers at every value, bodies included
border_values.py  the generic values on which a cone is run
deciding_numbers.py  bounds and thresholds on which its operators decide
sought_numbers.py  such numbers, sought from further back where a cone holds only from there
looked_up.py   numbers that operators look for in lists of their attributes
discharge.py   both sides of a cone on generic values, in float64 and in the model's own arithmetic
figures.py     one value against the other: the noise ratio of every group, or why there is none
work.py        the work of one scope: every pair of values, proved or dropped
bodies.py      the scopes that bodies and functions are
decisions.py   what decides, or is multiplied by zeros, judged instead of what comes out
hidden.py      differences inside of what was proved that nothing behind them shows
lone_weights.py  one weight of a matrix that is off, where its sums do not show it
coverage.py    which nodes read each weight
proof.py       the way through these rooms: every obligation, the verdict, and what each weight is known by
"""

from __future__ import annotations

from .own_folds import folded_by_us, folds_of
from .proof import Prover

__all__ = ["Prover", "folded_by_us", "folds_of"]
