"""Reading for a result in Caffe's own format: the graph of what can be folded, and where everything stands
that a fold may change in the text and in the weights file (results/pair.py).

A layer that turns out to be none that ONNX can express is carried, and the reading begins anew.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ...errors import BnfoldError, InputError, Malformed, Mismatch, Unsupported
from ...ir.graph import ir, uncollected
from ...results.options import ReadOptions
from ...results.pair import ArrayKey, BlobPlace, CaffeLayer, CaffePair, Made, NodeInput, StoredLayer, Word
from ...results.plan import Loaded
from .blob import Shape
from .caffemodel import is_h5
from .fields import strangers
from .layer import Layer, dims
from .net import NetReader, check_options
from .opaque import CONVOLUTIONS, guess, named_elsewhere, scope, twins
from .schema import Given, Node
from .spans import FieldSpan, spans
from .wiring import Version, Wired

REMOVABLE = ("BatchNorm", "BN", "Scale", "Bias", "Power")
BIAS_TERMS = dict.fromkeys(CONVOLUTIONS, "convolution_param") | {"InnerProduct": "inner_product_param"}
LINEAR = ("Conv", "ConvTranspose", "Gemm")
BIAS = 2  # the input of a linear operator, beside blob 1 of its layer


def read_pair(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The model of a prototxt and its weights, with `Loaded.pair`. Raises what `read_network` raises."""
    check_options(weights, options)
    forced: set[int] = set()
    with uncollected():
        while True:
            reader = _PairReader(network, weights, options, forced)
            try:
                return reader.run()
            except _Carry as found:
                if found.layers <= forced:
                    raise found.error from None
                forced |= found.layers


class _Carry(Exception):
    """Layers that have to be carried, and the error that says why."""

    def __init__(self, layers: set[int], error: BnfoldError) -> None:
        super().__init__(str(error))
        self.layers, self.error = layers, error


class _PairReader(NetReader):
    def __init__(self, network: Path, weights: Path | None, options: ReadOptions, forced: set[int]) -> None:
        super().__init__(network, weights, options)
        self.forced = forced

    @cached_property
    def spans(self) -> dict[int, FieldSpan]:
        """Where every field stands; to be asked when the text has been parsed."""
        return spans(self.text.content)

    def run(self) -> Loaded:
        """The model, and where its parts stand."""
        try:
            loaded = super().run()
        except Mismatch as error:
            behind = {layer.index for layer in self.behind}
            if not behind - self.forced:
                raise
            raise _Carry(behind, error) from error
        return replace(loaded, pair=self._pair())

    def _choose(self) -> None:
        self.behind: set[Wired] = set()
        self.closed = set()
        self._cut([])  # marks what lies behind --cut-at
        unreadable = {layer.index for layer in self._unreadable()}
        self.twins = twins(self.every, self.layers)
        chosen = scope(
            self.layers, self.forced | unreadable, set(named_elsewhere(self.every, self.layers, self.twins))
        )
        self.results, self.wanted = chosen.results, chosen.wanted
        self.standing, self.behind = chosen.standing, chosen.behind
        if not self.results:
            raise Malformed(
                "bnfold knows no layer of the network that computes something",
                where=self.network,
                expected="at least one layer that bnfold knows",
            )
        self._check_memory()
        for layer in self.wanted - self.standing:
            for one in strangers(layer, self.text):  # of those that matter the layer is carried
                self._warn_field(f"{one.text}; bnfold ignores it", one.where)

    def _build_layer(self, wired: Wired) -> None:
        if wired in self.standing:
            self._stand_in(wired)
            return
        try:
            super()._build_layer(wired)
        except Unsupported as error:
            raise _Carry({wired.index}, error) from error
        except InputError as error:
            if wired not in self.behind:
                raise
            raise _Carry({wired.index}, error) from error

    def _stand_in(self, wired: Wired) -> None:
        """The tops of a carried layer, as inputs of the graph."""
        below = self._size_below(wired)
        read = {version for layer in self.built_later(wired) for version in layer.uses}
        for top in wired.tops:
            if top.producer is wired and top in read:
                size = self.options.shape_of(top.blob) or guess(top, below, self.weights.stored)
                top.value = self.build.input(self.names[top], size)
        self._note(
            wired, "caffe.carried", f"'{wired.name}' ({wired.type}) is carried as it is: no fold passes it"
        )

    def built_later(self, wired: Wired) -> list[Wired]:
        """The layers of the graph behind one."""
        return [
            x for x in self.layers if x.index > wired.index and x in self.wanted and x not in self.standing
        ]

    def _size_below(self, wired: Wired) -> Shape | None:
        value = next((v.value for v in wired.bottoms if v.value is not None), None)
        try:
            found = dims(value) if value is not None else None
        except Unsupported:
            return None
        return found if found and len(found) > 1 else None

    # ---- where everything stands

    def _pair(self) -> CaffePair:
        wired = {id(layer.node): layer for layer in self.layers}
        layers = [self._placed(place, node, wired.get(id(node))) for place, node in enumerate(self.every)]
        return CaffePair(
            units=tuple(layers),
            text=self.text.content,
            prefix=self.text.prefix,
            weights=self.weights_path,
            rest=self._rest(),
        )

    def _rest(self) -> tuple[StoredLayer, ...] | None:
        if self.weights_path is None or not is_h5(self.weights_path):
            return None
        return tuple(
            StoredLayer(
                name=entry.name,
                type=entry.type,
                blobs=tuple((blob.shape, blob.tensor(blob.shape)) for blob in entry.blobs if not blob.hole),
            )
            for entry in self.weights.file
        )

    def _placed(self, place: int, node: Node, wired: Wired | None) -> CaffeLayer:
        span = self.spans.get(node.at)
        text = self.text.content
        if span is None or text[span.value] not in "{<":
            span = FieldSpan(-1, -1, -1, -1)  # the layer of `input` fields
        built = self.built.get(wired) if wired is not None else None
        match = self.weights.matches.get(wired.index) if wired is not None else None
        name, type_ = str(node.get("name") or ""), str(node.get("type") or "")
        return CaffeLayer(
            label=f"layer '{name}'",
            name=name,
            type=type_,
            start=span.start,
            end=span.end,
            bottoms=self._words(node.fields.get("bottom", [])),
            tops=self._words(node.fields.get("top", [])),
            made=_made(wired) if wired is not None and built is not None else None,
            source=wired is not None and wired.kind is not None and wired.kind.role == "source",
            live=wired is not None,
            twin=self.twins.get(place),
            leaves=_leaves(built, type_),
            arrays=_arrays(built, place, bias := self._bias(node, type_)),
            blobs={i: BlobPlace(shape, value) for value, (i, shape) in built.blobs.items()} if built else {},
            divisor=built.divisor if built is not None else None,
            bias=bias,
            params=tuple(self._param(spec) for spec in node.all("param")),
            stored=match[0] if match is not None else None,
        )

    def _words(self, given: list[Given]) -> tuple[Word, ...]:
        return tuple(self._word(one) for one in given)

    def _word(self, given: Given) -> Word:
        span = self.spans[given.at]
        return Word(str(given.value), span.value, span.value_end)

    def _bias(self, node: Node, type_: str) -> Word | None:
        """The value of `bias_term`, where it says that there is none."""
        parameter = node.get(BIAS_TERMS[type_]) if type_ in BIAS_TERMS else None
        if parameter is None or parameter.get("bias_term"):
            return None
        return self._word(parameter.fields["bias_term"][0])

    def _param(self, spec: Node) -> Word | None:
        return self._word(spec.fields["name"][0]) if spec.get("name") else None


def _made(wired: Wired) -> tuple[Made, ...]:
    return tuple(_made_of(top) for top in wired.tops)


def _made_of(top: Version) -> Made:
    value = top.value
    producer = value.producer() if value is not None else None
    if value is None or producer is None:
        return Made("", 0, (value.name or "") if value is not None else "")
    return Made(producer.name or "", list(producer.outputs).index(value), value.name or "")


def _nodes(built: Layer | None) -> list[ir.Node]:
    return [node for node in built.made if node.graph is not None] if built is not None else []


def _leaves(built: Layer | None, type_: str) -> tuple[str, ...]:
    """The nodes of a layer that a fold can make superfluous: they vanish together, and it with them."""
    if built is None or type_ not in REMOVABLE or len(built.node.all("bottom")) != 1 or len(built.tops) != 1:
        return ()
    return tuple(node.name or "" for node in _nodes(built))


def _arrays(built: Layer | None, place: int, bias: Word | None) -> dict[NodeInput, ArrayKey]:
    """The inputs that are learned blobs, and the bias that a linear layer has a place for."""
    found: dict[NodeInput, ArrayKey] = {}
    for node in _nodes(built):
        assert built is not None
        for index, value in enumerate(node.inputs):
            blob = built.blobs.get(value.name or "") if value is not None else None
            if blob is not None:
                found[node.name or "", index] = (place, blob[0])
        if bias is not None and node.op_type in LINEAR:
            found[node.name or "", BIAS] = (place, 1)
    return found
