"""Models for the tests of verification: ONNX text with seeded weights, nets in pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

from bnfold.ir.foreign_types import without_foreign_types
from bnfold.ir.graph import ir
from bnfold.results.comparison import Comparison, Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare, selftest_networks


def proto(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from text. What the text declares without values becomes an initializer: given by name, or
    seeded (v...: positive)."""
    model: onnx.ModelProto = parser.parse_model(text)
    random = np.random.default_rng(0)
    for value in list(model.graph.value_info):
        values = random.standard_normal([d.dim_value for d in value.type.tensor_type.shape.dim])
        values = np.abs(values) + 0.5 if value.name.startswith("v") else values
        model.graph.initializer.append(
            numpy_helper.from_array(weights.get(value.name, values.astype(np.float32)), value.name)
        )
        model.graph.value_info.remove(value)
    return model


def side(model: onnx.ModelProto | str, path: Path | None = None) -> Side:
    """A side in memory, or as a file."""
    model = proto(model) if isinstance(model, str) else model
    if path is not None:
        onnx.save(model, path)
    return Side(ir.from_proto(without_foreign_types(model)[0]), path)


def verdict(
    recipe: selftest_networks.Recipe, fault: str | None = None, block: int | None = None, **options: Any
) -> Comparison:
    """The gate on one pair of nets."""
    reference, candidate = selftest_networks.pair(recipe, fault, block)
    return compare(side(reference), side(candidate), VerifyOptions(seed=recipe.seed, **options))
