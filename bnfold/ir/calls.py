"""Who calls the functions of a model, and with what."""

from __future__ import annotations

from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from .functions import Identifier
from .graph import ir, within


class Calls:
    """The calls of a model's functions, looked for on the first question."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model

    @cached_property
    def _places(self) -> dict[ir.Value, tuple[Identifier, int]]:
        """Each formal input: of which function, and the how manieth."""
        return {
            formal: (identifier, place)
            for identifier, function in self._model.functions.items()
            for place, formal in enumerate(function.graph.inputs)
        }

    @cached_property
    def _calls(self) -> dict[Identifier, list[ir.Node]]:
        """The calls of every function that the main graph leads to; what nobody calls says nothing."""
        found: dict[Identifier, list[ir.Node]] = {}
        waiting: list[ir.Graph] = [self._model.graph] if self._model.functions else []
        while waiting:
            for graph in within(waiting.pop()):
                for node in graph:
                    identifier = node.op_identifier()
                    if identifier not in self._model.functions:
                        continue
                    if identifier not in found:
                        waiting.append(self._model.functions[identifier].graph)
                    found.setdefault(identifier, []).append(node)
        return found

    def arguments(self, formal: ir.Value) -> list[ir.Value | None]:
        """What each call gives a formal input of a function; None where it gives nothing."""
        if formal not in self._places:
            return []
        identifier, place = self._places[formal]
        return [c.inputs[place] if place < len(c.inputs) else None for c in self._calls.get(identifier, ())]

    def callers_first(self) -> list[ir.Graph]:
        """The graphs of the functions, each behind those that call it; as the file has them, where one calls
        itself."""
        functions = self._model.functions
        called: dict[Identifier, set[Identifier]] = {
            identifier: {
                node.op_identifier()
                for graph in within(function.graph)
                for node in graph
                if node.op_identifier() in functions
            }
            for identifier, function in functions.items()
        }
        try:
            order = list(TopologicalSorter(called).static_order())
        except CycleError:
            order = list(reversed(functions))
        return [functions[identifier].graph for identifier in reversed(order)]
