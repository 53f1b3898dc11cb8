"""Values of an image between its pixels."""

from __future__ import annotations

import numpy as np

from ..layer import BOOL, FLOAT, Layer, Value, dims

FIRST_GRID_SAMPLE = 16  # the opset that brought the operator
LINEAR_OF_GRID_SAMPLE = 20  # from this opset on, the mode has this name; before, it is called bilinear


def sampled(at: Layer, x: Value, places: Value, outside: float) -> Value:
    """(N, C, H', W'): the image at places (N, 2, H', W'), x before y, in pixels, interpolated

    Behind the last pixel of a row or a column its value goes on, up to one pixel; a place before the first
    pixel or further on is outside.
    """
    if at.build.opset < FIRST_GRID_SAMPLE:
        raise at.unsupported(f"opset {at.build.opset}", f"opset {FIRST_GRID_SAMPLE} or more, with GridSample")
    n, c, h, w = dims(x)
    shape = (n, c, *dims(places)[2:])
    last = np.array([max(w - 1, 1), max(h - 1, 1)], np.float32).reshape(1, 2, 1, 1)
    grid = at.op("Mul", places, at.constant(2 / last, "to_grid", np.float32))
    grid = at.op("Sub", grid, at.scalar(1.0, "one"))
    y = at.op(
        "GridSample",
        x,
        at.transpose(grid, [0, 2, 3, 1]),
        shape=shape,
        mode="linear" if at.build.opset >= LINEAR_OF_GRID_SAMPLE else "bilinear",
        padding_mode="border",
        align_corners=1,
    )
    size = at.constant(np.array([w, h], np.float32).reshape(1, 2, 1, 1), "size")
    inside = at.op(
        "And",
        at.op("GreaterOrEqual", places, at.scalar(0.0, "first"), dtype=BOOL),
        at.op("Less", places, size, dtype=BOOL),
    )
    both = at.op("And", at.cut(inside, 1, 0, 1), at.cut(inside, 1, 1, 2))
    return at.op("Where", both, y, at.scalar(outside, "outside"), shape=shape, dtype=FLOAT)
