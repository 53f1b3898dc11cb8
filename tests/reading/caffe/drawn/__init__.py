"""Random Caffe networks with their values: every layer is drawn, written as text and blobs, and computed in
float64 as Caffe computes it.

net = draw(seed)          net.text, net.weights, net.feeds, net.values (name -> what the blob holds at the
                          end)

A second, small Caffe, written from its formulas and not from the readers. Most axes have four entries, so
that an operator or a fold along a wrong axis still fits and only its numbers tell. Layers stand in LAYERS;
one whose bottom does not suit it after all draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..files import input_layer
from . import affine, elements, linear, moving, over
from .net import Drawn, calm


class Row(NamedTuple):
    """How a layer is drawn (of the net, a bottom's name and its value), how often, and on which bottoms: of
    which rank, and below what."""

    make: Callable
    often: int
    ranks: range
    below: float = 1e3


LAYERS = {
    "Convolution": Row(linear.convolution, 5, range(3, 6)),
    "Deconvolution": Row(linear.deconvolution, 2, range(3, 6)),
    "InnerProduct": Row(linear.inner_product, 3, range(2, 6)),
    "BatchNorm": Row(affine.batch_norm, 8, range(2, 6)),
    "Scale": Row(affine.scale, 6, range(1, 6)),
    "Bias": Row(affine.bias, 2, range(1, 6)),
    "Power": Row(affine.power, 2, range(6), 30),
    "activation": Row(elements.activation, 3, range(6), 30),
    "PReLU": Row(elements.prelu, 1, range(2, 6)),
    "Eltwise": Row(elements.eltwise, 4, range(6), 30),
    "Concat": Row(moving.concat, 3, range(1, 6)),
    "Slice": Row(moving.slices, 2, range(1, 6)),
    "Reshape": Row(moving.reshape, 3, range(1, 6)),
    "Flatten": Row(moving.flatten, 2, range(1, 6)),
    "Crop": Row(moving.crop, 1, range(2, 6)),
    "Tile": Row(moving.tile, 1, range(1, 6)),
    "Permute": Row(moving.permute, 2, range(2, 6)),
    "Transpose": Row(moving.transpose, 1, range(2, 6)),
    "Reverse": Row(moving.reverse, 1, range(1, 6)),
    "ShuffleChannel": Row(moving.shuffle, 1, range(4, 5)),
    "Split": Row(moving.split, 1, range(6)),
    "Softmax": Row(over.softmax, 1, range(2, 6)),
    "Reduction": Row(over.reduction, 1, range(2, 6), 10),
    "MVN": Row(over.mvn, 1, range(4, 5)),
    "LRN": Row(over.lrn, 1, range(4, 5), 10),
    "Pooling": Row(over.pooling, 3, range(4, 5)),
    "Axpy": Row(over.axpy, 2, range(4, 5)),
}


def draw(seed, layers=12):
    random = np.random.default_rng(seed)
    net = Drawn(random, chained=random.choice([0.5, 0.8, 0.95]))
    for i in range(net.whole(1, 2)):
        shape = [net.pick(4, 4, 4, 2, 6) for _ in range(net.pick(4, 4, 4, 2, 3, 5))]
        shape[0] = net.pick(1, 2, shape[0])
        net.values[f"x{i}"] = net.feeds[f"x{i}"] = net.numbers(*shape)
        net.text += input_layer(f"x{i}", *shape)
    rows = [row for row in LAYERS.values() for _ in range(row.often)]
    for _ in range(20 * layers):
        if net.count < layers:
            add(net, net.pick(*rows))
    return net


def add(net, row):
    name = net.bottom(lambda value: value.ndim in row.ranks and calm(value, row.below))
    if name is not None:
        row.make(net, name, net.values[name])
