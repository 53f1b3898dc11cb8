"""A model without the channels that leave: filters and their bias, entries of batch norms, the slices of
every reader, and constants moved into biases.

REWRITES has a row for every operator whose arguments say how many channels there are. Weights stay in their
file: a slice of one is a recipe, which the writer evaluates block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field

import numpy as np

from ..folding.edit import Editor
from ..folding.linear import Linear
from ..folding.unused import drop_unread
from ..inference import node_arguments
from ..ir import tensor
from ..ir.graph import attribute, ir, label, opset, slimmed_name, source_text
from ..ir.provenance import SLIMMED_KEY, SOURCE_KEY
from ..operators.arguments import resize_inputs
from ..records import dataclass
from .groups import Mask
from .intervals import ARITHMETIC
from .linear_rules import groups_of
from .selection import Selection
from .trace import Trace


@dataclass
class Rewriting:
    """The model of a trace, losing what a selection says. `taken`: what the constants that leave add to each
    linear operator's outputs."""

    trace: Trace
    selection: Selection
    taken: dict[ir.Node, np.ndarray]
    editor: Editor = field(init=False)

    def __post_init__(self) -> None:
        self.editor = Editor(self.trace.model, self.trace.shapes)

    def run(self) -> dict[ir.Value, tuple[int, int]]:
        """Carry it out; every value that has become smaller, with its axis and size."""
        smaller: dict[ir.Value, tuple[int, int]] = {}
        for value, channels in self.trace.channels.items():
            kept = self.selection.kept(channels)
            if not kept.all():
                smaller[value] = channels.axis, int(kept.sum())
        for node in self.trace.nodes:
            rewrite = REWRITES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if rewrite is not None and self._is_touched(node, smaller):
                rewrite(self, node)
                self._mark(node)
        for value, (axis, size) in smaller.items():
            _shrink(self.editor, value, axis, size)
            for count in self.trace.counts.get(value, ()):
                count.name = self.editor.names.value(slimmed_name(count.name))
        for node, taken in self.taken.items():
            if self.trace.linears[node][0].bias is None and taken.any():
                self._add_behind(node, taken)
        drop_unread(self.trace.model, self.editor.replaced)
        return smaller

    def _is_touched(self, node: ir.Node, smaller: dict[ir.Value, tuple[int, int]]) -> bool:
        return any(v in smaller for v in (*node.inputs, *node.outputs) if v is not None)

    def _mark(self, node: ir.Node) -> None:
        """What was done to the node travels with it."""
        node.metadata_props[SLIMMED_KEY] = "channels"
        if source := source_text(node):
            node.metadata_props.setdefault(SOURCE_KEY, source)

    def kept(self, value: ir.Value | None) -> Mask | None:
        """Which channels of a value stay; None where all do."""
        channels = self.trace.of(value)
        kept = None if channels is None else self.selection.kept(channels)
        return None if kept is None or kept.all() else kept

    def put(self, node: ir.Node, index: int, stored: ir.TensorProtocol, *how: object) -> None:
        """Give the node another constant."""
        old = node.inputs[index] if index < len(node.inputs) else None
        like = old or node.outputs[0]
        wish = slimmed_name(old.name if old is not None else f"{label(node)}/{index}")
        value = self.editor.put_once(stored, like, wish, node, index, *map(str, how))
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)
        if old is not None:
            self.editor.replaced.append(old)

    def put_row(self, node: ir.Node, index: int, numbers: list[int], name: str) -> None:
        """Integers of an argument, where the node has them: an attribute, or an input."""
        if name in node.attributes:
            node.attributes[name] = ir.AttrInt64s(name, numbers)
            return
        given = node.inputs[index] if index < len(node.inputs) else None
        old = self.trace.shapes.constants.tensor(given)
        stored = tensor.from_array(np.array(numbers, np.int64 if old is None else old.dtype.numpy()))
        self.put(node, index, stored, node.op_type, label(node), numbers)

    def _add_behind(self, node: ir.Node, taken: np.ndarray) -> None:
        """A product without a bias gets an Add for the constants that it took."""
        found, _, made = self.trace.linears[node]
        kept, y = self.selection.kept(made), node.outputs[0]
        constant = self.editor.constant(node.graph, f"{y.name}/constant", taken[kept], found.store, node)
        name = self.editor.names.node(f"{label(node)}/constant")
        self.editor.insert_add(y, constant, y, before=None, name=name, after=node)


def _shrink(editor: Editor, value: ir.Value, axis: int, size: int) -> None:
    """A value of fewer channels means something else, so it has another name."""
    if value.shape is not None and axis < len(value.shape):
        dims = list(value.shape)
        dims[axis] = size
        value.shape = ir.Shape(dims)
    value.name = editor.names.value(slimmed_name(value.name))


def _linear(r: Rewriting, node: ir.Node) -> None:
    """Filters that leave, and slices of the filters that stay."""
    found, data, made = r.trace.linears[node]
    count, outs, ins = groups_of(found)
    rows = r.selection.kept(made).reshape(count, outs)
    columns = np.ones((count, ins), np.bool_)
    if data is not None:
        columns = r.selection.kept(data).reshape(count, ins)
    whole = rows.any(axis=1) & columns.any(axis=1)
    rows, columns = rows[whole], columns[whole]
    if not (rows.all() and columns.all() and whole.all()):
        stored = _sliced(found, np.flatnonzero(whole), rows, columns)
        masks = b"".join(mask.tobytes() for mask in (whole, rows, columns))
        r.put(node, found.weight, stored, id(found.tensor), masks)
    if not whole.all():
        node.attributes["group"] = ir.AttrInt64("group", int(whole.sum()))
    _bias(r, found, r.selection.kept(made), r.taken.get(node, np.zeros(0)))


def _sliced(found: Linear, groups: np.ndarray, rows: Mask, columns: Mask) -> tensor.Recipe:
    """Some of the weights, in the layout in which they are stored."""
    base, view, dtype = found.tensor, found.view, found.tensor.dtype
    rows_first = found.rows[-1] < found.columns[-1]
    first, second = (rows, columns) if rows_first else (columns, rows)
    shape = _stored_shape(found, len(groups), int(first[0].sum()), int(second[0].sum()))

    def arrays() -> Iterator[np.ndarray]:
        weights = np.asarray(base.numpy()).reshape(view if len(found.rows) == 2 else (1, *view))
        for place, group in enumerate(groups.tolist()):
            one, other = np.flatnonzero(first[place]), np.flatnonzero(second[place])
            step = max(1, tensor.BLOCK // max(1, weights[group, 0].size))
            for at in range(0, len(one), step):
                yield weights[group, one[at : at + step]][:, other]

    return tensor.Recipe(dtype, shape, arrays)


def _stored_shape(found: Linear, groups: int, first: int, second: int) -> tuple[int, ...]:
    dims = tensor.dims(found.tensor)
    if found.node.op_type in ("Conv", "ConvTranspose"):
        return (groups * first, second, *dims[2:])
    if len(dims) == 1:
        return (first * second,)
    return (*dims[:-2], first, second)


def _bias(r: Rewriting, found: Linear, kept: Mask, taken: np.ndarray) -> None:
    node, index = found.node, found.bias
    if index is None:
        return
    old = node.inputs[index] if len(node.inputs) > index else None
    stored = r.trace.shapes.constants.tensor(old)
    if not taken.any():
        if stored is not None and stored.numpy().shape[-1:] == kept.shape and not kept.all():
            values = np.asarray(stored.numpy())[..., kept]
            r.put(node, index, tensor.from_array(values, dtype=stored.dtype), kept.tobytes())
        return
    values = _whole_bias(found, stored, taken)
    rounded = values[..., kept].astype(found.store.numpy())
    if node.op_type == "Gemm":
        if "beta" in node.attributes:
            node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
        if opset(r.trace.model, node.graph) < 7:  # before, a bias broadcast only when told so
            node.attributes["broadcast"] = ir.AttrInt64("broadcast", 1)
    r.put(node, index, tensor.from_array(rounded, dtype=found.store), rounded.shape, rounded.tobytes())


def _whole_bias(found: Linear, stored: ir.TensorProtocol | None, taken: np.ndarray) -> np.ndarray:
    """The bias with what it takes, in float64."""
    base = np.zeros(()) if stored is None else stored.numpy().astype(np.float64) * found.beta
    return np.asarray(base + taken)


def overflows(found: Linear, stored: ir.TensorProtocol | None, taken: np.ndarray) -> bool:
    """Does the bias that takes these constants leave the type that it is stored in?"""
    if not taken.any():
        return False
    values = _whole_bias(found, stored, taken)
    with np.errstate(over="ignore"):
        rounded = values.astype(found.store.numpy()).astype(np.float64)
    return bool((np.isfinite(values) & ~np.isfinite(rounded)).any() or not np.isfinite(taken).all())


def _batch_norm(r: Rewriting, node: ir.Node) -> None:
    kept = r.kept(node.inputs[0])
    for index in range(1, 5) if kept is not None else ():
        stored = r.trace.shapes.constants.tensor(node.inputs[index])
        assert stored is not None and kept is not None
        values = np.asarray(stored.numpy())[kept]
        r.put(node, index, tensor.from_array(values, dtype=stored.dtype), kept.tobytes())


def _elementwise(r: Rewriting, node: ir.Node) -> None:
    channels = r.trace.of(node.outputs[0])
    kept = r.kept(node.outputs[0])
    for index, value in enumerate(node.inputs if kept is not None else ()):
        stored = r.trace.shapes.constants.tensor(value) if r.trace.of(value) is None else None
        if stored is None or channels is None or kept is None:
            continue
        values = np.asarray(stored.numpy())
        axis = channels.axis - channels.rank
        if values.ndim >= -axis and values.shape[axis] == channels.size > 1:
            cut = np.compress(kept, values, axis=axis)
            r.put(node, index, tensor.from_array(cut, dtype=stored.dtype), axis, kept.tobytes())


def _split(r: Rewriting, node: ir.Node) -> None:
    sizes = [_count(r, value) for value in node.outputs]
    node.attributes.pop("num_outputs", None)
    if opset(r.trace.model, node.graph) < 13:
        node.attributes["split"] = ir.AttrInt64s("split", sizes)
        return
    r.put_row(node, 1, sizes, "split")


def _count(r: Rewriting, value: ir.Value) -> int:
    channels = r.trace.channels[value]
    return int(r.selection.kept(channels).sum())


def _slice(r: Rewriting, node: ir.Node) -> None:
    """A run of channels begins where as many of those before it stay."""
    data, kept = r.trace.of(node.inputs[0]), r.kept(node.inputs[0])
    cuts = node_arguments.cuts(r.trace.shapes, node, data.rank) if data is not None else None
    cut = cuts[data.axis] if cuts is not None and data is not None else None
    if cut is None or cut.whole or kept is None or data is None:
        return
    places = cut.positions(data.size)
    first = int(kept[: places.start].sum())
    ends = first, first + int(kept[places.start : places.stop].sum())
    _, axes = node_arguments.integers(r.trace.shapes, node, "axes", 3)
    for (name, index), number in zip((("starts", 1), ("ends", 2)), ends, strict=True):
        _, row = node_arguments.integers(r.trace.shapes, node, name, index)
        assert row is not None
        along = axes if axes is not None else list(range(len(row)))
        new = [number if a % data.rank == data.axis else n for a, n in zip(along, row, strict=True)]
        r.put_row(node, index, new, name)


def _gather(r: Rewriting, node: ir.Node) -> None:
    data, kept = r.trace.of(node.inputs[0]), r.kept(node.inputs[0])
    places = r.trace.shapes.constants.tensor(node.inputs[1])
    if data is None or kept is None or places is None:
        return
    if int(attribute(node, "axis", 0)) % data.rank != data.axis:
        return
    old = np.asarray(places.numpy()).astype(np.int64) % data.size
    new = (np.cumsum(kept) - 1)[old[kept[old]]]
    stored = tensor.from_array(new.astype(places.dtype.numpy()), dtype=places.dtype)
    r.put(node, 1, stored, label(node), new.tobytes())


def _reshape(r: Rewriting, node: ir.Node) -> None:
    """The size of the channel axis, where it is a number that stands in the file."""
    channels = r.trace.of(node.outputs[0])
    if channels is None or r.kept(node.outputs[0]) is None:
        return
    row = attribute(node, "shape")
    if row is None:
        stored = r.trace.shapes.constants.tensor(node.inputs[1])
        row = None if stored is None else [int(n) for n in stored.numpy().reshape(-1)]
    if row is None or row[channels.axis] in (-1, 0):
        return
    new = list(row)
    new[channels.axis] = _count(r, node.outputs[0])
    r.put_row(node, 1, new, "shape")


def _resize(r: Rewriting, node: ir.Node) -> None:
    """The size of the channel axis, where sizes are given."""
    channels = r.trace.of(node.outputs[0])
    place = resize_inputs(node.op_type, r.trace.shapes.opset(node))[2]
    given = node.inputs[place] if place is not None and place < len(node.inputs) else None
    stored = r.trace.shapes.constants.tensor(given)
    if channels is None or place is None or stored is None or r.kept(node.outputs[0]) is None:
        return
    row = [int(n) for n in stored.numpy().reshape(-1)]
    axes = [a % channels.rank for a in attribute(node, "axes") or range(channels.rank)]
    if row and channels.axis in axes:
        row[axes.index(channels.axis)] = _count(r, node.outputs[0])
        r.put_row(node, place, row, "sizes")


REWRITES: dict[str, Callable[[Rewriting, ir.Node], None]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"), _linear),
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(ARITHMETIC, _elementwise),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Reshape": _reshape,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
}
