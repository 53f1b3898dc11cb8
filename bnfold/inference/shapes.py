"""Static shapes, as far as they can be proved.

A shape is a tuple of dims; a dim is an int, or a symbol: a string that stands for one unknown size. Two equal
symbols are provably the same size. Symbols that nothing relates get names of their own (`?1`, `?2` ...), so
that "unknown" never equals "unknown". None instead of a tuple: not even the rank is known.

Shapes are derived from what an operator does to its inputs (shape_rules.py, one row an operator); what a file
declares about an inner value is believed only where no row knows better, because a fold must not rest on a
claim. One pass in graph order, no recursion. A function is met after all that call it: its formal inputs
have what the shapes of the arguments have in common. A declared size below zero is unknown: some exporters
write -1 for that. A node whose arguments contradict its inputs is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from ..ir.calls import Calls
from ..ir.graph import GraphLike, bodies, function_graphs, ir, opset
from ..ir.tensor import dims
from ..operators.table import OPERATORS
from .body_shapes import BODIES, agreed
from .constants import Constants
from .onnx_shapes import by_onnx
from .rule_context import SHAPE_LENGTH, Content, Dim, Shape, with_symbols
from .shape_contents import CONTENTS
from .shape_rules import RULES, Rule
from .value_types import own_type, typed_alike

T = TypeVar("T")
MAX_RANK = 32  # axes that numpy can broadcast; what has more is as good as unknown
_NO_SIZE = 1 << 63  # sizes are int64: what is this large is none


class Shapes:
    """Shapes of all values of a model, derived once, on the first question."""

    def __init__(self, model: ir.Model, freeze_initializers: bool = False) -> None:
        self._model = model
        self._known: dict[ir.Value, Shape | None] = {}
        self._contents: dict[ir.Value, Content | None] = {}
        self._symbols = 0
        self._derived = False
        self._contradictory: set[ir.Node] = set()
        self._functions = function_graphs(model)
        self._calls = Calls(model)
        self._types_given: dict[ir.Value, ir.DataType | None] = {}
        self.constants = Constants(model, freeze_initializers, self.of, self.dtype, self._sizes)

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value, or None where not even its rank is known."""
        if value is None:
            return None
        self._derive_once()
        return self._so_far(value)

    def contradicts(self, node: ir.Node) -> bool:
        """Do the arguments of a node not fit its inputs, so that no run can get past it?"""
        self._derive_once()
        return node in self._contradictory

    def rank(self, value: ir.Value | None) -> int | None:
        """The rank of a value, or None."""
        shape = self.of(value)
        return None if shape is None else len(shape)

    def content(self, value: ir.Value | None) -> Content | None:
        """The elements of a small integer tensor, as far as they are known (see shape_contents.py)."""
        if value is None:
            return None
        if value not in self._contents:
            self._contents[value] = self._stored_content(value)
        return self._contents[value]

    def _stored_content(self, value: ir.Value) -> Content | None:
        stored = self.constants.stored(value)
        if (
            stored is None
            or stored.dtype not in (ir.DataType.INT64, ir.DataType.INT32)
            or math.prod(dims(stored)) > SHAPE_LENGTH
        ):
            return None
        return tuple(int(d) for d in stored.numpy().reshape(-1))

    def integers(self, value: ir.Value | None) -> list[int] | None:
        """The numbers of a row that are all known: constant, or computed from sizes that are. Raises
        ValueError for a constant that is no row of integers."""
        if (stored := self.constants.integers(value)) is not None:
            return stored
        found = self.content(value)
        numbers = [d for d in found or () if isinstance(d, int)]
        return numbers if found is not None and len(numbers) == len(found) else None

    def _sizes(self, value: ir.Value) -> np.ndarray | None:
        """What a small integer tensor holds, where all of it is known though not all sizes that it was cut
        from are."""
        found = self._contents.get(value)
        numbers = [d for d in found or () if isinstance(d, int)]
        if found is None or len(numbers) != len(found):
            return None
        shape, dtype = self.of(value), self.dtype(value)
        if shape not in ((), (len(numbers),)) or dtype is None:
            return None
        return np.array(numbers, dtype.numpy()).reshape(shape)

    def dims(self, value: ir.Value | None) -> Shape | None:
        """A shape that a small integer tensor holds; what is not known in it is a fresh symbol. None: not
        even its length is known."""
        found = self.content(value)
        if (
            found is None
            and (stored := self.constants.integers(value)) is not None
            and len(stored) <= MAX_RANK
        ):
            found = tuple(stored)
        if found is None and (length := self.dim(value, 0)) is not None and length <= SHAPE_LENGTH:
            found = (None,) * length
        return None if found is None else tuple(self.symbol() if d is None else d for d in found)

    def dim(self, value: ir.Value | None, axis: int) -> int | None:
        """A dim that is a known number, or None."""
        shape = self.of(value)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        found = shape[axis]
        return found if isinstance(found, int) else None

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The type of a value: declared, or that of the values it is computed from. A formal input of a
        function is of the type that all calls give it."""
        found, formals = self._type_search(value)
        if found is None and formals:
            self._find_types(formals)
            found, _ = self._type_search(value)
        return found

    def _type_search(self, value: ir.Value | None) -> tuple[ir.DataType | None, list[ir.Value]]:
        """The type of a value, or else the formal inputs of functions that have to be asked first."""
        seen: set[ir.Value] = set()
        formals: list[ir.Value] = []
        waiting = [value]
        while waiting and len(seen) < _TYPE_SEARCH:
            current = waiting.pop(0)
            if current is None or current in seen:
                continue
            seen.add(current)
            node = current.producer()
            known = own_type(current, self.constants) or self._types_given.get(current)
            if known is not None:
                return known, []
            if node is not None:
                waiting.extend(typed_alike(current, node, self._model))
            elif current.graph in self._functions and current not in self._types_given:
                formals.append(current)
        return None, formals

    def _find_types(self, formals: Iterable[ir.Value]) -> None:
        """Remember the types that all calls give formal inputs. There is no recursion: one waits on the stack
        until those that its calls ask are known. The type is remembered, and no value of it: folding replaces
        the arguments of calls, and a value that is gone says nothing more."""
        stack, begun = list(formals), set[ir.Value]()
        while stack:
            formal = stack[-1]
            begun.add(formal)  # functions that call each other say nothing more of it
            asked = [] if formal in self._types_given else self._argument_types(formal)
            waiting = {one: None for _, ahead in asked for one in ahead if one not in begun}
            stack.extend(waiting)
            if not waiting:
                stack.pop()
                types = {
                    known for known, ahead in asked if formal not in ahead
                }  # its own type is no other one
                self._types_given.setdefault(formal, types.pop() if len(types) == 1 else None)

    def _argument_types(self, formal: ir.Value) -> list[tuple[ir.DataType | None, list[ir.Value]]]:
        return [self._type_search(value) for value in self._calls.arguments(formal)]

    def put(self, value: ir.Value, shape: Shape | None) -> None:
        """A value that was made while folding."""
        self._known[value] = shape

    def opset(self, node: ir.Node) -> int:
        """The version of the standard domain that a node follows."""
        return opset(self._model, node.graph)

    def in_function(self, graph: GraphLike | None) -> bool:
        """Is it the graph of a function?"""
        return graph in self._functions

    def symbol(self) -> str:
        """A size that equals no other."""
        self._symbols += 1
        return f"?{self._symbols}"

    def _so_far(self, value: ir.Value) -> Shape | None:
        if value not in self._known:
            self._known[value] = self._declared(value)
        return self._known[value]

    def _declared(self, value: ir.Value) -> Shape | None:
        stored = self.constants.stored(value) if value.is_initializer() else None
        if stored is not None:
            return dims(stored)
        if value.shape is None or len(value.shape) > MAX_RANK:
            return None
        return tuple(self._size(d if isinstance(d, int) else d.value) for d in value.shape)

    def _size(self, declared: int | str | None) -> Dim:
        if isinstance(declared, int) and declared >= 0:
            return declared
        return declared if isinstance(declared, str) else self.symbol()

    def _derive_once(self) -> None:
        if self._derived:
            return
        self._derived = True
        for graph in (self._model.graph, *self._calls.callers_first()):
            for formal in graph.inputs if graph in self._functions else ():
                self.dtype(formal)
                self._known[formal] = self._common(
                    [self._so_far(v) for v in self._calls.arguments(formal) if v]
                )
            waiting = [(node, False) for node in reversed(graph)]
            while waiting:
                node, inside_known = waiting.pop()
                inner = [] if inside_known else bodies(node)
                if inner:  # a node with bodies gives what they give
                    waiting.append((node, True))
                    waiting.extend((one, False) for body in reversed(inner) for one in reversed(body))
                else:
                    self._visit(node)

    def _common(self, shapes: list[Shape | None]) -> Shape | None:
        """What shapes have in common: their rank, and the sizes that are the same number in all."""
        found = agreed(self, *shapes) if shapes else None
        if found is None:
            return None
        # a symbol of the callers is none of the function, which may use the same word for another size
        return with_symbols(self, (d if isinstance(d, int) else None for d in found))

    def _visit(self, node: ir.Node) -> None:
        rule = _rule(node)
        inputs = [None if v is None else self._so_far(v) for v in node.inputs]
        found = self._answered(node, lambda: rule(self, node, inputs)) if rule is not None else None
        for value, shape in zip(node.outputs, found or (), strict=False):
            if shape is not None and any(isinstance(d, int) and not 0 <= d < _NO_SIZE for d in shape):
                self._contradictory.add(node)
            elif shape is not None and len(shape) <= MAX_RANK:
                self._known[value] = shape
        if node.domain == "" and node.op_type in CONTENTS and self._holds_sizes(node):
            self._contents[node.outputs[0]] = self._answered(node, lambda: CONTENTS[node.op_type](self, node))

    def _answered(self, node: ir.Node, rule: Callable[[], T]) -> T | None:
        """What a rule says; None where the node's arguments contradict its inputs, so that the rule runs into
        them."""
        try:
            return rule()
        except (ArithmeticError, IndexError, KeyError, TypeError, ValueError):
            self._contradictory.add(node)
            return None

    def _holds_sizes(self, node: ir.Node) -> bool:
        """May its output be a shape on its way? Shape begins one; the others go on with what holds one."""
        if node.op_type == "Shape":
            return True
        shape = self._known.get(node.outputs[0])
        small = shape is None or (
            len(shape) <= 1 and all(isinstance(d, int) and d <= SHAPE_LENGTH for d in shape)
        )
        return small and any(self.content(v) is not None for v in node.inputs)


def _rule(node: ir.Node) -> Rule | None:
    """The rule of a node's shapes: its row, that of its bodies, or else onnx's own inference."""
    if (
        node.domain != ""
        or node.op_type not in OPERATORS
        or any(a.is_ref() for a in node.attributes.values())
    ):
        return None
    return RULES.get(node.op_type) or BODIES.get(node.op_type) or by_onnx


_TYPE_SEARCH = 200  # values looked at to find a type
