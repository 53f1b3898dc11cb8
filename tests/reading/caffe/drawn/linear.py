"""Convolution, Deconvolution and InnerProduct."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .net import LARGEST, along, axis_of, dims


def convolution(net, name, x):
    first = net.pick(1, 1, 1, 2) if x.ndim >= 4 else 1
    spatial, channels = x.shape[first + 1 :], x.shape[first]
    kernel, stride, pad, dilation = (
        [net.whole(low, high) for _ in spatial] for low, high in ((1, 3), (1, 2), (0, 2), (1, 2))
    )
    if any(n + 2 * p < d * (k - 1) + 1 for n, k, p, d in zip(spatial, kernel, pad, dilation, strict=True)):
        return
    group = net.pick(*(g for g in range(1, channels + 1) if channels % g == 0))
    outputs = group * net.whole(1, 3 if group < 4 else 1)
    param, weight = shared(net, (outputs, channels // group, *kernel))
    bias, has_bias = net.numbers(outputs), net.chance()
    names = [name] + [
        other
        for other, value in net.values.items()
        if value.shape == x.shape and other != name and net.chance(0.15)
    ]
    tops = []
    for value in (net.values[bottom] for bottom in names):
        y = convolved(value.reshape(-1, *x.shape[first:]), weight, stride, pad, dilation, group)
        y = y.reshape(*x.shape[:first], *y.shape[1:])
        tops.append(y + along(bias, y, first) if has_bias else y)
    net.add(
        "Convolution",
        names,
        tops,
        param + windows(kernel, stride, pad, dilation, outputs, group, has_bias, first),
        [weight, bias][: 1 + has_bias],
    )


def shared(net, shape):
    """A weight, and what says whose it is: a new one without a name, a new one with one, or one that has been
    used before."""
    known = [name for name, value in net.shared.items() if value.shape == shape]
    if known and net.chance(0.7):
        name = net.pick(*known)
    elif net.chance(0.3):
        name = f"w{len(net.shared)}"
        net.shared[name] = net.numbers(*shape, scale=0.4)
    else:
        return "", net.numbers(*shape, scale=0.4)
    return f'param {{ name: "{name}" }} ', net.shared[name]


def deconvolution(net, name, x):
    channels, spatial = x.shape[1], x.shape[2:]
    if x.size > LARGEST // 8:
        return
    kernel, stride, dilation = (
        [net.whole(low, high) for _ in spatial] for low, high in ((1, 3), (1, 2), (1, 2))
    )
    whole = [
        s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(spatial, kernel, stride, dilation, strict=True)
    ]
    pad = [net.whole(0, min(1, (n - 1) // 2)) for n in whole]
    group = net.pick(*(g for g in range(1, channels + 1) if channels % g == 0))
    outputs = group * net.whole(1, 2)
    weight, bias = net.numbers(channels, outputs // group, *kernel, scale=0.4), net.numbers(outputs)
    full = np.zeros((x.shape[0], outputs, *whole))
    parts = channels // group, outputs // group
    for tap in product(*map(range, kernel)):
        place = tuple(
            slice(t * d, t * d + s * (n - 1) + 1, s)
            for t, d, s, n in zip(tap, dilation, stride, spatial, strict=True)
        )
        for g in range(group):
            ins, outs = slice(g * parts[0], (g + 1) * parts[0]), slice(g * parts[1], (g + 1) * parts[1])
            full[(slice(None), outs, *place)] += np.einsum(
                "nc...,co->no...", x[:, ins], weight[(ins, slice(None), *tap)]
            )
    y = full[(slice(None), slice(None), *(slice(p, n - p) for p, n in zip(pad, whole, strict=True)))]
    has_bias = net.chance()
    net.add(
        "Deconvolution",
        [name],
        [y + along(bias, y, 1) if has_bias else y],
        windows(kernel, stride, pad, dilation, outputs, group, has_bias, 1),
        [weight, bias][: 1 + has_bias],
    )


def windows(kernel, stride, pad, dilation, outputs, group, has_bias, axis):
    """A convolution_param."""
    lists = " ".join(
        dims(n, v)
        for n, v in (("kernel_size", kernel), ("stride", stride), ("pad", pad), ("dilation", dilation))
    )
    return (
        f"convolution_param {{ num_output: {outputs} group: {group} bias_term: {str(has_bias).lower()} "
        f"{'' if axis == 1 else f'axis: {axis} '}{lists} }}"
    )


def convolved(x, weight, stride, pad, dilation, group):
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    kernel = weight.shape[2:]
    views = sliding_window_view(
        padded, [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)], axis=tuple(range(2, x.ndim))
    )
    views = views[
        (
            slice(None),
            slice(None),
            *(slice(None, None, s) for s in stride),
            *(slice(None, None, d) for d in dilation),
        )
    ]
    taps = tuple(range(-len(kernel), 0))
    ins, outs = weight.shape[1], weight.shape[0] // group
    parts = [
        np.tensordot(
            views[:, g * ins : (g + 1) * ins],
            weight[g * outs : (g + 1) * outs],
            axes=((1, *taps), (1, *range(2, weight.ndim))),
        )
        for g in range(group)
    ]
    return np.moveaxis(np.concatenate(parts, -1), -1, 1)


def inner_product(net, name, x):
    written, axis = axis_of(net, x, 1) if net.chance() else (1, 1)
    k, outputs, transpose, has_bias = prod(x.shape[axis:]), net.whole(1, 6), net.chance(0.3), net.chance()
    weight, bias = net.numbers(outputs, k, scale=k**-0.5), net.numbers(outputs)
    y = x.reshape(*x.shape[:axis], k) @ weight.T + bias * has_bias
    net.add(
        "InnerProduct",
        [name],
        [y],
        f"inner_product_param {{ num_output: {outputs} axis: {written} transpose: {str(transpose).lower()}"
        f" bias_term: {str(has_bias).lower()} }}",
        [weight.T if transpose else weight, bias][: 1 + has_bias],
    )
