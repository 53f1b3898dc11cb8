"""Operators of onnxruntime's own domain, com.microsoft, that its optimiser puts in the place of standard
ones, in float64. Formulas are those of its operator documents.

A fused operator is the standard one and what follows it, so it calls the kernels of those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementwise import erf, sigmoid
from .linear import conv, gemm
from .windows import Array

DOMAIN = "com.microsoft"


def _activated(name: str, parameters: list[float], y: Array) -> Array:
    """The activation that a fused operator applies."""
    if name in ("", "Relu"):
        return y if not name else np.maximum(y, 0.0)
    if name == "LeakyRelu":
        return np.where(y < 0, y * parameters[0], y)
    if name == "Clip":
        return np.clip(y, parameters[0], parameters[1])
    if name == "HardSigmoid":
        return np.clip(parameters[0] * y + parameters[1], 0.0, 1.0)
    if name == "Tanh":
        return np.asarray(np.tanh(y))
    if name == "Sigmoid":
        return sigmoid(y)
    raise ValueError(f"the activation '{name}' is not known")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def fused_conv(call: Any, x: Array, w: Any, b: Array | None = None, z: Array | None = None) -> Array:
    """Conv, the sum with a fourth input, an activation."""
    y = conv(call, x, w, b)
    y = y if z is None else y + z
    return _activated(_text(call.get("activation")), list(call.get("activation_params") or ()), y)


def fused_gemm(call: Any, a: Array, b: Any, c: Array | None = None) -> Array:
    """Gemm and an activation, whose parameters are attributes of their own."""
    parameters = [
        float(value)
        for name in ("activation_alpha", "activation_beta", "activation_gamma")
        if (value := call.get(name)) is not None
    ]
    return _activated(_text(call.get("activation")), parameters, gemm(call, a, b, c))


def fused_matmul(call: Any, a: Array, b: Any) -> Array:
    """alpha times the product of two matrices, either transposed in its last two axes or in its batch
    axes."""
    left, right = a, b[:] if not isinstance(b, np.ndarray) else b
    if call.get("transBatchA", 0) or call.get("transBatchB", 0):
        raise ValueError("transposed batches are not evaluated")
    left = np.swapaxes(left, -1, -2) if call.get("transA", 0) and left.ndim > 1 else left
    right = np.swapaxes(right, -1, -2) if call.get("transB", 0) and right.ndim > 1 else right
    return np.asarray(np.matmul(left, right) * call.get("alpha", 1.0))


def gelu(call: Any, x: Array) -> Array:
    """x/2 (1 + erf(x/sqrt(2)))."""
    return np.asarray(0.5 * x * (1.0 + erf(x / np.sqrt(2.0))))


def bias_gelu(call: Any, x: Array, b: Array) -> Array:
    """Gelu of a sum."""
    return gelu(call, x + b)


def fast_gelu(call: Any, x: Array, b: Array | None = None) -> Array:
    """Gelu by a hyperbolic tangent, with its constants in single precision."""
    y = x if b is None else x + b
    return np.asarray(0.5 * y * (1.0 + np.tanh(y * (0.7978845608028654 + 0.035677408136300125 * y * y))))


def quick_gelu(call: Any, x: Array) -> Array:
    """x sigmoid(alpha x)."""
    return np.asarray(x * sigmoid(call.get("alpha", 1.702) * x))


def skip_layer_norm(
    call: Any, x: Array, skip: Array, gamma: Array, beta: Array | None = None, bias: Array | None = None
) -> tuple[Array, ...]:
    """LayerNormalization of a sum along the last axis; the sum is the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    mean = total.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(((total - mean) ** 2).mean(axis=-1, keepdims=True) + call.get("epsilon", 1e-12))
    y = (total - mean) / deviation * gamma
    return (y if beta is None else y + beta, mean, 1.0 / deviation, total)[: max(len(call.wanted), 1)]


CONTRIB: dict[str, Callable[..., Any]] = {
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": gelu,
    "BiasGelu": bias_gelu,
    "FastGelu": fast_gelu,
    "QuickGelu": quick_gelu,
    "SkipLayerNormalization": skip_layer_norm,
}
# the linear operators that an activation is fused to, without it
PLAIN: dict[str, Callable[..., Any]] = {"FusedConv": conv, "FusedGemm": gemm}
