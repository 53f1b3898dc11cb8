"""What a rule of shapes may ask, and the words it answers in."""

from __future__ import annotations

from typing import Protocol

from ..ir.graph import ir
from .constants import Constants

Dim = int | str
Shape = tuple[Dim, ...]
Given = list[Shape | None]


class Asker(Protocol):
    """What a rule may ask: constants, symbols that equal no other, and dims of other values."""

    constants: Constants

    def symbol(self) -> str:
        """A size that equals no other."""
        ...

    def dims(self, value: ir.Value | None) -> Shape | None:
        """A shape that a small integer tensor holds; what is not known in it is a fresh symbol. None: not
        even its length is known."""
        ...

    def dim(self, value: ir.Value | None, axis: int) -> int | None:
        """A dim that is a known number, or None."""
        ...
