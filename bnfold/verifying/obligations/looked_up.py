"""The numbers that an operator looks for in its input: the keys of a LabelEncoder, the thresholds of trees,
the words of a TfIdfVectorizer. They stand in lists among its attributes, and random values hardly meet one.
Where such lists differ, the input is tried with these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ...ir.graph import ir, is_op
from ..truth.number_formats import widened
from .cones import Half

LEARNED = "ai.onnx.ml"
MOST = 1 << 10
_LISTS: dict[ir.AttributeType, Callable[[ir.Attr], Sequence[object]]] = {
    ir.AttributeType.INT: lambda given: [given.as_int()],
    ir.AttributeType.INTS: lambda given: given.as_ints(),
    ir.AttributeType.FLOAT: lambda given: [given.as_float()],
    ir.AttributeType.FLOATS: lambda given: given.as_floats(),
    ir.AttributeType.STRING: lambda given: [given.as_string()],
    ir.AttributeType.STRINGS: lambda given: given.as_strings(),
    ir.AttributeType.TENSOR: lambda given: (
        np.asarray(widened(given.as_tensor().numpy())).reshape(-1).tolist()
    ),
}
Lists = dict[str, list[object]]


def looked_up(ours: Half, theirs: Half) -> tuple[list[float], list[int]]:
    """The floats and the integers that operators of both sides may look for, where these differ. Those that
    stand in the place of a difference come first."""
    first: dict[object, None] = {}
    others: dict[object, None] = {}
    for mine, other in zip(_looking(ours), _looking(theirs), strict=False):
        a, b = _lists(mine), _lists(other)
        if mine.op_identifier() != other.op_identifier() or a == b:
            continue
        places = set(_places(a, b))
        for values in (*a.values(), *b.values()):
            first.update(dict.fromkeys(values[at] for at in places if at < len(values)))
            others.update(dict.fromkeys(values[:MOST]))
    found = list({**first, **others})
    floats = [float(v) for v in found if isinstance(v, float) and np.isfinite(v)]
    return floats, [v for v in found if isinstance(v, int)]


def looks(node: ir.Node) -> bool:
    """Does an operator look for numbers in its input?"""
    return node.domain == LEARNED or is_op(node, "TfIdfVectorizer")


def _looking(half: Half) -> Iterator[ir.Node]:
    return (node for node in half.nodes if looks(node))


def _lists(node: ir.Node) -> Lists:
    return {
        name: list(_LISTS[given.type](given))
        for name, given in node.attributes.items()
        if not given.is_ref() and given.type in _LISTS
    }


def _places(one: Lists, other: Lists) -> Iterable[int]:
    """Where two lists of one name differ."""
    for name in one.keys() & other.keys():
        yield from (at for at, (a, b) in enumerate(zip(one[name], other[name], strict=False)) if a != b)
