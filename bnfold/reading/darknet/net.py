"""The walk over the sections of a cfg: each becomes a few ONNX nodes, and takes its arrays from the weights
file on the way.

    load    files -> dialect -> walk -> accounting of the weights file -> outputs -> Loaded

Where nothing says whose fork a net is, and the weights file does not fit the first choice, the other one is
tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Malformed, Mismatch, UsageError, blamed_on
from ...ir.graph import ir
from ...ir.provenance import Source
from ...ir.tensor import FileMap
from ...results.options import ReadOptions, spelled
from ...results.plan import Loaded
from ...results.value_kinds import cannot_be
from ..builder import Build
from . import cfg, heads, schema, sections, weights
from .accounting import Predictor, refusal
from .cfg import Section
from .dialects import Choice, Fork, asked, choose
from .findings import Notes
from .heads import Head
from .layer import Feature, Layer
from .sections.convolution import Kernel
from .sections.network import Input

OPSET, LOWEST_OPSET = 17, 15
HONOUR_DONTLOADSCALES = ("convolutional", "deconvolutional", "connected")
assert sections  # importing them has filled schema.SECTIONS


@dataclass(frozen=True)
class Epsilon:
    """How much the choice of epsilon matters in one layer: channels it changes, the largest ratio, the
    smallest variance."""

    layer: str
    channels: int
    of: int
    ratio: float
    smallest: float


class Net:
    """One network in the making. `rows` is the batch dimension, `steps` and `sequences` what it is made of in
    a recurrent net."""

    def __init__(
        self,
        path: Path,
        sections_: list[Section],
        *,
        choice: Choice,
        file: FileMap | None,
        options: ReadOptions,
        notes: Notes,
    ) -> None:
        self.path, self.file = path, path.name
        self.sections, self.dialect, self.options, self.notes = sections_, choice.dialect, options, notes
        self.files = [path]
        self.build = Build(path.stem, options.opset or OPSET)
        self.arrays: weights.Arrays | weights.Seeded = _arrays(file, choice.dialect.fork, options, path)
        self.features: list[Feature] = []
        self.kernels: dict[int, Kernel] = {}
        self.heads: list[Head] = []
        self.predictors: list[Predictor] = []
        self.candidate: tuple[int, int] = (-1, 0)
        self.epsilons: list[Epsilon] = []
        self._shared: dict[str, ir.Value] = {}
        self.input, self.rows, self.sequences = self._input()

    @property
    def steps(self) -> int:
        """Time steps of a recurrent net."""
        return self.input.time_steps

    @property
    def input_spot(self) -> tuple[int, int]:
        """(height, width) of the input, in whose pixels yolo's anchors are."""
        return self.input.height, self.input.width

    def shared(self, name: str, value: Any) -> ir.Value:
        """A small constant that any layer may use."""
        if name not in self._shared:
            self._shared[name] = self.build.constant(name, value)
        return self._shared[name]

    def every_row(self, layer: Layer, value: ir.Value, *dims: int) -> Feature:
        """A constant as the result of a layer, for as many rows as the input has."""
        data = self.build.graph.inputs[0]
        count = layer.op("Shape", data, what="rows", shape=[1], dtype=ir.DataType.INT64, start=0, end=1)
        target = layer.op(
            "Concat", count, layer.ints(list(dims)), what="target", axis=0, shape=[1 + len(dims)]
        )
        return layer.feature(layer.op("Expand", value, target, shape=[self.rows, *dims]), *dims)

    def note_predictor(self, layer: Layer, floats: int) -> None:
        """Remember the layer whose filters a detection layer behind it would ask for: `floats` numbers per
        filter."""
        self.candidate = (layer.index, floats)

    def expect_classes(self, layer: Layer, classes: int, anchors: int) -> None:
        """A detection layer says how many filters per class the layer before it has."""
        if self.candidate[0] == layer.index - 1:
            self.predictors.append(Predictor(classes, anchors * self.candidate[1]))

    def epsilon_matters(self, layer: Layer, channels: int, of: int, ratio: float, smallest: float) -> None:
        """Remember what the smallest variances of a layer do to the choice of the dialect."""
        self.epsilons.append(Epsilon(str(layer.source), channels, of, ratio, smallest))

    def _input(self) -> tuple[Input, int | str, int]:
        """[net], the batch dimension, and the sequences in it."""
        section = self.sections[0]
        row, where = schema.SECTIONS["net"], Source(self.file, section.line, type="net")
        with blamed_on(where):
            given: Input = row.function(**schema.bind(section, row, self.dialect.fork, self.file, self.notes))
            recurrent = any(
                schema.SECTIONS[s.name].recurrent for s in self.sections[1:] if s.name in schema.SECTIONS
            )
            given, batch = _resized(given, self.options, recurrent)
            sequences = batch or 1
            rows: int | str = sequences * given.time_steps if recurrent else batch or "N"
            flat = not (given.channels and given.height and given.width)
            dims = [given.inputs] if flat else [given.channels, given.height, given.width]
            if math.prod(dims) > cfg.INT_MAX or (isinstance(rows, int) and rows > cfg.INT_MAX):
                raise Malformed(
                    f"an input of {' x '.join(str(d) for d in (rows, *dims))}",
                    expected=f"at most {cfg.INT_MAX:,} numbers",
                )
        channels, height, width = (0, 0, 0) if flat else dims
        self.start = Feature(
            self.build.input("data", [rows, *dims]), channels, height, width, math.prod(dims)
        )
        return given, rows, sequences

    def walk(self) -> None:
        """Every section after [net], in order."""
        x = self.start
        for index, section in enumerate(self.sections[1:]):
            where = Source(self.file, section.line, index=index, type=section.name[:40])
            row = schema.find(section, where)
            layer = Layer(self, index, section, row.name)
            with blamed_on(layer.source):
                if self.dialect.fork not in row.forks:
                    layer.warn(
                        "other-fork",
                        f"{self.dialect.fork}'s darknet has no [{row.name}]; only {row.forks[0]}'s does",
                    )
                wishes = schema.layer_options(section, self.file, self.notes)
                layer.dontload, layer.numload = bool(wishes["dontload"]), wishes["numload"]
                layer.dontloadscales = row.name in HONOUR_DONTLOADSCALES and bool(wishes["dontloadscales"])
                result = row.function(
                    layer, x, **schema.bind(section, row, self.dialect.fork, self.file, self.notes)
                )
            self._name(layer, result)
            self.features.append(result)
            x = result
        if not self.features:
            raise Malformed("the cfg has no layer", where=self.file, expected="sections after [net]")

    def _name(self, layer: Layer, result: Feature) -> None:
        """A layer's result has the layer's name; one that is another layer's (route, dropout) gets a node of
        its own."""
        value = result.value
        if value is None:
            return
        if value.producer() is None or not (value.name or "").startswith(f"{layer.name}/"):
            value = layer.op("Identity", value, what="identity")
        result.value = self.build.rename(value, layer.name)

    def finish(self) -> None:
        """Account for every byte, choose the outputs, and drop what depends on weights that are not there."""
        self._account()
        for value in self._outputs():
            self.build.result(value)
        if self.options.heads != "layer" or self.arrays.missing:
            _prune(self.build.graph)
        _drop_unused(self.build.graph)
        for missing in (
            v.const_value
            for v in self.build.graph.initializers.values()
            if isinstance(v.const_value, weights.Missing)
        ):
            raise Mismatch(
                f"{missing.why}, and an output needs them",
                where=missing.where,
                way_out="end the cfg before this layer, or give the whole weights file",
            )
        self._note_epsilon()

    def _account(self) -> None:
        if isinstance(self.arrays, weights.Seeded) or not self.arrays.left:
            return
        if self.arrays.left > 0 or not self.options.allow_partial:
            last = (
                self.arrays.taken[-1].where
                if self.arrays.taken
                else Source(self.file, self.sections[0].line, type="net")
            )
            raise refusal(self.arrays, self.file, self.predictors, last)
        self.notes.warn(
            "partial",
            self.arrays.cut,
            f"{self.arrays.file.path.name} ends within this layer; layers from here on have no weights",
        )

    def _outputs(self) -> list[ir.Value]:
        """The values that the user asked for with --heads, each once."""
        wish = self.options.heads
        if wish != "layer" and not self.heads:
            raise UsageError(
                f"{spelled('heads')} is '{wish}', but {self.file} has no detection layer",
                way_out="leave it out",
            )
        if wish == "boxes":
            return heads.decode(self.heads, self.file)
        if wish == "raw":
            values = [
                h.layer.image(h.source) if h.source.is_image else h.layer.flat(h.source) for h in self.heads
            ]
        else:
            last = next((f for f in reversed(self.features) if f.value is not None), None)
            if last is None:
                raise Malformed("no layer has a result at inference", where=self.file)
            values = [v for v in (*(h.result.value for h in self.heads), last.value) if v is not None]
        return list(dict.fromkeys(values))

    def _note_epsilon(self) -> None:
        """A note when sqrt(v + 1e-5) and sqrt(v) + 1e-6 give different networks."""
        changed = [e for e in self.epsilons if e.channels]
        if not changed:
            return
        worst = max(changed, key=lambda e: e.ratio)
        text = (
            f"variances down to {worst.smallest:.2g}: sqrt(variance) + 1e-6 (pjreddie-cpu) would "
            "scale a channel here "
            f"{worst.ratio:.3g} times as much as sqrt(variance + 1e-5); "
            f"{sum(e.channels for e in changed):,} of "
            f"{sum(e.of for e in self.epsilons):,} channels in {len(changed)} layers change by more "
            "than 1 %; "
            f"the dialect is {self.dialect.name}"
        )
        self.notes.note("epsilon", worst.layer, text)


def _resized(given: Input, options: ReadOptions, recurrent: bool) -> tuple[Input, int | None]:
    """The input with the sizes that the user asked for (--input-shape), and the batch (--batch). Errors:
    UsageError."""
    batch = options.batch
    dims = options.shape_of("data")
    if dims is None:
        return given, batch
    flat = not (given.channels and given.height and given.width)
    if len(dims) != (2 if flat else 4) or dims[1] != (given.inputs if flat else given.channels):
        raise UsageError(
            cannot_be(spelled("input_shapes"), dims),
            expected=f"N,{given.inputs}" if flat else f"N,{given.channels},height,width",
        )
    rows = dims[0] // given.time_steps if recurrent else dims[0]
    if batch not in (None, rows) or (recurrent and dims[0] % given.time_steps):
        raise UsageError(
            f"{spelled('input_shapes')} has {dims[0]} rows",
            expected=f"those of {spelled('batch')}, times {given.time_steps if recurrent else 1} time steps",
        )
    if flat:
        return given, rows
    return Input(given.channels, dims[2], dims[3], given.channels * dims[2] * dims[3], given.time_steps), rows


def _arrays(
    file: FileMap | None, fork: Fork, options: ReadOptions, path: Path
) -> weights.Arrays | weights.Seeded:
    if file is not None:
        return weights.Arrays(file, fork)
    if options.random_weights is None:
        raise UsageError(
            f"{path.name} needs its weights file",
            way_out=f"name it after the cfg, or give {spelled('random_weights', 'SEED')}",
        )
    return weights.Seeded(options.random_weights)


def _prune(graph: ir.Graph) -> None:
    """Drop the nodes that no output needs."""
    needed = set(graph.outputs)
    for node in reversed(list(graph)):
        if any(value in needed for value in node.outputs):
            needed.update(value for value in node.inputs if value is not None)
        else:
            graph.remove(node, safe=True)


def _drop_unused(graph: ir.Graph) -> None:
    """Drop the initializers that no node reads."""
    for name in [
        name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_output()
    ]:
        del graph.initializers[name]


def load(network: Path, weights_file: Path | None, options: ReadOptions) -> Loaded:
    """The model of a cfg and its weights. Errors: see the package."""
    network = Path(network)
    if (options.opset or OPSET) < LOWEST_OPSET:
        raise UsageError(
            cannot_be(spelled("opset"), options.opset),
            expected=f"at least {LOWEST_OPSET} for a darknet network",
        )
    syntax = Notes(options.strict)
    sections_ = cfg.read(network, syntax)
    file = FileMap(weights_file) if weights_file is not None else None
    if file is not None and options.random_weights is not None:
        raise UsageError(f"{spelled('random_weights')} beside a weights file", expected="one of them")
    named = asked(options.dialect)
    choices = [named] if named else choose(schema.evidence(sections_, network.name), weights.revision(file))
    net, choice = _first_that_fits(network, sections_, choices, file=file, options=options, syntax=syntax)
    files = (net.files[0], *([Path(weights_file)] if weights_file is not None else []), *net.files[1:])
    return Loaded(
        net.build.model(),
        "darknet",
        network.stem,
        files,
        tuple(net.notes.findings),
        choice.dialect.name,
        choice.reason,
    )


def _first_that_fits(
    network: Path,
    sections_: list[Section],
    choices: list[Choice],
    *,
    file: FileMap | None,
    options: ReadOptions,
    syntax: Notes,
) -> tuple[Net, Choice]:
    """The network in the first dialect that the weights file fits. Errors: those of the first dialect."""
    refused: Mismatch | None = None
    for choice in choices:
        notes = Notes(options.strict)
        notes.findings = list(syntax.findings)
        try:
            net = Net(network, sections_, choice=choice, file=file, options=options, notes=notes)
            net.walk()
            net.finish()
        except Mismatch as error:
            refused = refused or error
            continue
        return net, choice
    assert refused is not None
    raise refused
