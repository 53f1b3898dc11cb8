"""The two engines that run a model in its own precision, behind one face: onnxruntime, and the interpreter
with roundings."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np

from ...files import memory
from ...ir.graph import ir
from ...results.comparison import Side
from ..composite_values import parts
from ..truth.interpreter import CannotEvaluate, Interpreter, Known
from ..truth.number_formats import Rounding
from ..truth.unknown_operators import StandIns
from .runtime import CannotRun, Session, crashes, mapped, on_disk

Values = dict[str, np.ndarray]
REFUSALS = (CannotRun, CannotEvaluate)


class Runner(Protocol):
    """One loaded model. `seconds` is the time of all its runs."""

    seconds: float

    def run(self, feeds: Mapping[str, np.ndarray]) -> Values:
        """Outputs and watched values by name, what is no tensor in parts. Raises one of REFUSALS."""
        ...


class Engine(Protocol):
    """Something that runs models. `name` stands in reports."""

    name: str

    def open(self, side: Side, watch: Collection[str] = ()) -> AbstractContextManager[Runner]:
        """A loaded model that gives `watch` besides its outputs. Raises one of REFUSALS."""
        ...


class Onnxruntime:
    """Sessions live no longer than needed, so that two models are never in memory together."""

    name = "onnxruntime"

    @contextmanager
    def open(self, side: Side, watch: Collection[str] = ()) -> Iterator[Runner]:
        """A session from the side's file, or from a temporary one."""
        if reason := crashes(side.model):
            raise CannotRun(reason)
        present = {value.name for value in side.model.graph.outputs}
        with on_disk(side) as path, memory.also(mapped(path, side)):
            session = Session(path, watch=[name for name in watch if name not in present])
            try:
                yield session
            finally:
                session.close()


class Simulated:
    """The float64 interpreter, each node's result rounded to its storage type."""

    name = "float64"

    def __init__(
        self,
        seed: int,
        *,
        stand_ins: bool = True,
        weights: bool = False,
        converted: bool = False,
        names: tuple[ir.Model, Mapping[str, str]] | None = None,
    ) -> None:
        """`names` says of one model under which other names stand-ins know its values."""
        self.seed, self.stand_ins, self.weights, self.converted = seed, stand_ins, weights, converted
        self.names = names

    @contextmanager
    def open(self, side: Side, watch: Collection[str] = ()) -> Iterator[Runner]:
        """The interpreter needs no preparation."""
        names = self.names[1] if self.names is not None and self.names[0] is side.model else None
        yield _Interpreted(
            side.model,
            watch,
            StandIns(self.seed, names) if self.stand_ins else None,
            Rounding(self.seed, weights=self.weights, converted=self.converted),
        )


class Truth:
    """The float64 interpreter without roundings."""

    name = "truth"

    def __init__(self, seed: int, *, stand_ins: bool) -> None:
        self.seed, self.stand_ins = seed, stand_ins

    @contextmanager
    def open(self, side: Side, watch: Collection[str] = ()) -> Iterator[Runner]:
        """The interpreter needs no preparation."""
        yield _Interpreted(side.model, watch, StandIns(self.seed) if self.stand_ins else None, None)


class _Interpreted:
    def __init__(
        self, model: ir.Model, watch: Collection[str], stand_ins: StandIns | None, rounding: Rounding | None
    ) -> None:
        self.model, self.watch, self.stand_ins, self.rounding = model, watch, stand_ins, rounding
        self.known = Known(model)
        self.seconds = 0.0
        self.opaque: dict[str, str] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Values:
        started = time.perf_counter()
        stand_ins = None
        if self.stand_ins is not None:
            stand_ins = StandIns(self.stand_ins.seed, self.stand_ins.names)
        interpreter = Interpreter(self.model, self.rounding, stand_ins, self.known)
        try:
            values = parts(interpreter.run(feeds, self.watch))
        finally:
            self.seconds += time.perf_counter() - started
        if stand_ins is None:
            return values
        self.opaque.update(stand_ins.nodes)
        return {**values, **stand_ins.given}
