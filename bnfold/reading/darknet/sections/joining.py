"""Sections that read more than one layer, or none: [route], [shortcut], [scale_channels], [sam],
[implicit]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np

from ....errors import Malformed, Unsupported
from ....ir.graph import ir
from ....ir.tensor import Recipe
from ..activations import activate
from ..dialects import Fork
from ..layer import Layer, dims_of
from ..network import Feature
from ..schema import AlexeyInt, AlexeyStr, PjFloat, positive, section
from ..weights import FLOAT, Missing, filled

SHORTCUT = ("swish", "mish")  # activations that AlexeyAB's shortcut has code for
PER_LAYER, PER_CHANNEL = ("per_feature", "per_layer"), ("per_channel",)
RELU, SOFTMAX = ("relu", "avg_relu"), ("softmax",)
AlexeyInts = Annotated[list[int], Fork.ALEXEYAB]


@section("route")
def route(
    layer: Layer,
    x: Feature,
    *,
    layers: list[int] | None = None,
    groups: AlexeyInt = 1,
    group_id: AlexeyInt = 0,
) -> Feature:
    """Earlier results, one after the other along the channels; with groups one part of each. Where heights
    and widths differ, darknet puts them one after the other as flat numbers."""
    if not layers:
        raise Malformed("[route] has no 'layers'", expected="something like layers=-1,8")
    sources = [layer.earlier(index) for index in layers]
    images = all(s.is_image for s in sources) and len({s.spot for s in sources}) == 1
    if groups != 1:
        return _parts(layer, sources, groups, group_id, images)
    if not images:
        out = _join(layer, [layer.flat(s) for s in sources], sum(s.size for s in sources))
        out.why_flat = next((s.why_flat for s in sources if not s.is_image), _apart(layer, sources))
        return out
    return _join(layer, [layer.image(s) for s in sources], sum(s.channels for s in sources), *sources[0].spot)


def _apart(layer: Layer, sources: list[Feature]) -> str:
    """What to say where pictures of several sizes are joined."""
    sizes = " and ".join(dict.fromkeys(f"{s.height} x {s.width}" for s in sources[:4]))
    return (
        f"[route] #{layer.index} joins pictures of {sizes} pixels to flat numbers (is the input a multiple "
        "of 32?)"
    )


def _join(layer: Layer, values: list[ir.Value], *dims: int) -> Feature:
    out = layer.feature(values[0], *dims)
    if len(values) > 1:
        out.value = layer.op("Concat", *values, axis=1, shape=[layer.network.rows, *dims])
    return out


def _parts(layer: Layer, sources: list[Feature], groups: int, group_id: int, images: bool) -> Feature:
    """Part `group_id` of each source, cut along its channels."""
    if groups < 1 or not 0 <= group_id < groups:
        raise Malformed(f"groups={groups} group_id={group_id}", expected="a group_id from 0 to groups - 1")
    if not images and all(s.is_image for s in sources):
        raise Malformed(_apart(layer, sources), expected="pictures of one size, as groups need them")
    if not images or any(s.channels % groups for s in sources):
        raise Unsupported(
            f"groups={groups} over {', '.join(str(s.channels) for s in sources)} channels",
            expected="groups that divide all of them, and sources of one size",
        )
    values = []
    for source in sources:
        part = source.channels // groups
        start, stop = layer.ints([group_id * part]), layer.ints([(group_id + 1) * part])
        values.append(
            layer.op(
                "Slice",
                layer.image(source),
                start,
                stop,
                layer.ints([1]),
                what="part",
                shape=[layer.network.rows, part, *source.spot],
            )
        )
    return _join(layer, values, sum(s.channels // groups for s in sources), *sources[0].spot)


@section("shortcut")
def shortcut(
    layer: Layer,
    x: Feature,
    *,
    from_: list[int] | None = None,
    activation: str = "linear",
    alpha: PjFloat = 1.0,
    beta: PjFloat = 1.0,
    weights_type: AlexeyStr = "none",
    weights_normalization: AlexeyStr = "none",
) -> Feature:
    """The input plus earlier results. Differing sizes, and what may be weighted, are the fork's own."""
    sources = [layer.earlier(index) for index in _named(layer, from_)]
    if layer.fork is Fork.PJREDDIE:
        y = _add_strided(layer, x, sources[0], alpha, beta)
        return layer.like(activate(layer, y, activation), x)
    rows = _weights(layer, x, len(sources), weights_type, weights_normalization)
    y = _weighted(layer, layer.image(x) if x.is_image else layer.flat(x), rows, 0)
    for number, source in enumerate(sources, 1):
        y = layer.op("Add", y, _weighted(layer, _as_large(layer, source, x), rows, number), what="sum")
    return layer.like(activate(layer, y, activation, special=SHORTCUT), x)


def _named(layer: Layer, layers: list[int] | None) -> list[int]:
    """The layers that 'from' names; pjreddie's code reads the first alone."""
    if not layers:
        raise Malformed(f"[{layer.source.type}] has no 'from'", expected="something like from=-3")
    if layer.fork is Fork.PJREDDIE and len(layers) > 1:
        layer.warn("shortcut", "pjreddie's darknet adds the first of the layers in 'from' alone", "from")
    return layers if layer.fork is Fork.ALEXEYAB else layers[:1]


def _add_strided(layer: Layer, x: Feature, source: Feature, alpha: float, beta: float) -> ir.Value:
    """pjreddie's addition: a larger source is sub-sampled, a smaller one added to every sample-th pixel,
    surplus channels are left out; alpha scales only what is added to. (src/blas.c, shortcut_cpu)"""
    image, other = layer.image(x), layer.image(source)
    ratios = [(s // t, t // s) for s, t in zip(source.spot, x.spot, strict=True)]
    step, sample = max(1, ratios[0][0]), max(1, ratios[0][1])
    if ratios[0] != ratios[1]:
        raise Malformed(
            f"a source of {source.spot[0]} x {source.spot[1]} pixels for {x.height} x {x.width}",
            expected="the same ratio in both directions",
        )
    if source.dims == x.dims:
        y = layer.op("Mul", image, layer.scalar(alpha)) if alpha != 1 else image
        return layer.op(
            "Add", y, layer.op("Mul", other, layer.scalar(beta)) if beta != 1 else other, what="sum"
        )
    layer.note(
        "shortcut",
        f"adds {source.channels} x {source.height} x {source.width} to {x.channels} x {x.height} x "
        f"{x.width}: "
        "the parts that do not overlap are left out, as darknet does",
    )
    common = [min(a, b) for a, b in zip(source.dims, x.dims, strict=True)]
    part = layer.op(
        "Slice",
        other,
        layer.ints([0, 0, 0]),
        layer.ints([common[0], *(n * step for n in common[1:])]),
        layer.ints([1, 2, 3]),
        layer.ints([1, step, step]),
        what="part",
        shape=[layer.network.rows, *_count(source, common, step)],
    )
    part = layer.op("Mul", part, layer.scalar(beta)) if beta != 1 else part
    placed = _placed(layer, part, x, common, sample)
    base = (
        layer.op("Mul", image, layer.weight("alpha", _mask(x, common, sample, alpha)))
        if alpha != 1
        else image
    )
    return layer.op("Add", base, placed, what="sum")


def _count(source: Feature, common: list[int], step: int) -> list[int]:
    """Dimensions of a strided slice. Errors: Unsupported where darknet would read beyond the source."""
    counts = [
        common[0],
        *(-(-min(n * step, extent) // step) for n, extent in zip(common[1:], source.spot, strict=True)),
    ]
    if counts != common:
        raise Unsupported(
            f"{source.spot[0]} x {source.spot[1]} pixels at a stride of {step} are fewer than "
            f"{common[1]} x {common[2]}"
        )
    return counts


def _placed(layer: Layer, part: ir.Value, x: Feature, common: list[int], sample: int) -> ir.Value:
    """`part` on every sample-th pixel of zeros as large as x."""
    if any((n - 1) * sample >= extent for n, extent in zip(common[1:], x.spot, strict=True)):
        raise Unsupported(
            f"{common[1]} x {common[2]} pixels at a distance of {sample} do not fit into {x.height} "
            f"x {x.width}"
        )
    if (
        sample > 1
    ):  # a stride in the other direction: zeros between, by a transposed convolution with a single 1
        ones = layer.weight("spread", filled((common[0], 1, 1, 1), 1))
        spot = [(n - 1) * sample + 1 for n in common[1:]]
        part = layer.op(
            "ConvTranspose",
            part,
            ones,
            what="spread",
            strides=[sample] * 2,
            group=common[0],
            kernel_shape=[1, 1],
            shape=[layer.network.rows, common[0], *spot],
        )
    else:
        spot = common[1:]
    ends = [x.channels - common[0], x.height - spot[0], x.width - spot[1]]
    if not any(ends):
        return part
    return layer.op("Pad", part, layer.ints([0, 0, 0, 0, 0, *ends]), what="placed", shape=layer.shape(x))


def _mask(x: Feature, common: list[int], sample: int, alpha: float) -> Recipe:
    """alpha where a source is added, 1 elsewhere."""

    def planes() -> Iterator[np.ndarray]:
        for channel in range(x.channels):
            plane = np.ones(x.spot, np.float32)
            if channel < common[0]:
                plane[: common[1] * sample : sample, : common[2] * sample : sample] = alpha
            yield plane

    return Recipe(FLOAT, (1, *x.dims), planes)


def _as_large(layer: Layer, source: Feature, x: Feature) -> ir.Value:
    """A source in the shape of x, as AlexeyAB adds it: element by element in memory, as far as both reach.
    With one height and width that is the common channels."""
    alike = source.is_image and x.is_image and source.spot == x.spot
    if not alike and (source.is_image or x.is_image):
        layer.warn(
            "shortcut",
            f"{source.height} x {source.width} pixels are added to {x.height} x {x.width} as flat "
            "memory, as alexeyab's "
            "darknet does (where it does not stop); such nets were trained with pjreddie's: "
            "--dialect pjreddie",
            "from",
        )
    value, rest = (layer.image(source), x.spot) if alike else (layer.flat(source), ())
    have, want = (source.channels, x.channels) if alike else (source.size, x.size)
    if have > want:
        value = layer.op(
            "Slice",
            value,
            layer.ints([0]),
            layer.ints([want]),
            layer.ints([1]),
            what="part",
            shape=[layer.network.rows, want, *rest],
        )
    if have < want:
        ends = [0, want - have, *(0 for _ in rest)]
        value = layer.op(
            "Pad",
            value,
            layer.ints([0] * len(ends) + ends),
            what="padded",
            shape=[layer.network.rows, want, *rest],
        )
    return value if alike or not x.is_image else layer.reshape(value, [0, *x.dims])


def _weights(layer: Layer, x: Feature, sources: int, kind: str, normalization: str) -> ir.Value | None:
    """The weights of input and sources, normalised: one row each, (rows, 1 or channels, 1, 1). None without
    weights."""
    if kind == "none":
        return None
    if kind not in PER_LAYER + PER_CHANNEL or normalization not in RELU + SOFTMAX:
        raise Malformed(
            f"weights_type={kind[:40]} weights_normalization={normalization[:40]}",
            where=layer.at("weights_type"),
            expected=f"one of {', '.join(PER_LAYER + PER_CHANNEL)} with one of {', '.join(RELU + SOFTMAX)}",
        )
    if not x.is_image:
        raise Unsupported("a weighted shortcut of flat numbers")
    shape = (sources + 1, x.channels if kind in PER_CHANNEL else 1, 1, 1)
    stored = layer.tensor("weights", *shape)
    if isinstance(stored, Missing):
        return layer.weight("weights", stored)
    rule = _softmaxed if normalization in SOFTMAX else _rectified
    if normalization in RELU:
        layer.note(
            "weighted",
            "weights below 0 count as 0, as on alexeyab's CPU; its GPU code takes 0.001",
            "weights_normalization",
        )
    return layer.weight(
        "weights",
        Recipe(FLOAT, shape, lambda: iter([rule(stored.numpy().astype(np.float64)).astype(np.float32)])),
    )


def _rectified(weights: np.ndarray) -> np.ndarray:
    kept: np.ndarray = np.maximum(weights, 0)
    kept /= 1e-4 + kept.sum(axis=0)
    return kept


def _softmaxed(weights: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(weights - weights.max(axis=0))
    powers /= 1e-4 + powers.sum(axis=0)
    return powers


def _weighted(layer: Layer, value: ir.Value, rows: ir.Value | None, number: int) -> ir.Value:
    """One summand times its row of weights."""
    if rows is None:
        return value
    row = layer.op(
        "Gather",
        rows,
        layer.network.constant(f"index/{number}", np.array(number, np.int64)),
        what="row",
        axis=0,
        shape=dims_of(rows)[1:],
    )
    return layer.op("Mul", value, row, what="weighted")


@section("scale_channels", only=Fork.ALEXEYAB)
def scale_channels(
    layer: Layer, x: Feature, *, from_: list[int] | None = None, scale_wh: int = 0, activation: str = "linear"
) -> Feature:
    """An earlier result times the input: one factor per channel, or (scale_wh) one per pixel."""
    source = layer.earlier(_named(layer, from_)[0])
    fits = (1, *source.spot) if scale_wh else (source.channels, 1, 1)
    if x.dims != fits:
        raise Malformed(
            f"factors of {x.channels} x {x.height} x {x.width} for {source.channels} x "
            f"{source.height} x {source.width}",
            expected=f"{fits[0]} x {fits[1]} x {fits[2]}",
        )
    y = layer.op("Mul", layer.image(source), layer.image(x), what="scaled")
    return layer.like(activate(layer, y, activation), source)


@section("sam", only=Fork.ALEXEYAB)
def sam(layer: Layer, x: Feature, *, from_: list[int] | None = None, activation: str = "linear") -> Feature:
    """An earlier result times the input, element by element."""
    source = layer.earlier(_named(layer, from_)[0])
    if source.dims != x.dims:
        raise Malformed(
            f"{x.channels} x {x.height} x {x.width} times {source.channels} x {source.height} x "
            f"{source.width}",
            expected="the same size",
        )
    return layer.like(
        activate(layer, layer.op("Mul", layer.image(source), layer.image(x), what="scaled"), activation), x
    )


@section("implicit", only=Fork.ALEXEYAB)
def implicit(layer: Layer, x: Feature, *, filters: int = 128, atoms: int = 1) -> Feature:
    """Learned numbers, the same for every picture: (filters, atoms, 1)."""
    positive(filters=filters, atoms=atoms)
    return layer.every_row(layer.take("weights", 1, filters, atoms, 1), filters, atoms, 1)
