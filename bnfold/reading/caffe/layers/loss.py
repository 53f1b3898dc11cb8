"""Losses and accuracies, as Caffe computes them when the label is an input; and what stands for them when
there is none.

Labels are floats, truncated. A label picks its prediction by its place in memory, as Caffe does: the flat
index item dim + label inner + position, so that a label out of range reads a neighbour (held inside the
blob).
"""

from __future__ import annotations

import math

import numpy as np

from ..blob import shown
from ..layer import BOOL, FLOAT, INT64, Layer, Value, dims
from ..registry import ENGINE, dropped, layer
from .activation import affine
from .statistics import softmax

SMALLEST = (
    1.1754943508222875e-38  # FLT_MIN: the smallest probability that SoftmaxWithLoss takes a logarithm of
)
THRESHOLD = 1e-20  # the same for MultinomialLogisticLoss and InfogainLoss

dropped(
    "MultiBoxLoss",
    "DetectionEvaluate",
    "SegmentationEvaluate",
    "SmoothL1Loss",
    "BoxAnnotatorOHEM",
    "CenterLoss",
    "TripletLoss",
    "MarginInnerProduct",
    "SegAccuracy",
    "MultiAccuracy",
    "UniqueLabel",
    "MatWrite",
    "HDF5Output",
    "LossWeight",
    "KnowledgeDistillation",
    "EvalDetection",
    about="it serves training or evaluation",
)
dropped(
    "Yolov3DetectionOutput",
    "YoloDetectionOutput",
    "Yolov3",
    "YoloSeg",
    "RegionLoss",
    "Region",
    "RegionOutput",
    "DetectionOutputEvaluate",
    about="it is post-processing, and what it reads becomes an output",
    origin="mobilenet-yolo",
)


def _batch(at: Layer, x: Value) -> int:
    """The size of axis 0, by which losses are averaged."""
    if not dims(x):
        raise at.malformed("a bottom without axes", "a batch on axis 0")
    return dims(x)[0]


def _split(at: Layer, x: Value, axis: int) -> tuple[int, int, int]:
    """(outer, classes, inner) of a prediction."""
    shape = dims(x)
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _labels(at: Layer, label: Value, outer: int, inner: int) -> Value:
    """Labels as whole numbers, (outer, inner)."""
    if math.prod(dims(label)) != outer * inner:
        raise at.malformed(
            f"labels of shape {shown(dims(label))} for {outer * inner} predictions",
            "one label for each prediction",
        )
    return at.cast(at.reshape(label, (outer, inner)), INT64)


def _picked(at: Layer, x: Value, labels: Value, outer: int, classes: int, inner: int) -> Value:
    """x[item, label, position], (outer, inner)."""
    at.limit_constant(outer, inner)
    base = np.arange(outer)[:, None] * classes * inner + np.arange(inner)[None, :]
    at_label = at.op("Mul", labels, at.constant(np.int64(inner), "inner", np.int64)) if inner > 1 else labels
    index = at.op("Add", at_label, at.constant(base, "base"))
    limits = (
        at.constant(np.int64(0), "low", np.int64),
        at.constant(np.int64(outer * classes * inner - 1), "high", np.int64),
    )
    flat = at.op(
        "Reshape", x, at.constant(np.array([-1], np.int64), "flat"), shape=(outer * classes * inner,)
    )
    return at.op("Gather", flat, at.op("Clip", index, *limits), shape=(outer, inner), axis=0)


def _counted(at: Layer, labels: Value, ignore_label: int | None) -> Value | None:
    """1 where a label counts, 0 where it is the ignored one; None when all count."""
    if ignore_label is None:
        return None
    ignored = at.op("Equal", labels, at.constant(np.int64(ignore_label), "ignored", np.int64), dtype=BOOL)
    return at.cast(at.op("Not", ignored), FLOAT)


def _total(at: Layer, values: Value) -> Value:
    """The sum of everything, without dimensions."""
    return at.reduce("ReduceSum", values, list(range(len(dims(values)))), keep=False)


def _averaged(at: Layer, values: Value, counts: Value | None, mode: str, full: int, batch: int) -> Value:
    """The sum of values that count, divided as loss_param says."""
    total = _total(at, at.op("Mul", values, counts) if counts is not None else values)
    if mode == "VALID" and counts is not None:
        return at.op("Div", total, at.op("Max", _total(at, counts), at.scalar(1.0, "one")))
    return affine(at, total, 1.0 / {"FULL": full, "VALID": full, "BATCH_SIZE": batch, "NONE": 1}[mode], 0.0)


def _mode(at: Layer, default: str) -> str:
    """How a loss is divided: `normalization`, or the old `normalize`."""
    given = at.node.get("loss_param")
    if given is None or given.has("normalization") or not given.has("normalize"):
        return (
            str(given.get("normalization")) if given is not None and given.has("normalization") else default
        )
    return "VALID" if given.get("normalize") else "BATCH_SIZE"


def _plain(
    at: Layer,
    label_smoothing: float,
    class_weighting: tuple[float, ...],
    weight_by_label_freqs: bool,
    pre_fixed_normalizer: float,
) -> None:
    for field, value, usual in (
        ("label_smoothing", label_smoothing, 0.0),
        ("class_weighting", class_weighting, ()),
        ("weight_by_label_freqs", weight_by_label_freqs, False),
        ("pre_fixed_normalizer", pre_fixed_normalizer, 1.0),
    ):
        at.expect(field, value, usual)


LOSS = {"normalization": "read with its old form", "normalize": "read with its new form"}


def _probabilities(at: Layer, x: Value, *, axis: int = 1) -> list[Value]:
    """The softmax that stands for the loss at inference"""
    return [softmax(at, x, axis=axis)] * max(1, len(at.tops))


@layer(
    "SoftmaxWithLoss",
    param=("softmax_param", "loss_param"),
    role="loss",
    deploy=_probabilities,
    ignoring=LOSS | {"engine": ENGINE},
)
def softmax_with_loss(
    at: Layer,
    x: Value,
    label: Value,
    *,
    axis: int = 1,
    ignore_label: int | None = None,
    label_smoothing: float = 0.0,
    class_weighting: tuple[float, ...] = (),
    weight_by_label_freqs: bool = False,
    pre_fixed_normalizer: float = 1.0,
) -> list[Value]:
    """-log of the label's probability, averaged; without a label, and as a second top, the softmax itself"""
    _plain(at, label_smoothing, class_weighting, weight_by_label_freqs, pre_fixed_normalizer)
    where = at.axis(axis, len(dims(x)), ("softmax_param", "axis"))
    outer, classes, inner = _split(at, x, where)
    labels = _labels(at, label, outer, inner)
    probabilities = at.op("Softmax", x, axis=where)
    picked = _picked(at, probabilities, labels, outer, classes, inner)
    losses = at.op("Neg", at.op("Log", at.op("Max", picked, at.scalar(SMALLEST, "smallest"))))
    return [
        _averaged(at, losses, _counted(at, labels, ignore_label), _mode(at, "VALID"), outer * inner, outer),
        probabilities,
    ]


def _sigmoid(at: Layer, x: Value) -> Value:
    """The sigmoid that stands for the loss at inference"""
    return at.op("Sigmoid", x)


@layer("SigmoidCrossEntropyLoss", param="loss_param", role="loss", deploy=_sigmoid, ignoring=LOSS)
def sigmoid_cross_entropy_loss(
    at: Layer,
    x: Value,
    target: Value,
    *,
    ignore_label: int | None = None,
    label_smoothing: float = 0.0,
    class_weighting: tuple[float, ...] = (),
    weight_by_label_freqs: bool = False,
    pre_fixed_normalizer: float = 1.0,
) -> list[Value]:
    """log(1 + exp(x)) - x target, averaged over the batch; without a target the sigmoid itself"""
    _plain(at, label_smoothing, class_weighting, weight_by_label_freqs, pre_fixed_normalizer)
    target = _alike(at, x, target)
    losses = at.op("Sub", at.op("Softplus", x), at.op("Mul", x, target))
    counts = _counted(at, at.cast(target, INT64), ignore_label)
    return [_averaged(at, losses, counts, _mode(at, "BATCH_SIZE"), math.prod(dims(x)), _batch(at, x))]


def _alike(at: Layer, x: Value, other: Value) -> Value:
    """The other bottom in the shape of the first; Caffe asks for as many values."""
    if math.prod(dims(x)) != math.prod(dims(other)):
        raise at.malformed(
            f"bottoms of shapes {shown(dims(x))} and {shown(dims(other))}", "the same number of values"
        )
    return at.reshape(other, dims(x))


@layer("EuclideanLoss", role="loss")
def euclidean_loss(at: Layer, x: Value, target: Value) -> Value:
    """Half the squared distance, averaged over the batch"""
    return affine(at, _squares(at, at.op("Sub", x, _alike(at, x, target))), 0.5 / _batch(at, x), 0.0)


def _squares(at: Layer, x: Value) -> Value:
    return _total(at, at.op("Mul", x, x))


@layer("MultinomialLogisticLoss", role="loss")
def multinomial_logistic_loss(at: Layer, x: Value, label: Value) -> Value:
    """-log of the label's probability, averaged over the batch"""
    batch = _batch(at, x)
    classes = math.prod(dims(x)[1:])
    picked = _picked(at, x, _labels(at, label, batch, 1), batch, classes, 1)
    return affine(
        at,
        _total(at, at.op("Log", at.op("Max", picked, at.scalar(THRESHOLD, "smallest")))),
        -1.0 / batch,
        0.0,
    )


@layer("HingeLoss", param="hinge_loss_param", role="loss")
def hinge_loss(at: Layer, x: Value, label: Value, *, norm: str = "L1") -> Value:
    """max(0, 1 + x), with the label's sign turned, summed or squared, averaged over the batch"""
    batch = _batch(at, x)
    classes = math.prod(dims(x)[1:])
    labels = _labels(at, label, batch, 1)
    at.limit_constant(classes)
    own = at.op(
        "Equal",
        labels,
        at.constant(np.arange(classes)[None, :], "classes"),
        shape=(batch, classes),
        dtype=BOOL,
    )
    scores = at.reshape(x, (batch, classes))
    margins = at.op(
        "Relu",
        at.op(
            "Add",
            at.op("Where", own, at.op("Neg", scores), scores, shape=(batch, classes), dtype=FLOAT),
            at.scalar(1.0, "one"),
        ),
    )
    return affine(at, _squares(at, margins) if norm == "L2" else _total(at, margins), 1.0 / batch, 0.0)


@layer("ContrastiveLoss", param="contrastive_loss_param", role="loss")
def contrastive_loss(
    at: Layer, a: Value, b: Value, similar: Value, *, margin: float = 1.0, legacy_version: bool = False
) -> Value:
    """Squared distance of similar pairs, squared shortfall from the margin of others; half of it, averaged
    over the batch"""
    batch = dims(a)[0]
    difference = at.op("Sub", a, _alike(at, a, b))
    distance = at.reduce(
        "ReduceSum", at.op("Mul", difference, difference), list(range(1, len(dims(a)))), keep=False
    )
    if legacy_version:
        other = at.op("Relu", at.op("Sub", at.scalar(margin, "margin"), distance, shape=(batch,)))
    else:
        short = at.op(
            "Relu", at.op("Sub", at.scalar(margin, "margin"), at.op("Sqrt", distance), shape=(batch,))
        )
        other = at.op("Mul", short, short)
    together = at.cast(at.cast(at.reshape(similar, (batch,)), INT64), BOOL)
    return affine(at, _total(at, at.op("Where", together, distance, other, dtype=FLOAT)), 0.5 / batch, 0.0)


@layer(
    "InfogainLoss",
    param=("infogain_loss_param", "loss_param"),
    role="loss",
    deploy=_probabilities,
    ignoring=LOSS,
)
def infogain_loss(
    at: Layer,
    x: Value,
    label: Value,
    gains: Value | None = None,
    *,
    axis: int = 1,
    source: str | None = None,
    ignore_label: int | None = None,
    label_smoothing: float = 0.0,
    class_weighting: tuple[float, ...] = (),
    weight_by_label_freqs: bool = False,
    pre_fixed_normalizer: float = 1.0,
) -> list[Value]:
    """-sum of gains[label] log of the probabilities, averaged; without a label the softmax itself"""
    _plain(at, label_smoothing, class_weighting, weight_by_label_freqs, pre_fixed_normalizer)
    if gains is None:
        raise at.unsupported(f"the gains are in another file ('{source}')", "gains as a third bottom")
    where = at.axis(axis, len(dims(x)), ("infogain_loss_param", "axis"))
    outer, classes, inner = _split(at, x, where)
    labels = _labels(at, label, outer, inner)
    logs = at.op("Log", at.op("Max", at.op("Softmax", x, axis=where), at.scalar(THRESHOLD, "smallest")))
    rows = at.transpose(at.reshape(logs, (outer, classes, inner)), [0, 2, 1])
    table = at.reshape(gains, (classes, classes))
    picked = at.op(
        "Gather",
        table,
        at.indices(at.reshape(label, (outer, inner)), classes),
        shape=(outer, inner, classes),
        axis=0,
    )
    losses = at.op("Neg", at.reduce("ReduceSum", at.op("Mul", picked, rows), [2], keep=False))
    return [
        _averaged(at, losses, _counted(at, labels, ignore_label), _mode(at, "VALID"), outer * inner, outer)
    ]


@layer("Accuracy", param="accuracy_param", role="loss")
def accuracy(
    at: Layer, x: Value, label: Value, *, top_k: int = 1, axis: int = 1, ignore_label: int | None = None
) -> Value:
    """How often the label is among the top k; equal scores count against it"""
    if len(at.tops) > 1:
        raise at.unsupported("accuracies of single classes (a second top)")
    where = at.axis(axis, len(dims(x)), ("accuracy_param", "axis"))
    outer, classes, inner = _split(at, x, where)
    labels = _labels(at, label, outer, inner)
    own = at.reshape(_picked(at, x, labels, outer, classes, inner), (outer, 1, inner))
    better = at.op("GreaterOrEqual", at.reshape(x, (outer, classes, inner)), own, dtype=BOOL)
    rank = at.reduce("ReduceSum", at.cast(better, FLOAT), [1], keep=False)
    right = at.cast(at.op("LessOrEqual", rank, at.scalar(top_k, "top_k"), dtype=BOOL), FLOAT)
    counts = _counted(at, labels, ignore_label)
    if counts is None:
        return affine(at, _total(at, right), 1.0 / (outer * inner), 0.0)
    return at.op("Div", _total(at, at.op("Mul", right, counts)), _total(at, counts))
