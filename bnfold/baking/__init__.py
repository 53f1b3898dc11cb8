"""Preprocessing becomes a part of the network, and shapes are written into it: what a device wants of a
model.

    bake        what was read, with the nodes of the preprocessing behind its inputs     apply.py, resolve.py, front.py
    prepared    the same, made ready for folding: the order of channels in the weights,
                a Pad by the mean                                                        order.py, padding.py
    outside     the written model on raw pixels against numpy and the network as it was  outside_check.py
    fixed, with_dynamic_batch    shapes that are written, a batch that is left open      shapes.py, batch.py

The nodes are the plain reference: the engine folds them as it folds any affine node, and the gate holds
what it makes of them against the graph that has them all.
"""

from __future__ import annotations

from .apply import bake, prepared
from .outside_check import outside
from .shapes import shaped

__all__ = ["bake", "outside", "prepared", "shaped"]
