"""Where a network that holds layers bnfold cannot build may end, or begin.

blocked     the layers that cannot be built: of unknown type, or standing on one
border      the blobs that blocked layers read and that can be built: where --cut-at ends the network
as_inputs   --input-shape makes an input of a blob that nothing readable produces
named, at   the name of one version of a blob, and back
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from .registry import LAYERS
from .schema import Node
from .wiring import Version, Wired, may_lack, needed

Dims = tuple[int, ...]
IMAGE = "1,3,224,224"
REGIONS = "300,5"
SIZE = "1,3"
POOLS_REGIONS = ("ROIPooling", "ROIAlign", "PSROIPooling", "ROIWarping", "PSROIAlign")


def blocked(layers: Iterable[Wired], failed: Collection[Wired] = ()) -> set[Wired]:
    """The layers that cannot be built, given those that have failed."""
    found: set[Wired] = set()
    for layer in layers:
        stands_on_one = any(bottom.producer in found for bottom in layer.uses)
        if layer.kind is None or layer in failed or stands_on_one:
            found.add(layer)
    return found


def border(
    layers: Sequence[Wired], failed: Wired, known: Collection[Wired], results: Iterable[Version]
) -> list[Version]:
    """The blobs at which the network can end before every layer that cannot be built: one that has failed,
    and those that are known. Outputs that can be built are among them where a cut would lose them; inputs
    only when there is nothing else."""
    closed = blocked(layers, {failed, *known})
    found: dict[Version, None] = {}
    for layer in layers:
        if layer in closed:
            found.update(dict.fromkeys(b for b in layer.uses if b.producer not in closed and not b.absent))
    inner = [version for version in found if not is_input(version)]
    if not inner:
        return list(failed.uses[:1])
    lost = [version for version in results if version not in inner and _behind(version, inner, closed)]
    return inner + lost


def _behind(version: Version, cuts: Iterable[Version], closed: set[Wired]) -> bool:
    """Can a value be built, and is it made of one at which the network is cut?"""
    made_of = needed([version])
    return closed.isdisjoint(made_of) and any(cut.producer in made_of for cut in cuts)


def is_input(version: Version) -> bool:
    """Is it what a data source gives?"""
    kind = version.producer.kind
    return kind is not None and kind.role == "source"


def names(layers: Iterable[Wired]) -> dict[str, Version]:
    """Every version by its name: the last one of a blob has the blob's, earlier ones are blob/layer."""
    versions = [top for layer in layers for top in layer.tops if top.producer is layer]
    found = {f"{version.blob}/{version.producer.name}": version for version in versions}
    return found | {version.blob: version for version in versions}


def name_of(version: Version, known: Mapping[str, Version]) -> str:
    """The name of a version among those of `names`."""
    last = known.get(version.blob) is version
    return version.blob if last else f"{version.blob}/{version.producer.name}"


def buildable(version: Version, layers: Iterable[Wired], closed: Collection[Wired]) -> Version:
    """The latest version of a blob, up to this one, that can be built; this one when none can."""
    older = [
        top
        for layer in layers
        for top in layer.tops
        if top.blob == version.blob and top.producer is layer and layer not in closed
    ]
    return version if version.producer not in closed or not older else older[-1]


def as_inputs(layers: list[Wired], asked: Mapping[str, Dims], unreadable: Collection[Wired]) -> list[Wired]:
    """The layers, with an Input in place of every asked-for blob that nothing readable produces.

    Layers of unknown type that lose a top so are dropped; what else they made is absent.
    """
    found: list[Wired] = []
    closed: set[Wired] = set()
    given: set[str] = set()
    for layer in layers:
        found.append(layer)
        training = layer.kind is not None and layer.kind.role == "training"
        stands_on_one = any(bottom.producer in closed for bottom in layer.uses)
        if layer.kind is not None and not training and not stands_on_one and layer not in unreadable:
            continue
        closed.add(layer)
        wanted = [top for top in layer.tops if top.blob in asked and top.blob not in given]
        for top in wanted:
            given.add(top.blob)
            found.append(_input(layer, top))
        if wanted:
            _retire(layer)
    return found


def _input(layer: Wired, top: Version) -> Wired:
    """A source in place of the layer that made a blob."""
    node = Node("LayerParameter", layer.node.text, layer.node.at)
    node.put("name", top.blob)
    node.put("type", "Input")
    node.put("top", top.blob)
    top.producer = Wired(node, NO_WEIGHTS, LAYERS["Input"], tops=[top])
    return top.producer


REPLACED = "its result became an input, as you asked"
NO_WEIGHTS = -1  # the index of a layer that no weights file can have blobs for


def _retire(layer: Wired) -> None:
    layer.drop = REPLACED
    for top in layer.tops:
        if top.producer is layer:
            top.absent = f"which '{layer.name}' ({layer.type}) produces"


def read_tops(layer: Wired, wanted: Collection[Wired]) -> list[Version]:
    """The tops of a layer that others need to be built, labels left out; all that are read when there are
    none such."""
    tops = [top for top in layer.tops if any(reader in wanted for reader in top.readers)]
    return [
        top
        for top in tops
        if any(reader.kind is not None and _needs(reader, top) for reader in top.readers if reader in wanted)
    ] or tops


def _needs(reader: Wired, top: Version) -> bool:
    return any(bottom is top and not may_lack(reader, i) for i, bottom in enumerate(reader.bottoms))


def left(results: Iterable[Version], layers: Iterable[Wired], closed: set[Wired]) -> list[Version]:
    """The outputs, without those of closed layers that served to compute what is now an input, and with the
    blobs that these layers read and nothing else does."""
    replaced = [bottom for layer in layers if layer.drop == REPLACED for bottom in layer.bottoms]
    served = needed(replaced) & closed
    read = {bottom: None for layer in served for bottom in layer.bottoms if bottom.producer not in closed}
    ends = [
        version
        for version in read
        if not is_input(version) and all(reader.drop or reader in served for reader in version.readers)
    ]
    kept = {version: None for version in results if version.producer not in served}
    return sorted(kept | dict.fromkeys(ends), key=lambda version: version.blob)


def example(version: Version) -> str:
    """Dims that a blob may have, to show how they are written."""
    return example_dims(version.blob, any(_pools(reader.node, version.blob) for reader in version.readers))


def example_dims(blob: str, regions: bool) -> str:
    """Dims for a blob of a name: those of regions, of the size of an image, or of an image."""
    return REGIONS if regions else SIZE if blob == "im_info" else IMAGE


def takes_regions(blob: str, nodes: Iterable[Node]) -> bool:
    """Does one of some layers take its regions from this blob?"""
    return any(_pools(node, blob) for node in nodes)


def _pools(reader: Node, blob: str) -> bool:
    return reader.get("type") in POOLS_REGIONS and blob in reader.all("bottom")[1:]
