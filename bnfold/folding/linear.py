"""Linear operators seen through one canonical shape, so that no rule ever meets a stored layout.

    y = after( alpha · W * before(x) + beta · b )

`Linear` says where W, b and the data are, how stored W is viewed (`view`), which axes of the view belong to output channels and which
to input channels, and along which axis of x and of y channels run. group, transB, alpha, ConvTranspose's swapped layout are fields of
a row's answer; nothing after this file can forget them.

SEERS has one row an operator. A seer raises Refused where the operator cannot hold a map (its weight is not constant ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..constants import is_float
from ..errors import Malformed
from ..graph import attribute, ir, is_op, label, source_text
from ..shapes import Shapes
from .affine import IDENTITY, Affine, Float
from .reasons import Refused


@dataclass
class Linear:
    """One linear operator and the maps pushed into it so far.

    data, weight, bias   indices of its inputs; bias None: it has no place for one
    view                 stored W is reshaped to this without moving a value
    rows, columns        axes of the view that output (input) channels run over, in their order
    y_axis, x_axis       axis of the output (data input) along which channels run; negative counts from the back
    store, remade        the type that W is stored in; whether W is a union of branches by now
    joined               the union that it is part of, when it is gone itself
    quantized            the DequantizeLinear that W comes from, and its scale where that is constant and fits
    every_tap_real       no tap ever reads padding, so a shift of the input is a constant of the output
    """

    node: ir.Node
    data: int
    weight: int
    bias: int | None
    tensor: ir.TensorProtocol
    view: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    y_axis: int
    x_axis: int
    every_tap_real: bool
    alpha: float = 1.0
    beta: float = 1.0
    quantized: ir.Node | None = None
    quantized_scale: np.ndarray | None = None
    before: Affine = IDENTITY
    after: Affine = IDENTITY
    held: list[str] = field(default_factory=list)
    store: ir.DataType = ir.DataType.UNDEFINED
    remade: bool = False
    joined: Linear | None = None

    def __post_init__(self) -> None:
        self.store = self.tensor.dtype

    @property
    def outs(self) -> int:
        """Output channels."""
        return math.prod(self.view[a] for a in self.rows)

    @property
    def ins(self) -> int:
        """Input channels."""
        return math.prod(self.view[a] for a in self.columns)

    @property
    def touched(self) -> bool:
        """Has a map been pushed into it, or has it become a union of branches?"""
        return self.before is not IDENTITY or self.after is not IDENTITY or self.remade

    @property
    def holder(self) -> Linear:
        """The operator that holds what was pushed here: itself, or the union that it became part of."""
        holder = self
        while holder.joined is not None:
            holder = holder.joined
        return holder

    def become(self, weights: ir.TensorProtocol, taps: tuple[int, ...]) -> None:
        """Take other weights (in float64; `store` remains the type that they are rounded to) and no map. Conv only."""
        self.tensor, self.view = weights, (*self.view[:-1], math.prod(taps))
        self.before = self.after = IDENTITY
        self.every_tap_real = self.every_tap_real and math.prod(taps) == 1
        self.remade = True

    def exact(self) -> Float:
        """The folded weights in float64, in their stored shape."""
        return self.frozen()()

    def frozen(self) -> Callable[[], Float]:
        """The folded weights as they are now, computed when called; maps pushed later do not count."""
        base, view, shape = self.tensor, self.view, self.tensor.shape.numpy()
        rows = self.on_rows(np.broadcast_to(self.after.scale, self.outs))
        columns = self.on_columns(np.broadcast_to(self.before.scale, self.ins))
        return lambda: (base.numpy().astype(np.float64).reshape(view) * rows * columns).reshape(shape)

    @property
    def stored_axis(self) -> int | None:
        """The axis of stored W along which output channels run, None where they lie on two."""
        if self.node.op_type == "Conv":
            return 0
        if self.node.op_type == "ConvTranspose":
            return 1 if self.view[0] == 1 else None
        return self.rows[0] - len(self.view) + len(self.tensor.shape)

    def on_rows(self, per_output: Float) -> Float:
        """A vector over output channels, shaped to broadcast against the view."""
        return self._on(self.rows, per_output)

    def on_columns(self, per_input: Float) -> Float:
        """A vector over input channels, shaped to broadcast against the view."""
        return self._on(self.columns, per_input)

    def _on(self, axes: tuple[int, ...], vector: Float) -> Float:
        return np.asarray(vector).reshape([size if axis in axes else 1 for axis, size in enumerate(self.view)])

    def reach(self, weights: np.ndarray, shift: Float) -> Float:
        """Σ W·shift for every output channel: what a constant added to the input adds to the output. Read in slices, so that a
        large W is never widened as a whole."""
        viewed = weights.reshape(self.view)
        column = self.on_columns(shift)
        total = np.zeros([size if axis in self.rows else 1 for axis, size in enumerate(self.view)])
        others = tuple(axis for axis in range(len(self.view)) if axis not in self.rows)
        for at in range(self.view[0]):
            part = viewed[at : at + 1].astype(np.float64) * (column[at : at + 1] if column.shape[0] != 1 else column)
            summed = part.sum(axis=others, keepdims=True)
            if 0 in self.rows:
                total[at : at + 1] = summed
            else:
                total += summed
        return total.reshape(-1)


_Seer = Callable[[ir.Node, Shapes], Linear]


def see(node: ir.Node, shapes: Shapes) -> Linear | None:
    """The node as a Linear, None where its operator is not linear. Raises Refused where it is, but cannot hold a map."""
    seer = SEERS.get(node.op_type) if is_op(node, *SEERS) else None
    if seer is None:
        return None
    if any(a.is_ref() for a in node.attributes.values()):
        raise Refused("kept.weight-not-constant", f"an attribute of {node.op_type} '{label(node)}' is set by the function's caller")
    linear = seer(node, shapes)
    if linear.quantized is not None:
        linear.quantized_scale = _dequantizing_scale(linear, shapes)
    return linear


def _dequantizing_scale(linear: Linear, shapes: Shapes) -> np.ndarray | None:
    """The scale of the weight's DequantizeLinear: one number, or one for each output channel; None for anything else."""
    dequantize = linear.quantized
    assert dequantize is not None
    scale = shapes.constants.array(dequantize.inputs[1])
    if scale is None or attribute(dequantize, "block_size", 0):
        return None
    rank = len(linear.tensor.shape)
    fits = scale.size == 1 or (scale.ndim == 1 and attribute(dequantize, "axis", 1) % rank == linear.stored_axis)
    return scale if fits else None


def check_bias(linear: Linear, shapes: Shapes) -> None:
    """A bias that is there must be a constant (Refused), and fit the weight (Malformed)."""
    node, index = linear.node, linear.bias
    value = node.inputs[index] if index is not None and len(node.inputs) > index else None
    if value is None:
        return
    stored = shapes.constants.tensor(value)
    if stored is None:
        raise Refused("kept.bias-not-constant", f"the bias of {node.op_type} '{label(node)}' is computed or fed at run time")
    shape = _sizes(stored)
    fits = (
        shape == (linear.outs,) if node.op_type != "Gemm" else len(shape) <= 2 and (*(1, 1), *shape)[linear.y_axis - 2] in (1, linear.outs)
    )
    if not fits:
        raise Malformed(
            f"{node.op_type} '{label(node)}' has a bias of shape {list(shape)}",
            where=source_text(node) or None,
            expected=f"a bias of {linear.outs} channels",
        )


def _weight(node: ir.Node, index: int, shapes: Shapes) -> tuple[ir.TensorProtocol, ir.Node | None]:
    """The constant weight of a node, and the DequantizeLinear that it comes from, if any."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        raise Malformed(f"{node.op_type} '{label(node)}' has no weight", where=source_text(node) or None)
    producer = value.producer()
    if is_op(producer, "DequantizeLinear"):
        assert producer is not None
        stored = shapes.constants.tensor(producer.inputs[0])
        if stored is not None:
            return stored, producer
    found = shapes.constants.tensor(value)
    if found is None:
        if value.is_initializer() and value.is_graph_input():
            raise Refused(
                "kept.overridable-parameter",
                f"the weight of {node.op_type} '{label(node)}' is a graph input that a caller may override; --freeze-initializers",
            )
        raise Refused("kept.weight-not-constant", f"the weight of {node.op_type} '{label(node)}' is computed or fed at run time")
    if not is_float(found.dtype):
        raise Refused("kept.type", f"the weight of {node.op_type} '{label(node)}' is {found.dtype.name}")
    return found, None


def _sizes(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    return tuple(int(d) for d in tensor.shape.numpy())


def _conv(node: ir.Node, shapes: Shapes) -> Linear:
    tensor, quantized = _weight(node, 1, shapes)
    w, group = _sizes(tensor), _group(node, _sizes(tensor)[:1])
    view = (group, w[0] // group, w[1], math.prod(w[2:]))
    return Linear(node, 0, 1, 2, tensor, view, (0, 1), (0, 2), 1, 1, not _pads(node, w[2:]), quantized=quantized)


def _conv_transpose(node: ir.Node, shapes: Shapes) -> Linear:
    tensor, quantized = _weight(node, 1, shapes)
    w, group = _sizes(tensor), _group(node, _sizes(tensor)[:1])
    view = (group, w[0] // group, w[1], math.prod(w[2:]))
    return Linear(node, 0, 1, 2, tensor, view, (0, 2), (0, 1), 1, 1, False, quantized=quantized)


def _group(node: ir.Node, leading: tuple[int, ...]) -> int:
    group = attribute(node, "group", 1)
    if not leading or group < 1 or leading[0] % group:
        raise Malformed(f"{node.op_type} '{label(node)}' has {group} groups for a weight of {leading}", where=source_text(node) or None)
    return int(group)


def _pads(node: ir.Node, kernel: tuple[int, ...]) -> bool:
    """May a tap read padding? Padding hidden in auto_pad counts; a kernel of one never reaches it."""
    auto = attribute(node, "auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        return any(k != 1 for k in kernel)
    return auto != "VALID" and any(p != 0 for p in attribute(node, "pads") or ())


def _gemm(node: ir.Node, shapes: Shapes) -> Linear:
    alpha, beta = (float(np.float32(attribute(node, name, 1.0))) for name in ("alpha", "beta"))
    if shapes.constants.tensor(node.inputs[0]) is not None and shapes.constants.tensor(node.inputs[1]) is None:
        tensor, quantized = _weight(node, 0, shapes)
        transposed, data = bool(attribute(node, "transA", 0)), 1
        rows, columns = ((1,), (0,)) if transposed else ((0,), (1,))
        return Linear(
            node,
            data,
            0,
            2,
            tensor,
            _sizes(tensor),
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
        node, 0, 1, 2, tensor, _sizes(tensor), rows, columns, 1, 0 if attribute(node, "transA", 0) else 1, True, alpha, beta, quantized
    )


def _matmul(node: ir.Node, shapes: Shapes) -> Linear:
    first = shapes.constants.tensor(node.inputs[0]) is not None
    index = 0 if first else 1
    tensor, quantized = _weight(node, index, shapes)
    w = _sizes(tensor)
    rank = shapes.rank(node.inputs[1 - index])
    if len(w) < 2 or rank is None or rank < 2:
        raise Refused("kept.unknown-rank", f"the operands of MatMul '{label(node)}' are not known to be matrices")
    if len(w) > 2 and (math.prod(w[:-2]) != 1 or len(w) > rank):
        raise Refused("kept.wrong-axis", f"the weight of MatMul '{label(node)}' is a stack of matrices")
    view = w[-2:]
    rows, columns, y_axis, x_axis = ((0,), (1,), -2, -2) if first else ((1,), (0,), -1, -1)
    return Linear(node, 1 - index, index, None, tensor, view, rows, columns, y_axis, x_axis, True, quantized=quantized)


def _einsum(node: ir.Node, shapes: Shapes) -> Linear:
    """An Einsum of one run-time operand and one weight, where one letter of the weight runs over the output's channels alone and
    one over what is summed."""
    terms, _, result = str(attribute(node, "equation")).replace(" ", "").partition("->")
    operands = terms.split(",")
    if len(operands) != 2 or not result or "." in terms:
        raise Refused("kept.non-linear", f"Einsum '{label(node)}' is not a product of two operands with a named result")
    index = 0 if shapes.constants.tensor(node.inputs[0]) is not None else 1
    tensor, quantized = _weight(node, index, shapes)
    weight, data = operands[index], operands[1 - index]
    if any(len(set(term)) != len(term) for term in (weight, data, result)):
        raise Refused("kept.non-linear", f"Einsum '{label(node)}' takes a diagonal")
    outs = [c for c in weight if c in result and c not in data]
    ins = [c for c in weight if c not in result and c in data]
    if len(outs) != 1 or len(ins) != 1 or len(weight) != 2:
        raise Refused("kept.non-linear", f"Einsum '{label(node)}' is not a matrix product")
    return Linear(
        node,
        1 - index,
        index,
        None,
        tensor,
        _sizes(tensor),
        (weight.index(outs[0]),),
        (weight.index(ins[0]),),
        result.index(outs[0]) - len(result),
        data.index(ins[0]) - len(data),
        True,
        quantized=quantized,
    )


SEERS: dict[str, _Seer] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
