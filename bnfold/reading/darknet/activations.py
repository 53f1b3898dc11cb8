"""The activations of both forks, as ONNX operators.

A row: name, the forks that know it, how it is made. What a fork does not know is relu there, with a message.
Some work only where the fork has code for them (a convolution, a shortcut): elsewhere its function returns 0
for any input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.graph import ir
from .dialects import Fork
from .layer import Layer
from .spelling import likely

Maker = Callable[[Layer, ir.Value], ir.Value]


def _op(op_type: str, **attributes: Any) -> Maker:
    return lambda layer, x: layer.op(op_type, x, **attributes)


def _clip(layer: Layer, x: ir.Value, low: float, high: float) -> ir.Value:
    return layer.op("Clip", x, layer.scalar(low), layer.scalar(high))


def _outside(layer: Layer, x: ir.Value, inside: ir.Value, slope: float) -> ir.Value:
    """slope times what a clip took away."""
    return layer.op("Mul", layer.op("Sub", x, inside), layer.scalar(slope))


def _loggy(layer: Layer, x: ir.Value) -> ir.Value:
    """2 sg(x) - 1."""
    return layer.op("Sub", layer.op("Mul", layer.op("Sigmoid", x), layer.scalar(2)), layer.scalar(1))


def _ramp(layer: Layer, x: ir.Value) -> ir.Value:
    """max(x, 0) + 0.1 x."""
    return layer.op("Add", layer.op("Relu", x), layer.op("Mul", x, layer.scalar(0.1)))


def _plse(layer: Layer, x: ir.Value) -> ir.Value:
    """0.125 x + 0.5 between -4 and 4, slope 0.01 outside."""
    inside = _clip(layer, x, -4, 4)
    line = layer.op("Add", layer.op("Mul", inside, layer.scalar(0.125)), layer.scalar(0.5))
    return layer.op("Add", line, _outside(layer, x, inside, 0.01))


def _lhtan(layer: Layer, x: ir.Value) -> ir.Value:
    """x between 0 and 1, slope 0.001 outside."""
    inside = _clip(layer, x, 0, 1)
    return layer.op("Add", inside, _outside(layer, x, inside, 0.001))


def _stair(layer: Layer, x: ir.Value) -> ir.Value:
    """floor(x / 2), plus x - floor(x) where floor(x) is odd."""
    floor, half = layer.op("Floor", x), layer.op("Floor", layer.op("Mul", x, layer.scalar(0.5)))
    odd = layer.op("Sub", floor, layer.op("Mul", half, layer.scalar(2)))
    return layer.op("Add", half, layer.op("Mul", layer.op("Sub", x, floor), odd))


def _gelu(layer: Layer, x: ir.Value) -> ir.Value:
    """x (1 + tanh(0.797885 x + 0.035677 x^3)) / 2, with darknet's own constants."""
    cubic = layer.op(
        "Add", layer.op("Mul", layer.op("Mul", x, x), layer.scalar(0.035677)), layer.scalar(0.797885)
    )
    half = layer.op(
        "Mul",
        layer.op("Add", layer.op("Tanh", layer.op("Mul", x, cubic)), layer.scalar(1)),
        layer.scalar(0.5),
    )
    return layer.op("Mul", x, half)


def _swish(layer: Layer, x: ir.Value) -> ir.Value:
    """x sg(x)."""
    return layer.op("Mul", x, layer.op("Sigmoid", x))


def _mish(layer: Layer, x: ir.Value) -> ir.Value:
    """x tanh(ln(1 + e^x)); the operator Mish is younger than the opset written by default."""
    return layer.op("Mul", x, layer.op("Tanh", layer.op("Softplus", x)))


def _hard_mish(layer: Layer, x: ir.Value) -> ir.Value:
    """x above 0, x^2 / 2 + x down to -2, 0 below."""
    low = _clip(layer, x, -2, 0)
    square = layer.op("Mul", layer.op("Mul", low, low), layer.scalar(0.5))
    return layer.op("Add", layer.op("Relu", x), layer.op("Add", square, low))


def _by_channels(numerator: Maker) -> Maker:
    """numerator / (1e-4 + its sum over the channels)."""

    def maker(layer: Layer, x: ir.Value) -> ir.Value:
        top = numerator(layer, x)
        total = layer.reduce("ReduceSum", top, 1)
        return layer.op("Div", top, layer.op("Add", total, layer.scalar(1e-4)))

    return maker


def _exp_below_max(layer: Layer, x: ir.Value) -> ir.Value:
    return layer.op("Exp", layer.op("Sub", x, layer.reduce("ReduceMax", x, 1)))


AA = (Fork.ALEXEYAB,)
BOTH = (Fork.PJREDDIE, Fork.ALEXEYAB)
ACTIVATIONS: dict[str, tuple[tuple[Fork, ...], Maker]] = {
    "linear": (BOTH, lambda layer, x: x),
    "logistic": (BOTH, _op("Sigmoid")),
    "loggy": (BOTH, _loggy),
    "relu": (BOTH, _op("Relu")),
    "relu6": (AA, lambda layer, x: _clip(layer, x, 0, 6)),
    "elu": (BOTH, _op("Elu", alpha=1.0)),
    "selu": (BOTH, _op("Selu", alpha=1.6732, gamma=1.0507)),
    "gelu": (AA, _gelu),
    "relie": (BOTH, _op("LeakyRelu", alpha=0.01)),
    "leaky": (BOTH, _op("LeakyRelu", alpha=0.1)),
    "revleaky": (AA, _op("LeakyRelu", alpha=0.1)),
    "ramp": (BOTH, _ramp),
    "tanh": (BOTH, _op("Tanh")),
    "plse": (BOTH, _plse),
    "hardtan": (BOTH, lambda layer, x: _clip(layer, x, -1, 1)),
    "lhtan": (BOTH, _lhtan),
    "stair": (BOTH, _stair),
    "swish": (AA, _swish),
    "mish": (AA, _mish),
    "hard_mish": (AA, _hard_mish),
    "normalize_channels": (AA, _by_channels(_op("Relu"))),
    "normalize_channels_softmax": (AA, _by_channels(_op("Exp"))),
    "normalize_channels_softmax_maxval": (AA, _by_channels(_exp_below_max)),
}
IN_PLACES = (
    "swish",
    "mish",
    "hard_mish",
    "normalize_channels",
    "normalize_channels_softmax",
    "normalize_channels_softmax_maxval",
)


SILU = "silu"
OTHER_NAMES = {SILU: "swish", "sigmoid": "logistic"}  # as other programs call them, and no darknet


def meant(name: str) -> list[str]:
    """A sentence on what an unknown activation probably stands for, or none."""
    if only_alexeyab(name):
        return ["AlexeyAB's darknet has it: --dialect alexeyab"]
    known = OTHER_NAMES.get(name.lower()) or next(iter(likely(name, ACTIVATIONS)), "")
    return [f"darknet's word for it is '{known}'"] if known else []


def only_alexeyab(name: str) -> bool:
    """Is this an activation that pjreddie's darknet does not know?"""
    return ACTIVATIONS.get(name, (BOTH, None))[0] == AA


def activate(layer: Layer, x: ir.Value, name: str, *, special: tuple[str, ...] = ()) -> ir.Value:
    """The activation `name` of `x`, as the layer's fork computes it; `special` names those of IN_PLACES that
    it computes in this kind of layer."""
    if name == SILU:  # reader.py has seen to it that the user chose
        return (_swish if layer.network.silu == "swish" else _op("Relu"))(layer, x)
    forks, maker = ACTIVATIONS.get(name, ((), None))
    if maker is None or layer.fork not in forks:
        text = f"{layer.whose}'s darknet does not know the activation '{name[:60]}' and takes relu"
        layer.warn("activation", "; ".join([text, *meant(name)]), "activation")
        return layer.op("Relu", x)
    if name in IN_PLACES and name not in special:
        layer.warn(
            "activation",
            f"darknet computes no {name} in this place: its result is 0 everywhere",
            "activation",
        )
        return layer.op("Mul", x, layer.scalar(0))
    if name == "relu6":
        layer.note(
            "relu6", "relu6 is computed as on the GPU; alexeyab's CPU code returns 0 for it", "activation"
        )
    return maker(layer, x)
