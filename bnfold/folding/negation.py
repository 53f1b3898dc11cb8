"""Output channels of a quantised weight with the other sign: a negative factor, which no scale can take.

    stored integers    -(q - z) = (2·z - q) - z, exact where 2·z - q is a number of their type
    quantised floats   q(-w) - z = -(q(w) - z), where nothing is cut off at the nearer end of the type

Halves are rounded to even numbers, so that rounding knows no sign.
"""

from __future__ import annotations

import numpy as np

from ..inference import Shapes
from ..ir.graph import attribute, ir, is_op, label, sole
from ..ir.tensor import dims
from ..operators.table import op
from ..records import dataclass
from .linear import Linear
from .reasons import Refused

_INTEGERS = {
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-(1 << 15), (1 << 15) - 1),
    ir.DataType.UINT16: (0, (1 << 16) - 1),
}
_MARGIN = 0.4  # beyond the largest integer: what is less than a half is rounded to it in any arithmetic


@dataclass(frozen=True)
class Negated:
    """What the input of a node becomes."""

    node: ir.Node
    index: int
    values: np.ndarray
    dtype: ir.DataType


def negated(linear: Linear, channels: np.ndarray, shapes: Shapes) -> Negated:
    """The quantised weight with the other sign in these output channels. Raises Refused where that is not
    exact."""
    dequantize = linear.quantized
    assert dequantize is not None and dequantize.inputs[0] is not None and linear.stored_axis is not None
    weight = dequantize.inputs[0]
    rank = len(linear.tensor.shape)
    rows = channels.reshape([-1 if axis == linear.stored_axis else 1 for axis in range(rank)])
    quantize = weight.producer()
    if is_op(quantize, "QuantizeLinear"):
        assert quantize is not None
        return _negated_floats(linear, quantize, rows, shapes)
    stored, zero = shapes.constants.stored(weight), _zero_point(dequantize, linear, shapes)
    if stored is None or stored.dtype not in _INTEGERS:
        raise _impossible(linear, "it is computed" if stored is None else f"it is {stored.dtype.name}")
    low, high = _INTEGERS[stored.dtype]
    integers = stored.numpy().astype(np.int32)
    values = np.where(rows, 2 * zero - integers, integers)
    if np.any((values < low) | (values > high)):
        raise _impossible(linear, f"{stored.dtype.name} has no negative of one of its values")
    return Negated(dequantize, 0, values.astype(stored.dtype.numpy()), stored.dtype)


def _zero_point(node: ir.Node, linear: Linear, shapes: Shapes) -> np.ndarray:
    """One number, or one for each output channel, shaped to meet the weight."""
    given = node.inputs[2] if len(node.inputs) > 2 else None
    points = np.zeros(1) if given is None else shapes.constants.array(given)
    if points is None or not points.size:
        raise _impossible(linear, "its zero point is not constant")
    rank = len(linear.tensor.shape)
    points = points.astype(np.int32)
    if not np.any(points != points.reshape(-1)[0]):
        return points.reshape(-1)[:1].reshape((1,) * rank)
    if points.shape != (linear.outs,):
        raise _impossible(linear, "its zero point varies within channels")
    return points.reshape([-1 if axis == linear.stored_axis else 1 for axis in range(rank)])


def _negated_floats(linear: Linear, node: ir.Node, rows: np.ndarray, shapes: Shapes) -> Negated:
    dequantize, dtype = linear.quantized, linear.tensor.dtype
    floats, scale = shapes.constants.tensor(node.inputs[0]), shapes.constants.array(node.inputs[1])
    types = {floats and floats.dtype, shapes.dtype(node.inputs[1])}
    told = {"axis", "block_size", "output_dtype", "saturate"}  # but no precision of its own
    plain = set(node.attributes) <= told and not any(a.is_ref() for a in node.attributes.values())
    if floats is None or scale is None or types != {ir.DataType.FLOAT} or not plain:
        raise _impossible(linear, "it is not quantised from constants, in float32")
    if not sole(node.outputs[0]):
        raise _impossible(linear, f"QuantizeLinear '{label(node)}' is also read by something else")
    assert dequantize is not None
    zero, same = (_zero_point(one, linear, shapes) for one in (node, dequantize))
    if dtype not in _INTEGERS or np.any(zero != same):
        raise _impossible(linear, "it is dequantised with another type or zero point")
    shape = dims(floats)
    if scale.ndim == 1 and scale.size > 1:
        axis = attribute(node, "axis", op(node).axis) % len(shape)
        scale = scale.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    elif scale.size != 1:
        raise _impossible(linear, "it is quantised in blocks")
    values = floats.numpy()
    with np.errstate(all="ignore"):
        steps = np.abs(values.astype(np.float64) / scale)
    low, high = _INTEGERS[dtype]
    if not np.all((steps <= np.minimum(zero - low, high - zero) + _MARGIN) | ~rows):
        raise _impossible(linear, "some of its values are cut off at the end of their type")
    return Negated(node, 0, np.where(rows, -values, values), floats.dtype)


def _impossible(linear: Linear, why: str) -> Refused:
    return Refused(
        "kept.quantized-weight",
        f"a negative scale would have to turn the sign of the quantised weight of {linear.node.op_type} "
        f"'{label(linear.node)}', which is not exact: {why}",
    )
