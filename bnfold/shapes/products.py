"""Shapes where several operands meet: broadcasting and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import attribute, ir
from .asker import Asker, Dim, Given


def broadcast(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """numpy's rule, right-aligned. A symbol against a number other than one is that number, or the model is wrong."""
    if any(i is None for i in inputs):
        return [None]
    shapes = [i for i in inputs if i is not None]
    rank = max(len(i) for i in shapes)
    padded = [(1,) * (rank - len(i)) + i for i in shapes]
    return [tuple(joined(s, column) for column in zip(*padded, strict=True))]


def joined(s: Asker, column: Sequence[Dim]) -> Dim:
    """One size for dims that broadcast together."""
    wide = {d for d in column if d != 1}
    numbers = [d for d in wide if isinstance(d, int)]
    if numbers:
        return numbers[0]
    return wide.pop() if len(wide) == 1 else s.symbol() if wide else 1


def gemm(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """Rows of the first, columns of the second."""
    a, b = inputs[0], inputs[1]
    rows: Dim = a[1 if attribute(node, "transA", 0) else 0] if a is not None else s.symbol()
    columns: Dim = b[0 if attribute(node, "transB", 0) else 1] if b is not None else s.symbol()
    return [(rows, columns)]


def matmul(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """numpy's rule: leading dims broadcast, vectors lose their axis."""
    a, b = inputs[0], inputs[1]
    if a is None or b is None:
        return [None]
    if len(a) == 1 or len(b) == 1:
        return [(*a[:-2], *a[-2:-1], *b[-1:]) if len(a) > 1 else (*b[:-2], b[-1])] if len(a) + len(b) > 2 and len(b) > 1 else [a[:-1]]
    batch = broadcast(s, node, [a[:-2], b[:-2]])[0] or ()
    return [(*batch, a[-2], b[-1])]


def einsum(s: Asker, node: ir.Node, inputs: Given) -> Given:
    """Every letter is one size; only equations that name their result."""
    terms, arrow, result = str(attribute(node, "equation")).replace(" ", "").partition("->")
    if not arrow or "." in terms:
        return [None]
    sizes: dict[str, Dim] = {}
    for term, shape in zip(terms.split(","), inputs, strict=True):
        if shape is not None and len(shape) == len(term):
            sizes.update({c: d for c, d in zip(term, shape, strict=True) if not isinstance(sizes.get(c), int)})
    return [tuple(sizes[c] if c in sizes else s.symbol() for c in result)]
