"""The truth: a model run in float64, node by node.

    Interpreter(model).run(feeds)                    every float value in double, whatever the model stores
    Interpreter(model, Rounding(seed)).run(feeds)    the same, each node's result rounded to its storage type:
                                                     a stand-in for an engine where onnxruntime has none
                                                     (decision: what it cannot run)

Nodes run in topological order; a value is freed after its last reader. Heavy operators, and those whose
implementation in onnx is slow or wrong, have kernels of our own (kernels/, one table); everything else goes
through onnx's reference implementation (onnx_reference.py). Bodies (If, Loop, Scan) and model-local functions
run in the same way; a body sees the values around it because a value is its own key.

A large weight of a linear operator stays as it is stored and is widened part by part (large_weights.py).

Rule 1: floats are widened on entry (feeds, initializers, constants) and stay float64; a cast to an integer or
        bool is real.
Rule 2: an operator without any implementation is opaque: both models get the same seeded stand-in for its
outputs, and
        what it was given is recorded, so that the parts around it can be judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import Unsupported
from ...files.memory import SHORT, at_most
from ...inference import Shapes
from ...inference.constants import Constants
from ...ir.graph import GraphLike, ir, label, opset, reads, source_text
from ...ir.tensor import Recipe, dims, nbytes
from ...operators.table import op
from ...records import dataclass
from . import large_weights, onnx_reference, unknown_operators
from .call import Call, Frame
from .fused_operators import Parts, parts_of
from .kernels import kernel_of
from .large_weights import Stored, Weight, changed
from .number_formats import Rounding, is_float, storage_of, widened

MADE_BYTES = 64 << 20  # of weights that were made while they were read
SMALL = 1 << 10  # numbers of a weight that stays widened: parts of a model are run thousands of times


class CannotEvaluate(Exception):
    """A node that the interpreter cannot compute. `node` names it."""

    def __init__(self, node: str, reason: str) -> None:
        self.node = node
        self.reason = reason
        super().__init__(f"{node}: {reason}")


@dataclass
class Step:
    """One node that has been computed: what it read, what it gave, and the storage types of that; `again`
    computes it on other arguments."""

    node: ir.Node
    call: Call
    arguments: list[Any]
    results: list[Any]
    kinds: list[ir.DataType]
    again: Callable[[list[Any]], Sequence[Any]]


class Known:
    """What is known of the constants of one model, for all interpreters that run it: what the model computes
    of them, and small weights, widened.

    Folded weights are made while they are read. The last MADE_BYTES of them are kept: a part of a model is
    run several times before the next part is."""

    def __init__(self, model: ir.Model) -> None:
        self.constants = Constants(model)
        self._shapes = Shapes(model)
        self._dtypes: dict[ir.Value, ir.DataType | None] = {}
        self.small: dict[ir.Value, np.ndarray] = {}
        self._made: dict[ir.Value, np.ndarray] = {}  # the one that was read last comes last
        self._made_bytes = 0

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The type of a value that does not declare one, as far as the values around it say it."""
        if value not in self._dtypes:
            self._dtypes[value] = self._shapes.dtype(value)
        return self._dtypes[value]

    def stored(self, value: ir.Value, tensor: ir.TensorProtocol) -> np.ndarray:
        """The values of a constant, as they are stored."""
        if not isinstance(tensor, Recipe):
            return tensor.numpy()
        array = self._made.pop(value, None)
        if array is None:
            array = tensor.numpy()
            self._made_bytes += array.nbytes
        while self._made and self._made_bytes > at_most(MADE_BYTES):
            self._made_bytes -= self._made.pop(next(iter(self._made))).nbytes
        self._made[value] = array
        return array


class Interpreter:
    """Runs one model, and parts of it, as often as you like. `stand_ins` remembers what opaque operators
    gave, so that a second model sees the same. `known` is another interpreter's of the same model."""

    def __init__(
        self,
        model: ir.Model,
        rounding: Rounding | None = None,
        stand_ins: unknown_operators.StandIns | None = None,
        known: Known | None = None,
    ) -> None:
        self.model = model
        self.rounding = rounding
        self.stand_ins = stand_ins
        self.outputs: dict[str, Any] = {}
        self._dead: dict[GraphLike, dict[ir.Node, list[ir.Value]]] = {}
        self._onnx_reference = onnx_reference.Evaluators()
        self.known = known or Known(model)

    def rounding_by(self, rounding: Rounding) -> Interpreter:
        """The same that rounds each result; what is known of the model's constants stays known."""
        return Interpreter(self.model, rounding, self.stand_ins, self.known)

    def run(self, feeds: Mapping[str, np.ndarray], watch: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Outputs, and the watched values of the main graph, by name. An input without a feed takes its
        initializer."""
        watched: dict[str, Any] = {}
        wanted = set(watch)
        for step in self.walk(feeds):
            watched.update(
                {v.name: r for v, r in zip(step.node.outputs, step.results, strict=False) if v.name in wanted}
            )
        return {**watched, **self.outputs}

    def walk(self, feeds: Mapping[str, np.ndarray]) -> Iterator[Step]:
        """The main graph, node by node. Whoever walks may change `step.results`; the nodes behind see that.
        Then `outputs` is there."""
        graph = self.model.graph
        frame = Frame(opset(self.model), self.model.opset_imports)
        for value in graph.inputs:
            if (fed := feeds.get(value.name or "")) is not None:
                frame.values[value], frame.types[value] = widened(fed), storage_of(fed, value.dtype)
            elif value.name not in graph.initializers:
                raise CannotEvaluate(value.name or "", "the input has no feed")
        last = self._last_reads(graph)
        for node in graph:
            step = self._step(node, frame)
            yield step
            self._keep(step, frame, last)
        self.outputs = {value.name or "": self._value(value, frame) for value in graph.outputs}

    def part(self, nodes: Iterable[ir.Node], frame: Frame) -> Iterator[Step]:
        """Some nodes of a graph in order; the frame holds what they read from outside of them."""
        for node in nodes:
            step = self._step(node, frame)
            yield step
            self._keep(step, frame, {})

    def graph(self, graph: GraphLike, frame: Frame) -> list[Any]:
        """The outputs of a body or function whose inputs are bound in the frame."""
        last = self._last_reads(graph)
        for node in graph:
            self._keep(self._step(node, frame), frame, last)
        results = [self._value(value, frame) for value in graph.outputs]
        for value in graph.outputs:
            if not value.is_graph_input() and value.graph is graph:
                frame.values.pop(value, None)
        return results

    def _step(self, node: ir.Node, frame: Frame) -> Step:
        arguments = [
            None if value is None or not value.name else self._value(value, frame) for value in node.inputs
        ]
        while arguments and arguments[-1] is None:
            arguments.pop()
        call = Call(node, frame, self.graph)
        try:
            with np.errstate(all="ignore"):
                results = list(self._results(call, arguments, frame))
        except (CannotEvaluate, Unsupported):
            raise
        except MemoryError as error:
            raise CannotEvaluate(label(node), SHORT) from error
        except (
            Exception
        ) as error:  # a kernel's complaint about values of an untrusted model becomes one sentence
            raise CannotEvaluate(label(node), f"{node.op_type}: {type(error).__name__}: {error}") from error
        kinds = [
            self._storage(node, value, result, frame)
            for value, result in zip(node.outputs, results, strict=False)
        ]
        return Step(node, call, arguments, results, kinds, lambda given: self._results(call, given, frame))

    def _keep(self, step: Step, frame: Frame, last: Mapping[ir.Node, list[ir.Value]]) -> None:
        for value, result, kind in zip(step.node.outputs, step.results, step.kinds, strict=False):
            if value.name:
                frame.types[value] = kind
                frame.values[value] = self.rounding(result, kind) if self.rounding else result
        for value in last.get(step.node, ()):
            frame.values.pop(value, None)

    def _results(self, call: Call, arguments: list[Any], frame: Frame) -> Sequence[Any]:
        node = call.node
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            return self._function(function, call, arguments, frame)
        fixed = [self.known.constants.typed(value) for value in node.outputs if value.name]
        if fixed and len(fixed) == len(node.outputs) and all(array is not None for array in fixed):
            return [
                widened(array) for array in fixed
            ]  # a constant is what the model's own arithmetic computes
        if (parts := parts_of(node)) is not None:
            return [self._of_parts(parts, arguments, frame)]
        kernel = kernel_of(node)
        if kernel is not None:
            results = kernel(call, *arguments)
            return results if isinstance(results, tuple) else (results,)
        found = None if op(node).random else self._onnx_reference(call, arguments, frame.imports)
        if found is not None:
            return tuple(widened(result) for result in found)
        if self.stand_ins is None:
            raise CannotEvaluate(
                label(node),
                f"no implementation is known of the operator {node.domain or 'ai.onnx'}::{node.op_type}",
            )
        return self.stand_ins(node, arguments, source_text(node))

    def _of_parts(self, parts: Parts, arguments: list[Any], frame: Frame) -> Any:
        """What a fused node gives; it rounds once, and not after each part."""
        inner = Frame(frame.opset, frame.imports)
        for value, argument in zip(parts.inputs, arguments, strict=False):
            if value is not None:
                inner.values[value] = argument
        for node in parts.nodes:
            inner.values[node.outputs[0]] = self._step(node, inner).results[0]
        return inner.values[parts.nodes[-1].outputs[0]]

    def _function(self, function: ir.Function, call: Call, arguments: list[Any], frame: Frame) -> list[Any]:
        given = {
            **{name: a for name, a in function.attributes.items() if a.value is not None},
            **call.attributes,
        }
        inner = Frame(opset(self.model, function.graph), function.opset_imports, attributes=given)
        for index, value in enumerate(function.inputs):
            inner.values[value] = arguments[index] if index < len(arguments) else None
            inner.types[value] = call.storage(index)
        return self.graph(function.graph, inner)

    def _value(self, value: ir.Value, frame: Frame) -> Any:
        if value in frame.values:
            return frame.values[value]
        if value.const_value is not None and value.producer() is None:
            frame.types[value] = value.const_value.dtype
            frame.values[value] = self._weight(value)
            return frame.values[value]
        raise CannotEvaluate(value.name or "", "nothing computes this value")

    def _weight(self, value: ir.Value) -> Weight:
        found: Weight
        if (known := self.known.small.get(value)) is not None:
            found = known
        else:
            found = self._large(value) or constant(value, self.known)
            if isinstance(found, np.ndarray) and found.size <= SMALL:
                found = self.known.small[value] = found.view()
                found.flags.writeable = False
        rounding, kind = self.rounding, value.const_value.dtype  # type: ignore[union-attr]
        if rounding is None:
            return found
        converted = rounding.converted and kind.bitwidth <= 16 and math.prod(found.shape) > 1
        if not converted and not any(place and op(node).weighted for node, place in value.uses()):
            return found
        return changed(found, lambda part: rounding.jittered(part, kind))  # type: ignore[no-any-return]

    def _large(self, value: ir.Value) -> Stored | None:
        """A large weight as it is stored, where kernels that can take it so are its only readers."""
        tensor, functions = value.const_value, self.model.functions
        if (
            tensor is None
            or nbytes(tensor.dtype, dims(tensor)) < large_weights.LEAST_BYTES
            or value.is_graph_output()
        ):
            return None
        if not all(
            place == 1 and op(node).streams_weight and node.op_identifier() not in functions
            for node, place in value.uses()
        ):
            return None
        array = self.known.stored(value, tensor)
        return Stored(array) if is_float(array.dtype) and array.dtype != np.float64 else None

    def _storage(self, node: ir.Node, value: ir.Value, result: Any, frame: Frame) -> ir.DataType:
        """The type that a value has in the model: as declared, else as its operator says, else that of the
        first float that its node reads."""
        if value.dtype is not None:
            return value.dtype
        if not isinstance(result, np.ndarray) or result.dtype != np.float64:
            return storage_of(result, None)
        if (kind := self.known.dtype(value)) is not None and kind.is_floating_point():
            return kind
        read = (frame.types[v] for v in node.inputs if v is not None and v in frame.types)
        return next((kind for kind in read if kind.is_floating_point()), ir.DataType.FLOAT)

    def _last_reads(self, graph: GraphLike) -> dict[ir.Node, list[ir.Value]]:
        if graph not in self._dead:
            self._dead[graph] = last_reads(graph)
        return self._dead[graph]


def constant(value: ir.Value, known: Known | None = None) -> np.ndarray:
    """An initializer's values, widened."""
    tensor: Any = value.const_value
    try:
        return np.asarray(widened(tensor.numpy() if known is None else known.stored(value, tensor)))
    except (AttributeError, TypeError, ValueError) as error:
        raise CannotEvaluate(value.name or "", f"the initializer has no dense values ({error})") from error


def last_reads(graph: GraphLike) -> dict[ir.Node, list[ir.Value]]:
    """Which values of a graph nobody reads after a node. A body reads for the node that holds it."""
    kept = set(graph.outputs)
    owned = set(graph.initializers.values()) if isinstance(graph, ir.Graph) else set()
    seen: set[ir.Value] = set()
    last: dict[ir.Node, list[ir.Value]] = {}
    for node in graph:
        owned.update(node.outputs)
    for node in reversed(graph):
        touched = dict.fromkeys((*reads(node), *node.outputs))
        dead = [v for v in touched if v in owned and v not in seen and v not in kept]
        seen.update(dead)
        last[node] = dead
    return last
