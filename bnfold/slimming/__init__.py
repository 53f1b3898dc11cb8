"""Channels that do nothing leave a model, with all that belongs to them.

groups.py             entries of channel axes, and which of them leave together
intervals.py          how far a channel may vary
trace.py              one pass over a model; rules.py has a row for every operator
linear_rules.py, elementwise_rules.py, window_rules.py, moving_rules.py    what the rows do
selection.py          which groups leave
threshold.py          which channels count as multiplied by zero, on demand
rewriting.py          the model without them
engine.py             the order of things
"""

from __future__ import annotations

from .engine import Slimmed, slim, survey

__all__ = ["Slimmed", "slim", "survey"]
