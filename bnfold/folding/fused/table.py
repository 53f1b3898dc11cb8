"""The table of patterns: subgraphs that runtimes fuse. One row a subgraph; more rows than the operators that
runtimes have, since exporters write the same function in several ways.

The forms are those that the graph optimisers of onnxruntime (GeluFusion, FastGeluFusion, QuickGeluFusion,
LayerNormFusion, SimplifiedLayerNormFusion, AttentionFusion), OpenVINO (GeluFusion, SwishFusion,
HSwishFusion, SoftPlusFusion, MVNFusion, RMSFusion) and OpenCV (its ONNX graph simplifier) look for, and those
that TensorRT's documentation names. Products and sums stand in any order and association here, which takes in
the forms that one runtime knows and another does not.

Not in the table, because folding them costs no runtime a fused operator: the scale of attention without a
mask (its product of matrices takes the scale as a factor, or has none), a hard sigmoid on its own, the scale
and shift of a group norm or of a norm over channels that are not last.
"""

from __future__ import annotations

import math

from ...inference import Shapes
from ...inference.node_arguments import reduced_axes
from ...ir.graph import attribute, ir
from ...records import dataclass
from .terms import ANY, Anything, Either, Node, Number, Product, Sum, Term, Under, Var


@dataclass(frozen=True)
class Pattern:
    """A subgraph that runtimes fuse. `name` is what it computes, `form` how it is written, `runtimes` who
    fuses it."""

    name: str
    form: str
    runtimes: tuple[str, ...]
    term: Term


X = Var("x")
_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBE = 0.044715


def _over_last_axes(node: ir.Node, shapes: Shapes) -> bool:
    """Does a reduction take the last axes, as the norms do that runtimes have an operator for?"""
    if not attribute(node, "keepdims", 1):
        return False
    rank = shapes.rank(node.inputs[0])
    axes = reduced_axes(shapes, node, rank) if rank is not None else None
    return axes is None or rank is None or sorted(axes) == list(range(rank - len(axes), rank))


def _squared(x: Term) -> Term:
    return Either(Node("Pow", x, Number(2)), Product(x, x))


def _clipped(x: Term, low: float, high: float) -> Term:
    return Either(
        Node("Clip", x, where=lambda node, shapes: _clips(node, shapes, low, high)),
        Node("Min", Node("Max", x, Number(low)), Number(high)),
        Node("Min", Node("Relu", x), Number(high)),
    )


def _clips(node: ir.Node, shapes: Shapes, low: float, high: float) -> bool:
    """Are these the bounds of a Clip, attributes before opset 11 and inputs since?"""
    for index, name, meant in ((1, "min", low), (2, "max", high)):
        value = node.inputs[index] if index < len(node.inputs) else None
        array = shapes.constants.array(value)
        found = (
            attribute(node, name) if array is None else float(array.reshape(-1)[0]) if array.size else None
        )
        if found is None or abs(found - meant) > 1e-3:
            return False
    return True


# What tanh is taken of: √(2/π)·(x + 0.044715·x³), written in three ways.
_CUBE = Either(
    Product(X, X, X, number=_TANH_CUBE),
    Product(Node("Pow", X, Number(3)), number=_TANH_CUBE),
    Product(X, Node("Pow", X, Number(2)), number=_TANH_CUBE),
)
_SCALED_CUBE = Either(
    Product(X, X, X, number=_TANH_CUBE * _TANH_SCALE),
    Product(Node("Pow", X, Number(3)), number=_TANH_CUBE * _TANH_SCALE),
)
_ONE_AND_SQUARE = Sum(
    Either(Product(X, X, number=_TANH_CUBE), Product(Node("Pow", X, Number(2)), number=_TANH_CUBE)), number=1
)
_TANH = Node(
    "Tanh",
    Either(
        Product(Sum(X, _CUBE), number=_TANH_SCALE),
        Product(X, _ONE_AND_SQUARE, number=_TANH_SCALE),
        Sum(Product(X, number=_TANH_SCALE), _SCALED_CUBE),
    ),
)
_ERF = Node("Erf", Product(X, number=math.sqrt(0.5)))


def _gelu(gate: Term) -> Term:
    """0.5·x·(1 + gate), the half multiplied in wherever it may stand."""
    return Either(
        Product(X, Sum(gate, number=1), number=0.5), Product(X, Sum(Product(gate, number=0.5), number=0.5))
    )


# Norms that are written out.
_MEAN = Node("ReduceMean", X)
_CENTRED = Sum(X, Under(_MEAN))


def _mean_square(x: Term, last: bool) -> Term:
    """mean(x²) + ε"""
    mean = Node("ReduceMean", _squared(x), where=_over_last_axes if last else None)
    return Sum(mean, number=ANY)


def _inverse_root(square: Term) -> tuple[Term | Under, ...]:
    """1/√square, as a factor."""
    root = Either(Node("Sqrt", square), Node("Pow", square, Number(0.5)))
    return Under(root), Node("Reciprocal", root), Node("Pow", square, Number(-0.5))


def _normalised(x: Term, last: bool = True) -> Term:
    """x over its root mean square; over the last axes, times a constant where there is one."""
    return Either(*(Product(x, inverse, weight=last) for inverse in _inverse_root(_mean_square(x, last))))


def _normalised_by_weight() -> Term:
    """x·w + (β - mean·w), where w is γ over the deviation: as TensorFlow writes it."""
    weights = (Product(inverse, weight=True) for inverse in _inverse_root(_mean_square(_CENTRED, last=True)))
    return Either(*(Sum(Product(X, w), Under(Product(_MEAN, w)), weight=True) for w in weights))


# Attention whose mask is added, and whose scale stands on the products or on what is multiplied.
_QUERY, _KEY = Var("query"), Var("key")
_SCORES = Either(
    Product(Node("MatMul", _QUERY, _KEY), number=ANY),
    Node("MatMul", Product(_QUERY, number=ANY), Either(Product(_KEY, number=ANY), _KEY)),
    Node("MatMul", _QUERY, Product(_KEY, number=ANY)),
)


def _masked(scores: Term, mask: Term) -> Term:
    """Scores with a mask added, or chosen by one; windows put a reshape behind it."""
    masked = Either(
        Sum(scores, mask),
        Sum(scores, weight=True),
        Node("Where", Anything(), scores, Anything()),
        Node("Where", Anything(), Anything(), scores),
    )
    return Either(masked, Node("Reshape", masked))


_ONCE = _masked(_SCORES, Var("mask"))
_MASKED = Either(_ONCE, _masked(_ONCE, Var("second mask")))
_HEADS = Either(Node("Reshape", Node("Slice", X)), Node("Slice", X))

ORT, OPENVINO, OPENCV, TENSORRT = "onnxruntime", "OpenVINO", "OpenCV", "TensorRT"
_ALL = (ORT, OPENVINO, OPENCV, TENSORRT)

PATTERNS: tuple[Pattern, ...] = (
    Pattern("GELU", "0.5·x·(1 + erf(x/√2))", _ALL, _gelu(_ERF)),
    Pattern("GELU, tanh form", "0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))", _ALL, _gelu(_TANH)),
    Pattern(
        "Swish, QuickGELU",
        "x·sigmoid(c·x)",
        (ORT, OPENVINO, TENSORRT),
        Product(X, Node("Sigmoid", Product(X, number=ANY))),
    ),
    Pattern(
        "Swish, written out",
        "x / (1 + exp(-c·x))",
        (OPENVINO,),
        Product(X, Under(Sum(Node("Exp", Either(Node("Neg", X), Product(X, number=ANY))), number=1))),
    ),
    Pattern(
        "HardSwish",
        "x·clip(x + 3, 0, 6)/6",
        (OPENVINO, OPENCV, TENSORRT),
        Either(
            Product(X, _clipped(Sum(X, number=3), 0, 6), number=1 / 6),
            Product(X, _clipped(Sum(Product(X, number=1 / 6), number=0.5), 0, 1)),
        ),
    ),
    Pattern("Softplus", "log(1 + exp(x))", (OPENVINO, OPENCV), Node("Log", Sum(Node("Exp", X), number=1))),
    Pattern(
        "LayerNorm",
        "γ·(x - mean(x))/√(mean((x - mean(x))²) + ε) + β, means over the last axes",
        _ALL,
        Either(_normalised(_CENTRED), Sum(_normalised(_CENTRED), weight=True), _normalised_by_weight()),
    ),
    Pattern(
        "RMSNorm",
        "γ·x/√(mean(x²) + ε), the mean over the last axes",
        (ORT, OPENVINO, TENSORRT),
        _normalised(X),
    ),
    Pattern(
        "mean-variance normalisation",
        "(x - mean(x))/√(mean((x - mean(x))²) + ε), means over any axes",
        (OPENVINO, TENSORRT),
        Either(_normalised(_CENTRED, last=False), _normalised(X, last=False)),
    ),
    Pattern(
        "attention with a mask",
        "softmax(c·(q·k) + mask)",
        (ORT, OPENVINO, TENSORRT),
        Node("Softmax", _MASKED),
    ),
    Pattern(
        "attention of one projection",
        "softmax((q/c)·k), q a slice of the projection, its heads apart and transposed",
        (OPENCV,),
        Node("Softmax", Node("MatMul", Node("Div", Node("Transpose", _HEADS), Anything()), _KEY)),
    ),
)
