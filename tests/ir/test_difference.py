"""Every kind of difference between two models is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bnfold.ir.difference import difference
from bnfold.ir.graph import ir

from ..models import TWO_BLOCKS, model


def test_a_model_is_the_same_as_itself() -> None:
    assert difference(ir.from_proto(model(TWO_BLOCKS)), ir.from_proto(model(TWO_BLOCKS))) == ""


def test_an_empty_name_at_the_end_says_what_no_name_says() -> None:
    longer = model(TWO_BLOCKS)
    longer.graph.node[0].input.append("")
    assert difference(ir.from_proto(model(TWO_BLOCKS)), ir.from_proto(longer)) == ""


def _weight(proto: onnx.ModelProto) -> None:
    values = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    values.flat[-1] = np.nextafter(values.flat[-1], np.inf, dtype=np.float32)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, proto.graph.initializer[0].name))


def _attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].attribute.append(helper.make_attribute("epsilon", 1e-6))


def _order(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0], proto.graph.node[0].input[1] = "w", "x"


def _node(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Relu", ["y"], ["z"], name="more"))


def _output(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2


def _opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 18


def _initializer(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "spare"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_weight, "initializer 'w'"),
        (_attribute, "node 'BatchNormalization_n'"),
        (_order, "node 'Conv_c'"),
        (_node, "node 'more'"),
        (_output, "outputs"),
        (_opset, "opsets"),
        (_initializer, "spare"),
    ],
)
def test_a_difference_is_named(change: Callable[[onnx.ModelProto], None], named: str) -> None:
    changed = model(TWO_BLOCKS)
    change(changed)
    assert named in difference(ir.from_proto(model(TWO_BLOCKS)), ir.from_proto(changed))
