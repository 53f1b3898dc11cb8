"""Random networks in double precision in which nearly every axis has four entries.

Where sizes differ, a map that is laid along the wrong axis does not fit, and is noticed; in a cube it fits
everywhere, and only the numbers tell. Every operator here works along any axis, on values of any rank from 1
to 5, and operands meet in every way that broadcasting knows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from .nets import Net

Step = Callable[[Net, str], str]
MOST = 2048  # elements of a value that another step may take


def _axis(net: Net, x: str, first: int = 0) -> int:
    return int(net.rng.integers(first, len(net.values[x])))


def _signed(net: Net, axis: int, rank: int) -> int:
    return axis - rank if net.rng.random() < 0.3 else axis


def _with(shape: tuple[int, ...], axis: int, *sizes: int) -> tuple[int, ...]:
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


def _pattern(net: Net, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to this one without enlarging it."""
    kept = tuple(d if net.rng.random() < 0.4 else 1 for d in shape)
    return kept[int(net.rng.integers(len(kept) + 1)) :]


def affine(net: Net, x: str) -> str:
    shape = net.values[x]
    values = net.rng.uniform(0.5, 1.5, _pattern(net, shape)) * net.pick(1, 1, -1)
    kind = net.pick("Mul", "Mul", "Add", "Sub", "Div")
    operands = [x, net.constant(np.asarray(values))]
    return net.op(kind, operands if kind == "Div" or net.rng.random() < 0.6 else operands[::-1], shape)


def batch_norm(net: Net, x: str) -> str:
    shape = net.values[x]
    if len(shape) < 2:
        return x
    gamma, beta, mean = (net.normal(shape[1]) for _ in range(3))
    vectors = [
        np.abs(gamma) + 0.1 if net.rng.random() < 0.6 else gamma,
        beta,
        mean,
        net.rng.uniform(0.2, 2, shape[1]),
    ]
    return net.op("BatchNormalization", [x, *(net.constant(v) for v in vectors)], shape, epsilon=1e-3)


def linear(net: Net, x: str) -> str:
    return net.pick(_conv, _conv, _matmul, _matmul, _gemm, _einsum)(net, x)  # type: ignore[no-any-return]


def _conv(net: Net, x: str) -> str:
    shape = net.values[x]
    space = shape[2:]
    if not 3 <= len(shape) <= 5:
        return x
    group = net.pick(1, shape[1], *([2] if shape[1] % 2 == 0 else []))
    k = net.pick(1, 1, 3)
    inputs = [x, net.constant(net.normal(max(4, group), shape[1] // group, *[k] * len(space)))]
    inputs += [net.constant(net.normal(max(4, group)))] if net.rng.random() < 0.5 else []
    return net.op(
        "Conv", inputs, (shape[0], max(4, group), *space), group=group, pads=[k // 2] * 2 * len(space)
    )


def _matmul(net: Net, x: str) -> str:
    shape = net.values[x]
    if len(shape) < 2:
        return x
    if net.rng.random() < 0.5:
        return net.op(
            "MatMul",
            [x, net.constant(net.normal(*net.pick((), (1,)[: len(shape) - 2]), shape[-1], 4))],
            (*shape[:-1], 4),
        )
    return net.op("MatMul", [net.constant(net.normal(4, shape[-2])), x], (*shape[:-2], 4, shape[-1]))


def _gemm(net: Net, x: str) -> str:
    if len(shape := net.values[x]) != 2:
        return x
    left, first, second = net.rng.random() < 0.4, net.pick(0, 1), net.pick(0, 1)
    inner = shape[(1 - second) if left else (1 - first)] if not left else shape[second]
    rest = shape[1 - second] if left else shape[first]
    weight = (4, inner) if left else (inner, 4)
    stored = weight[::-1] if (first if left else second) else weight
    operands = [x, net.constant(net.normal(*stored))]
    result = (4, rest) if left else (rest, 4)
    bias = [net.constant(net.normal(*_pattern(net, result)))] if net.rng.random() < 0.6 else []
    return net.op(
        "Gemm",
        (operands[::-1] if left else operands) + bias,
        result,
        transA=first,
        transB=second,
        alpha=0.5,
        beta=2.0,
    )


def _einsum(net: Net, x: str) -> str:
    shape = net.values[x]
    axis, letters = _axis(net, x), "abcde"[: len(shape)]
    weight = net.pick(letters[axis] + "z", "z" + letters[axis])
    place = int(net.rng.integers(len(shape)))
    rest = letters.replace(letters[axis], "")
    result = rest[:place] + "z" + rest[place:]
    sizes = dict(zip(letters, shape, strict=True)) | {"z": 4}
    operands = [x, net.constant(net.normal(*(sizes[c] for c in weight)))]
    terms = [letters, weight]
    if net.rng.random() < 0.4:
        operands, terms = operands[::-1], terms[::-1]
    return net.op(
        "Einsum", operands, tuple(sizes[c] for c in result), equation=f"{','.join(terms)}->{result}"
    )


def transpose(net: Net, x: str) -> str:
    shape = net.values[x]
    order = net.rng.permutation(len(shape)).tolist()
    return net.op("Transpose", [x], tuple(shape[k] for k in order), perm=order)


def reshape(net: Net, x: str) -> str:
    shape = net.values[x]
    axis = _axis(net, x)
    if len(shape) > 1 and net.rng.random() < 0.5:
        axis = min(axis, len(shape) - 2)
        new = _with(_with(shape, axis + 1), axis, shape[axis] * shape[axis + 1])
    elif shape[axis] % 2 == 0 and len(shape) < 5:
        new = _with(shape, axis, *net.pick((2, shape[axis] // 2), (shape[axis] // 2, 2)))
    else:
        return x
    said = [
        0 if k < len(shape) and d == shape[k] and net.rng.random() < 0.3 else d for k, d in enumerate(new)
    ]
    if net.rng.random() < 0.3:
        said[int(net.rng.integers(len(said)))] = -1
    return net.op("Reshape", [x, net.constant(np.array(said))], new)


def unsqueeze(net: Net, x: str) -> str:
    shape = net.values[x]
    if 1 in shape and len(shape) > 1 and net.rng.random() < 0.6:
        axis = shape.index(1)
        return net.op(
            "Squeeze", [x, net.constant(np.array([_signed(net, axis, len(shape))]))], _with(shape, axis)
        )
    if len(shape) > 4:
        return x
    axis = int(net.rng.integers(len(shape) + 1))
    y = net.op("Unsqueeze", [x, net.constant(np.array([axis]))], (*shape[:axis], 1, *shape[axis:]))
    if net.rng.random() < 0.5:
        return y
    return net.op(
        "Expand",
        [y, net.constant(np.array([4] + [1] * (len(shape) - axis)))],
        (*shape[:axis], 4, *shape[axis:]),
    )


def unary(net: Net, x: str) -> str:
    kind = net.pick("Relu", "LeakyRelu", "Identity", "Sigmoid", "Neg", "Abs", "PRelu")
    slope = [net.constant(net.rng.uniform(0.1, 0.9, _pattern(net, net.values[x])))] if kind == "PRelu" else []
    return net.op(kind, [x, *slope], net.values[x])


def meet(net: Net, x: str) -> str:
    """Two values of run time, one of them perhaps stretched."""
    shape = net.values[x]
    fits = [
        v
        for v, s in net.values.items()
        if len(s) <= len(shape) and all(d in (1, e) for d, e in zip(s[::-1], shape[::-1], strict=False))
    ]
    operands = [linear_same(net, x) if net.rng.random() < 0.5 else x, net.pick(*fits)]
    kind = net.pick("Add", "Add", "Sub", "Mul", "Sum")
    return net.op(kind, operands if net.rng.random() < 0.6 else operands[::-1], shape)


def product(net: Net, x: str) -> str:
    """Two matrices of run time."""
    shape = net.values[x]
    fits = [
        v
        for v, s in net.values.items()
        if len(s) >= 2 and len(shape) >= 2 and s[:-2] in ((), shape[:-2]) and s[-2] == shape[-1]
    ]
    if not fits:
        return x
    other = net.pick(*fits)
    return net.op("MatMul", [x, other], (*shape[:-1], net.values[other][-1]))


def reduce(net: Net, x: str) -> str:
    shape = net.values[x]
    kind, axis, keep = (
        net.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"),
        _axis(net, x),
        net.pick(0, 1),
    )
    new = _with(shape, axis, *([1] if keep else []))
    if not new:
        return x
    said = _signed(net, axis, len(shape))
    if kind == "ReduceSum":
        return net.op(kind, [x, net.constant(np.array([said]))], new, keepdims=keep)
    return net.op(kind, [x], new, axes=[said], keepdims=keep)


def concat(net: Net, x: str) -> str:
    shape, axis = net.values[x], _axis(net, x)
    other = net.pick(*(v for v, s in net.values.items() if s == shape))
    parts = [linear_same(net, x), linear_same(net, other)] if net.rng.random() < 0.5 else [x, other]
    y = net.op("Concat", parts, _with(shape, axis, 2 * shape[axis]), axis=_signed(net, axis, len(shape)))
    return net.op("Slice", [y, *(net.constant(np.array([v])) for v in (1, 1 + shape[axis], axis))], shape)


def split(net: Net, x: str) -> str:
    shape, axis = net.values[x], _axis(net, x)
    if shape[axis] % 2:
        return x
    half = _with(shape, axis, shape[axis] // 2)
    y = net.op("Split", [x], [half, half], axis=_signed(net, axis, len(shape)))
    parts = [affine(net, y) if net.rng.random() < 0.5 else y, y + "_1"]
    return net.op("Concat", parts[::-1] if net.rng.random() < 0.5 else parts, shape, axis=axis)


def take(net: Net, x: str) -> str:
    shape, axis = net.values[x], _axis(net, x)
    size, rank = shape[axis], len(shape)
    kind = net.pick("permuted", "one", "table", "reversed")
    if kind == "reversed":
        bounds = (size - 1, -(1 << 40), _signed(net, axis, rank), -1)
        return net.op("Slice", [x, *(net.constant(np.array([v])) for v in bounds)], shape)
    indices = {
        "permuted": net.rng.permutation(size),
        "one": np.array(size - 1),
        "table": net.rng.permutation(size).reshape(1, size),
    }[kind]
    if len(new := _with(shape, axis, *indices.shape)) not in range(1, 6):
        return x
    return net.op(
        "Gather", [x, net.constant(indices - size * net.pick(0, 1))], new, axis=_signed(net, axis, rank)
    )


def stretch(net: Net, x: str) -> str:
    """Tile, Pad, Resize along any axis, and back to four entries."""
    shape, axis = net.values[x], _axis(net, x)
    kind, twice = net.pick("Tile", "Pad", "Resize"), _with(shape, axis, 2 * shape[axis])
    each = [2 if k == axis else 1 for k in range(len(shape))]
    if kind == "Tile":
        y = net.op(kind, [x, net.constant(np.array(each))], twice)
    elif kind == "Resize":
        y = net.op(kind, [x, "", net.constant(np.array(each, np.float32))], twice, mode="nearest")
    else:
        sides = [shape[axis] // 2 if k == axis else 0 for k in range(len(shape))]
        y = net.op(
            kind,
            [x, net.constant(np.array(sides * 2))],
            _with(shape, axis, shape[axis] + 2 * (shape[axis] // 2)),
            mode=net.pick("constant", "edge"),
        )
    if net.rng.random() < 0.5:
        y = affine(net, y)
    return net.op("Slice", [y, *(net.constant(np.array([v])) for v in (0, shape[axis], axis))], shape)


def grow(net: Net, x: str) -> str:
    """A transposed convolution that doubles space, one that keeps it, or one that looks at every position
    alone."""
    shape = net.values[x]
    if len(shape) not in (3, 4):
        return x
    space, group, k = len(shape) - 2, net.pick(1, 1, *([2] if shape[1] % 2 == 0 else [])), net.pick(1, 2, 3)
    inputs = [x, net.constant(net.normal(shape[1], 4 // group, *[k] * space))]
    inputs += [net.constant(net.normal(4))] if net.rng.random() < 0.5 else []
    stride, pads = (2 if k == 2 else 1), [k // 2 if k == 3 else 0] * 2 * space
    new = (shape[0], 4, *(stride * d for d in shape[2:]))
    return net.op("ConvTranspose", inputs, new, group=group, strides=[stride] * space, pads=pads)


def pool(net: Net, x: str) -> str:
    shape = net.values[x]
    if len(shape) not in (3, 4):
        return x
    kind, space = net.pick("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), len(shape) - 2
    if kind.startswith("Global"):
        return net.op(kind, [x], (*shape[:2], *[1] * space))
    extra = {"count_include_pad": net.pick(0, 1)} if kind == "AveragePool" else {}
    return net.op(kind, [x], shape, kernel_shape=[3] * space, pads=[1] * 2 * space, **extra)


def blocks(net: Net, x: str) -> str:
    shape = net.values[x]
    if len(shape) != 4 or any(d % 2 for d in shape[2:]):
        return x
    n, c, h, w = shape
    if c % 4 == 0 and net.rng.random() < 0.6:
        return net.op(
            "DepthToSpace", [x], (n, c // 4, 2 * h, 2 * w), blocksize=2, mode=net.pick("DCR", "CRD")
        )
    return net.op("SpaceToDepth", [x], (n, 4 * c, h // 2, w // 2), blocksize=2)


def divide(net: Net, x: str) -> str:
    """A value of run time over one between 1 and e."""
    shape = net.values[x]
    fits = [v for v, s in net.values.items() if s == shape]
    under = net.op("Exp", [net.op("Sigmoid", [net.pick(*fits)], shape)], shape)
    return net.op("Div", [linear_same(net, x), under], shape)


def linear_same(net: Net, x: str) -> str:
    """A linear operator before it, where there is one that keeps the shape."""
    y = linear(net, x)
    return y if net.values[y] == net.values[x] else x


STEPS: list[Step] = [
    *[affine] * 4,
    *[batch_norm] * 4,
    *[linear] * 6,
    *[transpose] * 3,
    *[reshape] * 3,
    *[meet] * 3,
    unsqueeze,
    unary,
    product,
    reduce,
    concat,
    split,
    take,
    stretch,
    grow,
    pool,
    blocks,
    divide,
]


def random_cube(seed: int, length: int = 10) -> onnx.ModelProto:
    """A network of about `length` steps."""
    net = Net(seed)
    x = net.input("x", (4,) * int(net.rng.integers(2, 6)))
    net.input("side", (4,) * int(net.rng.integers(1, 3)))
    for _ in range(length):
        if np.prod(net.values[x]) > MOST or net.rng.random() < 0.15:
            x = net.pick(*(v for v, s in net.values.items() if np.prod(s) <= MOST))
        x = net.pick(*STEPS)(net, x)
    if not net.nodes:
        unary(net, x)
    return net.model()
