"""Which node is which linear operator: LINEAR_OPERATORS, one row an operator.

A rule raises Refused where the operator cannot hold a map (its weight is not constant ...), Malformed where
it contradicts itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..errors import Malformed
from ..inference import Shapes
from ..inference.constants import is_float
from ..inference.node_arguments import reader
from ..ir.graph import attribute, ir, is_op, label, source_text
from ..ir.tensor import dims, from_array
from ..operators.arguments import permutation, windows
from ..operators.table import op
from .contractions import Labels, contraction
from .linear import Linear
from .reasons import Refused

_AsLinear = Callable[[ir.Node, Shapes], Linear | None]


def as_linear(node: ir.Node, shapes: Shapes) -> Linear | None:
    """The node as a Linear, None where its operator is not linear. Raises Refused where it is, but cannot
    hold a map."""
    rule = LINEAR_OPERATORS.get(node.op_type) if is_op(node, *LINEAR_OPERATORS) else None
    if rule is None:
        return None
    if any(a.is_ref() for a in node.attributes.values()):
        raise Refused(
            "kept.weight-not-constant",
            f"an attribute of {node.op_type} '{label(node)}' is set by the function's caller",
        )
    linear = rule(node, shapes)
    if shapes.contradicts(node):
        raise Refused(
            "kept.contradictory", f"the weight of {node.op_type} '{label(node)}' does not fit its input"
        )
    if linear is not None and linear.quantized is not None:
        if any(a.is_ref() for a in linear.quantized.attributes.values()):
            raise Refused(
                "kept.quantized-weight",
                f"an attribute of the quantised weight of {node.op_type} '{label(node)}' is set by the "
                "function's caller",
            )
        weight = node.inputs[linear.weight]
        assert weight is not None
        linear.turned = _dequantizing(weight, shapes)[1]
        linear.quantized_scale = _dequantizing_scale(linear, shapes)
    return linear


def _dequantizing_scale(linear: Linear, shapes: Shapes) -> np.ndarray | None:
    """The scale of the weight's DequantizeLinear: one number, one for each output channel, or one for each
    block of one; None for anything else."""
    dequantize = linear.quantized
    assert dequantize is not None
    scale = shapes.constants.array(dequantize.inputs[1])
    if scale is None or scale.dtype != np.float64:
        return None
    rank = len(linear.tensor.shape)
    if attribute(dequantize, "block_size", 0):
        return scale if _blocks_along_inputs(linear, scale, rank) else None
    along = (
        scale.ndim == 1
        and scale.size == linear.outs
        and attribute(dequantize, "axis", op(dequantize).axis) % rank == linear.stored_axis
    )
    zero = shapes.constants.tensor(dequantize.inputs[2]) if len(dequantize.inputs) > 2 else None
    point = zero is None or zero.size in (1, scale.size)
    return scale if (scale.size == 1 or along) and point else None


def _blocks_along_inputs(linear: Linear, scale: np.ndarray, rank: int) -> bool:
    """Do the blocks of a quantised weight, each with a scale, lie within output channels?"""
    dequantize, rows = linear.quantized, linear.stored_axis
    assert dequantize is not None
    blocked = attribute(dequantize, "axis", op(dequantize).axis) % rank
    return rows is not None and blocked != rows and scale.ndim == rank and scale.shape[rows] == linear.outs


def _weight(node: ir.Node, index: int, shapes: Shapes) -> tuple[ir.TensorProtocol, ir.Node | None]:
    """The constant weight of a node, and the DequantizeLinear that it comes from, if any."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        raise Malformed(f"{node.op_type} '{label(node)}' has no weight", where=source_text(node) or None)
    dequantize, order = _dequantizing(value, shapes)
    stored = shapes.constants.tensor(dequantize.inputs[0]) if dequantize is not None else None
    if stored is not None:
        return from_array(
            stored.numpy().transpose(order), dtype=stored.dtype
        ) if order else stored, dequantize
    found = shapes.constants.tensor(value)
    if found is None:
        if value.is_initializer() and value.is_graph_input():
            raise Refused(
                "kept.overridable-parameter",
                f"the weight of {node.op_type} '{label(node)}' is a graph input that a caller may "
                "override; --freeze-initializers",
            )
        raise Refused(
            "kept.weight-not-constant",
            f"the weight of {node.op_type} '{label(node)}' is computed or fed at run time",
        )
    if not is_float(found.dtype):
        raise Refused("kept.type", f"the weight of {node.op_type} '{label(node)}' is {found.dtype.name}")
    return found, None


def _dequantizing(value: ir.Value, shapes: Shapes) -> tuple[ir.Node | None, tuple[int, ...]]:
    """The DequantizeLinear that makes a weight, and the order of axes in which a Transpose behind it lays
    them, if there is one."""
    node = value.producer()
    order: tuple[int, ...] = ()
    if node is not None and is_op(node, "Transpose") and not shapes.contradicts(node):
        rank = shapes.rank(source := node.inputs[0])
        order = tuple(permutation(attribute(node, "perm"), rank)) if rank is not None else ()
        node = source.producer() if order and source is not None else None
    return (node, order) if is_op(node, "DequantizeLinear") else (None, ())


def _conv(node: ir.Node, shapes: Shapes) -> Linear:
    tensor, quantized = _weight(node, 1, shapes)
    w, group = dims(tensor), _group(node, dims(tensor)[:1])
    _whole(node, w)
    view = (group, w[0] // group, w[1], math.prod(w[2:]))
    return Linear(
        node, 0, 1, 2, tensor, view, (0, 1), (0, 2), 1, 1, not _pads(node, w[2:], shapes), quantized=quantized
    )


def _conv_transpose(node: ir.Node, shapes: Shapes) -> Linear:
    tensor, quantized = _weight(node, 1, shapes)
    w, group = dims(tensor), _group(node, dims(tensor)[:1])
    _whole(node, w)
    view = (group, w[0] // group, w[1], math.prod(w[2:]))
    return Linear(node, 0, 1, 2, tensor, view, (0, 2), (0, 1), 1, 1, False, quantized=quantized)


def _deform_conv(node: ir.Node, shapes: Shapes) -> Linear:
    """A convolution that reads between pixels, where its offsets point: what lies outside counts as zero, so
    that no shift passes its data. Offsets and mask stay as they are."""
    return replace(_conv(node, shapes), bias=3, every_tap_real=False)


def _whole(node: ir.Node, w: tuple[int, ...]) -> None:
    """Has a convolution's weight spatial axes, and as many as its strides, dilations and pads speak of?"""
    axes = len(w) - 2
    odd = next(
        (
            name
            for name, each in (("strides", 1), ("dilations", 1), ("kernel_shape", 1), ("pads", 2))
            if len(attribute(node, name) or [0] * each * axes) != each * axes
        ),
        None,
    )
    if axes < 1 or odd is not None:
        found = f"{node.op_type} '{label(node)}' has a weight of {list(w)}" + (
            f" and {odd} of another rank" if odd else ""
        )
        raise Malformed(found, where=source_text(node) or None)


def _group(node: ir.Node, leading: tuple[int, ...]) -> int:
    group = attribute(node, "group", 1)
    if not leading or group < 1 or leading[0] % group:
        raise Malformed(
            f"{node.op_type} '{label(node)}' has {group} groups for a weight of {leading}",
            where=source_text(node) or None,
        )
    return int(group)


def _pads(node: ir.Node, kernel: tuple[int, ...], shapes: Shapes) -> bool:
    """May a tap read padding? How much auto_pad adds depends on the size, and may be nothing."""
    return any(
        window.may_pad if not window.same or size is None else any(window.padding(size))
        for window, size in (
            (window, shapes.dim(node.inputs[0], axis))
            for axis, window in enumerate(windows(reader(node), kernel), start=2)
        )
    )


def _gemm(node: ir.Node, shapes: Shapes) -> Linear:
    alpha, beta = (float(np.float32(attribute(node, name, 1.0))) for name in ("alpha", "beta"))
    if (
        shapes.constants.tensor(node.inputs[0]) is not None
        and shapes.constants.tensor(node.inputs[1]) is None
    ):
        tensor, quantized = _weight(node, 0, shapes)
        transposed, data = bool(attribute(node, "transA", 0)), 1
        rows, columns = ((1,), (0,)) if transposed else ((0,), (1,))
        return Linear(
            node,
            data,
            0,
            2,
            tensor,
            _matrix(node, tensor),
            rows,
            columns,
            0,
            1 if attribute(node, "transB", 0) else 0,
            True,
            alpha,
            beta,
            quantized,
        )
    tensor, quantized = _weight(node, 1, shapes)
    rows, columns = ((0,), (1,)) if attribute(node, "transB", 0) else ((1,), (0,))
    return Linear(
        node,
        0,
        1,
        2,
        tensor,
        _matrix(node, tensor),
        rows,
        columns,
        1,
        0 if attribute(node, "transA", 0) else 1,
        True,
        alpha,
        beta,
        quantized,
    )


def _matrix(node: ir.Node, weight: ir.TensorProtocol) -> tuple[int, ...]:
    if len(shape := dims(weight)) != 2:
        raise Malformed(
            f"{node.op_type} '{label(node)}' has a weight of {list(shape)}",
            where=source_text(node) or None,
            expected="a matrix",
        )
    return shape


def _of_constants(value: ir.Value | None, shapes: Shapes) -> bool:
    """A weight all the same, though not one that may be rewritten: quantised, or overridable."""
    if value is None or value.is_initializer():
        return value is not None
    dequantize, _ = _dequantizing(value, shapes)
    return dequantize is not None and shapes.constants.tensor(dequantize.inputs[0]) is not None


def _matmul(node: ir.Node, shapes: Shapes) -> Linear | None:
    if not any(shapes.constants.tensor(v) is not None or _of_constants(v, shapes) for v in node.inputs):
        return None  # two run-time operands: no place for a map, though a scale may pass (commute.py)
    first = shapes.constants.tensor(node.inputs[0]) is not None
    index = 0 if first else 1
    tensor, quantized = _weight(node, index, shapes)
    w = dims(tensor)
    rank = shapes.rank(node.inputs[1 - index])
    if not w or not rank:
        raise Refused(
            "kept.unknown-rank", f"the operands of MatMul '{label(node)}' are not known to be matrices"
        )
    stack = len(w) - 2 if math.prod(w[:-2]) != 1 else 0
    if len(w) > 2 and (len(w) > rank or (stack and (quantized is not None or 0 in w))):
        raise Refused("kept.wrong-axis", f"the weight of MatMul '{label(node)}' is a stack of matrices")
    if len(w) == 1 and quantized is not None:
        raise Refused("kept.quantized-weight", f"the weight of MatMul '{label(node)}' is a quantised vector")
    # a vector is a row before the data and a column behind it, and has one output channel
    view = ((1, *w) if first else (*w, 1)) if len(w) == 1 else w if stack else w[-2:]
    over, row, column = tuple(range(stack)), (stack,), (stack + 1,)
    axis = -2 if first and rank > 1 else -1
    return Linear(
        node,
        1 - index,
        index,
        None,
        tensor,
        view,
        (*over, *(row if first else column)),
        (*over, *(column if first else row)),
        axis if len(w) > 1 else -1,
        axis,
        True,
        quantized=quantized,
        stack=stack,
        grows=not first and rank == len(w) == 2 and _has_gemm(node, tensor, shapes),
    )


def _has_gemm(node: ir.Node, tensor: ir.TensorProtocol, shapes: Shapes) -> bool:
    """Is there a Gemm of this type whose bias broadcasts by itself?"""
    return shapes.opset(node) >= (7 if tensor.dtype != ir.DataType.BFLOAT16 else 13)


def _recurrent(node: ir.Node, shapes: Shapes) -> Linear:
    """RNN, GRU, LSTM: what they make of x is W x first, with a bias beside it; the rest is not linear."""
    tensor, quantized = _weight(node, 1, shapes)
    w = dims(tensor)
    if len(w) != 3:
        raise Malformed(
            f"{node.op_type} '{label(node)}' has a weight of {list(w)}",
            where=source_text(node) or None,
            expected="a matrix for each direction",
        )
    if quantized is not None:
        raise Refused("kept.quantized-weight", f"the weight of {node.op_type} '{label(node)}' is quantised")
    return Linear(node, 0, 1, 3, tensor, w, (0, 1), (2,), -1, -1, True, forward_only=True)


def _einsum(node: ir.Node, shapes: Shapes) -> Linear | None:
    """An Einsum of one run-time operand and one weight, where one letter of the weight runs over the output's
    channels alone and one over what is summed. Other products hold no map, but one may pass them."""
    found = contraction(node, shapes)
    if not any(shapes.constants.tensor(v) is not None or _of_constants(v, shapes) for v in node.inputs):
        return None
    index = 0 if shapes.constants.tensor(node.inputs[0]) is not None else 1
    tensor, quantized = _weight(node, index, shapes)
    weight, data, result = found.operands[index], found.operands[1 - index], found.result
    outs = [c for c in weight if c in result and c not in data]
    ins = [c for c in weight if c not in result and c in data]
    if len(outs) != 1 or len(ins) != 1 or len(weight) != 2:
        return None
    if dims(tensor)[weight.index(ins[0])] == 1 != shapes.dim(node.inputs[1 - index], data.index(ins[0])):
        raise Refused(
            "kept.non-linear",
            f"Einsum '{label(node)}' may repeat the one row of its weight for every entry of the data",
        )
    return Linear(
        node,
        1 - index,
        index,
        None,
        tensor,
        _matrix(node, tensor),
        (weight.index(outs[0]),),
        (weight.index(ins[0]),),
        result.index(outs[0]) - len(result),
        data.index(ins[0]) - len(data),
        True,
        quantized=quantized,
        summed=_summed(
            node, shapes, 1 - index, data, [c for c in data if c not in result and c not in weight]
        ),
    )


def _summed(node: ir.Node, shapes: Shapes, place: int, data: Labels, letters: list[str]) -> int:
    """Over how many places an Einsum sums letters of the data that the weight does not have."""
    sizes = [shapes.dim(node.inputs[place], data.index(letter)) for letter in letters]
    if any(size is None for size in sizes):
        raise Refused(
            "kept.non-linear", f"Einsum '{label(node)}' sums over an axis of the data whose size is not known"
        )
    return math.prod(size for size in sizes if size is not None)


LINEAR_OPERATORS: dict[str, _AsLinear] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
}
