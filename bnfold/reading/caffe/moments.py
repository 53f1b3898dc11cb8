"""How values are distributed, roughly: mean and variance, followed through the graph while it is built.

For --random-weights alone: a random batch norm gets statistics of what it meets, as training would have given
it, so that deep residual networks neither explode nor die out. Values count as normally distributed and
independent; weights are random as weight_matching.py draws them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

GAIN = 2.0  # random weights have a variance of GAIN / fan-in
LARGEST_OF_NINE = (1.485, 0.357)  # mean and variance of the largest of nine standard normal values


class Moments(NamedTuple):
    """Mean and variance."""

    mean: float = 0.0
    variance: float = 1.0

    @property
    def energy(self) -> float:
        """The mean square."""
        return self.mean**2 + self.variance


NORMAL = Moments()


def rectified(x: Moments) -> Moments:
    """max(x, 0)"""
    spread = math.sqrt(x.variance)
    ratio = x.mean / spread
    below, density = (
        (1 + math.erf(ratio / math.sqrt(2))) / 2,
        math.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi),
    )
    mean = x.mean * below + spread * density
    return Moments(mean, max(x.energy * below + x.mean * spread * density - mean**2, 0.0))


def added(xs: Sequence[Moments]) -> Moments:
    """The sum of values, or of a value and a random shift."""
    return Moments(sum(x.mean for x in xs), sum(x.variance for x in xs) + 0.01 * (len(xs) == 1))


def multiplied(xs: Sequence[Moments]) -> Moments:
    """The product of two values, or of a value and a random scale between 0.5 and 1.5."""
    a, b = xs if len(xs) == 2 else (xs[0], Moments(1.0, 1 / 12))
    return Moments(a.mean * b.mean, a.variance * b.variance + a.variance * b.mean**2 + b.variance * a.mean**2)


def largest(x: Moments) -> Moments:
    """The maximum of a window."""
    return Moments(x.mean + LARGEST_OF_NINE[0] * math.sqrt(x.variance), LARGEST_OF_NINE[1] * x.variance)


def joined(xs: Sequence[Moments]) -> Moments:
    """Several values side by side."""
    mean = sum(x.mean for x in xs) / len(xs)
    return Moments(mean, sum(x.energy for x in xs) / len(xs) - mean**2)


RULES: dict[str, Callable[[Sequence[Moments]], Moments]] = {
    **dict.fromkeys(
        ("Conv", "ConvTranspose", "Gemm", "MatMul"), lambda xs: Moments(0.0, GAIN * xs[0].energy)
    ),
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Elu", "Clip"), lambda xs: rectified(xs[0])),
    **dict.fromkeys(("Add", "Sum", "Sub"), added),
    **dict.fromkeys(("Sigmoid", "HardSigmoid"), lambda xs: Moments(0.5, 0.05)),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), lambda xs: Moments(xs[0].mean, xs[0].variance / 4)),
    "Mul": multiplied,
    "MaxPool": lambda xs: largest(xs[0]),
    "Concat": joined,
    "BatchNormalization": lambda xs: Moments(0.0, math.log(3.0)),  # the mean of 1 / u, u between 0.5 and 1.5
    "Tanh": lambda xs: Moments(0.0, min(xs[0].energy, 1.0)),
    "Softmax": lambda xs: Moments(0.0, 0.01),
}


def moments(op_type: str, inputs: Sequence[Moments]) -> Moments:
    """The moments of an operator's result; `inputs` are those of its inputs that are no weights."""
    if not inputs:
        return NORMAL
    rule = RULES.get(op_type)
    mean, variance = rule(inputs) if rule else inputs[0]
    return Moments(max(-1e9, min(mean, 1e9)), max(1e-9, min(variance, 1e12)))
