"""Which integers an input of integers may hold: found by following it to where it is used.

index     it looks up a table (Gather and its kin): every row of the smallest one
argument  it is a size, a count, an axis, a length: a few small numbers
shape     a Reshape brings a value to it: sizes that fit, whatever the value
bounded   arithmetic leads from it to one of these, so only 0 and 1 are safe
free      anything: it is compared, or computed with
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...inference.rule_context import Shape
from ...ir.graph import STANDARD, attribute, ir
from ...ir.tensor import dims
from ...records import dataclass
from .samples import Input

Span = tuple[int, int]  # its end excluded

# operators, the place of an input that is an argument, what it may be
_ARGUMENTS: dict[tuple[str, int], Span] = {
    (op, place): span
    for ops, place, span in (
        ("Reshape Tile OneHot", 1, (1, 4)),
        ("Expand", 1, (1, 2)),  # ones fit everything
        ("ConstantOfShape Range Loop", 0, (1, 4)),
        ("Range", 1, (1, 4)),
        ("Range", 2, (1, 4)),
        ("NonMaxSuppression", 2, (1, 4)),
        ("Resize", 3, (1, 4)),
        ("TopK", 1, (1, 2)),
        ("Pad Trilu", 1, (0, 2)),
        ("Slice Squeeze Unsqueeze CumSum Split", 1, (0, 1)),
        ("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL2", 1, (0, 1)),
        ("Slice", 2, (1, 4)),
        ("Slice", 3, (0, 1)),
        ("Slice", 4, (1, 2)),
        ("DFT", 2, (1, 2)),
        ("BitShift", 1, (0, 8)),
    )
    for op in ops.split()
}
_TABLES = ("Gather", "GatherElements", "GatherND", "ScatterND", "ScatterElements", "Scatter")
_LOSSES = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
_LENGTHS = {"LSTM": 4, "GRU": 4, "RNN": 4, "ReverseSequence": 1}
_CARRIES = """
    Identity Cast CastLike Reshape Unsqueeze Squeeze Flatten Transpose Slice Expand Clip Tile Split Pad Gather
    GatherElements GatherND Concat Where Dropout Max Min
    """.split()  # noqa: SIM905  (a table of words reads better than a list of quotes)
_COMPUTES = """
    Add Sub Mul Div Mod Neg Abs CumSum ReduceSum ReduceMax ReduceMin Floor Ceil Round Sum Relu
    """.split()  # noqa: SIM905
_MOST = 500  # values that are followed


@dataclass
class _Found:
    spans: list[Span]
    bounded: bool = False
    steers: bool = False
    reshapes: int | None = None  # how many dims a Reshape to it has to bring into place


def ranged(inputs: Sequence[Input], model: ir.Model, shapes: Mapping[ir.Value, Shape | None]) -> list[Input]:
    """The inputs with the range of their integers, at the sizes that `shapes` tells of inner values."""
    values = {value.name: value for value in model.graph.inputs}
    return [
        _ranged(one, values[one.name], model, shapes) if one.kind.is_integer() and one.name in values else one
        for one in inputs
    ]


def _ranged(one: Input, value: ir.Value, model: ir.Model, shapes: Mapping[ir.Value, Shape | None]) -> Input:
    found = _Follow(model, shapes)(value)
    one = replace(one, reshapes=found.reshapes, steers=found.steers)
    if found.reshapes is not None:
        return replace(one, span=None, free=False)
    if found.spans:
        return replace(one, span=min(found.spans, key=lambda span: span[1]), free=False)
    return replace(one, span=None, free=not found.bounded)


class _Follow:
    def __init__(self, model: ir.Model, shapes: Mapping[ir.Value, Shape | None]) -> None:
        self.model, self.shapes = model, shapes

    def __call__(self, value: ir.Value) -> _Found:
        """Every use of a value, and of what carries it on or is computed from it."""
        found = _Found([])
        waiting, seen = [(value, True)], set[tuple[ir.Value, bool]]()
        while waiting and len(seen) < _MOST:
            current, direct = waiting.pop()
            if (current, direct) in seen:
                continue
            seen.add((current, direct))
            for node, place in current.uses():
                if (span := self._span(node, place)) is not None:
                    if direct:
                        found.spans.append(span)
                        found.reshapes = self._reshaped(node) or found.reshapes
                        found.steers |= (node.op_type, place) in _ARGUMENTS
                    found.bounded = True
                waiting += ((v, direct and carried) for v, carried in self._onwards(node, place))
        return found

    def _span(self, node: ir.Node, place: int) -> Span | None:
        if node.domain not in STANDARD:
            return None
        if node.op_type in _TABLES and place == 1:
            return self._rows(node)
        if node.op_type == "OneHot" and place == 0:
            return 0, self._depth(node)
        if node.op_type in _LOSSES and place == 1:
            return 0, max(self._size(node.inputs[0], 1) or 1, 1)
        if _LENGTHS.get(node.op_type) == place:
            axis = attribute(node, "time_axis", 0) if node.op_type == "ReverseSequence" else 0
            axis = 1 if attribute(node, "layout", 0) else axis
            return 1, (self._size(node.inputs[0], axis) or 1) + 1
        return _ARGUMENTS.get((node.op_type, place))

    def _reshaped(self, node: ir.Node) -> int | None:
        if node.op_type != "Reshape" or attribute(node, "allowzero", 0):
            return None
        shape = self._shape(node.inputs[0])
        return None if shape is None else len(shape)

    def _onwards(self, node: ir.Node, place: int) -> list[tuple[ir.Value, bool]]:
        """(values that a use leads to, whether they hold the same integers)."""
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            return [(function.inputs[place], True)] if place < len(function.inputs) else []
        if node.domain not in STANDARD:
            return []
        whole = node.op_type in ("Concat", "Max", "Min") or (node.op_type == "Where" and place > 0)
        if node.op_type in _CARRIES and (place == 0 or whole):
            return [(v, node.op_type != "Where" or place > 0) for v in node.outputs]
        return [(v, False) for v in node.outputs] if node.op_type in _COMPUTES else []

    def _rows(self, node: ir.Node) -> Span | None:
        axis = 0 if node.op_type in ("GatherND", "ScatterND") else attribute(node, "axis", 0)
        size = self._size(node.inputs[0], axis)
        if node.op_type in ("GatherND", "ScatterND"):
            shape = self._shape(node.inputs[0])
            size = min((d for d in shape or () if isinstance(d, int)), default=None)
        return None if size is None else (0, max(size, 1))

    def _depth(self, node: ir.Node) -> int:
        stored = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
        return max(int(stored.numpy().reshape(-1)[0]), 1) if stored is not None and stored.size == 1 else 2

    def _size(self, value: ir.Value | None, axis: int) -> int | None:
        shape = self._shape(value)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        found = shape[axis]
        return found if isinstance(found, int) else None

    def _shape(self, value: ir.Value | None) -> Shape | None:
        if value is None:
            return None
        if (known := self.shapes.get(value)) is not None:
            return known
        if value.const_value is not None:
            return dims(value.const_value)
        return None if value.shape is None else tuple(d if isinstance(d, int) else "?" for d in value.shape)
