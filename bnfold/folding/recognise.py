"""Which affine map *is* this node? One row an operator in READERS.

A reader gets the node and gives the map (a pattern of its input's rank) and which input is the data, or
refuses with a reason. A node that is no affine candidate at all (two run-time operands, integers) gives None
and does not appear in the plan.

Right-aligned broadcasting is taken seriously: a constant counts only if it provably does not enlarge its
operand, and which axes it varies along follows from its rank, never from its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import Malformed
from ..inference import Shapes
from ..inference.constants import is_float
from ..inference.node_arguments import reader
from ..ir.graph import attribute, ir, is_op, label, opset, source_text, usages
from ..operators.arguments import first_axis
from ..records import dataclass
from .affine import Affine, along_axis, any_true, batch_norm
from .reasons import Refused

LARGEST_PATTERN = 1 << 20  # elements of a constant operand that is looked at as a map


@dataclass(frozen=True)
class Reading:
    """An affine node seen: its map, the index of its data input, and the smallest variance where it is a
    batch norm.

    `typical` are its γ and β, which tell the size that its outputs typically have per channel, None where
    nothing is known."""

    map: Affine
    data: int
    smallest_variance: float | None = None
    typical: tuple[np.ndarray, np.ndarray] | None = None


_Reader = Callable[[ir.Node, Shapes, ir.Model], Reading | None]


def read(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading | None:
    """The map of a node, or None where the node is no candidate. Raises Refused for a candidate that has to
    stay, Malformed for a batch norm whose parts contradict each other."""
    reader = READERS.get(node.op_type) if is_op(node, *READERS) else None
    if reader is None:
        return None
    if shapes.contradicts(node):
        raise Refused("kept.contradictory", "its operands do not fit each other")
    reading = reader(node, shapes, model)
    if reading is not None and not reading.map.scale.size:
        raise Refused("kept.no-linear-neighbour", "it works on nothing: its map has no entries")
    if reading is not None and not reading.map.finite:
        raise Refused("kept.non-finite", _non_finite(reading))
    return reading


def _non_finite(reading: Reading) -> str:
    bad = ~(np.isfinite(reading.map.scale) & np.isfinite(reading.map.shift))
    return f"its scale or shift is not finite in {int(bad.sum())} of {bad.size} channels"


def _batch_norm(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading:
    _check_inference(node, opset(model, node.graph))
    x = node.inputs[0] if node.inputs else None
    if len(node.inputs) < 5 or any(v is None for v in node.inputs[:5]):
        raise Malformed(
            f"BatchNormalization '{label(node)}' has {sum(v is not None for v in node.inputs)} inputs",
            where=source_text(node) or None,
            expected="five: X, scale, B, mean and var",
        )
    if shapes.constants.tensor(x) is not None:
        raise Refused("kept.no-linear-neighbour", "its input is a constant")
    in_function = shapes.in_function(node.graph)
    vectors = [_parameter(node, v, shapes, in_function) for v in node.inputs[1:5]]
    sizes = {v.size for v in vectors}
    channels = 1 if shapes.rank(x) == 1 else shapes.dim(x, 1)  # a vector is a batch of one channel
    if len(sizes) != 1 or any(v.ndim != 1 for v in vectors) or (channels is not None and sizes != {channels}):
        given = ", ".join(
            f"{name} {list(v.shape)}" for name, v in zip(("scale", "B", "mean", "var"), vectors, strict=True)
        )
        raise Malformed(
            f"BatchNormalization '{label(node)}' has {given}",
            where=source_text(node) or None,
            expected=f"vectors of {channels} channels"
            if channels is not None
            else "four vectors of one length",
        )
    rank = shapes.rank(x) or _rank_by_reader(node, shapes)
    if rank is None:
        raise Refused("kept.unknown-rank")
    epsilon = float(np.float32(attribute(node, "epsilon", 1e-5)))
    gamma, beta, mean, variance = vectors
    if any_true(variance + epsilon <= 0):
        raise Refused(
            "kept.non-finite",
            f"variance + epsilon is not positive in {int(np.sum(variance + epsilon <= 0))} channels",
        )
    axis = 1 if rank > 1 else 0
    return Reading(
        along_axis(batch_norm(gamma, beta, mean, variance, epsilon), axis, rank),
        0,
        float(variance.min()) if variance.size else None,
        (gamma, beta),
    )


def _rank_by_reader(node: ir.Node, shapes: Shapes) -> int | None:
    """The rank that a convolution behind the node gives away by its weight."""
    for user, index in usages(node.outputs[0]):
        if (
            index == 0
            and is_op(user, "Conv", "ConvTranspose")
            and (rank := shapes.rank(user.inputs[1])) is not None
        ):
            return rank
    return None


def _check_inference(node: ir.Node, version: int) -> None:
    """The five generations of BatchNormalization each say in their own way that they normalise with the
    batch's statistics."""
    try:
        training = (
            attribute(node, "training_mode", 0)
            if version >= 14
            else version < 7 and not attribute(node, "is_test", 0)
        )
        spatial = attribute(node, "spatial", 1) if version < 9 else 1
        attribute(node, "epsilon")
    except LookupError as error:
        raise Refused("kept.parameter-not-constant", str(error)) from error
    if training:
        raise Refused(
            "kept.training-mode",
            "it is in training mode" if version >= 14 else "is_test is not set, so it normalises the batch",
        )
    used = [v for v in node.outputs[1:] if v.name and (usages(v) or v.is_graph_output())]
    if used or (7 <= version < 14 and any(v.name for v in node.outputs[1:])):
        raise Refused(
            "kept.training-mode", "its statistics outputs are used, so it normalises with the batch's own"
        )
    if not spatial:
        raise Refused("kept.per-activation")


def _parameter(node: ir.Node, value: ir.Value | None, shapes: Shapes, in_function: bool) -> np.ndarray:
    found = shapes.constants.array(value)
    if found is None:
        assert value is not None
        raise Refused(*_why_not_constant(value, in_function))
    assert value is not None
    stored = shapes.constants.stored(value) or shapes.constants.tensor(value)
    if stored is not None and not is_float(stored.dtype):
        raise Malformed(
            f"the parameter '{value.name}' of a batch norm is {stored.dtype.name}",
            where=source_text(node) or None,
            expected="a float type",
        )
    return found


def _why_not_constant(value: ir.Value, in_function: bool) -> tuple[str, str]:
    if value.is_graph_input() and value.is_initializer():
        return (
            "kept.overridable-parameter",
            f"its parameter '{value.name}' is a graph input that a caller may override; "
            "--freeze-initializers",
        )
    if value.is_graph_input():
        where = "an input of its function" if in_function else "a graph input"
        return "kept.parameter-not-constant", f"its parameter '{value.name}' is {where}"
    node = value.producer()
    return "kept.parameter-not-constant", f"its parameter '{value.name}' is computed at run time" + (
        f" by {node.op_type}" if node else ""
    )


def _elementwise(node: ir.Node, shapes: Shapes, model: ir.Model) -> tuple[int, np.ndarray] | None:
    """(index of the data input, the constant operand as a pattern of the data's rank), or None where it is no
    candidate."""
    if len(node.inputs) != 2 or None in node.inputs:
        return None
    a, b = node.inputs
    for data, other in ((0, b), (1, a)):
        x = node.inputs[data]
        assert x is not None and other is not None
        types = {shapes.dtype(x), shapes.dtype(other)} - {
            None
        }  # declared ones may be stale, as of models brought to half precision
        if not types or not all(map(is_float, types)) or _size(shapes, other) > LARGEST_PATTERN:
            continue
        constant = shapes.constants.array(other)
        if constant is None or constant.dtype.kind != "f" or shapes.constants.array(x) is not None:
            continue
        if opset(model, node.graph) < 7:
            constant = placed(node, constant, data, shapes.rank(x))
        return data, _pattern(constant, shapes, x)
    return None


def placed(node: ir.Node, constant: np.ndarray, data: int, rank: int | None) -> np.ndarray:
    """A constant operand as it meets its data before opset 7: only the second broadcasts, when told so, and
    `axis` says where it begins."""
    if not attribute(node, "broadcast", 0) or attribute(node, "axis") is None:
        return constant
    if data != 0 or rank is None:
        raise Refused("kept.unknown-rank")
    first = first_axis(reader(node), 1, constant.ndim, rank)
    return constant.reshape(constant.shape + (1,) * (rank - first - constant.ndim))


def _size(shapes: Shapes, value: ir.Value) -> int:
    shape = shapes.of(value)
    return 0 if shape is None else math.prod(d for d in shape if isinstance(d, int))


def _pattern(constant: np.ndarray, shapes: Shapes, x: ir.Value) -> np.ndarray:
    """The constant as a pattern of x's rank. Refused where it enlarges x, or where that cannot be
    excluded."""
    if constant.size == 1 and constant.ndim <= (shapes.rank(x) or 0):
        return constant.reshape(())
    shape = shapes.of(x)
    if shape is None:
        if constant.ndim == 0:
            return constant
        raise Refused("kept.unknown-rank")
    if constant.ndim > len(shape):
        raise Refused(
            "kept.wrong-axis", f"its constant of shape {list(constant.shape)} adds axes to its input"
        )
    padded = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    for size, dim in zip(padded.shape, shape, strict=True):
        if size not in (1, dim):
            raise Refused(
                "kept.wrong-axis",
                f"its constant of shape {list(constant.shape)} may enlarge its input of shape "
                f"{_shown(shape)}",
            )
    return padded


def _shown(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(d) if not str(d).startswith("?") else "?" for d in shape) + "]"


def _mul(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading | None:
    if (found := _elementwise(node, shapes, model)) is None:
        return None
    data, c = found
    return Reading(Affine.times(c), data)


def _div(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading | None:
    if (found := _elementwise(node, shapes, model)) is None:
        return None
    data, c = found
    if data == 1:
        raise Refused("kept.non-linear", "it divides a constant by its input, which is not linear")
    with np.errstate(all="ignore"):
        return Reading(Affine.times(1.0 / c), data)


def _add(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading | None:
    if (found := _elementwise(node, shapes, model)) is None:
        return None
    data, c = found
    return Reading(Affine.plus(c), data)


def _sub(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading | None:
    if (found := _elementwise(node, shapes, model)) is None:
        return None
    data, c = found
    return Reading(Affine.plus(-c) if data == 0 else Affine.plus(c, -1.0), data)


def _neg(node: ir.Node, shapes: Shapes, model: ir.Model) -> Reading | None:
    x = node.inputs[0] if node.inputs else None
    if (
        x is None
        or not is_float(shapes.dtype(x) or node.outputs[0].dtype)
        or shapes.constants.array(x) is not None
    ):
        return None
    return Reading(Affine(np.asarray(-1.0), np.asarray(0.0)), 0)


READERS: dict[str, _Reader] = {
    "BatchNormalization": _batch_norm,
    "Mul": _mul,
    "Add": _add,
    "Sub": _sub,
    "Div": _div,
    "Neg": _neg,
}
