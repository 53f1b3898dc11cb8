"""What onnxruntime's optimiser fuses into one node, taken apart into standard operators: so it is evaluated,
and so it can be proved.

A node of a kind that no row knows has no parts; it is an unknown operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from ...ir.foreign_types import cloned
from ...ir.graph import attribute, graphs, ir
from ...records import dataclass
from .kernels.contrib import DOMAIN

# an activation's attributes, in the order of the parameters that a fused node gives
PARAMETERS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}
BOUNDS = ("Max", "Min")  # what Clip is, in the order of its parameters
SWAPPED = "...ab->...ba"


@dataclass
class Parts:
    """Standard nodes in a row that stand for a fused one. `inputs` stand for its inputs, so that building the
    parts leaves the model as it is."""

    node: ir.Node
    inputs: list[ir.Value | None] = field(default_factory=list)
    nodes: list[ir.Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = [None if v is None else ir.Value(name=v.name, type=v.type) for v in self.node.inputs]

    def add(self, operator: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]) -> ir.Value:
        """One more node; its output."""
        given = {name: value for name, value in attributes.items() if value is not None}
        made = ir.node(operator, list(inputs), given, name=f"{self.node.name}/{operator}")
        made.outputs[0].name = f"{self.node.outputs[0].name}/{len(self.nodes)}"
        self.nodes.append(made)
        return made.outputs[0]

    def scalar(self, number: float) -> ir.Value:
        """A constant."""
        made = ir.tensor(np.array(number, np.float32), name=f"{self.node.name}/{len(self.nodes)}")
        return self.add("Constant", [], {"value": made})

    def activated(self, value: ir.Value, parameters: Sequence[float]) -> bool:
        """Add the activation that the fused node names, if it is a known one."""
        name = attribute(self.node, "activation", "")
        if name == "Clip":
            for bound, number in zip(BOUNDS, parameters, strict=False):
                value = self.add(bound, [value, self.scalar(number)], {})
        elif name in PARAMETERS:
            self.add(name, [value], dict(zip(PARAMETERS[name], parameters, strict=False)))
        return not name or name == "Clip" or name in PARAMETERS


def _conv(parts: Parts) -> bool:
    node, inputs = parts.node, parts.inputs
    kept = {n: a for n, a in node.attributes.items() if not n.startswith("activation")}
    value = parts.add("Conv", inputs[:3], kept)
    if len(inputs) > 3:
        value = parts.add("Add", [value, inputs[3]], {})
    return parts.activated(value, attribute(node, "activation_params", ()))


def _gemm(parts: Parts) -> bool:
    node = parts.node
    kept = {n: a for n, a in node.attributes.items() if not n.startswith("activation")}
    value = parts.add("Gemm", parts.inputs, kept)
    given = (attribute(node, f"activation_{name}") for name in ("alpha", "beta", "gamma"))
    return parts.activated(value, [g for g in given if g is not None])


def _matmul(parts: Parts) -> bool:
    node = parts.node
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        return False
    sides = [
        parts.add("Einsum", [value], {"equation": SWAPPED}) if attribute(node, flag, 0) else value
        for value, flag in zip(parts.inputs, ("transA", "transB"), strict=True)
    ]
    value = parts.add("MatMul", sides, {})
    alpha = attribute(node, "alpha", 1.0)
    if alpha != 1.0:
        parts.add("Mul", [value, parts.scalar(alpha)], {})
    return True


FUSED: dict[str, Callable[[Parts], bool]] = {"FusedConv": _conv, "FusedGemm": _gemm, "FusedMatMul": _matmul}


def parts_of(node: ir.Node) -> Parts | None:
    """The standard nodes that a fused one stands for; None for any other node."""
    if node.domain != DOMAIN or node.op_type not in FUSED:
        return None
    parts = Parts(node)
    return parts if FUSED[node.op_type](parts) else None


def taken_apart(model: ir.Model) -> ir.Model:
    """The model without the fused nodes of FUSED; itself where it has none."""
    if not any(parts_of(node) for graph in graphs(model) for node in graph):
        return model
    copy = cloned(model)
    for graph in graphs(copy):
        for node in list(graph):
            if (parts := parts_of(node)) is not None:
                _replace(graph, node, parts)
    return copy


def _replace(graph: Any, node: ir.Node, parts: Parts) -> None:
    """The last part gives what the fused node gave, under the same name."""
    real = dict(zip(parts.inputs, node.inputs, strict=True))
    for part in parts.nodes:
        for place, value in enumerate(part.inputs):
            if value in real and value is not None:
                part.replace_input_with(place, real[value])
    old, new = node.outputs[0], parts.nodes[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, node, [node], parts.nodes, [old], [new])
