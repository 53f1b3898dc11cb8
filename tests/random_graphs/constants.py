"""A constant in its disguises: what stands in the graph is a small subgraph that gives an array of this
shape.

Its numbers may be others than those asked for, never its shape or its type; `integers` keeps the numbers as
well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .net import RUNS, Array, Net, Rejected, Value

_Disguise = Callable[[Net, Array], Value]


def constant(net: Net, array: Array) -> Value:
    """A constant of this type and shape: stored as it is, or behind a few operators that compute it."""
    array = np.asarray(array, net.kept.floats)
    same = [
        v for v in net.readable() if v.is_constant and v.dtype == array.dtype and v.shapes[0] == array.shape
    ]
    if same and net.chance(0.2):
        return net.pick(*same)  # a weight that two nodes share
    if net.chance(0.55):
        return net.stored(array)
    made = net.attempt(net.pick(*DISGUISES), array)
    if made is None or made.shapes[0] != array.shape or made.dtype != array.dtype:
        return net.stored(array)
    return made


def positive(net: Net, array: Array) -> Value:
    """A constant whose numbers stay as they are: positive ones, and others that must not change."""
    if net.chance(0.7):
        return net.stored(array)
    return net.attempt(net.pick(_identity, _transposed, _reshaped, _cast), array) or net.stored(array)


def fixed(net: Net, array: Array) -> Value:
    """A constant that must not be nudged: a jump stands behind it."""
    value = net.stored(array)
    net.kept.delicate.add(value.name)
    return value


def integers(net: Net, numbers: Sequence[int] | Array) -> Value:
    """A row of integers: axes, bounds, sizes."""
    array = np.array(numbers, np.int64)
    kind = net.pick(*["stored"] * 6, "identity", "cast", "halves", "sum")
    if kind == "identity":
        return net.op("Identity", [net.stored(array)])
    if kind == "cast" and abs(array).max(initial=0) < 1 << 30:
        return net.op("Cast", [net.stored(array.astype(np.int32))], to=7)
    if kind == "halves" and array.ndim == 1 and len(array) > 1:
        return net.op("Concat", [net.stored(array[:1]), net.stored(array[1:])], axis=0)
    if kind == "sum" and abs(array).max(initial=0) < 1 << 30:
        return net.op("Add", [net.stored(array - 1), net.stored(np.array(1))])
    return net.stored(array)


def _identity(net: Net, array: Array) -> Value:
    return net.op("Identity", [net.stored(array)])


def _transposed(net: Net, array: Array) -> Value:
    if array.ndim < 2:
        raise Rejected
    order = net.rng.permutation(array.ndim)
    return net.op("Transpose", [net.stored(array.transpose(np.argsort(order)))], perm=[int(k) for k in order])


def _reshaped(net: Net, array: Array) -> Value:
    if not array.size:
        raise Rejected
    return net.op("Reshape", [net.stored(array.reshape(-1)), integers(net, array.shape)])


def _cast(net: Net, array: Array) -> Value:
    source = np.float16 if array.dtype == np.float32 else np.float32
    to = {"float16": 10, "float32": 1, "float64": 11}[array.dtype.name]
    return net.op("Cast", [net.stored(array.astype(source))], to=to)


def _arithmetic(net: Net, array: Array) -> Value:
    kind = net.pick("Mul", "Add", "Div", "Sub")
    other = net.stored(net.data(*(array.shape[-1:] if net.chance(0.5) else ()), low=0.4))
    return net.op(kind, [net.stored(array), other])


def _unary(net: Net, array: Array) -> Value:
    kind = net.pick("Neg", "Abs", "Sqrt", "Exp", "Reciprocal", "Tanh")
    return net.op(kind, [net.stored(np.abs(array) if kind == "Sqrt" else array)])


def _jumped(net: Net, array: Array) -> Value:
    """Numbers of which a jump makes whole steps: computed in the model's own type, each last bit counts. Not
    in half precision, which onnxruntime computes in single where it has no kernel, and no two graphs alike."""
    if array.dtype == np.float16:
        raise Rejected
    steps = np.asarray(net.rng.integers(1, 9, array.shape), array.dtype)
    again = _nearly(net, steps)
    kind = net.pick("Floor", "Ceil", "Round", "int", "Equal", "Less", "Mod")
    to = {"float16": 10, "float32": 1, "float64": 11}[array.dtype.name]
    if kind in ("Equal", "Less"):
        same = net.op("Cast", [net.op(kind, [again, fixed(net, steps)])], to=to)
        return net.op("Add", [same, net.stored(np.asarray(0.5, array.dtype))])
    if kind == "Mod":
        rest = net.op("Mod", [again, fixed(net, np.asarray(1.0, array.dtype))], fmod=1)
        return net.op("Add", [rest, net.stored(np.asarray(0.5, array.dtype))])
    if kind == "int":
        return net.op("Cast", [net.op("Cast", [again], to=6)], to=to)
    return net.op(kind, [again])


def _nearly(net: Net, steps: Array) -> Value:
    """Whole numbers, or what their neighbours are where arithmetic rounds."""
    tenth = fixed(net, np.asarray(net.pick(0.1, 0.7, 1 / 3), steps.dtype))
    kind = net.pick("Div", "Sum", "Sqrt", "Exp", "Reciprocal")
    if kind == "Div":
        return net.op("Div", [net.op("Mul", [fixed(net, steps), tenth]), tenth])
    if kind == "Sqrt":
        root = net.op("Sqrt", [fixed(net, steps)])
        return net.op("Mul", [root, root])
    if kind == "Exp":
        return net.op("Exp", [net.op("Log", [fixed(net, steps)])])
    if kind == "Reciprocal":
        return net.op("Mul", [net.op("Reciprocal", [fixed(net, steps * 3)]), fixed(net, steps * steps * 3)])
    parts = fixed(net, np.stack([steps * np.asarray(0.1, steps.dtype)] * 10))
    if net.kept.opset >= 13:
        return net.op("ReduceSum", [parts, net.stored(np.array([0]))], keepdims=0)
    return net.op("ReduceSum", [parts], axes=[0], keepdims=0)


def _summed(net: Net, array: Array) -> Value:
    parts = net.stored(net.data(3, *array.shape))
    if net.kept.opset >= 13:
        return net.op("ReduceSum", [parts, integers(net, [0])], keepdims=0)
    return net.op("ReduceSum", [parts], axes=[0], keepdims=0)


def _concatenated(net: Net, array: Array) -> Value:
    if not array.ndim or array.shape[0] < 2:
        raise Rejected
    return net.op("Concat", [net.stored(array[:1]), net.stored(array[1:])], axis=0)


def _squeezed(net: Net, array: Array) -> Value:
    if net.kept.opset < 13:
        return net.op("Squeeze", [net.stored(array[None])], axes=[0])
    return net.op("Squeeze", [net.stored(array[None]), integers(net, [0])])


def _gathered(net: Net, array: Array) -> Value:
    if not array.ndim:
        raise Rejected
    order = net.rng.permutation(array.shape[0])
    return net.op("Gather", [net.stored(array), integers(net, order)], axis=0)


def _expanded(net: Net, array: Array) -> Value:
    if net.kept.opset < 8 or not array.ndim:
        raise Rejected
    return net.op("Expand", [net.stored(array[:1]), integers(net, array.shape)])


def _chosen(net: Net, array: Array) -> Value:
    if net.kept.opset < 9:
        raise Rejected
    which = net.stored(net.rng.integers(0, 2, array.shape).astype(bool))
    return net.op("Where", [which, net.stored(array), net.stored(np.asarray(0.7, array.dtype))])


def _quantised(net: Net, array: Array) -> Value:
    """A weight in eight bits: one scale, or one for each entry of an axis. Sometimes every number has its
    negative, and sometimes floats are quantised first."""
    opset = net.kept.opset
    if opset < 10 or array.dtype != np.float32:
        raise Rejected
    kind = net.pick(np.int8, np.uint8)
    along = opset >= 13 and array.ndim and net.chance(0.6)
    axis = net.integer(0, array.ndim - 1) if along else None
    sizes = () if axis is None else (array.shape[axis],)
    low = np.iinfo(kind).min
    edge = net.pick(0, 0, 1, 60)
    parameters = [net.stored(net.rng.uniform(0.002, 0.01, sizes).astype(np.float32))]
    if kind == np.uint8 or net.chance(0.6):
        near = net.pick(1, 25)
        parameters.append(
            net.stored(net.rng.integers(low + 129 - near, low + 128 + near, sizes).astype(kind))
        )
    if kind == np.int8 and net.chance(0.4):
        weight = net.op("QuantizeLinear", [net.stored(array), *parameters], axis=axis)
    else:
        weight = net.stored(net.rng.integers(low + edge, low + 256 - edge, array.shape).astype(kind))
    return net.op("DequantizeLinear", [weight, *parameters], axis=axis)


def _overridable(net: Net, array: Array) -> Value:
    """An initializer for which a caller may feed another value: half of the runs do."""
    scope = net
    while scope.outer is not None:
        if scope.is_function:
            raise Rejected
        scope = scope.outer
    if net.chance(0.6):
        raise Rejected
    other = net.data(*array.shape, low=0.2)
    value = net.input("overridable", [other if k % 2 else array for k in range(RUNS)], array.shape)
    net.kept.overridable.add(value.name)
    value.is_constant = False
    return value


DISGUISES: tuple[_Disguise, ...] = (
    *[_quantised] * 3,
    *[_jumped] * 2,
    _identity,
    _transposed,
    _reshaped,
    _cast,
    _arithmetic,
    _unary,
    _summed,
    _concatenated,
    _squeezed,
    _gathered,
    _expanded,
    _chosen,
    _overridable,
)
