"""Operators of onnxruntime's own domain, com.microsoft, that its optimiser puts in the place of standard
ones, in float64. Formulas are those of its operator documents. What is a chain of standard operators stands
in fused_operators.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementwise import erf, sigmoid
from .windows import Array

DOMAIN = "com.microsoft"


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
    "Gelu": gelu,
    "BiasGelu": bias_gelu,
    "FastGelu": fast_gelu,
    "QuickGelu": quick_gelu,
    "SkipLayerNormalization": skip_layer_norm,
}
