"""What is an affine node, and what only looks like one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from bnfold.errors import Malformed
from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions

from .held import hold
from .nets import Net

X = (2, 4, 4, 4)


def net_with(
    kind: str, constant: np.ndarray, left: bool = False, shape: tuple[int, ...] = X
) -> onnx.ModelProto:
    net = Net(0)
    x = net.input("x", (shape[0], 3, *shape[2:]))
    y = net.op("Conv", [x, net.constant(net.normal(shape[1], 3, *(1 for _ in shape[2:])))], shape)
    operands = [y, net.constant(constant)]
    net.op(kind, operands[::-1] if left else operands, shape)
    return net.model()


PER_CHANNEL = [(), (1,), (1, 1, 1), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1)]
NOT_PER_CHANNEL = [(4,), (4, 1), (1, 4), (4, 4), (1, 4, 4), (4, 4, 4), (2, 1, 1, 1), (2, 4, 4, 4)]


@pytest.mark.parametrize("kind", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("shape", PER_CHANNEL)
def test_a_constant_per_channel_folds_on_either_side(kind: str, left: bool, shape: tuple[int, ...]) -> None:
    held = hold(net_with(kind, np.random.default_rng(0).uniform(0.5, 2, shape), left))
    assert held.count(kind) == (1 if kind == "Div" and left else 0)


@pytest.mark.parametrize("kind", ["Mul", "Add"])
@pytest.mark.parametrize("shape", NOT_PER_CHANNEL)
def test_a_constant_along_another_axis_stays_even_if_its_length_is_the_channel_count(
    kind: str, shape: tuple[int, ...]
) -> None:
    held = hold(net_with(kind, np.random.default_rng(0).uniform(0.5, 2, shape)))
    assert set(held.kept().values()) == {"kept.wrong-axis"}


def test_a_constant_that_enlarges_its_operand_stays() -> None:
    net = Net(0)
    y = net.op("Conv", [net.input("x", (1, 3, 1, 1)), net.constant(net.normal(1, 3, 1, 1))], (1, 1, 1, 1))
    net.op("Add", [y, net.constant(net.normal(6, 1, 1))], (1, 6, 1, 1))
    assert set(hold(net.model()).kept().values()) == {"kept.wrong-axis"}


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 3, 3, 3)])
def test_the_channel_axis_is_the_second_whatever_the_rank(shape: tuple[int, ...]) -> None:
    assert hold(net_with("Mul", np.ones((4, *(1 for _ in shape[2:]))) * 2, shape=shape)).count("Mul") == 0
    assert hold(net_with("Mul", np.arange(1.0, shape[-1] + 1), shape=shape)).count("Mul") == 1


def test_integers_are_no_affine_nodes() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (int64[2] x) => (int64[2] y) { c = Constant <value = int64[1] {2}> ()
    y = Mul (x, c) }"""
    _, plan = fold(read(parser.parse_model(text)).model)
    assert (plan.folded, plan.kept) == ((), ())


BN = """<ir_version: %(ir)d, opset_import: ["" : %(opset)d]> g (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y)
{ c = Conv (x, w)
  %(outputs)s = BatchNormalization <%(attributes)s> (c, s, b, m, v) }"""


def batch_norm(
    opset: int = 17, outputs: str = "y", attributes: str = "epsilon = 0.001", **values: np.ndarray
) -> onnx.ModelProto:
    proto = parser.parse_model(BN % {"ir": 8, "opset": opset, "outputs": outputs, "attributes": attributes})
    defaults = {
        "w": np.ones((2, 3, 1, 1)),
        "s": np.ones(2),
        "b": np.zeros(2),
        "m": np.zeros(2),
        "v": np.ones(2),
    }
    for name, value in (defaults | values).items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return proto


def codes(proto: onnx.ModelProto, options: FoldOptions | None = None) -> list[str]:
    _, plan = fold(read(proto).model, options)
    return [k.code for k in plan.kept]


@pytest.mark.parametrize(
    ("proto", "code"),
    [
        (batch_norm(17, "y, p, q", "training_mode = 1"), "kept.training-mode"),
        (batch_norm(17, "y", "training_mode = 1"), "kept.training-mode"),
        (batch_norm(9, "y, p, q, r, t"), "kept.training-mode"),
        (batch_norm(6, "y", "is_test = 0"), "kept.training-mode"),
        (batch_norm(7, "y", "spatial = 0"), "kept.per-activation"),
        (batch_norm(v=np.array([1, np.nan])), "kept.non-finite"),
        (batch_norm(s=np.array([1, np.inf])), "kept.non-finite"),
        (batch_norm(attributes="epsilon = 0.0", v=np.array([1, 0])), "kept.non-finite"),
        (batch_norm(v=np.array([1, -1])), "kept.non-finite"),
        (
            batch_norm(s=np.array([1, 3e38]), v=np.array([1, 1e-10]), w=np.full((2, 3, 1, 1), 10.0)),
            "kept.overflow",
        ),
    ],
)
def test_what_must_stay(proto: onnx.ModelProto, code: str) -> None:
    assert codes(proto) == [code]


@pytest.mark.parametrize(
    "proto",
    [
        batch_norm(14),
        batch_norm(15),
        batch_norm(9),
        batch_norm(7),
        batch_norm(6, attributes="is_test = 1"),
        batch_norm(1, attributes="is_test = 1, consumed_inputs = [0, 0, 0, 1, 1]"),
        batch_norm(v=np.array([1e-42, 1])),
        batch_norm(v=np.array([1e30, 1])),
        batch_norm(s=np.array([0, 1])),
    ],
)
def test_every_generation_and_extreme_statistics_fold(proto: onnx.ModelProto) -> None:
    assert codes(proto) == []


@pytest.mark.parametrize(
    "wrong", [{"s": np.ones(3)}, {"m": np.ones((2, 1))}, {name: np.ones(3) for name in "sbmv"}]
)
def test_parts_that_do_not_fit_are_malformed(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(Malformed, match="BatchNormalization"):
        fold(read(batch_norm(**wrong)).model)


@pytest.mark.parametrize("name", "sbmv")
def test_a_parameter_that_is_no_float_is_malformed(name: str) -> None:
    proto = batch_norm()
    index = next(i for i, t in enumerate(proto.graph.initializer) if t.name == name)
    proto.graph.initializer[index].CopyFrom(numpy_helper.from_array(np.ones(2, np.int8), name))
    with pytest.raises(Malformed, match=f"'{name}' of a batch norm is INT8"):
        fold(read(proto).model)


def test_a_bias_that_does_not_fit_is_malformed() -> None:
    proto = batch_norm()
    proto.graph.node[0].input.append("bias")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "bias"))
    with pytest.raises(Malformed, match="bias"):
        fold(read(proto).model)


def overridable(ir_version: int) -> onnx.ModelProto:
    proto = batch_norm()
    proto.ir_version = ir_version
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    return proto


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    assert codes(overridable(8)) == ["kept.overridable-parameter"]
    assert codes(overridable(8), FoldOptions(freeze_initializers=True)) == []


def test_in_ir_3_initializers_are_inputs_and_constants() -> None:
    proto = overridable(3)
    model, plan = fold(read(proto).model)
    assert plan.kept == ()
    assert set(model.graph.initializers) <= {v.name for v in model.graph.inputs}
    assert [v.name for v in model.graph.inputs if v.name not in model.graph.initializers] == ["x"]


def test_a_parameter_fed_at_run_time_stays() -> None:
    proto = batch_norm()
    kept = [t for t in proto.graph.initializer if t.name != "m"]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.input.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [2]))
    assert codes(proto) == ["kept.parameter-not-constant"]


def test_names_that_the_user_keeps_stay() -> None:
    proto = batch_norm()
    proto.graph.node[1].name = "head/bn"
    assert codes(proto, FoldOptions(keep=("head/*",))) == ["kept.requested"]
    proto.graph.node[0].name = "stem"
    assert codes(proto, FoldOptions(keep=("stem",))) == ["kept.requested"]


@pytest.mark.parametrize(("channels", "fits"), [(1, True), (4, False)])
def test_a_vector_is_a_batch_of_one_channel(channels: int, fits: bool) -> None:
    vector = ", ".join(["1"] * channels)
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) <float[{channels}] p = {{{vector}}}>
    {{ y = BatchNormalization (x, p, p, p, p) }}"""
    model = read(parser.parse_model(text)).model
    if fits:
        assert fold(model)[1].kept[0].code == "kept.graph-input"
        return
    with pytest.raises(Malformed, match="vectors of 1 channels"):
        fold(model)


@pytest.mark.parametrize("op", ["Sub", "Add", "Mul", "Div"])
def test_a_constant_that_is_no_float_is_no_operand_whatever_its_declaration_says(op: str) -> None:
    """onnxruntime refuses such a model; the fold once ended in numpy's TypeError."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
    <float[1] c, float[2, 2, 1, 1] w = {{1, 2, 3, 4}}> {{ d = {op} (x, c) y = Conv (d, w) }}"""
    proto = parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.bool_), "c"))
    assert fold(read(proto).model)[1].folded == ()
