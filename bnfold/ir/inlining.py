"""onnx_ir's inlining of functions, in time that grows with what is inlined.

As it stands, it compares the names of all functions with all, for abbreviations that nobody reads, and tries
one number after the other for a name that every copy of a body has. Here each copy is named before it is
made. The methods that this goes through are private: where a version of onnx_ir has them not, nobody calls
them, and its inlining is as slow, and as right, as it stands.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from onnx_ir.passes.common import InlinePass

from .graph import Names, ir, within

Wishes = list[tuple[ir.Node | ir.Value, str]]


class Inlining(InlinePass):
    """Put the bodies of chosen functions in the place of their calls."""

    def __init__(self, model: ir.Model, chosen: Collection[tuple[str, str, str]]) -> None:
        super().__init__(criteria=lambda function: function.identifier() in chosen)
        self._names = Names(model, within(model.graph))
        self._wishes: dict[tuple[str, str, str], Wishes] = {}

    def _reset(self, model: ir.Model) -> None:
        super()._reset(ir.Model(ir.Graph([], [], nodes=[]), ir_version=model.ir_version))
        self._functions, self._opset_imports = model.functions, model.opset_imports
        self._function_id_abbreviations = {identifier: identifier[1] for identifier in model.functions}

    def _instantiate_call(self, node: ir.Node, call_site_id: str) -> Any:
        """Before the body is copied, its nodes and values get the names that the copy will have."""
        identifier = node.op_identifier()
        if identifier not in self._wishes:
            self._wishes[identifier] = _wishes(self._functions[identifier])
        for named, wish in self._wishes[identifier]:
            fresh = self._names.node if isinstance(named, ir.Node) else self._names.value
            named.name = fresh(wish)
        return super()._instantiate_call(node, call_site_id)


def _wishes(function: ir.Function) -> Wishes:
    """What stands in a body, with the name that it has there."""
    found: Wishes = []
    for node in function:
        found.append((node, node.name or "node"))
        found.extend((value, value.name or "val") for value in node.outputs)
    return found
