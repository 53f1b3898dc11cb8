"""Products with learned matrices: InnerProduct and Embed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ....ir.graph import ir
from ....ir.tensor import Recipe, array
from ..blob import Shape, shown
from ..layer import Layer, Value, dims
from ..registry import ENGINE, layer
from ..schema import Node
from .activation import leaky

NORM_EPS = 1e-6  # NormFace adds it to the sum of squares


def _of_length_one(at: Layer, shape: Shape) -> Value:
    """The stored weight with each row divided by its length, as NormFace's `normalize` has it."""
    stored = at.stored(0, "weight", shape)

    def rows() -> Iterator[np.ndarray]:
        weight = array(stored).astype(np.float64)
        length = np.sqrt((weight**2).sum(axis=1, keepdims=True) + NORM_EPS)
        yield (weight / length).astype(np.float32).reshape(-1)

    return at.initializer(Recipe(ir.DataType.FLOAT, shape, rows), "weight")


@layer("InnerProduct", param="inner_product_param", ignoring={"engine": ENGINE})
def inner_product(
    at: Layer,
    x: Value,
    *,
    num_output: int,
    bias_term: bool = True,
    weight_filler: Node | None = None,
    bias_filler: Node | None = None,
    axis: int = 1,
    transpose: bool = False,
    relu: bool = False,
    negative_slope: float = 0.0,
    normalize: bool = False,
) -> Value:
    """A matrix product over everything from `axis` on, in row-major order; the axes before it stay."""
    shape = dims(x)
    first = at.axis(axis, len(shape), ("inner_product_param", "axis"))
    if num_output < 1:
        raise at.malformed("'num_output' is 0", "a positive number", at=("inner_product_param", "num_output"))
    into = math.prod(shape[first:])
    stored = (into, num_output) if transpose else (num_output, into)
    if normalize and transpose:
        raise at.unsupported("'normalize' beside 'transpose'", "one of the two")
    weight = _of_length_one(at, stored) if normalize else at.blob(0, "weight", stored, filler=weight_filler)
    bias = at.blob(1, "bias", (num_output,), filler=bias_filler, default=0.0) if bias_term else None
    rows = math.prod(shape[:first])
    x = (
        at.op("Flatten", x, shape=(rows, into), axis=1)
        if first == 1 and len(shape) > 2
        else at.reshape(x, (rows, into))
    )
    y = at.op("Gemm", x, weight, bias, shape=(rows, num_output), transB=int(not transpose))
    y = at.reshape(y, (*shape[:first], num_output))
    return leaky(at, y, negative_slope) if relu else y


@layer("Embed", param="embed_param")
def embed(
    at: Layer,
    x: Value,
    *,
    num_output: int,
    input_dim: int,
    bias_term: bool = True,
    weight_filler: Node | None = None,
    bias_filler: Node | None = None,
) -> Value:
    """A learned row for each index; indices are floats, truncated."""
    if num_output < 1 or input_dim < 1:
        raise at.malformed(f"a table of shape {shown((input_dim, num_output))}", "positive sizes")
    weight = at.blob(0, "weight", (input_dim, num_output), filler=weight_filler)
    y = at.op("Gather", weight, at.indices(x, input_dim), shape=(*dims(x), num_output), axis=0)
    return (
        at.op("Add", y, at.blob(1, "bias", (num_output,), filler=bias_filler, default=0.0))
        if bias_term
        else y
    )
