"""Which function reads which type of layer, and how a layer's parameters become its arguments.

    @layer("ELU", param="elu_param")
    def elu(at: Layer, x: Value, *, alpha: float = 1.0): ...

The signature is the schema: positional arguments are bottoms, keyword-only ones the fields of the parameter
message, their defaults the schema's. What a type deliberately does not use stands in `ignoring`, with the
reason. The same decorator teaches bnfold a type at run time: a later registration of a type takes its place,
and a message that the schema does not know is read by the signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cache
from typing import Any

from ...errors import Malformed, UsageError
from ...records import dataclass
from .prototxt import Entry, Message, Scalar
from .schema import INTEGER, Node, integer, real
from .table import MESSAGES

ENGINE = "which library computes"
FILLER = "fills blobs before training"


@dataclass(frozen=True)
class Kind:
    """One type of layer.

    role      "inference"; "source" (makes graph inputs); "identity" (nothing changes); "loss" (wants a label,
              dropped without one); "training" (always dropped); "sink" (consumes)
    inplace   may its top be its bottom?
    origin    the forks that have it, "" for BVLC Caffe
    deploy    for a loss: what stands for it when there is no label
    acts      for an identity: does this one change its bottom after all?
    """

    type: str
    function: Callable[..., Any] | None
    params: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    role: str = "inference"
    inplace: bool = False
    origin: str = ""
    about: str = ""
    deploy: Callable[..., Any] | None = None
    acts: Callable[[Node], bool] | None = None

    @property
    def taught(self) -> bool:
        """Is its function the user's?"""
        package = __package__.partition(".")[0]
        return self.function is not None and not (self.function.__module__ or "").startswith(f"{package}.")

    def bottoms(self) -> tuple[int, int | None]:
        """Fewest and most bottoms; None for any number."""
        if self.function is None:
            return 0, None
        parameters = _parameters(self.function)
        positional = [p for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD][1:]
        fewest = sum(p.default is p.empty for p in positional)
        variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters)
        return fewest, None if variadic else len(positional)

    def options(self) -> list[inspect.Parameter]:
        """The keyword-only parameters of its function: the fields that it reads."""
        return [] if self.function is None else keywords(self.function)


LAYERS: dict[str, Kind] = {}


def layer(
    *types: str,
    param: str | tuple[str, ...] = (),
    ignoring: Mapping[str, str] | None = None,
    role: str = "inference",
    inplace: bool = False,
    origin: str = "",
    deploy: Callable[..., Any] | None = None,
    acts: Callable[[Node], bool] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the reader of one or more types of layer. See the head of this file, and Kind
    for the options."""
    if not types:
        raise UsageError("layer() without a type of layer", expected="its name, as in @layer('MyLayer')")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        params = (param,) if isinstance(param, str) else tuple(param)
        about = (inspect.getdoc(function) or "").split("\n")[0]
        for type_ in types:
            LAYERS[type_] = Kind(
                type=type_,
                function=function,
                params=params,
                ignored=dict(ignoring or {}),
                role=role,
                inplace=inplace,
                origin=origin,
                about=about,
                deploy=deploy,
                acts=acts,
            )
        return function

    return register


def dropped(*types: str, about: str, origin: str = "") -> None:
    """Register types that serve training or evaluation alone."""
    for type_ in types:
        LAYERS[type_] = Kind(type_, None, role="training", origin=origin, about=about)


TRAINS = ("Loss", "Accuracy", "_LOSS", "_ACCURACY")


def lookup(type_: str) -> Kind | None:
    """The kind of a type name. Losses and accuracies that nobody knows are training layers by their names."""
    if type_ not in LAYERS and type_.endswith(TRAINS):
        return Kind(type_, None, role="training", about="it serves training or evaluation, as its name says")
    return LAYERS.get(type_)


def type_of_word(word: str) -> str:
    """The type that an enum's word of the second generation names: RELU6 is ReLU6. The word itself when that
    is a type, or when there is none."""
    plain = word.replace("_", "").lower()
    return word if word in LAYERS else next((t for t in LAYERS if t.lower() == plain), word)


def keywords(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The keyword-only parameters of a function."""
    return [p for p in _parameters(function) if p.kind == p.KEYWORD_ONLY]


@cache
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def bind(function: Callable[..., Any], params: tuple[str, ...], node: Node) -> dict[str, Any]:
    """The keyword arguments that a layer's parameter messages give. Malformed when one without a default is
    missing."""
    known = [
        (MESSAGES["LayerParameter"][name][2], node.get(name))
        for name in params
        if name in MESSAGES["LayerParameter"]
    ]
    loose = [
        entry for name in params if name not in MESSAGES["LayerParameter"] for entry in _loose(node, name)
    ]
    arguments: dict[str, Any] = {}
    for option in keywords(function):
        name = option.name.rstrip("_")  # `lambda` is a field
        for message, given in known:
            row = MESSAGES[message].get(name)
            if row and given is not None and given.has(name):
                arguments[option.name] = tuple(given.all(name)) if row[1] == "repeated" else given.get(name)
        if values := [_guess(entry, option, node) for entry in loose if entry.name == name]:
            arguments[option.name] = tuple(values) if _wants_many(option) else values[-1]
        if option.name not in arguments and option.default is option.empty:
            raise Malformed(
                f"'{option.name}' is missing", expected=f"{' or '.join(params)} {{ {option.name}: ... }}"
            )
    return arguments


def unread(function: Callable[..., Any], params: tuple[str, ...], node: Node) -> list[Entry]:
    """The entries of messages without a schema that a function does not take."""
    names = {option.name.rstrip("_") for option in keywords(function)}
    loose = [
        entry for name in params if name not in MESSAGES["LayerParameter"] for entry in _loose(node, name)
    ]
    return [entry for entry in loose if entry.name not in names]


def _loose(node: Node, name: str) -> list[Entry]:
    """The entries of a message that the schema does not know."""
    found: list[Entry] = []
    for entry in node.unknown:
        if entry.name == name and isinstance(entry.value, Message):
            found += entry.value.entries
    return found


def _wants_many(option: inspect.Parameter) -> bool:
    return isinstance(option.default, tuple) or str(option.annotation).startswith("tuple")


def _guess(entry: Entry, option: inspect.Parameter, node: Node) -> Any:
    """A value of a field that has no schema: by how it is written, then by the annotation."""
    value = entry.value
    if isinstance(value, Message):
        return value
    if value.kind == "number" and len(value.text) < 32:
        whole = INTEGER.fullmatch(value.text) is not None and "float" not in str(option.annotation)
        return integer(value.text) if whole else _number(value, node, entry)
    if value.kind == "name" and value.text in ("true", "false"):
        return value.text == "true"
    return value.text


def _number(value: Scalar, node: Node, entry: Entry) -> float:
    try:
        return real("number", value.text)
    except ValueError as error:
        raise node.text.error(entry.at, f"'{entry.name}' is {value.text}", str(error)) from error
