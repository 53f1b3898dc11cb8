"""Applying a push to the graph: whole, after it has been proved.

Names tell the truth. Backward, the absorbing side's last value takes the name of the value that vanished;
forward, nothing before the absorber changes; in both, values in between get new names because their meaning
changed. Graph inputs and outputs keep theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from ..inference import Shapes
from ..ir import tensor
from ..ir.graph import (
    QUANTIZATION_KEY,
    GraphLike,
    Names,
    folded_name,
    function_graphs,
    ir,
    is_op,
    label,
    read_instead,
    remove,
    set_input,
    sole,
    usages,
)
from .affine import Float, trimmed
from .linear import Linear
from .normalisations import NORMALISATIONS
from .push import Hold, Push, Recast, constant_behind, shift_pattern
from .recognise import Reading
from .weight_ranges import check_constant, fits


class Editor:
    """Changes one model (a clone that belongs to the fold). `replaced`: constants that may have lost their
    last reader; `inserted`: nodes that were added, each with the node beside which it stands in graph
    order; `kernels`: weights, each with the folded ones that were made of it."""

    def __init__(self, model: ir.Model, shapes: Shapes) -> None:
        self.model = model
        self.shapes = shapes
        self.names = Names(model)
        self._functions = function_graphs(model)
        self.replaced: list[ir.Value] = []
        self.inserted: list[tuple[ir.Node, ir.Node]] = []
        self.kernels: dict[ir.Value, set[ir.Value]] = {}
        self._made: dict[tuple[Hashable, ...], ir.Value] = {}
        self._outputs: dict[GraphLike, dict[ir.Value, list[int]]] = {}

    def apply(self, push: Push, node: ir.Node, reading: Reading) -> None:
        """The node's map is held elsewhere; take it out."""
        self._hand_over(push)
        if push.direction == "backward":
            self._absorbed(node, reading, push)
        else:
            self._left_out(node, reading, push)

    def to_add(self, push: Push, node: ir.Node, reading: Reading) -> None:
        """The node's scale is held elsewhere; what is left of it is the Add of a constant."""
        self._hand_over(push)
        for value in push.changed:
            self.rename(value)
        x, y = node.inputs[reading.data], node.outputs[0]
        assert x is not None
        dtype = self.added_dtype(push, node, reading)
        constant = self.constant(node.graph, f"{y.name}/shift", trimmed(reading.map.shift), dtype, node)
        self.insert_add(x, constant, y, before=node, name=node.name)
        self.drop(node)

    def _hand_over(self, push: Push) -> None:
        for hold in push.holds:
            self._hold(hold, push.direction)
        for recast in push.recasts:
            self._recast(recast)

    def _hold(self, hold: Hold, direction: str) -> None:
        linear = hold.linear
        if linear.grows and hold.behind is None and hold.map.shifts:
            linear.grow()
        if direction == "backward":
            linear.after = hold.map @ linear.after
        else:
            linear.before = linear.before @ (hold.map if hold.behind is None else hold.map.scale_only())
            if hold.behind is not None:
                self._add_behind(hold)
        self._own_bias(linear)

    def _own_bias(self, linear: Linear) -> None:
        """A bias that is dequantised for other readers too becomes a constant of its own as soon as it is
        known to change: the quantised values may be a weight elsewhere, which then has one reader."""
        node, index = linear.node, linear.bias
        if index is None or index >= len(node.inputs):
            return
        old = node.inputs[index]
        changes = linear.after.scales or linear.after.shifts or linear.before.shifts
        if old is None or not changes or sole(old) or not is_op(old.producer(), "DequantizeLinear"):
            return
        stored, exact = self.shapes.constants.tensor(old), self.shapes.constants.array(old)
        if stored is None or exact is None:
            return
        set_input(node, index, self.constant(node.graph, f"{old.name}/bias", exact, stored.dtype, node))
        self.replaced.append(old)

    def _add_behind(self, hold: Hold) -> None:
        """A MatMul has no bias: a constant right behind it takes the shift, or else an Add in the place of
        the node that vanishes."""
        linear = hold.linear
        y = linear.node.outputs[0]
        pattern = shift_pattern(linear, hold.add)
        if (found := constant_behind(linear, pattern, self.shapes)) is not None:
            node, index, map_ = found
            values = self.shapes.constants.array(node.inputs[index])
            assert values is not None
            self._recast(Recast(node, index, map_, values.shape))
            self.rename(y)
            return
        constant = self.constant(linear.node.graph, f"{y.name}/shift", pattern, linear.store, linear.node)
        self.insert_add(
            y,
            constant,
            y,
            before=None,
            name=self.names.node(f"{linear.node.name or y.name}/shift"),
            after=linear.node,
        )

    def insert_add(
        self,
        x: ir.Value,
        constant: ir.Value,
        y: ir.Value,
        *,
        before: ir.Node | None,
        name: str | None,
        after: ir.Node | None = None,
    ) -> ir.Node:
        """Add(x, constant) whose output takes y's name, place and readers. Where x is y, x gets a new
        name."""
        add = ir.node("Add", [x, constant], name=name)
        fresh = add.outputs[0]
        graph = (before or after).graph  # type: ignore[union-attr]
        assert graph is not None
        readers_instead(y, fresh, but=add)
        self._take_place(graph, y, fresh)
        if before is not None:
            graph.insert_before(before, add)
        else:
            assert after is not None
            graph.insert_after(after, add)
        self.shapes.put(fresh, self.shapes.of(y))
        self.inserted.append((add, before or after))  # type: ignore[arg-type]
        return add

    def _take_place(self, graph: GraphLike, old: ir.Value, new: ir.Value) -> None:
        """`new` becomes what `old` was: its name, type, shape, notes, and its place among the graph's
        outputs."""
        name = old.name
        new.shape, new.type, new.doc_string = (
            (old.shape.copy() if old.shape is not None else new.shape),
            old.type or new.type,
            old.doc_string or new.doc_string,
        )
        new.metadata_props.update(old.metadata_props)
        new.meta.pop(QUANTIZATION_KEY, None)  # it was said of other numbers
        if QUANTIZATION_KEY in old.meta:
            new.meta[QUANTIZATION_KEY] = old.meta.pop(QUANTIZATION_KEY)
        if old.is_graph_output():
            places = self._output_places(graph)
            places[new] = places.pop(old)
            for position in places[new]:
                graph.outputs[position] = new
        old.name = self.names.value(folded_name(name))
        new.name = name

    def _output_places(self, graph: GraphLike) -> dict[ir.Value, list[int]]:
        """Where each output of a graph stands among its outputs, found once and kept up."""
        if graph not in self._outputs:
            places = defaultdict[ir.Value, list[int]](list)
            for position, output in enumerate(graph.outputs):
                places[output].append(position)
            self._outputs[graph] = dict(places)
        return self._outputs[graph]

    def rename(self, value: ir.Value) -> None:
        """A value whose meaning changed gets a new name, and loses what was said of how to quantise it."""
        value.meta.pop(QUANTIZATION_KEY, None)
        value.name = self.names.value(folded_name(value.name))

    def _absorbed(self, node: ir.Node, reading: Reading, push: Push) -> None:
        x, y = node.inputs[reading.data], node.outputs[0]
        assert x is not None and node.graph is not None
        for value in push.changed:
            if value is not x:
                self.rename(value)
        self.replace_value(y, x)
        self.drop(node)

    def _left_out(self, node: ir.Node, reading: Reading, push: Push) -> None:
        x, y = node.inputs[reading.data], node.outputs[0]
        assert x is not None
        for value in push.changed:
            self.rename(value)
        readers_instead(y, x)
        self.drop(node)

    def twin(self, node: ir.Node, reader: ir.Node, index: int) -> ir.Node:
        """A copy of a node, right behind it, whose output `reader` reads at `index` instead of the
        original's."""
        copy = ir.Node(
            node.domain,
            node.op_type,
            node.inputs,
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
            name=self.names.node(f"{node.name or node.op_type}/copy"),
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        old, new = node.outputs[0], copy.outputs[0]
        new.name, new.type = self.names.value(f"{old.name}/copy"), old.type
        new.shape = old.shape.copy() if old.shape is not None else None
        assert node.graph is not None
        node.graph.insert_after(node, copy)
        set_input(reader, index, new)
        self.shapes.put(new, self.shapes.of(old))
        self.inserted.append((copy, node))
        return copy

    def replace_value(self, old: ir.Value, new: ir.Value) -> None:
        """`new` takes the readers, the name and the place of `old`."""
        readers_instead(old, new)
        producer = old.producer()
        assert producer is not None and producer.graph is not None
        self._take_place(producer.graph, old, new)

    def drop(self, node: ir.Node) -> None:
        """Take a node out; its inputs may have lost their last reader."""
        self.replaced.extend(v for v in node.inputs if v is not None)
        remove(node)

    def _recast(self, recast: Recast) -> None:
        """The constant operand becomes its image, exactly in memory, rounded once in the file."""
        if recast.index >= len(recast.node.inputs) or recast.node.inputs[recast.index] is None:
            self._add_bias(recast)
            return
        old = recast.node.inputs[recast.index]
        assert old is not None
        image, dtype = image_of(recast, self.shapes)
        new = self.constant(recast.node.graph, folded_name(old.name), image, dtype, recast.node)
        set_input(recast.node, recast.index, new)
        self.replaced.append(old)

    def _add_bias(self, recast: Recast) -> None:
        """A normalisation without a bias gets one, of the type of its scale."""
        node = recast.node
        values, dtype = image_of(recast, self.shapes)
        if len(node.inputs) <= recast.index:
            node.resize_inputs(recast.index + 1)
        wish = f"{node.name or node.outputs[0].name}/bias"
        set_input(node, recast.index, self.constant(node.graph, wish, values, dtype, node))

    def constant(
        self, graph: GraphLike | None, wish: str, values: np.ndarray, dtype: ir.DataType, reader: ir.Node
    ) -> ir.Value:
        """A new constant for `reader`; its float64 values are remembered, so that later maps start from
        them."""
        with np.errstate(over="ignore", under="ignore"):
            stored = tensor.from_array(np.asarray(values, np.float64).astype(dtype.numpy()), dtype=dtype)
        value = self.put(graph, wish, stored, reader)
        self.shapes.constants.remember(value, np.asarray(values, np.float64))
        return value

    def put(self, graph: GraphLike | None, wish: str, stored: ir.TensorProtocol, reader: ir.Node) -> ir.Value:
        """A tensor as an initializer of the reader's graph (in IR 3 a graph input too), or a Constant node
        inside a function."""
        name = self.names.value(wish)
        stored.name = name
        shape = ir.Shape(stored.shape.numpy())
        assert graph is not None
        if graph not in self._functions:
            value = ir.Value(name=name, shape=shape, type=ir.TensorType(stored.dtype), const_value=stored)
            graph.register_initializer(value)
            if self.model.ir_version < 4 and graph is self.model.graph:
                graph.inputs.append(value)
        else:
            node = ir.node("Constant", [], {"value": stored}, name=self.names.node(name))
            value = node.outputs[0]
            value.name, value.shape, value.type = name, shape, ir.TensorType(stored.dtype)
            graph.insert_before(reader, node)
        self.shapes.put(value, tuple(shape.numpy()))
        return value

    def put_once(
        self, stored: ir.TensorProtocol, old: ir.Value, wish: str, reader: ir.Node, *how: Hashable
    ) -> ir.Value:
        """What becomes of the constant `old` for this reader. `how` says what is done to it: readers that
        share the constant and do the same to it share the result too."""
        owner = old.graph if old.is_initializer() else reader.graph  # a body reads what the outer graph owns
        key = (owner, old, *how)
        if key not in self._made:
            assert owner is not None
            self._made[key] = self.put(owner, wish, stored, owner[0])  # in a function before every reader
        return self._made[key]

    def added_dtype(self, push: Push, node: ir.Node, reading: Reading) -> ir.DataType:
        """The type of a constant that an affine node leaves behind."""
        return self.shapes.dtype(node.inputs[reading.data]) or self.weight_dtype(push)

    def weight_dtype(self, push: Push) -> ir.DataType:
        """The type of what a push's operators compute; a quantised weight has that of its scale."""
        if not push.holds:
            return ir.DataType.FLOAT
        linear = push.holds[0].linear
        scaled = None if linear.quantized is None else self.shapes.dtype(linear.quantized.inputs[1])
        return scaled or linear.store


def image_of(recast: Recast, shapes: Shapes) -> tuple[Float, ir.DataType]:
    """What a constant becomes, in float64, and the type that it is stored in. A bias that a normalisation
    lacks is zero, of the type of its scale."""
    node, index = recast.node, recast.index
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is None:
        scale = shapes.constants.tensor(node.inputs[1])
        assert scale is not None
        return np.broadcast_to(recast.map(np.zeros(recast.seen)), recast.seen), scale.dtype
    values, stored = shapes.constants.array(old), shapes.constants.tensor(old)
    assert values is not None and stored is not None
    image = recast.map(values.reshape(recast.seen))
    if image.shape == recast.seen:
        return image.reshape(values.shape), stored.dtype
    return trimmed(image, shapes.rank(old) or 0), stored.dtype


def check_images(push: Push, shapes: Shapes) -> None:
    """Does every constant that a push makes beside the operators fit its type? Raises Refused."""
    for recast in push.recasts:
        where = f"the constant of {recast.node.op_type} '{label(recast.node)}'"
        image, dtype = image_of(recast, shapes)
        check_constant(image, dtype, where, factor=_is_whole_factor(recast, dtype, shapes))
    for hold in push.holds:
        if hold.behind is not None:
            where = f"the shift behind {hold.linear.node.op_type} '{label(hold.linear.node)}'"
            check_constant(hold.add, hold.linear.store, where)


def _is_whole_factor(recast: Recast, dtype: ir.DataType, shapes: Shapes) -> bool:
    """Is the constant the scale of a normalisation that has all its digits?"""
    row = NORMALISATIONS.get(recast.node.op_type)
    values = (
        shapes.constants.array(recast.node.inputs[recast.index])
        if row and recast.index == row.scale
        else None
    )
    return values is not None and fits(values, dtype, factor=True)


def readers_instead(old: ir.Value, new: ir.Value, but: ir.Node | None = None) -> None:
    """Everybody who reads `old` reads `new`, but for one node."""
    places = defaultdict[ir.Node, list[int]](list)
    for user, index in usages(old):
        if user is not but:
            places[user].append(index)
    for user, indices in places.items():
        read_instead(user, indices, new)
