"""Free dims at sizes that constants name.

For each name, sizes beyond it are tried first, then the name itself: a table of 512 rows contradicts 513. All
free dims take the same size where that fits, else those that are no batch, else one after the other, with the
others as they are. Dry runs say what fits and what it costs; the engine has the last word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from .free_dims import BATCH, Assignment
from .named_sizes import LARGEST_NAME
from .sizes import Choice, Search, elements_of

MOST_SAMPLES = 3
_MOST_REFUSED = 8  # choices that the engine does not run
_MOST_RUNS, _MOST_SECONDS = 300, 2.0  # dry runs
_STEP = 64  # what sides are often multiples of
_AS_COSTLY = 0.9  # of a size that costs too much, which costs too much as well


class Larger:
    """The sizes of one model's free dims, raised as far as `most` elements of all values allow.

    `reached` holds the largest size of every free dim so far, `too_large` the largest that costs too much."""

    def __init__(self, search: Search, first: Choice, reached: Assignment, most: int) -> None:
        self.search, self.first = search, first
        self.reached, self.most = reached, most
        self.too_large = 0
        unknowns = sorted(search.unknowns_of(first), key=lambda u: u.role == BATCH)
        self._batches = {u.key for u in unknowns if u.role == BATCH}
        self._keys = tuple(u.key for u in unknowns)
        self._costly: dict[tuple[str, ...], list[int]] = {}
        self._refused = self._taken = self._runs = 0
        self._until = time.perf_counter() + _MOST_SECONDS

    def __call__(self, names: Sequence[int], accepts: Callable[[Choice], bool]) -> None:
        """Offer choices, the best first. `accepts` says whether the models were run there."""
        for group, size in self._wishes(names):
            if self._over:
                break
            self._offer(group, size, accepts)
        for group in sorted(self._costly, key=lambda group: not self._batches.isdisjoint(group)):
            size = max(self._costly[group]) // 2
            while not self._over and self._below(group, size):
                if self._offer(group, size, accepts):
                    break
                size //= 2
        costly = ((group, size) for group, sizes in self._costly.items() for size in sizes)
        self.too_large = max((size for group, size in costly if self._below(group, size)), default=0)

    @property
    def _over(self) -> bool:
        spent = self._runs >= _MOST_RUNS or time.perf_counter() > self._until
        return spent or self._taken >= MOST_SAMPLES or self._refused >= _MOST_REFUSED

    def _wishes(self, names: Sequence[int]) -> Iterator[tuple[tuple[str, ...], int]]:
        groups = self._groups()
        for name in names:
            for group in groups:
                for size in dict.fromkeys((name + 2, name + 1, -(-name // _STEP) * _STEP, name, name - 2)):
                    costly = size > _AS_COSTLY * min(self._costly.get(group, [LARGEST_NAME * 2]))
                    if size <= LARGEST_NAME and not costly and self._below(group, min(size, name)):
                        yield group, size

    def _below(self, group: tuple[str, ...], size: int) -> bool:
        return any(self.reached[key] < size for key in group)

    def _groups(self) -> list[tuple[str, ...]]:
        loose = tuple(key for key in self._keys if key not in self._batches)
        alone = ((key,) for key in self._keys)
        return list(dict.fromkeys(group for group in (self._keys, loose, *alone) if group))

    def _offer(self, group: tuple[str, ...], size: int, accepts: Callable[[Choice], bool]) -> bool:
        self._runs += 1
        choice = self.search.at(self.first, {**self.first.sizes, **dict.fromkeys(group, size)})
        if choice is None or len(choice.outcome.blind) > len(self.first.outcome.blind):
            return False
        cost = elements_of(choice.outcome)
        if cost > self.most:
            self._costly.setdefault(group, []).append(size)
            return False
        if not accepts(choice):
            self._refused += 1
            return False
        self.most -= cost
        self._taken += 1
        self.reached.update({key: max(size, self.reached[key]) for key in group})
        return True
