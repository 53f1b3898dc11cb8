"""The names of blobs when layers are gone: every name that somebody still reads keeps its value.

    conv (top c), bn (c -> b), relu (b -> b)    ->  conv (top b), relu (b -> b)
    pool (top p), bn (p -> p), conv2 (bottom p) ->  pool (top p/pool), conv2 (bottom p/pool)

A version is one value of a name; layers that work in place make several of one name, and the last is the one
that a user sees. Where the last value of a name is still there, its version keeps the name; any other version
takes the name of what works in place on it, or a new one. Inputs, and what carried layers read and make, have
their names for good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ...ir.graph import folded_name
from ...records import dataclass
from ...results.pair import CaffeLayer, Made, Word


@dataclass(eq=False)
class Version:
    """One value of a blob: the unit that makes it, as its top of a number, and what it became in the graph.
    `below` is the version that it is in place of."""

    blob: str
    unit: int
    made: Made | None
    below: Version | None = None

    @property
    def alias(self) -> bool:
        """Does a layer make it that changes nothing, so that it is the version below?"""
        return self.below is not None and self.made is not None and self.made == self.below.made


def renamed(
    units: tuple[CaffeLayer, ...], gone: Collection[int], values: Mapping[tuple[str, int], str]
) -> Iterator[tuple[int, Word, str]]:
    """(the unit, a word in it, what it has to say) for every bottom and top whose name changes. `gone` are
    the units that vanish, `values` the names of the folded graph's values by node and output."""
    return _Rewiring(units, gone, values).run()


class _Rewiring:
    def __init__(
        self, units: tuple[CaffeLayer, ...], gone: Collection[int], values: Mapping[tuple[str, int], str]
    ) -> None:
        self.units, self.gone, self.values = units, gone, values
        self.reads: dict[int, list[Version | None]] = {}
        self.tops: dict[int, list[Version]] = {}
        self.pinned: dict[Version, str] = {}
        self.taken = {word.text for unit in units for word in (*unit.bottoms, *unit.tops)}
        self._wire()
        self.readers: dict[Version, set[int]] = {}
        for number in self._staying():
            for version in self.reads[number]:
                if version is not None:
                    self.readers.setdefault(self._now(version), set()).add(number)
        self.names: dict[Version, str] = {}

    def run(self) -> Iterator[tuple[int, Word, str]]:
        """Names from the last layer to the first: what works in place names what is below it."""
        for number in reversed(self._staying()):
            for made in reversed(self.tops[number]):
                self._name(made)
        for number in self._staying():
            unit = self.units[number]
            below = [version and self._now(version) for version in self.reads[number]]
            words, versions = (*unit.bottoms, *unit.tops), (*below, *self.tops[number])
            for word, version in zip(words, versions, strict=True):
                if version is not None and self.names[version] != word.text:
                    yield number, word, self.names[version]

    def _staying(self) -> list[int]:
        return [n for n, unit in enumerate(self.units) if unit.live and n not in self.gone]

    def _wire(self) -> None:
        """Versions in place of names, in file order."""
        current: dict[str, Version] = {}
        named: list[tuple[Version, str]] = []
        for number, unit in enumerate(self.units):
            reads = [current.get(word.text) for word in unit.bottoms]
            if not unit.live or unit.carried:
                if number not in self.gone:
                    named += [(v, v.blob) for v in reads if v is not None]
                if not unit.live:
                    continue
            self.reads[number] = reads
            self.tops[number] = [self._top(number, i, reads) for i in range(len(unit.tops))]
            current.update({version.blob: version for version in self.tops[number]})
        self.last = {v.made.value: blob for blob, v in current.items() if v.made is not None and v.made.value}
        self.pinned = {self._now(version): name for version, name in named}

    def _top(self, number: int, i: int, reads: list[Version | None]) -> Version:
        unit = self.units[number]
        name = unit.tops[i].text
        in_place = i < len(reads) and unit.bottoms[i].text == name
        made = unit.made[i] if unit.made is not None else None
        return Version(name, number, made, reads[i] if in_place else None)

    def _now(self, version: Version) -> Version:
        """The version that is read in place of one whose layer is gone."""
        while version.unit in self.gone:
            below = self.reads[version.unit][0]
            assert below is not None  # a layer of the graph reads what another makes
            version = below
        return version

    def _name(self, version: Version) -> None:
        if version not in self.names:
            self.names[version] = self._wish(version) or self._fresh(version)
        below = self._now(version.below) if version.below is not None else None
        if below is not None and self._stays_in_place(version, below):
            self.names[below] = self.names[version]

    def _stays_in_place(self, version: Version, below: Version) -> bool:
        return self.readers[below] == {version.unit} and self._wish(below) in (None, self.names[version])

    def _wish(self, version: Version) -> str | None:
        """The name that a version has to have."""
        unit = self.units[version.unit]
        if version in self.pinned:
            return self.pinned[version]
        if version.made is None or unit.source:
            return version.blob
        if version.alias:
            assert version.below is not None
            below = self._now(version.below)
            return self._wish(below) if self.readers[below] == {version.unit} else None
        return self.last.get(self._value(version))

    def _value(self, version: Version) -> str:
        """The name of a version's value in the folded graph."""
        while version.alias:
            assert version.below is not None
            version = self._now(version.below)
        made = version.made
        return self.values.get((made.node, made.output), made.value) if made is not None else version.blob

    def _fresh(self, version: Version) -> str:
        value = self._value(version)
        same = version.made is not None and value == version.made.value
        return unused(value if same and value else folded_name(version.blob), self.taken)


def unused(wish: str, taken: set[str]) -> str:
    """`wish`, or `wish_2`, `wish_3` ... where it is taken; then it is."""
    name, count = wish, 1
    while name in taken:
        count += 1
        name = f"{wish}_{count}"
    taken.add(name)
    return name
