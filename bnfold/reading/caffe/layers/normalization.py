"""Normalisations by what the blob itself holds: Normalize, MVN, LRN."""

from __future__ import annotations

import math

from ..blob import Shape, shown
from ..layer import Layer, Value, along_channels, dims
from ..registry import ENGINE, layer
from ..schema import Node
from .pooling import plane, pooled

SPARE = (
    255  # how much further than the blob an LRN window may reach: real ones are small and meet small blobs
)


@layer("Normalize", param="norm_param", inplace=True, origin="ssd")
def normalize(
    at: Layer,
    x: Value,
    *,
    across_spatial: bool = True,
    scale_filler: Node | None = None,
    channel_shared: bool = True,
    eps: float = 1e-10,
) -> Value:
    """Division by the L2 norm of each pixel's channels, or of the whole item, times a learned scale."""
    shape = at.rank(x, 4)
    squares = at.reduce("ReduceSum", at.op("Mul", x, x), [1, 2, 3] if across_spatial else [1])
    norm = at.op("Sqrt", at.op("Add", squares, at.scalar(eps, "eps")))
    y = at.op("Div", x, norm, shape=shape)
    learned: Shape = () if channel_shared else (shape[1],)
    coefficient = at.blob(
        0,
        "scale",
        learned,
        forms=[(1,)] if channel_shared else [],
        filler=scale_filler,
        default=1.0,
        view=() if channel_shared else along_channels(shape),
    )
    return at.op("Mul", y, coefficient)


@layer("MVN", param="mvn_param", inplace=True)
def mvn(
    at: Layer, x: Value, *, normalize_variance: bool = True, across_channels: bool = False, eps: float = 1e-9
) -> Value:
    """Mean and variance of each plane, or of each item, brought to 0 and 1: (x - mean) / (sqrt(variance) +
    eps), always four axes."""
    if len(dims(x)) > 4:
        raise at.malformed(f"a bottom of shape {shown(dims(x))}", "at most four axes")
    x = at.reshape(x, dims(x) + (1,) * (4 - len(dims(x))))
    axes = [1, 2, 3] if across_channels else [2, 3]
    centred = at.op("Sub", x, at.reduce("ReduceMean", x, axes))
    if not normalize_variance:
        return centred
    variance = at.reduce("ReduceMean", at.op("Mul", centred, centred), axes)
    return at.op("Div", centred, at.op("Add", at.op("Sqrt", variance), at.scalar(eps, "eps")))


@layer("LRN", param="lrn_param", ignoring={"engine": ENGINE})
def lrn(
    at: Layer,
    x: Value,
    *,
    local_size: int = 5,
    alpha: float = 1.0,
    beta: float = 0.75,
    norm_region: str = "ACROSS_CHANNELS",
    k: float = 1.0,
) -> Value:
    """Local response normalisation, across channels or within one; within, alpha is divided by local_size
    squared and k is 1."""
    shape = at.rank(x, 4)
    widest = 2 * math.prod(shape) + SPARE
    if local_size % 2 == 0 or local_size > widest:
        raise at.malformed(
            f"local_size is {local_size}", f"an odd number up to {widest}", at=("lrn_param", "local_size")
        )
    if norm_region == "ACROSS_CHANNELS":
        return at.op("LRN", x, size=local_size, alpha=alpha, beta=beta, bias=k)
    half = (local_size - 1) // 2
    over = plane(at, shape[2:], (local_size, local_size), (1, 1), (half, half), True)
    mean = pooled(at, at.op("Mul", x, x), "AVE", over)[0]
    base = at.op("Add", at.op("Mul", mean, at.scalar(alpha, "alpha")), at.scalar(1.0, "one"))
    return at.op("Mul", x, at.op("Pow", base, at.scalar(-beta, "power")))
