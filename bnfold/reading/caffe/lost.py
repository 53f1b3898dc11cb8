"""Blobs that layers read and no layer of the network makes: why not, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from ...results.options import spelled
from .border import example_dims, takes_regions
from .schema import Node


def input_node(net: Node, name: str) -> Node:
    """An Input layer for a blob whose shape the user gives."""
    node = Node("LayerParameter", net.text, net.at)
    node.put("name", name)
    node.put("type", "Input")
    node.put("top", name)
    return node


def why_lost(net: Node, nodes: Sequence[Node], left_out: Sequence[Node], phase: str, blob: str) -> str:
    """The layer that would make a blob and why it is left out, and the option that helps. `nodes` are the
    layers that exist."""
    why = _left_out(blob, left_out, phase) or _without_shape(net, blob)
    option = spelled("input_shapes", f"{blob}:{example_dims(blob, takes_regions(blob, nodes))}")
    return f"{why}; make it an input, as with {option}" if why else f"or make it an input, as with {option}"


def _left_out(blob: str, left_out: Sequence[Node], phase: str) -> str:
    maker = next((node for node in left_out if blob in node.all("top")), None)
    if maker is None:
        return ""
    line = maker.place().line
    rules = [*maker.all("include"), *maker.all("exclude")]
    for_phases = [rule.get("phase") for rule in rules if rule.has("phase")]
    what = f"phase {' and '.join(for_phases)}" if for_phases else "another stage or level"
    verb = "exists for" if maker.has("include") else "does not exist for"
    return (
        f"'{maker.get('name') or ''}' ({maker.get('type')}) in line {line}, which makes it, {verb} {what}, "
        f"and the phase is {phase}"
    )


def _without_shape(net: Node, blob: str) -> str:
    given = next((one for one in net.fields.get("input", ()) if one.value == blob), None)
    if given is None:
        return ""
    return f"the 'input' of this name in line {net.text.position(given.at)[0]} has no shape"
