"""Models that grow along one dimension alone, for the fit of time against size: a row of GROWING each.

A row makes a serialised model of so many nodes, initializers, bytes and so on. Whatever a file may have many
of, folding must take time that grows with it in a straight line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

SHAPE = (1, 4, 8, 8)
STATISTICS = ("scale", "bias", "mean", "variance")
OPSET = helper.make_opsetid("", 17)


@dataclass
class Graph:
    """A graph that is being made; every tensor has seeded values."""

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    functions: list[FunctionProto] = field(default_factory=list)
    channels: int = 4

    def tensor(self, name: str, shape: Sequence[int]) -> str:
        values = np.random.default_rng(len(self.tensors)).uniform(0.5, 1.5, shape).astype(np.float32)
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, y: str) -> str:
        return self.op("Conv", [x, self.tensor(f"{y}.w", (self.channels, self.channels, 1, 1))], y)

    def norm(self, x: str, y: str) -> str:
        statistics = [self.tensor(f"{y}.{what}", (self.channels,)) for what in STATISTICS]
        return self.op("BatchNormalization", [x, *statistics], y)

    def saved(self, path: Path) -> list[Path]:
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, self.channels, *SHAPE[2:]))
            for name in ("x", *(self.outputs or [self.nodes[-1].output[0]]))
        ]
        graph = helper.make_graph(self.nodes, "growing", ends[:1], ends[1:], self.tensors)
        imports = [OPSET, *([helper.make_opsetid("own", 1)] if self.functions else [])]
        model = helper.make_model(graph, opset_imports=imports, ir_version=9, functions=self.functions)
        path.write_bytes(model.SerializeToString())
        return [path]


def nodes(count: int) -> Graph:
    """A chain of Conv, batch norm and Relu."""
    graph, value = Graph(), "x"
    for at in range(count // 3):
        value = graph.op("Relu", [graph.norm(graph.conv(value, f"c{at}"), f"n{at}")], f"r{at}")
    return graph


def initializers(count: int) -> Graph:
    """One batch norm, and so many tensors of one element."""
    graph = nodes(3)
    for at in range(count):
        graph.tensor(f"t{at}", (1,))
    return graph


def bytes_of_weights(count: int) -> Graph:
    """One Conv of so many bytes, with its batch norm."""
    graph = Graph(channels=max(4, int((count / 4) ** 0.5)))
    graph.norm(graph.conv("x", "c"), "n")
    return graph


def functions(count: int) -> Graph:
    """Functions of the model, each a Conv and a batch norm, each called once."""
    graph, value = Graph(), "x"
    inputs = ["x", "w", *STATISTICS]
    for at in range(count):
        body = [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("BatchNormalization", ["c", *STATISTICS], ["y"]),
        ]
        graph.functions.append(helper.make_function("own", f"f{at}", inputs, ["y"], body, [OPSET]))
        given = [
            graph.tensor(f"f{at}.w", (4, 4, 1, 1)),
            *(graph.tensor(f"f{at}.{s}", (4,)) for s in STATISTICS),
        ]
        value = graph.op(f"f{at}", [value, *given], f"y{at}", domain="own")
    return graph


def calls(count: int) -> Graph:
    """One function with so many callers."""
    graph, value = functions(1), "y0"
    given = list(graph.nodes[0].input[1:])
    for at in range(1, count):
        value = graph.op("f0", [value, *given], f"y{at}", domain="own")
    return graph


def depth(count: int) -> Graph:
    """Scales and shifts one behind the other that nothing can hold."""
    graph, value = Graph(), "x"
    for at in range(count):
        value = graph.op(("Mul", "Add")[at % 2], [value, graph.tensor(f"k{at}", (1, 4, 1, 1))], f"v{at}")
    graph.op("Sigmoid", [value], "y")
    return graph


def declined(count: int) -> Graph:
    """Shifts one behind the other that a Relu at their end declines, each for itself."""
    graph, value = Graph(), "x"
    for at in range(count):
        value = graph.op("Add", [value, graph.tensor(f"k{at}", (1, 4, 1, 1))], f"v{at}")
    graph.norm(graph.conv(graph.op("Relu", [value], "r"), "c"), "n")
    return graph


def computed(count: int) -> Graph:
    """A weight that so many nodes compute."""
    graph = Graph()
    value, one = graph.tensor("w", (4, 4, 1, 1)), graph.tensor("one", (1,))
    for at in range(count):
        value = graph.op("Add", [value, one], f"w{at}")
    graph.norm(graph.op("Conv", ["x", value], "c"), "n")
    return graph


def operands(count: int) -> Graph:
    """A sum of so many convolutions of one value, each with a batch norm."""
    graph = Graph()
    graph.op("Sum", [graph.norm(graph.conv("x", f"c{at}"), f"n{at}") for at in range(count)], "y")
    return graph


def readers(count: int) -> Graph:
    """A batch norm that so many convolutions read."""
    graph = Graph()
    value = graph.norm("x", "n")
    graph.outputs = [graph.conv(value, f"c{at}") for at in range(count)]
    return graph


def outputs(count: int) -> Graph:
    """Batch norms behind one weight that all share, each an output of the graph."""
    graph = Graph()
    weight = graph.tensor("w", (4, 4, 1, 1))
    graph.outputs = [graph.norm(graph.op("Conv", ["x", weight], f"c{at}"), f"n{at}") for at in range(count)]
    return graph


@dataclass(frozen=True)
class Growing:
    """`make(count)`, and the largest count that is measured; the others are halves of it."""

    make: Callable[[int], Graph]
    largest: int

    def counts(self) -> Iterator[int]:
        return (self.largest >> halved for halved in (3, 2, 1, 0))


GROWING = {
    "nodes": Growing(nodes, 12_000),
    "initializers": Growing(initializers, 80_000),
    "bytes of weights": Growing(bytes_of_weights, 800_000_000),
    "functions": Growing(functions, 2_400),
    "calls of one function": Growing(calls, 4_000),
    "depth that nothing holds": Growing(depth, 8_000),
    "depth that is declined": Growing(declined, 4_000),
    "nodes of one weight": Growing(computed, 8_000),
    "operands of one node": Growing(operands, 3_200),
    "readers of one value": Growing(readers, 8_000),
    "outputs": Growing(outputs, 3_200),
}
