"""A model's shapes at concrete sizes of its inputs, without its weights: what a run would say of them, in
milliseconds.

Every value is either a small array, where its elements follow from sizes and constants alone (shapes on their
way to a Reshape, positions that index a table), or a shape. What is all arrays is computed by the float64
kernels, the rest by the shape rules of bnfold/inference; where those are silent, onnx's own inference is
asked. What nobody knows stays unknown.

    contradiction   the first node whose inputs do not fit, and the sizes that differ there
    blind           values that hold nothing at these sizes: empty ones, and those that are constant because
                    what they are normalised over is a single element

It is a forecast: the engine that runs the model is the judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any

import numpy as np

from ...inference.constants import Constants
from ...inference.node_arguments import reader
from ...inference.rule_context import Shape
from ...inference.shape_rules import RULES
from ...inference.size_bounds import elements
from ...ir.graph import STANDARD, GraphLike, attribute, bodies, ir, is_op, label, opset
from ...ir.tensor import dims
from ...operators.arguments import Dim, Sizes, SizesDiffer, Window, windows
from ...records import dataclass
from ..truth.call import Call, Frame
from ..truth.interpreter import Interpreter
from ..truth.kernels import KERNELS
from ..truth.number_formats import storage_of, widened

SMALL = 4096  # elements of an array that is computed
_WRONG = (ArithmeticError, AttributeError, IndexError, LookupError, TypeError, ValueError)
_DEEPEST = 16  # functions inside functions


@dataclass(frozen=True)
class Contradiction:
    """`place` counts the nodes that a run gets past before it; `sizes` are the two numbers that have to be
    the same, empty where something else is wrong."""

    node: ir.Node
    place: int
    reason: str
    sizes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{label(self.node)}: {self.node.op_type}: {self.reason}"


@dataclass
class Outcome:
    """What a dry run came to. `shapes` holds a value's shape; a dim that is not known is a symbol."""

    contradiction: Contradiction | None = None
    blind: list[str] = field(default_factory=list)
    shapes: dict[ir.Value, Shape | None] = field(default_factory=dict)

    @property
    def reached(self) -> float:
        """How many nodes a run gets past."""
        return math.inf if self.contradiction is None else self.contradiction.place


class DryRun:
    """Dry runs of one model. What its constants hold is read once."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.interpreter = Interpreter(model)
        self.constants: dict[ir.Value, np.ndarray | None] = {}

    def __call__(self, inputs: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> Outcome:
        """`inputs` gives the shapes of the graph's inputs, `sizes` what its symbols stand for."""
        walk = _Walk(self, sizes)
        frame = Frame(opset(self.model), self.model.opset_imports)
        for value in self.model.graph.inputs:
            if (shape := inputs.get(value.name or "")) is not None:
                walk.shapes[value] = shape
        with suppress(_Stopped):
            walk.graph(self.model.graph, frame)
        return walk.outcome

    def stored(self, value: ir.Value) -> np.ndarray | None:
        """The elements of a small initializer."""
        if value not in self.constants:
            tensor = value.const_value if value.producer() is None else None
            small = tensor is not None and tensor.dtype != ir.DataType.STRING and tensor.size <= SMALL
            self.constants[value] = widened(tensor.numpy()) if small else None  # type: ignore[union-attr]
        return self.constants[value]


class _Stopped(Exception):
    """A contradiction was found."""


class _Known(Constants):
    """Constants as the rules of shapes ask for them: whatever is known at these sizes."""

    def __init__(self, walk: _Walk) -> None:
        super().__init__(walk.run.model, freeze_initializers=True)
        self._walk = walk

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The elements, where they are known."""
        return None if value is None else self._walk.array(value)


class _Walk:
    """One dry run. The rules of shapes ask it what they ask of a model's shapes (`ShapeContext`)."""

    def __init__(self, run: DryRun, sizes: Mapping[str, int]) -> None:
        self.run, self.sizes = run, sizes
        self.outcome = Outcome()
        self.shapes = self.outcome.shapes
        self.contents: dict[ir.Value, np.ndarray] = {}
        self.constants: Constants = _Known(self)
        self.place = 0
        self._symbols = 0

    # -- what rules ask

    def symbol(self) -> str:
        """A size that equals no other."""
        self._symbols += 1
        return f"?{self._symbols}"

    def opset(self, node: ir.Node) -> int:
        """The version of the standard domain that a node follows."""
        return opset(self.run.model, node.graph)

    def content(self, value: ir.Value | None) -> Sizes | None:
        """The elements of a small integer tensor."""
        found = None if value is None else self.array(value)
        if found is None or found.ndim > 1 or found.dtype.kind not in "iu":
            return None
        return tuple(int(n) for n in found.reshape(-1))

    def integers(self, value: ir.Value | None) -> list[int] | None:
        """The numbers of a row that are all known."""
        return self.constants.integers(value)

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value."""
        return None if value is None else self.shape(value)

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The element type of a value."""
        return None if value is None else storage_of(self.array(value), value.dtype)

    def dims(self, value: ir.Value | None) -> Shape | None:
        """The shape that a small integer tensor holds."""
        if value is None:
            return None
        if (content := self.array(value)) is not None and content.ndim <= 1:
            return tuple(int(d) for d in content.reshape(-1))
        length = self.dim(value, 0)
        return None if length is None else tuple(self.symbol() for _ in range(length))

    def dim(self, value: ir.Value | None, axis: int) -> int | None:
        """A dim that is known."""
        shape = None if value is None else self.shape(value)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        found = shape[axis]
        return found if isinstance(found, int) else None

    # -- values

    def array(self, value: ir.Value) -> np.ndarray | None:
        """The elements of a value, where they are known."""
        found = self.contents.get(value)
        return self.run.stored(value) if found is None and value not in self.shapes else found

    def shape(self, value: ir.Value) -> Shape | None:
        """The shape of a value: found, or as it is stored or declared."""
        if value not in self.shapes:
            if value.const_value is not None and value.producer() is None:
                return dims(value.const_value)
            self.shapes[value] = self._declared(value)
        return self.shapes[value]

    def _declared(self, value: ir.Value) -> Shape | None:
        if value.shape is None:
            return None
        given = (d if isinstance(d, int) else self.sizes.get(d.value or "") for d in value.shape)
        return tuple(d if d is not None and d >= 0 else self.symbol() for d in given)

    # -- nodes

    def graph(self, graph: GraphLike, frame: Frame, depth: int = 0) -> None:
        """Every node of a graph. Raises _Stopped at the first contradiction."""
        for node in graph:
            self._visit(node, frame, depth)

    def _visit(self, node: ir.Node, frame: Frame, depth: int) -> None:
        function = self.run.model.functions.get(node.op_identifier())
        if function is not None:
            return self._function(function, node, frame, depth)
        self.place += 1
        if is_op(node, "If"):
            return self._branches(node, frame, depth)
        if (arrays := self._computed(node, frame)) is not None:
            for value, array in zip(node.outputs, arrays, strict=False):
                self._keep(value, array)
            return None
        shapes = self._ruled(node)
        for value, shape in zip(node.outputs, shapes, strict=False):
            self.shapes[value] = shape if shape is not None else self._declared(value)
            self._look(node, value)
        return None

    def _keep(self, value: ir.Value, array: Any) -> None:
        array = np.asarray(array)
        self.shapes[value] = array.shape
        if array.size <= SMALL:
            self.contents[value] = array

    def _look(self, node: ir.Node, value: ir.Value) -> None:
        """Does a value hold anything, and is it possible at all?"""
        shape = self.shapes[value]
        sizes = [d for d in shape or () if isinstance(d, int)]
        if any(d < 0 for d in sizes):
            self._stop(node, f"a size of {min(sizes)}")
        if 0 in sizes or _single(node, shape):
            self.outcome.blind.append(value.name or label(node))

    def _stop(self, node: ir.Node, reason: str, sizes: Sequence[int] = ()) -> None:
        self.outcome.contradiction = Contradiction(node, self.place, reason, tuple(sizes))
        raise _Stopped

    def _computed(self, node: ir.Node, frame: Frame) -> Sequence[Any] | None:
        """The node's results, where all that it reads is known."""
        if is_op(node, "Shape", "Size"):
            return self._sizes_of(node)
        if node.domain not in STANDARD or node.op_type not in KERNELS or bodies(node):
            return None
        arrays = [None if v is None or not v.name else self.array(v) for v in node.inputs]
        if any(a is None for a, v in zip(arrays, node.inputs, strict=True) if v is not None and v.name):
            return None
        if node.op_type != "Constant" and not elements(node, arrays) <= SMALL:
            return None
        while arrays and arrays[-1] is None:
            arrays.pop()
        for value, array in zip(node.inputs, arrays, strict=False):
            if value is not None:
                frame.types[value] = storage_of(array, value.dtype)
        try:
            with np.errstate(all="ignore"):
                found = KERNELS[node.op_type](Call(node, frame, self.run.interpreter.graph), *arrays)
        except _WRONG:  # the rule of its shape says what is wrong
            return None
        return found if isinstance(found, tuple) else (found,)

    def _sizes_of(self, node: ir.Node) -> Sequence[Any] | None:
        value = node.inputs[0]
        shape = None if value is None else self.shape(value)
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        if is_op(node, "Size"):
            return [np.array(math.prod(d for d in shape if isinstance(d, int)), np.int64)]
        return [np.array(shape[attribute(node, "start", 0) : attribute(node, "end")], np.int64)]

    def _ruled(self, node: ir.Node) -> Sequence[Shape | None]:
        """The shapes that the node's rule gives, or onnx's own inference."""
        inputs = [None if v is None or not v.name else self.shape(v) for v in node.inputs]
        refers = any(a.is_ref() for a in node.attributes.values())
        rule = RULES.get(node.op_type) if node.domain in STANDARD and not refers else None
        found: Sequence[Shape | None] = ()
        if rule is not None:
            try:
                self._check(node, inputs)
                found = rule(self, node, inputs) or ()
            except SizesDiffer as error:
                self._stop(node, str(error), error.sizes)
            except _WRONG as error:
                self._stop(node, str(error))
        elif node.domain in STANDARD and not bodies(node):
            found = self._inferred(node, inputs)
        return [*found, *(None for _ in range(len(node.outputs) - len(found)))]

    def _check(self, node: ir.Node, inputs: Sequence[Shape | None]) -> None:
        """What rules let pass so that folding can explain it."""
        if is_op(node, "Gemm"):
            for shape in inputs[:2]:
                if shape is not None and len(shape) != 2:
                    raise ValueError(f"{len(shape)} axes are no matrix")
        for window, size in _windows(node, inputs):
            if isinstance(size, int) and not window.same and size + sum(window.pads) < window.reach:
                raise ValueError(f"a window of {window.reach} does not fit an axis of {size}")
        if is_op(node, "Gather") and inputs[0] is not None and node.inputs[1] is not None:
            taken, size = self.array(node.inputs[1]), inputs[0][attribute(node, "axis", 0)]
            if taken is not None and taken.size and isinstance(size, int) and int(taken.max()) >= size:
                raise ValueError(f"an index of {int(taken.max())} into {size} entries")

    def _inferred(self, node: ir.Node, inputs: Sequence[Shape | None]) -> Sequence[Shape | None]:
        """onnx's own inference of one node; nothing where it cannot say."""
        import onnx

        try:
            schema = onnx.defs.get_schema(node.op_type, opset(self.run.model, node.graph), "")
            proto = ir.to_proto(node)
            types, contents = {}, {}
            for value, shape in zip(node.inputs, inputs, strict=True):
                if value is None or not value.name:
                    continue
                content = self.array(value)
                sizes = None if shape is None else [d if isinstance(d, int) else None for d in shape]
                types[value.name] = onnx.helper.make_tensor_type_proto(
                    int(storage_of(content, value.dtype)), sizes
                )
                if content is not None and content.dtype.kind in "iu":
                    contents[value.name] = onnx.numpy_helper.from_array(content)
            found = onnx.shape_inference.infer_node_outputs(
                schema, proto, types, contents, opset_imports=list(_imports(self.run.model))
            )
        except Exception:  # onnx's classes of errors share no base; what it cannot infer is unknown
            return ()
        return [_proto_shape(found.get(v.name or ""), self) for v in node.outputs]

    def _function(self, function: ir.Function, node: ir.Node, frame: Frame, depth: int) -> None:
        if depth >= _DEEPEST:
            return
        given = {
            **{name: a for name, a in function.attributes.items() if a.value is not None},
            **Call(node, frame, self.run.interpreter.graph).attributes,
        }
        inner = Frame(opset(self.run.model, function.graph), function.opset_imports, attributes=given)
        for index, value in enumerate(function.inputs):
            outer = node.inputs[index] if index < len(node.inputs) else None
            self._alias(value, outer)
        self.graph(function.graph, inner, depth + 1)
        for outer, value in zip(node.outputs, function.outputs, strict=False):
            self._alias(outer, value)

    def _branches(self, node: ir.Node, frame: Frame, depth: int) -> None:
        """The branch that is taken; where that is not known, what both agree on."""
        condition = None if node.inputs[0] is None else self.array(node.inputs[0])
        names = ["then_branch", "else_branch"]
        if condition is not None:
            names = names[:1] if condition.any() else names[1:]
        place = self.place
        found: list[list[Shape | None]] = []
        for name in names:
            branch: ir.Graph = attribute(node, name)
            try:
                self.graph(branch, frame, depth)
            except _Stopped:
                if condition is not None:
                    raise
                self.outcome.contradiction = None
            else:
                found.append([self.shape(v) for v in branch.outputs])
            self.place = place
        for index, value in enumerate(node.outputs):
            shapes = {shape[index] for shape in found if index < len(shape)}
            self.shapes[value] = shapes.pop() if len(shapes) == 1 else self._declared(value)

    def _alias(self, value: ir.Value, known: ir.Value | None) -> None:
        """A value that is another one's under its own name."""
        self.contents.pop(value, None)
        self.shapes[value] = None if known is None else self.shape(known)
        if known is not None and (content := self.array(known)) is not None:
            self.contents[value] = content


def _single(node: ir.Node, shape: Shape | None) -> bool:
    """Is what a node normalises over a single element, so that it gives a constant?"""
    if shape is None or not is_op(node, "Softmax", "LogSoftmax", "InstanceNormalization") or not shape:
        return False
    if is_op(node, "InstanceNormalization"):
        return len(shape) > 2 and all(d == 1 for d in shape[2:])
    axis: int = attribute(node, "axis", -1)
    return -len(shape) <= axis < len(shape) and shape[axis] == 1


def _windows(node: ir.Node, inputs: Sequence[Shape | None]) -> Iterator[tuple[Window, Dim]]:
    """The windows of a convolution or pool, each with the size of the axis that it goes over."""
    x = inputs[0] if inputs else None
    if x is None or not is_op(node, "Conv", "MaxPool", "AveragePool", "LpPool"):
        return
    weight = inputs[1] if is_op(node, "Conv") and len(inputs) > 1 else None
    kernel = attribute(node, "kernel_shape") or (weight or ())[2:]
    known = [k for k in kernel if isinstance(k, int)]
    if len(known) == len(x) - 2:
        yield from zip(windows(reader(node), known), x[2:], strict=True)


def _imports(model: ir.Model) -> Iterable[Any]:
    import onnx

    return (onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items())


def _proto_shape(proto: Any, walk: _Walk) -> Shape | None:
    if proto is None or not proto.tensor_type.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") else walk.symbol() for d in proto.tensor_type.shape.dim
    )
