"""What does an affine map become on the other side of this node? One row an operator in COMMUTES.

    back(node, outs)      maps that its outputs should carry   -> maps that its inputs must carry
    forward(node, ins)    maps that its inputs carry           -> maps that its outputs then carry

None stands for "no map". A row raises Refused where the operator does not let the map pass, with the condition in words.
Rearranging operators have their row in rearrange.py; the rows here are the ones that compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..constants import is_float
from ..graph import attribute, ir, is_op, label, opset
from ..shapes import Shapes, split_sizes
from .affine import IDENTITY, Affine
from .rearrange import mover
from .reasons import Refused

Maps = list[Affine | None]


@dataclass
class Choices:
    """Where a rule may choose (which summand takes the shift), it asks here; a refused push is tried again with other choices."""

    taken: tuple[int, ...] = ()
    asked: int = 0

    def pick(self, count: int) -> int:
        """The choice for this question, 0 where none was made yet."""
        choice = self.taken[self.asked] if self.asked < len(self.taken) else 0
        self.asked += 1
        return choice % count


@dataclass
class Site:
    """What a rule may ask: shapes, the model, and choices."""

    shapes: Shapes
    model: ir.Model
    choices: Choices


@dataclass(frozen=True)
class Commute:
    """The two directions of one operator."""

    back: Callable[[ir.Node, Maps, Site], Maps]
    forward: Callable[[ir.Node, Maps, Site], Maps]


def back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """Maps for the inputs, so that the outputs carry `outs`."""
    return _rule(node).back(node, outs, site)


def forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """Maps that the outputs carry where the inputs carry `ins`."""
    return _rule(node).forward(node, ins, site)


def _rule(node: ir.Node) -> Commute:
    if any(a.is_ref() for a in node.attributes.values()):
        raise Refused("kept.non-linear", f"{node.op_type} stands in between, with attributes set by its function's caller")
    rule = COMMUTES.get(node.op_type) if node.domain == "" else None
    if rule is None:
        raise Refused("kept.non-linear", f"{node.op_type} stands in between and does not commute with it")
    return rule


def _first(maps: Maps, node: ir.Node) -> Affine:
    """The map of the data (first) value; a map on any other value is not this rule's business."""
    if any(m is not None for m in maps[1:]) or maps[0] is None:
        raise Refused("kept.non-linear", f"{node.op_type} takes the value as an argument, not as data")
    return maps[0]


def _only_first(node: ir.Node, map_: Affine) -> Maps:
    return [map_, *([None] * (len(node.inputs) - 1))]


def _moved_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    moved = mover(node, site.shapes)
    assert moved is not None
    map_ = _first(outs, node)
    return _only_first(node, map_ if map_.rank == 0 else moved.pull(map_))


def _moved_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    moved = mover(node, site.shapes)
    assert moved is not None
    map_ = _first(ins, node)
    return [map_ if map_.rank == 0 else moved.push(map_)]


def _passing(allow: Callable[[ir.Node, Affine, Site], None]) -> Commute:
    """A rule for operators of one data input that let the map pass as it is, under a condition."""
    def go_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
        map_ = _first(outs, node)
        allow(node, map_, site)
        return _only_first(node, map_)

    def go_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
        map_ = _first(ins, node)
        allow(node, map_, site)
        return [map_, *([None] * (len(node.outputs) - 1))]

    return Commute(go_back, go_forward)


def _no_shift(node: ir.Node, map_: Affine) -> None:
    if map_.shifts:
        raise Refused("kept.shift-does-not-pass", f"{node.op_type} stands in between and lets no shift pass")


def _no_negative(node: ir.Node, map_: Affine) -> None:
    if not map_.nonnegative:
        raise Refused("kept.negative-scale", f"{node.op_type} stands in between and lets no negative scale pass")


def _uniform_over(map_: Affine, axes: Sequence[int], node: ir.Node) -> None:
    if any(axis in map_.varies() for axis in axes):
        raise Refused("kept.wrong-axis", f"{node.op_type} mixes positions along which the map varies")


def _spatial(map_: Affine) -> range:
    return range(2, map_.rank)


def _homogeneous(node: ir.Node, map_: Affine, site: Site) -> None:
    """f(s·x) = s·f(x) for s >= 0: Relu and its kin, Abs."""
    _no_shift(node, map_)
    _no_negative(node, map_)


def _averaging(node: ir.Node, map_: Affine, site: Site) -> None:
    """A mean lets a scale pass always, a shift where nothing but real values is counted."""
    _uniform_over(map_, _spatial(map_), node)
    counted = attribute(node, "count_include_pad", 0) or opset(site.model, node.graph) < 7
    padded = any(attribute(node, "pads") or ()) or attribute(node, "auto_pad", "NOTSET").startswith("SAME")
    if map_.shifts and ((counted and padded) or (attribute(node, "ceil_mode", 0) and counted)):
        raise Refused("kept.shift-does-not-pass", "AveragePool counts padding, so no shift passes")


def _whole_average(node: ir.Node, map_: Affine, site: Site) -> None:
    _uniform_over(map_, _spatial(map_), node)


def _maximum(node: ir.Node, map_: Affine, site: Site) -> None:
    """max(s·x + t) = s·max(x) + t for s >= 0; its indices would move where s = 0."""
    _no_negative(node, map_)
    _uniform_over(map_, _spatial(map_), node)
    if len(node.outputs) > 1 and node.outputs[1].name and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        raise Refused("kept.non-linear", f"the indices of {node.op_type} are used")


def _resizing(node: ir.Node, map_: Affine, site: Site) -> None:
    """Interpolation weights sum to one, except where values outside are replaced by a constant."""
    if attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Refused("kept.non-linear", "Resize crops and extrapolates")
    before, after = site.shapes.of(node.inputs[0]), site.shapes.of(node.outputs[0])
    for axis in map_.varies():
        if before is None or after is None or before[axis] != after[axis]:
            raise Refused("kept.wrong-axis", f"{node.op_type} resizes an axis along which the map varies")


def _dropping(node: ir.Node, map_: Affine, site: Site) -> None:
    version = opset(site.model, node.graph)
    if version >= 12:
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        training = mode is not None and (site.shapes.constants.array(mode) is None or bool(np.any(site.shapes.constants.array(mode))))
    else:
        training = version < 7 and not attribute(node, "is_test", 0)
    if training:
        raise Refused("kept.non-linear", "Dropout is in training mode")
    if len(node.outputs) > 1 and node.outputs[1].name and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        raise Refused("kept.non-linear", "the mask of Dropout is used")


_BITS = {ir.DataType.FLOAT16: 16, ir.DataType.BFLOAT16: 16, ir.DataType.FLOAT: 32, ir.DataType.DOUBLE: 64}


def _casting(node: ir.Node, map_: Affine, site: Site) -> None:
    """Between equal types, or to a wider float type: everything that the narrow type holds survives."""
    x = node.inputs[0]
    like = node.inputs[1] if is_op(node, "CastLike") else None
    to = ir.DataType(attribute(node, "to")) if like is None else like.dtype
    source = x.dtype if x is not None else None
    if source is None or to is None or not (is_float(source) and is_float(to)) or (source != to and _BITS[to] <= _BITS[source]):
        raise Refused("kept.type", f"{node.op_type} stands in between and does not widen a float type")


# Several inputs or outputs.


def _concat_axis(node: ir.Node, site: Site) -> tuple[int, list[int | None], int]:
    """(axis, sizes of the parts along it, rank)."""
    rank = site.shapes.rank(node.outputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axis = attribute(node, "axis", 1) % rank
    return axis, [site.shapes.dim(v, axis) for v in node.inputs], rank


def _concat_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    map_ = _first(outs, node)
    axis, sizes, rank = _concat_axis(node, site)
    if axis not in map_.lifted(rank).varies():
        return [map_] * len(node.inputs)
    if any(size is None for size in sizes):
        raise Refused("kept.wrong-axis", "Concat stands in between and the sizes of its parts are not known")
    ends = np.cumsum([s for s in sizes if s is not None])
    return [map_.mapped(lambda a, at=(end - size, end): a[(slice(None),) * axis + (slice(*at),)])  # type: ignore[misc]
            for size, end in zip(sizes, ends, strict=True)]


def _concat_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    axis, sizes, rank = _concat_axis(node, site)
    maps = [(m or IDENTITY).lifted(rank) for m in ins]
    if all(m.equals(maps[0]) and axis not in m.varies() for m in maps):
        return [maps[0]]
    if any(size is None for size in sizes):
        raise Refused("kept.wrong-axis", "Concat stands in between and the sizes of its parts are not known")
    shape = tuple(np.broadcast_shapes(*(m.scale.shape[:axis] + (1,) + m.scale.shape[axis + 1:] for m in maps)))
    full = [tuple(int(s or 0) if k == axis else d for k, d in enumerate(shape)) for s in sizes]
    scale = np.concatenate([np.broadcast_to(m.scale, f) for m, f in zip(maps, full, strict=True)], axis)
    shift = np.concatenate([np.broadcast_to(m.shift, f) for m, f in zip(maps, full, strict=True)], axis)
    return [Affine(scale, shift).compact()]


def _split_parts(node: ir.Node, site: Site) -> tuple[int, list[int]]:
    shape = site.shapes.of(node.inputs[0])
    if shape is None:
        raise Refused("kept.unknown-rank")
    axis = attribute(node, "axis", 0) % len(shape)
    sizes = split_sizes(site.shapes, node, shape[axis])
    if sizes is None:
        raise Refused("kept.wrong-axis", "Split stands in between and the sizes of its parts are not known")
    return axis, sizes


def _split_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    axis, sizes = _split_parts(node, site)
    rank = site.shapes.rank(node.inputs[0]) or 0
    maps = [(m or IDENTITY).lifted(rank) for m in outs]
    shape = tuple(np.broadcast_shapes(*(m.scale.shape[:axis] + (1,) + m.scale.shape[axis + 1:] for m in maps)))
    full = [tuple(s if k == axis else d for k, d in enumerate(shape)) for s in sizes]
    scale = np.concatenate([np.broadcast_to(m.scale, f) for m, f in zip(maps, full, strict=True)], axis)
    shift = np.concatenate([np.broadcast_to(m.shift, f) for m, f in zip(maps, full, strict=True)], axis)
    return _only_first(node, Affine(scale, shift).compact())


def _split_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    map_ = _first(ins, node)
    axis, sizes = _split_parts(node, site)
    if map_.rank == 0 or axis not in map_.varies():
        return [map_] * len(node.outputs)
    ends = np.cumsum(sizes)
    return [map_.mapped(lambda a, at=(end - size, end): a[(slice(None),) * axis + (slice(*at),)])  # type: ignore[misc]
            for size, end in zip(sizes, ends, strict=True)]


def _operand(map_: Affine, node: ir.Node, index: int, site: Site) -> Affine:
    """A map of a broadcasting operator's output as a map of one operand: it must not vary where the operand is stretched."""
    if map_.rank == 0:
        return map_
    shape, out = site.shapes.of(node.inputs[index]), site.shapes.of(node.outputs[0])
    if shape is None or out is None or len(out) != map_.rank:
        raise Refused("kept.unknown-rank")
    lead = map_.rank - len(shape)
    for axis in map_.varies():
        if axis < lead or shape[axis - lead] != out[axis]:
            raise Refused("kept.wrong-axis", f"{node.op_type} stretches an operand along an axis along which the map varies")
    return map_.mapped(lambda a: a.reshape(a.shape[lead:]))


def _result(map_: Affine, node: ir.Node, index: int, site: Site) -> Affine:
    """A map of one operand as a map of a broadcasting operator's output."""
    if map_.rank == 0:
        return map_
    rank = site.shapes.rank(node.outputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    return Affine(map_.scale.reshape((1,) * (rank - map_.rank) + map_.scale.shape),
                  map_.shift.reshape((1,) * (rank - map_.rank) + map_.shift.shape))


def _sum_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """s·(a + b) + t = (s·a + t) + s·b: the scale to every summand, the shift to one of them; x + x shares it."""
    map_ = _first(outs, node)
    signs = [1.0, -1.0] if is_op(node, "Sub") else [1.0] * len(node.inputs)
    if map_.shifts and len(set(node.inputs)) == 1 and all(s > 0 for s in signs):
        share = Affine(map_.scale, map_.shift / len(node.inputs))
        return [_operand(share, node, k, site) for k in range(len(node.inputs))]
    taker = site.choices.pick(len(node.inputs)) if map_.shifts else 0
    return [_operand(Affine(map_.scale, sign * map_.shift) if k == taker else map_.scale_only(), node, k, site) for k, sign in enumerate(signs)]


def _sum_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    signs = [1.0, -1.0] if is_op(node, "Sub") else [1.0] * len(node.inputs)
    maps = [_result(m, node, k, site) if m is not None else IDENTITY for k, m in enumerate(ins)]
    if any(not np.all(m.scale == maps[0].scale) for m in maps[1:]):
        raise Refused("kept.non-linear", f"{node.op_type} '{label(node)}' adds values whose scales differ")
    rank = max(m.rank for m in maps)
    scale = next(m.scale for m in maps if m.rank == rank)
    return [Affine(scale, sum((sign * m.shift for sign, m in zip(signs, maps, strict=True)), np.zeros(())))]


def _product_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """s·(a·b) = (s·a)·b; a quotient takes it in its numerator."""
    map_ = _first(outs, node)
    _no_shift(node, map_)
    if node.inputs[0] is node.inputs[-1]:
        raise Refused("kept.non-linear", f"{node.op_type} combines a value with itself")
    taker = 0 if is_op(node, "Div") else site.choices.pick(2)
    maps: Maps = [None, None]
    maps[taker] = _operand(map_, node, taker, site)
    return maps


def _product_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    if is_op(node, "Div") and ins[1] is not None:
        raise Refused("kept.non-linear", "Div stands in between and has the value in its denominator")
    if all(m is not None for m in ins) and node.inputs[0] is node.inputs[1]:
        raise Refused("kept.non-linear", f"{node.op_type} combines a value with itself")
    out = IDENTITY
    for k, m in enumerate(ins):
        if m is not None:
            _no_shift(node, m)
            out = out @ _result(m, node, k, site)
    return [out]


def _reduced_axes(node: ir.Node, site: Site) -> tuple[list[int], int]:
    from ..shapes import axes_of

    rank = site.shapes.rank(node.inputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axes = axes_of(site.shapes, node, rank)
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        raise Refused("kept.wrong-axis", f"the axes of {node.op_type} are not constant")
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        return [], rank
    return axes or list(range(rank)), rank


def _reducing(allow: Callable[[ir.Node, Affine], None]) -> Commute:
    def go_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
        map_ = _first(outs, node)
        allow(node, map_)
        axes, _ = _reduced_axes(node, site)
        if map_.rank and not attribute(node, "keepdims", 1):
            map_ = map_.mapped(lambda a: np.expand_dims(a, tuple(axes)))
        _uniform_over(map_, axes, node)
        return _only_first(node, map_)

    def go_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
        map_ = _first(ins, node)
        allow(node, map_)
        axes, _ = _reduced_axes(node, site)
        _uniform_over(map_, axes, node)
        if map_.rank and not attribute(node, "keepdims", 1):
            map_ = map_.mapped(lambda a: np.squeeze(a, tuple(axes)))
        return [map_]

    return Commute(go_back, go_forward)


def _anything(node: ir.Node, map_: Affine) -> None:
    """A mean: weights sum to one."""


def _pad_condition(node: ir.Node, map_: Affine, site: Site) -> None:
    """A constant pad is a new value v: it must be its own image, s·v + t = v, in every channel."""
    if attribute(node, "mode", "constant") != "constant":
        return
    value = attribute(node, "value", 0.0)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        found = site.shapes.constants.array(node.inputs[2])
        value = None if found is None else float(found.reshape(-1)[0])
    if value is None or not np.all(map_(value) == value):
        raise Refused("kept.shift-does-not-pass", "Pad stands in between and pads with a constant that the map would change")


def _pad_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    _pad_condition(node, _first(outs, node), site)
    return _moved_back(node, outs, site)


def _pad_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    _pad_condition(node, _first(ins, node), site)
    return _moved_forward(node, ins, site)


_MOVED = Commute(_moved_back, _moved_forward)
_SUM = Commute(_sum_back, _sum_forward)
_PRODUCT = Commute(_product_back, _product_forward)

COMMUTES: dict[str, Commute] = {
    **dict.fromkeys(["Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Tile", "Expand",
                     "DepthToSpace", "SpaceToDepth"], _MOVED),
    **dict.fromkeys(["Relu", "LeakyRelu", "PRelu", "Abs"], _passing(_homogeneous)),
    **dict.fromkeys(["MaxPool", "GlobalMaxPool"], _passing(_maximum)),
    **dict.fromkeys(["Resize", "Upsample"], _passing(_resizing)),
    **dict.fromkeys(["Cast", "CastLike"], _passing(_casting)),
    **dict.fromkeys(["Add", "Sub", "Sum"], _SUM),
    **dict.fromkeys(["Mul", "Div"], _PRODUCT),
    "Dropout": _passing(_dropping),
    "AveragePool": _passing(_averaging),
    "GlobalAveragePool": _passing(_whole_average),
    "ReduceMean": _reducing(_anything),
    "ReduceSum": _reducing(_no_shift),
    "ReduceMax": _reducing(_no_negative),
    "Pad": Commute(_pad_back, _pad_forward),
    "Concat": Commute(_concat_back, _concat_forward),
    "Split": Commute(_split_back, _split_forward),
}
