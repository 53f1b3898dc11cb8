"""Small nets in pairs: as trained, and with their batch norms folded, rightly or with a planted fault.

The fold here is a dozen lines of numpy that share no code with the product's own, so the pairs serve
`selftest`, the tests of the gate and the confusion table of benchmarks/. Statistics are calibrated: every
batch norm gets mean and variance of what really reaches it, so that nets of any depth stay in a healthy
range.

    net      blocks in a row: Conv (1-D to 3-D, groups, depthwise, dilated), ConvTranspose, then a batch norm,
             then an activation; every third block adds its input back; a pooled, fully connected head with a
             batch norm of its own
    fault    one of FAULTS, planted in one block or in all of them
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..ir.provenance import FOLDED_KEY
from ..records import dataclass
from .truth.kernels.linear import conv, conv_transpose

EPSILON = 1e-5
Array = np.ndarray


@dataclass(frozen=True)
class Recipe:
    """What net to make. `stats` is a row of STATISTICS, `dtype` the storage type."""

    seed: int
    depth: int = 5
    rank: int = 2
    channels: int = 12
    size: int = 8
    stats: str = "healthy"
    dtype: str = "float32"


@dataclass
class Fold:
    """One block's linear operator with the batch norm in it, still in float64: what a fault spoils."""

    weight: Array
    bias: Array
    norm: dict[str, Array]
    group: int
    plain_weight: Array
    plain_bias: Array
    channel_axis: int = 0
    random: np.random.Generator = field(default_factory=np.random.default_rng)

    def shaped(self, values: Array) -> Array:
        """Per-channel values in the shape of the weight."""
        if self.channel_axis == 0:
            return values.reshape(-1, *(1,) * (self.weight.ndim - 1))
        per = self.weight.shape[1]
        spread = np.repeat(values.reshape(self.group, per), self.weight.shape[0] // self.group, axis=0)
        return spread.reshape(self.weight.shape[0], per, *(1,) * (self.weight.ndim - 2))

    def rebuilt(self, scale: Array, shift: Array) -> None:
        """Fold another affine map than the true one."""
        self.weight, self.bias = self.plain_weight * self.shaped(scale), self.plain_bias * scale + shift


def _epsilon(f: Fold) -> None:
    scale = f.norm["scale"] / np.sqrt(f.norm["var"] + 1e-6)
    f.rebuilt(scale, f.norm["bias"] - f.norm["mean"] * scale)


def _variance(f: Fold) -> None:
    scale = f.norm["scale"] / (f.norm["var"] + EPSILON)
    f.rebuilt(scale, f.norm["bias"] - f.norm["mean"] * scale)


def _dropped_bias(f: Fold) -> None:
    f.bias = f.bias - f.norm["bias"]


def _doubled_bias(f: Fold) -> None:
    f.bias = f.bias + f.norm["bias"]


def _swapped(f: Fold) -> None:
    scale, shift = true_map(f.norm)
    a, b = f.random.choice(len(scale), 2, replace=False)
    order = np.arange(len(scale))
    order[[a, b]] = b, a
    f.rebuilt(scale[order], shift[order])


def _group_order(f: Fold) -> None:
    scale, shift = true_map(f.norm)
    groups = max(f.group, 2)
    order = (
        np.arange(len(scale)).reshape(groups, -1).T.reshape(-1)
        if groups < len(scale)
        else np.roll(np.arange(len(scale)), 1)
    )
    f.weight = f.plain_weight * f.shaped(scale[order])
    f.bias = f.plain_bias * scale + shift


def _one_scale(f: Fold) -> None:
    scale, shift = true_map(f.norm)
    live = np.argsort(-np.abs(scale))[: max(1, len(scale) // 2)]
    factor = np.ones(len(scale))
    factor[f.random.choice(live)] = 1 + 1e-3
    f.rebuilt(scale * factor, shift)


def _overflow(f: Fold) -> None:
    f.weight = f.weight.copy()
    f.weight.reshape(-1)[0] = 1e39


FAULTS: dict[str, Callable[[Fold], None]] = {
    "epsilon 1e-6 for 1e-5": _epsilon,
    "variance for deviation": _variance,
    "dropped bias": _dropped_bias,
    "doubled bias": _doubled_bias,
    "two channels swapped": _swapped,
    "wrong group order": _group_order,
    "one scale off by 1e-3": _one_scale,
    "overflow": _overflow,
}
STRUCTURAL = ("shift under padding", "folded across a relu")
EVERYWHERE = ("epsilon 1e-6 for 1e-5",)


def true_map(norm: dict[str, Array]) -> tuple[Array, Array]:
    """(scale, shift) of a batch norm in float64."""
    scale = norm["scale"] / np.sqrt(norm["var"] + float(np.float32(EPSILON)))
    return scale, norm["bias"] - norm["mean"] * scale


def _healthy(random: np.random.Generator, n: int) -> tuple[Array, Array]:
    return random.uniform(0.5, 1.5, n), 0.3 * random.standard_normal(n)


def _dead(random: np.random.Generator, n: int) -> tuple[Array, Array]:
    scale, bias = _healthy(random, n)
    scale[random.random(n) < 0.3] = 0
    return scale, bias


def _spread(random: np.random.Generator, n: int) -> tuple[Array, Array]:
    return 10.0 ** random.uniform(-3, 0.5, n), 10.0 ** random.uniform(-4, 0, n) * random.choice([-1, 1], n)


def _negative(random: np.random.Generator, n: int) -> tuple[Array, Array]:
    return random.uniform(0.2, 2, n) * random.choice([-1.0, 1.0], n), random.standard_normal(n)


STATISTICS = {
    "healthy": _healthy,
    "dead channels": _dead,
    "four decades": _spread,
    "negative scales": _negative,
    "far means": _healthy,
    "tiny variances": _healthy,
    "huge variances": _healthy,
}


class Builder:
    """Emits both graphs side by side while it runs the reference forward to calibrate the statistics."""

    def __init__(self, recipe: Recipe, fault: str | None, block: int | None) -> None:
        self.recipe, self.fault, self.block = recipe, fault, block
        self.random = np.random.default_rng(recipe.seed)
        self.nodes: tuple[list[Any], list[Any]] = ([], [])
        self.weights: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        self.count = 0

    def planted(self, index: int) -> bool:
        """Does this block carry the fault?"""
        return self.fault is not None and (self.fault in EVERYWHERE or index == self.block)

    def node(self, sides: tuple[int, ...], op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node in one graph or in both."""
        from onnx import helper

        for side in sides:
            made = helper.make_node(op, inputs, [output], name=f"{op}_{output}", **attributes)
            if sides == (1,):
                made.metadata_props.add(key=FOLDED_KEY, value=f"batch norm of {output}")
            self.nodes[side].append(made)
        return output

    def weight(self, sides: tuple[int, ...], name: str, values: Array) -> str:
        """One initializer, rounded to the storage type."""
        with np.errstate(over="ignore"):
            for side in sides:
                self.weights[side][name] = np.asarray(values).astype(self.recipe.dtype)
        return name

    def rounded(self, values: Array) -> Array:
        """As the model stores it, in float64."""
        return np.asarray(values).astype(self.recipe.dtype).astype(np.float64)


def pair(recipe: Recipe, fault: str | None = None, block: int | None = None) -> tuple[Any, Any]:
    """(reference, candidate) as onnx.ModelProto. `fault` is a key of FAULTS or one of STRUCTURAL; None folds
    rightly."""
    b = Builder(recipe, fault, recipe.depth // 2 if block is None else block)
    x = b.random.standard_normal((4, 3, *(recipe.size,) * recipe.rank))
    name, channels = "x", 3
    for index in range(recipe.depth):
        name, x, channels = _block(b, index, name, x, channels)
    name, x = _head(b, name, x, channels)
    shape = ["N", 3, *(recipe.size,) * recipe.rank]
    return tuple(_model(b, side, name, shape, x.shape[1]) for side in (0, 1))


def _block(b: Builder, index: int, name: str, x: Array, channels: int) -> tuple[str, Array, int]:
    recipe, out = b.recipe, b.recipe.channels
    transposed = channels == out and index % 7 == 3
    group = int(b.random.choice([1, 1, 2, out])) if channels == out else 1
    dilation = int(b.random.choice([1, 1, 2]))
    attributes = {"group": group, "pads": [dilation] * 2 * recipe.rank, "dilations": [dilation] * recipe.rank}
    shape = (channels, out // group) if transposed else (out, channels // group)
    fan = channels // group * 3**recipe.rank
    weight = b.rounded(b.random.standard_normal((*shape, *(3,) * recipe.rank)) * np.sqrt(2 / fan))
    bias = b.rounded(
        0.1 * b.random.standard_normal(out) + (1000 if recipe.stats == "far means" and index == 0 else 0)
    )
    if recipe.stats == "tiny variances" and group == 1 and not transposed and index % 2:
        weight[:2], bias[:2] = 0, np.float32(1e-3)
    if recipe.stats == "huge variances" and index == 0:
        weight, bias = b.rounded(weight * 1e15), b.rounded(bias * 1e15)
    call = SimpleNamespace(get=lambda key, default=None: attributes.get(key, default))
    y = (conv_transpose if transposed else conv)(call, x, weight, bias)
    op = "ConvTranspose" if transposed else "Conv"
    norm = _statistics(b, y)
    result = _emit(
        b,
        index=index,
        name=name,
        op=op,
        weight=weight,
        bias=bias,
        norm=norm,
        attributes=attributes,
        transposed=transposed,
    )
    y = _normalised(y, norm)
    added = name if channels == out and index % 3 == 2 else None
    result = b.node((0, 1), "Relu", [result], f"relu{index}")
    y = np.maximum(y, 0)
    if added:
        result, y = b.node((0, 1), "Add", [result, added], f"sum{index}"), (y + x)
    return result, y, out


def _statistics(b: Builder, y: Array) -> dict[str, Array]:
    axes = (0, *range(2, y.ndim))
    mean, var = y.mean(axis=axes), y.var(axis=axes)
    scale, bias = STATISTICS[b.recipe.stats](b.random, y.shape[1])
    if b.recipe.dtype == "float32":
        var = np.where(var == 0, 1e-42, var)
    return {
        key: b.rounded(v)
        for key, v in {"scale": scale, "bias": bias, "mean": mean, "var": np.maximum(var, 0)}.items()
    }


def _normalised(y: Array, norm: dict[str, Array]) -> Array:
    scale, shift = (v.reshape(-1, *(1,) * (y.ndim - 2)) for v in true_map(norm))
    return np.asarray(y * scale + shift)


def _emit(
    b: Builder,
    *,
    index: int,
    name: str,
    op: str,
    weight: Array,
    bias: Array,
    norm: dict[str, Array],
    attributes: dict[str, Any],
    transposed: bool,
) -> str:
    """The linear operator and its batch norm in the reference, the folded operator in the candidate."""
    structural = b.fault if b.planted(index) and b.fault in STRUCTURAL else None
    plain = [b.weight((0,), f"w{index}", weight), b.weight((0,), f"b{index}", bias)]
    parts = [b.weight((0,), f"{key}{index}", norm[key]) for key in ("scale", "bias", "mean", "var")]
    scale, shift = true_map(norm)
    f = Fold(
        weight=weight,
        bias=bias,
        norm=norm,
        group=attributes["group"],
        plain_weight=weight,
        plain_bias=bias,
        channel_axis=1 if transposed else 0,
        random=b.random,
    )
    f.rebuilt(scale, shift)
    if structural == "shift under padding":
        return _norm_first(
            b,
            index=index,
            name=name,
            op=op,
            weight=weight,
            bias=bias,
            parts=parts,
            norm=norm,
            attributes=attributes,
        )
    if b.planted(index) and b.fault in FAULTS:
        FAULTS[b.fault](f)
    folded = [b.weight((1,), f"w{index}", f.weight), b.weight((1,), f"b{index}", f.bias)]
    b.node((0,), op, [name, *plain], f"lin{index}", **attributes)
    if structural:
        b.node((0,), "Relu", [f"lin{index}"], f"mid{index}")
        b.node((0,), "BatchNormalization", [f"mid{index}", *parts], f"bn{index}", epsilon=EPSILON)
        b.node((1,), op, [name, *folded], f"bn{index}", **attributes)
    else:
        b.node((0,), "BatchNormalization", [f"lin{index}", *parts], f"bn{index}", epsilon=EPSILON)
        b.node((1,), op, [name, *folded], f"bn{index}", **attributes)
    return f"bn{index}"


def _norm_first(
    b: Builder,
    *,
    index: int,
    name: str,
    op: str,
    weight: Array,
    bias: Array,
    parts: list[str],
    norm: dict[str, Array],
    attributes: dict[str, Any],
) -> str:
    """The batch norm stands before a convolution that pads; the candidate folds it forward as if it did not
    pad."""
    inputs = weight.shape[0] if op == "ConvTranspose" else weight.shape[1] * attributes["group"]
    short = {key: values[:inputs] for key, values in norm.items()}
    for part, key in zip(parts, ("scale", "bias", "mean", "var"), strict=True):
        b.weight((0,), part, short[key])
    b.node((0,), "BatchNormalization", [name, *parts], f"mid{index}", epsilon=EPSILON)
    b.node((0,), op, [f"mid{index}", f"w{index}", f"b{index}"], f"bn{index}", **attributes)
    scale, shift = true_map(short)
    group, taps = attributes["group"], tuple(range(2, weight.ndim))
    if op == "ConvTranspose":
        per = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
        moved = (weight * shift.reshape(-1, *(1,) * (weight.ndim - 1))).sum(axis=taps)
        added = moved.reshape(group, -1, weight.shape[1]).sum(axis=1).reshape(-1)
    else:
        rows = np.repeat(scale.reshape(group, -1), weight.shape[0] // group, axis=0)
        offsets = np.repeat(shift.reshape(group, -1), weight.shape[0] // group, axis=0)
        per = weight * rows.reshape(*rows.shape, *(1,) * len(taps))
        added = (weight.sum(axis=taps) * offsets).sum(axis=1)
    b.node(
        (1,),
        op,
        [name, b.weight((1,), f"w{index}", per), b.weight((1,), f"b{index}", bias + added)],
        f"bn{index}",
        **attributes,
    )
    return f"bn{index}"


def _head(b: Builder, name: str, x: Array, channels: int) -> tuple[str, Array]:
    classes = 10
    b.node((0, 1), "GlobalAveragePool", [name], "pooled")
    b.node((0, 1), "Flatten", ["pooled"], "flat")
    flat = x.mean(axis=tuple(range(2, x.ndim)))
    weight = b.rounded(b.random.standard_normal((classes, channels)) / np.sqrt(channels))
    bias = b.rounded(0.1 * b.random.standard_normal(classes))
    y = flat @ weight.T + bias
    norm = {
        key: b.rounded(v)
        for key, v in {
            "scale": b.random.uniform(0.5, 1.5, classes),
            "bias": b.random.standard_normal(classes),
            "mean": y.mean(axis=0),
            "var": y.var(axis=0) + 0.1,
        }.items()
    }
    scale, shift = true_map(norm)
    b.node(
        (0,), "Gemm", ["flat", b.weight((0,), "wh", weight), b.weight((0,), "bh", bias)], "scores", transB=1
    )
    parts = [b.weight((0,), f"{key}h", norm[key]) for key in ("scale", "bias", "mean", "var")]
    b.node((0,), "BatchNormalization", ["scores", *parts], "y", epsilon=EPSILON)
    b.node(
        (1,),
        "Gemm",
        ["flat", b.weight((1,), "wh", weight * scale[:, None]), b.weight((1,), "bh", bias * scale + shift)],
        "y",
        transB=1,
    )
    return "y", y * scale + shift


def _model(b: Builder, side: int, output: str, shape: list[Any], classes: int) -> Any:
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(b.recipe.dtype))
    graph = helper.make_graph(
        b.nodes[side],
        "specimen",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, kind, ["N", classes])],
        [numpy_helper.from_array(values, name) for name, values in b.weights[side].items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
