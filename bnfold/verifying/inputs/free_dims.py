"""The free dims of a model's inputs, as unknowns that a search gives values to.

One symbol is one unknown wherever it stands; a dim without a name is an unknown of its own. A name that is an
expression of other names ("past_sequence_length + sequence_length") follows from them. What the user asked
for is fixed.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace

from ...errors import UsageError
from ...records import dataclass
from .samples import Input

BATCH, CHANNELS, SIDE, LENGTH = "batch", "channels", "side", "length"
Assignment = dict[str, int]
Shapes = dict[str, tuple[int, ...]]

_OPERATORS: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "max": max,
    "min": min,
    "floor": lambda x: x,
    "ceil": lambda x: x,
    "ceiling": lambda x: x,
}
_LONGEST = 200  # characters of an expression in a name
_HINTS = (
    (re.compile(r"batch|^(n|b|bs)$", re.I), BATCH),
    (re.compile(r"seq|len|time|token|past|step|^(t|l|s)$", re.I), LENGTH),
    (re.compile(r"height|width|^(h|w)$", re.I), SIDE),
    (re.compile(r"channel|^c$", re.I), CHANNELS),
)


@dataclass(frozen=True)
class Unknown:
    """A free dim: its key, what it most likely is, and how a note names it. `volume` says that it is one of
    three sides."""

    key: str
    role: str
    words: str
    volume: bool = False


@dataclass(frozen=True)
class Expression:
    """A dim that follows from other dims' names."""

    text: str
    tree: ast.expr

    @property
    def names(self) -> set[str]:
        """The symbols in it."""
        functions = {id(n.func) for n in ast.walk(self.tree) if isinstance(n, ast.Call)}
        return {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and id(n) not in functions}

    def value(self, sizes: Mapping[str, int]) -> int:
        """What it comes to; 1 at least, for a dim has to hold something."""
        try:
            return max(_evaluated(self.tree, sizes), 1)
        except (ArithmeticError, LookupError):
            return 1


def expression(text: str) -> Expression | None:
    """A name as an expression of other names; None where it is one name."""
    if len(text) > _LONGEST or not re.search(r"[-+*/%(]", text):
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = Expression(text, tree)
        _evaluated(tree, dict.fromkeys(found.names, 7))
    except (SyntaxError, ValueError, LookupError, ArithmeticError, RecursionError, MemoryError):
        return None
    return found if found.names else None


def _evaluated(tree: ast.expr, sizes: Mapping[str, int]) -> int:
    """Raises LookupError for what is no arithmetic of sizes."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name):
        return sizes[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_evaluated(tree.operand, sizes)
    if isinstance(tree, ast.BinOp) and (apply := _OPERATORS.get(type(tree.op))) is not None:
        return apply(_evaluated(tree.left, sizes), _evaluated(tree.right, sizes))
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
        arguments = [_evaluated(one, sizes) for one in tree.args]
        if name := tree.func.id.lower():
            inside = tree.args[0] if tree.args else None
            if name.startswith("ceil") and isinstance(inside, ast.BinOp) and isinstance(inside.op, ast.Div):
                return -(-_evaluated(inside.left, sizes) // _evaluated(inside.right, sizes))
            return _FUNCTIONS[name](*arguments)
    raise LookupError(ast.dump(tree))


@dataclass
class FreeDims:
    """`unknowns` in the order of the inputs. `fixed` holds what was asked for, by the same keys."""

    inputs: list[Input]
    asked: Shapes
    unknowns: list[Unknown] = field(default_factory=list)
    fixed: Assignment = field(default_factory=dict)
    expressions: dict[str, Expression] = field(default_factory=dict)

    def shapes(self, sizes: Assignment) -> Shapes:
        """The inputs' shapes where the unknowns have these sizes."""
        known = {**self.fixed, **sizes}
        return {
            one.name: self.asked[one.name] if one.name in self.asked else self._shape(one, known)
            for one in self.inputs
        }

    def _shape(self, one: Input, known: Assignment) -> tuple[int, ...]:
        return tuple(
            dim if isinstance(dim, int) else self._size(one.name, axis, dim, known)
            for axis, dim in enumerate(one.dims)
        )

    def symbols(self, sizes: Assignment) -> Assignment:
        """What every name stands for, expressions among them."""
        known = {**self.fixed, **sizes}
        return {**known, **{text: e.value(known) for text, e in self.expressions.items()}}

    def sizes(self, shapes: Shapes) -> Assignment | None:
        """The sizes that the unknowns have in these shapes; None where the shapes are of other ranks."""
        if any(len(shapes[one.name]) != len(one.dims) for one in self.inputs if one.name not in self.asked):
            return None
        found = {
            _key(one.name, axis, dim): shapes[one.name][axis]
            for one in self.inputs
            for axis, dim in enumerate(one.dims)
            if not isinstance(dim, int) and one.name in shapes and axis < len(shapes[one.name])
        }
        return {u.key: found.get(u.key, 1) for u in self.unknowns}

    def placeholders(self) -> Iterator[str]:
        """--input-shape for every input with free dims, each by its name."""
        for one in self.inputs:
            if one.name not in self.asked and not (one.ranked and all(isinstance(d, int) for d in one.dims)):
                dims = (d if isinstance(d, int) else _placeholder(d, axis) for axis, d in enumerate(one.dims))
                yield f"--input-shape {one.name}:{','.join(map(str, dims))}"

    def _size(self, name: str, axis: int, dim: str | None, known: Assignment) -> int:
        if dim in self.expressions:
            return self.expressions[dim].value(known)
        return known[_key(name, axis, dim)]


def free_dims(inputs: list[Input], asked: Mapping[str, tuple[int, ...]]) -> FreeDims:
    """The unknowns of a model's inputs. Raises UsageError where what was asked does not fit them."""
    found = FreeDims(inputs, _asked(inputs, asked))
    plain = {dim for one in inputs for dim in one.dims if isinstance(dim, str) and not expression(dim)}
    for one in inputs:
        for dim in one.dims:
            if isinstance(dim, str) and (parsed := expression(dim)) and parsed.names & plain:
                found.expressions[dim] = parsed
    for one in inputs:
        for axis, dim in enumerate(found.asked.get(one.name, ())):
            if axis < len(one.dims) and isinstance(symbol := one.dims[axis], str):
                found.fixed.setdefault(symbol, dim)
    taken = set(found.fixed)
    for unknown in _unknowns(found):
        if unknown.key not in taken:
            taken.add(unknown.key)
            found.unknowns.append(unknown)
    return found


def _unknowns(dims: FreeDims) -> Iterator[Unknown]:
    for one in dims.inputs:
        if one.name in dims.asked:
            continue
        for axis, dim in enumerate(one.dims):
            if isinstance(dim, int) or dim in dims.expressions:
                continue
            words = f"{dim or f'dim {axis}'} of '{one.name}'"
            rank = len(one.dims)
            yield Unknown(_key(one.name, axis, dim), _role(dim, axis, rank), words, rank == 5)
    for parsed in dims.expressions.values():
        for name in sorted(parsed.names):
            yield Unknown(name, _role(name, 1, 2), name)


def _placeholder(dim: str | None, axis: int) -> str:
    return re.sub(r"\W+", "_", dim).strip("_") or f"D{axis}" if dim else f"D{axis}"


def _key(name: str, axis: int, dim: str | None) -> str:
    return dim or f"dim {axis} of '{name}'"


def _role(dim: str | None, axis: int, rank: int) -> str:
    for pattern, role in _HINTS if dim else ():
        if pattern.search(dim):  # type: ignore[arg-type]
            return role
    if axis == 0:
        return BATCH
    if rank in (4, 5):
        return CHANNELS if axis == 1 else SIDE
    return LENGTH


def _asked(inputs: list[Input], asked: Mapping[str, tuple[int, ...]]) -> Shapes:
    names = {one.name for one in inputs}
    listed = ", ".join(sorted(names)) or "(none)"
    if unknown := [name for name in asked if name and name not in names]:
        raise UsageError(f"--input-shape names '{unknown[0]}'", expected=f"one of the inputs {listed}")
    if "" in asked and len(inputs) != 1:
        raise UsageError("--input-shape without a name", expected=f"a name, one of {listed}")
    found = {
        one.name: tuple(given) for one in inputs if (given := asked.get(one.name, asked.get(""))) is not None
    }
    for one in inputs:
        _check(one, found.get(one.name))
    return found


def _check(one: Input, given: tuple[int, ...] | None) -> None:
    if given is None or not one.ranked:
        return
    if len(given) != len(one.dims):
        raise UsageError(
            f"--input-shape gives '{one.name}' {len(given)} dims",
            expected=f"{len(one.dims)}, as the model declares",
        )
    for dim, number in zip(one.dims, given, strict=True):
        if isinstance(dim, int) and dim != number:
            raise UsageError(
                f"--input-shape gives '{one.name}' a dim of {number}",
                expected=f"{dim}, as the model declares",
            )


RANKS = (4, 2, 3, 1, 5, 0)  # what an input of unknown rank may have, the likeliest first


def ranked(inputs: list[Input], asked: Mapping[str, tuple[int, ...]]) -> Iterator[list[Input]]:
    """The inputs with every rank that those may have that declare none; all of these have the same."""
    asked_names = {one.name for one in inputs} if "" in asked else set(asked)
    if all(one.ranked or one.name in asked_names for one in inputs):
        yield inputs
        return
    for rank in RANKS:
        yield [one if one.ranked else replace(one, dims=(None,) * rank) for one in inputs]
