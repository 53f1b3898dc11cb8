"""What is constant in a graph, and its value.

A value is constant if it is an initializer that no caller can override, the output of a Constant node, or
computed from constants by a deterministic operator. `tensor` gives it without reading it where that is
possible (weights stay windows); `array` gives all of it, and only up to LIMIT elements: what is folded into
weights is small. What is computed is computed in the model's own types (evaluation.py), then widened to
float64 for the algebra of folds.

    overridable   an initializer that is also a graph input, from IR 4 on: the caller may feed another value
    IR 3          all initializers are graph inputs, and are constants
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ..ir import tensor
from ..ir.graph import attribute, ir, is_op, named_type, opset
from ..operators.arguments import (
    Sizes,
    flattened,
    permutation,
    reshaped,
    shape_part,
    squeezed_axes,
    unsqueezed,
)
from ..operators.table import op
from .evaluation import (
    NoKernel,
    by_onnxruntime,
    cast,
    close,
    evaluated,
    is_exact,
    is_narrow,
    jumps,
    keeps_values,
    nudged,
    stable,
    widened,
)
from .size_bounds import elements, is_bounded

LIMIT = 1 << 22  # elements of a constant that is evaluated
# elements of all constants that are computed in one model: a file of a few kilobytes may ask for any number
# of them
ROOM = 4 * LIMIT
DRAWS = 2  # of nudged inputs, since one may cancel
_DEPTH = 200  # nodes of one constant subgraph
_SHORT = 1 << 18  # bytes of a vector that is read with others
_LONGEST = 1 << 16  # numbers in an argument that counts or points

_FLOATS = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def is_float(dtype: ir.DataType | None) -> bool:
    """Is it a type in which folding is arithmetic of real numbers?"""
    return dtype in _FLOATS


class Constants:
    """Constants of one model. Answers are remembered: a value that is constant stays so while the graph
    around it changes."""

    def __init__(
        self,
        model: ir.Model,
        freeze_initializers: bool = False,
        shapes: Callable[[ir.Value], Any] | None = None,
        dtypes: Callable[[ir.Value], ir.DataType | None] | None = None,
        sizes: Callable[[ir.Value], np.ndarray | None] | None = None,
    ) -> None:
        self._model = model
        self._overridable = model.ir_version >= 4 and not freeze_initializers
        self._typed: dict[ir.Value, np.ndarray | None] = {}
        self._widened: dict[ir.Value, np.ndarray] = {}  # more exact than the typed ones, or read with others
        self._inexact: set[ir.Value] = set()
        self._narrow: set[ir.Value] = set()
        self._tensors: dict[ir.Value, ir.TensorProtocol | None] = {}
        self._room = ROOM
        self._shape_of = shapes or (lambda value: None)
        self._dtype_of = dtypes or (lambda value: value.dtype)
        self._sizes_of = sizes or (lambda value: None)

    def tensor(self, value: ir.Value | None) -> ir.TensorProtocol | None:
        """The tensor that a value always is, or None. Nothing is read: views of a tensor are recipes over
        it."""
        if value is None:
            return None
        if value not in self._tensors:
            self._see(value)
        return self._tensors[value]

    def _see(self, value: ir.Value) -> None:
        """Look through rearranging operators down to something known, then come back up, view by view."""
        path = [value]
        while (below := self._below(path[-1])) is not None:
            path.append(below)
        base = path[-1]
        if base not in self._tensors:
            self._tensors[base] = self.stored(base) or self._evaluated(base)
        for at in reversed(path[:-1]):
            self._tensors[at] = self._viewed(at, self._tensors[self._below_of(at)]) or self._evaluated(at)

    def _below_of(self, value: ir.Value) -> ir.Value:
        node = value.producer()
        assert node is not None and node.inputs[0] is not None
        return node.inputs[0]

    def _below(self, value: ir.Value) -> ir.Value | None:
        """What a value is a view of, unless it is known already."""
        node = value.producer()
        if value in self._tensors or value.is_initializer() or not op(node).view:
            return None
        assert node is not None
        return node.inputs[0] if node.inputs else None

    def _evaluated(self, value: ir.Value) -> ir.TensorProtocol | None:
        values = self.typed(value)
        if values is None or values.dtype.kind in "OUS":
            return None
        return tensor.from_array(values, dtype=ir.DataType.from_numpy(values.dtype))

    def stored(self, value: ir.Value) -> ir.TensorProtocol | None:
        """The tensor of an initializer or a Constant node, without looking through anything."""
        if value.is_initializer():
            return None if self._overridable and value.is_graph_input() else value.const_value
        node = value.producer()
        if not is_op(node, "Constant"):
            return None
        assert node is not None
        return _constant_node(node)

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The values, floats as float64, or None where it is not constant or too large."""
        if value in self._widened:
            return self._widened[value]
        values = self.typed(value)
        return None if values is None else widened(values)

    def typed(self, value: ir.Value | None) -> np.ndarray | None:
        """The values in the type in which the model has them, or None where it is not constant or too
        large."""
        if value is None:
            return None
        if value not in self._typed:
            self._evaluate(value)
        return self._typed[value]

    def integers(self, value: ir.Value | None) -> list[int] | None:
        """What a constant that counts or points says, in a row; None where it is not known, or longer than
        any argument. Raises ValueError where it is no integer, or no row."""
        found = self.array(value)
        if found is not None and found.dtype.kind not in "iu":
            raise ValueError(f"numbers of the type {found.dtype} cannot count")
        if found is not None and found.ndim > 1:
            raise ValueError(f"{found.ndim} axes are no row")
        return None if found is None or found.size > _LONGEST else [int(n) for n in found.reshape(-1)]

    def reconsider(self) -> None:
        """Ask again of what was no constant: a part of the graph has gone on which it depended."""
        self._typed = {value: found for value, found in self._typed.items() if found is not None}
        self._tensors = {value: found for value, found in self._tensors.items() if found is not None}

    def remember(self, value: ir.Value, values: np.ndarray) -> None:
        """A value that was made while folding, more exactly than its stored type holds it."""
        self._widened[value] = values

    def read_together(self, values: Iterable[ir.Value | None]) -> None:
        """Read many vectors of floats at once. Networks have ten thousands of them, the statistics of their
        batch norms, and numpy is called for each length instead of each vector."""
        found: dict[int, dict[ir.Value, bytes]] = {}
        for value in values:
            if value is not None and value not in self._typed:
                raw = tensor.vector_of_floats(self.stored(value))
                if 0 < len(raw) <= _SHORT:
                    found.setdefault(len(raw), {})[value] = raw
        for group in found.values():
            rows = np.frombuffer(b"".join(group.values()), "<f4").reshape(len(group), -1)
            wide = widened(rows)
            wide.flags.writeable = False
            self._typed.update(zip(group, rows, strict=True))
            self._widened.update(zip(group, wide, strict=True))

    def _viewed(self, value: ir.Value, base: ir.TensorProtocol | None) -> ir.TensorProtocol | None:
        """A constant seen through one rearranging operator, as a recipe over it."""
        node = value.producer()
        if base is None or node is None or any(a.is_ref() for a in node.attributes.values()):
            return None
        shape = tensor.dims(base)
        rearranged = _rearranged(node, shape, self)
        if rearranged is None:
            return None
        new_shape, move = rearranged
        return base if move is None and new_shape == shape else _view(base, new_shape, move)

    def _evaluate(self, value: ir.Value) -> None:
        """Evaluate a constant subgraph without recursion: a value waits on the stack until its inputs are
        known."""
        stack = [value]
        while stack:
            current = stack[-1]
            if current in self._typed:
                stack.pop()
                continue
            if len(stack) > _DEPTH:
                self._typed[current] = None
                continue
            node = current.producer()
            stored = self.stored(current)
            if stored is not None or node is None or not self._is_evaluated(node):
                self._typed[current] = None if stored is None else _read(stored)
                continue
            needed = tuple(self._needed(node))
            if any(v in self._typed and self._typed[v] is None for v in needed):
                inexact = any(v in self._inexact for v in needed)
                self._remember_all(node, self._of_sizes(node), inexact)
                continue  # nobody asks for the other inputs, large weights among them
            waiting = next((v for v in needed if v not in self._typed), None)
            if waiting is None:
                self._settle(node)
            else:
                stack.append(waiting)

    def _is_evaluated(self, node: ir.Node) -> bool:
        return is_bounded(node) and not any(a.is_ref() for a in node.attributes.values())

    def _settle(self, node: ir.Node) -> None:
        """Remember what a node gives, and whether every implementation gives just that."""
        results = self._computed(node)
        known = all(a is not None for a in results)
        inexact = any(v in self._inexact for v in self._needed(node))
        if known and inexact and jumps(node):
            results = self._asked(node) or [None] * len(results)
            inexact = False
        elif known and (inexact or not is_exact(node)):
            asked = self._asked(node) if self._is_unstable(node, results) else None
            results, inexact = asked or results, asked is None
        if known and not keeps_values(node):
            results = self._half(node, results)
        if not known and len(results) == 1:
            results = self._of_sizes(node)
        self._remember_all(node, results, inexact)

    def _of_sizes(self, node: ir.Node) -> list[np.ndarray | None]:
        """What a node gives whose inputs are not all constant: sizes of which all is known, or nothing."""
        if len(node.outputs) != 1:
            return [None] * len(node.outputs)
        return [self._sizes_of(node.outputs[0])]

    def _remember_all(self, node: ir.Node, results: list[np.ndarray | None], inexact: bool) -> None:
        """Remember what a node gives, as long as there is room."""
        self._room -= sum(a.size for a in results if a is not None)
        if self._room < 0:
            results = [None] * len(results)
        for value, result in zip(node.outputs, results, strict=True):
            self._typed[value] = result
            if inexact and result is not None and result.dtype.kind not in "iub":
                self._inexact.add(value)

    def _half(self, node: ir.Node, results: list[np.ndarray | None]) -> list[np.ndarray | None]:
        """Arithmetic in 16 bits behind arithmetic in 16 bits: a runtime may keep more between the two, and
        then it is no constant to us."""
        if any(v in self._narrow for v in self._needed(node)):
            answer = self._asked(node) or [None] * len(results)
            if any(a is None or b is None or not close(a, b) for a, b in zip(results, answer, strict=True)):
                return [None] * len(results)
        self._narrow.update(
            v for v, r in zip(node.outputs, results, strict=True) if r is not None and is_narrow(r)
        )
        return results

    def _is_unstable(self, node: ir.Node, results: list[np.ndarray | None]) -> bool:
        """Does the last bit of an input, or the order of a sum, make far more than that of a result?"""
        inputs = [None if v is None else self._typed.get(v) for v in node.inputs]
        try:
            drawn = [
                evaluated(node, [nudged(a, seed) for a in inputs], opset(self._model, node.graph))
                for seed in range(DRAWS)
            ]
        except NoKernel:
            return False  # onnxruntime was asked already
        return any(
            a is not None and not stable(a, b)
            for again in drawn
            if again is not None
            for a, b in zip(results, again, strict=True)
        )

    def _asked(self, node: ir.Node) -> list[np.ndarray | None] | None:
        """What onnxruntime makes of a node where libraries that round differently come to different ends."""
        graph = node.graph
        if graph is None:
            return None
        answer = by_onnxruntime(
            node, self.typed, self._is_computed, self._model.opset_imports, opset(self._model, graph)
        )
        return None if answer is None else list(answer)

    def _is_computed(self, node: ir.Node) -> bool:
        """Does it belong to a constant subgraph, and is no beginning of one?"""
        return (
            self._is_evaluated(node)
            and not is_op(node, "Constant", "Shape", "Size")
            and all(self._typed.get(v) is not None for v in self._needed(node))
        )

    def _needed(self, node: ir.Node) -> Iterator[ir.Value]:
        """Inputs whose values matter, not their shapes or types alone."""
        unread = op(node).metadata
        yield from (v for index, v in enumerate(node.inputs) if v is not None and index not in unread)

    def _computed(self, node: ir.Node) -> list[np.ndarray | None]:
        nothing: list[np.ndarray | None] = [None] * len(node.outputs)
        if is_op(node, "Shape", "Size"):
            return self._shape(node) or nothing
        blank = is_op(node, "EyeLike")
        inputs = [None if v is None else self._blank(v) if blank else self._typed.get(v) for v in node.inputs]
        if any(self._typed.get(value) is None for value in self._needed(node)):
            return nothing
        if is_op(node, "CastLike"):
            like = node.inputs[1]
            dtype = None if like is None else self._dtype_of(like)
            return nothing if dtype is None or inputs[0] is None else [cast(inputs[0], dtype)]
        if is_op(node, "Cast") and inputs[0] is not None and (to := named_type(node)) is not None:
            return [cast(inputs[0], to)]
        if not elements(node, inputs) <= LIMIT:
            return nothing
        return self._run(node, inputs) or nothing

    def _blank(self, value: ir.Value) -> np.ndarray | None:
        """Zeros in the place of what only the shape and the type are read of, where these are known."""
        shape, dtype = self._shape_of(value), self._dtype_of(value)
        if shape is None or dtype is None or not all(isinstance(d, int) for d in shape):
            return None
        return np.zeros(shape, dtype.numpy()) if math.prod(shape) <= LIMIT else None

    def _run(self, node: ir.Node, inputs: list[np.ndarray | None]) -> list[np.ndarray | None] | None:
        try:
            results = evaluated(node, inputs, opset(self._model, node.graph))
        except NoKernel:
            return self._asked(node)
        return None if results is None else list(results)

    def _shape(self, node: ir.Node) -> list[np.ndarray | None] | None:
        source = node.inputs[0]
        assert source is not None
        stored = self.stored(source)
        shape = tensor.dims(stored) if stored is not None else self._shape_of(source)
        if shape is None:
            return None
        if is_op(node, "Shape"):
            shape = shape_part(partial(attribute, node), shape)
        if not all(isinstance(d, int) for d in shape):
            return None
        return [np.array(shape, np.int64) if is_op(node, "Shape") else np.array(math.prod(shape), np.int64)]


def _constant_node(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor of a Constant node in any of its forms; None for text, sparse tensors and references."""
    for name, found in node.attributes.items():
        if found.is_ref():
            return None
        if name == "value":
            stored: ir.TensorProtocol = found.value  # `as_tensor` checks a protocol, attribute by attribute
            return stored
        if name in ("value_float", "value_floats"):
            return tensor.from_array(np.array(found.value, np.float32))
        if name in ("value_int", "value_ints"):
            return tensor.from_array(np.array(found.value, np.int64))
    return None


def _read(stored: ir.TensorProtocol) -> np.ndarray | None:
    """What is stored, in its own type; None for text, and for what is too large to be looked at."""
    if tensor.elements(stored) > LIMIT or stored.dtype == ir.DataType.STRING:
        return None
    try:
        return np.asarray(tensor.array(stored))
    except ValueError:  # bits that pad a type below one byte, and are not zero: no runtime takes it
        return None


# Views: the shape that one rearranging operator gives, and how it moves values (None: it does not).

_Move = Callable[[np.ndarray], np.ndarray] | None
_Dims = tuple[int, ...]


def _rearranged(node: ir.Node, shape: _Dims, constants: Constants) -> tuple[_Dims, _Move] | None:
    """None where an argument is not constant, or does not fit."""
    try:
        if is_op(node, "Transpose"):
            order = permutation(attribute(node, "perm"), len(shape))
            return tuple(shape[p] for p in order), lambda a: a.transpose(order)
        sizes = _regrouped(node, shape, constants)
    except (ArithmeticError, IndexError, ValueError):
        return None
    return None if sizes is None else (tuple(int(d) for d in sizes if d is not None), None)


def _regrouped(node: ir.Node, shape: _Dims, constants: Constants) -> Sizes | None:
    """The shape behind what moves no value."""
    if is_op(node, "Identity"):
        return shape
    if is_op(node, "Flatten"):
        return flattened(attribute(node, "axis", op(node).axis), shape)
    numbers = attribute(node, "shape" if is_op(node, "Reshape") else "axes")
    if numbers is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        numbers = constants.integers(node.inputs[1])
    elif numbers is None and is_op(node, "Squeeze"):
        numbers = ()
    if numbers is None:
        return None
    if is_op(node, "Squeeze"):
        dropped = squeezed_axes(numbers, shape) or []
        return tuple(d for axis, d in enumerate(shape) if axis not in dropped)
    if is_op(node, "Unsqueeze"):
        return unsqueezed(numbers, shape)
    return reshaped(numbers, shape, bool(attribute(node, "allowzero", 0)))


def _view(base: ir.TensorProtocol, shape: tuple[int, ...], move: _Move) -> tensor.Recipe:
    def arrays() -> Iterator[np.ndarray]:
        yield base.numpy() if move is None else move(base.numpy())

    return tensor.Recipe(base.dtype, shape, arrays)
