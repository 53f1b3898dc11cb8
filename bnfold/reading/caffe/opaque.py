"""What of a network becomes a graph where the rest is carried as it is: for a result in Caffe's own format.

    carried   training layers, layers of unknown type, those that ONNX cannot express, and, behind what they
              make, everything whose geometry would have to be known
    standing  carried layers whose tops others read: these become inputs of the graph
    kept      values that a carried layer reads, or one of another phase: they become outputs, so that no fold
              changes them

Rule 1: what is carried is never looked into, so whatever it computes, a fold beside it is exact.
Rule 2: the size of what a carried layer makes is a guess that verification runs on. No fold may depend on
        it: behind a guess only layers are built that treat all places alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from ...records import dataclass
from .blob import Blob, Shape
from .schema import Node
from .wiring import Version, Wired

CONVOLUTIONS = (
    "Convolution",
    "Deconvolution",
    "DepthwiseConvolution",
    "ConvolutionDepthwise",
    "DepthwiseConv",
)
ALIKE_EVERYWHERE = frozenset(
    (
        *CONVOLUTIONS,
        *("InnerProduct", "BatchNorm", "BN", "Scale", "Bias", "Power", "ReLU", "PReLU", "ELU", "Sigmoid"),
        *(
            "TanH",
            "AbsVal",
            "BNLL",
            "Exp",
            "Log",
            "Clip",
            "Swish",
            "ReLU6",
            "HardSigmoid",
            "Dropout",
            "Split",
        ),
    )
)
KEEPS_CHANNELS = ALIKE_EVERYWHERE.difference(CONVOLUTIONS, ("InnerProduct",))
EXTENT = 32  # of a picture whose size nobody knows


@dataclass(frozen=True)
class Scope:
    """The choice: results are in alphabetical order; `behind` are layers that work on a guess."""

    results: list[Version]
    wanted: set[Wired]
    standing: set[Wired]
    behind: set[Wired]


def scope(layers: Sequence[Wired], forced: Collection[int], kept: Collection[Version]) -> Scope:
    """What to build. `forced` are the numbers of layers that are carried whatever their type, `kept` values
    that others read."""
    carried, behind = _carried(layers, forced)
    built = [layer for layer in layers if layer not in carried]
    computed = [layer for layer in built if not _is_source(layer)]
    read = {version for layer in computed for version in layer.uses}
    standing = {layer for layer in carried if any(top in read for top in layer.tops)}
    named = {version for layer in carried for version in layer.bottoms} | set(kept)
    results = [
        top
        for layer in computed
        for top in layer.tops
        if top.producer is layer and (top in named or not _is_read(top, computed))
    ]
    sources = {layer for layer in built if _is_source(layer) and any(top in read for top in layer.tops)}
    return Scope(
        sorted(results, key=lambda version: version.blob), {*computed, *sources, *standing}, standing, behind
    )


def _is_source(layer: Wired) -> bool:
    return layer.kind is not None and layer.kind.role == "source"


def _is_read(version: Version, computed: Sequence[Wired]) -> bool:
    """Does a layer of the graph read it, other than one in place that changes nothing?"""
    readers = set(version.readers)
    return any(layer in readers for layer in computed)


def _carried(layers: Sequence[Wired], forced: Collection[int]) -> tuple[set[Wired], set[Wired]]:
    carried: set[Wired] = set()
    behind: set[Wired] = set()
    guessed: set[Version] = set()
    for layer in layers:
        guesses = [version for version in layer.uses if version in guessed]
        if _is_foreign(layer) or layer.index in forced or (guesses and not _fits_a_guess(layer)):
            carried.add(layer)
            guessed.update(top for top in layer.tops if top.producer is layer)
        elif guesses:
            behind.add(layer)
            guessed.update(top for top in layer.tops if top.producer is layer)
    return carried, behind


def _is_foreign(layer: Wired) -> bool:
    kind = layer.kind
    return kind is None or kind.function is None or kind.role == "sink" or bool(layer.drop)


def _fits_a_guess(layer: Wired) -> bool:
    return layer.type in ALIKE_EVERYWHERE and (len(layer.uses) == 1 or layer.type in CONVOLUTIONS)


def named_elsewhere(
    every: Sequence[Node], layers: Sequence[Wired], twins: Collection[int]
) -> Iterator[Version]:
    """The values that layers of another phase, stage or level name. `twins` (by their place) do not count:
    they vanish with the layer whose other form they are."""
    wired = {id(layer.node): layer for layer in layers}
    current: dict[str, Version] = {}
    for place, node in enumerate(every):
        layer = wired.get(id(node))
        if layer is not None:
            current.update({version.blob: version for version in layer.tops})
        elif place not in twins:
            yield from (current[name] for name in node.all("bottom") if name in current)


def twins(every: Sequence[Node], layers: Sequence[Wired]) -> dict[int, int]:
    """The place of each layer of another state that is the other form of one that is read (a batch norm has
    often one for each phase), and the place of that one: name, type, bottoms and tops are the same."""
    live = {id(layer.node) for layer in layers}
    first = {_identity(node): place for place, node in enumerate(every) if id(node) in live}
    return {
        place: first[_identity(node)]
        for place, node in enumerate(every)
        if id(node) not in live and _identity(node) in first
    }


def _identity(node: Node) -> tuple[object, ...]:
    return node.get("name"), node.get("type"), tuple(node.all("bottom")), tuple(node.all("top"))


Stored = Callable[[int, int], Blob | None]  # (number of a layer, number of a blob) -> as the file has it


def guess(version: Version, below: Shape | None, stored: Stored) -> Shape:
    """A size for what a carried layer makes: the channels that its readers' weights want, and the extent of
    what it reads itself."""
    rows, spatial = (below[0], below[2:]) if below else (1, (EXTENT, EXTENT))
    wish = _wish(version, stored)
    if wish is None:
        return below or (1, 1, *spatial)
    channels, axes = wish
    if axes is None:
        axes = len(spatial)
    extent = tuple(max(size, EXTENT) for size in spatial) if len(spatial) == axes else (EXTENT,) * axes
    return (rows, channels, *extent)


def _wish(version: Version, stored: Stored) -> tuple[int, int | None] | None:
    """(channels, spatial axes or None for any) that the first reader with weights wants."""
    waiting, seen = [version], {version}
    while waiting:
        one = waiting.pop(0)
        for reader in one.readers:
            if (found := _own_wish(reader, stored)) is not None:
                return found
            if reader.type in KEEPS_CHANNELS:
                further = [top for top in reader.tops if top not in seen]
                waiting += further
                seen.update(further)
    return None


def _own_wish(layer: Wired, stored: Stored) -> tuple[int, int | None] | None:
    blob = stored(layer.index, 0)
    if blob is None or not blob.shape:
        return None
    shape = blob.shape
    if layer.type == "InnerProduct":
        transposed = bool((given := layer.node.get("inner_product_param")) and given.get("transpose"))
        return shape[-2 if transposed else -1], 0
    if layer.type in CONVOLUTIONS and len(shape) > 2:
        given = layer.node.get("convolution_param")
        group = (given.get("group") if given is not None else 1) or 1
        into = shape[0] if layer.type == "Deconvolution" else shape[1] * group
        return (shape[0] if layer.type.startswith(("ConvolutionD", "DepthwiseConv")) else into), len(
            shape
        ) - 2
    if layer.type in ("BatchNorm", "BN", "Scale", "Bias", "PReLU"):
        return max(shape), None
    return None
