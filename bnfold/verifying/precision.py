"""In which float types models store their weights."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.graph import graphs, ir


def stores(model: ir.Model, which: Callable[[ir.DataType], bool]) -> bool:
    """Does a model hold weights of such a float type?"""
    kinds = {
        value.const_value.dtype
        for graph in graphs(model)
        if isinstance(graph, ir.Graph)
        for value in graph.initializers.values()
        if value.const_value is not None
    }
    return any(kind.is_floating_point() and which(kind) for kind in kinds)


def is_narrow(kind: ir.DataType) -> bool:
    """Has a float type 16 bits or fewer?"""
    return kind.bitwidth <= 16


def is_converted(reference: ir.Model, candidate: ir.Model) -> bool:
    """Does the candidate store weights in 16 bits where the reference stores none? Then it is judged by what
    rounding to its own types explains."""
    return stores(candidate, is_narrow) and not stores(reference, is_narrow)
