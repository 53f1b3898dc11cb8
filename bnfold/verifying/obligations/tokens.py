"""Tokens: numbers that stand for what a value is computed from. Two values with equal tokens are the same
function of the same inputs, so that nothing has to be run to know that they are equal.

    Vocabulary    equal keys get equal tokens, in both models alike
    SideTokens    the tokens of one graph of one model

The key of a node's output is its operator, its attributes and the tokens of its inputs; that of a constant is
its type, shape and bytes, wherever it is stored and however it is made; that of an input is its name. A cut
value has a token of its own in place of its key: it is assumed to be equal on both sides, and an obligation
elsewhere says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

import numpy as np

from ...inference.constants import Constants
from ...ir.difference import same_bytes
from ...ir.graph import STANDARD, GraphLike, ir, is_op, opset
from ...ir.tensor import dims, nbytes
from ...operators.table import op
from ...records import dataclass

SMALL = 1 << 14  # bytes of a constant that is its own key; larger ones are told apart by a look at the bytes
_HEAD = 256  # bytes of a large constant that are looked at first
Token = int


class Vocabulary:
    """Hands out tokens. With `weightless`, float constants count by type and shape alone."""

    def __init__(self, *, weightless: bool = False) -> None:
        self.weightless = weightless
        self._known: dict[Hashable, Token] = {}
        self._count = 0
        self._large: dict[Hashable, list[tuple[ir.TensorProtocol, Token]]] = {}
        self._of_tensor: dict[int, tuple[ir.TensorProtocol, Token]] = {}

    def token(self, key: Hashable) -> Token:
        """The token of a key."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.fresh()
        return found

    def fresh(self) -> Token:
        """A token that equals no other."""
        self._count += 1
        return self._count

    def skip(self, taken: Iterable[Token]) -> None:
        """Hand out none of these tokens, which come from elsewhere."""
        self._count = max([self._count, *taken])

    def constant(self, tensor: ir.TensorProtocol) -> Token:
        """The token of a constant's values."""
        known = self._of_tensor.get(id(tensor))
        if known is not None and known[0] is tensor:
            return known[1]
        token = self._constant(tensor)
        self._of_tensor[id(tensor)] = (tensor, token)
        return token

    def _constant(self, tensor: ir.TensorProtocol) -> Token:
        kind, shape = tensor.dtype, dims(tensor)
        if self.weightless and kind.is_floating_point():
            return self.token(("weight", kind, shape))
        if kind == ir.DataType.STRING:
            return self.token(("text", shape, tuple(np.asarray(tensor.numpy()).reshape(-1).tolist())))
        if nbytes(kind, shape) <= SMALL:
            return self.token(("constant", kind, shape, tensor.tobytes()))
        key = (kind, shape, _head(tensor))
        for other, token in self._large.setdefault(key, []):
            if same_bytes(tensor, other):
                return token
        token = self.fresh()
        self._large[key].append((tensor, token))
        return token


def _head(tensor: ir.TensorProtocol) -> bytes:
    blocks: Callable[[], Iterable[Any]] | None = getattr(tensor, "blocks", None)
    first = (
        next(iter(blocks()), b"") if blocks is not None else np.asarray(tensor.numpy()).reshape(-1)[:_HEAD]
    )
    return np.ascontiguousarray(first).tobytes()[:_HEAD]


@dataclass
class SideTokens:
    """The tokens of one graph's values. `given` are those that come from outside (inputs, values of the
    graphs around it), `cuts` those that are assumed; `expressions` says what each computed value is made
    of."""

    model: ir.Model
    graph: GraphLike
    constants: Constants
    given: Mapping[ir.Value, Token]
    cuts: Mapping[ir.Value, Token] = field(default_factory=dict)
    tokens: dict[ir.Value, Token] = field(default_factory=dict)
    expressions: dict[ir.Value, Token] = field(default_factory=dict)
    order: dict[ir.Node, int] = field(default_factory=dict)

    def compute(self, words: Vocabulary) -> SideTokens:
        """Tokens of every value, in the order of the graph."""
        self.tokens, self.expressions = dict(self.given), {}
        self.order = {node: place for place, node in enumerate(self.graph)}
        reader = _Reader(self.model, self.constants, words, self.cuts)
        reader.walk(self.graph, self.tokens, self.expressions)
        return self

    def token(self, value: ir.Value, words: Vocabulary) -> Token | None:
        """The token of a value or a constant."""
        if value in self.tokens:
            return self.tokens[value]
        tensor = self.constants.tensor(value)
        return None if tensor is None else words.constant(tensor)


class _Reader:
    """Keys of nodes, for one model."""

    def __init__(
        self, model: ir.Model, constants: Constants, words: Vocabulary, cuts: Mapping[ir.Value, Token]
    ) -> None:
        self.model, self.constants, self.words, self.cuts = model, constants, words, cuts
        self._drawn: dict[Hashable, int] = {}
        self._functions: dict[Hashable, Hashable] = {}

    def walk(
        self,
        graph: GraphLike,
        tokens: dict[ir.Value, Token],
        expressions: dict[ir.Value, Token],
        depth: int = 0,
    ) -> None:
        version = opset(self.model, graph)
        for node in graph:
            key = self._key(node, tokens, version, depth)
            for index, value in enumerate(node.outputs):
                token = self._passed(node, tokens, version) if index == 0 else None
                token = token if token is not None else self.words.token((key, index))
                expressions[value] = token
                tokens[value] = self.cuts.get(value, token)

    def _passed(self, node: ir.Node, tokens: dict[ir.Value, Token], version: int) -> Token | None:
        """The token of the input where a node gives just that."""
        if is_op(node, "Identity") or (
            is_op(node, "Dropout") and version >= 12 and len(node.inputs) < 3 and len(node.outputs) == 1
        ):
            value = node.inputs[0]
            return None if value is None else self._token(value, tokens)
        if (tensor := self.constants.tensor(node.outputs[0])) is not None:
            return self.words.constant(tensor)
        return None

    def _token(self, value: ir.Value, tokens: dict[ir.Value, Token]) -> Token:
        if value not in tokens:
            tensor = self.constants.tensor(value)
            tokens[value] = (
                self.words.constant(tensor)
                if tensor is not None
                else self.words.token(("unknown", value.name or ""))
            )
        return tokens[value]

    def _key(self, node: ir.Node, tokens: dict[ir.Value, Token], version: int, depth: int) -> Hashable:
        domain = "" if node.domain in STANDARD else node.domain
        inputs = [None if v is None else self._token(v, tokens) for v in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        key: Hashable = (
            node.op_type,
            domain,
            node.overload,
            _since(node.op_type, domain, version),
            tuple(inputs),
            tuple(self._attributes(node, tokens, version, depth)),
            self._function(node),
        )
        if op(node).random:  # two draws are two values, however alike the nodes are
            drawn = self._drawn[key] = self._drawn.get(key, 0) + 1
            key = (key, drawn)
        return key

    def _attributes(
        self, node: ir.Node, tokens: dict[ir.Value, Token], version: int, depth: int
    ) -> Iterator[Hashable]:
        defaults = _defaults(node.op_type, node.domain, version)
        for name, attribute in sorted(node.attributes.items()):
            if attribute.is_ref():
                yield name, "reference", attribute.ref_attr_name
            elif attribute.type == ir.AttributeType.GRAPH:
                yield name, self._body(attribute.as_graph(), tokens, depth)
            elif attribute.type == ir.AttributeType.GRAPHS:
                yield name, tuple(self._body(g, tokens, depth) for g in attribute.as_graphs())
            elif attribute.type == ir.AttributeType.TENSOR:
                yield name, self.words.constant(attribute.as_tensor())
            elif attribute.type == ir.AttributeType.TENSORS:
                yield name, tuple(self.words.constant(t) for t in attribute.as_tensors())
            elif name not in defaults or defaults[name] != attribute.value:
                yield name, attribute.type, _plain(attribute.value)

    def _body(self, graph: ir.Graph, tokens: dict[ir.Value, Token], depth: int) -> Hashable:
        """What a body gives, as a function of its inputs and of the values around it."""
        inner = dict(tokens)
        inner.update({v: self.words.token(("bound", depth, place)) for place, v in enumerate(graph.inputs)})
        self.walk(graph, inner, {}, depth + 1)
        return tuple(self._token(value, inner) for value in graph.outputs)

    def _function(self, node: ir.Node) -> Hashable:
        """What a model-local function gives, for a node that calls one."""
        function = self.model.functions.get(node.op_identifier()) if self.model.functions else None
        if function is None:
            return None
        known = self._functions.get(node.op_identifier())
        if known is None:
            inner = {v: self.words.token(("argument", place)) for place, v in enumerate(function.inputs)}
            self.walk(function.graph, inner, {}, 1)
            known = self._functions[node.op_identifier()] = (
                tuple(self._token(value, inner) for value in function.outputs),
                tuple(sorted((n, _plain(a.value)) for n, a in function.attributes.items())),
            )
        return known


def _plain(value: Any) -> Hashable:
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_plain(one) for one in value)
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return value if isinstance(value, Hashable) else repr(value)


def _since(operator: str, domain: str, version: int) -> int:
    """The opset in which an operator got the meaning that it has in this one."""
    schema = _schema(operator, domain, version)
    return version if schema is None else int(schema.since_version)


def _defaults(operator: str, domain: str, version: int) -> Mapping[str, Any]:
    schema = _schema(operator, "" if domain in STANDARD else domain, version)
    return {} if schema is None else schema.defaults


@dataclass(frozen=True)
class _Schema:
    since_version: int
    defaults: Mapping[str, Any]


_SCHEMAS: dict[tuple[str, str, int], _Schema | None] = {}


def _schema(operator: str, domain: str, version: int) -> _Schema | None:
    key = (operator, domain, version)
    if key not in _SCHEMAS:
        _SCHEMAS[key] = _looked_up(*key)
    return _SCHEMAS[key]


def _looked_up(operator: str, domain: str, version: int) -> _Schema | None:
    from onnx import defs, helper

    if domain or not defs.has(operator):
        return None
    try:
        schema = defs.get_schema(operator, version)
    except defs.SchemaError:
        return None
    defaults = {}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.type:
            value = helper.get_attribute_value(attribute.default_value)
            defaults[name] = value.decode() if isinstance(value, bytes) else value
    return _Schema(schema.since_version, defaults)


def shared(ours: SideTokens, theirs: SideTokens) -> set[Token]:
    """Tokens that values of both sides have."""
    return set(ours.tokens.values()) & set(theirs.tokens.values())
