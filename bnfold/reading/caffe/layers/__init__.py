"""One function for each type of layer. The signature is the schema (registry.py); a new type is one function
here and one test.

Formulas are Caffe's own; where a fork's layer has none that is published, the fork is named beside it.
"""

from . import (
    activation,
    batchnorm,
    coefficient,
    convolution,
    ctc,
    data,
    detection,
    flow,
    loss,
    normalization,
    pooling,
    product,
    recurrent,
    region,
    resize,
    shape,
    statistics,
)

__all__ = [
    "activation",
    "batchnorm",
    "coefficient",
    "convolution",
    "ctc",
    "data",
    "detection",
    "flow",
    "loss",
    "normalization",
    "pooling",
    "product",
    "recurrent",
    "region",
    "resize",
    "shape",
    "statistics",
]
