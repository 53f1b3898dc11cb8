"""Batch norms of Caffe and its forks.

    BatchNorm   y = (x - mean) / sqrt(variance + eps), mean and variance as stored times s, s = 1 / factor,
                and 0 for a factor of 0 bvlc      mean, variance, factor
                nvcaffe   mean, variance, factor, scale, bias; nothing is divided by the factor; eps at least
                          1e-5. Three blobs are BVLC's, and divided
                digits    nvcaffe 0.15: scale, bias, mean, variance and one reserved number
                intel     mean, variance, factor [, scale [, bias]]; divided as in bvlc
    BN          segnet    scale, shift: y = scale x + shift (statistics merged already); bn_mode LEARN: batch
                statistics, eps 1e-9 pspnet    slope, bias, mean, variance

The channel axis is 1, whatever the rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ....ir.graph import ir
from ....ir.tensor import Recipe, array
from ..blob import Shape, shown
from ..layer import Layer, Value, along_channels, dims
from ..registry import ENGINE, FILLER, layer
from ..schema import Node

NVCAFFE_EPS = 1e-5
SEGNET_EPS = 1e-9
INTEL_FIELDS = ("use_weight_bias", "bias_term", "filler", "stats_batch_size", "relu")
INTEL_ENGINES = ("MKL2017", "MKLDNN")
NVCAFFE_FIELDS = ("scale_bias", "scale_filler")


def batch_statistics(at: Layer, x: Value, eps: float) -> Value:
    """What a batch norm computes from its own input: biased variance over everything but the channels."""
    axes = [i for i in range(len(dims(x))) if i != 1]
    centred = at.op("Sub", x, at.reduce("ReduceMean", x, axes))
    variance = at.reduce("ReduceMean", at.op("Mul", centred, centred), axes)
    deviation = at.op("Sqrt", at.op("Add", variance, at.scalar(eps, "eps")))
    return at.op("Div", centred, deviation)


def filled(at: Layer, channels: int, value: float, what: str) -> Value:
    """A vector of one value."""
    at.limit_constant(channels)
    return at.constant(np.full(channels, value, np.float32), what)


def channels_of(at: Layer, x: Value) -> int:
    """The channels of a batch norm's input, which needs two axes at least."""
    if len(dims(x)) < 2:
        raise at.malformed(
            f"a bottom of shape {shown(dims(x))}", "at least two axes: the second one is normalised"
        )
    return dims(x)[1]


def _divided(at: Layer, x: Value, index: int, what: str, channels: int, factor: float) -> Value:
    """A stored statistic as a graph value, divided by the third blob."""
    if factor == 1.0:
        return at.blob(index, what, (channels,), meets=x)
    stored = at.stored(index, what, (channels,))
    scale = 1.0 / factor if factor else 0.0

    def divided() -> Iterator[np.ndarray]:
        yield (array(stored).astype(np.float64) * scale).astype(np.float32)

    value = at.initializer(Recipe(ir.DataType.FLOAT, (channels,), divided), what)
    at.blobs[value.name or ""] = (index, (channels,))
    return value


@layer(
    "BatchNorm",
    param="batch_norm_param",
    inplace=True,
    ignoring={
        "moving_average_fraction": "training",
        "update_global_stats": "training",
        "stats_batch_size": "training",
        "engine": ENGINE,
        "filler": FILLER,
        "bias_filler": FILLER,
        "scale_filler": FILLER,
    },
)
def batch_norm(
    at: Layer,
    x: Value,
    *,
    use_global_stats: bool | None = None,
    eps: float = 1e-5,
    scale_bias: bool = False,
    use_weight_bias: bool = True,
    bias_term: bool = True,
    relu: bool = False,
) -> Value:
    """Batch norm with stored statistics; with batch statistics where the file asks for them. BVLC's,
    NVCaffe's and Intel's blobs."""
    channels = channels_of(at, x)
    dialect, count = _dialect(at)
    if dialect == "bvlc":
        _check_rates(at)
    if dialect in ("nvcaffe", "digits"):
        eps = max(eps, NVCAFFE_EPS)
    elif use_global_stats is False or (use_global_stats is None and at.phase == "TRAIN"):
        if not at.options.assume_global_stats:
            return _unfoldable(at, x, eps, count, channels)
        at.note(
            "caffe.assumed-global-stats",
            "use_global_stats is false; stored statistics are used as asked",
            "warning",
        )
    order = DIGITS_ORDER if dialect == "digits" else ORDER
    sums = dialect in DIVIDED or (at.stored_blobs == 3 and at.options.dialect != "nvcaffe")
    mean, variance = _statistics(at, x, channels, order, sums)
    gamma, beta = _coefficients(at, channels, order, count)
    y = at.op("BatchNormalization", x, gamma, beta, mean, variance, epsilon=eps)
    return at.op("Relu", y) if relu else y


class Order(NamedTuple):
    """Which stored blob is what."""

    mean: int
    variance: int
    factor: int
    scale: int
    bias: int


ORDER = Order(mean=0, variance=1, factor=2, scale=3, bias=4)
DIGITS_ORDER = Order(mean=2, variance=3, factor=4, scale=0, bias=1)
DIVIDED = ("bvlc", "intel")  # dialects whose statistics are always sums, to be divided by the factor


def _statistics(at: Layer, x: Value, channels: int, order: Order, divided: bool) -> tuple[Value, Value]:
    """Mean and variance as graph values."""
    factor = float(array(at.stored(order.factor, "factor", (1,), [(1, 1, 1, 1), (1, 1)]))[0])
    numbered = ((order.mean, "mean"), (order.variance, "variance"))
    if not divided:
        mean, variance = (
            at.blob(i, what, (channels,), forms=_forms(channels), meets=x) for i, what in numbered
        )
        return mean, variance
    at.divisor = order.factor
    if factor == 0 and not at.weights.problems:
        at.note(
            "caffe.factor-zero",
            "the third blob is 0, so mean and variance count as 0: y = x / sqrt(eps)",
            "warning",
        )
    mean, variance = (_divided(at, x, i, what, channels, factor) for i, what in numbered)
    return mean, variance


def _coefficients(at: Layer, channels: int, order: Order, count: int) -> tuple[Value, Value]:
    """Scale and bias as graph values: stored with the layer, or, where a batch norm of NVCaffe meets weights
    of BVLC, with the Scale that follows it in the weights file."""
    follower = at.weights.follower(at.index, "Scale") if count == 5 and at.stored_blobs == 3 else None
    if follower is not None and all(blob.fits((channels,)) for blob in follower.blobs):
        at.note(
            "caffe.borrowed-scale",
            f"it has a scale and a bias of its own, and the weights file has them in '{follower.name}'",
            "warning",
        )
        names = ("scale", "bias")
        found = [
            at.initializer(b.tensor((channels,)), w) for b, w in zip(follower.blobs, names, strict=False)
        ]
        return found[0], found[1] if len(found) > 1 else filled(at, channels, 0.0, "zero")
    forms = _forms(channels)
    gamma = (
        at.blob(order.scale, "scale", (channels,), forms=forms)
        if count > 3
        else filled(at, channels, 1.0, "one")
    )
    beta = (
        at.blob(order.bias, "bias", (channels,), forms=forms)
        if count > 4
        else filled(at, channels, 0.0, "zero")
    )
    return gamma, beta


def _forms(channels: int) -> list[Shape]:
    """Shapes in which forks store a vector of channels."""
    return [(1, channels, 1, 1), (1, channels)]


def _fork(given: Node) -> str:
    """The fork whose fields a batch_norm_param has, "" for none."""
    if any(given.has(field) for field in INTEL_FIELDS) or given.get("engine") in INTEL_ENGINES:
        return "intel"
    return "nvcaffe" if any(given.has(field) for field in NVCAFFE_FIELDS) else ""


def _dialect(at: Layer) -> tuple[str, int]:
    """Whose BatchNorm this is, and how many blobs it has. Remembered for the report, with the reason."""
    stored = at.stored_blobs
    given = at.node.get("batch_norm_param")
    named = _fork(given) if given is not None else ""
    asked = at.options.dialect if at.options.dialect in ("bvlc", "nvcaffe", "digits", "intel") else ""
    dialect = asked or ("bvlc" if (stored or 3) <= 3 and named != "nvcaffe" else named or "nvcaffe")
    if asked:
        reason = "as asked"
    elif named and dialect == named:
        reason = f"batch_norm_param has fields of {named}"
    else:
        reason = f"BatchNorm has {stored or 3} blobs"
    if dialect == "nvcaffe" and _of_digits(at):
        dialect, reason = "digits", "the last of the five blobs of BatchNorm is one number"
    elif dialect == "nvcaffe" and stored in (None, 3) and given is not None:
        fields = given.get("scale_bias") or given.has("scale_filler") or given.has("bias_filler")
        stored = 5 if fields and "Scale" not in at.readers else 3
    at.weights.dialects[at.index] = (dialect, reason)
    return dialect, (3 if dialect == "bvlc" else min(stored or 3, 5))


def _of_digits(at: Layer) -> bool:
    """Are the blobs in the order of NVCaffe 0.15, whose last one is a single reserved number? A batch norm of
    one channel does not tell."""
    first, last = at.weights.stored(at.index, 0), at.weights.stored(at.index, 4)
    return at.stored_blobs == 5 and first is not None and last is not None and last.count == 1 < first.count


def _check_rates(at: Layer) -> None:
    """Caffe refuses learning rates on the statistics, unless all three blocks are there (then it clears
    them)."""
    specs = at.node.all("param")
    if len(specs) < 3 and any(spec.get("lr_mult") != 0 for spec in specs):
        raise at.malformed(
            "a learning rate on the statistics of a BatchNorm",
            "param { lr_mult: 0 }, three times or not at all",
            "NVCaffe allows it: --dialect nvcaffe",
        )


def _unfoldable(at: Layer, x: Value, eps: float, count: int, channels: int) -> Value:
    """Batch statistics, as Caffe computes them when told to; the stored ones are not used."""
    at.note(
        "caffe.batch-statistics",
        "use_global_stats is false: it normalises by the statistics of its own batch, which cannot be folded "
        "(--assume-global-stats uses the stored ones)",
        "warning",
    )
    at.blobs_used = count
    y = batch_statistics(at, x, eps)
    for index, what, op in ((3, "scale", "Mul"), (4, "bias", "Add")):
        if count > index:
            y = at.op(
                op,
                y,
                at.blob(index, what, (channels,), forms=_forms(channels), view=along_channels(dims(x))),
                shape=dims(x),
            )
    return y


@layer(
    "BN",
    param="bn_param",
    inplace=True,
    origin="segnet, pspnet, tsn",
    ignoring={
        "momentum": "training",
        "engine": ENGINE,
        "slope_filler": FILLER,
        "bias_filler": FILLER,
        "scale_filler": FILLER,
        "shift_filler": FILLER,
    },
)
def bn(at: Layer, x: Value, *, eps: float = 1e-5, frozen: bool = False, bn_mode: str = "LEARN") -> Value:
    """The forks' batch norm: SegNet's two blobs (statistics merged, or batch statistics in LEARN mode) and
    PSPNet's four."""
    channels = channels_of(at, x)
    stored, given = at.stored_blobs, at.node.get("bn_param")
    segnet_fields = given is not None and any(
        given.has(field) for field in ("bn_mode", "scale_filler", "shift_filler")
    )
    asked = at.options.dialect if at.options.dialect in ("segnet", "pspnet") else ""
    dialect = asked or ("segnet" if stored == 2 or (stored is None and segnet_fields) else "pspnet")
    at.weights.dialects[at.index] = (
        dialect,
        "as asked" if asked else f"BN has {stored} blobs" if stored else "fields of bn_param",
    )
    along = along_channels(dims(x))
    if dialect == "segnet":
        if bn_mode == "LEARN":
            at.note(
                "caffe.batch-statistics",
                "bn_mode is LEARN: it normalises by the statistics of its own batch, which cannot be folded",
                "warning",
            )
            x = batch_statistics(at, x, SEGNET_EPS)
        scale = at.blob(0, "scale", (1, channels, 1, 1), forms=[(channels,), (1, channels)], view=along)
        shift = at.blob(1, "shift", (1, channels, 1, 1), forms=[(channels,), (1, channels)], view=along)
        return at.op("Add", at.op("Mul", x, scale), shift)
    if at.phase == "TRAIN" and not frozen:
        raise at.unsupported("batch statistics of the TRAIN phase", "phase TEST")
    four = [
        at.blob(i, what, (1, channels, 1, 1), forms=[(1, channels), (channels,)], view=(channels,), meets=x)
        for i, what in enumerate(("scale", "bias", "mean", "variance"))
    ]
    return at.op("BatchNormalization", x, *four, epsilon=eps)
