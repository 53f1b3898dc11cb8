"""What does an affine map become on the other side of this node? One row an operator in COMMUTES.

    back(node, outs)      maps that its outputs should carry   -> maps that its inputs must carry
    forward(node, ins)    maps that its inputs carry           -> maps that its outputs then carry

None stands for "no map". A row raises Refused where the operator does not let the map pass, with the
condition in words. Rearranging operators move maps by rearrange.py, operators of several values by
commute_many.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..inference.constants import is_float
from ..inference.node_arguments import reader
from ..ir.graph import attribute, ir, is_op, named_type, opset
from ..operators.arguments import windows
from .affine import Affine
from .commute_many import (
    anything,
    concat_back,
    concat_forward,
    matmul_back,
    matmul_forward,
    product_back,
    product_forward,
    reducing,
    split_back,
    split_forward,
    sum_back,
    sum_forward,
)
from .commute_rule import Commute, Maps, Site, data_map, no_negative, no_shift, only_data, uniform_over
from .rearrange import mover, read_in_parts
from .reasons import Refused

MOST_SIDES = 256  # inputs or outputs of a node that maps pass


def back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """Maps for the inputs, so that the outputs carry `outs`."""
    _check_fit(node, node.outputs, outs, site)
    return _rule(node, site).back(node, outs, site)


def forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """Maps that the outputs carry where the inputs carry `ins`."""
    _check_fit(node, node.inputs, ins, site)
    return _rule(node, site).forward(node, ins, site)


def check_sides(node: ir.Node) -> None:
    """Refuse a node of absurdly many inputs or outputs: where each of them is looked at for each, time is
    their square."""
    if max(len(node.inputs), len(node.outputs)) > MOST_SIDES:
        raise Refused(
            "kept.non-linear",
            f"{node.op_type} stands in between and has more than {MOST_SIDES} inputs or outputs",
        )


def _check_fit(node: ir.Node, values: Sequence[ir.Value | None], maps: Maps, site: Site) -> None:
    """A map has the axes of the value that it is on, or none. Where little is known of a network, its
    declarations may say otherwise."""
    for value, map_ in zip(values, maps, strict=True):
        shape = site.shapes.of(value) if map_ is not None and map_.rank else None
        if shape is None or map_ is None:
            continue
        if len(shape) != map_.rank or any(
            isinstance(shape[axis], int) and shape[axis] != map_.scale.shape[axis] for axis in map_.varies()
        ):
            raise Refused(
                "kept.contradictory",
                f"{node.op_type} stands in between, and its value has another shape than the map",
            )


def _rule(node: ir.Node, site: Site) -> Commute:
    check_sides(node)
    if site.shapes.contradicts(node):
        raise Refused(
            "kept.contradictory", f"{node.op_type} stands in between, and its arguments do not fit its inputs"
        )
    if any(a.is_ref() for a in node.attributes.values()):
        raise Refused(
            "kept.non-linear",
            f"{node.op_type} stands in between, with attributes set by its function's caller",
        )
    rule = COMMUTES.get(node.op_type) if node.domain == "" else None
    if rule is None:
        raise Refused("kept.non-linear", f"{node.op_type} stands in between and does not commute with it")
    return rule


def _moved_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    moved = mover(node, site.shapes)
    assert moved is not None
    map_ = data_map(outs, node)
    if map_.rank == 0 and read_in_parts(node):
        map_ = map_.lifted(site.shapes.rank(node.outputs[0]) or 0)
    return only_data(node, map_ if map_.rank == 0 else moved.pull(map_))


def _moved_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    moved = mover(node, site.shapes)
    assert moved is not None
    map_ = data_map(ins, node)
    return [map_ if map_.rank == 0 else moved.push(map_)]


def _passing(condition: str, allow: Callable[[ir.Node, Affine, Site], None]) -> Commute:
    """A rule for operators of one data input that let the map pass as it is, under a condition."""

    def go_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
        map_ = data_map(outs, node)
        allow(node, map_, site)
        return only_data(node, map_)

    def go_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
        map_ = data_map(ins, node)
        allow(node, map_, site)
        return [map_, *([None] * (len(node.outputs) - 1))]

    return Commute(condition, go_back, go_forward)


def _spatial(map_: Affine) -> range:
    return range(2, map_.rank)


def _homogeneous(node: ir.Node, map_: Affine, site: Site) -> None:
    """f(s·x) = s·f(x) for s >= 0: Relu and its kin, Abs."""
    no_shift(node, map_)
    no_negative(node, map_)


def _averaging(node: ir.Node, map_: Affine, site: Site) -> None:
    """A mean lets a scale pass always, a shift where nothing but real values is counted."""
    uniform_over(map_, _spatial(map_), node)
    counted = attribute(node, "count_include_pad", 0) or opset(site.model, node.graph) < 7
    overhang = any(w.may_pad or w.ceil for w in windows(reader(node), attribute(node, "kernel_shape")))
    if map_.shifts and counted and overhang:
        raise Refused("kept.shift-does-not-pass", "AveragePool counts padding, so no shift passes")


def _whole_average(node: ir.Node, map_: Affine, site: Site) -> None:
    uniform_over(map_, _spatial(map_), node)


def _maximum(node: ir.Node, map_: Affine, site: Site) -> None:
    """max(s·x + t) = s·max(x) + t for s >= 0; its indices would move where s = 0."""
    no_negative(node, map_)
    uniform_over(map_, _spatial(map_), node)
    if (
        len(node.outputs) > 1
        and node.outputs[1].name
        and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    ):
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
        training = mode is not None and (
            site.shapes.constants.array(mode) is None or bool(np.any(site.shapes.constants.array(mode)))
        )
    else:
        training = version < 7 and not attribute(node, "is_test", 0)
    if training:
        raise Refused("kept.non-linear", "Dropout is in training mode")
    if (
        len(node.outputs) > 1
        and node.outputs[1].name
        and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    ):
        raise Refused("kept.non-linear", "the mask of Dropout is used")


_BITS = {ir.DataType.FLOAT16: 16, ir.DataType.BFLOAT16: 16, ir.DataType.FLOAT: 32, ir.DataType.DOUBLE: 64}


def _casting(node: ir.Node, map_: Affine, site: Site) -> None:
    """Between equal types, or to a wider float type: everything that the narrow type holds survives."""
    x = node.inputs[0]
    like = node.inputs[1] if is_op(node, "CastLike") else None
    to = named_type(node) if like is None else site.shapes.dtype(like)
    source = site.shapes.dtype(x)
    if (
        source is None
        or to is None
        or not (is_float(source) and is_float(to))
        or (source != to and _BITS[to] <= _BITS[source])
    ):
        raise Refused("kept.type", f"{node.op_type} stands in between and does not widen a float type")


def _pad_condition(node: ir.Node, map_: Affine, site: Site) -> None:
    """A constant pad is a new value v: it must be its own image, s·v + t = v, in every channel."""
    if attribute(node, "mode", "constant") != "constant":
        return
    value = attribute(node, "value", 0.0)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        found = site.shapes.constants.array(node.inputs[2])
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


def _pad_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    _pad_condition(node, data_map(outs, node), site)
    return _moved_back(node, outs, site)


def _pad_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    _pad_condition(node, data_map(ins, node), site)
    return _moved_forward(node, ins, site)


_MOVED = Commute("always, as long as the channel axis can be traced", _moved_back, _moved_forward)
_HOMOGENEOUS = _passing("no scale is negative, and there is no shift", _homogeneous)
_MAXIMUM = _passing("no scale is negative, and the indices are not used", _maximum)
_RESIZING = _passing("always over space (weights sum to one); not where it crops and extrapolates", _resizing)
_CASTING = _passing("between equal float types, or to a wider one", _casting)
_SUM = Commute(
    "the scale goes to every summand, the shift to one; forward, the summands' scales must agree",
    sum_back,
    sum_forward,
)
_PRODUCT = Commute("a scale alone, to one operand; never to a denominator", product_back, product_forward)
_EXTREME = reducing("no scale is negative, and the map does not vary along what is reduced", no_negative)

COMMUTES: dict[str, Commute] = {
    "Identity": _MOVED,
    "Transpose": _MOVED,
    "Reshape": _MOVED,
    "Flatten": _MOVED,
    "Squeeze": _MOVED,
    "Unsqueeze": _MOVED,
    "Slice": _MOVED,
    "Gather": _MOVED,
    "Tile": _MOVED,
    "Expand": _MOVED,
    "DepthToSpace": _MOVED,
    "SpaceToDepth": _MOVED,
    "Dropout": _passing("at inference, its mask not used", _dropping),
    "Cast": _CASTING,
    "CastLike": _CASTING,
    "Relu": _HOMOGENEOUS,
    "LeakyRelu": _HOMOGENEOUS,
    "PRelu": _HOMOGENEOUS,
    "Abs": _HOMOGENEOUS,
    "MaxPool": _MAXIMUM,
    "GlobalMaxPool": _MAXIMUM,
    "AveragePool": _passing("a scale always; a shift where padding and overhang are not counted", _averaging),
    "GlobalAveragePool": _passing("always", _whole_average),
    "ReduceMean": reducing("the map does not vary along what is reduced", anything),
    "ReduceSum": reducing("a scale alone, and the map does not vary along what is reduced", no_shift),
    "ReduceMax": _EXTREME,
    "ReduceMin": _EXTREME,
    "Resize": _RESIZING,
    "Upsample": _RESIZING,
    "Pad": Commute(
        "edge, reflect and wrap always; a constant v where s·v + t = v in every channel",
        _pad_back,
        _pad_forward,
    ),
    "Concat": Commute(
        "each branch takes its part of the map; every branch must", concat_back, concat_forward
    ),
    "Split": Commute(
        "the map follows the channels; parts that carry none keep their values", split_back, split_forward
    ),
    "Add": _SUM,
    "Sub": _SUM,
    "Sum": _SUM,
    "Mul": _PRODUCT,
    "Div": _PRODUCT,
    "MatMul": Commute(
        "of two run-time matrices: a scale alone, along the rows of the first or the columns of the second",
        matmul_back,
        matmul_forward,
    ),
}
