"""What the layers of one network share while they are read.

Input    what [net] says about the input
Feature  the result of a layer: an ONNX value, and the channels, height and width that darknet has for it
Kernel   the arrays of a linear layer, which a later convolution may use too (share_index)
Network  the graph that is being built, the arrays of the weights file, and the results of earlier layers
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from ...ir.graph import ir
from ...records import dataclass
from ..builder import Build
from .accounting import Predictor
from .dialects import Dialect
from .findings import Notes
from .weights import ArraySource


@dataclass(frozen=True)
class Input:
    """What [net] says about the input: (channels, height, width), or `inputs` flat numbers; steps of a
    recurrent net."""

    channels: int
    height: int
    width: int
    inputs: int
    time_steps: int

    @property
    def is_flat(self) -> bool:
        """Does darknet take the input for flat numbers?"""
        return not (self.channels and self.height and self.width)

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of one row: (channels, height, width), or (inputs,)."""
        return (self.inputs,) if self.is_flat else (self.channels, self.height, self.width)


@dataclass(eq=False)
class Feature:
    """The result of a layer. `channels`, `height`, `width` are 0 where darknet has flat numbers; `size`
    counts them per row.

    value      None where a layer has no result at inference ([cost])
    why_flat   what to say where a picture is asked for and there is none
    unstrided  (height, width) that darknet believes the layer has, where blurring made it smaller
               (antialiasing)
    """

    value: ir.Value | None
    channels: int
    height: int
    width: int
    size: int
    unstrided: tuple[int, int] | None = None
    why_flat: str = "the layer before this one gives flat numbers"
    _forms: dict[str, ir.Value] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        """Does darknet take it for a picture?"""
        return self.channels > 0 and self.height > 0 and self.width > 0

    @property
    def dims(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def spot(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width


@dataclass(frozen=True)
class Norm:
    """The arrays of one batch norm as values."""

    scales: ir.Value
    mean: ir.Value
    variance: ir.Value


@dataclass(frozen=True)
class Kernel:
    """The arrays of a linear layer as values; `stored` is the kernel before it was made binary. `norm` is
    None without batch norm."""

    biases: ir.Value
    norm: Norm | None
    weights: ir.Value
    stored: ir.TensorProtocol


@dataclass(frozen=True)
class Epsilon:
    """How much the choice of epsilon matters in one layer: channels it changes, the largest ratio, the
    smallest variance."""

    layer: str
    channels: int
    of: int
    ratio: float
    smallest: float


@dataclass(kw_only=True, eq=False)
class Network:
    """One network while it is read. `rows` is the batch dimension: in a recurrent net `sequences` times the
    time steps.

    files      every file that was read
    features   the results of the layers so far, in the order of the cfg
    kernels    the arrays of the convolutions so far, by the number of the layer
    candidate  the number of the last layer that may be the one in front of a detection layer, and how many
               numbers of the weights file belong to each of its filters
    silu       what activation=silu is, where the user said it
    """

    path: Path
    dialect: Dialect
    notes: Notes
    build: Build
    arrays: ArraySource
    input: Input
    rows: int | str
    sequences: int
    files: list[Path]
    features: list[Feature] = field(default_factory=list)
    kernels: dict[int, Kernel] = field(default_factory=dict)
    predictors: list[Predictor] = field(default_factory=list)
    epsilons: list[Epsilon] = field(default_factory=list)
    candidate: tuple[int, int] = (-1, 0)
    silu: str = ""
    _constants: dict[str, ir.Value] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of the cfg."""
        return self.path.name

    @property
    def steps(self) -> int:
        """Time steps of a recurrent net."""
        return self.input.time_steps

    @property
    def input_spot(self) -> tuple[int, int]:
        """(height, width) of the input, in whose pixels yolo's anchors are."""
        return self.input.height, self.input.width

    def constant(self, name: str, value: Any) -> ir.Value:
        """A small constant, made once for all layers that ask for it by the same name."""
        if name not in self._constants:
            self._constants[name] = self.build.constant(name, value)
        return self._constants[name]

    def note_predictor(self, index: int, floats: int) -> None:
        """Remember a layer in case a detection layer follows it: each of its filters has `floats` numbers in
        the weights file."""
        self.candidate = (index, floats)

    def expect_classes(self, index: int, classes: int, anchors: int) -> None:
        """A detection layer says how many filters per class the layer before it has."""
        before, floats = self.candidate
        if before == index - 1:
            self.predictors.append(Predictor(classes, anchors * floats))
