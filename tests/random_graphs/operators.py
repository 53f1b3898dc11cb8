"""One row an operator: which inputs, attributes and constants a random node of it gets.

A row adds one node (now and then two) behind a value and says nothing about shapes: onnxruntime gives them,
and refuses what does not fit. A structural test holds the rows against the tables of folding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .constants import constant, fixed, integers, positive
from .net import Net, Rejected, Value

Row = Callable[[Net, Value], Any]


def sized(net: Net, x: Value, axis: int) -> int:
    """The size of an axis that must be fixed."""
    size = x.size(axis)
    if not size:
        raise Rejected
    return size


def pattern(net: Net, x: Value) -> tuple[int, ...]:
    """The shape of a constant that broadcasts against x; it varies along fixed axes only."""
    if not x.rank:
        return net.pick((), (1,))
    axis = net.axis(x)
    kind = net.pick("one", "one", "one", "channel", "some", "scalar", "single", "last", "more")
    shape = x.shape
    if kind == "channel" and x.rank > 1:
        axis = 1
    wanted = [
        (d or 1) if k == axis or (kind == "some" and net.chance(0.5)) else 1 for k, d in enumerate(shape)
    ]
    if kind == "scalar":
        return ()
    if kind == "single":
        return (1,) * net.integer(1, x.rank)
    if kind == "last":
        return (shape[-1] or 1,)
    if kind == "more":  # one that may enlarge x
        return tuple([1, *wanted] if net.chance(0.3) else [net.pick(1, 1, 2, 3), *wanted[1:]])
    lead = 0
    while lead < x.rank and wanted[lead] == 1 and net.chance(0.6):
        lead += 1
    return tuple(wanted[lead:])


# Affine operators


def batch_norm(net: Net, x: Value) -> Value:
    channels = sized(net, x, 1) if x.rank > 1 else 1
    scale = constant(net, net.data(channels, low=net.pick(-1.0, 0.2)))
    quiet = net.chance(0.25)
    shift = net.stored(np.zeros(channels, net.kept.floats)) if quiet else constant(net, net.data(channels))
    mean = net.stored(np.zeros(channels, net.kept.floats)) if quiet else constant(net, net.data(channels))
    variance = positive(net, net.data(channels, low=0.2))
    return net.op("BatchNormalization", [x, scale, shift, mean, variance], epsilon=net.pick(1e-5, 1e-3, None))


def elementwise(kind: str, net: Net, x: Value) -> Value:
    """With a constant of any pattern, or (a third of the time) with another value of run time."""
    if net.chance(0.3):
        return meeting(kind, net, x)
    away = kind == "Div"
    values = net.data(*pattern(net, x), low=0.3 if away else net.pick(-1.0, 0.3))
    other = positive(net, values) if away else constant(net, values)
    operands = [x, other]
    if (kind == "Div" and net.chance(0.05)) or (kind != "Div" and net.chance(0.4)):
        operands.reverse()
    return net.op(kind, operands)


def meeting(kind: str, net: Net, x: Value) -> Value:
    """Two values of run time, one of them perhaps stretched."""
    fits = [v for v in net.candidates() if _broadcasts(v, x)]
    other = net.pick(*fits)
    if kind == "Div":
        other = net.op("Exp", [net.op("Sigmoid", [other])])
    operands = [x, other] if net.chance(0.6) or kind == "Div" else [other, x]
    return net.op(kind, operands)


def _broadcasts(v: Value, x: Value) -> bool:
    pairs = zip(v.shapes, x.shapes, strict=True)
    return all(
        a in (1, b) or b == 1 for one, two in pairs for a, b in zip(one[::-1], two[::-1], strict=False)
    )


def several(kind: str, net: Net, x: Value) -> Value:
    """Of several operands: values of run time, some of them made of x just so, and perhaps a constant, in Max
    and Min often zero."""
    others = [v for v in net.candidates() if _broadcasts(v, x)]
    if net.chance(0.4):
        rows = ROWS["Conv"], ROWS["MatMul"], ROWS["MaxPool"], ROWS["AveragePool"], slice_
        made = net.attempt(net.pick(*rows), x)
        others = [made] if isinstance(made, Value) and _broadcasts(made, x) else others
    parts = [x, *(net.pick(*others) for _ in range(net.integer(0, 2)))]
    if net.chance(0.3):
        shape = pattern(net, x)
        zero = kind in ("Max", "Min") and net.chance(0.6)
        parts.append(constant(net, np.zeros(shape, net.kept.floats) if zero else net.data(*shape)))
    return net.op(kind, [parts[k] for k in net.rng.permutation(len(parts))])


# Linear operators


def _windows(net: Net, space: int, kernel: list[int], dilated: bool = True) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if net.chance(0.3):
        attributes["strides"] = [net.integer(1, 2) for _ in range(space)]
    if dilated and net.chance(0.2):
        attributes["dilations"] = [net.integer(1, 2) for _ in range(space)]
    if net.chance(0.2):
        attributes["auto_pad"] = net.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    elif net.chance(0.5):
        attributes["pads"] = [net.integer(0, k // 2) for k in kernel * 2]
    return attributes


def _space(x: Value) -> int:
    if not 3 <= x.rank <= 5:
        raise Rejected
    return x.rank - 2


def conv(net: Net, x: Value) -> Value:
    space, channels = _space(x), sized(net, x, 1)
    group = net.pick(1, 1, channels, *([2] if channels % 2 == 0 else []))
    outs = group * net.integer(1, max(1, 6 // group))
    kernel = [net.pick(1, 1, 2, 3) for _ in range(space)]
    inputs = [x, constant(net, net.data(outs, channels // group, *kernel))]
    if net.chance(0.5):
        inputs.append(constant(net, net.data(outs)))
    return net.op(
        "Conv", inputs, group=group if group > 1 or net.chance(0.5) else None, **_windows(net, space, kernel)
    )


def conv_transpose(net: Net, x: Value) -> Value:
    space, channels = _space(x), sized(net, x, 1)
    group = net.pick(1, channels, *([2] if channels % 2 == 0 else []))
    per = net.integer(1, max(1, 4 // group))
    kernel = [net.pick(1, 2, 3) for _ in range(space)]
    inputs = [x, constant(net, net.data(channels, per, *kernel))]
    if net.chance(0.5):
        inputs.append(constant(net, net.data(group * per)))
    attributes = _windows(net, space, kernel)
    if "pads" in attributes:  # onnxruntime crashes where padding leaves nothing
        attributes["pads"] = [net.integer(0, (k - 1) // 2) for k in kernel * 2]
    if "auto_pad" not in attributes and net.chance(0.3):
        attributes["output_padding"] = [net.integer(0, s - 1) for s in attributes.get("strides", [1] * space)]
    return net.op("ConvTranspose", inputs, group=group, **attributes)


def deform_conv(net: Net, x: Value) -> Value:
    """Its offsets, and perhaps a mask, come of convolutions of the same windows; where offsets are huge,
    onnxruntime reads outside of its memory."""
    if x.rank != 4 or net.kept.opset < 19:
        raise Rejected
    channels = sized(net, x, 1)
    halves = [1, 2] if channels % 2 == 0 else [1]
    group, parts = net.pick(*halves), net.pick(*halves)
    outs = group * net.integer(1, 3)
    kernel = [net.pick(1, 2, 3) for _ in range(2)]
    attributes = {"strides": [net.integer(1, 2)] * 2, "pads": [net.integer(0, k // 2) for k in kernel * 2]}
    taps = parts * math.prod(kernel)

    def beside(count: int) -> Value:
        weight = net.stored(net.data(count, channels, *kernel))
        return net.op("Tanh", [net.op("Conv", [x, weight], **attributes)])

    inputs: list[Value | None] = [x, constant(net, net.data(outs, channels // group, *kernel))]
    inputs.append(beside(2 * taps))
    inputs.append(constant(net, net.data(outs)) if net.chance(0.5) else None)
    inputs.append(beside(taps) if net.chance(0.5) else None)
    while inputs[-1] is None:
        inputs.pop()
    return net.op("DeformConv", inputs, group=group, offset_group=parts, **attributes)


def gemm(net: Net, x: Value) -> Value:
    if x.rank != 2:
        x = net.op("Flatten", [x], axis=net.integer(0, x.rank))
    a_turned, b_turned = net.chance(0.25), net.chance(0.5)
    first = net.chance(0.15)  # the weight stands first
    inner = sized(net, x, (1 if b_turned else 0) if first else (0 if a_turned else 1))
    outs = net.integer(1, 5)
    turned = a_turned if first else b_turned
    w = constant(net, net.data(*((inner, outs) if turned == first else (outs, inner))))
    inputs = [w, x] if first else [x, w]
    if net.chance(0.6):
        rows = x.size(1 if a_turned else 0) or 1
        shapes = [(outs,), (1, outs), (1,), (1, 1)] + (
            [(rows, 1), (rows, outs)] if not first else [(outs, 1)]
        )
        inputs.append(constant(net, net.data(*net.pick(*shapes))))
    attributes = {"alpha": net.pick(None, 0.5, 1.25), "beta": net.pick(None, 2.0, 0.3)}
    return net.op("Gemm", inputs, transA=int(a_turned), transB=int(b_turned), **attributes)


def matmul(net: Net, x: Value) -> Value:
    kind = net.pick("weight", "weight", "weight", "first", "stack", "values", "values", "vector")
    outs = net.integer(1, 5)
    if kind == "values":
        fits = [v for v in net.candidates() if v.rank and x.rank and _chains(x, v)]
        if fits:
            return net.op("MatMul", [x, net.pick(*fits)])
        if x.rank < 2:
            raise Rejected
        order = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
        return net.op("MatMul", [x, net.op("Transpose", [x], perm=order)])
    if kind == "first":
        if x.rank < 2:
            raise Rejected
        return net.op("MatMul", [constant(net, mixing(net, outs, sized(net, x, x.rank - 2))), x])
    inner = sized(net, x, x.rank - 1) if x.rank else 0
    if not inner:
        raise Rejected
    lead = ((1,) * net.integer(1, 2) if net.chance(0.5) else (x.size(0) or 1,)) if kind == "stack" else ()
    shape = (inner,) if kind == "vector" else (*lead, inner, outs)
    return net.op("MatMul", [x, constant(net, mixing(net, *shape))])


def mixing(net: Net, *shape: int) -> np.ndarray:
    """A weight, sometimes one whose sums are equal along every axis, so that a shift passes."""
    values = net.data(*shape)
    if not net.chance(0.3):
        return values
    if len(shape) < 2 or len(set(shape)) > 1:
        return np.full_like(values, net.pick(0.25, -0.5, 0.3))
    place = np.indices(shape).sum(0) % shape[0]
    row = np.abs(values.reshape(-1)[: shape[0]]) + np.asarray(0.1, values.dtype)
    return np.asarray(row[place])


def _chains(x: Value, v: Value) -> bool:
    return all(a[-1] == b[-2 if len(b) > 1 else 0] for a, b in zip(x.shapes, v.shapes, strict=True))


def einsum(net: Net, x: Value) -> Value:
    """With a matrix, with a weight of several axes that are summed or kept, or with another value."""
    if not 1 <= x.rank <= 4:
        raise Rejected
    letters = "abcd"[: x.rank]
    axis = net.axis(x)
    size = sized(net, x, axis)
    kept = [c for k, c in enumerate(letters) if k != axis and net.chance(0.8)]
    kept.insert(net.integer(0, len(kept)), "z")
    weight = ["z", letters[axis]] if net.chance(0.5) else [letters[axis], "z"]
    shape = tuple(net.integer(1, 5) if c == "z" else size for c in weight)
    if net.chance(0.25):
        other = net.axis(x)
        if (sizes := x.size(other)) and other != axis:  # summed as well, or of each entry its own matrix
            weight, shape = [letters[other], *weight], (sizes, *shape)
    if net.chance(0.2) and (fits := [v for v in net.candidates() if v.like(x)]):
        w, weight = net.pick(*fits), list(letters)
        kept = [c for c in kept if c != "z"] or [letters[0]]
        kept = [kept[k] for k in net.rng.permutation(len(kept))]
    else:
        w = constant(net, mixing(net, *shape))
    terms, inputs = [letters, "".join(weight)], [x, w]
    if net.chance(0.4):
        terms, inputs = terms[::-1], inputs[::-1]
    return net.op("Einsum", inputs, equation=",".join(terms) + "->" + "".join(kept))


def recurrent(kind: str, net: Net, x: Value) -> Value:
    """All of a sequence's states, or the last of them."""
    if x.rank != 3:
        raise Rejected
    size, hidden = sized(net, x, 2), net.integer(1, 3)
    way = net.pick(None, "reverse", "bidirectional")
    ways = 2 if way == "bidirectional" else 1
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    inputs: list[Value | None] = [
        x,
        constant(net, net.data(ways, gates * hidden, size)),
        constant(net, net.data(ways, gates * hidden, hidden)),
    ]
    if net.chance(0.6):
        inputs.append(constant(net, net.data(ways, 2 * gates * hidden)))
    if net.chance(0.2) and (batch := x.size(1)):
        inputs += [None] * (5 - len(inputs)) + [constant(net, net.data(ways, batch, hidden))]
    before = net.pick(None, 1) if kind == "GRU" else None
    states = net.ops(kind, inputs, 2, hidden_size=hidden, direction=way, linear_before_reset=before)
    return net.pick(*states)


# What keeps the shape


def unary(kind: str, net: Net, x: Value) -> Value:
    return net.op(kind, [x])


def leaky_relu(net: Net, x: Value) -> Value:
    return net.op("LeakyRelu", [x], alpha=net.pick(None, 0.2, 1.5))


def prelu(net: Net, x: Value) -> Value:
    shape = pattern(net, x)[-x.rank :] if x.rank else ()  # ONNX allows no slope that is larger than its input
    shape = [
        d if d == 1 or all(one[k - len(shape)] != 1 for one in x.shapes) else 1 for k, d in enumerate(shape)
    ]
    return net.op("PRelu", [x, constant(net, net.data(*shape, low=net.pick(-1.0, 0.1)))])


def dropout(net: Net, x: Value) -> Value:
    if net.kept.opset < 12:
        return net.op("Dropout", [x], ratio=net.pick(None, 0.3))
    more = [fixed(net, np.asarray(0.3, np.float32))] if net.chance(0.5) else []
    if more and net.chance(0.5):
        more.append(net.stored(np.asarray(False)))
    return net.ops("Dropout", [x, *more], net.pick(1, 1, 1, 2))[0]


def cast(kind: str, net: Net, x: Value) -> Value:
    """To a wider type, where something may work, and back."""
    wide = net.pick(1, 11) if x.dtype == np.float16 else 11
    own = {"float16": 10, "float32": 1, "float64": 11}[x.dtype.name]
    wanted = [np.dtype("float16"), np.dtype("float32"), np.dtype("float64")]
    like = {10: wanted[0], 1: wanted[1], 11: wanted[2]}

    def to(value: Value, target: int) -> Value:
        if kind == "Cast" or net.kept.opset < 15:
            return net.op("Cast", [value], to=target)
        return net.op("CastLike", [value, net.stored(np.ones((), like[target]))])

    y = to(x, wide)
    if net.chance(0.7):
        y = net.op(net.pick("Mul", "Add"), [y, net.stored(net.data(*pattern(net, x)).astype(y.dtype))])
    return to(y, own)


# What moves values


def transpose(net: Net, x: Value) -> Value:
    if not x.rank:
        raise Rejected
    if x.rank == 4 and net.chance(0.4):
        return net.op("Transpose", [x], perm=net.pick([0, 2, 3, 1], [0, 3, 1, 2]))
    perm = [int(k) for k in net.rng.permutation(x.rank)]
    return net.op("Transpose", [x], perm=None if net.chance(0.1) else perm)


def reshape(net: Net, x: Value) -> Value:
    """Axes are merged and split; a free one stands as 0, as -1, or as what Shape says."""
    if not x.rank:
        return net.op("Reshape", [x, integers(net, [1])])
    groups: list[list[tuple[int, int | None]]] = [
        [(k, x.size(k))] for k in range(x.rank)
    ]  # (axis, size) merged
    for _ in range(net.integer(1, 2)):
        at = net.integer(0, len(groups) - 1)
        size = _fixed_product(groups[at])
        if net.chance(0.5) and size is not None and len(groups) < 5:
            factor = net.pick(*(d for d in range(1, size + 1) if size % d == 0)) if size else 1
            groups[at : at + 1] = [[(-1, factor)], [(-1, size // factor if factor else 0)]]
        elif at + 1 < len(groups):
            groups[at : at + 2] = [groups[at] + groups[at + 1]]
    if net.chance(0.15):
        groups.insert(net.integer(0, len(groups)), [(-1, 1)])
    return net.op("Reshape", [x, _spelled(net, x, groups)])


def _fixed_product(group: list[tuple[int, int | None]]) -> int | None:
    sizes = [size for _, size in group]
    return None if None in sizes else math.prod(s for s in sizes if s is not None)


def _spelled(net: Net, x: Value, groups: list[list[tuple[int, int | None]]]) -> Value:
    """The second input of a Reshape."""
    rest = net.chance(0.5)  # may one of them be -1?
    said: list[int | list[tuple[int, int | None]]] = []
    for at, group in enumerate(groups):
        size = _fixed_product(group)
        same = len(group) == 1 and group[0][0] == at
        if same and net.chance(0.4 if size is not None else 0.6):
            said.append(0)
        elif (size is None or net.chance(0.15)) and rest:
            said.append(-1)
            rest = False
        else:
            said.append(size if size is not None else group)
    if all(isinstance(s, int) for s in said):
        return integers(net, np.array(said))
    whole = net.op("Shape", [x])
    parts = [net.stored(np.array([s])) if isinstance(s, int) else _at_run_time(net, whole, s) for s in said]
    return net.op("Concat", parts, axis=0)


def _at_run_time(net: Net, whole: Value, group: list[tuple[int, int | None]]) -> Value:
    product: Value | None = None
    for axis, size in group:
        part = (
            net.stored(np.array([size]))
            if axis < 0
            else net.op("Gather", [whole, net.stored(np.array([axis]))])
        )
        product = part if product is None else net.op("Mul", [product, part])
    assert product is not None
    return product


def flatten(net: Net, x: Value) -> Value:
    return net.op("Flatten", [x], axis=None if x.rank and net.chance(0.3) else net.integer(0, x.rank))


def _with_axes(net: Net, kind: str, x: Value, axes: list[int], since: int, **attributes: Any) -> Value:
    if net.kept.opset < since:
        return net.op(kind, [x], axes=axes, **attributes)
    return net.op(kind, [x, integers(net, axes)], **attributes)


def squeeze(net: Net, x: Value) -> Value:
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    if not ones:
        return unsqueeze(net, x)
    if net.chance(0.1):
        return net.op("Squeeze", [x])
    axes = [a for a in ones if net.chance(0.6)] or ones[:1]
    return _with_axes(net, "Squeeze", x, [net.signed(a, x.rank) for a in axes], 13)


def unsqueeze(net: Net, x: Value) -> Value:
    more = net.integer(1, 2)
    if x.rank + more > 5:
        raise Rejected
    axes = [int(a) for a in net.rng.permutation(x.rank + more)[:more]]
    return _with_axes(net, "Unsqueeze", x, [net.signed(a, x.rank + more) for a in axes], 13)


def slice_(net: Net, x: Value) -> Value:
    return rolled(net, x) if net.chance(0.25) else cut(net, x)


def rolled(net: Net, x: Value) -> Value:
    """Parts of a value, laid end to end in another order: as torch.roll and YOLO's Focus are written. Some
    miss a part, or have one twice."""
    axis = net.axis(x)
    size = sized(net, x, axis)
    if size < 2:
        raise Rejected  # a part would be empty, and what onnxruntime makes of one is not always the same
    at = net.integer(1, size - 1)
    bounds = net.pick(
        [(at, 1 << 62, 1), (0, at, 1)],
        [(0, 1 << 62, 2), (1, 1 << 62, 2)],
        [(at, size, 1), (0, net.integer(1, size), 1)],
    )
    if net.kept.opset < 10:
        if any(step != 1 for _, _, step in bounds):
            raise Rejected
        parts = [net.op("Slice", [x], starts=[a], ends=[b], axes=[axis]) for a, b, _ in bounds]
    else:
        parts = [net.op("Slice", [x, *(integers(net, [n]) for n in (a, b, axis, s))]) for a, b, s in bounds]
    along = axis if net.chance(0.7) else net.axis(x)
    return net.op("Concat", parts, axis=net.signed(along, x.rank, 4))


def cut(net: Net, x: Value) -> Value:
    count = min(x.rank, net.integer(1, 2))
    if not count:
        raise Rejected
    axes = [int(a) for a in net.rng.permutation(x.rank)[:count]]
    bounds = []
    for axis in axes:
        size = x.size(axis) or min(shape[axis] for shape in x.shapes)
        if net.chance(0.2) and net.kept.opset >= 10:
            bounds.append((net.pick(-1, (1 << 62)), -(1 << 62), -1))
        else:
            start = net.integer(0, max(0, size - 1))
            end = net.pick(net.integer(start + 1, max(start + 1, size)), 1 << 62, size)
            bounds.append((net.pick(start, start - size if x.size(axis) else start), end, net.pick(1, 1, 2)))
    starts, ends, steps = (list(each) for each in zip(*bounds, strict=True))
    if net.kept.opset < 10:
        return net.op("Slice", [x], starts=starts, ends=ends, axes=axes)
    signed = [net.signed(a, x.rank, 10) for a in axes]
    return net.op("Slice", [x, *(integers(net, n) for n in (starts, ends, signed, steps))])


def gather(net: Net, x: Value) -> Value:
    axis = net.axis(x)
    size = x.size(axis) or min(shape[axis] for shape in x.shapes)
    if not size:
        raise Rejected
    shape = net.pick((), (1,), (size,), (net.integer(1, 4),), (1, 2), (2, 2))
    which = net.rng.permutation(size) if shape == (size,) else net.rng.integers(0, size, shape)
    if net.chance(0.3):
        which = which - size if x.size(axis) and net.kept.opset >= 11 else which
    indices = net.stored(np.asarray(which, net.pick(np.int64, np.int32)))
    return net.op("Gather", [x, indices], axis=net.signed(axis, x.rank))


def tile(net: Net, x: Value) -> Value:
    if not x.rank:
        raise Rejected
    return net.op("Tile", [x, integers(net, [net.pick(1, 1, 2) for _ in range(x.rank)])])


def expand(net: Net, x: Value) -> Value:
    ones = [size == 1 for size in x.shape]
    target = [
        net.pick(1, 2, 3) if one else net.pick(1, size or 1) for one, size in zip(ones, x.shape, strict=True)
    ]
    lead = [net.pick(1, 2)] if net.chance(0.3) and x.rank < 5 else []
    return net.op("Expand", [x, integers(net, np.array([*lead, *target], np.int64))])


def depth_to_space(net: Net, x: Value) -> Value:
    if x.rank != 4 or sized(net, x, 1) % 4:
        raise Rejected
    mode = net.pick(None, "DCR", "CRD") if net.kept.opset >= 11 else None
    return net.op("DepthToSpace", [x], blocksize=2, mode=mode)


def space_to_depth(net: Net, x: Value) -> Value:
    return net.op("SpaceToDepth", [x], blocksize=2)


def pad(net: Net, x: Value) -> Value:
    if not x.rank:
        raise Rejected
    axis = net.pick(net.axis(x), x.rank - 1)
    pads = [0] * 2 * x.rank
    pads[axis], pads[axis + x.rank] = net.integer(0, 2), net.integer(0 if net.chance(0.8) else -1, 2)
    if net.chance(0.25):
        pads[axis], pads[axis + x.rank] = net.integer(-1, 0), net.integer(-1, 0)
    mode = net.pick(None, None, "edge", "reflect", *(["wrap"] if net.kept.opset >= 19 else []))
    value = net.pick(None, 0.0, 0.5)
    if net.kept.opset < 11:
        return net.op("Pad", [x], pads=pads, mode=mode, value=None if mode else value)
    inputs: list[Value | None] = [x, integers(net, pads)]
    if value is not None and mode is None:
        inputs.append(net.stored(np.asarray(value, net.kept.floats)))
    if net.kept.opset >= 18 and net.chance(0.3):
        inputs[1] = integers(net, [pads[axis], pads[axis + x.rank]])
        inputs += [None] * (3 - len(inputs)) + [integers(net, [net.signed(axis, x.rank)])]
    return net.op("Pad", inputs, mode=mode)


def resize(net: Net, x: Value) -> Value:
    opset = net.kept.opset
    if opset < 10:
        return upsample(net, x)
    if x.rank < 3 or any(0 in shape for shape in x.shapes):
        raise Rejected
    scales = np.array([1, 1, *(net.pick(1.0, 2.0, 0.5, 1.5) for _ in range(x.rank - 2))], np.float32)
    mode = net.pick("nearest", "linear")
    if opset == 10:
        return net.op("Resize", [x, fixed(net, scales)], mode=mode)
    way = net.pick(None, "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    attributes = {"mode": mode, "coordinate_transformation_mode": way}
    if mode == "nearest":
        attributes["nearest_mode"] = net.pick(None, "floor", "round_prefer_ceil")
    nothing = net.stored(np.zeros(0, np.float32))
    if None not in x.shape and net.chance(0.4):
        sizes = [*x.shape[:2], *(net.integer(1, 5) for _ in range(x.rank - 2))]
        return net.op(
            "Resize",
            [x, nothing, nothing if opset < 13 else None, integers(net, np.array(sizes))],
            **attributes,
        )
    return net.op("Resize", [x, nothing, fixed(net, scales)], **attributes)


def upsample(net: Net, x: Value) -> Value:
    """Of old opsets alone; a new one resizes."""
    if net.kept.opset >= 10:
        return resize(net, x)
    scales = [1.0, 1.0, *(net.pick(1.0, 2.0, 3.0) for _ in range(x.rank - 2))]
    if net.kept.opset < 9:
        return net.op("Upsample", [x], mode=net.pick("nearest", "linear"), scales=scales)
    return net.op(
        "Upsample", [x, fixed(net, np.array(scales, np.float32))], mode=net.pick("nearest", "linear")
    )


# Pools, reductions, parts


def pool(kind: str, net: Net, x: Value) -> Value:
    space = _space(x)
    kernel = [net.integer(1, 3) for _ in range(space)]
    attributes = _windows(net, space, kernel, dilated=net.kept.opset >= (10 if kind == "MaxPool" else 19))
    if net.kept.opset >= 10 and net.chance(0.3):
        attributes["ceil_mode"] = 1
        if attributes.get(
            "strides"
        ):  # a window that begins behind the end counts for onnx, not for onnxruntime
            attributes["strides"] = [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)]
    if kind == "AveragePool":
        attributes["count_include_pad"] = net.integer(0, 1)
    if "SAME" in attributes.get(
        "auto_pad", ""
    ):  # between windows that leave gaps, onnxruntime pads negatively
        attributes.pop("strides", None)
        if kind == "AveragePool":  # its kernel pads as if there were none, its shape inference with them
            attributes.pop("dilations", None)
    elif any(_overhangs(shape[2:], kernel, attributes) for shape in x.shapes):
        raise Rejected  # onnx has no result there; onnxruntime one, of a window that is not full
    outputs = 2 if kind == "MaxPool" and net.kept.opset >= 8 and net.chance(0.1) else 1
    return net.ops(kind, [x], outputs, kernel_shape=kernel, **attributes)[0]


def _overhangs(sizes: Sequence[int], kernel: list[int], attributes: dict[str, Any]) -> bool:
    """Is a window larger than what is padded for it?"""
    space = len(kernel)
    pads, dilations = attributes.get("pads", [0] * 2 * space), attributes.get("dilations", [1] * space)
    return any(
        size + pads[k] + pads[k + space] < dilations[k] * (kernel[k] - 1) + 1 for k, size in enumerate(sizes)
    )


def reduce(kind: str, net: Net, x: Value) -> Value:
    attributes: dict[str, Any] = {"keepdims": net.pick(None, 0, 1)}
    count = net.integer(0, min(2, x.rank))
    axes = [net.signed(int(a), x.rank) for a in net.rng.permutation(x.rank)[:count]]
    since = 13 if kind == "ReduceSum" else 18
    if not axes:
        noop = {"noop_with_empty_axes": net.pick(None, 1)} if net.kept.opset >= since else {}
        return net.op(kind, [x], **attributes, **noop)
    return _with_axes(net, kind, x, axes, since, **attributes)


def concat(net: Net, x: Value) -> Value:
    axis = net.axis(x)

    def fits(v: Value) -> bool:
        return v.rank == x.rank and all(
            a[:axis] == b[:axis] and a[axis + 1 :] == b[axis + 1 :]
            for a, b in zip(v.shapes, x.shapes, strict=True)
        )

    others = [v for v in net.candidates() if fits(v)]
    parts = [x, *(net.pick(*others) for _ in range(net.integer(0, 2)))]
    if net.chance(0.6):
        parts = [net.attempt(net.pick(conv, matmul, batch_norm), v) or v for v in parts]
        parts = [v if fits(v) else x for v in parts]
    if None not in x.shape and net.chance(0.15):
        parts.append(constant(net, net.data(*(d or 1 for d in x.shape))))
    return net.op(
        "Concat", [parts[k] for k in net.rng.permutation(len(parts))], axis=net.signed(axis, x.rank, 4)
    )


def split(net: Net, x: Value) -> list[Value]:
    axis = net.axis(x)
    size = sized(net, x, axis)
    count = net.integer(1, min(3, size))
    cuts = sorted(int(c) for c in net.rng.permutation(size - 1)[: count - 1] + 1)
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
    signed = net.signed(axis, x.rank)
    if size % count == 0 and net.chance(0.3) and (net.kept.opset < 18):
        return net.ops("Split", [x], count, axis=signed)
    if size % count == 0 and net.chance(0.3) and net.kept.opset >= 18:
        return net.ops("Split", [x], count, axis=signed, num_outputs=count)
    if net.kept.opset < 13:
        return net.ops("Split", [x], count, axis=signed, split=sizes)
    return net.ops("Split", [x, integers(net, sizes)], count, axis=signed)


# What no map passes: it must stop there


def softmax(net: Net, x: Value) -> Value:
    return net.op("Softmax", [x], axis=net.signed(net.axis(x), x.rank))


def clip(net: Net, x: Value) -> Value:
    low, high = net.pick((-0.4, 0.9), (0.0, None), (None, 0.0), (None, None))
    if net.kept.opset < 11:
        return net.op("Clip", [x], min=low, max=high)
    bounds = [None if b is None else net.stored(np.asarray(b, net.kept.floats)) for b in (low, high)]
    return net.op("Clip", [x, *bounds])


def where(net: Net, x: Value) -> Value:
    if net.kept.opset < 16:
        raise Rejected
    other = net.pick(*(v for v in net.candidates() if _broadcasts(v, x)))
    if net.chance(0.5):
        other = net.stored(np.asarray(net.pick(0.0, 0.0, 0.5), net.kept.floats))
    which = net.op("Greater", [net.op("Shape", [x]), net.stored(np.array(2))])
    last = net.op("Gather", [which, net.stored(np.array(net.axis(x)))])
    return net.op("Where", [last, x, other])


def trailing_norm(kind: str, net: Net, x: Value) -> Value:
    """LayerNormalization along the last axis, or RMSNormalization, which has no bias."""
    if net.kept.opset < {"LayerNormalization": 17, "RMSNormalization": 23}[kind] or not x.rank:
        raise Rejected
    size = sized(net, x, x.rank - 1)
    if size < 2:
        raise Rejected
    inputs = [x, constant(net, net.data(size))]
    if kind == "LayerNormalization":
        inputs.append(constant(net, net.data(size)))
    return net.op(kind, inputs, axis=-1, epsilon=0.1)


def scaled_norm(kind: str, net: Net, x: Value) -> Value:
    """InstanceNormalization, or GroupNormalization once its scale is one number a channel."""
    if x.rank < 3 or (kind == "GroupNormalization" and net.kept.opset < 21):
        raise Rejected
    channels = sized(net, x, 1)
    inputs = [x, constant(net, net.data(channels)), constant(net, net.data(channels))]
    groups = None
    if kind == "GroupNormalization":
        groups = net.pick(*(n for n in range(1, channels + 1) if channels % n == 0))
    return net.op(kind, inputs, epsilon=0.1, num_groups=groups)


AFFINE: dict[str, Row] = {
    "BatchNormalization": batch_norm,
    **{kind: partial(elementwise, kind) for kind in ("Mul", "Add", "Sub", "Div")},
    "Neg": partial(unary, "Neg"),
}
LINEAR: dict[str, Row] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
    **{kind: partial(recurrent, kind) for kind in ("RNN", "GRU", "LSTM")},
}
BETWEEN: dict[str, Row] = {
    "Clip": clip,
    "Where": where,
    **{
        kind: partial(unary, kind)
        for kind in ("Identity", "Relu", "Abs", "GlobalMaxPool", "GlobalAveragePool")
    },
    **{kind: partial(pool, kind) for kind in ("MaxPool", "AveragePool")},
    **{kind: partial(reduce, kind) for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")},
    **{kind: partial(cast, kind) for kind in ("Cast", "CastLike")},
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slice_,
    "Gather": gather,
    "Tile": tile,
    "Expand": expand,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Dropout": dropout,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Resize": resize,
    "Upsample": upsample,
    "Pad": pad,
    "Concat": concat,
    "Split": split,
    **{kind: partial(several, kind) for kind in ("Sum", "Mean", "Max", "Min")},
}
OPAQUE: dict[str, Row] = {
    **{kind: partial(unary, kind) for kind in ("Sigmoid", "Tanh", "Softplus", "Elu")},
    "Softmax": softmax,
    **{kind: partial(trailing_norm, kind) for kind in ("LayerNormalization", "RMSNormalization")},
    **{kind: partial(scaled_norm, kind) for kind in ("InstanceNormalization", "GroupNormalization")},
}
ROWS: dict[str, Row] = AFFINE | LINEAR | BETWEEN | OPAQUE


def keeping_shape(net: Net, x: Value) -> Value:
    """An affine node, or another one, that keeps the shape of x."""
    for _ in range(4):
        y = net.attempt(net.pick(affine_row(net), affine_row(net), prelu, leaky_relu), x)
        if y is not None and y.like(x):
            return y
    return net.op("Tanh", [x])


def affine_row(net: Net) -> Row:
    """Batch norms twice as often as the others."""
    return net.pick(*AFFINE.values(), *[batch_norm] * 3)


def drawn_step(net: Net) -> Row:
    """An affine operator in two of five draws, a linear one in one of four."""
    if net.kept.only in ROWS and net.chance(0.35):
        return ROWS[net.kept.only]
    table = net.pick(*[AFFINE] * 8, *[LINEAR] * 5, *[BETWEEN] * 7, OPAQUE)
    return affine_row(net) if table is AFFINE else net.pick(*table.values())
