"""Free dims at sizes that constants name.

For each name, sizes beyond it are tried first, then the name itself: a table of 512 rows contradicts 513. All
free dims take the same size where that fits, else those that are no batch, else one after the other, with the
others as they are; batches alone come last. Where a size costs too much, the batch is one, and then the size
is made smaller until it fits. Dry runs say what fits and what it costs; the engine has the last word.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from .dry_run import Outcome
from .free_dims import Assignment
from .named_sizes import LARGEST_NAME, NamedSizes
from .sizes import Choice, Search

Group = tuple[str, ...]  # free dims that take the same size

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
        self._batches = search.batches_of(first)
        self._keys = tuple(sorted(first.sizes, key=lambda key: key in self._batches))
        self._costly: dict[Group, list[int]] = {}
        self._refused = self._taken = self._runs = 0
        self._until = time.perf_counter() + _MOST_SECONDS

    def __call__(self, names: NamedSizes, accepts: Callable[[Choice], bool]) -> None:
        """Offer choices, the best first. `accepts` says whether the models were run there."""
        for groups in self._groups():
            for name in names.sizes:
                for group in groups:
                    if name not in names.windows or self._batches.isdisjoint(group):
                        self._beyond(name, group, accepts)
        told = [key for key in self._keys if key not in self._batches] or self._keys
        self.too_large = max(
            (max(sizes) for group, sizes in self._costly.items() if self._below(group, max(sizes), told)),
            default=0,
        )

    def _beyond(self, name: int, group: Group, accepts: Callable[[Choice], bool]) -> None:
        """Offer what lies just beyond a name, or the name; a smaller size where that costs too much."""
        for size in dict.fromkeys((name + 2, name + 1, -(-name // _STEP) * _STEP, name, name - 2)):
            costly = size > _AS_COSTLY * min(self._costly.get(group, [LARGEST_NAME * 2]))
            if size <= LARGEST_NAME and not costly and not self._over and self._below(group, min(size, name)):
                self._offer(group, size, accepts)
        if group in self._costly and self._batches.isdisjoint(group):
            self._nearest(group, accepts)

    def _nearest(self, group: Group, accepts: Callable[[Choice], bool]) -> None:
        """Offer smaller sizes than those that cost too much."""
        size = _smaller(min(self._costly[group]))
        while not self._over and self._below(group, size):
            if self._offer(group, size, accepts):
                return
            size = _smaller(size)

    @property
    def _over(self) -> bool:
        spent = self._runs >= _MOST_RUNS or time.perf_counter() > self._until
        return spent or self._taken >= MOST_SAMPLES or self._refused >= _MOST_REFUSED

    def _below(self, group: Group, size: int, among: Sequence[str] | None = None) -> bool:
        return any(self.reached[key] < size for key in group if among is None or key in among)

    def _groups(self) -> tuple[list[Group], list[Group]]:
        """What is raised together, and after that the batches, each alone."""
        loose = tuple(key for key in self._keys if key not in self._batches)
        first = (self._keys, loose, *((key,) for key in loose))
        batches: list[Group] = [(key,) for key in self._keys if key in self._batches and len(self._keys) > 1]
        return [group for group in dict.fromkeys(first) if group], batches

    def _offer(self, group: Group, size: int, accepts: Callable[[Choice], bool]) -> bool:
        sizes = {**self.first.sizes, **dict.fromkeys(group, size)}
        singly = {**sizes, **dict.fromkeys(self._batches.difference(group), 1)}
        wishes = (sizes, singly) if singly != sizes else (sizes,)
        fitting = [choice for choice in map(self._fitting, wishes) if choice is not None]
        choice = next((choice for choice in fitting if cost(choice.outcome) <= self.most), None)
        if choice is None:
            if fitting:
                self._costly.setdefault(group, []).append(size)
            return False
        if not accepts(choice):
            self._refused += 1
            return False
        self.most -= cost(choice.outcome)
        self._taken += 1
        self.reached.update({key: max(size, self.reached[key]) for key in group})
        return True

    def _fitting(self, sizes: Assignment) -> Choice | None:
        """A choice that no dry run contradicts and that leaves no more values empty."""
        self._runs += 1
        choice = self.search.at(self.first, sizes)
        blind = 0 if choice is None else len(choice.outcome.blind)
        return choice if blind <= len(self.first.outcome.blind) else None


def cost(outcome: Outcome) -> int:
    """Elements of all values that a run makes. A value of unknown size counts like the largest known one."""
    sizes = [
        math.prod(d for d in shape if isinstance(d, int))
        for shape in outcome.shapes.values()
        if shape is not None and all(isinstance(d, int) for d in shape)
    ]
    return sum(sizes) + (len(outcome.shapes) - len(sizes)) * max(sizes, default=0)


def _smaller(size: int) -> int:
    """The next smaller size to try: a multiple of many, as far as it is large."""
    size = size * 3 // 4
    return size if size < _STEP else size // (_STEP // 2) * (_STEP // 2)
