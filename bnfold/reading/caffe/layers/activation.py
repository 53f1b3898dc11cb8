"""Element-wise functions of one blob, and of several blobs of one shape."""

from __future__ import annotations

import math

import numpy as np

from ....ir.tensor import from_array
from ..blob import shown
from ..layer import BOOL, FLOAT, INT64, Layer, Value, along_channels, dims
from ..registry import ENGINE, layer
from ..schema import Node


def leaky(at: Layer, x: Value, slope: float) -> Value:
    """max(x, 0) + slope min(x, 0)"""
    return at.op("LeakyRelu", x, alpha=slope) if slope else at.op("Relu", x)


@layer("ReLU", param="relu_param", inplace=True, ignoring={"engine": ENGINE, "fuse": ENGINE})
def relu(at: Layer, x: Value, *, negative_slope: float = 0.0) -> Value:
    """max(x, 0) + slope min(x, 0)"""
    return leaky(at, x, negative_slope)


@layer(
    "ReLU6",
    param=("relu6_param", "relu_param"),
    inplace=True,
    origin="mobilenet-yolo",
    ignoring={"engine": ENGINE, "fuse": ENGINE},
)
def relu6(at: Layer, x: Value, *, negative_slope: float = 0.0) -> Value:
    """min(max(x, 0) + slope min(x, 0), 6)"""
    if not negative_slope:
        return at.op("Clip", x, at.scalar(0.0, "low"), at.scalar(6.0, "high"))
    return at.op("Min", leaky(at, x, negative_slope), at.scalar(6.0, "high"))


@layer("PReLU", param="prelu_param", inplace=True)
def prelu(at: Layer, x: Value, *, filler: Node | None = None, channel_shared: bool = False) -> Value:
    """max(x, 0) + a min(x, 0) with a learned slope for each channel, or one for all"""
    shape = dims(x)
    if len(shape) < 2:
        raise at.malformed(f"a bottom of shape {shown(shape)}", "at least two axes")
    if channel_shared:
        return at.op(
            "PRelu", x, at.blob(0, "slope", (), forms=[(1,)], filler=filler, default=0.25, view=(1,))
        )
    return at.op(
        "PRelu", x, at.blob(0, "slope", (shape[1],), filler=filler, default=0.25, view=along_channels(shape))
    )


@layer("ELU", param="elu_param", inplace=True)
def elu(at: Layer, x: Value, *, alpha: float = 1.0, lambda_: float = 1.0) -> Value:
    """x above 0, alpha (exp(x) - 1) below"""
    at.expect("lambda", lambda_, 1.0)
    return at.op("Elu", x, alpha=alpha)


@layer("Sigmoid", param="sigmoid_param", inplace=True, ignoring={"engine": ENGINE})
def sigmoid(at: Layer, x: Value) -> Value:
    """1 / (1 + exp(-x))"""
    return at.op("Sigmoid", x)


@layer("TanH", param="tanh_param", inplace=True, ignoring={"engine": ENGINE})
def tanh(at: Layer, x: Value) -> Value:
    """tanh(x)"""
    return at.op("Tanh", x)


@layer("AbsVal", inplace=True)
def absval(at: Layer, x: Value) -> Value:
    """|x|"""
    return at.op("Abs", x)


@layer("BNLL", inplace=True)
def bnll(at: Layer, x: Value) -> Value:
    """log(1 + exp(x))"""
    return at.op("Softplus", x)


@layer("HardSigmoid", inplace=True, origin="mobilenet-yolo")
def hard_sigmoid(at: Layer, x: Value) -> Value:
    """min(max(0.2 x + 0.5, 0), 1)"""
    return at.op("HardSigmoid", x, alpha=0.2, beta=0.5)


@layer("Swish", param="swish_param", inplace=True)
def swish(at: Layer, x: Value, *, beta: float = 1.0) -> Value:
    """x sigmoid(beta x)"""
    return at.op("Mul", x, at.op("Sigmoid", affine(at, x, beta, 0.0)))


@layer("Clip", param="clip_param", inplace=True)
def clip(at: Layer, x: Value, *, min: float, max: float) -> Value:
    """min(max(x, low), high)"""
    return at.op("Clip", x, at.scalar(min, "low"), at.scalar(max, "high"))


@layer("BReLU", param="brelu_param", inplace=True, origin="fpcnet, dehazenet")
def brelu(at: Layer, x: Value, *, minval: float | None = None, maxval: float | None = None) -> Value:
    """min(max(x, minval), maxval)"""
    if minval is None or maxval is None:
        raise at.malformed("'minval' or 'maxval' is missing", "brelu_param { minval: ... maxval: ... }")
    return at.op("Clip", x, at.scalar(minval, "low"), at.scalar(maxval, "high"))


@layer("Mish", inplace=True, origin="mobilenet-yolo, openvino")
def mish(at: Layer, x: Value) -> Value:
    """x tanh(log(1 + exp(x)))"""
    return at.op("Mul", x, at.op("Tanh", at.op("Softplus", x)))


@layer("Threshold", param="threshold_param", inplace=True)
def threshold(at: Layer, x: Value, *, threshold: float = 0.0) -> Value:
    """1 above the threshold, else 0"""
    return at.cast(at.op("Greater", x, at.scalar(threshold, "threshold"), dtype=BOOL), FLOAT)


def _scales(node: Node) -> bool:
    """Does a dropout scale at inference, because it does not while training?"""
    given = node.get("dropout_param")
    return given is not None and not given.get("scale_train")


@layer(
    "Dropout",
    "SpatialDropout",
    param=("dropout_param", "spatial_dropout_param"),
    role="identity",
    inplace=True,
    acts=_scales,
    ignoring={"engine": ENGINE, "random_seed": "training"},
)
def dropout(
    at: Layer,
    x: Value,
    *,
    dropout_ratio: float = 0.5,
    scale_train: bool = True,
    sample_weights_test: bool = False,
) -> Value:
    """x: nothing is dropped, and nothing rescaled, at inference; (1 - ratio) x where scale_train is false"""
    at.expect("sample_weights_test", sample_weights_test, False)
    return x if scale_train else affine(at, x, 1.0 - dropout_ratio, 0.0)


def affine(at: Layer, x: Value, scale: float, shift: float) -> Value:
    """scale x + shift, without the parts that change nothing"""
    if scale != 1.0:
        x = at.op("Mul", x, at.scalar(scale, "scale"))
    return at.op("Add", x, at.scalar(shift, "shift")) if shift != 0.0 else x


def everywhere(at: Layer, x: Value, value: float) -> Value:
    """A constant of the shape of `x`."""
    shape = at.op("Shape", x, shape=(len(dims(x)),), dtype=INT64)
    return at.op(
        "ConstantOfShape", shape, shape=dims(x), dtype=FLOAT, value=from_array(np.array([value], np.float32))
    )


@layer("Power", param="power_param", inplace=True)
def power(at: Layer, x: Value, *, power: float = 1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """(shift + scale x) ^ power"""
    if power * scale == 0.0:
        return everywhere(at, x, 1.0 if power == 0.0 else _float32(np.power, shift, power))
    y = affine(at, x, scale, shift)
    return at.op("Pow", y, at.scalar(power, "power")) if power != 1.0 else y


def _float32(function: np.ufunc, *arguments: float) -> float:
    """A function of numbers as C computes it: overflow is infinite, what is undefined is NaN."""
    with np.errstate(all="ignore"):
        return float(np.float32(function(*(np.float64(a) for a in arguments))))


def _log_base(at: Layer, base: float, param: str) -> float:
    if base != -1.0 and base <= 0.0:
        raise at.malformed(f"base is {base:g}", "a positive number, or -1 for e", at=(param, "base"))
    return 1.0 if base == -1.0 else math.log(base)


@layer("Exp", param="exp_param", inplace=True)
def exp(at: Layer, x: Value, *, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """base ^ (shift + scale x); a base of -1 is e"""
    log_base = _log_base(at, base, "exp_param")
    y = at.op("Exp", affine(at, x, log_base * scale, 0.0))
    return affine(at, y, _float32(np.exp, log_base * shift), 0.0)


@layer("Log", param="log_param", inplace=True)
def log(at: Layer, x: Value, *, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """log(shift + scale x) to a base; -1 is e"""
    log_base = _log_base(at, base, "log_param")
    if log_base == 0.0:
        raise at.malformed("base is 1", "any other positive number", at=("log_param", "base"))
    return affine(at, at.op("Log", affine(at, x, scale, shift)), 1.0 / log_base, 0.0)


@layer(
    "Eltwise",
    param="eltwise_param",
    inplace=True,
    ignoring={"stable_prod_grad": "training", "engine": ENGINE},
)
def eltwise(
    at: Layer,
    first: Value,
    second: Value,
    *more: Value,
    operation: str = "SUM",
    coeff: tuple[float, ...] = (),
) -> Value:
    """Sum (with coefficients on demand), product or maximum of blobs of one shape"""
    xs = [first, second, *more]
    if other := next((x for x in xs if dims(x) != dims(first)), None):
        raise at.malformed(
            f"bottoms of shapes {shown(dims(first))} and {shown(dims(other))}", "the same shape"
        )
    if coeff and (operation == "PROD" or len(coeff) != len(xs)):
        raise at.malformed(
            f"{len(coeff)} coefficients for {operation} of {len(xs)} bottoms",
            "one for each bottom of a SUM, or none",
            at=("eltwise_param", "coeff"),
        )
    if operation == "MAX":
        return at.op("Max", *xs)
    if operation == "SUM":
        xs = [affine(at, x, c, 0.0) for x, c in zip(xs, coeff or (1.0,) * len(xs), strict=True)]
    total = xs[0]
    for x in xs[1:]:
        total = at.op("Add" if operation == "SUM" else "Mul", total, x)
    return total


@layer("Axpy", origin="senet")
def axpy(at: Layer, a: Value, x: Value, y: Value) -> Value:
    """a x + y with one factor for each plane"""
    shape = at.rank(x, 4)
    if dims(y) != shape or dims(a) not in (shape[:2], (*shape[:2], 1, 1)):
        raise at.malformed(
            f"bottoms of shapes {shown(dims(a))}, {shown(shape)} and {shown(dims(y))}",
            "(N, C[, 1, 1]) and two blobs (N, C, H, W)",
        )
    return at.op("Add", at.op("Mul", at.reshape(a, (*shape[:2], 1, 1)), x, shape=shape), y)
