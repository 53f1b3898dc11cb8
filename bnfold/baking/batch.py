"""A batch that is left open, in a model whose text fixes it.

The network is read with two batches, and the two graphs are held side by side: what differs is where the
batch is written. In the shape of a Reshape it becomes 0 (as it comes in) or -1; anywhere else the node
forbids an open batch. Sizes of values that differ are the batch, or are left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from ..errors import BnfoldError, Unsupported
from ..ir import tensor
from ..ir.difference import same_bytes
from ..ir.graph import ir, is_op, label, source_text
from ..results.model_names import fed
from ..results.options import ReadOptions, spelled
from ..results.plan import Loaded

BATCH = "N"
ONE, OTHER = 2, 3  # two batches that no size of a layer is likely to follow
_SMALL = 1 << 12  # elements of a constant that may hold sizes


def with_dynamic_batch(read: Callable[[ReadOptions], Loaded], options: ReadOptions, found: Loaded) -> Loaded:
    """The model that was read, for any batch. Raises Unsupported with the node that forbids it."""
    inputs = list(fed(found.model).values())
    if not inputs or inputs[0].shape is None or not len(inputs[0].shape):
        return found
    own = inputs[0].shape[0]
    batched = [one for one in inputs if one.shape is not None and len(one.shape) and one.shape[0] == own]
    first, second = (_read(read, options, found, batched, size) for size in (ONE, OTHER))
    _Open(first.model, second.model).run({one.name or "" for one in batched})
    return replace(found, model=first.model, as_read=False)


def _read(
    read: Callable[[ReadOptions], Loaded],
    options: ReadOptions,
    found: Loaded,
    batched: list[ir.Value],
    size: int,
) -> Loaded:
    """The network with another batch."""
    shapes = {
        value.name or "": tuple(d for d in value.shape or () if isinstance(d, int))
        for value in fed(found.model).values()
    }
    shapes |= {one.name or "": (size, *shapes[one.name or ""][1:]) for one in batched}
    try:
        return read(replace(options, input_shapes=tuple(shapes.items())))
    except BnfoldError as error:
        raise Unsupported(
            f"{spelled('dynamic_batch')}: with a batch of {size} the network cannot be read ({error.found})",
            where=error.where,
            way_out=f"leave {spelled('dynamic_batch')} out",
        ) from error


class _Open:
    """Two readings of a network that differ in their batch alone."""

    def __init__(self, first: ir.Model, second: ir.Model) -> None:
        self.first, self.second = first, second

    def run(self, inputs: set[str]) -> None:
        """Leave the batch of the first one open."""
        for node, other in zip_longest(self.first.graph, self.second.graph):
            if node is None or other is None or (node.op_type, node.name) != (other.op_type, other.name):
                raise self._forbidden(node or other, "is another one for each batch")
            self._constants(node, other)
        pairs = [*zip(self.first.graph.inputs, self.second.graph.inputs, strict=True), *self._values()]
        for value, twin in pairs:
            value.shape = _opened(value.shape, twin.shape)
        for one in self.first.graph.inputs:
            if one.name in inputs and one.shape is not None:
                one.shape = ir.Shape([BATCH, *list(one.shape)[1:]])

    def _values(self) -> Iterator[tuple[ir.Value, ir.Value]]:
        for node, other in zip(self.first.graph, self.second.graph, strict=True):
            yield from zip(node.outputs, other.outputs, strict=True)

    def _constants(self, node: ir.Node, other: ir.Node) -> None:
        if _attributes(node) != _attributes(other):
            raise self._forbidden(node, "has the batch in its attributes")
        for index, (value, twin) in enumerate(zip_longest(node.inputs, other.inputs)):
            mine, theirs = (None if v is None else v.const_value for v in (value, twin))
            if mine is None or theirs is None or _same(mine, theirs):
                continue
            if not is_op(node, "Reshape") or index != 1:
                raise self._forbidden(node, "has the batch in a constant")
            before = list(zip(_sizes(node.inputs[0]), _sizes(other.inputs[0]), strict=False))
            self._reshape(node, mine, theirs, before)

    def _reshape(
        self,
        node: ir.Node,
        mine: ir.TensorProtocol,
        theirs: ir.TensorProtocol,
        before: list[tuple[object, object]],
    ) -> None:
        """Where the batch stands alone, in the place that it had `before` (sizes in both readings), it is
        taken over; elsewhere, and where it is multiplied, it is computed."""
        one, other = (array.numpy().reshape(-1).tolist() for array in (mine, theirs))
        places = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
        if len(one) != len(other) or len(places) != 1:
            raise self._forbidden(node, "has the batch in several places of its shape")
        place = places[0]
        copies = one[place] == ONE and place < len(before) and before[place] == (ONE, OTHER)
        if not copies and -1 in one:
            raise self._forbidden(node, "computes a size besides the batch")
        one[place] = 0 if copies else -1
        value = node.inputs[1]
        assert value is not None
        stored = tensor.from_array(np.array(one, np.int64), value.name)
        if len(value.uses()) == 1:
            value.const_value = stored
            return
        name = f"{value.name}/{label(node)}"
        own = ir.Value(name=name, shape=ir.Shape([len(one)]), type=value.type, const_value=stored)
        stored.name = name
        self.first.graph.register_initializer(own)
        node.replace_input_with(1, own)

    def _forbidden(self, node: ir.Node, why: str) -> Unsupported:
        return Unsupported(
            f"{spelled('dynamic_batch')}: {node.op_type} '{label(node)}' {why}",
            where=source_text(node) or None,
            way_out=f"leave {spelled('dynamic_batch')} out, or cut the network before it with "
            f"{spelled('cut_at', 'BLOB')}",
        )


def _sizes(value: ir.Value | None) -> list[object]:
    return list(value.shape) if value is not None and value.shape is not None else []


def _same(mine: ir.TensorProtocol, theirs: ir.TensorProtocol) -> bool:
    """Weights are windows of one file: those of one shape are one."""
    if tensor.dims(mine) != tensor.dims(theirs) or mine.dtype != theirs.dtype:
        return False
    return (mine.size > _SMALL and mine.dtype.is_floating_point()) or same_bytes(mine, theirs)


def _attributes(node: ir.Node) -> dict[str, str]:
    return {name: str(attribute.value) for name, attribute in node.attributes.items()}


def _opened(shape: ir.Shape | None, twin: ir.Shape | None) -> ir.Shape | None:
    if shape is None or twin is None or len(shape) != len(twin):
        return None
    return ir.Shape(
        [a if a == b else BATCH if (a, b) == (ONE, OTHER) else None for a, b in zip(shape, twin, strict=True)]
    )
