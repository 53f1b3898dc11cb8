"""Groups of channels: the union of all entries of all axes that must leave together or stay.

An entry (one channel of one value) has a number. `tie` makes two entries one group, as an Add does with its
summands. A group may leave when nothing blocks it and everything that reads it, beyond its own group, reads a
constant.
"""

from __future__ import annotations

import numpy as np

from ..records import dataclass
from ..results.stay_reasons import ALIVE, STAY_CODES

Ids = np.ndarray  # int64, one number an entry
Mask = np.ndarray  # bool, one an entry


@dataclass(frozen=True)
class Channels:
    """The entries of a value along its channel axis. `low` and `high` bound what each of them may be, in
    float64; where the two are one finite number the channel is that constant at every position."""

    axis: int
    rank: int
    ids: Ids
    low: np.ndarray
    high: np.ndarray

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.ids)

    @property
    def constant(self) -> Mask:
        """Which of them are one finite number."""
        return np.asarray((self.low == self.high) & np.isfinite(self.low))

    @property
    def constants(self) -> np.ndarray:
        """Their numbers, 0 where they are none."""
        return np.where(self.constant, self.low, 0.0)


@dataclass(frozen=True)
class Reason:
    """Why a group stays."""

    code: str
    words: str


class Groups:
    """Entries, the groups that they form, and what is known of each group."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._blocks: list[tuple[Ids, Reason]] = []
        self._hints: list[tuple[Ids, Reason]] = []
        self._reads: list[Ids] = []

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> Ids:
        """New entries, each a group of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, one: Ids, other: Ids) -> None:
        """Entries that leave together, pair by pair."""
        for left, right in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self._root(left), self._root(right)
            if a != b:
                self._parent[max(a, b)] = min(a, b)

    def block(self, ids: Ids, code: str, words: str = "") -> None:
        """These entries cannot leave; ALIVE for those that do something."""
        if len(ids):
            self._blocks.append((ids, Reason(code, words or STAY_CODES.get(code, ""))))

    def hint(self, ids: Ids, code: str, words: str) -> None:
        """A reason to give where these entries turn out to be alive by what they are tied to."""
        if len(ids):
            self._hints.append((ids, Reason(code, words)))

    def read(self, ids: Ids) -> None:
        """Something outside of their group reads these entries."""
        self._reads.append(ids)

    def roots(self) -> np.ndarray:
        """The number of every entry's group, by entry."""
        return np.array([self._root(entry) for entry in range(len(self._parent))], np.int64)

    def blocked(self) -> tuple[Mask, dict[int, Reason]]:
        """Which groups cannot leave, by entry, and for each of them the first reason that says more than that
        it is alive."""
        roots = self.roots()
        stays = np.zeros(len(roots), np.bool_)
        reasons: dict[int, Reason] = {}
        for ids, reason in self._blocks:
            stays[roots[ids]] = True
            if reason.code != ALIVE:
                for root in np.unique(roots[ids]).tolist():
                    reasons.setdefault(root, reason)
        for ids, reason in self._hints:
            for root in np.unique(roots[ids]).tolist():
                reasons.setdefault(root, reason)
        return stays[roots] if len(roots) else stays, reasons

    def is_read(self) -> Mask:
        """Which groups anything outside of them reads, by entry."""
        roots = self.roots()
        found = np.zeros(len(roots), np.bool_)
        for ids in self._reads:
            found[roots[ids]] = True
        return found[roots] if len(roots) else found

    def alive(self) -> Mask:
        """Which groups do something, by entry."""
        roots = self.roots()
        found = np.zeros(len(roots), np.bool_)
        for ids, reason in self._blocks:
            if reason.code == ALIVE:
                found[roots[ids]] = True
        return found[roots] if len(roots) else found

    def _root(self, entry: int) -> int:
        parent = self._parent
        while parent[entry] != entry:
            parent[entry] = parent[parent[entry]]
            entry = parent[entry]
        return entry
