"""Linear operators seen through one canonical shape, so that no rule ever meets a stored layout.

    y = after( alpha · W * before(x) + beta · b )

`Linear` says where W, b and the data are, how stored W is viewed (`view`), which axes of the view belong to
output channels and which to input channels, and along which axis of x and of y channels run. group, transB,
alpha, ConvTranspose's swapped layout are fields of a row's answer; nothing after this file can forget them.

Which node is which Linear is said in linear_operators.py, one row an operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import field

import numpy as np

from ..errors import Malformed
from ..inference import Shapes
from ..inference.constants import is_float
from ..ir.graph import ir, label, source_text
from ..ir.tensor import BLOCK, dims
from ..records import dataclass
from .affine import IDENTITY, Affine, Float, spread
from .reasons import Refused


@dataclass
class Linear:
    """One linear operator and the maps pushed into it so far.

    data, weight, bias   indices of its inputs; bias None: it has no place for one
    view                 stored W is reshaped to this without moving a value
    rows, columns        axes of the view that output (input) channels run over, in their order
    y_axis, x_axis       axis of the output (data input) along which channels run; negative counts from the
                         back
    store, remade        the type that W is stored in; whether W is a union of branches by now
    joined               the union that it is part of, when it is gone itself
    quantized            the DequantizeLinear that W comes from, and its scale where that is constant and fits
    turned               the order of axes of a Transpose between the two, if there is one
    every_tap_real       no tap ever reads padding, so a shift of the input is a constant of the output
    summed               over how many places of the data each product is summed besides: a shift counts so
                         often
    stack                how many leading axes of W count matrices: channels run over them, too
    forward_only         a map can go into it, none can be held behind it
    grows                a product of two matrices, which as a Gemm has a place for a bias
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
    turned: tuple[int, ...] = ()
    summed: int = 1
    stack: int = 0
    forward_only: bool = False
    grows: bool = False
    before: Affine = IDENTITY
    after: Affine = IDENTITY
    held: list[str] = field(default_factory=list)
    store: ir.DataType = ir.DataType.UNDEFINED
    remade: bool = False
    joined: Linear | None = None

    def __post_init__(self) -> None:
        if self.store == ir.DataType.UNDEFINED:  # a copy of a union keeps the type that it is stored in
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

    def become(self, weights: ir.TensorProtocol, taps: tuple[int, ...], pads: Iterable[int]) -> None:
        """Take other weights (in float64; `store` remains the type that they are rounded to), windows, and no
        map. Conv only."""
        self.tensor, self.view = weights, (*self.view[:-1], math.prod(taps))
        self.before = self.after = IDENTITY
        self.every_tap_real = not any(pads)
        self.remade = True

    def grow(self) -> None:
        """Become a Gemm, which has a bias."""
        self.node.op_type = "Gemm"
        self.bias, self.y_axis, self.x_axis, self.grows = 2, 1, 1, False

    def exact(self) -> Float:
        """The folded weights in float64, in their stored shape."""
        return self.frozen()()

    def frozen(self) -> Callable[[], Float]:
        """The folded weights as they are now, computed when called; maps pushed later do not count."""
        base, view, shape = self.tensor, self.view, dims(self.tensor)
        rows = self.on_rows(spread(self.after.scale, self.outs))
        columns = self.on_columns(spread(self.before.scale, self.ins))
        return lambda: (base.numpy().astype(np.float64).reshape(view) * rows * columns).reshape(shape)

    @property
    def stored_axis(self) -> int | None:
        """The axis of stored W along which output channels run, None where they lie on two."""
        axis = self.rows[0] - len(self.view) + len(self.tensor.shape)
        if self.node.op_type in ("Conv", "DeformConv"):
            axis = 0
        elif self.node.op_type == "ConvTranspose":
            axis = 1
            if self.view[0] != 1:
                return None
        return self.turned[axis] if self.turned else axis

    def scale_times(self, factors: Float) -> Float:
        """The scale of a quantised weight times a factor, or one for each output channel: one number, one for
        each channel, or blocks."""
        scale = self.quantized_scale
        assert scale is not None
        if scale.ndim > 1:
            rows = [-1 if axis == self.stored_axis else 1 for axis in range(scale.ndim)]
            return np.asarray(scale * factors.reshape(rows))
        if scale.size == factors.size == 1:  # one scale is enough, in any opset
            return np.asarray(scale * factors.reshape(()))
        return np.asarray(np.broadcast_to(scale.reshape(-1), self.outs) * factors.reshape(-1))

    def on_rows(self, per_output: Float) -> Float:
        """A vector over output channels, shaped to broadcast against the view."""
        return self._on(self.rows, per_output)

    def on_columns(self, per_input: Float) -> Float:
        """A vector over input channels, shaped to broadcast against the view."""
        return self._on(self.columns, per_input)

    def _on(self, axes: tuple[int, ...], vector: Float) -> Float:
        return np.asarray(vector).reshape(
            [size if axis in axes else 1 for axis, size in enumerate(self.view)]
        )

    def reach(self, weights: np.ndarray, shift: Float) -> Float:
        """Σ W·shift for every output channel: what a constant added to the input adds to the output. Read in
        blocks, so that a large W is never widened as a whole."""
        viewed = weights.reshape(self.view)
        column = self.on_columns(shift)
        total = np.zeros([size if axis in self.rows else 1 for axis, size in enumerate(self.view)])
        others = tuple(axis for axis in range(len(self.view)) if axis not in self.rows)
        step = max(1, BLOCK // max(1, math.prod(self.view[1:])))
        for at in range(0, self.view[0], step):
            block = slice(at, at + step)
            part = viewed[block].astype(np.float64) * (column[block] if column.shape[0] != 1 else column)
            summed = part.sum(axis=others, keepdims=True)
            if 0 in self.rows:
                total[block] = summed
            else:
                total += summed
        return total.reshape(-1) * self.summed

    def behind(self, shift: Float) -> Callable[[], Float]:
        """What a shift of the input adds to the output, behind all maps that are held now; computed when
        called."""
        tensor, before, after = self.tensor, self.before.scale, self.after.scale
        return lambda: self.reach(tensor.numpy(), before * shift) * after


def check_bias(linear: Linear, shapes: Shapes) -> None:
    """A bias that is there must be a constant (Refused), and fit the weight (Malformed)."""
    node, index = linear.node, linear.bias
    value = node.inputs[index] if index is not None and len(node.inputs) > index else None
    if value is None:
        return
    stored = shapes.constants.tensor(value)
    if stored is None:
        raise Refused(
            "kept.bias-not-constant",
            f"the bias of {node.op_type} '{label(node)}' is computed or fed at run time",
        )
    if not is_float(stored.dtype):
        raise Refused("kept.type", f"the bias of {node.op_type} '{label(node)}' is {stored.dtype.name}")
    shape = dims(stored)
    fits = (
        shape == (linear.view[0], 2 * linear.view[1])
        if linear.forward_only
        else shape == (linear.outs,)
        if node.op_type != "Gemm"
        else len(shape) <= 2 and (*(1, 1), *shape)[linear.y_axis - 2] in (1, linear.outs)
    )
    if not fits:
        raise Malformed(
            f"{node.op_type} '{label(node)}' has a bias of shape {list(shape)}",
            where=source_text(node) or None,
            expected=f"a bias of {linear.outs} channels",
        )
