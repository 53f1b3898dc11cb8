"""From maps to weights: what a linear operator holds after folding, as recipes that the writer evaluates.

    W' = after.scale · W · before.scale                          streamed block by block, one rounding at the
                                                                 end
    b' = after.scale · (β·b + α·Σ W·before.shift) + after.shift  small, computed at once

A weight that something else reads stays as it is; the operator gets a copy under a new name.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

import numpy as np

from ..errors import Unsupported
from ..inference import Shapes
from ..ir import tensor
from ..ir.graph import folded_name, ir, is_op, label, opset, set_input, usages
from ..results.plan import Copied
from .affine import Float, any_true, spread
from .edit import Editor
from .linear import Linear
from .negation import Negated, negated

OPTIONAL_BIAS = 11  # the opset since which a Gemm may do without one


def rewrite(linear: Linear, editor: Editor, shapes: Shapes) -> None:
    """Give a touched linear operator its new inputs."""
    _ungrow(linear, shapes)
    if linear.after.shifts or linear.after.scales or linear.before.shifts:
        _rewrite_bias(linear, editor, shapes)
    if linear.after.scales and linear.quantized is not None:
        _rewrite_quantized(linear, editor)
    elif linear.after.scales or linear.before.scales or linear.remade:
        _rewrite_weight(linear, editor)


def _ungrow(linear: Linear, shapes: Shapes) -> None:
    """A product that became a Gemm for a shift is one again where another shift made up for that: before
    opset 11 a Gemm has to have a bias."""
    node = linear.node
    if (
        is_op(node, "Gemm")
        and len(node.inputs) < 3
        and not (linear.after.shifts or linear.before.shifts)
        and shapes.opset(node) < OPTIONAL_BIAS
    ):
        node.op_type = "MatMul"


def _replace(
    linear: Linear, index: int, stored: ir.TensorProtocol, wish: str, editor: Editor, *how: Hashable
) -> ir.Value:
    """Give the operator another constant, and return it. Operators that share the kernel and do the same to
    it (`how`) share the constant."""
    node = linear.node
    old = node.inputs[index] if index < len(node.inputs) else None
    weight = node.inputs[linear.weight]
    assert weight is not None
    value = editor.put_once(stored, old or weight, wish, node, index, linear.store, *how)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    set_input(node, index, value)
    if old is not None:
        editor.replaced.append(old)
    return value


def _rewrite_weight(linear: Linear, editor: Editor) -> None:
    old = linear.node.inputs[linear.weight]
    assert old is not None
    both = (
        linear.on_rows(spread(linear.after.scale, linear.outs)),
        linear.on_columns(spread(linear.before.scale, linear.ins)),
    )
    factors = tuple(factor for factor in both if any_true(factor != 1))  # each is a pass over all weights
    shape = tensor.dims(linear.tensor)
    base, view, store = linear.tensor, linear.view, linear.store

    def arrays() -> Iterator[np.ndarray]:
        return scaled_blocks(base, view, factors, np.dtype(store.numpy()), label(linear.node))

    how = (id(base), view, *((factor.shape, factor.tobytes()) for factor in factors))
    new = _replace(
        linear, linear.weight, tensor.Recipe(store, shape, arrays), folded_name(old.name), editor, *how
    )
    editor.kernels.setdefault(old, set()).add(new)


def copied(editor: Editor) -> Iterator[Copied]:
    """The kernels that are stored more than once now. To be asked when what nobody reads is gone."""
    for old, folded in editor.kernels.items():
        times = len(folded) + bool(usages(old))
        if times > 1:
            stored = editor.shapes.constants.tensor(next(iter(folded)))  # in a function it is a node's
            assert stored is not None
            yield Copied(
                old.name or "", times, (times - 1) * tensor.nbytes(stored.dtype, tensor.dims(stored))
            )


def scaled_blocks(
    base: ir.TensorProtocol, view: tuple[int, ...], factors: tuple[Float, ...], dtype: np.dtype, where: str
) -> Iterator[np.ndarray]:
    """W · rows · columns in blocks along the leading axes of the view; float64 inside, rounded once. Raises
    Unsupported where a finite weight would become infinite."""
    weights = base.numpy().reshape(view)
    axis, step = _block(view)
    outer = [range(size) for size in view[:axis]]
    for lead in np.ndindex(*(len(r) for r in outer)):
        for at in range(0, view[axis], step):
            cut = (*lead, slice(at, at + step))
            # What is not finite stays so; what becomes so is refused below.
            part = weights[cut].astype(np.float64)
            for factor in factors:
                before = (0 if factor.shape[k] == 1 else i for k, i in enumerate(lead))
                part *= factor[(*before, slice(None) if factor.shape[axis] == 1 else cut[-1])]
            yield _rounded(part, dtype, where)


def _block(view: tuple[int, ...]) -> tuple[int, int]:
    """(axis to cut, how many of its entries make a block): the first axis whose entries are small enough."""
    for axis in range(len(view)):
        inner = math.prod(view[axis + 1 :])
        if inner <= tensor.BLOCK or axis == len(view) - 1:
            return axis, max(1, tensor.BLOCK // max(1, inner))
    return 0, 1


def _rounded(part: Float, dtype: np.dtype, where: str) -> np.ndarray:
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            rounded = part.astype(dtype)
    except FloatingPointError:
        rounded = None
    if rounded is None or (dtype.itemsize == 2 and np.any(np.isinf(rounded) & np.isfinite(part))):
        raise Unsupported(
            f"a folded weight of '{where}' overflows {dtype.name}",
            way_out=f"keep the nodes folded into it: --keep '{where}'",
        )
    return rounded


def _rewrite_bias(linear: Linear, editor: Editor, shapes: Shapes) -> None:
    """The new bias; Gemm's may have any shape that broadcasts, and its β becomes one."""
    node, index = linear.node, linear.bias
    if index is None:
        return
    old = node.inputs[index] if len(node.inputs) > index else None
    if old is None and not linear.after.shifts and not linear.before.shifts:
        return
    scale, shift = (spread(v, linear.outs) for v in (linear.after.scale, linear.after.shift))
    reach = (
        linear.alpha * linear.reach(linear.tensor.numpy(), spread(linear.before.shift, linear.ins))
        if linear.before.shifts
        else 0.0
    )
    stored = shapes.constants.tensor(old)
    if linear.forward_only:
        _rewrite_recurrent(linear, editor, stored, old, reach)
        return
    if node.op_type == "Gemm":
        _rewrite_gemm(linear, editor, shapes, old, scale, shift, reach)
        return
    exact = shapes.constants.array(old)
    base = (
        np.zeros(linear.outs)
        if stored is None
        else exact
        if exact is not None
        else stored.numpy().astype(np.float64)
    )
    _put_bias(
        linear,
        editor,
        scale * (base + reach) + shift,
        linear.store if linear.quantized is None else _bias_dtype(linear, stored, shapes),
        old,
    )


def _rewrite_recurrent(
    linear: Linear,
    editor: Editor,
    stored: ir.TensorProtocol | None,
    old: ir.Value | None,
    reach: Float | float,
) -> None:
    """The bias of RNN, GRU and LSTM: one row a direction, first what is added to W x, then what to R h."""
    directions, gates = linear.view[:2]
    base = np.zeros((directions, 2 * gates)) if stored is None else stored.numpy().astype(np.float64)
    values = base.copy()
    values[:, :gates] += np.reshape(reach, (directions, gates))
    _put_bias(linear, editor, values, linear.store, old)


def _rewrite_gemm(
    linear: Linear,
    editor: Editor,
    shapes: Shapes,
    old: ir.Value | None,
    scale: Float,
    shift: Float,
    reach: Float | float,
) -> None:
    node = linear.node
    stored = shapes.constants.tensor(old)
    base = (
        np.zeros(())
        if stored is None or linear.beta == 0
        else linear.beta * stored.numpy().astype(np.float64)
    )
    column = (-1, 1) if linear.y_axis == 0 else (-1,)
    values = scale.reshape(column) * (
        base + np.reshape(reach, column if np.ndim(reach) else ())
    ) + shift.reshape(column)
    if opset(editor.model, node.graph) < 7:  # before, a bias broadcast only when told so
        node.attributes["broadcast"] = ir.AttrInt64("broadcast", 1)
    if "beta" in node.attributes:
        node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
    linear.beta = 1.0
    _put_bias(
        linear,
        editor,
        values,
        linear.store if linear.quantized is None else _bias_dtype(linear, stored, shapes),
        old,
    )


def _bias_dtype(linear: Linear, stored: ir.TensorProtocol | None, shapes: Shapes) -> ir.DataType:
    """Beside a quantised weight the bias has the type that the weight is dequantised to."""
    if stored is not None:
        return stored.dtype
    assert linear.quantized is not None
    dtype = shapes.dtype(linear.quantized.inputs[1])
    assert dtype is not None  # the scale is a constant
    return dtype


def _put_bias(
    linear: Linear, editor: Editor, values: Float, dtype: ir.DataType, old: ir.Value | None
) -> None:
    node = linear.node
    weight = node.inputs[linear.weight]
    assert linear.bias is not None
    wish = (
        folded_name(old.name)
        if old is not None
        else _bias_name(weight.name if weight is not None else None, label(node))
    )
    rounded = _rounded(np.asarray(values, np.float64), np.dtype(dtype.numpy()), label(node))
    stored = tensor.from_array(rounded, dtype=dtype)
    _replace(linear, linear.bias, stored, wish, editor, dtype, rounded.shape, rounded.tobytes())


def _bias_name(weight: str | None, node: str) -> str:
    """`conv1.bias` beside `conv1.weight`; else a name made of the node's."""
    for ending, bias in (
        (".weight", ".bias"),
        ("/weight", "/bias"),
        ("/weights", "/biases"),
        ("_weight", "_bias"),
        ("/kernel", "/bias"),
    ):
        if weight and weight.endswith(ending):
            return weight.removesuffix(ending) + bias
    return f"{node}/bias"


def _turn_sign(change: Negated, editor: Editor) -> None:
    node, old = change.node, change.node.inputs[change.index]
    assert old is not None
    stored = tensor.from_array(change.values, dtype=change.dtype)
    new = editor.put(node.graph, folded_name(old.name), stored, node)
    set_input(node, change.index, new)
    editor.replaced.append(old)
    editor.kernels.setdefault(old, set()).add(new)
    if is_op(node, "QuantizeLinear"):
        editor.rename(node.outputs[0])


def _rewrite_quantized(linear: Linear, editor: Editor) -> None:
    """W stays quantised; its DequantizeLinear gets one scale for each output channel, times the map's. Where
    that is negative, the sign of W turns."""
    node, scale = linear.quantized, linear.quantized_scale
    assert node is not None and scale is not None and linear.stored_axis is not None
    old, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert old is not None
    dtype = editor.shapes.dtype(old)
    assert dtype is not None  # the scale is a constant
    if not linear.after.nonnegative:
        _turn_sign(negated(linear, linear.after.scale < 0, editor.shapes), editor)
    factors = np.abs(linear.after.scale.reshape(-1))
    values = linear.scale_times(factors)
    stored = tensor.from_array(_rounded(values, np.dtype(dtype.numpy()), label(node)), dtype=dtype)
    node.replace_input_with(1, editor.put(node.graph, folded_name(old.name), stored, node))
    editor.replaced.append(old)
    for value in dict.fromkeys((node.outputs[0], linear.node.inputs[linear.weight])):
        assert value is not None
        editor.rename(value)
    if scale.ndim > 1 or scale.size == factors.size == 1:  # blocks, or one number: no axis to be named
        return
    node.attributes["axis"] = ir.AttrInt64("axis", linear.stored_axis)
    if (
        zero is not None
        and (point := editor.shapes.constants.tensor(zero)) is not None
        and point.numpy().size != linear.outs
    ):
        spread = np.broadcast_to(point.numpy().reshape(-1), linear.outs)
        node.replace_input_with(
            2,
            editor.put(
                node.graph, folded_name(zero.name), tensor.from_array(spread, dtype=point.dtype), node
            ),
        )
        editor.replaced.append(zero)
