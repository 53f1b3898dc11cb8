"""Shapes where several operands meet: broadcasting and matrix products."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..ir.graph import attribute, ir
from ..operators.arguments import SizesDiffer, same_size
from .rule_context import Dim, Given, Shape, ShapeContext

_TERM, _RESULT = (
    re.compile(r"[A-Za-z]*(\.{3}[A-Za-z]*)?"),
    re.compile(r"[A-Za-z.]*"),
)  # of Einsum; onnx's own inference hangs on others


def broadcast(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """numpy's rule, right-aligned. A symbol against a number other than one is that number, or the model is
    wrong.

    Before opset 7 the second operand is laid over the first when `broadcast` says so, and never enlarges
    it."""
    if attribute(node, "broadcast", 0):
        return inputs[:1]
    if any(i is None for i in inputs):
        return [None]
    shapes = [i for i in inputs if i is not None]
    rank = max(len(i) for i in shapes)
    padded = [(1,) * (rank - len(i)) + i for i in shapes]
    return [tuple(joined(s, column) for column in zip(*padded, strict=True))]


def joined(s: ShapeContext, column: Sequence[Dim]) -> Dim:
    """One size for dims that broadcast together. ValueError for two numbers that do not."""
    wide = {d: None for d in column if d != 1}
    numbers = [d for d in wide if isinstance(d, int)]
    if len(numbers) > 1:
        raise SizesDiffer("along one axis", numbers)
    if numbers:
        return numbers[0]
    return next(iter(wide)) if len(wide) == 1 else s.symbol() if wide else 1


def gemm(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """Rows of the first, columns of the second."""
    a, b = inputs[0], inputs[1]
    (rows, inner), (outer, columns) = (
        _matrix(s, matrix, attribute(node, transposed, 0))
        for matrix, transposed in ((a, "transA"), (b, "transB"))
    )
    same_size(inner, outer)
    return [(rows, columns)]


def _matrix(s: ShapeContext, shape: Shape | None, transposed: int) -> tuple[Dim, Dim]:
    """Rows and columns; unknown ones for what is no matrix, because the product is one all the same (and
    linear_operators.py says what is wrong)."""
    rows, columns = shape if shape is not None and len(shape) == 2 else (s.symbol(), s.symbol())
    return (columns, rows) if transposed else (rows, columns)


def matmul(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """numpy's rule: leading dims broadcast, vectors lose their axis."""
    a, b = inputs[0], inputs[1]
    if a is None or b is None:
        return [None]
    same_size(a[-1], b[-2 if len(b) > 1 else 0])
    if len(a) == 1 or len(b) == 1:
        return (
            [(*a[:-2], *a[-2:-1], *b[-1:]) if len(a) > 1 else (*b[:-2], b[-1])]
            if len(a) + len(b) > 2 and len(b) > 1
            else [a[:-1]]
        )
    batch = broadcast(s, node, [a[:-2], b[:-2]])[0] or ()
    return [(*batch, a[-2], b[-1])]


def einsum(s: ShapeContext, node: ir.Node, inputs: Given) -> Given:
    """Every letter is one size; only equations that name their result."""
    terms, arrow, result = str(attribute(node, "equation")).replace(" ", "").partition("->")
    if not all(_TERM.fullmatch(term) for term in terms.split(",")) or not _RESULT.fullmatch(result):
        raise ValueError(f"an equation of letters, not {terms}->{result}")
    if not arrow or "." in terms + result:
        return [None]
    sizes: dict[str, list[Dim]] = {}
    for term, shape in zip(terms.split(","), inputs, strict=True):
        for letter, dim in (
            zip(term, shape, strict=True) if shape is not None and len(shape) == len(term) else ()
        ):
            sizes.setdefault(letter, []).append(dim)
    found = {letter: joined(s, column) for letter, column in sizes.items()}
    if not set(result) <= set(terms):
        raise ValueError(f"'{result}' has letters that '{terms}' has not")
    return [tuple(found[c] if c in found else s.symbol() for c in result)]
