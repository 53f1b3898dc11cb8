"""Sizes for the free dims of a model: found from its graph.

Dry runs (dry_run.py) say what each choice leads to. Usual sizes are tried first; where the graph contradicts
all of them (a dense layer behind Flatten fixes height times width, a table of positions ends), the
contradiction steers: the sizes that differ there are brought together by changing one free dim, dims of one
kind together, or two of them. Of choices that fit, one that leaves no value inside empty is taken.

    first     choices for the samples, the best first; the engine has the last word
    second    a choice that differs from the first in as many free dims as can be: what a candidate has baked
              in shows there

The search is bounded in dry runs and in time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ...ir.graph import ir
from ...records import dataclass
from .dry_run import DryRun, Outcome
from .free_dims import BATCH, CHANNELS, LENGTH, SIDE, Assignment, FreeDims, Shapes, Unknown, free_dims, ranked
from .samples import Input


@dataclass(frozen=True)
class Usual:
    """What free dims usually are: the first axis, channels of an image, its sides, everything else."""

    batch: int
    channels: int
    side: int
    length: int

    def of(self, unknown: Unknown) -> int:
        """The usual size of a free dim."""
        return {BATCH: self.batch, CHANNELS: self.channels, SIDE: self.side, LENGTH: self.length}[
            unknown.role
        ]


USUAL = (
    Usual(2, 3, 32, 8),
    Usual(1, 3, 32, 8),
    Usual(2, 3, 64, 16),
    Usual(1, 3, 64, 16),
    Usual(1, 3, 224, 128),
    Usual(2, 1, 28, 4),
    Usual(1, 1, 28, 4),
    Usual(2, 3, 96, 3),
    Usual(2, 3, 128, 2),
    Usual(1, 3, 299, 64),
    Usual(1, 3, 512, 32),
    Usual(4, 3, 32, 4),
    Usual(1, 3, 1024, 512),
)
SINGLE = (Usual(2, 3, 32, 1), Usual(1, 3, 32, 1), Usual(1, 1, 28, 1))  # a length of one hides what it meets
STARTS = (USUAL[0], USUAL[1], USUAL[4], Usual(2, 3, 8, 2))  # where a repair begins
LARGEST = 4096
_MOST_RUNS, _MOST_SECONDS = 1500, 12.0
_ROUNDS = 12  # contradictions that are repaired one after the other
_PAIRED = 40  # sizes of one side that are tried with every size of the other
_LADDER = (*range(1, 65), 96, 128, 192, 256, 384, 512, 1024)


@dataclass(frozen=True)
class Choice:
    """Sizes for all free dims. `words` name those that were chosen here."""

    shapes: Shapes
    words: tuple[str, ...]
    sizes: Mapping[str, int]
    outcome: Outcome

    @property
    def note(self) -> str:
        """The chosen sizes in words."""
        return ", ".join(self.words)


class _Spent(Exception):
    """The search has taken as long as it may."""


class Search:
    """Sizes for one model and what the user asked of its inputs. Raises UsageError where that does not
    fit."""

    def __init__(self, model: ir.Model, inputs: list[Input], asked: Mapping[str, tuple[int, ...]]) -> None:
        run = DryRun(model)
        self._spaces = [_Space(run, free_dims(layout, asked)) for layout in ranked(inputs, asked)]

    @property
    def free(self) -> bool:
        """Is there any dim to choose?"""
        return len(self._spaces) > 1 or bool(self._spaces[0].unknowns)

    @property
    def contradiction(self) -> str:
        """What stood against the usual sizes, in words; "" where nothing did."""
        outcome = self._spaces[0].outcome(self._spaces[0].usual(USUAL[0]))
        return "" if outcome.contradiction is None else str(outcome.contradiction)

    def first(self) -> Iterator[Choice]:
        """Choices, the best first: those that fit and leave nothing empty, those that fit, all usual ones."""
        tried = set[tuple[tuple[int, ...], ...]]()
        for choices in (_Space.fitting, _Space.others):
            for space in self._spaces:
                for sizes in choices(space):
                    choice = space.choice(sizes)
                    if (key := tuple(choice.shapes.values())) not in tried:
                        tried.add(key)
                        yield choice

    def second(self, first: Choice) -> Choice | None:
        """A choice that differs from the first in as many free dims as can be; None where nothing fits."""
        space = self._space_of(first)
        sizes = space.apart(dict(first.sizes))
        return None if sizes is None else space.choice(sizes)

    def at(self, first: Choice, sizes: Mapping[str, int]) -> Choice | None:
        """The choice of certain sizes; None where a dry run contradicts them."""
        choice = self._space_of(first).choice(dict(sizes))
        return choice if choice.outcome.contradiction is None else None

    def batches_of(self, choice: Choice) -> set[str]:
        """The keys of free dims that are batches: by what they are, and as they stand first wherever they
        stand."""
        space = self._space_of(choice)
        inner = {dim for one in space.dims.inputs for dim in one.dims[1:]}
        return {u.key for u in space.unknowns if u.role == BATCH and u.key not in inner}

    def _space_of(self, choice: Choice) -> _Space:
        return next(s for s in self._spaces if s.unknowns_are(choice.sizes))

    def choice_of(self, shapes: Shapes) -> Choice | None:
        """The choice that gives the inputs these shapes."""
        for space in self._spaces:
            if (sizes := space.dims.sizes(shapes)) is not None:
                return space.choice(sizes)
        return None

    def way_out(self) -> str:
        """What to type where no sizes were found."""
        return " ".join(self._spaces[0].dims.placeholders())

    def larger(self, choice: Choice, name: str, count: int, most: int) -> Choice | None:
        """A choice in which an input has at least `count` elements, or as many as a run of `most` elements in
        all allows."""
        space = self._space_of(choice)
        sizes = space.enlarged(dict(choice.sizes), name, count, most)
        return None if sizes is None else space.choice(sizes)


class _Space:
    """The unknowns of inputs of certain ranks, and what dry runs said of their sizes so far."""

    def __init__(self, run: DryRun, dims: FreeDims) -> None:
        self.run, self.dims, self.unknowns = run, dims, dims.unknowns
        self._outcomes: dict[tuple[int, ...], Outcome] = {}
        self._room = _MOST_RUNS
        self._until = 0.0

    def usual(self, usual: Usual) -> Assignment:
        return {u.key: usual.of(u) for u in self.unknowns}

    def unknowns_are(self, sizes: Mapping[str, int]) -> bool:
        return {u.key for u in self.unknowns} == set(sizes)

    def choice(self, sizes: Assignment) -> Choice:
        words = tuple(dict.fromkeys(f"{u.words} = {sizes[u.key]}" for u in self.unknowns))
        return Choice(self.dims.shapes(sizes), words, sizes, self.outcome(sizes))

    def outcome(self, sizes: Assignment) -> Outcome:
        key = tuple(sizes[u.key] for u in self.unknowns)
        if key not in self._outcomes:
            self._outcomes[key] = self.run(self.dims.shapes(sizes), self.dims.symbols(sizes))
        return self._outcomes[key]

    def _tried(self, sizes: Assignment) -> Outcome:
        """An outcome within the search's bounds. Raises _Spent."""
        self._room -= 1
        if self._room < 0 or time.perf_counter() > self._until:
            raise _Spent
        return self.outcome(sizes)

    def _start(self) -> None:
        self._room, self._until = _MOST_RUNS, time.perf_counter() + _MOST_SECONDS

    # -- the first sizes

    def fitting(self) -> Iterator[Assignment]:
        """Sizes that no dry run contradicts, those first that leave fewest values empty."""
        blind: list[tuple[int, Assignment]] = []
        found = False
        for sizes in map(self.usual, USUAL):
            outcome = self.outcome(sizes)
            if outcome.contradiction is None:
                found = True
                if not outcome.blind:
                    yield sizes
                else:
                    blind.append((len(outcome.blind), sizes))
        if not found:
            blind += ((len(self.outcome(sizes).blind), sizes) for sizes in self._repaired_usual())
        blind += (
            (len(self.outcome(sizes).blind), sizes)
            for sizes in map(self.usual, SINGLE)
            if self.outcome(sizes).contradiction is None
        )
        yield from (sizes for _, sizes in sorted(blind, key=lambda pair: pair[0]))

    def _repaired_usual(self) -> Iterator[Assignment]:
        self._start()
        for start in STARTS:
            try:
                found = self.repaired(self.usual(start), frozenset())
            except _Spent:
                return
            if found is not None:
                yield found
                if not self.outcome(found).blind:
                    return

    def others(self) -> Iterator[Assignment]:
        """All usual sizes: a dry run may be wrong."""
        return map(self.usual, (*USUAL[:-1], *SINGLE))

    # -- contradictions

    def repaired(self, sizes: Assignment, kept: frozenset[str]) -> Assignment | None:
        """Sizes near these that no dry run contradicts, with some left as they are. Raises _Spent."""
        for _ in range(_ROUNDS):
            outcome = self._tried(sizes)
            if outcome.contradiction is None:
                return sizes
            further = self._further(sizes, outcome, kept)
            if further is None:
                return None
            sizes = further
        return None

    def _further(self, sizes: Assignment, outcome: Outcome, kept: frozenset[str]) -> Assignment | None:
        """Sizes that get past a contradiction."""
        groups = self._groups(kept)
        assert outcome.contradiction is not None
        if len(outcome.contradiction.sizes) == 2:
            nearest = {}
            for group in groups:
                line = _Line(self, sizes, group, outcome)
                if (found := line.root()) is not None:
                    return found
                nearest[group] = line.nearest if line.moves else 0
            if (found := self._paired(sizes, outcome, groups, nearest)) is not None:
                return found
        for group in groups:
            start = sizes[group[0]]
            for size in sorted(_LADDER, key=lambda size: abs(size - start)):
                moved = {**sizes, **dict.fromkeys(group, size)}
                if self._tried(moved).reached > outcome.reached:
                    return moved
        return None

    def _groups(self, kept: frozenset[str]) -> list[tuple[str, ...]]:
        """What is changed together: dims of one kind, then each alone."""
        loose = [u for u in self.unknowns if u.key not in kept]
        together = [tuple(u.key for u in loose if u.role == role) for role in (SIDE, LENGTH)]
        return [group for group in together if len(group) > 1] + [(u.key,) for u in loose]

    def _paired(
        self,
        sizes: Assignment,
        outcome: Outcome,
        groups: Sequence[tuple[str, ...]],
        nearest: Mapping[tuple[str, ...], int],
    ) -> Assignment | None:
        """Two dims of a picture that are not the same: every size of one near the square, and the other that
        fits."""
        sides = [u.key for u in self.unknowns if u.role == SIDE and nearest.get((u.key,))]
        if len(sides) < 2:
            return None
        first, second = sides[-2:]
        middle = nearest.get(tuple(sides), 0) or sizes[first]
        steps = (middle + (k // 2 if k % 2 else -k // 2) for k in range(1, 2 * _PAIRED))
        for size in (s for s in steps if s > 0):
            start = {**sizes, first: size, second: middle}
            here = self._tried(start)
            if here.reached > outcome.reached:
                return start
            line = _Line(self, start, (second,), here)
            if here.reached == outcome.reached and (found := line.root()) is not None:
                return found
        return None

    # -- the second sizes

    def apart(self, first: Assignment) -> Assignment | None:
        """Sizes that differ from the first in as many unknowns as can be, and leave no more values empty."""
        self._start()
        blind, best = len(self.outcome(first).blind), dict(first)
        try:
            for turn in range(4):
                wish = {u.key: _another(u, first[u.key], k % 2 + turn) for k, u in enumerate(self.unknowns)}
                found = self.repaired(wish, frozenset())
                if found is not None and len(self.outcome(found).blind) <= blind:
                    best = max(best, found, key=lambda sizes: _differing(sizes, first))
                if _differing(best, first) == len(self.unknowns):
                    return best or None
            best = self._one_by_one(first, best, blind)
        except _Spent:
            pass
        return best if _differing(best, first) else None

    def _one_by_one(self, first: Assignment, best: Assignment, blind: int) -> Assignment:
        """Each unknown that is still the same, moved while those that differ stay."""
        for k, unknown in enumerate(self.unknowns):
            if best[unknown.key] != first[unknown.key]:
                continue
            moved = frozenset(key for key in best if best[key] != first[key])
            for turn in range(4):
                wish = {**best, unknown.key: _another(unknown, first[unknown.key], k % 2 + turn)}
                found = self.repaired(wish, moved | {unknown.key})
                if found is not None and len(self.outcome(found).blind) <= blind:
                    best = found
                    break
        return best

    # -- sizes that reach more

    def enlarged(self, sizes: Assignment, name: str, count: int, most: int) -> Assignment | None:
        one = next(one for one in self.dims.inputs if one.name == name)
        own = [u for role in (BATCH, LENGTH) for u in self.unknowns if u.role == role]
        for unknown in (u for u in own if u.key in one.dims or u.key.endswith(f"of '{name}'")):
            here = self._elements(sizes, name)
            wanted = -(-count * sizes[unknown.key] // max(here, 1))
            while wanted > sizes[unknown.key]:
                larger = {**sizes, unknown.key: wanted}
                outcome = self.outcome(larger)
                if outcome.contradiction is None and _all_elements(outcome) <= most:
                    return larger
                wanted //= 2
        return None

    def _elements(self, sizes: Assignment, name: str) -> int:
        return _product(self.dims.shapes(sizes)[name])


class _Line:
    """Sizes of a group of dims, all the same, and how far apart the two sizes of one contradiction are."""

    def __init__(self, space: _Space, sizes: Assignment, group: tuple[str, ...], outcome: Outcome) -> None:
        self.space, self.sizes, self.group, self.reached = space, sizes, group, outcome.reached
        self.start = sizes[group[0]]
        lengths = {u.key for u in space.unknowns if u.role == LENGTH}
        self.least = 2 if lengths.intersection(group) else 1  # a length of one fits by being stretched
        self.nearest = self.start
        self.moves = False

    def at(self, size: int) -> Assignment:
        return {**self.sizes, **dict.fromkeys(self.group, size)}

    def gap(self, size: int) -> int | None:
        """How much larger the one is than the other; 0 past the contradiction, None before it."""
        outcome = self.space._tried(self.at(size))
        if outcome.reached > self.reached:
            return 0
        found = outcome.contradiction
        if found is None or found.place < self.reached or len(found.sizes) != 2:
            return None
        return found.sizes[0] - found.sizes[1]

    def root(self) -> Assignment | None:
        """The sizes at which the two are the same: a bracket by doubling and halving, then the secant and the
        middle in turn."""
        bracket = self._bracket()
        if isinstance(bracket, int):
            return self.at(bracket)
        if bracket is None:
            return None
        (low, below), (high, above) = bracket
        secant = True
        while high - low > 1:
            middle = (low + high) // 2
            if secant:
                middle = min(max(low + round(-below * (high - low) / (above - below)), low + 1), high - 1)
            secant = not secant
            found = self.gap(middle)
            if found == 0:
                return self.at(middle)
            if found is None:
                return None
            if (found < 0) == (below < 0):
                low, below = middle, found
            else:
                high, above = middle, found
        self.nearest = low
        return None

    def _bracket(self) -> int | tuple[tuple[int, int], tuple[int, int]] | None:
        """Two sizes between which the sign of the gap changes; one at which it is 0; None."""
        start = self.gap(self.start)
        if not start:
            return self.start if start == 0 else None
        for factor in (2.0, 0.5):
            size, last = self.start, start
            while self.least <= (next_size := int(size * factor)) <= LARGEST:
                found = self.gap(next_size)
                if found == 0:
                    return next_size
                if found is None or (found == last and size != self.start):
                    break
                self.moves |= found != start
                if (found < 0) != (last < 0):
                    ends = ((size, last), (next_size, found))
                    return ends if factor > 1 else ends[::-1]
                if found == last:
                    break
                size, last = next_size, found
        return None


def _another(unknown: Unknown, size: int, turn: int) -> int:
    """Another size of a dim, a different one each turn. Sides are odd first: at even ones a padding that was
    worked out once may fit by chance."""
    if unknown.role in (BATCH, CHANNELS):
        others = [3, 4, 1, 2] if unknown.role == BATCH else [1, 3, 4]
    elif unknown.role == SIDE and unknown.volume and size >= 16:  # three sides twice as long cost eightfold
        others = [size // 2 + 1, 3 * size // 2 + 1, size // 2, 3 * size // 2, size - 1]
    elif unknown.role == SIDE:
        steps = [size + 1, 2 * size + 1, size, 2 * size, 1] if size <= 48 else [33, 65, 32, 64, -32]
        others = [size + step for step in steps]
    else:
        others = [size - 3, size + 4, size - 1, size + 1, size // 2, 2 * size]
    fitting = [other for other in others if other != size and other > 0]
    return fitting[turn % len(fitting)]


def _differing(sizes: Assignment, first: Assignment) -> int:
    return sum(sizes[key] != first[key] for key in first)


def _product(shape: Sequence[int | str]) -> int:
    total = 1
    for dim in shape:
        total *= dim if isinstance(dim, int) else 1
    return total


def _all_elements(outcome: Outcome) -> int:
    """Elements of all values that a run makes, as far as they are known."""
    return sum(_product(shape) for shape in outcome.shapes.values() if shape is not None)
