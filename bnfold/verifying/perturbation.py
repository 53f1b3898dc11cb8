"""A model whose weights and inputs are each off by about one rounding: how much its answer moves is noise
that no gate may ask less of.

Where there is no float64 truth this is the yardstick. It sees what cancels inside (a bias of 1000 in front of
a mean of 1000) and what a deep net amplifies. Weights are made when they are asked for, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.foreign_types import cloned
from ..ir.graph import ir
from ..operators.table import op
from .truth.number_formats import is_float, numpy_type, rounding


def jittered(model: ir.Model, seed: int, *, parameters: bool = False) -> ir.Model:
    """A copy of the model; what its linear operators and batch norms hold is off by up to one rounding, and
    with `parameters` whatever a fold may rewrite."""
    copy = cloned(model)
    for index, value in enumerate(copy.graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point() or tensor.dtype.bitwidth < 16:
            continue
        if any(
            (place and op(node).weighted) or (parameters and op(node).parametric)
            for node, place in value.uses()
        ):
            value.const_value = _off(tensor, np.random.SeedSequence([seed, index]))
    return copy


def _off(tensor: ir.TensorProtocol, seed: np.random.SeedSequence) -> ir.LazyTensor:
    def make() -> ir.TensorProtocol:
        return ir.Tensor(
            nudged(tensor.numpy(), tensor.dtype, np.random.default_rng(seed)),
            dtype=tensor.dtype,
            name=tensor.name,
        )

    return ir.LazyTensor(make, tensor.dtype, ir.Shape(tensor.shape.numpy()), name=tensor.name)


def nudged(values: np.ndarray, kind: ir.DataType, random: np.random.Generator) -> np.ndarray:
    """Every value moved to a neighbour."""
    moved = values.astype(np.float64) * (1 + 2 * rounding(kind) * random.choice([-1.0, 1.0], values.shape))
    return np.asarray(moved).astype(numpy_type(kind))


def nudged_feeds(feeds: Mapping[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    """The same for every float input."""
    return {
        name: nudged(value, ir.DataType.from_numpy(value.dtype), random) if is_float(value.dtype) else value
        for name, value in feeds.items()
    }
