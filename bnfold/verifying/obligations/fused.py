"""What onnxruntime's optimiser fuses, taken apart into standard operators, so that it can be proved.

The optimised copy of a model is a candidate like any other. A fused node of a kind that no row knows stays,
and what it computes stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.foreign_types import cloned
from ...ir.graph import attribute, graphs, ir
from ..truth.kernels.contrib import DOMAIN

# an activation's attributes, in the order of the parameters that a fused node gives
PARAMETERS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}
SWAPPED = "...ab->...ba"


class _Chain:
    """Standard nodes in a row that stand for a fused one."""

    def __init__(self, node: ir.Node) -> None:
        self.node, self.nodes = node, list[ir.Node]()

    def add(self, operator: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]) -> ir.Value:
        given = {name: value for name, value in attributes.items() if value is not None}
        made = ir.node(operator, list(inputs), given, name=f"{self.node.name}/{operator}")
        self.nodes.append(made)
        return made.outputs[0]

    def activated(self, value: ir.Value, parameters: Sequence[float]) -> bool:
        """Add the activation that the fused node names, if it is one of PARAMETERS."""
        name = attribute(self.node, "activation", "")
        if name and name not in PARAMETERS:
            return False
        if name:
            self.add(name, [value], dict(zip(PARAMETERS[name], parameters, strict=False)))
        return True


def _conv(chain: _Chain) -> bool:
    node = chain.node
    inputs = list(node.inputs)
    kept = {n: a for n, a in node.attributes.items() if not n.startswith("activation")}
    value = chain.add("Conv", inputs[:3], kept)
    if len(inputs) > 3:
        value = chain.add("Add", [value, inputs[3]], {})
    return chain.activated(value, attribute(node, "activation_params", ()))


def _gemm(chain: _Chain) -> bool:
    node = chain.node
    kept = {n: a for n, a in node.attributes.items() if not n.startswith("activation")}
    value = chain.add("Gemm", list(node.inputs), kept)
    given = (attribute(node, f"activation_{name}") for name in ("alpha", "beta"))
    return chain.activated(value, [g for g in given if g is not None])


def _matmul(chain: _Chain) -> bool:
    node = chain.node
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        return False
    sides = [
        chain.add("Einsum", [value], {"equation": SWAPPED}) if attribute(node, flag, 0) else value
        for value, flag in zip(node.inputs, ("transA", "transB"), strict=True)
    ]
    value = chain.add("MatMul", sides, {})
    alpha = attribute(node, "alpha", 1.0)
    if alpha != 1.0:
        made = ir.tensor(np.array(alpha, np.float32), name=f"{node.name}/alpha")
        chain.add("Mul", [value, chain.add("Constant", [], {"value": made})], {})
    return True


FUSED: dict[str, Callable[[_Chain], bool]] = {"FusedConv": _conv, "FusedGemm": _gemm, "FusedMatMul": _matmul}


def taken_apart(model: ir.Model) -> ir.Model:
    """The model without the fused nodes of FUSED; itself where it has none."""
    if not any(_is_fused(node) for graph in graphs(model) for node in graph):
        return model
    copy = cloned(model)
    for graph in graphs(copy):
        for node in [node for node in graph if _is_fused(node)]:
            chain = _Chain(node)
            if FUSED[node.op_type](chain):
                _replace(graph, node, chain.nodes)
    return copy


def _is_fused(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type in FUSED


def _replace(graph: Any, node: ir.Node, nodes: list[ir.Node]) -> None:
    """The last of `nodes` gives what the fused node gave, under the same name."""
    old, new = node.outputs[0], nodes[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, node, [node], nodes, [old], [new])
