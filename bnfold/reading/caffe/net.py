"""From a prototxt and a caffemodel to a complete, unfolded model: the way through the rooms of this folder.

    text -> tree -> typed -> upgraded -> filtered by state -> wired -> training dropped -> cut -> built layer
    by layer

Only what the outputs are made of is built. Values are named after their blobs: where in-place layers make
several values of one blob, the last has the blob's name and earlier ones are `blob/layer`; inner values of a
layer are `layer/what`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import Malformed, Unsupported, UsageError, blamed_on
from ...ir.graph import ir, uncollected
from ...ir.provenance import Source
from ...results.baking import Stated
from ...results.options import ReadOptions, spelled
from ...results.plan import Finding, Loaded
from ...results.value_kinds import cannot_be, did_you_mean
from ..builder import Build
from . import layers as _layers  # noqa: F401  (registers every built-in layer)
from . import transform
from .blob import Shape, shown
from .border import REPLACED, as_inputs, blocked, border, buildable, example, left, name_of, names, read_tops
from .caffemodel import load
from .fields import ignore, strangers
from .layer import Layer, Value
from .lost import input_node, why_lost
from .prototxt import Text, parse
from .registry import LAYERS, bind, unread
from .schema import Node, typed
from .taught import blamed_on_function
from .upgrade import upgraded
from .value_names import Names, named
from .weight_matching import Weights
from .wiring import (
    Version,
    Wired,
    WrongCount,
    aliased,
    drop_training,
    drop_unknown,
    kept,
    missing,
    needed,
    outputs,
    wire,
    wrong_count,
)

OPSETS = range(13, 24)
DIALECTS = ("auto", "bvlc", "nvcaffe", "digits", "intel", "segnet", "pspnet")
BEHIND_CUT = "it lies behind a cut"
SOLVER = {"net", "train_net", "test_net", "base_lr", "lr_policy", "solver_mode", "max_iter"}


def read_network(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The model of a prototxt and its weights (protobuf or HDF5). Any BnfoldError but those of folding and
    verification."""
    check_options(weights, options)
    with uncollected():
        return NetReader(Path(network), Path(weights) if weights is not None else None, options).run()


def check_options(weights: Path | None, options: ReadOptions) -> None:
    """Raises UsageError for what does not go together."""
    if options.dialect not in DIALECTS:
        raise UsageError(
            f"{cannot_be(spelled('dialect'), options.dialect)} for a Caffe model",
            expected="one of " + ", ".join(DIALECTS),
            way_out=did_you_mean(options.dialect, DIALECTS),
        )
    if options.opset is not None and options.opset not in OPSETS:
        raise UsageError(
            cannot_be(spelled("opset"), options.opset),
            expected=f"an opset from {OPSETS[0]} to {OPSETS[-1]} for a Caffe model",
        )
    if weights is not None and options.random_weights is not None:
        raise UsageError(f"{spelled('random_weights')} beside a weights file", expected="one of the two")


class NetReader:
    """One reading of a network. What it builds is chosen by `_choose`, and built by `_build_layer`."""

    def __init__(self, network: Path, weights: Path | None, options: ReadOptions) -> None:
        self.network, self.weights_path, self.options = network, weights, options
        self.findings: list[Finding] = []
        self.text = Text.from_file(network)
        self.node_names: set[str] = set()
        self.inputs: list[tuple[Version, Value]] = []
        self.stated: list[Stated] = []
        self.built: dict[Wired, Layer] = {}

    def run(self) -> Loaded:
        """The whole reading."""
        tree = parse(self.text)
        for name, where in ignore(tree, self.options.ignore_fields, self.text):
            self.findings.append(Finding("note", "caffe.ignored-field", str(where), f"'{name}' is left out"))
        net = typed(tree, "NetParameter", self.text)
        self._check_net(net)
        nodes = self._wire(net)
        self._choose()
        stored = load(self.weights_path) if self.weights_path is not None else None
        self.weights = Weights(
            nodes,
            stored=stored,
            path=self.weights_path,
            seed=self.options.random_weights,
            findings=self.findings,
        )
        chosen = [layer for layer in self.layers if layer in self.wanted]
        self.taken = Names(name for layer in chosen for name in (layer.name, *layer.node.all("top")))
        self.names, renamed = named(chosen, self.results, self.taken)
        for version in renamed:
            text = f"input '{version.blob}' is called '{self.names[version]}': an output has its name"
            self._note(version.producer, "caffe.renamed-input", text)
        self.build = Build(str(net.get("name") or "") or self.network.stem, self.options.opset or 17)
        self._build()
        self.weights.raise_problems()
        self._report()
        dialect, reason = self._dialect()
        files = (self.network, *((self.weights_path,) if self.weights_path else ()))
        return Loaded(
            model=self.build.model(),
            format="caffe",
            name=self.build.graph.name or "",
            files=files,
            findings=tuple(self.findings),
            dialect=dialect,
            dialect_reason=reason,
            stated=tuple(self.stated),
        )

    def _wire(self, net: Node) -> list[Node]:
        """The layers that exist in the state asked for, wired; what exists for training alone is marked.
        Blobs that nothing readable makes are inputs where their shape is given."""
        state = net.get("state")
        stages = [*(state.all("stage") if state is not None else []), *self.options.stages]
        nodes: list[Node] = []
        left_out: list[Node] = []
        self.every = upgraded(net)
        for node in self.every:
            exists = kept(node, self.options.phase, self.options.level, stages)
            (nodes if exists else left_out).append(node)
        self.elsewhere = {str(node.get("name") or "") for node in left_out}
        absent = missing(nodes)
        asked = dict(self.options.input_shapes)
        given = absent if "" in asked and len(absent) == 1 else [name for name in absent if name in asked]
        nodes = [input_node(net, name) for name in given] + nodes
        self.layers = wire(nodes, partial(why_lost, net, nodes, left_out, self.options.phase))
        self.layers = as_inputs(self.layers, asked, self._unreadable())
        drop_training(self.layers, list(asked))
        drop_unknown(self.layers)
        return nodes

    def _check_net(self, net: Node) -> None:
        if not net.has("layer") and not net.has("layers"):
            names = {entry.name for entry in net.unknown}
            if names & SOLVER:
                raise Malformed(
                    "a solver, not a network",
                    where=self.network,
                    way_out="give the prototxt that its 'net' field names",
                )
            raise Malformed("no layers in it", where=self.network, expected="a network: layer { ... }")

    def _unreadable(self) -> set[Wired]:
        """Layers of a known type that bnfold cannot read: by their fields, or by the number of bottoms."""
        return {
            layer
            for layer in self.layers
            if wrong_count(layer) or any(one.matters for one in strangers(layer, self.text))
        }

    def _check_fields(self) -> None:
        """Refuse fields that nobody knows in layers that compute, and tell of the others."""
        for layer in self.layers:
            for one in strangers(layer, self.text):
                if layer not in self.wanted or not one.matters:
                    self._warn_field(f"{one.text}; bnfold ignores it", one.where)
                    continue
                raise Unsupported(
                    f"{one.text}, so bnfold cannot tell what the layer computes",
                    where=one.where,
                    expected=one.expected,
                    way_out=self._ways_out(layer, f"--ignore-field {one.name} reads the layer without it"),
                )

    def _warn_field(self, text: str, where: Source) -> None:
        self.findings.append(Finding("warning", "caffe.unknown-field", str(where), text))

    # ---- what to build

    def _choose(self) -> None:
        """The outputs, and the layers that they are made of."""
        self.closed = blocked([layer for layer in self.layers if not layer.drop], self._unreadable())
        self.results = self._cut(left(outputs(self.layers), self.layers, self.closed))
        self.wanted = needed(self.results)
        self._check_needed()
        self._check_fields()

    def _cut(self, found: list[Version]) -> list[Version]:
        """The outputs; with --cut-at: the blobs asked for, and the outputs that do not depend on them."""
        if not self.options.cut_at:
            return found
        known = names(self.layers)
        cut = {self._version(name, known) for name in self.options.cut_at}
        behind: set[Version] = set()
        for layer in self.layers:
            if any(bottom in cut or bottom in behind for bottom in layer.bottoms):
                behind.update(top for top in layer.tops if top.producer is layer)
                layer.drop = layer.drop or BEHIND_CUT
        kept_ = [v for v in found if v not in behind and v.producer not in self.closed]
        results = sorted({*kept_, *cut}, key=lambda version: version.blob)
        for layer in needed(results):  # a cut may lie behind another one
            layer.drop = "" if layer.drop == BEHIND_CUT else layer.drop
        return results

    def _version(self, name: str, known: Mapping[str, Version]) -> Version:
        """The value that --cut-at names: the last one of a blob, or the last that can be built."""
        if name not in known:
            raise UsageError(
                f"{spelled('cut_at')} names '{name}', which no layer produces",
                where=self.network,
                way_out=did_you_mean(name, known),
            )
        found = buildable(known[name], self.layers, self.closed)
        if found is not known[name]:
            text = f"the cut at '{name}' is before this layer, which bnfold cannot build"
            self._note(known[name].producer, "caffe.cut", text)
        return found

    def _check_needed(self) -> None:
        if not self.results:
            raise Malformed(
                "the network computes nothing at inference",
                where=self.network,
                expected="a blob that no training layer reads",
            )
        for layer in self.layers:
            if layer not in self.wanted:
                continue
            if layer.drop:
                raise self._dropped_layer(layer)
            if layer.kind is None:
                raise self._unknown_layer(layer)
            if wrong := wrong_count(layer):
                self._refuse_count(layer, wrong)
        self._check_memory()

    def _check_memory(self) -> None:
        reader = aliased([layer for layer in self.layers if layer in self.wanted])
        if reader is not None:
            raise Unsupported(
                "the layer reads memory that an in-place layer has changed under another blob's name, so "
                "that its result depends on how Reshape, Flatten and Split share memory in Caffe",
                where=reader.place,
                way_out="give the in-place layer a top of its own",
            )

    def _refuse_count(self, layer: Wired, wrong: WrongCount) -> None:
        """A wrong number of bottoms is malformed, but for more of them than a loss is known to have, or a
        layer that only forks have: another fork may have its own form of it."""
        assert layer.kind is not None
        forked = layer.kind.origin or layer.kind.role == "loss"
        if not forked or not wrong.many:
            way_out = self._ways_out(layer) if forked else ""
            raise layer.error("bottom", max(0, len(layer.bottoms) - 1), wrong.found, wrong.expected, way_out)
        raise Unsupported(
            wrong.found, where=layer.place, expected=wrong.expected, way_out=self._ways_out(layer)
        )

    def _dropped_layer(self, layer: Wired) -> Unsupported:
        tops = " and ".join(f"'{top.blob}'" for top in layer.tops if top.producer is layer)
        why = f"{tops} is needed too" if layer.drop == REPLACED else layer.drop
        return Unsupported(
            f"the layer's result is needed, but {why}", where=layer.place, way_out=self._ways_out(layer)
        )

    def _unknown_layer(self, layer: Wired) -> Unsupported:
        near = difflib.get_close_matches(layer.type, LAYERS, 1, 0.75)
        made_by = ", ".join(f"'{b.producer.name}' ({b.producer.type})" for b in layer.bottoms) or "nothing"
        readers = (
            ", ".join(f"'{r.name}' ({r.type})" for top in layer.tops for r in top.readers)
            or "nothing: it is an output"
        )
        return Unsupported(
            f"layer type '{layer.type}' is not known"
            + (f" (is '{near[0]}' meant?)" if near else "")
            + f"; it reads {made_by} and is read by {readers}",
            where=layer.place,
            way_out=self._ways_out(layer, "teach bnfold the type with bnfold.caffe.layer"),
        )

    def _ways_out(self, layer: Wired, other: str = "") -> str:
        """What the user can do about a layer that cannot be built: end the network before it, begin the
        network behind it, or something else."""
        known = names(self.layers)
        wanted = [one for one in self.layers if one in self.wanted and one.drop in ("", BEHIND_CUT)]
        cuts = [name_of(version, known) for version in border(wanted, layer, self.closed, self.results)]
        begin = [f"--input-shape {top.blob}:{example(top)}" for top in read_tops(layer, self.wanted)]
        ways = [
            f"cut the network before it with {' '.join(f'--cut-at {name}' for name in cuts)}" if cuts else "",
            f"make its result an input, as with {' '.join(begin)}" if begin and layer.kind is None else "",
            other,
        ]
        return ", or ".join(way for way in ways if way)

    # ---- building

    def _build(self) -> None:
        for layer in self.layers:
            if layer in self.wanted:
                with blamed_on(layer.place), self._with_way_out(layer):
                    self._build_layer(layer)
        for version in self.results:
            assert version.value is not None
            self.build.result(version.value)

    @contextmanager
    def _with_way_out(self, layer: Wired) -> Iterator[None]:
        """Say what can be done about a layer that cannot be expressed, where nobody has said so."""
        try:
            yield
        except Unsupported as error:
            error.way_out = error.way_out or self._ways_out(layer)
            raise

    def _build_layer(self, wired: Wired) -> None:
        kind = wired.kind
        assert kind is not None and kind.function is not None
        self.build.source = Source(self.network.name, wired.place.line, name=wired.name, type=wired.type)
        layer = Layer(
            wired.node,
            wired.index,
            wired.name,
            wired.type,
            build=self.build,
            weights=self.weights,
            options=self.options,
            findings=self.findings,
            names=self.taken,
            source=lambda at, i, shape: self._input(wired, i, shape),
            way_out=lambda: self._ways_out(wired),
            readers=[reader.type for top in wired.tops[:1] for reader in top.readers],
        )
        function = kind.deploy if wired.deployed and kind.deploy else kind.function
        bottoms = [bottom.value for bottom in wired.uses]
        arguments = bind(function, kind.params, wired.node)
        with blamed_on_function(function, kind) if kind.taught else nullcontext():
            result = function(layer, *bottoms, **arguments)
        for entry in unread(function, kind.params, wired.node):
            text = f"layer type '{wired.type}' takes no '{entry.name}'; it is ignored"
            self._warn_field(text, self.text.place(entry.at))
        layer.check_blobs()
        if wired.deployed:
            text = (
                f"at inference there is no label, so '{wired.tops[0].blob}' is the prediction of this layer "
                "and not its loss"
            )
            self._note(wired, "caffe.deploy-form", text)
        self._take(layer, wired, result)
        self.built[wired] = layer

    def _take(self, layer: Layer, wired: Wired, result: Any) -> None:
        """Give a layer's values to its tops, under their names."""
        values: Sequence[Value | None] = result if isinstance(result, (tuple, list)) else (result,)
        if len(wired.tops) > len(values):
            error = Unsupported if wired.kind is not None and wired.kind.origin else Malformed
            raise error(
                f"{len(wired.tops)} tops", expected=f"at most {len(values)} for a layer of type {wired.type}"
            )
        main = True
        for top, value in zip(wired.tops, values, strict=False):
            if not isinstance(value, ir.Value):
                if wired.kind is not None and wired.kind.role == "source":
                    continue  # an input that nothing needs
                raise UsageError(
                    f"the function for layer type '{wired.type}' returned {type(value).__name__} "
                    f"for top '{top.blob}'",
                    expected="a value",
                )
            if top.producer is not wired:
                continue
            source = wired.kind is not None and wired.kind.role == "source"
            made = value.producer() in layer.made or (source and value in self.build.graph.inputs)
            fresh = made and value not in (other.value for other in wired.tops)
            top.value = value if fresh else layer.op("Identity", value)
            top.value.name = self.names[top]
            node = top.value.producer()
            if main and node is not None:
                node.name, main = self._node_name(wired.name or top.blob), False

    def _node_name(self, wish: str) -> str:
        """A layer's name for its node; later layers of the name get a number, as onnxruntime wants names to
        differ."""
        if wish and wish not in self.node_names:
            self.node_names.add(wish)
            return wish
        return self.taken.unique(wish)

    def _input(self, wired: Wired, index: int, shape: Shape | None) -> Value | None:
        if index >= len(wired.tops) or (
            not [r for r in wired.tops[index].readers if r in self.wanted]
            and wired.tops[index] not in self.results
        ):
            return None
        top = wired.tops[index]
        dims = self.options.shape_of(top.blob) or shape
        if dims is None:
            raise Malformed(
                f"the shape of input '{top.blob}' is not known",
                way_out=f"give it as {spelled('input_shapes', f'{top.blob}:1,3,224,224')}",
            )
        if any(d < 1 for d in dims):
            raise Malformed(
                f"input '{top.blob}' has a shape of {shown(dims)}",
                expected="at least one value in every dimension",
                way_out=f"give it as {spelled('input_shapes', f'{top.blob}:1,3,224,224')}",
            )
        value = self.build.input(self.names[top], dims)
        self.inputs.append((top, value))
        if index == 0 and (found := transform.stated(wired.node, self.names[top], self.network)) is not None:
            self.stated.append(found)
        return value

    # ---- findings

    def _note(self, layer: Wired, code: str, text: str, level: str = "note") -> None:
        self.findings.append(Finding(level, code, str(layer.place), text))

    def _report(self) -> None:
        for layer in self.layers:
            if layer.type == "Dropout" and (layer.node.get("phase") or self.options.phase) == "TRAIN":
                self._note(
                    layer,
                    "caffe.dropout",
                    "drops nothing: random choices are not expressed, whatever the phase",
                    "warning",
                )
            if layer.drop == BEHIND_CUT:
                continue
            if layer.drop and layer.kind is None:
                self._note(layer, "caffe.unknown-layer", f"dropped: {layer.drop}", "warning")
            elif layer.drop:
                self._note(layer, "caffe.training-layer", f"dropped: {layer.drop}")
            elif layer.kind is not None and layer.kind.role == "source" and layer not in self.wanted:
                self._note(layer, "caffe.unused-input", "dropped: nothing that is left reads it")
        self._report_unmatched()
        if self.options.strict and (
            warning := next((f for f in self.findings if f.level == "warning"), None)
        ):
            raise Malformed(f"{warning.text} (a warning, and --strict is on)", where=warning.where)

    def _report_unmatched(self) -> None:
        """Tell of stored blobs that belong to no layer. Those of a layer that is left out by its phase or
        stage are expected."""
        unmatched = [e.name for e in self.weights.unmatched if e.name not in self.elsewhere]
        if not unmatched:
            return
        shown_names = ", ".join(f"'{name}'" for name in unmatched[:4])
        shown_names += " ..." if len(unmatched) > 4 else ""
        count = f"{len(unmatched)} layers" if len(unmatched) > 1 else "a layer"
        text = f"the weights file has blobs of {count} that the network does not have: {shown_names}"
        self.findings.append(Finding("warning", "caffe.unmatched-weights", str(self.weights_path), text))

    def _dialect(self) -> tuple[str, str]:
        chosen = self.weights.dialects
        if self.options.dialect != "auto":
            return self.options.dialect, "as asked"
        if not chosen:
            return "bvlc", "no batch norm that differs between dialects"
        names = sorted(set(chosen.values()))
        return ", ".join(sorted({name for name, _ in names})), "; ".join(
            sorted({reason for _, reason in names})
        )
