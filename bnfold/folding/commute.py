"""What does an affine map become on the other side of this node? One row an operator in COMMUTES.

    back(node, outs)      maps that its outputs should carry   -> maps that its inputs must carry
    forward(node, ins)    maps that its inputs carry           -> maps that its outputs then carry

None stands for "no map". A row raises Refused where the operator does not let the map pass, with the
condition in words. Rearranging operators move maps by rearrange.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..inference.constants import is_float
from ..inference.node_arguments import reader, reduced_axes, split_sizes
from ..ir.graph import attribute, ir, is_op, label, named_type, opset, usages
from ..operators.arguments import Window, first_axis, windows
from .affine import IDENTITY, Affine, common_shape
from .commute_rule import (
    Commute,
    CommuteContext,
    Maps,
    data_map,
    no_negative,
    no_shift,
    only_data,
    uniform_over,
)
from .contractions import behind_to_operand, check_sizes, operand_to_behind, sum_of_other
from .rearrange import crops, mover, read_in_parts
from .reasons import Closed, Refused
from .reshape_axes import axis_of, check_room

MOST_SIDES = 256  # inputs or outputs of a node that maps pass
_QUANTISING = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """Maps for the inputs, so that the outputs carry `outs`."""
    _check_fit(node, node.outputs, outs, context)
    return _rule(node, context).back(node, outs, context)


def forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    """Maps that the outputs carry where the inputs carry `ins`."""
    _check_fit(node, node.inputs, ins, context)
    return _rule(node, context).forward(node, ins, context)


def loses_none(node: ir.Node) -> bool:
    """Is a map that passes always a map behind it as well?"""
    rule = _row(node)
    return rule is not None and rule.lossless


def _row(node: ir.Node) -> Commute | None:
    return COMMUTES.get(node.op_type) if node.domain == "" else None


def check_sides(node: ir.Node) -> None:
    """Refuse a node of absurdly many inputs or outputs: where each of them is looked at for each, time is
    their square."""
    if max(len(node.inputs), len(node.outputs)) > MOST_SIDES:
        raise Refused(
            "kept.non-linear",
            f"{node.op_type} stands in between and has more than {MOST_SIDES} inputs or outputs",
        )


def _check_fit(node: ir.Node, values: Sequence[ir.Value | None], maps: Maps, context: CommuteContext) -> None:
    """A map has the axes of the value that it is on, or none. Where little is known of a network, its
    declarations may say otherwise."""
    for value, map_ in zip(values, maps, strict=True):
        shape = context.shapes.of(value) if map_ is not None and map_.rank else None
        if shape is None or map_ is None:
            continue
        if len(shape) != map_.rank or any(
            isinstance(shape[axis], int) and shape[axis] != map_.scale.shape[axis] for axis in map_.varies()
        ):
            raise Refused(
                "kept.contradictory",
                f"{node.op_type} stands in between, and its value has another shape than the map",
            )


def _rule(node: ir.Node, context: CommuteContext) -> Commute:
    check_sides(node)
    if context.shapes.contradicts(node):
        raise Refused(
            "kept.contradictory", f"{node.op_type} stands in between, and its arguments do not fit its inputs"
        )
    if any(a.is_ref() for a in node.attributes.values()):
        raise Refused(
            "kept.non-linear",
            f"{node.op_type} stands in between, with attributes set by its function's caller",
        )
    rule = _row(node)
    if rule is None:
        raise Closed("kept.non-linear", _does_not_commute(node))
    return rule


def _does_not_commute(node: ir.Node) -> str:
    words = f"{node.op_type} stands in between and does not commute with it"
    # Tools that quantise put these behind every convolution; nothing passes them, but nothing has to.
    return f"{words}; fold first and quantise afterwards" if node.op_type in _QUANTISING else words


def _moved_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    moved = mover(node, context.shapes)
    assert moved is not None
    map_ = data_map(outs, node)
    if map_.rank == 0 and read_in_parts(node):
        map_ = map_.lifted(context.shapes.rank(node.outputs[0]) or 0)
    return only_data(node, map_ if map_.rank == 0 else moved.pull(map_))


def _moved_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    moved = mover(node, context.shapes)
    assert moved is not None
    map_ = data_map(ins, node)
    return [map_ if map_.rank == 0 else moved.push(map_)]


def _passing(condition: str, allow: Callable[[ir.Node, Affine, CommuteContext], None]) -> Commute:
    """A rule for operators of one data input that let the map pass as it is, under a condition."""

    def go_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
        map_ = data_map(outs, node)
        allow(node, map_, context)
        return only_data(node, map_)

    def go_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
        map_ = data_map(ins, node)
        allow(node, map_, context)
        return [map_, *([None] * (len(node.outputs) - 1))]

    return Commute(condition, go_back, go_forward, lossless=True)


def _spatial(map_: Affine) -> range:
    return range(2, map_.rank)


def _homogeneous(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """f(s·x) = s·f(x) for s >= 0: Relu and its kin, Abs."""
    no_shift(node, map_)
    no_negative(node, map_)


def _clipping(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """clip(s·x + t) = s·clip(x) + t for s >= 0, where every bound is its own image."""
    no_negative(node, map_)
    for bound in _bounds(node, context):
        if bound is None or not np.all(map_(bound) == bound):
            what = "is not constant" if bound is None else "the map would change"
            raise Refused(
                "kept.non-linear", f"Clip '{label(node)}' stands in between, with a bound that {what}"
            )


def _bounds(node: ir.Node, context: CommuteContext) -> list[float | None]:
    """The bounds that a Clip has, attributes before opset 11 and inputs since; None for one that is not
    known."""
    if opset(context.model, node.graph) < 11:
        stated = (attribute(node, name) for name in ("min", "max"))
        return [bound for bound in stated if bound is not None]
    arrays = [context.shapes.constants.array(value) for value in node.inputs[1:] if value is not None]
    return [float(a.reshape(-1)[0]) if a is not None and a.size == 1 else None for a in arrays]


def _by_slope(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """PRelu: as Relu, where its slope has no axis or size that the data lacks (which onnxruntime allows)."""
    _homogeneous(node, map_, context)
    if map_.rank and _may_enlarge(node, context):
        raise Refused("kept.wrong-axis", f"the slope of PRelu '{label(node)}' may enlarge its input")


def _may_enlarge(node: ir.Node, context: CommuteContext) -> bool:
    data, slope = (context.shapes.of(value) for value in node.inputs[:2])
    if data is None or data == context.shapes.of(node.outputs[0]):
        return data is None
    fits = slope is not None and len(slope) <= len(data)
    return not fits or any(
        a not in (1, b) for a, b in zip(reversed(slope or ()), reversed(data), strict=False)
    )


def _averaging(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """A mean lets a scale pass always, a shift where nothing but real values is counted. A window larger than
    its input has no result in ONNX; onnxruntime may give one, and counts what is not there."""
    uniform_over(map_, _spatial(map_), node)
    counted = attribute(node, "count_include_pad", 0) or opset(context.model, node.graph) < 7
    overhang = any(
        w.may_pad or w.ceil or (size is not None and size < w.reach) for w, size in _pooled(node, context)
    )
    if map_.shifts and counted and overhang:
        raise Refused("kept.shift-does-not-pass", "AveragePool counts padding, so no shift passes")
    if map_.shifts and not _meets_input(node, context):
        raise Refused(
            "kept.shift-does-not-pass", f"a window of {node.op_type} '{label(node)}' may lie in padding alone"
        )


def _meets_input(node: ir.Node, context: CommuteContext) -> bool:
    """Does every window of a pool hold a value of its input?"""
    return all(window.always_meets(size) for window, size in _pooled(node, context))


def _pooled(node: ir.Node, context: CommuteContext) -> list[tuple[Window, int | None]]:
    """The window of a pool along every axis, and the size of that axis, where it is known."""
    along = windows(reader(node), attribute(node, "kernel_shape"))
    return [(window, context.shapes.dim(node.inputs[0], axis)) for axis, window in enumerate(along, start=2)]


def _whole_average(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    uniform_over(map_, _spatial(map_), node)
    _check_spatial(node, context)


def _whole_maximum(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    _maximum(node, map_, context)
    _check_spatial(node, context)


def _check_spatial(node: ir.Node, context: CommuteContext) -> None:
    _check_entries(node, range(2, context.shapes.rank(node.inputs[0]) or 2), context)


def _maximum(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """max(s·x + t) = s·max(x) + t for s >= 0; its indices would move where s = 0."""
    no_negative(node, map_)
    uniform_over(map_, _spatial(map_), node)
    if (
        len(node.outputs) > 1
        and node.outputs[1].name
        and (usages(node.outputs[1]) or node.outputs[1].is_graph_output())
    ):
        raise Refused("kept.non-linear", f"the indices of {node.op_type} are used")


def _pooled_maximum(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """As any maximum, where there is one."""
    _maximum(node, map_, context)
    if not _meets_input(node, context):
        raise Refused("kept.non-linear", f"a window of MaxPool '{label(node)}' may lie in padding alone")


def _resizing(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """Interpolation weights sum to one, except where values outside are replaced by a constant."""
    if attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Refused("kept.non-linear", "Resize crops and extrapolates")
    before, after = context.shapes.of(node.inputs[0]), context.shapes.of(node.outputs[0])
    for axis in map_.varies():
        if before is None or after is None or before[axis] != after[axis]:
            raise Refused("kept.wrong-axis", f"{node.op_type} resizes an axis along which the map varies")


def _dropping(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    version = opset(context.model, node.graph)
    if version >= 12:
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        training = mode is not None and (
            context.shapes.constants.array(mode) is None or bool(np.any(context.shapes.constants.array(mode)))
        )
    else:
        training = version < 7 and not attribute(node, "is_test", 0)
    if training:
        raise Refused("kept.non-linear", "Dropout is in training mode")
    if (
        len(node.outputs) > 1
        and node.outputs[1].name
        and (usages(node.outputs[1]) or node.outputs[1].is_graph_output())
    ):
        raise Refused("kept.non-linear", "the mask of Dropout is used")


_BITS = {ir.DataType.FLOAT16: 16, ir.DataType.BFLOAT16: 16, ir.DataType.FLOAT: 32, ir.DataType.DOUBLE: 64}


def _casting(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """Between equal types, or to a wider float type: everything that the narrow type holds survives."""
    x = node.inputs[0]
    like = node.inputs[1] if is_op(node, "CastLike") else None
    to = named_type(node) if like is None else context.shapes.dtype(like)
    source = context.shapes.dtype(x)
    if (
        source is None
        or to is None
        or not (is_float(source) and is_float(to))
        or (source != to and _BITS[to] <= _BITS[source])
    ):
        raise Refused("kept.type", f"{node.op_type} stands in between and does not widen a float type")


def _casting_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """What the model computes in float32 on purpose would be rounded with the weights of 16 bits that hold
    it."""
    map_ = data_map(outs, node)
    _casting(node, map_, context)
    source = context.shapes.dtype(node.inputs[0])
    narrow = source is not None and _BITS[source] <= 16
    if narrow and context.shapes.dtype(node.outputs[0]) != source and not context.into_half:
        raise Refused("kept.precision")
    return only_data(node, map_)


def _pad_condition(node: ir.Node, map_: Affine, context: CommuteContext) -> None:
    """A constant pad is a new value v: it must be its own image, s·v + t = v, in every channel. A Pad that
    adds nothing, or only crops, has none."""
    if attribute(node, "mode", "constant") != "constant" or crops(node, context.shapes):
        return
    value = attribute(node, "value", 0.0)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        found = context.shapes.constants.array(node.inputs[2])
        value = (
            float(found.reshape(-1)[0])
            if found is not None and found.size and found.dtype == np.float64
            else None
        )
    if value is None or not np.all(map_(value) == value):
        raise Refused(
            "kept.shift-does-not-pass",
            "Pad stands in between and pads with a constant that the map would change",
        )


def _pad_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    _pad_condition(node, data_map(outs, node), context)
    return _moved_back(node, outs, context)


def _pad_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    _pad_condition(node, data_map(ins, node), context)
    return _moved_forward(node, ins, context)


# Several inputs or outputs, and reductions


def _concat_axis(node: ir.Node, context: CommuteContext) -> tuple[int, list[int | None], int]:
    """(axis, sizes of the parts along it, rank)."""
    rank = context.shapes.rank(node.outputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axis = axis_of(node, rank)
    return axis, [context.shapes.dim(v, axis) for v in node.inputs], rank


def _concat_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """Each part gets its slice of the map."""
    map_ = data_map(outs, node)
    axis, sizes, rank = _concat_axis(node, context)
    if axis not in _lifted(map_, rank, node).varies():
        return [map_] * len(node.inputs)
    if any(size is None for size in sizes):
        raise Refused("kept.wrong-axis", "Concat stands in between and the sizes of its parts are not known")
    return _cut(map_, axis, [s for s in sizes if s is not None])


def _cut(map_: Affine, axis: int, sizes: list[int]) -> Maps:
    """A map that varies along an axis, as maps of that axis's parts."""
    ends = np.cumsum(sizes)
    return [
        map_.mapped(lambda a, at=(end - size, end): a[(slice(None),) * axis + (slice(*at),)])  # type: ignore[misc]
        for size, end in zip(sizes, ends, strict=True)
    ]


def _lifted(map_: Affine, rank: int, node: ir.Node) -> Affine:
    """The map as a pattern of this rank. Refuses the values of another rank that a contradictory model brings
    together."""
    if map_.rank not in (0, rank):
        raise Refused(
            "kept.unknown-rank",
            f"{node.op_type} stands in between and brings values of different ranks together",
        )
    return map_.lifted(rank)


def _laid(maps: list[Affine], axis: int, sizes: list[int], node: ir.Node) -> Affine:
    """Maps of an axis's parts, laid end to end."""
    shape = common_shape(*((*m.scale.shape[:axis], 1, *m.scale.shape[axis + 1 :]) for m in maps))
    check_room((*shape, sum(sizes)), node)
    full = [tuple(s if k == axis else d for k, d in enumerate(shape)) for s in sizes]
    scale = np.concatenate([np.broadcast_to(m.scale, f) for m, f in zip(maps, full, strict=True)], axis)
    shift = np.concatenate([np.broadcast_to(m.shift, f) for m, f in zip(maps, full, strict=True)], axis)
    return Affine(scale, shift).compact()


def _concat_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    """The parts' maps, laid end to end."""
    axis, sizes, rank = _concat_axis(node, context)
    maps = [_lifted(m or IDENTITY, rank, node) for m in ins]
    if all(m.equals(maps[0]) and axis not in m.varies() for m in maps):
        return [maps[0]]
    if any(size is None for size in sizes):
        raise Refused("kept.wrong-axis", "Concat stands in between and the sizes of its parts are not known")
    return [_laid(maps, axis, [s for s in sizes if s is not None], node)]


def _split_parts(node: ir.Node, context: CommuteContext) -> tuple[int, list[int]]:
    shape = context.shapes.of(node.inputs[0])
    if shape is None:
        raise Refused("kept.unknown-rank")
    axis = axis_of(node, len(shape))
    sizes = split_sizes(context.shapes, node, shape[axis])
    if sizes is None:
        raise Refused("kept.wrong-axis", "Split stands in between and the sizes of its parts are not known")
    return axis, sizes


def _split_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """The outputs' maps, laid end to end; an output that carries none keeps its values."""
    axis, sizes = _split_parts(node, context)
    rank = context.shapes.rank(node.inputs[0]) or 0
    maps = [_lifted(m or IDENTITY, rank, node) for m in outs]
    return only_data(node, _laid(maps, axis, sizes, node))


def _split_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    """Each output gets its slice of the map."""
    map_ = data_map(ins, node)
    axis, sizes = _split_parts(node, context)
    if map_.rank == 0 or axis not in map_.varies():
        return [map_] * len(node.outputs)
    return _cut(map_, axis, sizes)


def _operand(map_: Affine, node: ir.Node, index: int, context: CommuteContext) -> Affine:
    """A map of a broadcasting operator's output as a map of one operand: it must not vary where the operand
    is stretched."""
    if map_.rank == 0:
        return map_
    shape, out = context.shapes.of(node.inputs[index]), context.shapes.of(node.outputs[0])
    if shape is None or out is None or len(out) != map_.rank:
        raise Refused("kept.unknown-rank")
    lead = _lead(node, index, len(shape), map_.rank)
    for axis in map_.varies():
        if not lead <= axis < lead + len(shape) or shape[axis - lead] != out[axis]:
            raise Refused(
                "kept.wrong-axis",
                f"{node.op_type} stretches an operand along an axis along which the map varies",
            )
    return map_.mapped(lambda a: a.reshape(a.shape[lead : lead + len(shape)]))


def _result(map_: Affine, node: ir.Node, index: int, context: CommuteContext) -> Affine:
    """A map of one operand as a map of a broadcasting operator's output."""
    if map_.rank == 0:
        return map_
    rank = context.shapes.rank(node.outputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    lead = _lead(node, index, map_.rank, rank)
    shape = (1,) * lead + map_.scale.shape + (1,) * (rank - lead - map_.rank)
    return Affine(map_.scale.reshape(shape), map_.shift.reshape(shape))


def _lead(node: ir.Node, index: int, rank: int, whole: int) -> int:
    """Where an operand's axes begin among the output's. What is declared of an output may have no room for
    them."""
    lead = first_axis(reader(node), index, rank, whole)
    if not 0 <= lead <= whole - rank:
        raise Refused(
            "kept.contradictory",
            f"{node.op_type} stands in between, and its output has fewer axes than an operand",
        )
    return lead


def _sum_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """s·(a + b) + t = (s·a + t) + s·b: the scale to every summand, the shift to one of them; x + x shares
    it. The operands of a mean take the shift each, or one takes it as often as there are operands."""
    map_ = data_map(outs, node)
    weights = _weights(node)
    alike = len(set(node.inputs)) == 1 and all(w > 0 for w in weights)
    if map_.shifts and (alike or (is_op(node, "Mean") and context.choices.pick(2))):
        share = Affine(map_.scale, map_.shift / (weights[0] * len(weights)))
        return [_operand(share, node, k, context) for k in range(len(node.inputs))]
    taker = context.choices.pick(len(node.inputs)) if map_.shifts else 0
    return [
        _operand(Affine(map_.scale, map_.shift / w) if k == taker else map_.scale_only(), node, k, context)
        for k, w in enumerate(weights)
    ]


def _weights(node: ir.Node) -> list[float]:
    """What each operand of a sum, a difference or a mean counts for."""
    if is_op(node, "Sub"):
        return [1.0, -1.0]
    count = len(node.inputs)
    return [1.0 / count if is_op(node, "Mean") else 1.0] * count


def _sum_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    """Equal scales pass a sum, and its shifts add up."""
    maps = [_result(m, node, k, context) if m is not None else IDENTITY for k, m in enumerate(ins)]
    common_shape(*(m.scale.shape for m in maps))
    if any(not np.all(m.scale == maps[0].scale) for m in maps[1:]):
        raise Refused("kept.non-linear", f"{node.op_type} '{label(node)}' adds values whose scales differ")
    rank = max(m.rank for m in maps)
    scale = next(m.scale for m in maps if m.rank == rank)
    shifts = (w * m.shift for w, m in zip(_weights(node), maps, strict=True))
    return [Affine(scale, sum(shifts, np.zeros(())))]


def _choosing(condition: str, first: int, allow: Callable[[ir.Node, Affine], None]) -> Commute:
    """A rule for operators that give entries of their operands, which begin at input `first`: all of them
    take one map, and it passes under a condition. s·max(a, b) + t = max(s·a + t, s·b + t) for s >= 0."""

    def go_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
        map_ = data_map(outs, node)
        allow(node, map_)
        return [
            None
            if k < first or _is_own_image(value, map_, node, context)
            else _operand(map_, node, k, context)
            for k, value in enumerate(node.inputs)
        ]

    def go_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
        maps = [_result(m, node, k, context) for k, m in enumerate(ins) if m is not None]
        map_ = max(maps, key=lambda m: m.rank)
        allow(node, map_)
        common_shape(*(m.scale.shape for m in maps))
        others = (v for v, m in zip(node.inputs[first:], ins[first:], strict=True) if m is None)
        if not all(m.equals(map_) for m in maps) or not all(
            _is_own_image(value, map_, node, context) for value in others
        ):
            raise Refused(
                "kept.non-linear", f"{node.op_type} '{label(node)}' chooses between values whose maps differ"
            )
        return [map_]

    return Commute(condition, go_back, go_forward)


def _is_own_image(value: ir.Value | None, map_: Affine, node: ir.Node, context: CommuteContext) -> bool:
    """Is it a constant c with s·c + t = c, as the zero of max(x, 0)? Refuses any other constant: a threshold
    for each channel in the place of one is slower where runtimes know a Relu or a Clip."""
    if context.shapes.constants.tensor(value) is None:
        return False
    values = context.shapes.constants.array(value)
    if values is None or not map_.meets(values) or not np.all(map_(values) == values):
        raise Refused(
            "kept.non-linear",
            f"{node.op_type} '{label(node)}' stands in between, with a constant that the map would change",
        )
    return True


def _product_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """s·(a·b) = (s·a)·b; a quotient takes it in its numerator."""
    map_ = data_map(outs, node)
    no_shift(node, map_)
    if node.inputs[0] is node.inputs[-1]:
        raise Refused("kept.non-linear", f"{node.op_type} combines a value with itself")
    taker = 0 if is_op(node, "Div") else context.choices.pick(2)
    maps: Maps = [None, None]
    maps[taker] = _operand(map_, node, taker, context)
    return maps


def _product_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    """Scales pass a product; what a quotient divides by stays."""
    if is_op(node, "Div") and ins[1] is not None:
        raise Refused("kept.non-linear", "Div stands in between and has the value in its denominator")
    if all(m is not None for m in ins) and node.inputs[0] is node.inputs[1]:
        raise Refused("kept.non-linear", f"{node.op_type} combines a value with itself")
    out = IDENTITY
    for k, m in enumerate(ins):
        if m is not None:
            no_shift(node, m)
            out = _composed(out, _result(m, node, k, context), node)
    return [out]


def _contracted_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
    """A map goes to an operand that is computed at run time and has the axes along which it varies; a shift
    only where the sums of the other operand are equal."""
    map_, shapes = data_map(outs, node), context.shapes
    check_sizes(node, shapes)
    images = {
        index: image
        for index, value in enumerate(node.inputs)
        if value is not None
        and shapes.constants.tensor(value) is None
        and (image := behind_to_operand(node, index, map_, shapes)) is not None
    }
    if not images:
        raise Refused(
            "kept.wrong-axis",
            f"{node.op_type} '{label(node)}' stands in between, and no operand of run time has the axis "
            "along which the map varies",
        )
    if map_.shifts:
        sums = {index: sum_of_other(node, index, context) for index in images}
        # a matrix whose sums are zero gives no shift back
        images = {k: Affine(m.scale, m.shift / c) for k, m in images.items() if (c := sums[k])}
        if not images:
            raise _sums_differ(node)
    takers = list(images)
    taker = takers[context.choices.pick(len(takers)) if len(takers) > 1 else 0]
    return [images[taker] if index == taker else None for index in (0, 1)]


def _contracted_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
    """The same, the other way; the maps of both operands come together."""
    out = IDENTITY
    check_sizes(node, context.shapes)
    for index, map_ in enumerate(ins):
        if map_ is None:
            continue
        if (image := operand_to_behind(node, index, map_, context.shapes)) is None:
            raise _mixes(node)
        if map_.shifts:
            alone = ins[1 - index] is None
            if not alone or (times := sum_of_other(node, index, context)) is None:
                raise _sums_differ(node)
            image = Affine(image.scale, image.shift * times)
        out = _composed(out, image, node)
    return [out]


def _mixes(node: ir.Node) -> Refused:
    return Refused(
        "kept.wrong-axis", f"{node.op_type} '{label(node)}' mixes an axis along which the map varies"
    )


def _sums_differ(node: ir.Node) -> Refused:
    return Refused(
        "kept.shift-does-not-pass",
        f"{node.op_type} '{label(node)}' stands in between and lets no shift pass: the sums of what it "
        "multiplies by are not known to be equal",
    )


def _composed(outer: Affine, inner: Affine, node: ir.Node) -> Affine:
    """outer @ inner, where there is room for a pattern that varies along the axes of both."""
    check_room(common_shape(outer.scale.shape, inner.scale.shape), node)
    return outer @ inner


def _reduced_axes(node: ir.Node, context: CommuteContext) -> tuple[list[int], int]:
    rank = context.shapes.rank(node.inputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axes = reduced_axes(context.shapes, node, rank)
    if axes is None:
        raise Refused("kept.wrong-axis", f"the axes of {node.op_type} are not constant")
    _check_entries(node, axes, context)
    return axes, rank


def _check_entries(node: ir.Node, axes: Iterable[int], context: CommuteContext) -> None:
    """Refuse a reduction of nothing: runtimes put in what they like, which no map moves."""
    if any(context.shapes.dim(node.inputs[0], axis) == 0 for axis in axes):
        raise Refused("kept.non-linear", f"{node.op_type} '{label(node)}' reduces an axis without entries")


def _reducing(condition: str, allow: Callable[[ir.Node, Affine], None]) -> Commute:
    """A reduction that lets a map pass under a condition, where the map does not vary along what is
    reduced."""

    def go_back(node: ir.Node, outs: Maps, context: CommuteContext) -> Maps:
        map_ = data_map(outs, node)
        allow(node, map_)
        axes, _ = _reduced_axes(node, context)
        if map_.rank and not attribute(node, "keepdims", 1):
            map_ = map_.mapped(lambda a: np.expand_dims(a, tuple(axes)))
        uniform_over(map_, axes, node)
        return only_data(node, map_)

    def go_forward(node: ir.Node, ins: Maps, context: CommuteContext) -> Maps:
        map_ = data_map(ins, node)
        allow(node, map_)
        axes, _ = _reduced_axes(node, context)
        uniform_over(map_, axes, node)
        if map_.rank and not attribute(node, "keepdims", 1):
            map_ = map_.mapped(lambda a: np.squeeze(a, tuple(axes)))
        return [map_]

    return Commute(condition, go_back, go_forward)


def _anything(node: ir.Node, map_: Affine) -> None:
    """A mean, whose weights sum to one; a choice that does not depend on the values."""


_PICKED = Commute("always, as long as the channel axis can be traced", _moved_back, _moved_forward)
_MOVED = replace(_PICKED, lossless=True)
_HOMOGENEOUS = _passing("no scale is negative, and there is no shift", _homogeneous)
_RESIZING = _passing("always over space (weights sum to one); not where it crops and extrapolates", _resizing)
_CASTING = Commute(
    "between equal float types, or to a wider one; backward from 32 into 16 bits with --fold-into-half alone",
    _casting_back,
    _passing("", _casting).forward,
)
_SUM = Commute(
    "the scale goes to every summand, the shift to one; forward, the summands' scales must agree",
    _sum_back,
    _sum_forward,
)
_LARGEST = _choosing(
    "no scale is negative; every operand takes the map, and forward all must carry the same; a constant c "
    "where s·c + t = c",
    0,
    no_negative,
)
_PRODUCT = Commute("a scale alone, to one operand; never to a denominator", _product_back, _product_forward)
_CONTRACTION = Commute(
    "along axes of an operand that the result has too: a scale; a shift where the other operand is a "
    "Softmax's, which sums to one, or a constant whose sums are equal",
    _contracted_back,
    _contracted_forward,
)
_EXTREME = _reducing("no scale is negative, and the map does not vary along what is reduced", no_negative)

COMMUTES: dict[str, Commute] = {
    "Identity": _MOVED,
    "Transpose": _MOVED,
    "Reshape": _MOVED,
    "Flatten": _MOVED,
    "Squeeze": _MOVED,
    "Unsqueeze": _MOVED,
    "Slice": _PICKED,
    "Gather": _PICKED,
    "Tile": _MOVED,
    "Expand": _MOVED,
    "DepthToSpace": _MOVED,
    "SpaceToDepth": _MOVED,
    "Dropout": _passing("at inference, its mask not used", _dropping),
    "Cast": _CASTING,
    "CastLike": _CASTING,
    "Relu": _HOMOGENEOUS,
    "LeakyRelu": _HOMOGENEOUS,
    "PRelu": _passing(
        "no scale is negative, there is no shift, and the slope does not enlarge its input", _by_slope
    ),
    "Abs": _HOMOGENEOUS,
    "Clip": _passing(
        "no scale is negative, and every bound c has s·c + t = c, as the zero of a ReLU", _clipping
    ),
    "MaxPool": _passing(
        "no scale is negative, the indices are not used, and no window lies in padding alone", _pooled_maximum
    ),
    "GlobalMaxPool": _passing("no scale is negative", _whole_maximum),
    "AveragePool": _passing(
        "a scale always; a shift where padding and overhang are not counted, and no window lies in padding "
        "alone",
        _averaging,
    ),
    "GlobalAveragePool": _passing("always", _whole_average),
    "ReduceMean": _reducing("the map does not vary along what is reduced", _anything),
    "ReduceSum": _reducing("a scale alone, and the map does not vary along what is reduced", no_shift),
    "ReduceMax": _EXTREME,
    "ReduceMin": _EXTREME,
    "Resize": _RESIZING,
    "Upsample": _RESIZING,
    "Pad": Commute(
        "edge, reflect and wrap always, as where it only crops; a constant v where s·v + t = v in every "
        "channel",
        _pad_back,
        _pad_forward,
    ),
    "Concat": Commute(
        "each branch takes its part of the map; every branch must", _concat_back, _concat_forward
    ),
    "Split": Commute(
        "the map follows the channels; parts that carry none keep their values", _split_back, _split_forward
    ),
    "Add": _SUM,
    "Sub": _SUM,
    "Sum": _SUM,
    "Mean": replace(
        _SUM,
        condition="the scale goes to every operand, the shift as well, or times their number to one; "
        "forward, the operands' scales must agree",
    ),
    "Max": _LARGEST,
    "Min": _LARGEST,
    "Where": _choosing(
        "both values take the map, and forward both must carry the same; a constant c where s·c + t = c",
        1,
        _anything,
    ),
    "Mul": _PRODUCT,
    "Div": _PRODUCT,
    "MatMul": _CONTRACTION,
    "Einsum": _CONTRACTION,
}
