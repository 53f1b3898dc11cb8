"""A graph that grows node by node from values of known shape.

Every value carries the numbers that it has in each of the graph's RUNS, which differ in sizes, conditions and
trip counts. onnxruntime computes them as the graph grows, one node at a time: so no shape rule is written
here, what it cannot run is not drawn, and an axis is free exactly where its size differs from run to run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

RUNS = 4
LARGEST = 3000  # elements of a value
WHOLE = (
    "Conv",
    "ConvTranspose",
    "Einsum",
    "MaxPool",
    "AveragePool",
    "Scan",
    "RNN",
    "GRU",
    "LSTM",
)  # on nothing, or with nothing as their result, onnxruntime crashes
Array = np.ndarray


class Rejected(Exception):
    """What was drawn is no node that onnxruntime runs, or its values would grow beyond bounds."""


@dataclass(eq=False)
class Value:
    """A value of the graph: its name, and what it is in each run."""

    name: str
    arrays: list[Array]
    is_constant: bool = False
    readers: int = 0

    @property
    def rank(self) -> int:
        return self.arrays[0].ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.arrays[0].dtype

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [a.shape for a in self.arrays]

    def size(self, axis: int) -> int | None:
        """The size of an axis, None where it is free."""
        sizes = {shape[axis] for shape in self.shapes}
        return sizes.pop() if len(sizes) == 1 else None

    @property
    def shape(self) -> list[int | None]:
        return [self.size(axis) for axis in range(self.rank)]

    def like(self, other: Value) -> bool:
        """Has it the other's type, and its shape in every run?"""
        return self.dtype == other.dtype and self.shapes == other.shapes


@dataclass
class Kept:
    """What all scopes of one model share."""

    rng: np.random.Generator
    opset: int
    floats: np.dtype[Any]
    symbols: dict[str, list[int]]
    count: int = 0
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    feeds: list[dict[str, Array]] = field(default_factory=lambda: [{} for _ in range(RUNS)])
    overridable: set[str] = field(default_factory=set)
    delicate: set[str] = field(default_factory=set)  # constants that must not be nudged: a jump stands behind
    only: str = ""


class Net:
    """A scope in the making: the main graph, a body, or (with `is_function`) a function."""

    def __init__(self, kept: Kept, outer: Net | None = None, is_function: bool = False) -> None:
        self.kept, self.outer, self.is_function = kept, outer, is_function
        self.rng = kept.rng
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: list[Value] = []

    @property
    def depth(self) -> int:
        """How many scopes stand around this one."""
        return 0 if self.outer is None else self.outer.depth + 1

    # Drawing

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """From low to high, both of them possible."""
        return int(self.rng.integers(low, high + 1))

    def axis(self, value: Value) -> int:
        if not value.rank:
            raise Rejected
        return self.integer(0, value.rank - 1)

    def signed(self, axis: int, rank: int, since: int = 11) -> int:
        """An axis counted from either end, where the opset allows that."""
        return axis - rank if self.kept.opset >= since and self.chance(0.4) else axis

    def data(self, *shape: int, low: float = -1.0) -> Array:
        """Weights and the like; numbers of ordinary size, some of them negative."""
        values = self.rng.uniform(low, 1.0, shape)
        return np.where(np.abs(values) < 0.1, 0.3, values).astype(self.kept.floats)

    # Values

    def readable(self) -> list[Value]:
        """What a node may read: the scope's own values, then those of the scopes around it."""
        around = [] if self.outer is None or self.is_function else self.outer.readable()
        return around + self.values

    def candidates(self) -> list[Value]:
        """Run-time floats in the graph's type."""
        return [v for v in self.readable() if v.dtype == self.kept.floats and not v.is_constant]

    def draw(self) -> Value:
        """A value to go on from: mostly one that nothing reads yet, so that chains grow; else any, to be
        shared."""
        found = self.candidates()
        unread = [v for v in found[-6:] if not v.readers]
        return self.pick(*unread) if unread and self.chance(0.85) else self.pick(*found)

    def fresh(self, stem: str) -> str:
        self.kept.count += 1
        return f"{stem}{self.kept.count}"

    def op(self, kind: str, inputs: Sequence[Value | None], **attributes: Any) -> Value:
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(
        self, kind: str, inputs: Sequence[Value | None], outputs: int, domain: str = "", **attributes: Any
    ) -> list[Value]:
        """Add a node. Raises Rejected where onnxruntime does not run it."""
        if kind in WHOLE and any(
            0 in shape for v in inputs if v is not None and v.is_float for shape in v.shapes
        ):
            raise Rejected
        names = [self.fresh("v") for _ in range(outputs)]
        node = helper.make_node(
            kind,
            ["" if v is None else v.name for v in inputs],
            names,
            name="" if self.chance(0.02) else self.fresh(f"{kind}_"),
            domain=domain,
            **{key: value for key, value in attributes.items() if value is not None},
        )
        read = {v.name: v for v in inputs if v is not None}
        inner = set(names_read(node)) - read.keys()
        read |= {v.name: v for v in self.readable() if v.name in inner}
        arrays = evaluated(node, list(read.values()), self.kept)
        if kind in WHOLE and any(0 in a.shape for run in arrays for a in run):
            raise Rejected
        self.nodes.append(node)
        for value in read.values():
            value.readers += 1
        fixed = all(v.is_constant for v in read.values())
        made = [
            Value(name, list(each), fixed)
            for name, each in zip(names, zip(*arrays, strict=True), strict=True)
        ]
        self.values += made
        return made

    def stored(self, array: Array) -> Value:
        """A constant as it is stored: an initializer, or a Constant node."""
        scope = self
        while scope.outer is not None and not scope.is_function and self.chance(0.3):
            scope = scope.outer
        value = Value(self.fresh("k"), [array] * RUNS, True)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), value.name)
        if scope.is_function or self.chance(0.2):
            scope.nodes.append(
                helper.make_node("Constant", [], [value.name], name=self.fresh("Constant_"), value=tensor)
            )
        else:
            scope.initializers.append(tensor)
        scope.values.append(value)
        return value

    def attempt(self, step: Any, *arguments: Any) -> Any:
        """Carry out a step, all of it or nothing."""
        before = (len(self.nodes), len(self.initializers), len(self.values))
        shared = (len(self.kept.inputs), len(self.kept.functions))
        try:
            return step(self, *arguments)
        except Rejected:
            del self.nodes[before[0] :], self.initializers[before[1] :], self.values[before[2] :]
            for info in self.kept.inputs[shared[0] :]:
                self.kept.overridable.discard(info.name)
                for feed in self.kept.feeds:
                    feed.pop(info.name, None)
            del self.kept.inputs[shared[0] :], self.kept.functions[shared[1] :]
            return None

    def input(self, stem: str, arrays: list[Array], shape: Sequence[int | str | None]) -> Value:
        """A new input of the model, whichever scope asks for it."""
        value = Value(self.fresh(stem), arrays)
        kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
        self.kept.inputs.append(helper.make_tensor_value_info(value.name, kind, shape))
        for feed, array in zip(self.kept.feeds, arrays, strict=True):
            feed[value.name] = array
        scope = self
        while scope.outer is not None:
            scope = scope.outer
        scope.values.append(value)
        return value


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, or that something in its bodies reads."""
    yield from node.input
    for body in bodies(node):
        for inner in body.node:
            yield from names_read(inner)
        yield from (output.name for output in body.output)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]


def imports(opset: int, functions: Sequence[onnx.FunctionProto]) -> list[onnx.OperatorSetIdProto]:
    found = [helper.make_opsetid("", opset)]
    return [*found, helper.make_opsetid("local", 1)] if functions else found


def ir_version(opset: int) -> int:
    return 8 if opset <= 18 else 10 if opset <= 22 else 11


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """onnxruntime's session without optimisations, in this thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def evaluated(node: onnx.NodeProto, inputs: list[Value], kept: Kept) -> list[list[Array]]:
    """What the node gives in each run. Raises Rejected where it does not run, or gives too much."""
    infos = [
        helper.make_tensor_value_info(v.name, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.rank)
        for v in inputs
    ]
    graph = helper.make_graph([node], "node", infos, [onnx.ValueInfoProto(name=n) for n in node.output])
    model = helper.make_model(
        graph,
        opset_imports=imports(kept.opset, kept.functions),
        functions=kept.functions,
        ir_version=ir_version(kept.opset),
    )
    try:
        runner = session(model)
        fixed = all(v.is_constant for v in inputs)
        count = 1 if fixed else RUNS
        runs = [runner.run(None, {v.name: v.arrays[k] for v in inputs}) for k in range(count)]
    except Exception as error:  # onnxruntime's errors have no common class
        raise Rejected(str(error)) from error
    most = 100 if kept.floats == np.float16 else 1e4
    for array in (a for run in runs for a in run):
        if not isinstance(array, np.ndarray) or array.size > LARGEST or array.ndim > 6:
            raise Rejected
        if array.dtype.kind == "f" and array.size and not np.abs(array).max() <= most:
            raise Rejected
    if len({tuple(a.ndim for a in run) for run in runs}) > 1:
        raise Rejected
    return runs * RUNS if fixed else runs
