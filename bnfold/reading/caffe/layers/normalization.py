"""Normalisations by what the blob itself holds: Normalize, MVN, LRN."""

from __future__ import annotations

import math

from ..blob import Shape, shown
from ..layer import Layer, Value, along_channels, dims
from ..registry import ENGINE, layer
from ..schema import Node
from .pooling import plane, pooled

NORMFACE_EPS = 1e-6
SPARE = (
    255  # how much further than the blob an LRN window may reach: real ones are small and meet small blobs
)


@layer(
    "Normalize",
    param=("norm_param", "normalize_param"),
    inplace=True,
    origin="ssd, normface",
    ignoring={"fix_gradient": "training", "bp_norm": "training"},
)
def normalize(
    at: Layer,
    x: Value,
    *,
    across_spatial: bool = True,
    scale_filler: Node | None = None,
    channel_shared: bool = True,
    eps: float = 1e-10,
    normalize_type: str = "L2",
) -> Value | list[Value]:
    """Division by the L2 norm of each pixel's channels, or of the whole item, times a learned scale.
    NormFace's layer of this name has no scale, and is told by its parameters or by the lack of blobs."""
    if at.node.has("normalize_param") or (at.stored_blobs == 0 and not at.node.has("norm_param")):
        return _of_normface(at, x, normalize_type)
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


def _of_normface(at: Layer, x: Value, kind: str) -> list[Value]:
    """Division by the L2 or L1 norm of each pixel's channels, always with four axes; the norm is a second
    top."""
    if kind not in ("L2", "L1") or len(dims(x)) > 4:
        raise at.unsupported(
            f"a norm of type {kind} of a bottom of shape {shown(dims(x))}", "L2 or L1, of up to four axes"
        )
    x = at.reshape(x, dims(x) + (1,) * (4 - len(dims(x))))
    sizes = at.op("Mul", x, x) if kind == "L2" else at.op("Abs", x)
    norm = at.op("Add", at.reduce("ReduceSum", sizes, [1]), at.scalar(NORMFACE_EPS, "eps"))
    norm = at.op("Sqrt", norm) if kind == "L2" else norm
    return [at.op("Div", x, norm), norm]


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
