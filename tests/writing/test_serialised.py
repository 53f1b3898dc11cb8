"""The bytes that the writer makes itself are those that protobuf makes of onnx_ir's message."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnfold.ir import tensor
from bnfold.ir.graph import ir
from bnfold.writing.layout import message
from bnfold.writing.serialised import serialised


def model(ir_version: int = 10) -> onnx.ModelProto:
    """A small model with one of everything that a graph may carry."""
    shape = ["N", 2, None, 4]
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["inside"], name="in body")],
        "body",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, shape)],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu", doc_string="größer"),
        helper.make_node("Clip", ["r", "", "high"], ["c"]),
        helper.make_node("Conv", ["c", "w"], ["v"], pads=[0, 0, 0, 0], group=1, auto_pad="NOTSET"),
        helper.make_node("LeakyRelu", ["v"], ["l"], alpha=-0.0),
        helper.make_node("LeakyRelu", ["l"], ["l2"], alpha=0.0),
        helper.make_node("Twice", ["l2"], ["t"], domain="own"),
        helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Constant", [], ["text"], value_strings=[b"a", b"b"]),
        helper.make_node("Dropout", ["t"], ["d", ""]),
    ]
    nodes[0].metadata_props.add(key="z", value="last")
    nodes[0].metadata_props.add(key="a", value="first")
    tensors = [
        numpy_helper.from_array(np.full((), 6, np.float32), "high"),
        helper.make_tensor("w", TensorProto.FLOAT, [2, 2, 1, 1], [1, 2, 3, 4]),
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.array([b"s"], object), "words"),
        helper.make_tensor("five", TensorProto.FLOAT4E2M1, [3], [1, 2, 3]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xyd"]
    ends[0].type.tensor_type.shape.dim[1].denotation = "DATA_CHANNEL"
    ends[1].type.denotation = "IMAGE"
    ends[2].doc_string = "an output"
    inner = [
        helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 2, 3, 4]),
        helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 2, 3, 4]),
        helper.make_tensor_sequence_value_info("l", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("t", TensorProto.FLOAT, None),
    ]
    inner[1].metadata_props.add(key="k", value="v")
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors, "words", inner)
    graph.metadata_props.add(key="k", value="v")
    for name in ("x", "w", "r", "y"):
        annotation = graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="high")
    function = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    if ir_version >= 10:
        function.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [1]))
    else:
        graph.value_info.append(helper.make_tensor_value_info("own::Twice/b", TensorProto.FLOAT, [1]))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, functions=[function], producer_name="tests"
    )
    made.metadata_props.add(key="k", value="v")
    return made


def protobufs(given: ir.Model) -> bytes:
    return message(given).SerializeToString(deterministic=True)


@pytest.mark.parametrize("ir_version", [3, 8, 9, 10, 11])
def test_the_bytes_are_protobufs(ir_version):
    given = ir.from_proto(model(ir_version))
    assert serialised(given) == protobufs(given)


def test_tensors_of_every_kind():
    given = ir.from_proto(model())
    values = np.arange(4, dtype=np.float16)
    stored = [
        tensor.from_array(values, "made"),
        tensor.Window(values.tobytes(), 0, ir.DataType.FLOAT16, (2, 2), "window", "words", {"k": "v"}),
        tensor.Recipe(ir.DataType.FLOAT16, (4,), lambda: iter([values]), "recipe"),
        ir.StringTensor([b"a"], shape=ir.Shape([1]), name="strings"),
        tensor.from_array(np.zeros((0, 3)), "empty"),
    ]
    for one in stored:
        given.graph.register_initializer(ir.Value(name=one.name, const_value=one))
    assert serialised(given) == protobufs(given)


def test_a_graph_of_nothing():
    given = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    assert onnx.ModelProto.FromString(serialised(given)).HasField("graph")


def test_devices_of_nodes():
    given = model(11)
    given.configuration.add(name="two", num_devices=2)
    given.graph.node[0].device_configurations.add(configuration_id="two", pipeline_stage=1)
    given = ir.from_proto(given)
    assert serialised(given) == protobufs(given)
    given.ir_version = 10
    assert serialised(given) == protobufs(given)
