"""The builder that readers share: what it makes is a complete, valid model that says where every node came
from."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold.errors import Malformed
from bnfold.ir.graph import source_text
from bnfold.ir.provenance import Source
from bnfold.ir.tensor import Window
from bnfold.reading.builder import IR_VERSION, Build


def small_net(opset=17) -> Build:
    build = Build("net", opset=opset)
    x = build.input("data", ("N", 1, 4, 4))
    w = build.weight(
        "conv/weight", Window(np.ones((2, 1, 3, 3), np.float32).tobytes(), 0, ir.DataType.FLOAT, (2, 1, 3, 3))
    )
    source = Source("net.cfg", line=3, type="convolutional", index=0)
    y = build.op(
        "Conv", x, w, name="conv", shape=("N", 2, 2, 2), source=source, strides=[1, 1], auto_pad=None
    )
    build.source = Source("net.cfg", line=9, type="activation", index=1)
    build.result(build.op("Relu", y, name="relu", output="act", shape=("N", 2, 2, 2)))
    return build


@pytest.mark.parametrize("opset", IR_VERSION)
def test_the_model_is_complete(opset):
    model = small_net(opset).model()
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert (proto.ir_version, proto.opset_import[0].version) == (IR_VERSION[opset], opset)
    (data,) = proto.graph.input
    assert (data.name, [d.dim_param or d.dim_value for d in data.type.tensor_type.shape.dim]) == (
        "data",
        ["N", 1, 4, 4],
    )
    assert [v.name for v in proto.graph.output] == ["act"]
    assert [i.name for i in proto.graph.initializer] == ["conv/weight"]


def test_it_runs():
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(
        ir.to_proto(small_net().model()).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"data": np.ones((3, 1, 4, 4), np.float32)})
    assert result.shape == (3, 2, 2, 2)
    assert (result == 9).all()


def test_inputs_that_are_left_out_leave_no_empty_names_at_the_end():
    build = Build("net")
    x, high = build.input("x", (2, 3)), build.constant("high", np.float32(1))
    y = build.op("Clip", x, None, high, name="clip", shape=(2, 3))
    build.result(build.op("Gemm", y, build.constant("w", np.eye(3)), None, name="gemm", shape=(2, 3)))
    clip, gemm = ir.to_proto(build.model()).graph.node
    assert list(clip.input) == ["x", "", "high"]
    assert list(gemm.input) == ["clip", "w"]


def test_every_node_says_where_it_came_from():
    conv, relu = small_net().model().graph
    assert source_text(conv) == "net.cfg:3 [convolutional] #0"
    assert source_text(relu) == "net.cfg:9 [activation] #1"


def test_an_attribute_of_none_is_not_written():
    conv, _ = small_net().model().graph
    assert sorted(conv.attributes) == ["strides"]


def test_absent_inputs_stay_absent():
    build = Build("net")
    x = build.input("x", (1, 2))
    y = build.op("Clip", x, None, build.constant("top", 6.0), name="clip", shape=(1, 2))
    build.result(y)
    proto = ir.to_proto(build.model())
    assert list(proto.graph.node[0].input) == ["x", "", "top"]
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        (1.5, None, np.float32),
        ([1, 2], None, np.int64),
        (np.arange(3, dtype=np.int32), None, np.int64),
        (np.float64(2), None, np.float32),
        ([True], None, np.bool_),
        (2, np.int32, np.int32),
        (2.0, np.float16, np.float16),
    ],
)
def test_constants_take_the_types_that_operators_want(values, dtype, stored):
    made = Build("net").constant("c", values, dtype).const_value.numpy()
    assert made.dtype == stored
    assert (made == values).all()
    assert made.shape == np.shape(values)


def test_several_outputs_have_their_own_names_shapes_and_types():
    build = Build("net")
    x = build.input("x", (1, 1, 4, 4))
    values, indices = build.op(
        "MaxPool",
        x,
        name="pool",
        output=["pool", "mask"],
        shape=[(1, 1, 2, 2), (1, 1, 2, 2)],
        dtype=[ir.DataType.FLOAT, ir.DataType.INT64],
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    assert (values.name, values.dtype, values.shape.numpy()) == ("pool", ir.DataType.FLOAT, (1, 1, 2, 2))
    assert (indices.name, indices.dtype) == ("mask", ir.DataType.INT64)
    build.result(values)
    build.result(indices)
    onnx.checker.check_model(ir.to_proto(build.model()), full_check=True)


def test_a_single_output_in_a_list_comes_as_a_tuple():
    build = Build("net")
    x = build.input("x", (2, 2))
    (part,) = build.op("Split", x, name="split", output=["part"], shape=[(2, 2)], axis=0)
    assert (part.name, part.shape.numpy()) == ("part", (2, 2))


@pytest.mark.parametrize(
    "again",
    [
        lambda b: b.input("data", (1,)),
        lambda b: b.constant("conv/weight", 1),
        lambda b: b.op("Relu", name="other", output="act"),
    ],
    ids=["input", "weight", "output"],
)
def test_two_values_of_one_name_are_refused(again):
    with pytest.raises(Malformed, match="two values are named"):
        again(small_net())


def test_node_names_are_made_unique():
    build = small_net()
    again = build.op("Relu", build.graph.inputs[0], name="relu", output="again")
    assert again.producer().name == "relu/2"


def test_a_fresh_name_is_free_until_it_is_taken():
    build = small_net()
    assert build.fresh("free") == build.fresh("free") == "free"
    assert build.fresh("act") == "act_2"
    build.constant("act_2", 1)
    assert build.fresh("act") == "act_3"
