"""Normalisations in float64.

BatchNormalization of every opset: 1 and 6 (is_test, spatial, consumed_inputs), 7 (spatial), 9, 14 and 15
(training_mode). Before 14 a node trains when it asks for the statistics as further outputs; from 14 on the
attribute says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....operators.arguments import axis_argument, softmax_axes
from .windows import Array


def _channels(values: Array, rank: int) -> Array:
    return values.reshape(-1, *(1,) * (rank - 2))


def batch_norm(call: Any, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> tuple[Array, ...]:
    """scale·(x - mean)/sqrt(var + epsilon) + bias; in training with the batch's own mean and (biased)
    variance."""
    epsilon, momentum = call.get("epsilon", 1e-5), call.get("momentum", 0.9)
    per_activation = call.opset < 9 and not call.get("spatial", 1)
    axes = (0,) if per_activation else tuple(i for i in range(x.ndim) if i != 1)

    def shaped(values: Array) -> Array:
        return values.reshape(1, *x.shape[1:]) if per_activation else _channels(values, max(x.ndim, 2))

    if not _trains(call):
        return (((x - shaped(mean)) * (shaped(scale) / np.sqrt(shaped(var) + epsilon)) + shaped(bias)),)
    own_mean, own_var = x.mean(axis=axes), x.var(axis=axes)
    own_mean, own_var = own_mean.reshape(mean.shape), own_var.reshape(var.shape)
    y = (x - shaped(own_mean)) * (shaped(scale) / np.sqrt(shaped(own_var) + epsilon)) + shaped(bias)
    running = mean * momentum + own_mean * (1 - momentum), var * momentum + own_var * (1 - momentum)
    return (y, *running) if call.opset >= 14 else (y, *running, own_mean, own_var)


def _trains(call: Any) -> bool:
    if call.opset >= 14:
        return bool(call.get("training_mode", 0))
    if call.opset < 7:
        return not bool(call.get("is_test", 0))
    return bool(sum(call.wanted) > 1)


def instance_norm(call: Any, x: Array, scale: Array, bias: Array) -> Array:
    """Each channel of each image by its own statistics."""
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=axes, keepdims=True) + call.get("epsilon", 1e-5))
    return np.asarray(centred / deviation * _channels(scale, x.ndim) + _channels(bias, x.ndim))


def layer_norm(call: Any, x: Array, scale: Array, bias: Array | None = None) -> tuple[Array, ...]:
    """Over all axes from `axis` on; (y, mean, 1/deviation)."""
    axes = tuple(range(axis_argument(call.get, "LayerNormalization", x.ndim), x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + call.get("epsilon", 1e-5))
    y = (x - mean) * inverse * scale
    return (y if bias is None else y + bias), mean, inverse


def rms_norm(call: Any, x: Array, scale: Array) -> Array:
    """x / sqrt(mean(x²) + epsilon)·scale over all axes from `axis` on."""
    axes = tuple(range(axis_argument(call.get, "RMSNormalization", x.ndim), x.ndim))
    return np.asarray(x / np.sqrt((x**2).mean(axis=axes, keepdims=True) + call.get("epsilon", 1e-5)) * scale)


def group_norm(call: Any, x: Array, scale: Array, bias: Array) -> Array:
    """Groups of channels by their own statistics; scale and bias per group (opset 18 to 20) or per channel
    (21)."""
    groups = call.get("num_groups")
    folded = x.reshape(x.shape[0], groups, -1)
    centred = folded - folded.mean(axis=2, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + call.get("epsilon", 1e-5))
    if call.opset < 21:
        scale, bias = (np.repeat(v, x.shape[1] // groups) for v in (scale, bias))
    return np.asarray(y.reshape(x.shape) * _channels(scale, x.ndim) + _channels(bias, x.ndim))


def lrn(call: Any, x: Array) -> Array:
    """x / (bias + alpha/size·Σx²)^beta over a window of `size` channels."""
    size = call.get("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = np.zeros((x.shape[0], x.shape[1] + before + after, *x.shape[2:]))
    squares[:, before : before + x.shape[1]] = x**2
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return np.asarray(
        x / (call.get("bias", 1.0) + call.get("alpha", 1e-4) / size * total) ** call.get("beta", 0.75)
    )


def lp_normalization(call: Any, x: Array) -> Array:
    """x over its p-norm along an axis; 0 where the norm is 0."""
    axis = axis_argument(call.get, "LpNormalization", x.ndim)
    norm = np.linalg.norm(x, ord=call.get("p", 2), axis=axis, keepdims=True)
    return np.where(norm == 0, 0.0, x / np.where(norm == 0, 1.0, norm))


def mean_variance(call: Any, x: Array) -> Array:
    """(x - mean)/(deviation + 1e-9), as the operator's function body says."""
    axes = tuple(call.get("axes") or (0, 2, 3))
    mean = x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt((x**2).mean(axis=axes, keepdims=True) - mean**2)
    return np.asarray((x - mean) / (deviation + 1e-9))


def softmax(call: Any, x: Array, *, log: bool = False) -> Array:
    """Along `axis` (opset 13 on); before that over everything from `axis` (default 1) on."""
    axes = softmax_axes(call.get, "Softmax", call.opset, x.ndim)
    shifted = x - x.max(axis=axes, keepdims=True)
    total = np.exp(shifted).sum(axis=axes, keepdims=True)
    return np.asarray(shifted - np.log(total) if log else np.exp(shifted) / total)


TABLE: dict[str, Callable[..., Any]] = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "GroupNormalization": group_norm,
    "LRN": lrn,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance,
    "Softmax": softmax,
    "LogSoftmax": lambda call, x: softmax(call, x, log=True),
}
