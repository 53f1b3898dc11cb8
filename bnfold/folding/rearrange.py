"""How operators that only move values around act on a map: by moving the map.

If y is a rearrangement of x, a map of x becomes the same rearrangement of the map, and a map of y comes from
a map of x exactly where every value of x that is read meets one single map. A mover therefore has two
functions on patterns (see affine.py):

    forward(a)   the pattern on the far side
    back(a)      the pattern on the near side; values that nobody reads get `blank` (1 for a scale, 0 for a
                 shift)

Movers only ever look at axes along which a pattern varies, so sizes that are not known do not matter
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..inference import Shape, Shapes
from ..inference.node_arguments import cuts as cuts_of
from ..inference.node_arguments import paddings
from ..ir.graph import attribute, ir, usages
from ..operators.arguments import Cut, permutation
from ..records import dataclass
from .affine import Affine, Float
from .reasons import Refused
from .reshape_axes import axis_of, check_room, dim_groups, regrouped, unclear


@dataclass(frozen=True)
class Mover:
    """The two directions; `blank` is passed to `back` for values that are not read."""

    forward: Callable[[Float], Float]
    back: Callable[[Float, float], Float]

    def push(self, map_: Affine) -> Affine:
        """The map on the far side."""
        return Affine(self.forward(map_.scale), self.forward(map_.shift)).compact()

    def pull(self, map_: Affine) -> Affine:
        """The map on the near side."""
        return Affine(self.back(map_.scale, 1.0), self.back(map_.shift, 0.0)).compact()


def mover(node: ir.Node, shapes: Shapes) -> Mover | None:
    """The mover of a node, None where the operator is no rearrangement. Raises Refused where its arguments
    are not known."""
    maker = MOVERS.get(node.op_type) if node.domain == "" else None
    return maker(node, shapes) if maker else None


def _known(shapes: Shapes, value: ir.Value | None) -> Shape:
    shape = shapes.of(value)
    if shape is None:
        raise Refused("kept.unknown-rank")
    return shape


def _integers(shapes: Shapes, value: ir.Value | None) -> np.ndarray | None:
    """The values of a constant that counts or points, None where they are not known."""
    found = shapes.constants.array(value)
    return found.astype(np.int64) if found is not None and found.dtype.kind in "iu" else None


def _agreeing(a: Float, axis: int, node: ir.Node) -> None:
    if a.shape[axis] != 1:
        raise unclear(node, "the map varies along an axis that it mixes")


def _transpose(node: ir.Node, shapes: Shapes) -> Mover:
    rank = len(_known(shapes, node.inputs[0]))
    try:
        order = permutation(attribute(node, "perm"), rank)
    except ValueError as error:
        raise unclear(node, "its permutation does not fit its input") from error
    inverse = np.argsort(order)
    return Mover(lambda a: a.transpose(order), lambda a, blank: a.transpose(inverse))


def _reshaped(node: ir.Node, shapes: Shapes) -> Mover:
    """Reshape, Flatten, Squeeze, Unsqueeze: dims fall into groups whose products agree; inside a group order
    is row-major."""
    before, after = _known(shapes, node.inputs[0]), _known(shapes, node.outputs[0])
    groups = dim_groups(before, after)
    return Mover(
        lambda a: regrouped(a, groups, before, after, node),
        lambda a, blank: regrouped(a, [(far, near) for near, far in groups], after, before, node),
    )


def read_in_parts(node: ir.Node) -> bool:
    """Is this a slice of a value that others read too?"""
    value = node.inputs[0]
    return node.op_type == "Slice" and value is not None and len(usages(value)) > 1


def _slice(node: ir.Node, shapes: Shapes) -> Mover:
    shape = _known(shapes, node.inputs[0])
    return _cutting(node, shape, cuts_of(shapes, node, len(shape)))


def _cutting(node: ir.Node, shape: Shape, cuts: Sequence[Cut | None] | None) -> Mover:
    """What takes a part of each axis."""
    others = read_in_parts(node)  # then what is cut away must be left as it is

    def known(axis: int) -> Cut:
        if cuts is None or (cut := cuts[axis]) is None:
            raise unclear(node, "its bounds are not constant")
        return cut

    def forward(a: Float) -> Float:
        for axis, size in enumerate(a.shape):
            if size != 1:
                a = a[(slice(None),) * axis + (known(axis).index(size),)]
        return a

    def back(a: Float, blank: float) -> Float:
        for axis, dim in enumerate(shape):
            cut = known(axis) if a.shape[axis] != 1 else None if cuts is None else cuts[axis]
            if (
                cut is not None
                and not cut.whole
                and (a.shape[axis] != 1 or (others and isinstance(dim, int)))
            ):
                if not isinstance(dim, int):
                    raise unclear(node, "the size of the axis that it cuts is not known")
                check_room((*a.shape[:axis], dim, *a.shape[axis + 1 :]), node)
                whole = np.full((*a.shape[:axis], dim, *a.shape[axis + 1 :]), blank)
                whole[(slice(None),) * axis + (cut.index(dim),)] = a
                a = whole
        return a

    return Mover(forward, back)


def _gather(node: ir.Node, shapes: Shapes) -> Mover:
    shape = _known(shapes, node.inputs[0])
    axis = axis_of(node, len(shape))
    indices = _integers(shapes, node.inputs[1])
    rank = shapes.rank(node.inputs[1])
    if rank is None:
        raise Refused("kept.unknown-rank")
    index_rank = rank

    def forward(a: Float) -> Float:
        if a.shape[axis] == 1:
            return a.reshape((*a.shape[:axis], *(1,) * index_rank, *a.shape[axis + 1 :]))
        if indices is None:
            raise unclear(node, "its indices are not constant")
        if np.any((indices < -a.shape[axis]) | (indices >= a.shape[axis])):
            raise unclear(node, "its indices are outside of its input")
        check_room((*a.shape[:axis], indices.size, *a.shape[axis + 1 :]), node)
        return np.take(a, indices, axis)

    def back(a: Float, blank: float) -> Float:
        far = a.shape[axis : axis + index_rank]
        rest = (*a.shape[:axis], *a.shape[axis + index_rank :])
        if all(size == 1 for size in far) and not (indices is not None and indices.size == 1):
            return a.reshape(*a.shape[:axis], 1, *a.shape[axis + index_rank :])
        dim = shape[axis]
        if indices is None or not isinstance(dim, int):
            raise unclear(node, "its indices are not constant")
        check_room((*a.shape[:axis], indices.size, *a.shape[axis + index_rank :]), node)
        flat = np.broadcast_to(a, (*a.shape[:axis], *indices.shape, *a.shape[axis + index_rank :]))
        flat = np.moveaxis(
            flat.reshape(*a.shape[:axis], indices.size, *a.shape[axis + index_rank :]), axis, 0
        )
        return _scattered(flat, indices.reshape(-1) % dim, dim, axis, rest, blank, node)

    return Mover(forward, back)


def _scattered(
    flat: Float, indices: np.ndarray, dim: int, axis: int, rest: tuple[int, ...], blank: float, node: ir.Node
) -> Float:
    check_room((dim, *rest), node)
    whole = np.full((dim, *rest), blank)
    whole[indices] = flat
    if not np.array_equal(whole[indices], flat):
        raise Refused("kept.ambiguous-maps", f"{node.op_type} copies a channel to places with different maps")
    return np.moveaxis(whole, 0, axis)


def _tile(node: ir.Node, shapes: Shapes) -> Mover:
    shape = _known(shapes, node.inputs[0])
    repeats = _integers(shapes, node.inputs[1])

    def forward(a: Float) -> Float:
        counts = [1 if size == 1 else _count(axis) for axis, size in enumerate(a.shape)]
        check_room([size * count for size, count in zip(a.shape, counts, strict=True)], node)
        return np.tile(a, counts)

    def back(a: Float, blank: float) -> Float:
        for axis, size in enumerate(a.shape):
            dim = shape[axis]
            if size == 1 or _count(axis) == 1:
                continue
            if not isinstance(dim, int) or size != dim * _count(axis):
                raise unclear(node, "the size of the axis that it repeats is not known")
            once = a[(slice(None),) * axis + (slice(0, dim),)]
            if not np.array_equal(np.concatenate([once] * _count(axis), axis), a):
                raise Refused("kept.ambiguous-maps", "Tile copies a channel to places with different maps")
            a = once
        return a

    def _count(axis: int) -> int:
        if repeats is None:
            raise unclear(node, "its repeats are not constant")
        return int(repeats[axis])

    return Mover(forward, back)


def _expand(node: ir.Node, shapes: Shapes) -> Mover:
    before, after = _known(shapes, node.inputs[0]), _known(shapes, node.outputs[0])
    lead = len(after) - len(before)

    def forward(a: Float) -> Float:
        return a.reshape((1,) * lead + a.shape)

    def back(a: Float, blank: float) -> Float:
        for axis, size in enumerate(a.shape):
            if size != 1 and (axis < lead or before[axis - lead] != after[axis]):
                raise Refused("kept.ambiguous-maps", "Expand copies a channel to places with different maps")
        return a.reshape(a.shape[lead:])

    return Mover(forward, back)


_CONFLICTS = {
    "DepthToSpace": "puts channels with different maps into one",
    "SpaceToDepth": "makes channels with different maps of one",
}


def _depth_to_space(node: ir.Node, shapes: Shapes) -> Mover:
    """DCR: input channel = (block row, block column, channel); CRD: (channel, block row, block column)."""
    block = int(attribute(node, "blocksize"))
    crd = attribute(node, "mode", "DCR") == "CRD"
    if len(_known(shapes, node.inputs[0])) != 4 or block < 1:
        raise unclear(node, "its input is no picture")

    def forward(a: Float) -> Float:
        for axis in (0, 2, 3):
            _agreeing(a, axis, node)
        if a.size == 1:
            return a
        if a.size % (block * block):
            raise unclear(node, "its blocks do not fit its channels")
        parts = a.reshape(-1, block * block) if crd else a.reshape(block * block, -1).T
        if not np.array_equal(parts, np.broadcast_to(parts[:, :1], parts.shape)):
            raise Refused("kept.ambiguous-maps", f"{node.op_type} {_CONFLICTS[node.op_type]}")
        return parts[:, :1].reshape(1, -1, 1, 1)

    def back(a: Float, blank: float) -> Float:
        for axis in (0, 2, 3):
            _agreeing(a, axis, node)
        if a.size == 1:
            return a
        check_room((a.size, block, block), node)
        return (
            np.repeat(a.reshape(-1), block * block) if crd else np.tile(a.reshape(-1), block * block)
        ).reshape(1, -1, 1, 1)

    return Mover(forward, back)


def _space_to_depth(node: ir.Node, shapes: Shapes) -> Mover:
    """Output channel = (block row, block column, channel)."""
    there = _depth_to_space(node, shapes)
    return Mover(lambda a: there.back(a, 0.0), lambda a, blank: there.forward(a))


def _identity(node: ir.Node, shapes: Shapes) -> Mover:
    return Mover(lambda a: a, lambda a, blank: a)


def crops(node: ir.Node, shapes: Shapes) -> bool:
    """Does a Pad add nothing? Negative pads cut."""
    return _only_cut(paddings(shapes, node, len(_known(shapes, node.inputs[0]))))


def _only_cut(pads: Sequence[tuple[int, int]] | None) -> bool:
    return pads is not None and not any(n > 0 for pair in pads for n in pair)


def _pad(node: ir.Node, shapes: Shapes) -> Mover:
    """Edge, reflect and wrap copy values along the axes that they pad; a constant is handled by the caller
    (commute.py). What only crops is a slice."""
    shape = _known(shapes, node.inputs[0])
    pads = paddings(shapes, node, len(shape))
    if pads is not None and _only_cut(pads):
        return _cutting(
            node, shape, [Cut(-before, after) if after else Cut(-before) for before, after in pads]
        )

    def unpadded(a: Float) -> Float:
        for axis, size in enumerate(a.shape):
            if size != 1 and (pads is None or any(pads[axis])):
                raise unclear(node, "it pads an axis along which the map varies")
        return a

    return Mover(unpadded, lambda a, blank: unpadded(a))


MOVERS: dict[str, Callable[[ir.Node, Shapes], Mover]] = {
    "Identity": _identity,
    "Transpose": _transpose,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Slice": _slice,
    "Gather": _gather,
    "Tile": _tile,
    "Expand": _expand,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Pad": _pad,
}
