"""Fields and words that the schema does not know, and fields that the user asks to ignore.

The rule: what a layer that computes has in its message and bnfold does not know is an error, since a fork has
it for a reason. HARMLESS lists what changes no value at inference, with the reason. In layers that are not
built an unknown field is a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from ...errors import UsageError
from ...ir.provenance import Source
from ...results.options import spelled
from ...results.value_kinds import did_you_mean
from .prototxt import Entry, Message, Scalar, Text
from .registry import LAYERS
from .schema import Node, strange, words_like
from .table import MESSAGES
from .wiring import Wired

TRAINING = "training"
HARMLESS_MESSAGES = {  # message -> why nothing in it changes a value at inference
    "FillerParameter": "fills blobs before training",
    "ParamSpec": TRAINING,
    "TransformationParameter": "prepares the data of a data source",
}
HARMLESS = {  # field of any message -> why it changes no value at inference
    "engine": "which library computes",
    "lr_mult": TRAINING,
    "decay_mult": TRAINING,
    "blobs_lr": TRAINING,
    "weight_decay": TRAINING,
    "loss_weight": TRAINING,
    "propagate_down": TRAINING,
    "weight_filler": "fills blobs before training",
    "bias_filler": "fills blobs before training",
}
LAYERS_OF = ("layer", "layers")


class Stranger(NamedTuple):
    """A field, or a word of an enum, that bnfold does not know: its dotted name, what there is to say, where
    it stands, what would be right, and whether it may change what its layer computes."""

    name: str
    text: str
    where: Source
    expected: str
    matters: bool


def strangers(layer: Wired, text: Text) -> Iterator[Stranger]:
    """What bnfold does not know of a layer's fields."""
    for path, node, entry in strange(layer.node):
        if node is layer.node and any(entry.name in kind.params for kind in LAYERS.values()):
            continue  # the message of a type that was taught
        expected, said = "", f"{node.type} has no field '{entry.name}'"
        if entry in node.foreign:
            word = entry.value.text if isinstance(entry.value, Scalar) else ""
            said = f"{path} is {word}, which {node.type} does not have"
            expected = words_like(word, str(MESSAGES[node.type][entry.name][2]))
        where = text.place(entry.at, layer.name, layer.type)
        yield Stranger(path, said, where, expected, _matters(layer, path, node, entry))


def _matters(layer: Wired, path: str, node: Node, entry: Entry) -> bool:
    """May an unknown field change what a layer computes?"""
    kind = layer.kind
    if kind is None or kind.role in ("source", "training") or _harmless(node, entry):
        return False
    message = path.partition(".")[0]
    if node is not layer.node and message not in kind.params:
        return False  # the parameters of another type, which this one does not read
    return not (layer.deployed and message == "loss_param")


def _harmless(node: Node, entry: Entry) -> str:
    """Why an unknown field changes no value, "" when it may change one."""
    if entry in node.foreign:
        return ""
    return HARMLESS_MESSAGES.get(node.type, "") or HARMLESS.get(entry.name, "")


def ignore(tree: Message, asked: Sequence[str], text: Text) -> list[tuple[str, Source]]:
    """Take the fields that the user does not want out of every layer: (name, place) of each. Raises
    UsageError for a name that no layer has."""
    found: list[tuple[str, Source]] = []
    layers = [e.value for e in tree.entries if e.name in LAYERS_OF and isinstance(e.value, Message)]
    for name in asked:
        before = len(found)
        for layer in layers:
            found += [(name, text.place(entry.at)) for entry in _taken_out(layer, name.split("."))]
        if len(found) == before:
            raise UsageError(
                f"{spelled('ignore_fields')} names '{name}', which no layer has",
                where=text.path,
                expected="a field as in scale_param.min_value",
                way_out=did_you_mean(name, _names(layers)),
            )
    return found


def _taken_out(message: Message, path: Sequence[str]) -> list[Entry]:
    """Remove the fields of a dotted name from a message; the entries that were there."""
    here = [entry for entry in message.entries if entry.name == path[0]]
    if len(path) == 1:
        message.entries = [entry for entry in message.entries if entry.name != path[0]]
        return here
    return [
        gone
        for entry in here
        if isinstance(entry.value, Message)
        for gone in _taken_out(entry.value, path[1:])
    ]


def _names(layers: Iterable[Message]) -> Collection[str]:
    """The dotted names of all fields of some layers' parameter messages."""
    return {
        f"{entry.name}.{field.name}"
        for layer in layers
        for entry in layer.entries
        if isinstance(entry.value, Message)
        for field in entry.value.entries
    }
