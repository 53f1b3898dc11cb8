"""Every operator with geometry, drawn at random in every opset that changes it: the shape rule, the float64
kernel and onnxruntime must agree on shapes, kernel and onnxruntime on values.

A generator (GENERATORS, one row an operator) draws attributes, sizes and ranks, valid ones and some that are
not. What onnxruntime refuses must be refused or unknown here, or stand in LENIENT with the reason why it is
not.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from bnfold.inference import Shapes
from bnfold.inference.shape_rules import RULES
from bnfold.ir.graph import ir
from bnfold.operators.table import OPERATORS, ShapeRule
from bnfold.verifying.truth.interpreter import CannotEvaluate, Interpreter

Random = np.random.Generator
Array = np.ndarray
NODES = 12  # drawn for every operator
WINDOWED = 48  # drawn of operators with windows, which have the most arguments


@dataclass
class Case:
    """One node. The first `fed` inputs are fed, the others constant; None is an input that is absent."""

    op: str
    opset: int
    inputs: list[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    fed: int = 1

    def model(self) -> onnx.ModelProto:
        names = ["" if value is None else f"i{k}" for k, value in enumerate(self.inputs)]
        results = [f"y{k}" for k in range(self.outputs)]
        values = [(n, v) for n, v in zip(names, self.inputs, strict=True) if v is not None]
        graph = helper.make_graph(
            [helper.make_node(self.op, names, results, **self.attributes)],
            "one",
            [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
                for n, v in values[: self.fed]
            ],
            [helper.make_empty_tensor_value_info(n) for n in results],
            [numpy_helper.from_array(v, n) for n, v in values[self.fed :]],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)

    def feeds(self) -> dict[str, Array]:
        return {f"i{k}": v for k, v in enumerate(self.inputs[: self.fed]) if v is not None}

    def __str__(self) -> str:
        shown = [
            v if v is None or (v.size < 9 and k >= self.fed) else v.shape for k, v in enumerate(self.inputs)
        ]
        return f"{self.op}-{self.opset} {self.attributes} {shown}"


# Drawing


def versions(op: str) -> list[int]:
    """The opsets that changed an operator, up to what onnxruntime was made for."""
    found = {
        s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op and not s.domain
    }
    return sorted(version for version in found if version <= 22)


def drawn_opset(r: Random, op: str, first: int = 1) -> int:
    return int(r.choice([v for v in versions(op) if v >= first] or [first]))


def data(r: Random, *shape: int) -> Array:
    return r.standard_normal(shape).astype(np.float32)


def sizes(r: Random, rank: int, low: int = 1, high: int = 6) -> list[int]:
    return [int(n) for n in r.integers(low, high, rank)]


def numbers(values: Any) -> Array:
    return np.array(values, np.int64)


def some(r: Random, rank: int, *, signed: bool = True, least: int = 0) -> list[int]:
    """Some axes, in any order, counted from either end."""
    chosen = r.permutation(rank)[: r.integers(least, rank + 1)]
    return [int(a - rank if signed and r.random() < 0.4 else a) for a in chosen]


def windowed(
    r: Random, op: str, rank: int, kernel: list[int], dilations_since: int
) -> tuple[int, dict[str, Any]]:
    opset = drawn_opset(r, op, 7 if op == "AveragePool" else 1)
    attributes: dict[str, Any] = {"strides": sizes(r, rank, 1, 4)}
    if r.random() < 0.5 and opset >= dilations_since:
        attributes["dilations"] = sizes(r, rank, 1, 3)
    if r.random() < 0.5:
        attributes["pads"] = [int(r.integers(0, k)) for k in kernel * 2]
    else:
        attributes["auto_pad"] = str(r.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]))
    return opset, attributes


def conv(r: Random) -> Case:
    rank, group, per = int(r.integers(1, 4)), int(r.integers(1, 4)), int(r.integers(1, 3))
    kernel = sizes(r, rank, 1, 4)
    opset, attributes = windowed(r, "Conv", rank, kernel, 1)
    w = data(r, group * int(r.integers(1, 3)), per, *kernel)
    bias = [data(r, w.shape[0])] if r.random() < 0.5 else []
    x = data(r, 2, group * per, *sizes(r, rank, 2, 9))
    return Case("Conv", opset, [x, w, *bias], {**attributes, "group": group})


def conv_transpose(r: Random) -> Case:
    rank, group = int(r.integers(1, 4)), int(r.integers(1, 4))
    kernel, size = sizes(r, rank, 1, 5), sizes(r, rank, 1, 6)
    opset, attributes = windowed(r, "ConvTranspose", rank, kernel, 1)
    attributes["output_padding"] = [int(r.integers(0, s)) for s in attributes["strides"]]
    if "pads" not in attributes and r.random() < 0.3:
        spans = zip(size, kernel, attributes["strides"], attributes.get("dilations", [1] * rank), strict=True)
        full = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in spans]
        attributes["output_shape"] = [max(1, n - int(r.integers(0, 3))) for n in full]
    w = data(r, group * int(r.integers(1, 3)), int(r.integers(1, 3)), *kernel)
    return Case("ConvTranspose", opset, [data(r, 2, w.shape[0], *size), w], {**attributes, "group": group})


def deform_conv(r: Random) -> Case:
    """Some points lie on pixels, some outside."""
    group, parts, per = (int(r.integers(1, 3)) for _ in range(3))
    kernel, strides, dilations = sizes(r, 2, 1, 4), sizes(r, 2, 1, 3), sizes(r, 2, 1, 3)
    pads, size = [int(r.integers(0, k)) for k in kernel * 2], sizes(r, 2, 5, 9)
    out = [
        (n + pads[a] + pads[a + 2] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1
        for a, n in enumerate(size)
    ]
    taps = parts * math.prod(kernel)
    offset = data(r, 2, 2 * taps, *out) * 2
    bias = data(r, group * per) if r.random() < 0.5 else None
    inputs = [
        data(r, 2, 2 * group, *size),
        data(r, group * per, 2, *kernel),
        np.round(offset) if r.random() < 0.3 else offset,
        bias,
        data(r, 2, taps, *out) if r.random() < 0.5 else None,
    ]
    attributes = {"strides": strides, "dilations": dilations, "pads": pads}
    opset = drawn_opset(r, "DeformConv")
    return Case("DeformConv", opset, inputs, {**attributes, "group": group, "offset_group": parts})


def pool(op: str, r: Random) -> Case:
    since = {"MaxPool": (10, 10), "AveragePool": (19, 10), "LpPool": (18, 18)}[op]
    rank = int(r.integers(1, 4))
    kernel = sizes(r, rank, 1, 5)
    opset, attributes = windowed(r, op, rank, kernel, since[0])
    attributes["kernel_shape"] = kernel
    if attributes.get("auto_pad", "").startswith(
        "SAME"
    ):  # between kernels that leave gaps, onnxruntime pads negatively
        attributes["strides"] = [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)]
    if opset >= since[1]:
        attributes["ceil_mode"] = int(r.integers(2))
    if op == "AveragePool":
        attributes["count_include_pad"] = int(r.integers(2))
    outputs = 2 if op == "MaxPool" and opset >= 8 and r.random() < 0.3 else 1
    if outputs == 2:
        attributes["storage_order"] = int(r.integers(2))
    return Case(op, opset, [data(r, 2, 3, *sizes(r, rank, 1, 9))], attributes, outputs)


def global_pool(op: str, r: Random) -> Case:
    return Case(op, drawn_opset(r, op, 2), [data(r, 2, 3, *sizes(r, int(r.integers(1, 4))))])


RATIOS = (0.7, 7 / 3, 0.29, 3 / 7, 1 / 3, 1.5, 2.0, 1.0, 0.5, 2.3, 1.7)  # some are other numbers in float32


def upsample(r: Random) -> Case:
    opset = int(r.choice([7, 9]))
    scales = [1.0, 1.0, *(float(max(1.0, s)) for s in r.choice(RATIOS, 2))]
    attributes = {"mode": str(r.choice(["nearest", "linear"]))}
    x = data(r, 2, 3, *sizes(r, 2, 1, 12))
    if opset == 7:
        return Case("Upsample", 7, [x], {**attributes, "scales": scales})
    return Case("Upsample", 9, [x, np.array(scales, np.float32)], attributes)


def resize(r: Random) -> Case:
    opset, x = drawn_opset(r, "Resize"), data(r, 2, 3, *sizes(r, 2, 1, 30))
    scales = np.array([1, 1, *r.choice(RATIOS, 2)], np.float32)
    mode = str(r.choice(["nearest", "linear"]))
    if opset == 10:
        return Case("Resize", 10, [x, scales], {"mode": mode})
    ways = ("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": str(r.choice(ways))}
    attributes["nearest_mode"] = str(r.choice(["floor", "ceil", "round_prefer_floor"]))
    axes = [0, 1, 2, 3]
    if opset >= 18 and r.random() < 0.6:
        axes = [int(a) for a in r.permutation([2, 3])]
        attributes["axes"] = [a - 4 if r.random() < 0.5 else a for a in axes]
    nothing = np.array([], np.float32)
    if r.random() < 0.6:
        return Case("Resize", opset, [x, nothing, scales[axes]], attributes)
    wanted = numbers([*x.shape[:2], *sizes(r, 2, 1, 30)])[axes]
    if opset >= 18:
        attributes["keep_aspect_ratio_policy"] = str(r.choice(["stretch", "not_larger", "not_smaller"]))
    return Case("Resize", opset, [x, nothing, nothing if opset < 13 else None, wanted], attributes)


FAR = (-(1 << 63), -(1 << 31), -9, -1, 0, 1, 2, 3, 9, (1 << 31) - 1, (1 << 63) - 1)


def slice_(r: Random) -> Case:
    opset, rank = drawn_opset(r, "Slice"), int(r.integers(1, 4))
    x, axes = data(r, *sizes(r, rank)), some(r, rank, least=1, signed=opset >= 10)
    bounds = [[int(n) for n in r.choice(FAR, len(axes))] for _ in range(2)]
    if opset == 1:
        starts, ends = ([max(min(n, 1 << 40), -(1 << 40)) for n in bound] for bound in bounds)
        return Case("Slice", 1, [x], {"starts": starts, "ends": ends, "axes": axes})
    steps = [int(n) for n in r.choice([-3, -2, -1, 1, 2, 3], len(axes))]
    return Case("Slice", opset, [x, *map(numbers, bounds), numbers(axes), numbers(steps)])


def reduction(op: str, r: Random) -> Case:
    opset, rank = drawn_opset(r, op), int(r.integers(1, 4))
    x, axes = np.abs(data(r, *sizes(r, rank))), some(r, rank, signed=opset >= 11)
    attributes: dict[str, Any] = {"keepdims": int(r.integers(2))}
    if opset < (13 if op == "ReduceSum" else 18):
        return Case(op, opset, [x], {**attributes, **({"axes": axes} if axes else {})})
    attributes["noop_with_empty_axes"] = int(r.integers(2))
    return Case(op, opset, [x, numbers(axes)] if axes or r.random() < 0.5 else [x], attributes)


def arg(op: str, r: Random) -> Case:
    opset, rank = drawn_opset(r, op), int(r.integers(1, 4))
    axis = int(r.integers(-rank if opset >= 11 else 0, rank))
    attributes = {"axis": axis, "keepdims": int(r.integers(2))}
    return Case(op, opset, [data(r, *sizes(r, rank))], attributes)


def squeeze(r: Random) -> Case:
    opset, shape = drawn_opset(r, "Squeeze"), [int(n) for n in r.choice([1, 1, 2, 3], 4)]
    ones = [k for k, n in enumerate(shape) if n == 1]
    axes = [a - 4 if r.random() < 0.4 and opset >= 11 else a for a in ones if r.random() < 0.7]
    if r.random() < 0.1 and (wrong := [k for k, n in enumerate(shape) if n != 1]):
        axes.append(wrong[0])
    x = data(r, *shape)
    if opset >= 13:
        return Case("Squeeze", opset, [x, numbers(axes)] if axes or r.random() < 0.5 else [x])
    return Case("Squeeze", opset, [x], {"axes": axes} if axes else {})


def unsqueeze(r: Random) -> Case:
    opset, rank, more = drawn_opset(r, "Unsqueeze"), int(r.integers(0, 3)), int(r.integers(1, 3))
    axes = some(r, rank + more, least=more, signed=opset >= 11)[:more]
    x = data(r, *sizes(r, rank))
    if opset >= 13:
        return Case("Unsqueeze", opset, [x, numbers(axes)])
    return Case("Unsqueeze", opset, [x], {"axes": axes})


def split(r: Random) -> Case:
    opset, rank = drawn_opset(r, "Split", 2), int(r.integers(1, 4))
    x, axis = data(r, *sizes(r, rank, 2, 9)), int(r.integers(-rank, rank))
    parts = [int(n) for n in r.multinomial(x.shape[axis], [1 / 3] * 3)]
    count = int(r.integers(1, 4))
    if r.random() < 0.5:
        if opset >= 13:
            return Case("Split", opset, [x, numbers(parts)], {"axis": axis}, 3)
        return Case("Split", opset, [x], {"axis": axis, "split": parts}, 3)
    more = {"num_outputs": count} if opset >= 18 else {}
    return Case("Split", opset, [x], {"axis": axis, **more}, count)


def pad(r: Random) -> Case:
    opset, rank = drawn_opset(r, "Pad", 2), int(r.integers(1, 4))
    x = data(r, *sizes(r, rank, 2, 6))
    mode = str(r.choice(["constant", "reflect", "edge"] + (["wrap"] if opset >= 19 else [])))
    low, high = (-3, 4) if mode == "constant" else (0, 2)
    if opset < 11:
        return Case("Pad", opset, [x], {"pads": sizes(r, 2 * rank, low, high), "mode": mode, "value": 1.5})
    axes = some(r, rank, least=1) if opset >= 18 and r.random() < 0.5 else None
    pads = numbers(sizes(r, 2 * (rank if axes is None else len(axes)), low, high))
    fill = np.array(1.5, np.float32) if r.random() < 0.5 else None
    more = [] if axes is None else [numbers(axes)]
    return Case("Pad", opset, [x, pads, fill, *more], {"mode": mode})


def concat(r: Random) -> Case:
    opset, rank = drawn_opset(r, "Concat", 4), int(r.integers(1, 4))
    axis, shape = int(r.integers(-rank, rank)), sizes(r, rank)
    parts = []
    for _ in range(int(r.integers(1, 4))):
        shape[axis] = int(r.integers(0, 4))
        parts.append(data(r, *shape))
    return Case("Concat", opset, list(parts), {"axis": axis}, fed=len(parts))


def gather(op: str, r: Random) -> Case:
    opset, rank = drawn_opset(r, op), int(r.integers(1, 4))
    x = data(r, *sizes(r, rank))
    axis = int(r.integers(-rank, rank))
    low = -x.shape[axis] if opset >= 11 else 0
    wanted = (
        sizes(r, int(r.integers(0, 3))) if op == "Gather" else [int(r.integers(1, n + 1)) for n in x.shape]
    )
    high = x.shape[axis] + (r.random() < 0.1)
    return Case(op, opset, [x, r.integers(low, high, wanted, np.int64)], {"axis": axis})


def transpose(r: Random) -> Case:
    rank = int(r.integers(0, 5))
    perm = {"perm": [int(p) for p in r.permutation(rank)]} if rank and r.random() < 0.8 else {}
    return Case("Transpose", drawn_opset(r, "Transpose"), [data(r, *sizes(r, rank))], perm)


def reshape(r: Random) -> Case:
    opset, x = drawn_opset(r, "Reshape"), data(r, *sizes(r, int(r.integers(1, 4)), int(r.integers(2)), 5))
    wanted = [int(n) for n in r.permutation(x.shape)]
    if r.random() < 0.6:
        wanted[int(r.integers(len(wanted)))] = -1
    if r.random() < 0.4:
        at = int(r.integers(len(wanted)))
        wanted[at] = 0
    if opset < 5:
        return Case("Reshape", opset, [x], {"shape": wanted})
    zero = {"allowzero": int(r.integers(2))} if opset >= 14 else {}
    return Case("Reshape", opset, [x, numbers(wanted)], zero)


def flatten(r: Random) -> Case:
    opset, rank = drawn_opset(r, "Flatten"), int(r.integers(1, 4))
    axis = int(r.integers(-rank if opset >= 11 else 0, rank + 1))
    return Case("Flatten", opset, [data(r, *sizes(r, rank, int(r.integers(2)), 5))], {"axis": axis})


def blocks(op: str, r: Random) -> Case:
    opset, block = drawn_opset(r, op), int(r.integers(1, 4))
    n, c, h, w = sizes(r, 4, 1, 4)
    mode = {"mode": str(r.choice(["DCR", "CRD"]))} if op == "DepthToSpace" and opset >= 11 else {}
    shape = (n, c * block**2, h, w) if op == "DepthToSpace" else (n, c, h * block, w * block)
    odd = (0, int(r.random() < 0.1), 0, 0)
    return Case(
        op, opset, [data(r, *(a + b for a, b in zip(shape, odd, strict=True)))], {"blocksize": block, **mode}
    )


def tile(r: Random) -> Case:
    rank = int(r.integers(1, 4))
    return Case("Tile", drawn_opset(r, "Tile", 6), [data(r, *sizes(r, rank)), numbers(sizes(r, rank, 0, 4))])


def expand(r: Random) -> Case:
    shape = [int(n) for n in r.choice([1, 2, 3], int(r.integers(1, 4)))]
    wanted = [n if n != 1 and r.random() < 0.9 else int(r.choice([1, 2, 4])) for n in shape]
    more = sizes(r, int(r.integers(0, 2)))
    cut = int(r.integers(0, 2)) if not more else 0
    return Case("Expand", drawn_opset(r, "Expand"), [data(r, *shape), numbers([*more, *wanted[cut:]])])


def shape(r: Random) -> Case:
    opset, rank = drawn_opset(r, "Shape"), int(r.integers(0, 4))
    bounds = {name: int(r.integers(-5, 6)) for name in ("start", "end") if opset >= 15 and r.random() < 0.6}
    return Case("Shape", opset, [data(r, *sizes(r, rank))], bounds)


def softmax(op: str, r: Random) -> Case:
    opset, rank = drawn_opset(r, op), int(r.integers(1, 4))
    axis = (
        {"axis": int(r.integers(-rank if opset >= 11 else 0, rank))}
        if rank > 1 or opset >= 13
        else {"axis": 0}
    )
    return Case(op, opset, [data(r, *sizes(r, rank))], axis if r.random() < 0.7 or rank == 1 else {})


def normalization(op: str, r: Random) -> Case:
    rank = int(r.integers(2, 4))
    x, axis = data(r, *sizes(r, rank, 2, 5)), int(r.integers(-rank, rank))
    if op == "LpNormalization":
        return Case(op, drawn_opset(r, op), [x], {"axis": axis, "p": int(r.integers(1, 3))})
    scale = data(r, *x.shape[axis % rank :])
    return Case(op, drawn_opset(r, op), [x, scale, data(r, *scale.shape)], {"axis": axis})


def broadcast(op: str, r: Random) -> Case:
    """Two operands that broadcast, since opset 7: onnxruntime has none of before."""
    opset = drawn_opset(r, op, 8 if op in ("Sum", "Max", "Min", "Mean") else 7)
    wide = sizes(r, int(r.integers(1, 4)), 1, 4)
    a, b = (
        [n if r.random() < 0.7 else 1 for n in wide[int(r.integers(0, len(wide) + 1)) :]] for _ in range(2)
    )
    return Case(op, opset, [np.asarray(np.abs(data(r, *n)) + 1) for n in (a, b)], fed=2)


def matmul(r: Random) -> Case:
    inner, lead = int(r.integers(1, 4)), sizes(r, int(r.integers(0, 3)), 1, 3)
    a, b = (
        ([1 if r.random() < 0.3 else n for n in lead[int(r.integers(0, len(lead) + 1)) :]]) for _ in range(2)
    )
    left = [*a, int(r.integers(1, 4)), inner] if r.random() < 0.8 else [inner]
    right = [*b, inner, int(r.integers(1, 4))] if r.random() < 0.8 else [inner]
    return Case("MatMul", drawn_opset(r, "MatMul"), [data(r, *left), data(r, *right)], fed=2)


def gemm(r: Random) -> Case:
    n, k, m = sizes(r, 3)
    a, b = int(r.integers(2)), int(r.integers(2))
    bias = data(r, *[(1,), (m,), (n, 1), (n, m), (1, m)][int(r.integers(5))])
    attributes = {"transA": a, "transB": b, "alpha": 0.7, "beta": 1.3}
    left, right = data(r, *((k, n) if a else (n, k))), data(r, *((m, k) if b else (k, m)))
    return Case("Gemm", drawn_opset(r, "Gemm", 7), [left, right, bias], attributes)


def top_k(r: Random) -> Case:
    shape, opset = sizes(r, int(r.integers(1, 4))), drawn_opset(r, "TopK")
    axis = int(r.integers(-len(shape), len(shape)))
    count = int(r.integers(0, shape[axis] + 2))
    attributes: dict[str, Any] = {"axis": axis}
    if opset < 10:
        return Case("TopK", opset, [data(r, *shape)], {**attributes, "k": max(count, 1)}, outputs=2)
    return Case("TopK", opset, [data(r, *shape), numbers([count])], attributes, outputs=2)


def counted(r: Random) -> Case:
    """Range, forwards, backwards, and where nothing is left."""
    start, limit, step = (int(n) for n in r.integers(-6, 7, 3))
    kind = np.int64 if r.random() < 0.7 else np.float32
    return Case("Range", 11, [np.array(n, kind) for n in (start, limit, step or 1)], fed=0)


GENERATORS: dict[str, Callable[[Random], Case]] = {
    "TopK": top_k,
    "Range": counted,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    **{op: partial(pool, op) for op in ("MaxPool", "AveragePool", "LpPool")},
    **{op: partial(global_pool, op) for op in ("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")},
    "Resize": resize,
    "Upsample": upsample,
    "Slice": slice_,
    **{op: partial(reduction, op) for op, row in OPERATORS.items() if row.shape is ShapeRule.REDUCE},
    **{op: partial(arg, op) for op in ("ArgMax", "ArgMin")},
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Split": split,
    "Pad": pad,
    "Concat": concat,
    **{op: partial(gather, op) for op in ("Gather", "GatherElements")},
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    **{op: partial(blocks, op) for op in ("DepthToSpace", "SpaceToDepth")},
    "Tile": tile,
    "Expand": expand,
    "Shape": shape,
    **{op: partial(softmax, op) for op in ("Softmax", "LogSoftmax")},
    **{op: partial(normalization, op) for op in ("LayerNormalization", "LpNormalization")},
    **{op: partial(broadcast, op) for op in ("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean", "Pow")},
    "MatMul": matmul,
    "Gemm": gemm,
}

# What onnxruntime refuses and we take: (operator, what onnxruntime says, why it is taken).
LENIENT = (
    ("Conv", "Dilation not supported for AutoPadType", "the ONNX document has a formula for it"),
    ("ConvTranspose", "Computed output dimension is <= 0", "an empty output is one, too"),
    ("Resize", "'Linear' mode only supports", "onnxruntime interpolates along some axes only"),
)
NOT_IMPLEMENTED = "NOT_IMPLEMENTED"  # what onnxruntime says of opsets that it leaves out


def engine(case: Case) -> list[Array] | str:
    """What onnxruntime gives, or why it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            case.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run(None, case.feeds()))
    except Exception as error:  # onnxruntime has many kinds
        return str(error)


def kernel(case: Case) -> list[Array] | str:
    """What the float64 interpreter gives, or why it refuses."""
    try:
        found = Interpreter(ir.from_proto(case.model())).run(case.feeds())
    except CannotEvaluate as error:
        return str(error)
    return [found[f"y{k}"] for k in range(case.outputs)]


def rule(case: Case) -> list[tuple[int | None, ...] | None] | str:
    """What the shape rule says, a size that it does not know as None; or that the node contradicts itself."""
    model = ir.from_proto(case.model())
    shapes = Shapes(model)
    node = next(iter(model.graph))
    if shapes.contradicts(node):
        return "contradictory"
    found = [shapes.of(value) for value in node.outputs]
    return [None if s is None else tuple(d if isinstance(d, int) else None for d in s) for s in found]


@pytest.mark.parametrize("op", GENERATORS)
def test_shape_rule_kernel_and_onnxruntime_agree(op: str) -> None:
    """Sizes that the rule does not know are those about which runtimes disagree: there the kernel may,
    too."""
    count = WINDOWED if op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool") else NODES
    seeds = ([zlib.crc32(op.encode()), k] for k in range(count))
    outcomes = Counter(outcome(GENERATORS[op](np.random.default_rng(seed))) for seed in seeds)
    assert outcomes["agree"] >= count / 4, outcomes


def outcome(case: Case) -> str:
    """How one node went; AssertionError where we contradict onnxruntime."""
    wanted, found, known = engine(case), kernel(case), rule(case)
    if isinstance(wanted, str):
        return refusal(case, wanted, found, known)
    assert not isinstance(known, str), f"{case} is {known}, and onnxruntime runs it"
    for shape, want in zip(known, wanted, strict=True):
        assert shape is not None, f"{case}: not even a rank"
        assert len(shape) == want.ndim, (str(case), shape, want.shape)
        assert all(n in (None, m) for n, m in zip(shape, want.shape, strict=True)), (
            str(case),
            shape,
            want.shape,
        )
    if any(shape is None or None in shape for shape in known):
        return "disputed"
    assert not isinstance(found, str), f"{case}: {found}"
    for got, want in zip(found, wanted, strict=True):
        assert np.shape(got) == want.shape, (str(case), np.shape(got), want.shape)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=str(case))
    return "agree"


def refusal(case: Case, reason: str, found: list[Array] | str, known: Any) -> str:
    """What onnxruntime refuses is refused or unknown here as well, or it says in LENIENT why not."""
    if NOT_IMPLEMENTED in reason:
        return NOT_IMPLEMENTED
    if isinstance(found, str) or isinstance(known, str) or any(s is None or None in s for s in known):
        return "refused"
    for op, words, why in LENIENT:
        if re.fullmatch(op, case.op) and words in reason:
            return why
    raise AssertionError(f"{case} runs here; onnxruntime says {reason}")


def test_every_shape_rule_with_arguments_is_drawn() -> None:
    """Shape rules that no generator holds to onnxruntime have nothing to decode."""
    shared = {op for op, row in OPERATORS.items() if row.shape in (ShapeRule.SAME, ShapeRule.BROADCAST)}
    plain = {"Constant", "ConstantOfShape", "NonZero", "Einsum"}
    assert set(RULES) - shared - plain <= set(GENERATORS)
