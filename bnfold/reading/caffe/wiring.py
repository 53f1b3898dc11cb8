"""Which layers exist, what reads what, and what is needed: Caffe's rules on names, before any arithmetic.

    kept      include and exclude rules against phase, level and stages
    Version   one value of a blob name; an in-place layer makes the next one
    Wired     one layer with its versions instead of names
    wire      layers -> Wired, with every rule on names checked
    outputs   what the network computes, once training layers are gone

Rule 1: a bottom means the latest value of its name, produced earlier in the file.
Rule 2: a top may repeat a name only in place (same position), and only if nobody else has read that value.
Rule 3: outputs are values that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import NamedTuple

from ...errors import Malformed
from ...ir.graph import ir
from ...ir.provenance import Source
from ...records import dataclass
from .registry import Kind, lookup
from .schema import Node


def kept(layer: Node, phase: str, level: int, stages: Sequence[str]) -> bool:
    """Does a layer exist in this state? Malformed when it has both kinds of rules."""
    if layer.has("include") and layer.has("exclude"):
        raise layer.error("exclude", "a layer with include and exclude rules", "one kind of rules")
    if layer.has("include"):
        return any(_matches(rule, phase, level, stages) for rule in layer.all("include"))
    return not any(_matches(rule, phase, level, stages) for rule in layer.all("exclude"))


def _matches(rule: Node, phase: str, level: int, stages: Sequence[str]) -> bool:
    if rule.has("phase") and rule.get("phase") != phase:
        return False
    if rule.has("min_level") and level < rule.get("min_level"):
        return False
    if rule.has("max_level") and level > rule.get("max_level"):
        return False
    return all(stage in stages for stage in rule.all("stage")) and not any(
        stage in stages for stage in rule.all("not_stage")
    )


@dataclass(eq=False)
class Version:
    """One value of a blob name. `absent` says why it does not exist at inference; `memory` names the storage
    that it shares."""

    blob: str
    producer: Wired
    readers: list[Wired] = field(default_factory=list)
    absent: str = ""
    memory: object = None
    value: ir.Value | None = None


@dataclass(eq=False)
class Wired:
    """One layer at its index. `drop` says why it is not built."""

    node: Node
    index: int
    kind: Kind | None
    bottoms: list[Version] = field(default_factory=list)
    tops: list[Version] = field(default_factory=list)
    drop: str = ""
    deployed: bool = False

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.node.get("name") or "")

    @property
    def type(self) -> str:
        """The layer's type as written."""
        return str(self.node.get("type") or "")

    @property
    def place(self) -> Source:
        """file:line:column name (type)."""
        where = self.node.place()
        return Source(where.file, where.line, where.column, name=self.name, type=self.type)

    @property
    def passes(self) -> bool:
        """Is its top its bottom, unchanged?"""
        kind = self.kind
        return kind is not None and kind.role == "identity" and not (kind.acts and kind.acts(self.node))

    @property
    def uses(self) -> list[Version]:
        """The bottoms that are read when it is built: a loss that a deploy form stands for reads its
        prediction alone."""
        return self.bottoms[:1] if self.deployed else self.bottoms

    def error(self, field: str, i: int, found: str, expected: str = "", way_out: str = "") -> Malformed:
        """A Malformed error at the i-th value of a field."""
        given = self.node.fields.get(field, [])
        where = self.node.text.place(given[i].at, self.name, self.type) if i < len(given) else self.place
        return Malformed(found, where=where, expected=expected, way_out=way_out)


ALIASES = ("Reshape", "Flatten", "Split")


def wire(nodes: Sequence[Node], why_lost: Callable[[str], str]) -> list[Wired]:
    """The layers with versions in place of names. `why_lost` says of a blob that no layer makes why not, and
    what to do. Malformed for unknown bottoms, names produced twice and misplaced in-place use."""
    current: dict[str, Version] = {}
    layers = []
    for index, node in enumerate(nodes):
        layer = Wired(node, index, lookup(str(node.get("type") or "")))
        if not layer.type:
            raise layer.error("type", 0, "a layer without a type", 'type: "..."')
        _check_text(layer)
        layers.append(layer)
        for i, name in enumerate(node.all("bottom")):
            if name not in current and may_lack(layer, i):
                layer.bottoms.append(Version(name, layer, absent="which no layer produces"))
                continue
            if name not in current:
                raise layer.error(
                    "bottom",
                    i,
                    f"unknown bottom '{name}'",
                    "a blob that an earlier layer produces",
                    "; ".join(filter(None, [_meant(name, current, nodes[index:]), why_lost(name)])),
                )
            layer.bottoms.append(current[name])
        for i, name in enumerate(node.all("top")):
            layer.tops.append(_top(layer, i, name, current))
        for version in layer.bottoms:
            if version not in layer.tops:
                version.readers.append(layer)
        current.update({version.blob: version for version in layer.tops})
    return layers


def missing(nodes: Sequence[Node]) -> list[str]:
    """The blobs that layers read and no layer makes, labels of losses left out."""
    made = {name for node in nodes for name in node.all("top")}
    found: dict[str, None] = {}
    for index, node in enumerate(nodes):
        layer = Wired(node, index, lookup(str(node.get("type") or "")))
        for i, name in enumerate(node.all("bottom")):
            if name not in made and not may_lack(layer, i):
                found[name] = None
    return list(found)


def _check_text(layer: Wired) -> None:
    """Names of layers and blobs are UTF-8; other strings may hold any bytes, since nothing reads them."""
    for field_ in ("name", "type", "bottom", "top"):
        for i, word in enumerate(layer.node.all(field_)):
            if any("\udc80" <= c <= "\udcff" for c in str(word)):
                raise layer.error(field_, i, f"a '{field_}' that is not UTF-8", "UTF-8 text")


def may_lack(layer: Wired, i: int) -> bool:
    """May bottom i be missing? Labels are, where a training layer is left in a network for inference."""
    role = layer.kind.role if layer.kind else ""
    return role == "training" or (role == "loss" and i > 0)


def _meant(name: str, current: Iterable[str], rest: Sequence[Node]) -> str:
    import difflib

    if any(name in node.all("top") for node in rest):
        return "it is produced by this layer or a later one: layers run in file order"
    near = difflib.get_close_matches(name, current, 3)
    return f"known are {', '.join(near)}" if near else ""


class WrongCount(NamedTuple):
    """How many bottoms a layer has, how many its type takes, and whether it has too many."""

    found: str
    expected: str
    many: bool


def wrong_count(layer: Wired) -> WrongCount | None:
    """What is wrong with the number of a layer's bottoms; None when nothing is."""
    if layer.kind is None or layer.kind.function is None or layer.kind.role == "sink":
        return None
    fewest, most = layer.kind.bottoms()
    have = len(layer.bottoms)
    if have >= fewest and (most is None or have <= most):
        return None
    most_shown = f"{fewest} to {most}" if fewest != most else f"{fewest}"
    wanted = f"at least {fewest}" if most is None else most_shown
    return WrongCount(f"{have} bottoms", f"{wanted} for a layer of type {layer.type}", have > fewest)


def _top(layer: Wired, i: int, name: str, current: dict[str, Version]) -> Version:
    bottoms = layer.node.all("bottom")
    if not name:
        raise layer.error(
            "top", i, "a top without a name", "a name: in ONNX an empty name means that there is no value"
        )
    if name in (version.blob for version in layer.tops):
        raise layer.error("top", i, f"top '{name}' is given twice", "names that differ")
    if i < len(bottoms) and bottoms[i] == name:
        below = layer.bottoms[i]
        if layer.kind is not None and not layer.kind.inplace:
            raise layer.error(
                "top",
                i,
                f"'{name}' is bottom and top of a layer that cannot work in place",
                "a top of another name",
            )
        if below.readers or bottoms.count(name) > 1:
            raise layer.error(
                "top",
                i,
                f"in place on '{name}', which "
                + (
                    f"'{below.readers[0].name}' has read already"
                    if below.readers
                    else "the layer reads twice"
                ),
                "a blob that no other layer has read before",
            )
        return below if layer.passes else Version(name, layer, memory=below.memory)
    if name in current:
        first = current[name].producer
        raise layer.error(
            "top",
            i,
            f"top '{name}' is produced already, by '{first.name}' in line {first.place.line}",
            "a name that no layer above has",
        )
    alias = layer.type in ALIASES or (
        layer.type in ("Concat", "Slice") and len(bottoms) == 1 and len(layer.node.all("top")) == 1
    )
    return Version(name, layer, memory=layer.bottoms[0].memory if alias and layer.bottoms else object())


def aliased(layers: Sequence[Wired]) -> Wired | None:
    """The first layer that reads memory which an in-place layer has changed under another name; None in
    almost every network.

    Caffe's Reshape, Flatten, Split and single Concat share memory with their bottom, so such a reader sees
    the changed data.
    """
    changed: dict[object, Version] = {}
    for layer in layers:
        for below in layer.bottoms:
            newer = changed.get(below.memory)
            if newer is not None and newer is not below and not layer.drop and not _stands_on(below, newer):
                return layer
        for below, above in zip(layer.bottoms, layer.tops, strict=False):
            if above is not below and above.blob == below.blob:
                changed[above.memory] = above
    return None


def _stands_on(version: Version, source: Version) -> bool:
    """Was `version` made of `source`, through layers that share memory?"""
    while version is not source:
        below = next((b for b in version.producer.bottoms if b.memory is version.memory), None)
        if below is None:
            return False
        version = below
    return True


def drop_training(layers: Sequence[Wired], data_tops_given: Sequence[str]) -> None:
    """Mark the layers that exist for training alone: labels, losses without them, and whatever reads nothing
    else."""
    for layer in layers:
        _mark_training(layer)
        if layer.kind is not None and layer.kind.role == "source" and layer.type in LABELLED:
            for top in layer.tops[1:]:
                top.absent = "" if top.blob in data_tops_given else "a label that only the data source has"
        if layer.drop:
            for top in layer.tops:
                if top.producer is layer:
                    top.absent = top.absent or f"which '{layer.name}' ({layer.type}) made while training"


def _mark_training(layer: Wired) -> None:
    """Say why a layer is dropped, or that a loss becomes what it is in a deployed network."""
    if layer.drop:
        return
    role = layer.kind.role if layer.kind else "unknown"
    missing = next((b for b in layer.bottoms if b.absent), None)
    if role == "training":
        layer.drop = layer.kind.about if layer.kind else ""
    elif role == "unknown" and any(layer.node.all("loss_weight")):
        layer.drop = "it is a loss, as its loss_weight says"
    elif role == "loss" and not layer.tops:
        layer.drop = "its result has no name"
    elif missing:
        has_deploy_form = role == "loss" and bool(layer.kind and layer.kind.deploy)
        is_label = missing.producer.kind is not None  # what an unknown layer makes may be anything
        if not is_label and role not in ("loss", "training"):
            return
        layer.deployed = has_deploy_form and is_label and not layer.bottoms[0].absent
        layer.drop = "" if layer.deployed else f"it needs '{missing.blob}', {missing.absent}"


LABELLED = (
    "Data",
    "ImageData",
    "HDF5Data",
    "WindowData",
    "MemoryData",
    "AnnotatedData",
    "VideoData",
    "DenseImageData",
    "SegData",
    "ImageSegData",
)


def drop_unknown(layers: Sequence[Wired]) -> None:
    """Mark layers of unknown type whose results only dropped layers read."""
    for layer in reversed(layers):
        idle = all(top.readers and all(reader.drop for reader in top.readers) for top in layer.tops)
        if layer.kind is None and idle and not layer.drop:
            layer.drop = "its type is not known, and nothing needs its result"


def outputs(layers: Sequence[Wired]) -> list[Version]:
    """What the network computes, in alphabetical order: values that no remaining layer reads."""
    found = []
    for layer in layers:
        if layer.drop:
            continue
        for top in layer.tops:
            live = [reader for reader in top.readers if not reader.drop]
            orphan = bool(top.readers) and layer.kind is not None and layer.kind.role == "source"  # a label
            if top.producer is layer and not live and not top.absent and not orphan:
                found.append(top)
    return sorted(found, key=lambda version: version.blob)


def needed(wanted: Sequence[Version]) -> set[Wired]:
    """The layers that the wanted values are made of."""
    found: set[Wired] = set()
    waiting = [version.producer for version in wanted]
    while waiting:
        layer = waiting.pop()
        if layer not in found:
            found.add(layer)
            waiting += [bottom.producer for bottom in layer.uses]
    return found
