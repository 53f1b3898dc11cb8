"""The final names of values: the last built value of a blob has the blob's name, earlier ones are
`blob/layer`.

A graph input keeps its blob's name, so that users can feed it, unless an output of the network has the same
name: outputs come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .wiring import Version, Wired


class Names:
    """Names in use; hands out new ones, in constant time however often a wish is repeated."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)
        self.counts: dict[str, int] = {}

    def unique(self, wish: str) -> str:
        """`wish`, or `wish_2`, `wish_3` ... where it is taken."""
        name = wish
        while name in self.taken:
            self.counts[wish] = count = self.counts.get(wish, 1) + 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name


def named(
    layers: Sequence[Wired], results: Sequence[Version], names: Names
) -> tuple[dict[Version, str], list[Version]]:
    """(the name of every value that a layer makes, inputs that could not keep theirs). `names` has the blobs'
    names already."""
    versions = [top for layer in layers for top in layer.tops if top.producer is layer]
    last = {version.blob: version for version in versions}
    found: dict[Version, str] = {}
    renamed: list[Version] = []
    used: set[str] = set()
    for version in versions:
        final = last[version.blob]
        source = version.producer.kind is not None and version.producer.kind.role == "source"
        if (source and final not in results) or (version is final and version.blob not in used):
            found[version] = version.blob
            used.add(version.blob)
            continue
        found[version] = names.unique(f"{version.blob}/{version.producer.name}")
        if source:
            renamed.append(version)
    return found, renamed
