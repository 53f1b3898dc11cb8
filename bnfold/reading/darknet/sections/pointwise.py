"""Sections that change numbers and no sizes: [activation], [logistic], [softmax], [dropout], [empty], [cost],
[contrastive]."""

from __future__ import annotations

from ....errors import Malformed
from ....ir.graph import ir
from .. import tree as trees
from ..activations import activate
from ..dialects import Fork
from ..layer import Layer
from ..network import Feature
from ..schema import section
from ..weights import filled


def _any(layer: Layer, x: Feature) -> ir.Value:
    return layer.image(x) if x.is_image else layer.flat(x)


@section("activation")
def activation(layer: Layer, x: Feature, *, activation: str = "linear") -> Feature:
    """An activation alone."""
    return layer.like(activate(layer, _any(layer, x), activation), x)


@section("logistic", only=Fork.PJREDDIE)
def logistic(layer: Layer, x: Feature) -> Feature:
    """1 / (1 + e^-x)."""
    return layer.like(layer.op("Sigmoid", _any(layer, x)), x)


@section("dropout")
def dropout(layer: Layer, x: Feature) -> Feature:
    """The identity at inference."""
    return layer.like(_any(layer, x), x)


@section("empty", "silence", only=Fork.ALEXEYAB)
def empty(layer: Layer, x: Feature) -> Feature:
    """The identity."""
    return layer.like(_any(layer, x), x)


@section("cost")
def cost(layer: Layer, x: Feature) -> Feature:
    """A loss: nothing at inference, and never the output of the network."""
    return Feature(None, 0, 0, 0, size=x.size)


@section("contrastive", only=Fork.ALEXEYAB)
def contrastive(layer: Layer, x: Feature) -> Feature:
    """A loss over embeddings; darknet's result of it is zero everywhere."""
    dims = x.dims if x.is_image else (x.size,)
    return layer.every_row(layer.weight("zero", filled((1,) * (len(dims) + 1), 0)), *dims)


@section("softmax", "soft")
def softmax(
    layer: Layer,
    x: Feature,
    *,
    groups: int = 1,
    temperature: float = 1.0,
    tree: str = "",
    spatial: float = 0.0,
) -> Feature:
    """softmax(x / temperature) over all numbers of the input, or over `groups` equal runs of them, or among
    siblings of a tree."""
    if groups < 1 or x.size % groups or temperature == 0:
        raise Malformed(
            f"groups={groups} temperature={temperature:g} for {x.size} numbers",
            expected="groups that divide them, and a temperature that is not 0",
        )
    if spatial:
        layer.warn(
            "softmax",
            "spatial=1 is ignored, as on the CPU; darknet's GPU code takes it over channels at each pixel",
            "spatial",
        )
    flat = layer.flat(x)
    if temperature != 1:
        flat = layer.op("Div", flat, layer.scalar(temperature))
    if tree:
        y = trees.softmax(layer, flat, trees.read_tree(layer, tree, x.size))
    elif groups > 1:
        y = layer.op("Softmax", layer.reshape(flat, [0, groups, x.size // groups]), axis=-1)
        y = layer.reshape(y, [0, x.size])
    else:
        y = layer.op("Softmax", flat, axis=-1)
    return layer.feature(y, x.size)
