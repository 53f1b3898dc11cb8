"""Fields and words that the schema does not know, and fields that the user asks to ignore.

The rule: what a layer that computes has in its message and bnfold does not know is an error, since a fork has
it for a reason. HARMLESS lists what changes no value at inference, with the reason. In layers that are not
built an unknown field is a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ...errors import UsageError
from ...ir.provenance import Source
from ...results.options import spelled
from ...results.value_kinds import did_you_mean
from .prototxt import Entry, Message, Scalar, Text
from .schema import Node
from .table import MESSAGES

TRAINING = "training"
HARMLESS_MESSAGES = {  # message -> why nothing in it changes a value at inference
    "FillerParameter": "fills blobs before training",
    "LossParameter": TRAINING,
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
}
LAYERS_OF = ("layer", "layers")


def harmless(node: Node, entry: Entry) -> str:
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


def shown_value(entry: Entry) -> str:
    """The value of a field as it was written."""
    return entry.value.text if isinstance(entry.value, Scalar) else "a message"


def type_of_field(node: Node, entry: Entry) -> str:
    """The schema's type of a field of a message."""
    return str(MESSAGES[node.type][entry.name][2])
