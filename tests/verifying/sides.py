"""Models for the tests of verification: ONNX text with seeded weights, nets in pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

from bnfold.comparison import Comparison, Side, VerifyOptions
from bnfold.graph import ir
from bnfold.verifying import compare, specimens


def proto(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from text, with initializers by name (given, or seeded where the text declares them without values)."""
    model: onnx.ModelProto = parser.parse_model(text)
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
        elif not tensor.raw_data and not tensor.float_data:
            values = random.standard_normal(tuple(tensor.dims))
            values = np.abs(values) + 0.5 if tensor.name.startswith("v") else values
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model


def side(model: onnx.ModelProto | str, path: Path | None = None) -> Side:
    """A side in memory, or as a file."""
    model = proto(model) if isinstance(model, str) else model
    if path is not None:
        onnx.save(model, path)
    return Side(ir.from_proto(model), path)


def verdict(recipe: specimens.Recipe, fault: str | None = None, block: int | None = None, **options: Any) -> Comparison:
    """The gate on one pair of nets."""
    reference, candidate = specimens.pair(recipe, fault, block)
    return compare(side(reference), side(candidate), VerifyOptions(seed=recipe.seed, **options))
