"""What a rule of shapes may ask, and the words it answers in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..ir.graph import ir
from ..operators.arguments import Dim, Shape
from .constants import Constants

SHAPE_LENGTH = 16  # elements of an integer tensor that may be a shape

__all__ = ["Content", "Dim", "Given", "Shape", "ShapeContext", "with_symbols"]

Given = list[Shape | None]
Content = tuple[Dim | None, ...]


class ShapeContext(Protocol):
    """What a rule may ask: constants, the opset, symbols that equal no other, and what is known of other
    values."""

    constants: Constants

    def opset(self, node: ir.Node) -> int:
        """The version of the standard domain that a node follows."""
        ...

    def symbol(self) -> str:
        """A size that equals no other."""
        ...

    def dims(self, value: ir.Value | None) -> Shape | None:
        """A shape that a small integer tensor holds; what is not known in it is a fresh symbol. None: not
        even its length is known."""
        ...

    def integers(self, value: ir.Value | None) -> list[int] | None:
        """The numbers of a row that are all known: constant, or sizes that are."""
        ...

    def content(self, value: ir.Value | None) -> Content | None:
        """The elements of a small integer tensor, as far as they are known."""
        ...

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value."""
        ...

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The element type of a value."""
        ...

    def dim(self, value: ir.Value | None, axis: int) -> int | None:
        """A dim that is a known number, or None."""
        ...


def with_symbols(s: ShapeContext, sizes: Iterable[Dim | None]) -> Shape:
    """A shape in which a fresh symbol stands for every size that is not known."""
    return tuple(s.symbol() if size is None else size for size in sizes)
