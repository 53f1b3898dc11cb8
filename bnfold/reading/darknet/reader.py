"""The walk over the sections of a cfg: each becomes a few ONNX nodes, and takes its arrays from the weights
file on the way.

    load    files -> dialect -> walk -> accounting of the weights file -> outputs -> Loaded

Where nothing says whose fork a net is, and the weights file does not fit the first choice, the other one is
tried; then the other form of the header, where the file's version leaves it open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ...errors import BnfoldError, Malformed, Mismatch, UsageError, blamed_on, telling
from ...ir.graph import ir
from ...ir.provenance import Source
from ...ir.tensor import FileMap
from ...records import dataclass
from ...results.baking import Preprocessing, Stated
from ...results.options import ReadOptions, spelled
from ...results.plan import Loaded
from ...results.value_kinds import cannot_be
from ..builder import Build
from . import cfg, cuts, hank_ai, heads, schema, sections, weights
from .accounting import cut_before, refusal
from .activations import SILU
from .cfg import Section
from .dialects import Choice, Dialect, Fork, choose, named_dialect
from .findings import Notes
from .heads import Head
from .layer import Layer
from .network import Feature, Input, Network
from .syntax import CLASSIC, INT_MAX

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
        arrays: weights.ArraySource,
        options: ReadOptions,
        notes: Notes,
    ) -> None:
        size = _input_size(path.name, sections_, choice.dialect, options, notes)
        self.sections, self.options = sections_, options
        self.cuts = cuts.layers(sections_, options.cut_at, path.name)
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
            silu=options.silu or "",
        )

    def walk(self) -> None:
        """Translate every section after [net], in order, as far as the user wants the network."""
        if not self.sections[1:]:
            raise Malformed("the cfg has no layer", where=self.network.file, expected="sections after [net]")
        self._walk(self.sections[1 : 2 + self.cuts[-1]] if self.cuts else self.sections[1:])

    def _walk(self, sections_: Sequence[Section]) -> None:
        features = self.network.features
        for section in sections_:
            x = features[-1] if features else self._start()
            features.append(self._section(len(features), section, x))

    def _start(self) -> Feature:
        """The input of the graph."""
        given = self.network.input
        value = self.network.build.input("data", [self.network.rows, *given.dims])
        channels, height, width = (0, 0, 0) if given.is_flat else (given.channels, given.height, given.width)
        return Feature(value, channels, height, width, size=math.prod(given.dims))

    def _section(self, index: int, section: Section, x: Feature) -> Feature:
        """The result of one section, which reads `x`."""
        network, dialect = self.network, self.network.dialect
        row = schema.find(section, Source(network.file, section.line, index=index, type=section.name[:40]))
        layer = Layer(network, index, section, row.name)
        with blamed_on(layer.source):
            if dialect.fork not in row.forks:
                layer.warn(
                    "other-fork", f"{layer.whose}'s darknet has no [{row.name}]; only {row.forks[0]}'s does"
                )
            common = schema.layer_options(section, dialect.syntax, network.file, network.notes)
            layer.dontload, layer.numload = bool(common["dontload"]), common["numload"]
            layer.dontloadscales = row.name in HONOUR_DONTLOADSCALES and bool(common["dontloadscales"])
            options = schema.bind(section, row, dialect, network.file, network.notes)
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
        if self.options.heads != "layer" or self.network.arrays.missing or self.cuts:
            _prune(build.graph)
        _drop_unused(build.graph)
        for value in build.graph.initializers.values():
            missing = value.const_value
            if isinstance(missing, weights.Missing):
                raise Mismatch(
                    f"{missing.why}, and an output needs them",
                    where=missing.where,
                    way_out=", or ".join(
                        [
                            *cut_before(missing.where, "end the network before it with"),
                            "give the whole weights file",
                        ]
                    ),
                )
        self._note_epsilon()

    def _account(self) -> None:
        """Refuse a weights file that has bytes left over, or too few, unless --allow-partial covers it. Where
        the user cuts the network, the file may end there, or go on for the layers behind."""
        network, arrays = self.network, self.network.arrays
        if arrays.left > 0 and self.cuts:
            self._account_behind_the_cut()
        if not isinstance(arrays, weights.Arrays) or not arrays.left:
            return
        if arrays.left > 0 or not self.options.allow_partial:
            net = Source(network.file, self.sections[0].line, type="net")
            last = arrays.taken[-1].where if arrays.taken else net
            raise refusal(arrays, network.file, network.predictors, last)
        text = f"{arrays.file.path.name} ends within this layer; layers from here on have no weights"
        network.notes.warn("partial", arrays.cut, text)

    def _account_behind_the_cut(self) -> None:
        """Let the layers behind the cut ask for their arrays; nothing else of them counts."""
        network, heads_ = self.network, list(self.heads)
        notes, network.notes = network.notes, Notes()
        epsilons = list(network.epsilons)
        try:
            self._walk(self.sections[1 + len(network.features) :])
        except BnfoldError as error:
            raise Mismatch(
                f"the weights file goes on behind the cut, but the layers there cannot be read ({error})",
                where=network.file,
                expected="a file that ends where the network is cut, or layers that bnfold knows",
            ) from error
        finally:
            self.heads, network.notes, network.epsilons = heads_, notes, epsilons

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
            ends = [last.value] if not self.cuts else []
            values = [v for v in (*(h.result.value for h in self.heads), *ends) if v is not None]
        return list(dict.fromkeys([*values, *self._cut_values()]))

    def _cut_values(self) -> list[ir.Value]:
        """The results of the layers at which the user cuts the network."""
        values = []
        for index in self.cuts:
            value = self.network.features[index].value
            if value is None:
                raise UsageError(
                    f"{spelled('cut_at')} names layer {index} of {self.network.file}, which has no result",
                    expected="a layer that has one at inference",
                )
            values.append(value)
        return values

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
    file: str, sections_: list[Section], dialect: Dialect, options: ReadOptions, notes: Notes
) -> InputSize:
    """The input that [net] and the user's options ask for. Errors: Malformed, UsageError."""
    section, row = sections_[0], schema.SECTIONS["net"]
    with blamed_on(Source(file, section.line, type="net")):
        stated: Input = row.function(**schema.bind(section, row, dialect, file, notes))
        recurrent = any(schema.SECTIONS[s.name].recurrent for s in sections_[1:] if s.name in schema.SECTIONS)
        given, batch = _resized(stated, options, recurrent)
        sequences = batch or 1
        rows: int | str = sequences * given.time_steps if recurrent else batch or "N"
        if math.prod(given.dims) > INT_MAX or (isinstance(rows, int) and rows > INT_MAX):
            raise Malformed(
                f"an input of {' x '.join(str(d) for d in (rows, *given.dims))}",
                expected=f"at most {INT_MAX:,} numbers",
            )
    return InputSize(given, rows, sequences)


def _resized(given: Input, options: ReadOptions, recurrent: bool) -> tuple[Input, int | None]:
    """The input with the sizes that the user asked for (--input-shape, --fix-shape), and the batch (--batch).
    Errors: UsageError."""
    batch = options.batch
    flag = spelled("fix_shape" if options.fix_shape else "input_shapes")
    dims = options.shape_of("data")
    if dims is None:
        return given, batch
    flat = given.is_flat
    if len(dims) != (2 if flat else 4) or dims[1] != (given.inputs if flat else given.channels):
        raise UsageError(
            cannot_be(flag, dims),
            expected=f"N,{given.inputs}" if flat else f"N,{given.channels},height,width",
        )
    rows = dims[0] // given.time_steps if recurrent else dims[0]
    if batch not in (None, rows) or (recurrent and dims[0] % given.time_steps):
        raise UsageError(
            f"{flag} has {dims[0]} rows",
            expected=f"the number of {spelled('batch')}, times {given.time_steps if recurrent else 1} time "
            "steps",
        )
    if flat:
        return given, rows
    return Input(given.channels, dims[2], dims[3], given.channels * dims[2] * dims[3], given.time_steps), rows


def _arrays(
    file: FileMap | None, fork: Fork, options: ReadOptions, path: Path, other_header: bool
) -> weights.ArraySource:
    if file is not None:
        return weights.Arrays(file, fork, other_header)
    if options.random_weights is not None:
        return weights.Seeded(options.random_weights)
    return weights.NoFile(
        UsageError(
            f"{path.name} needs its weights file",
            way_out=f"name it after the cfg, or give {spelled('random_weights', 'SEED')}",
        )
    )


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
    if weights_file is not None and options.random_weights is not None:
        raise UsageError(
            f"{spelled('random_weights')} was given together with a weights file", expected="only one of them"
        )
    notes = Notes(options.strict)
    with telling(notes.findings):
        sections_, named = _sections(network, options, notes)
        file = FileMap(weights_file) if weights_file is not None else None
        choices = (
            [named] if named else choose(schema.evidence(sections_, network.name), weights.revision(file))
        )
    net, choice = _first_that_fits(network, sections_, choices, file=file, options=options, syntax=notes)
    files = (net.files[0], *([Path(weights_file)] if weights_file is not None else []), *net.files[1:])
    loaded = Loaded(
        model=net.build.model(),
        format="darknet",
        name=network.stem,
        files=files,
        findings=tuple(net.notes.findings),
        dialect=choice.dialect.name,
        dialect_reason=choice.reason,
        stated=() if net.input.is_flat else (_stated(net),),
    )
    return loaded, net, sections_


def _stated(net: Network) -> Stated:
    """darknet divides the pixels of every picture by 255."""
    pixels = Preprocessing(std=(255.0,))
    return Stated(input="data", preprocessing=pixels, where="darknet", outside="the resize of the picture")


def _sections(network: Path, options: ReadOptions, notes: Notes) -> tuple[list[Section], Choice | None]:
    """The sections of a cfg in the syntax of the dialect that the user named, and that dialect. Where none is
    named, lines that mean something else in hank-ai's darknet get a warning."""
    named = named_dialect(options.dialect)
    data, syntax = cfg.read_bytes(network), named.dialect.syntax if named else CLASSIC
    sections_ = cfg.parse(data, network.name, notes, syntax)
    if named is None:
        for found in hank_ai.differences(data, sections_, syntax, network.name):
            notes.warn(
                "hank-ai",
                found.where,
                f"'{found.key}' is {found.value} here; in hank-ai's darknet it is {found.theirs} "
                "(--dialect hank-ai)",
            )
    elif named.dialect.is_hank_ai:
        hank_ai.check(sections_, network.name, notes, silu=options.silu is not None)
    _check_silu(sections_, network.name, options.silu, notes)
    return sections_, named


def _check_silu(sections_: list[Section], file: str, chosen: str | None, notes: Notes) -> None:
    """No darknet knows activation=silu, and it silently takes relu: the user has to say which is meant."""
    given = [s.options["activation"] for s in sections_ if "activation" in s.options]
    lines = [option.line for option in given if option.text == SILU]
    if not lines:
        return
    many = f" in {len(lines)} layers" if len(lines) > 1 else ""
    where = Source(file, lines[0])
    if chosen is None:
        raise Malformed(
            f"activation=silu{many}, which no darknet knows: it would compute relu, and other programs mean "
            "what darknet calls swish",
            where=where,
            expected="activation=swish",
            way_out=f"say with {spelled('silu')} which one it is: swish, or relu as darknet computes it",
        )
    notes.note("silu", where, f"activation=silu{many} is read as {chosen}, as asked")


def _first_that_fits(
    network: Path,
    sections_: list[Section],
    choices: list[Choice],
    *,
    file: FileMap | None,
    options: ReadOptions,
    syntax: Notes,
) -> tuple[Network, Choice]:
    """The network in the first dialect, and with the first form of the header, that the weights file fits.
    Errors: those of the first attempt."""
    refused: Mismatch | None = None
    open_header = file is not None and weights.leaves_header_open(file)
    for other_header, choice in product((False, True) if open_header else (False,), choices):
        notes = Notes(options.strict)
        notes.findings = list(syntax.findings)
        try:
            with telling(notes.findings):
                arrays = _arrays(file, choice.dialect.fork, options, network, other_header)
                reader = Reader(
                    network, sections_, choice=choice, arrays=arrays, options=options, notes=notes
                )
                reader.walk()
                reader.finish()
                if isinstance(arrays, weights.Arrays) and other_header:
                    notes.warn("header", arrays.file.path, arrays.header.told)
        except Mismatch as error:
            refused = refused or error
            continue
        return reader.network, choice
    assert refused is not None
    raise refused
