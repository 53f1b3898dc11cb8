"""Batch norm and the layers that are affine maps."""

from __future__ import annotations

import numpy as np

from .net import along, axis_of, calm


def batch_norm(net, name, x):
    epsilon = net.pick(1e-5, 1e-3, 0.1)
    c, others = x.shape[1], (0, *range(2, x.ndim))
    factor = net.pick(1.0, 999.98, 0.5, 0.0)
    mean, variance = net.numbers(c), net.numbers(c) ** 2 + 0.5
    batch = net.chance(0.1) and x.var(others).min() > 1e-2 * x.max() ** 2
    stored = [mean * factor, variance * factor, np.array([factor])]
    if factor == 0:
        stored, mean, variance, epsilon = [mean, variance, np.zeros(1)], mean * 0, variance * 0, 0.1
    else:
        mean, variance = (
            np.float32(s).astype(np.float64) * (1 / np.float64(np.float32(factor))) for s in stored[:2]
        )
    if batch:
        mean, variance = x.mean(others), x.var(others)
    y = (x - along(mean, x, 1)) / np.sqrt(along(variance, x, 1) + np.float64(np.float32(epsilon)))
    net.add(
        "BatchNorm",
        [name],
        [y],
        f"batch_norm_param {{ eps: {epsilon} {'use_global_stats: false' if batch else ''} }}",
        stored,
    )


def scale(net, name, x, kind="Scale"):
    written, axis = axis_of(net, x) if net.chance(0.4) else (min(1, x.ndim - 1),) * 2
    with_bias = kind == "Scale" and net.chance()
    combined = (lambda a, b: a * b) if kind == "Scale" else (lambda a, b: a + b)
    term = "bias_term: true" if with_bias else ""
    if net.chance(0.3):
        other = net.bottom(
            lambda v: calm(v) and 0 < v.ndim <= x.ndim - axis and v.shape == x.shape[axis : axis + v.ndim]
        )
        if other is None or other == name:
            return
        factor = net.values[other]
        bias = net.numbers(*factor.shape) * with_bias
        net.add(
            kind,
            [name, other],
            [combined(x, along(factor, x, axis)) + along(bias, x, axis)],
            f"{kind.lower()}_param {{ axis: {written} {term} }}",
            [bias] if with_bias else [],
        )
        return
    count = net.pick(1, 1, 0, -1, net.whole(0, x.ndim - axis))
    covered = x.shape[axis:] if count == -1 else x.shape[axis : axis + count]
    if count == 0:
        written = axis
    factor, bias = net.numbers(*covered), net.numbers(*covered) * with_bias
    net.add(
        kind,
        [name],
        [combined(x, along(factor, x, axis)) + along(bias, x, axis)],
        f"{kind.lower()}_param {{ axis: {written} num_axes: {count} {term} }}",
        [factor, bias][: 1 + with_bias],
    )


def bias(net, name, x):
    scale(net, name, x, "Bias")


def power(net, name, x):
    exponent, factor, shift = net.pick(1, 1, 1, 2, 0), net.pick(1, 0.5, -2, 0), net.pick(0, 0.25, -1, 2)
    net.add(
        "Power",
        [name],
        [(shift + factor * x) ** exponent],
        f"power_param {{ power: {exponent} scale: {factor} shift: {shift} }}",
    )
