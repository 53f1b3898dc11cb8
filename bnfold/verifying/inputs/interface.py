"""Do two models have the same interface? Inputs and outputs have the same names, order and types; a dim that
is free in the reference is free in the candidate; an input that a caller may override still may.

A difference makes two models not the same. Each kind has an exception that allows it (InterfaceExceptions);
what was allowed is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

import numpy as np

from ...ir.graph import ir
from ...records import dataclass
from ...results.comparison import Side
from ..composite_values import renamed
from .samples import Input, inputs_of

OVERRIDABLE_FROM = 4  # the IR version from which on an initializer among the inputs is a default value


class InterfacesDiffer(Exception):
    """The two models are not the same to a caller. The text says how, and what allows it."""


@dataclass(frozen=True)
class InterfaceExceptions:
    """Differences that are allowed.

    rename            (name in the reference, name in the candidate) of inputs and outputs
    by_position       inputs and outputs are paired by position, whatever their names
    any_order         the same names may stand in another order
    fixed_shapes      a free dim may be a number in the candidate
    drop_overridable  the candidate may lack an input that has a default value in the reference
    """

    rename: tuple[tuple[str, str], ...] = ()
    by_position: bool = False
    any_order: bool = False
    fixed_shapes: bool = False
    drop_overridable: bool = False


STRICT = InterfaceExceptions()


@dataclass(frozen=True)
class Interface:
    """`inputs` are the reference's, `theirs` the candidate's. `renamed_inputs` and `renamed_outputs` map the
    reference's names to the candidate's. `tied`: the candidate may want sizes to be equal that the reference
    leaves apart."""

    inputs: list[Input]
    theirs: list[Input]
    outputs: list[str]
    kinds: dict[str, ir.DataType]
    renamed_inputs: dict[str, str]
    renamed_outputs: dict[str, str]
    notes: tuple[str, ...]
    tied: bool = False

    def for_candidate(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same feeds under the candidate's names."""
        return {self.renamed_inputs.get(name, name): value for name, value in feeds.items()}

    def narrower(self, feeds: dict[str, np.ndarray]) -> str:
        """Which sizes of these feeds the candidate declares to be equal, and the reference leaves apart; ""
        where it takes them all."""
        if self.tied or _unequal(self.inputs, feeds):
            return ""
        return _unequal(self.theirs, self.for_candidate(feeds))

    def in_reference_names(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The candidate's values under the reference's names."""
        back = {theirs: ours for ours, theirs in self.renamed_outputs.items()}
        return {renamed(name, back): value for name, value in values.items()}


def interface(
    reference: Side, candidate: Side, exceptions: InterfaceExceptions = STRICT, *, offers: bool = True
) -> Interface:
    """What the two models have in common. `offers`: messages name the flags that allow a difference. Raises
    InterfacesDiffer, Unfillable."""
    found = _Comparing(exceptions, offers)
    inputs, theirs = inputs_of(reference.model), inputs_of(candidate.model)
    known = {i.name: i for i in theirs}
    renamed_inputs = found.paired("input", [i.name for i in inputs], list(known))
    for one in inputs:
        if (other := known.get(renamed_inputs.get(one.name, ""))) is not None:
            found.input(one, other)
    found.overridable(reference.model, candidate.model)
    outputs = {value.name or "": value for value in reference.model.graph.outputs}
    their_outputs = {value.name or "": value for value in candidate.model.graph.outputs}
    renamed_outputs = found.paired("output", list(outputs), list(their_outputs))
    free = {dim for one in inputs for dim in one.dims if isinstance(dim, str)}
    for name, value in outputs.items():
        if (output := their_outputs.get(renamed_outputs.get(name, ""))) is not None:
            found.output(value, output, free)
    if found.differences:
        raise InterfacesDiffer("; ".join(found.differences))
    kinds = {name: value.dtype for name, value in outputs.items() if value.dtype is not None}
    return Interface(
        inputs=inputs,
        theirs=theirs,
        outputs=list(outputs),
        kinds=kinds,
        renamed_inputs=renamed_inputs,
        renamed_outputs=renamed_outputs,
        notes=tuple(found.notes),
        tied=found.allowed.fixed_shapes,
    )


@dataclass
class _Comparing:
    """What differs and is not allowed, and notes on what is. `offers`: messages name the flags that allow
    it."""

    allowed: InterfaceExceptions
    offers: bool
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differ(self, words: str, allowed: bool, flag: str) -> None:
        """Note a difference that is allowed; keep one that is not, with the flag that would allow it."""
        if allowed:
            self.notes.append(f"{words} (allowed by {flag})" if self.offers else words)
        else:
            self.differences.append(f"{words} ({flag} allows it)" if flag and self.offers else words)

    def paired(self, what: str, ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
        """The candidate's name for each of the reference's."""
        if self.allowed.by_position and len(ours) == len(theirs):
            pairs = dict(zip(ours, theirs, strict=True))
            if list(ours) != list(theirs):
                self.notes.append(
                    f"{what}s are compared by position: " + ", ".join(f"{a} = {b}" for a, b in pairs.items())
                )
            return pairs
        table = dict(self.allowed.rename)
        pairs = {name: table.get(name, name) for name in ours}
        missing = [name for name in ours if pairs[name] not in theirs]
        extra = [name for name in theirs if name not in pairs.values()]
        if missing or extra:
            unpaired = [(name, pairs[name]) for name in missing]
            flags = _renames(unpaired, extra) if self.offers else ""
            self.differences.append(_unpaired(what, unpaired, extra) + flags)
        elif [pairs[name] for name in ours] != list(theirs):
            words = f"{what}s are in another order: {', '.join(ours)} and {', '.join(theirs)}"
            self.differ(words, self.allowed.any_order, "--any-order")
        if changed := [f"{a} = {b}" for a, b in pairs.items() if a != b and b in theirs]:
            self.notes.append(f"{what}s have other names (allowed by --rename): {', '.join(changed)}")
        return pairs

    def input(self, ours: Input, theirs: Input) -> None:
        """Type, rank and dims of one input."""
        if ours.kind != theirs.kind:
            self.differences.append(
                f"input '{ours.name}' is {ours.kind.name.lower()}, in the candidate "
                f"{theirs.kind.name.lower()}"
            )
        if not theirs.ranked:
            return
        words = f"input '{ours.name}' is {_dims(ours)}, in the candidate {_dims(theirs)}"
        if not ours.ranked:
            self.differ(words, self.allowed.fixed_shapes, "--fixed-shapes")
        elif len(ours.dims) != len(theirs.dims) or any(
            isinstance(a, int) and isinstance(b, int) and a != b
            for a, b in zip(ours.dims, theirs.dims, strict=True)
        ):
            self.differences.append(words)
        elif any(
            isinstance(b, int) and not isinstance(a, int) for a, b in zip(ours.dims, theirs.dims, strict=True)
        ):
            self.differ(words, self.allowed.fixed_shapes, "--fixed-shapes")

    def output(self, ours: ir.Value, theirs: ir.Value, free: set[str]) -> None:
        """Type and rank of one output, and whether a dim that a free dim of an input decides is a number."""
        if None not in (ours.dtype, theirs.dtype) and ours.dtype != theirs.dtype:
            kinds = [v.dtype.name.lower() for v in (ours, theirs) if v.dtype is not None]
            self.differences.append(f"output '{ours.name}' is {kinds[0]}, in the candidate {kinds[1]}")
        if ours.shape is None or theirs.shape is None:
            return
        shapes = [[d if isinstance(d, int) else d.value for d in v.shape or ()] for v in (ours, theirs)]
        words = f"output '{ours.name}' is {_listed(shapes[0])}, in the candidate {_listed(shapes[1])}"
        if len(shapes[0]) != len(shapes[1]):
            self.differences.append(words)
        elif any(a in free and isinstance(b, int) for a, b in zip(*shapes, strict=True)):
            self.differ(words, self.allowed.fixed_shapes, "--fixed-shapes")

    def overridable(self, reference: ir.Model, candidate: ir.Model) -> None:
        """Inputs with a default value, which a caller may override."""
        table = dict(self.allowed.rename)
        theirs = set(_overridable(candidate))
        given = {value.name for value in candidate.graph.inputs}
        for name in _overridable(reference):
            there = table.get(name, name)
            if there in theirs:
                continue
            words = f"input '{name}' has a default value that a caller may override, " + (
                "in the candidate it has none" if there in given else "the candidate has no such input"
            )
            may = self.allowed.drop_overridable and there not in given
            self.differ(words, may, "" if there in given else "--drop-overridable")


def _unequal(inputs: Sequence[Input], feeds: dict[str, np.ndarray]) -> str:
    """Where two sizes of feeds bear one name; "" where none do. A name is one size wherever it stands."""
    seen: dict[str, tuple[int, str]] = {}
    for one in inputs:
        for dim, size in zip(one.dims, np.shape(feeds[one.name]), strict=False):
            if isinstance(dim, str):
                first, where = seen.setdefault(dim, (size, one.name))
                if first != size:
                    return f"'{dim}' is {first} in '{where}' and {size} in '{one.name}'"
    return ""


def _overridable(model: ir.Model) -> Iterator[str]:
    if model.ir_version >= OVERRIDABLE_FROM:
        yield from (v.name for v in model.graph.inputs if v.name and v.name in model.graph.initializers)


def _unpaired(what: str, missing: Sequence[tuple[str, str]], extra: Sequence[str]) -> str:
    """`missing` are (name in the reference, name that the candidate should have)."""
    parts = [
        f"the candidate has no {what} '{wanted}'" + (f" (--rename {name}={wanted})" if name != wanted else "")
        for name, wanted in missing
    ]
    parts += [f"the reference has no {what} '{name}'" for name in extra]
    return ", ".join(parts)


def _renames(missing: Sequence[tuple[str, str]], extra: Sequence[str]) -> str:
    """The flags that pair what is left over, where each name has a partner."""
    if len(missing) != len(extra) or any(name != wanted for name, wanted in missing):
        return ""
    flags = " ".join(f"--rename {name}={other}" for (name, _), other in zip(missing, extra, strict=True))
    return f" ({flags} allows it, as --by-position does)"


def _dims(one: Input) -> str:
    return _listed(one.dims) if one.ranked else "of any rank"


def _listed(dims: Sequence[int | str | None]) -> str:
    return f"[{', '.join('?' if d is None else str(d) for d in dims)}]"
