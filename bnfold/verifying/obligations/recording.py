"""One run of the reference in float64 that remembers, for every value of every graph, what generic numbers
need to stand for it: its shape, its type, its size, and the numbers themselves where they are few.

Bodies that the run does not take (the other branch of an If, a Loop of no trips) are run besides, as far as
they can be: an obligation inside must be discharged whether or not a sample goes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ...ir.graph import GraphLike, bodies, ir, is_op
from ...records import dataclass
from ..truth.call import Call, Frame
from ..truth.interpreter import CannotEvaluate, Interpreter, Known, Step, constant
from ..truth.number_formats import storage_of, widened
from ..truth.unknown_operators import StandIns
from .alignment import Print, fingerprint

FEW_BYTES = 1 << 21  # of a value that is kept as it is
CROPPED = 16  # entries of a spatial axis that are kept of a larger value


@dataclass(frozen=True)
class Recorded:
    """What is known of a value. `values` are its numbers, or a corner of them, in 32 bits where the model has
    no more; `scale` and `center` say how large they are."""

    shape: tuple[int, ...]
    kind: ir.DataType
    values: np.ndarray | None
    center: float
    scale: float
    lowest: float


class Recorder(Interpreter):
    """Runs a model once and keeps what it saw. `prints` are made on demand, to align values by what they
    are."""

    def __init__(
        self,
        model: ir.Model,
        seed: int,
        *,
        prints: bool = False,
        record: bool = True,
        names: Mapping[str, str] | None = None,
        known: Known | None = None,
    ) -> None:
        super().__init__(model, stand_ins=StandIns(seed, names), known=known)
        self.recorded: dict[ir.Value, Recorded] = {}
        self.frames: dict[GraphLike, Frame] = {}
        self.prints: dict[ir.Value, Print] | None = {} if prints else None
        self._record = record
        self._visited: set[GraphLike] = set()

    def record(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Run once; the outputs by name. Raises CannotEvaluate."""
        for graph_input in self.model.graph.inputs:
            fed = feeds.get(graph_input.name or "")
            if fed is not None:
                self._note(graph_input, np.asarray(widened(fed)), storage_of(fed, graph_input.dtype))
        for step in self.walk(feeds):
            self._note_step(step)
        return self.outputs

    def note_default(self, value: ir.Value) -> None:
        """Remember the default of an input that a caller may override."""
        assert value.const_value is not None
        self._note(value, constant(value, self.known), value.const_value.dtype)

    def graph(self, graph: GraphLike, frame: Frame) -> list[Any]:
        """The outputs of a body or function; its values are recorded at its first run."""
        first = graph not in self._visited
        self._visited.add(graph)
        if not first or not self._record:
            return super().graph(graph, frame)
        self.frames[graph] = frame
        for value in graph.inputs:
            if value in frame.values and isinstance(frame.values[value], np.ndarray):
                self._note(value, frame.values[value], frame.types.get(value, ir.DataType.FLOAT))
        for node in graph:
            step = self._step(node, frame)
            self._note_step(step)
            self._keep(step, frame, {})
        return [self._value(value, frame) for value in graph.outputs]

    def _results(self, call: Call, arguments: list[Any], frame: Frame) -> Any:
        results = super()._results(call, arguments, frame)
        if self._record and bodies(call.node):
            self._run_what_was_not_taken(call, arguments)
        return results

    def _run_what_was_not_taken(self, call: Call, arguments: list[Any]) -> None:
        for body in bodies(call.node):
            if body in self._visited:
                continue
            with suppress(CannotEvaluate, ValueError, TypeError, IndexError):
                if is_op(call.node, "If"):
                    call.evaluate(body, ())
                elif is_op(call.node, "Loop"):
                    call.evaluate(body, [np.array(0, np.int64), np.array(True), *arguments[2:]])

    def _note_step(self, step: Step) -> None:
        for value, result, kind in zip(step.node.outputs, step.results, step.kinds, strict=False):
            if value.name and isinstance(result, np.ndarray):
                self._note(value, result, kind)

    def _note(self, value: ir.Value, result: np.ndarray, kind: ir.DataType) -> None:
        if self.prints is not None and value not in self.prints:
            mark = fingerprint(result)
            if mark is not None:
                self.prints[value] = mark
        if not self._record or value in self.recorded or result.dtype.kind not in "fiub":
            return
        kept: np.ndarray | None = cropped(result)
        if kept is not None and kept.nbytes > FEW_BYTES and result.dtype.kind == "f":
            kept = None
        center = scale = lowest = 0.0
        if result.dtype.kind == "f" and result.size:
            sample = result if kept is None else kept
            usable = np.asarray(sample, np.float64).reshape(-1)[: 1 << 18]
            usable = usable[np.isfinite(usable)]
            if usable.size:
                center, scale, lowest = float(usable.mean()), float(usable.std()), float(usable.min())
        self.recorded[value] = Recorded(
            shape=tuple(result.shape),
            kind=kind,
            values=None if kept is None else _compact(kept, kind),
            center=center,
            scale=scale,
            lowest=lowest,
        )


def _compact(values: np.ndarray, kind: ir.DataType) -> np.ndarray:
    """A copy for keeping: a float that the model stores in 32 bits or fewer needs no more here, unless it
    leaves them."""
    if values.dtype == np.float64 and kind != ir.DataType.DOUBLE:
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = values.astype(np.float32)
        if np.array_equal(np.isfinite(narrow), np.isfinite(values)):
            return narrow
    return np.array(values)


def cropped(values: np.ndarray, extent: int = CROPPED) -> np.ndarray:
    """A corner of an image or volume; anything else as it is."""
    if values.ndim < 4:
        return values
    return values[(slice(None), slice(None), *(slice(0, extent) for _ in range(values.ndim - 2)))]
