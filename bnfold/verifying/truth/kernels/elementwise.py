"""Element by element in float64; integers keep their own arithmetic. Formulas are those of the ONNX operator
documents."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....operators.arguments import first_axis
from .windows import Array

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def erf(x: Array) -> Array:
    """The error function; numpy has none."""
    return np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


def sigmoid(x: Array) -> Array:
    """1/(1 + exp(-x)) without overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + small), small / (1 + small)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) without overflow."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _aligned(call: Any, a: Array, b: Array) -> Array:
    """Before opset 7 the second operand is broadcast by `broadcast` and `axis`, from that axis on; since then
    from the right."""
    if call.opset >= 7:
        return b
    return b.reshape(b.shape + (1,) * (a.ndim - first_axis(call.get, 1, b.ndim, a.ndim) - b.ndim))


def _binary(compute: Callable[[Array, Array], Any]) -> Callable[..., Array]:
    return lambda call, a, b: np.asarray(compute(a, _aligned(call, a, b)))


def _unary(compute: Callable[[Array], Any]) -> Callable[..., Array]:
    return lambda call, x: np.asarray(compute(x))


def _many(compute: Callable[[Array, Array], Any]) -> Callable[..., Array]:
    return lambda call, *xs: np.asarray(functools.reduce(compute, xs))


def _divide(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f":
        return a / b
    quotient = np.floor_divide(np.abs(a), np.abs(b)) if a.dtype.kind == "i" else a // b
    return (quotient * np.sign(a) * np.sign(b)).astype(a.dtype) if a.dtype.kind == "i" else quotient


def _power(a: Array, b: Array) -> Any:
    return np.power(a.astype(np.float64), b).astype(a.dtype) if a.dtype.kind != "f" else np.power(a, b)


def _mod(call: Any, a: Array, b: Array) -> Array:
    return np.asarray(np.fmod(a, b) if call.get("fmod", 0) else np.mod(a, b))


def clip(call: Any, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """Bounds are attributes before opset 11, inputs since."""
    low, high = (call.get("min"), call.get("max")) if call.opset < 11 else (low, high)
    result = x if low is None else np.maximum(x, low)
    return np.asarray(result if high is None else np.minimum(result, high)).astype(x.dtype, copy=False)


def prelu(call: Any, x: Array, slope: Array) -> Array:
    """Slope per channel before opset 7 (a vector), broadcast from the right since."""
    if call.opset < 7 and slope.ndim == 1 and slope.size > 1:
        slope = slope.reshape(-1, *(1,) * (x.ndim - 2))
    return np.where(x < 0, x * slope, x)


def gelu(call: Any, x: Array) -> Array:
    """Exact, or the tanh approximation where the node asks for it."""
    if call.get("approximate", "none") == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


def swish(call: Any, x: Array) -> Array:
    """x·sigmoid(alpha·x)."""
    return x * sigmoid(call.get("alpha", 1.0) * x)


def elu(call: Any, x: Array) -> Array:
    """alpha·(exp(x) - 1) below zero."""
    return np.where(x < 0, call.get("alpha", 1.0) * np.expm1(np.minimum(x, 0)), x)


def celu(call: Any, x: Array) -> Array:
    """alpha·(exp(x/alpha) - 1) below zero."""
    alpha = call.get("alpha", 1.0)
    return np.asarray(np.maximum(0, x) + np.minimum(0, alpha * np.expm1(x / alpha)))


def selu(call: Any, x: Array) -> Array:
    """gamma·(alpha·(exp(x) - 1)) below zero, gamma·x above."""
    alpha, gamma = call.get("alpha", SELU_ALPHA), call.get("gamma", SELU_GAMMA)
    return np.asarray(gamma * np.where(x <= 0, alpha * np.expm1(np.minimum(x, 0)), x))


def hard_sigmoid(call: Any, x: Array) -> Array:
    """max(0, min(1, alpha·x + beta))."""
    return np.asarray(np.clip(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0, 1))


def shrink(call: Any, x: Array) -> Array:
    """0 within ±lambd, moved towards 0 by bias outside."""
    bias, lambd = call.get("bias", 0.0), call.get("lambd", 0.5)
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)).astype(x.dtype)


def is_inf(call: Any, x: Array) -> Array:
    """Which infinities count is up to two attributes."""
    positive = np.isposinf(x) & bool(call.get("detect_positive", 1))
    return np.asarray(positive | (np.isneginf(x) & bool(call.get("detect_negative", 1))))


def where(call: Any, condition: Array, a: Array, b: Array) -> Array:
    """a where the condition holds, else b."""
    return np.where(condition, a, b)


def mean(call: Any, *xs: Array) -> Array:
    """The mean of the inputs, broadcast."""
    return np.asarray(functools.reduce(np.add, xs) / len(xs))


TABLE: dict[str, Callable[..., Any]] = {
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
    "Pow": _binary(_power),
    "Mod": _mod,
    "PRelu": prelu,
    "Where": where,
    "Clip": clip,
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Sum": _many(np.add),
    "Mean": mean,
    "Equal": _binary(np.equal),
    "Greater": _binary(np.greater),
    "Less": _binary(np.less),
    "GreaterOrEqual": _binary(np.greater_equal),
    "LessOrEqual": _binary(np.less_equal),
    "And": _binary(np.logical_and),
    "Or": _binary(np.logical_or),
    "Xor": _binary(np.logical_xor),
    "Not": _unary(np.logical_not),
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Sigmoid": _unary(sigmoid),
    "Tanh": _unary(np.tanh),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Sqrt": _unary(np.sqrt),
    "Abs": _unary(np.abs),
    "Neg": _unary(np.negative),
    "Reciprocal": _unary(np.reciprocal),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Round": _unary(np.rint),
    "Sign": _unary(np.sign),
    "Erf": _unary(erf),
    "Softplus": _unary(softplus),
    "Softsign": _unary(lambda x: x / (1 + np.abs(x))),
    "Mish": _unary(lambda x: x * np.tanh(softplus(x))),
    "HardSwish": _unary(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Sin": _unary(np.sin),
    "Cos": _unary(np.cos),
    "Tan": _unary(np.tan),
    "Asin": _unary(np.arcsin),
    "Acos": _unary(np.arccos),
    "Atan": _unary(np.arctan),
    "Sinh": _unary(np.sinh),
    "Cosh": _unary(np.cosh),
    "Asinh": _unary(np.arcsinh),
    "Acosh": _unary(np.arccosh),
    "Atanh": _unary(np.arctanh),
    "IsNaN": _unary(np.isnan),
    "IsInf": is_inf,
    "LeakyRelu": lambda call, x: np.where(x < 0, call.get("alpha", 0.01) * x, x),
    "ThresholdedRelu": lambda call, x: np.where(x > call.get("alpha", 1.0), x, 0.0),
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "HardSigmoid": hard_sigmoid,
    "Shrink": shrink,
    "Gelu": gelu,
    "Swish": swish,
}
