"""A Caffe network in the making: its text, its blobs, and what every blob holds, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..files import layer

LARGEST = 3000  # elements of a blob
ALIASES = ("Reshape", "Flatten", "Split", "Concat", "Slice")  # they share memory with their bottom
IN_PLACE = (
    "BatchNorm",
    "Scale",
    "Bias",
    "Power",
    "PReLU",
    "Softmax",
    "ReLU",
    "ELU",
    "Sigmoid",
    "TanH",
    "AbsVal",
    "BNLL",
    "Clip",
    "Swish",
    "Exp",
    "Dropout",
    "ReLU6",
)


@dataclass
class Drawn:
    """A network in the making."""

    random: np.random.Generator
    chained: float
    text: str = ""
    weights: dict = field(default_factory=dict)
    feeds: dict = field(default_factory=dict)
    values: dict = field(default_factory=dict)
    read: set = field(default_factory=set)
    aliased: set = field(default_factory=set)
    shared: dict = field(default_factory=dict)
    count: int = 0

    def pick(self, *choices):
        return choices[self.random.integers(len(choices))]

    def whole(self, low, high):
        """A whole number from `low` to `high`, both possible."""
        return int(self.random.integers(low, high + 1))

    def chance(self, share=0.5):
        return bool(self.random.random() < share)

    def numbers(self, *shape, scale=1.0):
        """Numbers that float32 holds exactly, as float64."""
        return (self.random.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)

    def bottom(self, fits):
        """The name of a blob that fits, the last one rather; None where there is none."""
        names = [name for name, value in self.values.items() if fits(value)]
        if not names:
            return None
        return names[-1] if self.chance(self.chained) else self.pick(*names)

    def add(self, kind, bottoms, tops, params="", blobs=()):
        """Write a layer of one or more tops; the first may take the place of its bottom where the kind allows
        it."""
        self.count += 1
        name = f"{kind.lower()}{self.count}"
        names = [f"{name}_{i}" for i in range(len(tops))] if len(tops) > 1 else [name]
        if (
            kind in IN_PLACE
            and bottoms[0] not in self.read | self.aliased
            and self.chance()
            and bottoms.count(bottoms[0]) == 1
        ):
            names[0] = bottoms[0]
        elif kind in ALIASES:
            self.aliased |= {*names, *bottoms}
        self.read |= {b for b in bottoms if b not in names}
        self.text += layer(kind, bottoms, names, params, name)
        if blobs:
            self.weights[name] = [np.asarray(b, np.float32) for b in blobs]
        for top, value in zip(names, tops, strict=True):
            self.values.pop(top, None)
            self.values[top] = np.asarray(value, np.float64)


def calm(value, below=1e3):
    """Values that stay readable in float32 after a few more layers."""
    return bool(np.abs(value).max(initial=0) < below)


def dims(name, values):
    return " ".join(f"{name}: {v}" for v in values)


def axis_of(net, value, low=0):
    """An axis, written from the front or from the end, and what it stands for."""
    axis = net.whole(low, value.ndim - 1)
    return (axis - value.ndim if net.chance(0.3) else axis), axis


def along(vector, value, axis):
    """A vector, or an array of several axes, laid along `axis` and the axes after it."""
    return vector.reshape(vector.shape + (1,) * (value.ndim - axis - vector.ndim))
