"""Layers that work element by element."""

from __future__ import annotations

import numpy as np

from .net import along, calm, dims

ACTIVATIONS = {
    "ReLU": ("", lambda x: np.maximum(x, 0)),
    "ReLU ": ("relu_param { negative_slope: 0.125 }", lambda x: np.where(x > 0, x, x * 0.125)),
    "ELU": ("elu_param { alpha: 0.5 }", lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))),
    "Sigmoid": ("", lambda x: 1 / (1 + np.exp(-x))),
    "TanH": ("", np.tanh),
    "AbsVal": ("", np.abs),
    "BNLL": ("", lambda x: np.logaddexp(0, x)),
    "Clip": ("clip_param { min: -0.5 max: 1.5 }", lambda x: np.clip(x, -0.5, 1.5)),
    "Swish": ("swish_param { beta: 2 }", lambda x: x / (1 + np.exp(-2 * x))),
    "Exp": ("exp_param { base: 2 scale: 0.25 shift: -1 }", lambda x: 2 ** (0.25 * x - 1)),
    "Dropout": ("dropout_param { dropout_ratio: 0.7 }", lambda x: x),
    "Dropout ": ("dropout_param { dropout_ratio: 0.75 scale_train: false }", lambda x: 0.25 * x),
    "Mish": ("", lambda x: x * np.tanh(np.logaddexp(0, x))),
    "ReLU6": ("", lambda x: np.clip(x, 0, 6)),
}


def activation(net, name, x):
    kind = net.pick(*ACTIVATIONS)
    params, function = ACTIVATIONS[kind]
    net.add(kind.strip(), [name], [function(x)], params)


def prelu(net, name, x):
    shared = net.chance(0.3)
    slope = net.numbers() if shared else net.numbers(x.shape[1])
    net.add(
        "PReLU",
        [name],
        [np.maximum(x, 0) + (slope if shared else along(slope, x, 1)) * np.minimum(x, 0)],
        f"prelu_param {{ channel_shared: {str(shared).lower()} }}",
        [slope],
    )


def eltwise(net, name, x):
    others = [other for other, value in net.values.items() if value.shape == x.shape and calm(value, 30)]
    if len(others) < 2:
        return
    names = [name, *(net.pick(*others) for _ in range(net.whole(1, 2)))]
    values = [net.values[n] for n in names]
    operation = net.pick("SUM", "SUM", "SUM", "PROD", "MAX")
    coefficients = (
        [net.pick(1.0, -1.0, 0.5, 2.0) for _ in names] if operation == "SUM" and net.chance() else []
    )
    y = {
        "SUM": lambda: sum(c * v for c, v in zip(coefficients or [1.0] * len(names), values, strict=True)),
        "PROD": lambda: np.prod(values, 0),
        "MAX": lambda: np.max(values, 0),
    }[operation]()
    net.add(
        "Eltwise", names, [y], f"eltwise_param {{ operation: {operation} {dims('coeff', coefficients)} }}"
    )
