"""Layers that make one value of several."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .net import axis_of, calm


def softmax(net, name, x):
    written, axis = axis_of(net, x) if net.chance() else (1, 1)
    e = np.exp(x - x.max(axis, keepdims=True))
    net.add(
        "Softmax",
        [name],
        [e / e.sum(axis, keepdims=True)],
        "" if written == 1 else f"softmax_param {{ axis: {written} }}",
    )


def reduction(net, name, x):
    written, axis = axis_of(net, x, 1)
    flat, factor = x.reshape(*x.shape[:axis], -1), net.pick(1.0, -0.5)
    operation = net.pick("SUM", "ASUM", "SUMSQ", "MEAN")
    y = {
        "SUM": flat.sum(-1),
        "ASUM": np.abs(flat).sum(-1),
        "SUMSQ": (flat**2).sum(-1),
        "MEAN": flat.mean(-1),
    }[operation]
    if np.abs(y).max() < 0.05 * np.abs(flat).sum(-1).max() / (flat.shape[-1] if operation == "MEAN" else 1):
        return  # nothing but rounding is left
    net.add(
        "Reduction",
        [name],
        [y * factor],
        f"reduction_param {{ operation: {operation} axis: {written} coeff: {factor} }}",
    )


def mvn(net, name, x):
    across, variance = net.chance(0.3), net.chance(0.7)
    axes = (1, 2, 3) if across else (2, 3)
    if x.var(axes).min() < 1e-3:
        return
    y = x - x.mean(axes, keepdims=True)
    if variance:
        y = y / (np.sqrt(x.var(axes, keepdims=True)) + 1e-9)
    net.add(
        "MVN",
        [name],
        [y],
        f"mvn_param {{ across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()} }}",
    )


def lrn(net, name, x):
    size, alpha, beta, k = net.pick(1, 3, 5), net.pick(1, 0.5), net.pick(0.75, 0.5), net.pick(1, 2)
    half = (size - 1) // 2
    region = net.pick("ACROSS_CHANNELS", "WITHIN_CHANNEL")
    if region == "ACROSS_CHANNELS":
        around = sliding_window_view(np.pad(x**2, [(0, 0), (half, half), (0, 0), (0, 0)]), size, axis=1).sum(
            -1
        )
        y = x / (k + alpha / size * around) ** beta
    else:
        around = sliding_window_view(
            np.pad(x**2, [(0, 0), (0, 0), (half, half), (half, half)]), (size, size), axis=(2, 3)
        ).mean((-2, -1))
        y = x * (1 + alpha * around) ** -beta
    net.add(
        "LRN",
        [name],
        [y],
        f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} norm_region: {region} }}",
    )


def pooling(net, name, x):
    method = net.pick("MAX", "AVE")
    if net.chance(0.2):
        y = x.max((2, 3), keepdims=True) if method == "MAX" else x.mean((2, 3), keepdims=True)
        net.add("Pooling", [name], [y], f"pooling_param {{ pool: {method} global_pooling: true }}")
        return
    kernel, stride = ([net.whole(1, 3) for _ in range(2)] for _ in range(2))
    stride = [
        min(s, k) for s, k in zip(stride, kernel, strict=True)
    ]  # a window outside of the image has no mean
    pad = [net.whole(0, k - 1) for k in kernel]
    floor = net.chance(0.3)
    outs = []
    for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        span = n + 2 * p - k
        outs.append((span // s if floor else -(-span // s)) + 1 if span >= 0 else 0)
    if min(outs) < 1:
        return
    if any(pad):
        outs = [
            o - 1 if (o - 1) * s >= n + p else o
            for o, s, n, p in zip(outs, stride, x.shape[2:], pad, strict=True)
        ]
    y = np.empty((*x.shape[:2], *outs))
    for at in product(*map(range, outs)):
        starts = [a * s - p for a, s, p in zip(at, stride, pad, strict=True)]
        ends = [min(b + k, n + p) for b, k, n, p in zip(starts, kernel, x.shape[2:], pad, strict=True)]
        area = prod(e - b for b, e in zip(starts, ends, strict=True))
        part = x[
            (..., *(slice(max(b, 0), min(e, n)) for b, e, n in zip(starts, ends, x.shape[2:], strict=True)))
        ]
        y[(..., *at)] = part.max((2, 3)) if method == "MAX" else part.sum((2, 3)) / area
    net.add(
        "Pooling",
        [name],
        [y],
        f"pooling_param {{ pool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} "
        f"stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} {'round_mode: FLOOR' if floor else ''} }}",
    )


def axpy(net, name, x):
    a = net.bottom(lambda v: v.shape == x.shape[:2] + (1,) * (v.ndim - 2) and v.ndim in (2, 4) and calm(v))
    y = net.bottom(lambda v: v.shape == x.shape and calm(v))
    if a is not None and a != name and y is not None and calm(net.values[a]):
        net.add("Axpy", [a, name, y], [net.values[a].reshape(*x.shape[:2], 1, 1) * x + net.values[y]])
