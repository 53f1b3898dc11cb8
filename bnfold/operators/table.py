"""OPERATORS: one row an operator of the standard ONNX domain, one column a fact that several rooms need.

Rooms ask `op(node).jumps`, or `names("jumps")` for the set. Functions that say how an operator behaves (its
shape rule, its float64 kernel, how a map passes it) stay in their rooms, in tables whose keys are names of
rows here. An operator of another domain has the row UNKNOWN, which claims nothing.

tests/operators/test_table.py holds the columns against onnx's schemas.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

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
    evaluated       constant folding: a node of it is computed at once where its inputs are constants
    view            every element of its input appears once in its output, in row-major or transposed order
    carries_index   integers that index a table stay indices of that table behind it
    metadata        inputs of which only the shape or the element type is read
    variadic        it has as many outputs as the node names
    random          each engine draws its own numbers
    jumps           a difference in the last bit of an input may change an output by a whole step
    saturates       its output is bounded, so that far out a difference of its input hardly shows
    axis            what its attribute `axis` is where the node does not say
    """

    dtype: Dtype = Dtype.OTHER
    shape: ShapeRule = ShapeRule.OWN
    _: KW_ONLY
    linear: bool = False
    bias: int | None = None
    weighted: bool = False
    parametric: bool = False
    streams_weight: bool = False
    evaluated: bool = False
    view: bool = False
    carries_index: bool = False
    metadata: tuple[int, ...] = ()
    variadic: bool = False
    random: bool = False
    jumps: bool = False
    saturates: bool = False
    axis: int = 0


ALL, FIRST, SECOND, OTHER = Dtype.ALL, Dtype.FIRST, Dtype.SECOND, Dtype.OTHER
BOOL, INT64, ATTRIBUTE = Dtype.BOOL, Dtype.INT64, Dtype.ATTRIBUTE
SAME, BROADCAST, REDUCE = ShapeRule.SAME, ShapeRule.BROADCAST, ShapeRule.REDUCE
POOL, GLOBAL_POOL, OWN = ShapeRule.POOL, ShapeRule.GLOBAL_POOL, ShapeRule.OWN
_linear = partial(Op, ALL, linear=True, weighted=True, parametric=True)

# fmt: off
OPERATORS: dict[str, Op] = {
    # Linear operators: what holds the maps that are folded.
    "Conv":                      _linear(bias=2, streams_weight=True),
    "ConvTranspose":             _linear(bias=2, streams_weight=True),
    "Gemm":                      _linear(bias=2, streams_weight=True, evaluated=True),
    "MatMul":                    _linear(streams_weight=True, evaluated=True),
    "Einsum":                    _linear(),

    # Sums and products: with a constant they are affine, and hold one.
    "Add":                       Op(ALL, BROADCAST, parametric=True, evaluated=True),
    "Sub":                       Op(ALL, BROADCAST, parametric=True, evaluated=True),
    "Mul":                       Op(ALL, BROADCAST, parametric=True, evaluated=True),
    "Div":                       Op(ALL, BROADCAST, parametric=True, evaluated=True),
    "Sum":                       Op(ALL, BROADCAST, parametric=True, evaluated=True),
    "Neg":                       Op(ALL, SAME, evaluated=True),

    # Other operators whose inputs broadcast.
    "Mean":                      Op(ALL, BROADCAST, evaluated=True),
    "Max":                       Op(ALL, BROADCAST, evaluated=True),
    "Min":                       Op(ALL, BROADCAST, evaluated=True),
    "Pow":                       Op(FIRST, BROADCAST, evaluated=True),
    "Mod":                       Op(ALL, BROADCAST, evaluated=True, jumps=True),
    "Where":                     Op(SECOND, BROADCAST, evaluated=True),
    "Equal":                     Op(BOOL, BROADCAST, evaluated=True, jumps=True),
    "Greater":                   Op(BOOL, BROADCAST, evaluated=True, jumps=True),
    "GreaterOrEqual":            Op(BOOL, BROADCAST, jumps=True),
    "Less":                      Op(BOOL, BROADCAST, evaluated=True, jumps=True),
    "LessOrEqual":               Op(BOOL, BROADCAST, jumps=True),
    "And":                       Op(BOOL, BROADCAST, evaluated=True),
    "Or":                        Op(BOOL, BROADCAST, evaluated=True),
    "Xor":                       Op(BOOL, BROADCAST),
    "BitShift":                  Op(ALL, BROADCAST),
    "BitwiseAnd":                Op(ALL, BROADCAST),
    "BitwiseOr":                 Op(ALL, BROADCAST),
    "BitwiseXor":                Op(ALL, BROADCAST),
    "StringConcat":              Op(ALL, BROADCAST),

    # Element by element.
    "Relu":                      Op(ALL, SAME, evaluated=True),
    "LeakyRelu":                 Op(ALL, SAME),
    "PRelu":                     Op(ALL, SAME, parametric=True),
    "ThresholdedRelu":           Op(ALL, SAME, jumps=True),
    "Elu":                       Op(ALL, SAME),
    "Selu":                      Op(ALL, SAME),
    "Celu":                      Op(ALL, SAME),
    "Gelu":                      Op(ALL, SAME),
    "Mish":                      Op(ALL, SAME),
    "Swish":                     Op(ALL, SAME),
    "SwiGLU":                    Op(ALL, SAME),
    "HardSwish":                 Op(ALL, SAME),
    "Softplus":                  Op(ALL, SAME),
    "Softsign":                  Op(ALL, SAME, saturates=True),
    "Sigmoid":                   Op(ALL, SAME, evaluated=True, saturates=True),
    "HardSigmoid":               Op(ALL, SAME, saturates=True),
    "Tanh":                      Op(ALL, SAME, evaluated=True, saturates=True),
    "Erf":                       Op(ALL, SAME, saturates=True),
    "Clip":                      Op(ALL, SAME, evaluated=True, carries_index=True, saturates=True),
    "Shrink":                    Op(ALL, SAME, jumps=True),
    "Abs":                       Op(ALL, SAME, evaluated=True),
    "Sqrt":                      Op(ALL, SAME, evaluated=True),
    "Reciprocal":                Op(ALL, SAME, evaluated=True),
    "Exp":                       Op(ALL, SAME, evaluated=True),
    "Log":                       Op(ALL, SAME, evaluated=True),
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
    "Floor":                     Op(ALL, SAME, evaluated=True, jumps=True),
    "Ceil":                      Op(ALL, SAME, evaluated=True, jumps=True),
    "Round":                     Op(ALL, SAME, evaluated=True, jumps=True),
    "Sign":                      Op(ALL, SAME, evaluated=True, jumps=True, saturates=True),
    "IsNaN":                     Op(BOOL, SAME),
    "IsInf":                     Op(BOOL, SAME),
    "Not":                       Op(BOOL, SAME, evaluated=True),
    "BitwiseNot":                Op(ALL, SAME),

    # Between element types. Cast jumps where it gives integers: see verifying/nondeterminism.py.
    "Cast":                      Op(ATTRIBUTE, SAME, evaluated=True, carries_index=True),
    "CastLike":                  Op(SECOND, SAME, evaluated=True, metadata=(1,)),
    "BitCast":                   Op(ATTRIBUTE, SAME),
    "QuantizeLinear":            Op(OTHER, SAME, jumps=True, saturates=True, axis=1),
    "DynamicQuantizeLinear":     Op(OTHER, SAME, jumps=True),
    "DequantizeLinear":          Op(OTHER, SAME, axis=1, parametric=True),
    "QLinearConv":               Op(OTHER, jumps=True, saturates=True),
    "QLinearMatMul":             Op(OTHER, jumps=True, saturates=True),
    "ConvInteger":               Op(OTHER, jumps=True),
    "MatMulInteger":             Op(OTHER, jumps=True),

    # Normalisations and what they are made of.
    "BatchNormalization":        Op(FIRST, SAME, weighted=True, parametric=True),
    "InstanceNormalization":     Op(ALL, SAME, parametric=True),
    "LayerNormalization":        Op(ALL, SAME, axis=-1, parametric=True),
    "RMSNormalization":          Op(SECOND, SAME, axis=-1, parametric=True),
    "GroupNormalization":        Op(ALL, SAME, parametric=True),
    "LpNormalization":           Op(ALL, SAME, axis=-1),
    "MeanVarianceNormalization": Op(ALL, SAME),
    "LRN":                       Op(ALL, SAME),
    "Softmax":                   Op(ALL, SAME, saturates=True, axis=-1),
    "LogSoftmax":                Op(ALL, SAME, axis=-1),
    "Hardmax":                   Op(ALL, SAME, jumps=True, saturates=True, axis=-1),
    "Dropout":                   Op(FIRST, SAME),

    # Moving values without computing.
    "Identity":                  Op(ALL, SAME, evaluated=True, view=True, carries_index=True),
    "Reshape":                   Op(FIRST, evaluated=True, view=True, carries_index=True),
    "Flatten":                   Op(ALL, evaluated=True, view=True, carries_index=True, axis=1),
    "Squeeze":                   Op(FIRST, evaluated=True, view=True, carries_index=True),
    "Unsqueeze":                 Op(FIRST, evaluated=True, view=True, carries_index=True),
    "Transpose":                 Op(ALL, evaluated=True, view=True, carries_index=True),
    "Concat":                    Op(ALL, evaluated=True, carries_index=True, axis=1),
    "Split":                     Op(FIRST, evaluated=True, variadic=True),
    "Slice":                     Op(FIRST, evaluated=True, carries_index=True),
    "Gather":                    Op(FIRST, evaluated=True),
    "GatherElements":            Op(FIRST, evaluated=True),
    "GatherND":                  Op(FIRST),
    "Expand":                    Op(FIRST, evaluated=True, carries_index=True),
    "Tile":                      Op(FIRST, evaluated=True, carries_index=True),
    "Pad":                       Op(FIRST, evaluated=True),
    "CenterCropPad":             Op(FIRST),
    "DepthToSpace":              Op(ALL),
    "SpaceToDepth":              Op(ALL),
    "Col2Im":                    Op(FIRST),
    "Compress":                  Op(FIRST),
    "ReverseSequence":           Op(FIRST, SAME),
    "Trilu":                     Op(FIRST, SAME),
    "Scatter":                   Op(FIRST, SAME),
    "ScatterElements":           Op(FIRST, SAME),
    "ScatterND":                 Op(FIRST, SAME, evaluated=True),
    "TensorScatter":             Op(FIRST, SAME, axis=-2),

    # Windows, and samples between pixels.
    "MaxPool":                   Op(ALL, POOL),
    "AveragePool":               Op(ALL, POOL),
    "LpPool":                    Op(ALL, POOL),
    "GlobalMaxPool":             Op(ALL, GLOBAL_POOL),
    "GlobalAveragePool":         Op(ALL, GLOBAL_POOL),
    "GlobalLpPool":              Op(ALL, GLOBAL_POOL),
    "MaxUnpool":                 Op(FIRST),
    "MaxRoiPool":                Op(ALL, jumps=True),
    "RoiAlign":                  Op(FIRST),
    "DeformConv":                Op(ALL),
    "Resize":                    Op(FIRST),
    "Upsample":                  Op(FIRST),
    "GridSample":                Op(FIRST),
    "AffineGrid":                Op(FIRST),

    # Reductions, and what looks for an entry.
    "ReduceSum":                 Op(FIRST, REDUCE, evaluated=True),
    "ReduceMean":                Op(FIRST, REDUCE, evaluated=True),
    "ReduceMax":                 Op(FIRST, REDUCE, evaluated=True),
    "ReduceMin":                 Op(FIRST, REDUCE, evaluated=True),
    "ReduceProd":                Op(FIRST, REDUCE, evaluated=True),
    "ReduceL1":                  Op(FIRST, REDUCE),
    "ReduceL2":                  Op(FIRST, REDUCE),
    "ReduceSumSquare":           Op(FIRST, REDUCE),
    "ReduceLogSum":              Op(FIRST, REDUCE),
    "ReduceLogSumExp":           Op(FIRST, REDUCE),
    "CumSum":                    Op(FIRST, SAME, evaluated=True),
    "CumProd":                   Op(FIRST, SAME),
    "ArgMax":                    Op(INT64, jumps=True),
    "ArgMin":                    Op(INT64, jumps=True),
    "TopK":                      Op(FIRST, jumps=True, axis=-1),
    "Unique":                    Op(FIRST, jumps=True),
    "NonZero":                   Op(INT64, jumps=True),
    "NonMaxSuppression":         Op(INT64, jumps=True),

    # Constants, sizes and counts.
    "Constant":                  Op(OTHER),
    "ConstantOfShape":           Op(OTHER, evaluated=True),
    "Shape":                     Op(INT64, evaluated=True, metadata=(0,)),
    "Size":                      Op(INT64, evaluated=True, metadata=(0,)),
    "Range":                     Op(ALL, evaluated=True),
    "OneHot":                    Op(OTHER, evaluated=True, axis=-1),
    "EyeLike":                   Op(ATTRIBUTE, SAME, metadata=(0,)),
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
