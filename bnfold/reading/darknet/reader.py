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

from ...errors import Malformed, Mismatch, UsageError, blamed_on
from ...ir.graph import ir
from ...ir.provenance import Source
from ...ir.tensor import FileMap
from ...results.options import ReadOptions, spelled
from ...results.plan import Loaded
from ...results.value_kinds import cannot_be
from ..builder import Build
from . import cfg, heads, schema, sections, weights
from .accounting import refusal
from .cfg import Section
from .dialects import Choice, Fork, choose, named_dialect
from .findings import Notes
from .heads import Head
from .layer import Layer
from .network import Feature, Input, Network

OPSET, LOWEST_OPSET = 17, 15
HONOUR_DONTLOADSCALES = ("convolutional", "deconvolutional", "connected")
assert sections  # importing them has filled schema.SECTIONS


class Reader:
    """Translates the sections of a cfg, in one dialect, into layers of a Network."""

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
        arrays = _arrays(file, choice.dialect.fork, options, path)
        size = _input_size(path.name, sections_, choice.dialect.fork, options, notes)
        self.sections, self.options = sections_, options
        self.heads: list[Head] = []
        self.network = Network(
            path=path,
            dialect=choice.dialect,
            notes=notes,
            build=Build(path.stem, options.opset or OPSET),
            arrays=arrays,
            input=size.input,
            rows=size.rows,
            sequences=size.sequences,
            files=[path],
        )

    def walk(self) -> None:
        """Translate every section after [net], in order."""
        x = self._start()
        for index, section in enumerate(self.sections[1:]):
            x = self._section(index, section, x)
            self.network.features.append(x)
        if not self.network.features:
            raise Malformed("the cfg has no layer", where=self.network.file, expected="sections after [net]")

    def _start(self) -> Feature:
        """The input of the graph."""
        given = self.network.input
        value = self.network.build.input("data", [self.network.rows, *given.dims])
        channels, height, width = (0, 0, 0) if given.is_flat else (given.channels, given.height, given.width)
        return Feature(value, channels, height, width, size=math.prod(given.dims))

    def _section(self, index: int, section: Section, x: Feature) -> Feature:
        """The result of one section, which reads `x`."""
        network, fork = self.network, self.network.dialect.fork
        row = schema.find(section, Source(network.file, section.line, index=index, type=section.name[:40]))
        layer = Layer(network, index, section, row.name)
        with blamed_on(layer.source):
            if fork not in row.forks:
                layer.warn("other-fork", f"{fork}'s darknet has no [{row.name}]; only {row.forks[0]}'s does")
            common = schema.layer_options(section, network.file, network.notes)
            layer.dontload, layer.numload = bool(common["dontload"]), common["numload"]
            layer.dontloadscales = row.name in HONOUR_DONTLOADSCALES and bool(common["dontloadscales"])
            options = schema.bind(section, row, fork, network.file, network.notes)
            result: Feature | Head = row.function(layer, x, **options)
        if isinstance(result, Head):
            self.heads.append(result)
            result = result.result
        self._name(layer, result)
        return result

    def _name(self, layer: Layer, result: Feature) -> None:
        """A layer's result has the layer's name; one that is another layer's (route, dropout) gets a node of
        its own."""
        value = result.value
        if value is None:
            return
        if value.producer() is None or not (value.name or "").startswith(f"{layer.name}/"):
            value = layer.op("Identity", value, what="identity")
        result.value = self.network.build.rename(value, layer.name)

    def finish(self) -> None:
        """Account for every byte, choose the outputs, and drop what depends on weights that are not there."""
        self._account()
        build = self.network.build
        for value in self._outputs():
            build.result(value)
        if self.options.heads != "layer" or self.network.arrays.missing:
            _prune(build.graph)
        _drop_unused(build.graph)
        for value in build.graph.initializers.values():
            missing = value.const_value
            if isinstance(missing, weights.Missing):
                raise Mismatch(
                    f"{missing.why}, and an output needs them",
                    where=missing.where,
                    way_out="end the cfg before this layer, or give the whole weights file",
                )
        self._note_epsilon()

    def _account(self) -> None:
        """Refuse a weights file that has bytes left over, or too few, unless --allow-partial covers it."""
        network, arrays = self.network, self.network.arrays
        if isinstance(arrays, weights.Seeded) or not arrays.left:
            return
        if arrays.left > 0 or not self.options.allow_partial:
            net = Source(network.file, self.sections[0].line, type="net")
            last = arrays.taken[-1].where if arrays.taken else net
            raise refusal(arrays, network.file, network.predictors, last)
        text = f"{arrays.file.path.name} ends within this layer; layers from here on have no weights"
        network.notes.warn("partial", arrays.cut, text)

    def _outputs(self) -> list[ir.Value]:
        """The values that the user asked for with --heads, each once."""
        wish = self.options.heads
        if wish != "layer" and not self.heads:
            raise UsageError(
                f"{spelled('heads')} is '{wish}', but {self.network.file} has no detection layer",
                way_out="leave it out",
            )
        if wish == "boxes":
            return heads.decode(self.heads, self.network.file)
        if wish == "raw":
            values = [
                h.layer.image(h.source) if h.source.is_image else h.layer.flat(h.source) for h in self.heads
            ]
        else:
            last = next((f for f in reversed(self.network.features) if f.value is not None), None)
            if last is None:
                raise Malformed("no layer has a result at inference", where=self.network.file)
            values = [v for v in (*(h.result.value for h in self.heads), last.value) if v is not None]
        return list(dict.fromkeys(values))

    def _note_epsilon(self) -> None:
        """A note when sqrt(v + 1e-5) and sqrt(v) + 1e-6 give different networks."""
        changed = [e for e in self.network.epsilons if e.channels]
        if not changed:
            return
        worst = max(changed, key=lambda e: e.ratio)
        text = (
            f"variances down to {worst.smallest:.2g}: sqrt(variance) + 1e-6 (pjreddie-cpu) would "
            "scale a channel here "
            f"{worst.ratio:.3g} times as much as sqrt(variance + 1e-5); "
            f"{sum(e.channels for e in changed):,} of "
            f"{sum(e.of for e in self.network.epsilons):,} channels in {len(changed)} layers change by more "
            "than 1 %; "
            f"the dialect is {self.network.dialect.name}"
        )
        self.network.notes.note("epsilon", worst.layer, text)


@dataclass(frozen=True)
class InputSize:
    """The input of a network and its batch dimension: `rows` is `sequences` times the time steps in a
    recurrent net, and the batch otherwise."""

    input: Input
    rows: int | str
    sequences: int


def _input_size(
    file: str, sections_: list[Section], fork: Fork, options: ReadOptions, notes: Notes
) -> InputSize:
    """The input that [net] and the user's options ask for. Errors: Malformed, UsageError."""
    section, row = sections_[0], schema.SECTIONS["net"]
    with blamed_on(Source(file, section.line, type="net")):
        stated: Input = row.function(**schema.bind(section, row, fork, file, notes))
        recurrent = any(schema.SECTIONS[s.name].recurrent for s in sections_[1:] if s.name in schema.SECTIONS)
        given, batch = _resized(stated, options, recurrent)
        sequences = batch or 1
        rows: int | str = sequences * given.time_steps if recurrent else batch or "N"
        if math.prod(given.dims) > cfg.INT_MAX or (isinstance(rows, int) and rows > cfg.INT_MAX):
            raise Malformed(
                f"an input of {' x '.join(str(d) for d in (rows, *given.dims))}",
                expected=f"at most {cfg.INT_MAX:,} numbers",
            )
    return InputSize(given, rows, sequences)


def _resized(given: Input, options: ReadOptions, recurrent: bool) -> tuple[Input, int | None]:
    """The input with the sizes that the user asked for (--input-shape), and the batch (--batch). Errors:
    UsageError."""
    batch = options.batch
    dims = options.shape_of("data")
    if dims is None:
        return given, batch
    flat = given.is_flat
    if len(dims) != (2 if flat else 4) or dims[1] != (given.inputs if flat else given.channels):
        raise UsageError(
            cannot_be(spelled("input_shapes"), dims),
            expected=f"N,{given.inputs}" if flat else f"N,{given.channels},height,width",
        )
    rows = dims[0] // given.time_steps if recurrent else dims[0]
    if batch not in (None, rows) or (recurrent and dims[0] % given.time_steps):
        raise UsageError(
            f"{spelled('input_shapes')} has {dims[0]} rows",
            expected=f"the number of {spelled('batch')}, times {given.time_steps if recurrent else 1} time "
            "steps",
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


def read_network(network: Path, weights_file: Path | None, options: ReadOptions) -> Loaded:
    """The model of a cfg and its weights. Errors: see the package."""
    return walked(network, weights_file, options)[0]


def walked(
    network: Path, weights_file: Path | None, options: ReadOptions
) -> tuple[Loaded, Network, list[Section]]:
    """The same with what was read on the way: the layers' results and arrays, and the sections."""
    network = Path(network)
    if (options.opset or OPSET) < LOWEST_OPSET:
        raise UsageError(
            cannot_be(spelled("opset"), options.opset),
            expected=f"at least {LOWEST_OPSET} for a darknet network",
        )
    syntax = Notes(options.strict)
    sections_ = cfg.read_sections(network, syntax)
    file = FileMap(weights_file) if weights_file is not None else None
    if file is not None and options.random_weights is not None:
        raise UsageError(
            f"{spelled('random_weights')} was given together with a weights file", expected="only one of them"
        )
    named = named_dialect(options.dialect)
    choices = [named] if named else choose(schema.evidence(sections_, network.name), weights.revision(file))
    net, choice = _first_that_fits(network, sections_, choices, file=file, options=options, syntax=syntax)
    files = (net.files[0], *([Path(weights_file)] if weights_file is not None else []), *net.files[1:])
    loaded = Loaded(
        model=net.build.model(),
        format="darknet",
        name=network.stem,
        files=files,
        findings=tuple(net.notes.findings),
        dialect=choice.dialect.name,
        dialect_reason=choice.reason,
    )
    return loaded, net, sections_


def _first_that_fits(
    network: Path,
    sections_: list[Section],
    choices: list[Choice],
    *,
    file: FileMap | None,
    options: ReadOptions,
    syntax: Notes,
) -> tuple[Network, Choice]:
    """The network in the first dialect that the weights file fits. Errors: those of the first dialect."""
    refused: Mismatch | None = None
    for choice in choices:
        notes = Notes(options.strict)
        notes.findings = list(syntax.findings)
        try:
            reader = Reader(network, sections_, choice=choice, file=file, options=options, notes=notes)
            reader.walk()
            reader.finish()
        except Mismatch as error:
            refused = refused or error
            continue
        return reader.network, choice
    assert refused is not None
    raise refused
