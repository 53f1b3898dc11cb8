"""A user teaches bnfold a type of Caffe layer at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from bnfold.reading.caffe.registry import LAYERS

NET = """
name: "taught"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
layer { name: "twice" type: "Scaled" bottom: "data" top: "twice" scaled_param { factor: 2.5 } }
"""


@pytest.fixture
def taught():  # type: ignore[no-untyped-def]
    @bnfold.caffe.layer("Scaled", param="scaled_param")
    def scaled(at, x, *, factor: float = 1.0):  # type: ignore[no-untyped-def]
        """factor times x"""
        return at.op("Mul", x, at.constant([factor], "factor"))

    yield scaled
    LAYERS.pop("Scaled", None)


def test_before_it_is_taught_it_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    with pytest.raises(bnfold.Unsupported, match="Scaled"):
        bnfold.load(tmp_path / "net.prototxt", random_weights=0)


def test_a_layer_is_one_function(tmp_path: Path, taught: object) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    model = bnfold.load(tmp_path / "net.prototxt", random_weights=0)
    node = next(n for n in model.graph if n.op_type == "Mul")
    constant = ir.convenience.get_const_tensor(node.inputs[1])
    assert constant is not None
    assert np.array_equal(constant.numpy(), [2.5])
    assert [v.name for v in model.graph.outputs] == ["twice"]
