"""One graph from one seed: sizes, opset, type of numbers, inputs, nodes, outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .bodies import BODIES, grow
from .net import RUNS, Array, Kept, Net, Value, bodies, imports, ir_version, names_read
from .operators import LINEAR, ROWS

OPSETS = (7, 8, 9, 10, 11, 12, 13, 13, 15, 16, 17, 17, 18, 18, 19, 20, 21, 22, 22, 23)
HELD_BY = {
    "Upsample": range(10),
    "DeformConv": range(19, 99),
    "GroupNormalization": range(21, 99),
    "RMSNormalization": range(23, 99),
}


@dataclass(frozen=True)
class Sample:
    """A model, what to feed in each run, and which of its constants must not be nudged."""

    model: onnx.ModelProto
    feeds: list[dict[str, Array]]
    delicate: frozenset[str]
    seed: int

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in every_node(self.model)}


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a model, of its bodies and its functions."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(inner for body in bodies(node) for inner in body.node)


def random_sample(seed: int, only: str = "") -> Sample:
    """The graph of this seed. With `only`, this operator stands in it more often than others."""
    rng = np.random.default_rng(seed)
    opset = int(rng.choice([o for o in OPSETS if o in HELD_BY.get(only, range(99))]))
    floats = np.dtype(rng.choice([np.float64] * 4 + [np.float32] * 5 + [np.float16]))
    if only in ("Conv", "ConvTranspose", "DeformConv", "AveragePool") and floats == np.float64:
        floats = np.dtype(np.float32)  # onnxruntime has no kernel in double
    cube = rng.random() < 0.2
    symbols = {name: [int(n) for n in rng.integers(1, 6, RUNS)] for name in "NHW"}
    if cube:
        symbols = {name: [4, 4, 3, 4] for name in "NHW"}
    symbols |= {"One": [1] * RUNS, "Four": [4] * RUNS}  # free, though every run has the same size
    net = Net(Kept(rng, opset, floats, symbols, only=only))
    for _ in range(net.integer(1, 3)):
        x = _input(net, 4 if cube else None)
        for _ in range(net.integer(0, 3)):  # where a linear operator stands in front, folds find a place
            net.attempt(net.pick(*LINEAR.values()), x)
    grow(net, net.integer(4, 14))
    if only in ROWS | BODIES:
        for _ in range(6):
            net.attempt((ROWS | BODIES)[only], net.draw())
    grow(net, net.integer(1, 3))
    return _finished(net, seed)


def _input(net: Net, size: int | None) -> Value:
    """An input of one to five axes, most of them fixed."""
    rank = net.pick(1, 2, 3, 4, 4, 4, 5)
    free = [] if net.chance(0.3) else [k for k in range(rank) if k != 1 and net.chance(0.6)]
    names = {k: net.pick(*net.kept.symbols) if k else "N" for k in free}
    dims = [
        names.get(k) or size or (net.integer(1, 6) if k != 1 else net.pick(2, 3, 4, 4, 6, 8))
        for k in range(rank)
    ]
    arrays = [
        net.rng.uniform(-2, 2, [net.kept.symbols[d][run] if isinstance(d, str) else d for d in dims]).astype(
            net.kept.floats
        )
        for run in range(RUNS)
    ]
    declared = [None if isinstance(d, str) and net.chance(0.1) else d for d in dims]
    return net.input("x", arrays, declared)


def _finished(net: Net, seed: int) -> Sample:
    kept = net.kept
    read = {name for node in net.nodes for name in names_read(node)}
    given = {info.name for info in kept.inputs}
    made = [v for v in net.values if not v.is_constant and v.name not in given]
    ends = [v for v in made if v.name not in read or net.chance(0.06)]
    if not ends:
        ends = [net.op("Tanh", [_input(net, None)])]  # what is there may be empty, which nothing reads
    defaults = [numpy_helper.from_array(kept.feeds[0][name], name) for name in sorted(kept.overridable)]
    graph = helper.make_graph(
        net.nodes, "random", kept.inputs, [_output(v) for v in ends], [*net.initializers, *defaults]
    )
    model = helper.make_model(
        graph,
        opset_imports=imports(kept.opset, kept.functions),
        functions=kept.functions,
        ir_version=ir_version(kept.opset),
    )
    prune(model)
    if net.chance(0.3):
        model = onnx.shape_inference.infer_shapes(model)
    return Sample(model, kept.feeds, frozenset(kept.delicate), seed)


def _output(value: Value) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(value.name, kind, [None] * value.rank)


def prune(model: onnx.ModelProto) -> None:
    """Drop nodes, initializers and functions that nothing needs, in bodies as well."""
    _prune_graph(model.graph)
    for function in model.functions:
        _prune_nodes(function.node, set(function.output))
    while True:
        called = {node.op_type for node in every_node(model) if node.domain == "local"}
        functions = [f for f in model.functions if f.name in called]
        if len(functions) == len(model.functions):
            return
        del model.functions[:]
        model.functions.extend(functions)


def _prune_graph(graph: onnx.GraphProto) -> None:
    wanted = {output.name for output in graph.output}
    _prune_nodes(graph.node, wanted)
    stored = [t for t in graph.initializer if t.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(stored)


def _prune_nodes(nodes: Any, wanted: set[str]) -> None:
    """Keep what gives something wanted; what it reads is wanted then, too."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            for body in bodies(node):
                _prune_graph(body)
            kept.append(node)
            wanted.update(names_read(node))
    del nodes[:]
    nodes.extend(reversed(kept))
