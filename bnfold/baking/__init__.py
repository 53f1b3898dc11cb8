"""Preprocessing becomes a part of the network, and shapes are written into it: what a device wants of a
model.

    bake        what was read, with the nodes of the preprocessing behind its inputs    apply.py, front.py
                (what is asked for, completed and held against the input: resolve.py)
    prepared    the same, made ready for folding: the order of channels in the          order.py
                weights, a Pad by the mean                                              padding.py
    shaped      what is read, in the shapes that are to be written, or with an          shapes.py
                open batch                                                              batch.py
    outside     the written model on raw pixels, against numpy and the network alone    outside_check.py

The nodes are the plain reference: the engine folds them as it folds any affine node, and the gate holds
what it makes of them against the graph that has them all.
"""

from __future__ import annotations

from .apply import bake, prepared
from .outside_check import outside
from .shapes import shaped

__all__ = ["bake", "outside", "prepared", "shaped"]
