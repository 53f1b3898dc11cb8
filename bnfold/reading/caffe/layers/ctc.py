"""Labels of a sequence (connectionist temporal classification): CTCGreedyDecoder."""

from __future__ import annotations

import numpy as np

from ..blob import shown
from ..layer import BOOL, FLOAT, INT64, Layer, Value, dims
from ..registry import layer


@layer("CTCGreedyDecoder", param="ctc_decoder_param", origin="textboxes++, openvino")
def ctc_greedy_decoder(
    at: Layer,
    x: Value,
    marks: Value | None = None,
    *labels: Value,
    blank_index: int = -1,
    ctc_merge_repeated: bool = True,
) -> list[Value]:
    """The likeliest class of each step of (T, N, classes), without blanks and, on demand, repetitions:
    (N, T, 1, 1), filled up with -1. A second top is minus the sum of the largest values of the steps. Marks
    (T, N) are 0 where a new sequence begins, which ends the one before it"""
    if labels:
        raise at.unsupported(
            "an accuracy against labels (a third bottom)",
            "bottoms for the values and the marks of sequences",
            "remove the third bottom and the last top from the layer",
        )
    if len(at.tops) > 2:
        raise at.malformed(f"{len(at.tops)} tops", "a top for the labels, and one for the scores")
    steps, items, classes = at.rank(x, 3)
    at.limit_constant(steps, steps)
    best = at.op("ArgMax", x, shape=(steps, items), dtype=INT64, axis=2, keepdims=0)
    inside = None if marks is None else _inside(at, marks, (steps, items))
    blank = at.constant(np.int64(blank_index if blank_index >= 0 else classes - 1), "blank", np.int64)
    told = at.op("Not", at.op("Equal", best, blank, dtype=BOOL))
    if ctc_merge_repeated and steps > 1:
        told = at.op("And", told, _new(at, best, (steps, items)))
    if inside is not None:
        told = at.op("And", told, inside)
    tops = [_packed(at, best, told)]
    if len(at.tops) == 2:
        tops.append(_score(at, x, inside))
    return tops


def _inside(at: Layer, marks: Value, shape: tuple[int, int]) -> Value:
    """Which steps come before the second sequence of a column; the mark of the first step says nothing."""
    if dims(marks)[:2] != shape or any(d != 1 for d in dims(marks)[2:]):
        raise at.malformed(
            f"marks of shape {shown(dims(marks))}", f"{shown(shape)}, a mark for each step and item"
        )
    begins = at.op("Equal", at.reshape(marks, shape), at.scalar(0.0, "begin"), dtype=BOOL)
    later = np.ones((shape[0], 1), np.bool_)
    later[0] = False
    begins = at.op("And", begins, at.constant(later, "later", np.bool_))
    count = at.op("CumSum", at.cast(begins, INT64), at.constant(np.int64(0), "axis", np.int64))
    return at.op("Equal", count, at.constant(np.int64(0), "none", np.int64), dtype=BOOL)


def _new(at: Layer, best: Value, shape: tuple[int, int]) -> Value:
    """Which steps have another class than the one before; the first has."""
    steps, items = shape
    before = at.op(
        "Concat",
        at.constant(np.full((1, items), -1, np.int64), "before", np.int64),
        at.cut(best, 0, 0, steps - 1),
        shape=shape,
        dtype=INT64,
        axis=0,
    )
    return at.op("Not", at.op("Equal", best, before, dtype=BOOL))


def _packed(at: Layer, best: Value, told: Value) -> Value:
    """(N, T, 1, 1): what each column tells, moved to the front, and -1 behind it."""
    steps, items = dims(best)
    zero, one = (at.constant(np.int64(v), what, np.int64) for v, what in ((0, "zero"), (1, "one")))
    place = at.op("CumSum", at.cast(told, INT64), zero)  # 1 for the first that is told
    place = at.reshape(at.op("Where", told, place, zero, dtype=INT64), (steps, items, 1))
    places = at.constant(np.arange(1, steps + 1, dtype=np.int64), "places", np.int64)
    full = (steps, items, steps)
    here = at.op("Equal", place, places, shape=full, dtype=BOOL)
    above = at.reshape(at.op("Add", best, one), (steps, items, 1))  # so that nothing is 0, and ends as -1
    found = at.reduce(
        "ReduceSum", at.op("Where", here, above, zero, shape=full, dtype=INT64), [0], keep=False
    )
    labels = at.cast(at.op("Sub", found, one), FLOAT)
    return at.reshape(labels, (items, steps, 1, 1))


def _score(at: Layer, x: Value, inside: Value | None) -> Value:
    """(N, 1, 1, 1): minus the sum of the largest value of each step."""
    steps, items, _ = dims(x)
    largest = at.reduce("ReduceMax", x, [2], keep=False)
    if inside is not None:
        largest = at.op(
            "Where", inside, largest, at.scalar(0.0, "outside"), shape=(steps, items), dtype=FLOAT
        )
    return at.reshape(at.op("Neg", at.reduce("ReduceSum", largest, [0], keep=False)), (items, 1, 1, 1))
