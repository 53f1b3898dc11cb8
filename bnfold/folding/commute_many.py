"""Rows of commute.py for operators with several inputs or outputs, and for reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..inference.node_arguments import reader, reduced_axes, split_sizes
from ..ir.graph import attribute, ir, is_op, label
from ..operators.arguments import first_axis
from .affine import IDENTITY, Affine, common_shape
from .commute_rule import Commute, Maps, Site, data_map, no_shift, only_data, uniform_over
from .reasons import Refused
from .reshape_axes import axis_of, check_room


def _concat_axis(node: ir.Node, site: Site) -> tuple[int, list[int | None], int]:
    """(axis, sizes of the parts along it, rank)."""
    rank = site.shapes.rank(node.outputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axis = axis_of(node, rank)
    return axis, [site.shapes.dim(v, axis) for v in node.inputs], rank


def concat_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """Each part gets its slice of the map."""
    map_ = data_map(outs, node)
    axis, sizes, rank = _concat_axis(node, site)
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


def concat_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """The parts' maps, laid end to end."""
    axis, sizes, rank = _concat_axis(node, site)
    maps = [_lifted(m or IDENTITY, rank, node) for m in ins]
    if all(m.equals(maps[0]) and axis not in m.varies() for m in maps):
        return [maps[0]]
    if any(size is None for size in sizes):
        raise Refused("kept.wrong-axis", "Concat stands in between and the sizes of its parts are not known")
    return [_laid(maps, axis, [s for s in sizes if s is not None], node)]


def _split_parts(node: ir.Node, site: Site) -> tuple[int, list[int]]:
    shape = site.shapes.of(node.inputs[0])
    if shape is None:
        raise Refused("kept.unknown-rank")
    axis = axis_of(node, len(shape))
    sizes = split_sizes(site.shapes, node, shape[axis])
    if sizes is None:
        raise Refused("kept.wrong-axis", "Split stands in between and the sizes of its parts are not known")
    return axis, sizes


def split_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """The outputs' maps, laid end to end; an output that carries none keeps its values."""
    axis, sizes = _split_parts(node, site)
    rank = site.shapes.rank(node.inputs[0]) or 0
    maps = [_lifted(m or IDENTITY, rank, node) for m in outs]
    return only_data(node, _laid(maps, axis, sizes, node))


def split_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """Each output gets its slice of the map."""
    map_ = data_map(ins, node)
    axis, sizes = _split_parts(node, site)
    if map_.rank == 0 or axis not in map_.varies():
        return [map_] * len(node.outputs)
    return _cut(map_, axis, sizes)


def _operand(map_: Affine, node: ir.Node, index: int, site: Site) -> Affine:
    """A map of a broadcasting operator's output as a map of one operand: it must not vary where the operand
    is stretched."""
    if map_.rank == 0:
        return map_
    shape, out = site.shapes.of(node.inputs[index]), site.shapes.of(node.outputs[0])
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


def _result(map_: Affine, node: ir.Node, index: int, site: Site) -> Affine:
    """A map of one operand as a map of a broadcasting operator's output."""
    if map_.rank == 0:
        return map_
    rank = site.shapes.rank(node.outputs[0])
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


def sum_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """s·(a + b) + t = (s·a + t) + s·b: the scale to every summand, the shift to one of them; x + x shares
    it."""
    map_ = data_map(outs, node)
    signs = [1.0, -1.0] if is_op(node, "Sub") else [1.0] * len(node.inputs)
    if map_.shifts and len(set(node.inputs)) == 1 and all(s > 0 for s in signs):
        share = Affine(map_.scale, map_.shift / len(node.inputs))
        return [_operand(share, node, k, site) for k in range(len(node.inputs))]
    taker = site.choices.pick(len(node.inputs)) if map_.shifts else 0
    return [
        _operand(Affine(map_.scale, sign * map_.shift) if k == taker else map_.scale_only(), node, k, site)
        for k, sign in enumerate(signs)
    ]


def sum_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """Equal scales pass a sum, and its shifts add up."""
    signs = [1.0, -1.0] if is_op(node, "Sub") else [1.0] * len(node.inputs)
    maps = [_result(m, node, k, site) if m is not None else IDENTITY for k, m in enumerate(ins)]
    common_shape(*(m.scale.shape for m in maps))
    if any(not np.all(m.scale == maps[0].scale) for m in maps[1:]):
        raise Refused("kept.non-linear", f"{node.op_type} '{label(node)}' adds values whose scales differ")
    rank = max(m.rank for m in maps)
    scale = next(m.scale for m in maps if m.rank == rank)
    return [Affine(scale, sum((sign * m.shift for sign, m in zip(signs, maps, strict=True)), np.zeros(())))]


def product_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """s·(a·b) = (s·a)·b; a quotient takes it in its numerator."""
    map_ = data_map(outs, node)
    no_shift(node, map_)
    if node.inputs[0] is node.inputs[-1]:
        raise Refused("kept.non-linear", f"{node.op_type} combines a value with itself")
    taker = 0 if is_op(node, "Div") else site.choices.pick(2)
    maps: Maps = [None, None]
    maps[taker] = _operand(map_, node, taker, site)
    return maps


def product_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """Scales pass a product; what a quotient divides by stays."""
    if is_op(node, "Div") and ins[1] is not None:
        raise Refused("kept.non-linear", "Div stands in between and has the value in its denominator")
    if all(m is not None for m in ins) and node.inputs[0] is node.inputs[1]:
        raise Refused("kept.non-linear", f"{node.op_type} combines a value with itself")
    out = IDENTITY
    for k, m in enumerate(ins):
        if m is not None:
            no_shift(node, m)
            out = _composed(out, _result(m, node, k, site), node)
    return [out]


def matmul_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
    """A scale of a product of two run-time matrices goes to the rows of the first or to the columns of the
    second."""
    map_ = data_map(outs, node)
    no_shift(node, map_)
    ranks = [site.shapes.rank(v) for v in node.inputs]
    if map_.rank == 0:
        taker = site.choices.pick(2)
        return [map_, None] if taker == 0 else [None, map_]
    for index, axis in ((0, -2), (1, -1)):
        if map_.varies() == (map_.rank + axis,) and ranks[index] is not None and (ranks[index] or 0) >= 2:
            vector = map_.scale.reshape(-1)
            shape = (-1, 1) if axis == -2 else (1, -1)
            pattern = vector.reshape((1,) * ((ranks[index] or 0) - 2) + shape)
            maps: Maps = [None, None]
            maps[index] = Affine(pattern, np.zeros_like(pattern))
            return maps
    raise Refused(
        "kept.wrong-axis",
        f"MatMul '{label(node)}' of two run-time matrices mixes an axis along which the map varies",
    )


def matmul_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
    """Scales of the rows of the first, or of the columns of the second, are scales of the product."""
    rank = site.shapes.rank(node.outputs[0])
    out = IDENTITY
    for index, axis in ((0, -2), (1, -1)):
        map_ = ins[index]
        if map_ is None:
            continue
        no_shift(node, map_)
        if map_.rank and (rank is None or map_.rank < 2 or any(a != map_.rank + axis for a in map_.varies())):
            raise Refused(
                "kept.wrong-axis",
                f"MatMul '{label(node)}' of two run-time matrices mixes an axis along which the map varies",
            )
        if map_.rank:
            map_ = map_.mapped(lambda a: a.reshape((1,) * ((rank or 0) - 2) + a.shape[-2:]))
        out = _composed(out, map_, node)
    return [out]


def _composed(outer: Affine, inner: Affine, node: ir.Node) -> Affine:
    """outer @ inner, where there is room for a pattern that varies along the axes of both."""
    check_room(common_shape(outer.scale.shape, inner.scale.shape), node)
    return outer @ inner


def _reduced_axes(node: ir.Node, site: Site) -> tuple[list[int], int]:
    rank = site.shapes.rank(node.inputs[0])
    if rank is None:
        raise Refused("kept.unknown-rank")
    axes = reduced_axes(site.shapes, node, rank)
    if axes is None:
        raise Refused("kept.wrong-axis", f"the axes of {node.op_type} are not constant")
    return axes, rank


def reducing(condition: str, allow: Callable[[ir.Node, Affine], None]) -> Commute:
    """A reduction that lets a map pass under a condition, where the map does not vary along what is
    reduced."""

    def go_back(node: ir.Node, outs: Maps, site: Site) -> Maps:
        map_ = data_map(outs, node)
        allow(node, map_)
        axes, _ = _reduced_axes(node, site)
        if map_.rank and not attribute(node, "keepdims", 1):
            map_ = map_.mapped(lambda a: np.expand_dims(a, tuple(axes)))
        uniform_over(map_, axes, node)
        return only_data(node, map_)

    def go_forward(node: ir.Node, ins: Maps, site: Site) -> Maps:
        map_ = data_map(ins, node)
        allow(node, map_)
        axes, _ = _reduced_axes(node, site)
        uniform_over(map_, axes, node)
        if map_.rank and not attribute(node, "keepdims", 1):
            map_ = map_.mapped(lambda a: np.squeeze(a, tuple(axes)))
        return [map_]

    return Commute(condition, go_back, go_forward)


def anything(node: ir.Node, map_: Affine) -> None:
    """A mean: weights sum to one."""
