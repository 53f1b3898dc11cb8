"""The few questions and moves that we need of onnx_ir, so that a change of its API touches this file and
tensor.py alone.

Nothing here knows what a batch norm is.
"""

from __future__ import annotations

import gc
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from types import MappingProxyType
from typing import Any

from . import lazy_sympy  # noqa: F401  (before onnx_ir)

import onnx_ir as ir  # isort: skip

from .provenance import SOURCE_KEY

__all__ = [
    "QUANTIZATION_KEY",
    "GraphLike",
    "Names",
    "annotated",
    "attribute",
    "bodies",
    "folded_name",
    "function_graphs",
    "graphs",
    "initializers",
    "ir",
    "is_op",
    "label",
    "nodes",
    "notes",
    "opset",
    "quantisation",
    "read_instead",
    "remove",
    "set_input",
    "slimmed_name",
    "sole",
    "source_text",
    "uncollected",
    "usages",
    "within",
]

STANDARD = ("", "ai.onnx")
QUANTIZATION_KEY = "quant_parameter_tensor_names"  # where onnx_ir keeps how a value is quantised
_GRAPHS = ir.AttributeType.GRAPHS
_WITH_BODIES = (ir.AttributeType.GRAPH, _GRAPHS)
GraphLike = ir.Graph
_NOTHING: Mapping[str, str] = MappingProxyType({})
# Private parts of onnx_ir 1.1, which spare the square of readers, inputs or outputs; where a version has none
# of them, its public functions serve.
_DIRECT = all(
    hasattr(kind, name)
    for kind, name in (
        (ir.Value, "_uses"),
        (ir.Value, "_add_usage"),
        (ir.Value, "_remove_usage"),
        (ir.Value, "_metadata"),
        (ir.Value, "_metadata_props"),
        (ir.Node, "_inputs"),
        (ir.Graph, "_nodes"),
    )
)


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the cyclic garbage collector while many long-lived objects are made.

    Every collection walks all of them and finds nothing: on a graph of 20,000 nodes that is half of the
    time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def annotated(model: ir.Model) -> set[str]:
    """The names of values of the main graph that carry a quantization annotation."""
    graph = model.graph
    values = chain(graph.inputs, initializers(graph), (v for node in graph for v in node.outputs))
    return {v.name for v in values if v.name and quantisation(v)}


def graphs(model: ir.Model) -> Iterator[GraphLike]:
    """The main graph, every function, and the bodies inside them (If, Loop, Scan), outer before inner."""
    return within(model.graph, *(function.graph for function in model.functions.values()))


def within(*outermost: GraphLike) -> Iterator[GraphLike]:
    """These graphs and the bodies inside them, outer before inner."""
    waiting = deque(outermost)
    while waiting:
        graph = waiting.popleft()
        yield graph
        for node in graph:
            if node.attributes.data:
                waiting.extend(bodies(node))


def initializers(graph: GraphLike) -> Collection[ir.Value]:
    """A graph's initializers. Its own dict of them goes through five functions for each."""
    return graph.initializers.data.values()


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs in a node's attributes."""
    found: list[ir.Graph] = []
    # the dict inside, and the type before all else: every node is asked several times, and few have bodies
    for attribute in node.attributes.data.values():
        if attribute.type in _WITH_BODIES and not attribute.is_ref():
            found.extend(attribute.as_graphs() if attribute.type == _GRAPHS else [attribute.as_graph()])
    return found


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads: its inputs, and what its bodies read from outside of them."""
    values = [v for v in node.inputs if v is not None and v.name]
    for body in bodies(node):
        own = set(body.inputs)
        made: set[ir.Value] = set(body.initializers.values())
        inner: list[ir.Value] = []
        for one in body:
            inner.extend(reads(one))
            made.update(one.outputs)
        inner.extend(body.outputs)
        values.extend(v for v in inner if v not in own and v not in made)
    return values


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of every graph."""
    for graph in graphs(model):
        yield from graph


def is_op(node: ir.Node | None, *types: str) -> bool:
    """Is it a standard ONNX operator of one of these types?"""
    return node is not None and node.domain in STANDARD and node.op_type in types


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's value as Python sees it, or the default. A reference to a function's attribute is not a
    value: LookupError."""
    found = node.attributes.data.get(name)
    if found is None:
        return default
    if found.is_ref():
        raise LookupError(f"attribute '{name}' refers to the function's attribute '{found.ref_attr_name}'")
    return found.value


def named_type(node: ir.Node, name: str = "to") -> ir.DataType | None:
    """The element type that an ONNX operator's attribute names, by its number, in Cast before opset 6 in
    words; None where a function's caller names it."""
    found = node.attributes.data.get(name) if node.domain in STANDARD else None
    if found is None or found.is_ref():
        return None
    return element_type(found.value)


def element_type(said: int | str) -> ir.DataType:
    """The type that a number means, or a word as in `Cast` before opset 6."""
    return ir.DataType[said.upper()] if isinstance(said, str) else ir.DataType(said)


def usages(value: ir.Value) -> Collection[tuple[ir.Node, int]]:
    """Who reads a value: (node, index of the input), as it is now. onnx_ir's `uses` copies them at every
    question, which is the square of the readers where each of them asks."""
    return value._uses if _DIRECT else value.uses()


def sole(value: ir.Value) -> bool:
    """Is a value read exactly once, and no graph output?"""
    return len(usages(value)) == 1 and not value.is_graph_output()


def notes(of: ir.Value | ir.TensorProtocol) -> Mapping[str, str]:
    """The metadata that a value or a tensor has in its file. Asked for it, onnx_ir makes a dict for each."""
    return (getattr(of, "_metadata_props", None) or _NOTHING) if _DIRECT else of.metadata_props


def quantisation(value: ir.Value) -> Mapping[str, str]:
    """How a value is quantised, as the file says: what is meant -> the name of a tensor."""
    meta = value._metadata if _DIRECT else value.meta
    return meta.get(QUANTIZATION_KEY) or _NOTHING if meta else _NOTHING


def set_input(node: ir.Node, index: int, value: ir.Value | None) -> None:
    """Let a node read another value at `index`."""
    read_instead(node, (index,), value)


def read_instead(node: ir.Node, indices: Sequence[int], value: ir.Value | None) -> None:
    """Let a node read `value` at all of these places. onnx_ir looks at every input for each of them, which is
    the square of the inputs."""
    # what device configurations say of single inputs is onnx_ir's to keep up
    if node.device_configurations or not _DIRECT:
        for index in indices:
            node.replace_input_with(index, value)
        return
    inputs = list(node.inputs)
    for index in indices:
        if (old := inputs[index]) is not None:
            old._remove_usage(node, index)
        inputs[index] = value
        if value is not None:
            value._add_usage(node, index)
    node._inputs = tuple(inputs)


def remove(node: ir.Node) -> None:
    """Take a node that nobody reads out of its graph. onnx_ir looks at every output of the graph for each
    node that goes."""
    graph = node.graph
    if graph is None or any(usages(v) or v.is_graph_output() for v in node.outputs):
        raise ValueError(f"{node.op_type} '{label(node)}' is still read, or in no graph")
    if not _DIRECT:
        graph.remove(node, safe=True)
        return
    read_instead(node, range(len(node.inputs)), None)
    node.graph = None
    graph._nodes.remove(node)


def opset(model: ir.Model, graph: GraphLike | None = None) -> int:
    """The version of the standard domain that a graph's nodes follow (a function has imports of its own)."""
    imports = (graph.opset_imports if graph is not None else None) or model.opset_imports
    return next((imports[domain] for domain in STANDARD if domain in imports), 1)


def label(node: ir.Node) -> str:
    """The name that plans and reports use: the node's own, else that of its first named output."""
    return node.name or next((v.name for v in node.outputs if v.name), "") or node.op_type


def source_text(node: ir.Node) -> str:
    """Where the node came from, as its reader stamped it."""
    return node.metadata_props.get(SOURCE_KEY) or str(node.meta.get(SOURCE_KEY, ""))


def function_graphs(model: ir.Model) -> set[ir.Graph]:
    """The graphs of model-local functions: they have inputs and nodes, but no initializers."""
    return {function.graph for function in model.functions.values()}


_FOLDED = re.compile(r"/folded(_\d+)?$")


def folded_name(name: str | None) -> str:
    """The wish for a value or weight that folding changed. It says so, and says it once; the slash sets it
    apart from whole names."""
    return _FOLDED.sub("", name or "") + "/folded"


_SLIMMED = re.compile(r"/slimmed(_\d+)?$")


def slimmed_name(name: str | None) -> str:
    """The wish for a value or weight that lost channels."""
    return _SLIMMED.sub("", name or "") + "/slimmed"


class Names:
    """Every name in use anywhere in a model, or in some of its graphs; hands out new ones that collide with
    none of them."""

    def __init__(self, model: ir.Model, scope: Iterable[GraphLike] | None = None) -> None:
        self.values: set[str] = set()
        self.nodes: set[str] = set()
        self._value_counts: dict[str, int] = {}
        self._node_counts: dict[str, int] = {}
        for graph in graphs(model) if scope is None else scope:
            self.values.update(v.name for v in graph.inputs if v.name)
            self.values.update(graph.initializers.data)
            for node in graph:
                self.nodes.add(node.name or "")
                self.values.update(v.name for v in node.outputs if v.name)

    def value(self, wish: str) -> str:
        """`wish`, or `wish_2`, `wish_3` ... where it is taken."""
        return _fresh(wish, self.values, self._value_counts)

    def node(self, wish: str) -> str:
        """The same among node names."""
        return _fresh(wish, self.nodes, self._node_counts)


def _fresh(wish: str, taken: set[str], counts: dict[str, int]) -> str:
    """Names are never given back, so that the search goes on where the last one for this wish ended."""
    name, count = wish, counts.get(wish, 1)
    while name in taken:
        count += 1
        name = f"{wish}_{count}"
    counts[wish] = count
    taken.add(name)
    return name
