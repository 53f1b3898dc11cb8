"""What each operator does to channels: RULES, one row an operator. An operator without a row blocks every
channel that reaches it."""

from __future__ import annotations

from . import elementwise_rules, linear_rules, moving_rules, window_rules
from .intervals import ARITHMETIC
from .trace import Rule

_UNARY = (
    "Relu",
    "LeakyRelu",
    "ThresholdedRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Mish",
    "Swish",
    "HardSwish",
    "Softplus",
    "Softsign",
    "Sigmoid",
    "HardSigmoid",
    "Tanh",
    "Erf",
    "Clip",
    "Abs",
    "Neg",
    "Sqrt",
    "Reciprocal",
    "Exp",
    "Log",
    "Atan",
)
_PASSED = ("Identity", "MaxPool", "GlobalAveragePool", "GlobalMaxPool")

RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"), linear_rules.linear),
    "BatchNormalization": elementwise_rules.batch_norm,
    **dict.fromkeys(_UNARY, elementwise_rules.unary),
    **dict.fromkeys(ARITHMETIC, elementwise_rules.elementwise),
    "Cast": elementwise_rules.cast,
    **dict.fromkeys(_PASSED, window_rules.passed),
    "Dropout": window_rules.dropout,
    "AveragePool": window_rules.average,
    "Pad": window_rules.pad,
    **dict.fromkeys(("Resize", "Upsample"), window_rules.resize),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"), window_rules.reduction),
    "Concat": moving_rules.concat,
    "Split": moving_rules.split,
    "Slice": moving_rules.slicing,
    "Gather": moving_rules.gather,
    "Transpose": moving_rules.transpose,
    "Squeeze": moving_rules.squeeze,
    "Unsqueeze": moving_rules.unsqueeze,
    **dict.fromkeys(("Reshape", "Flatten"), moving_rules.reshape),
    **dict.fromkeys(("Shape", "Size"), moving_rules.shape),
}
