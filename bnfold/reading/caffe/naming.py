"""The final names of values: the last built value of a blob has the blob's name, earlier ones are `blob/layer`.

A graph input keeps its blob's name, so that users can feed it, unless an output of the network has the same name: outputs come first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .wiring import Version, Wired

Named = tuple[dict[Version, str], set[str], list[Version]]


def named(layers: Sequence[Wired], wanted: Collection[Wired], results: Sequence[Version]) -> Named:
    """(names, every name that is taken, inputs that could not keep theirs)"""
    versions = [top for layer in layers if layer in wanted for top in layer.tops if top.producer is layer]
    last = {version.blob: version for version in versions}
    reserved = {version.blob for version in versions}
    names: dict[Version, str] = {}
    renamed: list[Version] = []
    used: set[str] = set()
    for version in versions:
        final = last[version.blob]
        source = version.producer.kind is not None and version.producer.kind.role == "source"
        if (source and final not in results) or (version is final and version.blob not in used):
            names[version] = version.blob
            used.add(version.blob)
            continue
        names[version] = _unique(f"{version.blob}/{version.producer.name}", reserved)
        if source:
            renamed.append(version)
    return names, reserved, renamed


def _unique(wish: str, taken: set[str]) -> str:
    name, count = wish, 1
    while name in taken:
        count += 1
        name = f"{wish}_{count}"
    taken.add(name)
    return name
