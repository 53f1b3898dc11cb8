"""OPERATORS: one row an operator of the standard ONNX domain, one column a fact that several rooms need.

Rooms ask `op(node).jumps`, or `names("jumps")` for the set. Functions that say how an operator behaves (its
shape rule, its float64 kernel, how a map passes it) stay in their rooms, in tables whose keys are names of
rows here. An operator of another domain has the row UNKNOWN, which claims nothing.

tests/operators/test_table.py holds the columns against onnx's schemas.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from ..records import dataclass

if TYPE_CHECKING:
    from ..ir.graph import ir


class Dtype(Enum):
    """Of which element type the first output is."""

    ALL = "the type that all inputs have"
    FIRST = "the type of the first input; the other inputs may have others"
    SECOND = "the type of the second input"
    BOOL = "bool"
    INT64 = "int64"
    ATTRIBUTE = "the type that the attribute `to` or `dtype` names"
    OTHER = "none of these, or not the same in every version"


class ShapeRule(Enum):
    """How the shape of the first output follows from those of the inputs, where operators share a rule."""

    SAME = "as the first input"
    BROADCAST = "the inputs broadcast"
    REDUCE = "without some axes, or with ones in their place"
    POOL = "windows over the spatial axes"
    GLOBAL_POOL = "one position is left of every spatial axis"
    OWN = "by a rule of its own, or unknown"


@dataclass(frozen=True, slots=True)
class Op:
    """What is known of one operator. A column that a row leaves out claims the least.

    dtype           of which element type the first output is
    shape           the rule of the first output's shape
    linear          linear in each of the operands that it multiplies, with at most a bias added
    bias            the input of a linear operator that is only added
    weighted        its inputs from the second on are weights, which a run reads with one rounding
    parametric      constants among its inputs are parameters that a fold may have rewritten, and so rounded
    streams_weight  its float64 kernel takes a large second input as it is stored, and widens it part by part
    exact           every implementation rounds its results alike, as IEEE 754 says
    selects         all numbers that it gives are numbers that it was given, or what it says about them
    any_size        it means the same at every size of the axes behind the second
    affine          affine in all its inputs of run time together
    multiaffine     affine in each of its inputs while the others are constant (a quotient: in the first)
    plain_integers  integers among its inputs are numbers, and no sizes, axes or places
    plain_first     those of its first input are
    view            every element of its input appears once in its output, in row-major or transposed order
    carries_index   integers that index a table stay indices of that table behind it
    metadata        inputs of which only the shape or the element type is read
    variadic        it has as many outputs as the node names
    random          each engine draws its own numbers
    jumps           a difference in the last bit of an input may change an output by a whole step
    saturates       its output is bounded, so that far out a difference of its input hardly shows
    axis            what its attribute `axis` is where the node does not say
    misread         below this opset onnx's reference implementation computes something else than the operator
    """

    dtype: Dtype = Dtype.OTHER
    shape: ShapeRule = ShapeRule.OWN
    _: KW_ONLY
    linear: bool = False
    bias: int | None = None
    weighted: bool = False
    parametric: bool = False
    streams_weight: bool = False
    exact: bool = False
    selects: bool = False
    any_size: bool = False
    affine: bool = False
    multiaffine: bool = False
    plain_integers: bool = False
    plain_first: bool = False
    view: bool = False
    carries_index: bool = False
    metadata: tuple[int, ...] = ()
    variadic: bool = False
    random: bool = False
    jumps: bool = False
    saturates: bool = False
    axis: int = 0
    misread: int = 0


ALL, FIRST, SECOND, OTHER = Dtype.ALL, Dtype.FIRST, Dtype.SECOND, Dtype.OTHER
BOOL, INT64, ATTRIBUTE = Dtype.BOOL, Dtype.INT64, Dtype.ATTRIBUTE
SAME, BROADCAST, REDUCE = ShapeRule.SAME, ShapeRule.BROADCAST, ShapeRule.REDUCE
POOL, GLOBAL_POOL, OWN = ShapeRule.POOL, ShapeRule.GLOBAL_POOL, ShapeRule.OWN
_compare = partial(Op, BOOL, BROADCAST, jumps=True, exact=True, selects=True, plain_integers=True)
_factor = partial(Op, ALL, BROADCAST, parametric=True, exact=True, any_size=True)
_logic = partial(Op, BOOL, BROADCAST, exact=True, plain_integers=True)
_moves = partial(Op, exact=True, selects=True, affine=True)
_linear = partial(Op, ALL, linear=True, weighted=True, parametric=True)

# fmt: off
OPERATORS: dict[str, Op] = {
    # Linear operators: what holds the maps that are folded.
    "Conv":                      _linear(bias=2, streams_weight=True, any_size=True, multiaffine=True),
    "ConvTranspose":             _linear(bias=2, streams_weight=True, multiaffine=True),
    "DeformConv":                _linear(bias=3),
    "Gemm":                      _linear(bias=2, streams_weight=True, multiaffine=True, plain_integers=True),
    "MatMul":                    _linear(streams_weight=True, multiaffine=True, plain_integers=True),
    "Einsum":                    _linear(multiaffine=True, plain_integers=True),

    # Sums and products: with a constant they are affine, and hold one.
    "Add":                       _factor(affine=True, plain_integers=True),
    "Sub":                       _factor(affine=True, plain_integers=True),
    "Mul":                       _factor(multiaffine=True, plain_integers=True),
    "Div":                       _factor(multiaffine=True, plain_first=True),
    "Sum":                       Op(ALL, BROADCAST, parametric=True, any_size=True, affine=True, plain_integers=True),
    "Neg":                       Op(ALL, SAME, exact=True, selects=True, any_size=True, affine=True, plain_integers=True),

    # Other operators whose inputs broadcast.
    "Mean":                      Op(ALL, BROADCAST, parametric=True, any_size=True, affine=True),
    "Max":                       Op(ALL, BROADCAST, exact=True, selects=True, plain_integers=True),
    "Min":                       Op(ALL, BROADCAST, exact=True, selects=True, plain_integers=True),
    "Pow":                       Op(FIRST, BROADCAST, any_size=True, plain_first=True),
    "Mod":                       Op(ALL, BROADCAST, jumps=True, exact=True, plain_integers=True),
    "Where":                     Op(SECOND, BROADCAST, exact=True, selects=True, plain_integers=True),
    "Equal":                     _compare(),
    "Greater":                   _compare(),
    "GreaterOrEqual":            _compare(),
    "Less":                      _compare(),
    "LessOrEqual":               _compare(),
    "And":                       Op(BOOL, BROADCAST, exact=True, plain_integers=True),
    "Or":                        Op(BOOL, BROADCAST, exact=True, plain_integers=True),
    "Xor":                       Op(BOOL, BROADCAST, exact=True, plain_integers=True),
    "BitShift":                  Op(ALL, BROADCAST, exact=True, plain_first=True),
    "BitwiseAnd":                Op(ALL, BROADCAST, exact=True, plain_integers=True),
    "BitwiseOr":                 Op(ALL, BROADCAST, exact=True, plain_integers=True),
    "BitwiseXor":                Op(ALL, BROADCAST, exact=True, plain_integers=True),
    "StringConcat":              Op(ALL, BROADCAST),

    # Element by element.
    "Relu":                      Op(ALL, SAME, exact=True, selects=True, any_size=True, plain_integers=True),
    "LeakyRelu":                 Op(ALL, SAME, any_size=True),
    "PRelu":                     Op(ALL, BROADCAST, parametric=True, any_size=True),
    "ThresholdedRelu":           Op(ALL, SAME, jumps=True),
    "Elu":                       Op(ALL, SAME, any_size=True),
    "Selu":                      Op(ALL, SAME, any_size=True),
    "Celu":                      Op(ALL, SAME),
    "Gelu":                      Op(ALL, SAME, any_size=True),
    "Mish":                      Op(ALL, SAME, any_size=True),
    "Swish":                     Op(ALL, SAME, any_size=True),
    "SwiGLU":                    Op(ALL, SAME),
    "HardSwish":                 Op(ALL, SAME, any_size=True),
    "Softplus":                  Op(ALL, SAME, any_size=True),
    "Softsign":                  Op(ALL, SAME, saturates=True),
    "Sigmoid":                   Op(ALL, SAME, saturates=True, any_size=True),
    "HardSigmoid":               Op(ALL, SAME, saturates=True, any_size=True),
    "Tanh":                      Op(ALL, SAME, saturates=True, any_size=True),
    "Erf":                       Op(ALL, SAME, saturates=True, any_size=True),
    "Clip":                      Op(ALL, SAME, carries_index=True, saturates=True, exact=True, selects=True, any_size=True, plain_integers=True),
    "Shrink":                    Op(ALL, SAME, jumps=True),
    "Abs":                       Op(ALL, SAME, exact=True, selects=True, any_size=True, plain_integers=True),
    "Sqrt":                      Op(ALL, SAME, exact=True, any_size=True),
    "Reciprocal":                Op(ALL, SAME, exact=True),
    "Exp":                       Op(ALL, SAME, any_size=True),
    "Log":                       Op(ALL, SAME),
    "Sin":                       Op(ALL, SAME),
    "Cos":                       Op(ALL, SAME),
    "Tan":                       Op(ALL, SAME),
    "Asin":                      Op(ALL, SAME),
    "Acos":                      Op(ALL, SAME),
    "Atan":                      Op(ALL, SAME, saturates=True),
    "Sinh":                      Op(ALL, SAME),
    "Cosh":                      Op(ALL, SAME),
    "Asinh":                     Op(ALL, SAME),
    "Acosh":                     Op(ALL, SAME),
    "Atanh":                     Op(ALL, SAME),
    "Floor":                     Op(ALL, SAME, jumps=True, exact=True),
    "Ceil":                      Op(ALL, SAME, jumps=True, exact=True),
    "Round":                     Op(ALL, SAME, jumps=True, exact=True),
    "Sign":                      Op(ALL, SAME, jumps=True, saturates=True, exact=True, selects=True, plain_integers=True),
    "IsNaN":                     Op(BOOL, SAME, exact=True, selects=True),
    "IsInf":                     Op(BOOL, SAME, exact=True, selects=True),
    "Not":                       Op(BOOL, SAME, exact=True, plain_integers=True),
    "BitwiseNot":                Op(ALL, SAME, exact=True, plain_integers=True),

    # Between element types. Cast jumps where it gives integers: see verifying/nondeterminism.py.
    "Cast":                      Op(ATTRIBUTE, SAME, carries_index=True, exact=True, any_size=True, plain_integers=True),
    "CastLike":                  Op(SECOND, SAME, metadata=(1,), exact=True, plain_integers=True),
    "BitCast":                   Op(ATTRIBUTE, SAME),
    "QuantizeLinear":            Op(OTHER, SAME, jumps=True, saturates=True, axis=1, exact=True),
    "DynamicQuantizeLinear":     Op(OTHER, SAME, jumps=True),
    "DequantizeLinear":          Op(OTHER, SAME, axis=1, parametric=True, exact=True, plain_integers=True),
    "QLinearConv":               Op(OTHER, jumps=True, saturates=True, plain_integers=True),
    "QLinearMatMul":             Op(OTHER, jumps=True, saturates=True, plain_integers=True),
    "ConvInteger":               Op(OTHER, jumps=True, plain_integers=True),
    "MatMulInteger":             Op(OTHER, jumps=True, plain_integers=True),

    # Normalisations and what they are made of.
    "BatchNormalization":        Op(FIRST, SAME, misread=14, weighted=True, parametric=True, any_size=True, multiaffine=True),
    "InstanceNormalization":     Op(ALL, SAME, parametric=True),
    "LayerNormalization":        Op(ALL, SAME, axis=-1, parametric=True),
    "RMSNormalization":          Op(SECOND, SAME, axis=-1, parametric=True),
    "GroupNormalization":        Op(ALL, SAME, parametric=True),
    "LpNormalization":           Op(ALL, SAME, axis=-1),
    "MeanVarianceNormalization": Op(ALL, SAME),
    "LRN":                       Op(ALL, SAME),
    "Softmax":                   Op(ALL, SAME, misread=13, saturates=True, axis=-1),
    "LogSoftmax":                Op(ALL, SAME, misread=13, axis=-1),
    "Hardmax":                   Op(ALL, SAME, misread=13, jumps=True, saturates=True, axis=-1),
    "Dropout":                   Op(FIRST, SAME),

    # Moving values without computing.
    "Identity":                  Op(ALL, SAME, view=True, carries_index=True, exact=True, selects=True, any_size=True, affine=True),
    "Reshape":                   _moves(FIRST, view=True, carries_index=True),
    "Flatten":                   _moves(ALL, view=True, carries_index=True, axis=1),
    "Squeeze":                   _moves(FIRST, view=True, carries_index=True),
    "Unsqueeze":                 _moves(FIRST, misread=13, view=True, carries_index=True),
    "Transpose":                 _moves(ALL, view=True, carries_index=True),
    "Concat":                    _moves(ALL, carries_index=True, axis=1, any_size=True),
    "Split":                     _moves(FIRST, variadic=True),
    "Slice":                     _moves(FIRST, carries_index=True),
    "Gather":                    Op(FIRST, exact=True, selects=True),
    "GatherElements":            Op(FIRST, exact=True, selects=True),
    "GatherND":                  Op(FIRST, exact=True, selects=True),
    "Expand":                    Op(FIRST, carries_index=True, exact=True, selects=True),
    "Tile":                      Op(FIRST, carries_index=True, exact=True, selects=True),
    "Pad":                       Op(FIRST, exact=True, selects=True),
    "CenterCropPad":             Op(FIRST),
    "DepthToSpace":              Op(ALL, exact=True, selects=True),
    "SpaceToDepth":              Op(ALL, exact=True, selects=True),
    "Col2Im":                    Op(FIRST),
    "Compress":                  Op(FIRST),
    "ReverseSequence":           Op(FIRST, SAME),
    "Trilu":                     Op(FIRST, SAME, exact=True, selects=True),
    "Scatter":                   Op(FIRST, SAME, exact=True, selects=True),
    "ScatterElements":           Op(FIRST, SAME, exact=True, selects=True),
    "ScatterND":                 Op(FIRST, SAME, exact=True, selects=True),
    "TensorScatter":             Op(FIRST, SAME, axis=-2),

    # Windows, and samples between pixels.
    "MaxPool":                   Op(ALL, POOL, any_size=True),
    "AveragePool":               Op(ALL, POOL, any_size=True, affine=True),
    "LpPool":                    Op(ALL, POOL),
    "GlobalMaxPool":             Op(ALL, GLOBAL_POOL, misread=99),
    "GlobalAveragePool":         Op(ALL, GLOBAL_POOL, any_size=True, affine=True),
    "GlobalLpPool":              Op(ALL, GLOBAL_POOL),
    "MaxUnpool":                 Op(FIRST),
    "MaxRoiPool":                Op(ALL, jumps=True),
    "RoiAlign":                  Op(FIRST),
    "Resize":                    Op(FIRST),
    "Upsample":                  Op(FIRST),
    "GridSample":                Op(FIRST),
    "AffineGrid":                Op(FIRST),

    # Reductions, and what looks for an entry.
    "ReduceSum":                 Op(FIRST, REDUCE, affine=True, plain_first=True),
    "ReduceMean":                Op(FIRST, REDUCE, any_size=True, affine=True, plain_first=True),
    "ReduceMax":                 Op(FIRST, REDUCE, exact=True, selects=True, plain_first=True),
    "ReduceMin":                 Op(FIRST, REDUCE, exact=True, selects=True, plain_first=True),
    "ReduceProd":                Op(FIRST, REDUCE, plain_first=True),
    "ReduceL1":                  Op(FIRST, REDUCE, plain_first=True),
    "ReduceL2":                  Op(FIRST, REDUCE, plain_first=True),
    "ReduceSumSquare":           Op(FIRST, REDUCE, plain_first=True),
    "ReduceLogSum":              Op(FIRST, REDUCE),
    "ReduceLogSumExp":           Op(FIRST, REDUCE),
    "CumSum":                    Op(FIRST, SAME, plain_first=True),
    "CumProd":                   Op(FIRST, SAME, plain_first=True),
    "ArgMax":                    Op(INT64, jumps=True, plain_integers=True),
    "ArgMin":                    Op(INT64, jumps=True, plain_integers=True),
    "TopK":                      Op(FIRST, jumps=True, axis=-1, plain_first=True),
    "Unique":                    Op(FIRST, jumps=True),
    "NonZero":                   Op(INT64, jumps=True, exact=True, selects=True),
    "NonMaxSuppression":         Op(INT64, jumps=True),

    # Constants, sizes and counts.
    "Constant":                  Op(OTHER),
    "ConstantOfShape":           Op(OTHER, exact=True, selects=True),
    "Shape":                     Op(INT64, metadata=(0,), exact=True, selects=True),
    "Size":                      Op(INT64, metadata=(0,), exact=True, selects=True),
    "Range":                     Op(ALL, exact=True),
    "OneHot":                    Op(OTHER, axis=-1, exact=True, selects=True),
    "EyeLike":                   Op(ATTRIBUTE, SAME, metadata=(0,), exact=True),
    "BlackmanWindow":            Op(OTHER),
    "HammingWindow":             Op(OTHER),
    "HannWindow":                Op(OTHER),
    "MelWeightMatrix":           Op(OTHER),

    # Random numbers.
    "RandomNormal":              Op(ATTRIBUTE, random=True),
    "RandomNormalLike":          Op(ATTRIBUTE, SAME, random=True, metadata=(0,)),
    "RandomUniform":             Op(ATTRIBUTE, random=True),
    "RandomUniformLike":         Op(ATTRIBUTE, SAME, random=True, metadata=(0,)),
    "Bernoulli":                 Op(ATTRIBUTE, SAME, random=True),
    "Multinomial":               Op(ATTRIBUTE, random=True),

    # Recurrence and attention.
    "RNN":                       Op(FIRST, saturates=True, parametric=True),
    "GRU":                       Op(FIRST, saturates=True, parametric=True),
    "LSTM":                      Op(FIRST, saturates=True, parametric=True),
    "Attention":                 Op(OTHER),
    "LinearAttention":           Op(FIRST),
    "CausalConvWithState":       Op(ALL),
    "RotaryEmbedding":           Op(FIRST, SAME),

    # Bodies.
    "If":                        Op(OTHER, variadic=True),
    "Loop":                      Op(OTHER, variadic=True),
    "Scan":                      Op(OTHER, variadic=True),
    "SequenceMap":               Op(OTHER, variadic=True),

    # Signals, losses and matrices.
    "DFT":                       Op(FIRST),
    "STFT":                      Op(FIRST),
    "Det":                       Op(ALL),
    "NegativeLogLikelihoodLoss": Op(FIRST),
    "SoftmaxCrossEntropyLoss":   Op(FIRST),

    # What is no tensor of numbers, or comes from none.
    "SequenceAt":                Op(OTHER),
    "SequenceConstruct":         Op(OTHER),
    "SequenceEmpty":             Op(OTHER),
    "SequenceErase":             Op(OTHER),
    "SequenceInsert":            Op(OTHER),
    "SequenceLength":            Op(INT64),
    "SplitToSequence":           Op(OTHER),
    "ConcatFromSequence":        Op(OTHER),
    "Optional":                  Op(OTHER),
    "OptionalGetElement":        Op(OTHER),
    "OptionalHasElement":        Op(BOOL),
    "ImageDecoder":              Op(OTHER),
    "RegexFullMatch":            Op(BOOL, SAME),
    "StringNormalizer":          Op(OTHER),
    "StringSplit":               Op(OTHER),
    "TfIdfVectorizer":           Op(OTHER),
}
# fmt: on

UNKNOWN = Op()  # an operator of another domain, or of a version to come: nothing is claimed


def op(node: ir.Node | None) -> Op:
    """The row of a node's operator."""
    if node is None or node.domain not in ("", "ai.onnx"):
        return UNKNOWN
    return OPERATORS.get(node.op_type, UNKNOWN)


def names(column: str) -> frozenset[str]:
    """The operators whose rows say yes in a column of yes or no."""
    return frozenset(name for name, row in OPERATORS.items() if getattr(row, column))
