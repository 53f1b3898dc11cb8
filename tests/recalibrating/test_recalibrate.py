"""Statistics from data: equal to a plain float64 computation, whatever the batches, forms and types; what
cannot be measured says why."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from bnfold.errors import Malformed, Mismatch, UsageError

from ..models import model
from .nets import CHAIN, data, plain_chain, renewed, stored


@pytest.mark.parametrize("batch", [1, 7, 32, 40])
def test_layer_after_layer_as_plain_arithmetic_has_it(batch):
    x = data()
    made, found = renewed(CHAIN, x, batch_size=batch)
    expected = plain_chain(model(CHAIN), x)
    for name, values in expected.items():
        assert np.allclose(stored(made, name), values, rtol=1e-6, atol=1e-6), name
    assert (found.inputs, found.passes, [row.level for row in found.layers]) == (40, 2, [0, 1])
    assert found.engine == "onnxruntime"
    assert found.layers[0].values == 40 * 36


def test_the_model_that_is_given_stays_as_it_is():
    from bnfold.ir.graph import ir
    from bnfold.recalibrating import recalibrate
    from bnfold.results.options import RecalibrateOptions

    given = ir.from_proto(model(CHAIN))
    before = ir.to_proto(given).SerializeToString()
    recalibrate(given, RecalibrateOptions(recalibrate=data()))
    assert ir.to_proto(given).SerializeToString() == before


def test_nothing_but_statistics_changes():
    made, _ = renewed(CHAIN, data())
    old = {t.name: t for t in model(CHAIN).graph.initializer}
    new = {t.name: t for t in made.graph.initializer}
    assert old.keys() == new.keys()
    changed = {
        name
        for name in old
        if numpy_helper.to_array(old[name]).tobytes() != numpy_helper.to_array(new[name]).tobytes()
    }
    assert changed == {"m", "v", "m2", "v2"}


def test_one_pass_is_what_training_sees():
    """With one batch of everything both ways are the same; with several they are not."""
    x = data()
    whole, found = renewed(CHAIN, np.concatenate([x, x]), batch_size=40, one_pass=True)
    layered, _ = renewed(CHAIN, x)
    assert (found.passes, found.one_pass) == (1, True)
    for name in ("m", "v", "m2", "v2"):
        assert np.allclose(stored(whole, name), stored(layered, name), rtol=1e-5, atol=1e-5)
    parts, _ = renewed(CHAIN, x, batch_size=4, one_pass=True)
    assert np.allclose(stored(parts, "v"), stored(layered, "v"), rtol=1e-6)
    assert not np.allclose(stored(parts, "v2"), stored(layered, "v2"), rtol=1e-4)


def test_what_moved_is_counted_in_old_deviations():
    proto = model(CHAIN)
    x = data()
    expected = plain_chain(proto, x)
    _, found = renewed(proto, x)
    old = np.sqrt(stored(proto, "v") + 1e-5)
    moved = np.abs(expected["m"] - stored(proto, "m")) / old
    stretched = np.abs(np.sqrt(expected["v"] + 1e-5) - old) / old
    row = found.layers[0]
    assert row.mean_moved == pytest.approx(np.sqrt(np.mean(moved**2)), rel=1e-5)
    assert row.deviation_moved == pytest.approx(np.sqrt(np.mean(stretched**2)), rel=1e-5)
    assert row.most_moved == pytest.approx(max(moved.max(), stretched.max()), rel=1e-5)
    assert found.moved == max(r.moved for r in found.layers)
    again, second = renewed(renewed(proto, x)[0], x)
    assert second.moved < 1e-5
    assert second.outputs[0].change == pytest.approx(0, abs=1e-5)
    del again


def test_outputs_before_and_after():
    x = data(600)
    proto = model(CHAIN)
    made, found = renewed(proto, x)
    (output,) = found.outputs
    assert 32 <= output.inputs <= 96  # some of them, evenly
    run = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0] for m in (proto, made)]
    change = np.sqrt(np.square(run[1] - run[0]).sum() / np.square(run[0]).sum())
    assert output.change == pytest.approx(change, rel=0.2)


def test_channels_that_died_and_woke():
    proto = model(CHAIN)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name == "w":
            values[1] = 0  # a constant channel from here on
        if tensor.name == "v":
            values[2] = 0
        if tensor.name == "m":
            values[2] = 0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    _, found = renewed(proto, data())
    assert (found.layers[0].died, found.layers[0].woke) == ((1,), (2,))


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_spoiled_statistics_count_as_unusable(bad):
    proto = model(CHAIN)
    tensor = next(t for t in proto.graph.initializer if t.name == "v")
    values = numpy_helper.to_array(tensor).copy()
    values[3] = bad
    tensor.CopyFrom(numpy_helper.from_array(values, "v"))
    made, found = renewed(proto, data())
    assert found.layers[0].unusable == 1
    assert np.isfinite(found.moved)
    assert np.allclose(stored(made, "v"), plain_chain(proto, data())["v"], rtol=1e-6)


# -- warnings


def codes(found):
    return {finding.code.removeprefix("recalibrate.") for finding in found.findings}


def test_few_inputs_are_warned_of():
    assert "few-inputs" in codes(renewed(CHAIN, data(31))[1])
    assert "few-inputs" not in codes(renewed(CHAIN, data(32))[1])


def test_statistics_that_still_move_are_warned_of_with_the_figure():
    x = data(640)
    x[320:] += 3
    _, found = renewed(CHAIN, x)
    warning = next(f for f in found.findings if f.code == "recalibrate.unsettled")
    row = max(found.layers, key=lambda row: row.between_halves)
    assert f"{row.between_halves:.2g} deviations" in warning.text
    assert "unsettled" not in codes(renewed(CHAIN, x[np.random.default_rng(0).permutation(640)])[1])


def test_one_input_has_no_halves():
    _, found = renewed(CHAIN, data(1))
    assert [row.between_halves for row in found.layers] == [None, None]


def test_a_model_without_batch_norms():
    text = '<ir_version: 9, opset_import: ["" : 17]> g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu(x) }'
    _, found = renewed(text, data())
    assert (found.layers, codes(found), found.moved) == ((), {"nothing"}, 0.0)


# -- forms of batch norms


def test_training_mode_becomes_foldable():
    proto = model(CHAIN)
    proto.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    proto.graph.node[1].output.extend(["rm", "rv"])
    made, found = renewed(proto, data())
    assert "was-training" in codes(found)
    assert [row.was_training for row in found.layers] == [True, False]
    node = made.graph.node[1]
    assert list(node.output) == ["n"]
    assert not any(a.name == "training_mode" and a.i for a in node.attribute)
    for name, values in plain_chain(proto, data()).items():
        assert np.allclose(stored(made, name), values, rtol=1e-6, atol=1e-6)


def old_form(opset: int, **attributes: int) -> onnx.ModelProto:
    proto = model(CHAIN.replace('"" : 17', f'"" : {opset}').replace("ir_version: 9", "ir_version: 4"))
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    return proto


@pytest.mark.parametrize("opset", [7, 8, 9, 13, 14, 15])
def test_every_opset(opset):
    proto = old_form(opset)
    made, found = renewed(proto, data())
    for name, values in plain_chain(proto, data()).items():
        assert np.allclose(stored(made, name), values, rtol=1e-6, atol=1e-6)
    assert found.engine == "onnxruntime"


@pytest.mark.parametrize("is_test", [0, 1])
def test_opset_6_goes_through_the_interpreter(is_test):
    proto = old_form(6, is_test=is_test)
    made, found = renewed(proto, data(8))
    for name, values in plain_chain(proto, data(8)).items():
        assert np.allclose(stored(made, name), values, rtol=1e-6, atol=1e-6)
    assert found.engine.endswith("the float64 interpreter")
    assert [row.was_training for row in found.layers] == [not is_test] * 2
    assert all(a.i == 1 for n in made.graph.node for a in n.attribute if a.name == "is_test")


def test_one_pass_needs_opset_7():
    with pytest.raises(UsageError, match="opset 7"):
        renewed(old_form(6, is_test=1), data(8), one_pass=True)


PER_ACTIVATION = """
<ir_version: 4, opset_import: ["" : 7]>
g (float[N, 2, 3, 3] x) => (float[N, 2, 3, 3] y)
<float[2, 3, 3] g, float[2, 3, 3] b, float[2, 3, 3] m, float[2, 3, 3] v>
{
  y = BatchNormalization <spatial = 0> (x, g, b, m, v)
}
"""


@pytest.mark.parametrize("one_pass", [False, True])
def test_statistics_of_every_activation(one_pass):
    x = np.random.default_rng(0).normal(size=(50, 2, 3, 3)).astype(np.float32)
    made, _ = renewed(onnx_model(PER_ACTIVATION), x, one_pass=one_pass)
    assert np.allclose(stored(made, "m"), x.mean(axis=0), atol=1e-6)
    assert np.allclose(stored(made, "v"), x.var(axis=0), atol=1e-6)


def onnx_model(text: str) -> onnx.ModelProto:
    """As `model` does, for what onnx's checker does not like."""
    proto = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for value in proto.graph.value_info:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        values = np.abs(random.normal(size=shape)) + 0.5
        proto.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), value.name))
    del proto.graph.value_info[:]
    return proto


DENSE = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N, 6] x) => (float[N, 4] y)
<float[6, 4] w, float[4] g, float[4] b, float[4] m, float[4] v>
{
  h = MatMul (x, w)
  y = BatchNormalization (h, g, b, m, v)
}
"""


@pytest.mark.parametrize("one_pass", [False, True])
def test_after_a_dense_layer(one_pass):
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    made, found = renewed(DENSE, x, one_pass=one_pass)
    h = x.astype(np.float64) @ stored(model(DENSE), "w")
    assert np.allclose(stored(made, "m"), h.mean(axis=0), atol=1e-6)
    assert np.allclose(stored(made, "v"), h.var(axis=0), rtol=1e-6)
    assert found.outputs[0].agreement is not None


SHARED = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N, 3, H, W] x) => (float[N, 3, H, W] y)
<float[3] g, float[3] b, float[3] m, float[3] v>
{
  n = BatchNormalization (x, g, b, m, v)
  s = Mul (x, x)
  n2 = BatchNormalization (s, g, b, m, v)
  y = Add (n, n2)
}
"""


def test_shared_statistics_are_set_apart():
    x = data()
    made, found = renewed(SHARED, x)
    assert found.passes == 1
    assert [row.shared for row in found.layers] == [("BatchNormalization_n2",), ("BatchNormalization_n",)]
    first, second = (node for node in made.graph.node if node.op_type == "BatchNormalization")
    assert list(first.input[1:3]) == list(second.input[1:3]) == ["g", "b"]
    wide = x.astype(np.float64)
    for node, values in ((first, wide), (second, wide**2)):
        assert np.allclose(stored(made, node.input[3]), values.mean(axis=(0, 2, 3)), rtol=1e-6, atol=1e-6)
        assert np.allclose(stored(made, node.input[4]), values.var(axis=(0, 2, 3)), rtol=1e-5)
    onnxruntime.InferenceSession(made.SerializeToString())
    assert (first.input[3], second.input[3]) == ("BatchNormalization_n/mean", "m")


def test_the_input_itself_is_normalised():
    x = data()
    made, _ = renewed(SHARED.replace("s = Mul (x, x)", "s = Relu (x)"), x)
    node = made.graph.node[0]
    assert np.allclose(stored(made, node.input[3]), x.astype(np.float64).mean(axis=(0, 2, 3)), atol=1e-6)


HALF = CHAIN.replace("float[", "float16[")


def test_half_precision():
    proto = onnx_model(HALF)
    for tensor in proto.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    made, found = renewed(proto, data())
    assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in made.graph.initializer)
    expected = plain_chain(proto, data().astype(np.float16))
    for name in ("m", "v"):
        assert np.allclose(stored(made, name), expected[name], rtol=2e-2, atol=2e-2)
    assert not found.left


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("kind", ["float16", "double"])
@pytest.mark.parametrize("opset", [9, 14, 17, 18])
def test_every_float_type_of_every_opset(kind, opset, one_pass):
    proto = onnx_model(CHAIN.replace("float[", f"{kind}[").replace('"" : 17', f'"" : {opset}'))
    numpy_kind = helper.tensor_dtype_to_np_dtype(proto.graph.input[0].type.tensor_type.elem_type)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(numpy_kind)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    made, found = renewed(proto, data(), one_pass=one_pass)
    expected = plain_chain(proto, data().astype(numpy_kind))
    slack = 3e-2 if kind == "float16" else 1e-6
    for name in ("m", "v", "m2", "v2") if not one_pass else ("m", "v"):
        assert np.allclose(stored(made, name), expected[name], rtol=slack, atol=slack)
    assert {t.data_type for t in made.graph.initializer} == {t.data_type for t in proto.graph.initializer}
    assert found.outputs[0].change is not None


def test_what_a_type_cannot_hold_is_left_alone():
    text = SHARED.replace("float[", "float16[").replace("s = Mul (x, x)", "s = Relu (x)")
    proto = onnx_model(text)
    for tensor in proto.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    x = data() * 1000
    _, found = renewed(proto, x.astype(np.float16))
    assert not found.layers
    assert all("does not fit float16" in one.reason for one in found.left)


FUNCTION = """
<ir_version: 9, opset_import: ["" : 17, "f" : 1]>
g (float[N, 3, H, W] x) => (float[N, 3, H, W] y)
<float[3] g, float[3] b, float[3] m, float[3] v>
{
  a = f.block (x, g, b, m, v)
  y = f.block (a, g, b, m, v)
}
<domain: "f", opset_import: ["" : 17]>
block (x, g, b, m, v) => (y) { n = BatchNormalization (x, g, b, m, v) y = Relu (n) }
"""


def test_functions_go_in_the_place_of_their_calls():
    made, found = renewed(model(FUNCTION), data())
    assert (len(found.layers), found.passes, found.left) == (2, 2, ())
    assert not made.functions
    norms = [node for node in made.graph.node if node.op_type == "BatchNormalization"]
    assert norms[0].input[3] != norms[1].input[3]
    onnxruntime.InferenceSession(made.SerializeToString())


BODY = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N, 3, H, W] x, bool c) => (float[N, 3, H, W] y)
<float[3] g, float[3] b, float[3] m, float[3] v>
{
  t = If (c) <
    then_branch = a () => (float[N, 3, H, W] p) { p = BatchNormalization (x, g, b, m, v) },
    else_branch = e () => (float[N, 3, H, W] q) { q = Relu (x) }
  >
  y = BatchNormalization (t, g, b, m, v)
}
"""


def test_in_a_body_it_is_left_alone_with_the_reason():
    made, found = renewed(onnx_model(BODY), {"x": data(), "c": np.array(True)})
    assert len(found.layers) == 1
    (left,) = found.left
    assert "body" in left.reason
    assert {t.name for t in made.graph.initializer} >= {"m", "v"}  # the body's own
    onnxruntime.InferenceSession(made.SerializeToString())


def test_nodes_of_one_name():
    from bnfold.ir.graph import ir
    from bnfold.recalibrating import statistics_of, with_statistics

    proto = model(CHAIN)
    for node in proto.graph.node:
        node.name = "same"
    made, found = renewed(proto, data())
    statistics = statistics_of(ir.from_proto(made), [row.node for row in found.layers])
    again = ir.to_proto(with_statistics(ir.from_proto(proto), statistics))
    for name in ("m", "v", "m2", "v2"):
        assert np.array_equal(stored(again, name), stored(made, name))


FED = """
<ir_version: 9, opset_import: ["" : 17]>
g (float[N, 3, H, W] x, float[3] m) => (float[N, 3, H, W] y)
<float[3] g, float[3] b, float[3] v>
{
  y = BatchNormalization (x, g, b, m, v)
}
"""


def test_statistics_that_are_fed_are_left_alone():
    _, found = renewed(FED, {"x": data(), "m": np.zeros(3, np.float32)})
    assert "fed at run time" in found.left[0].reason
    assert codes(found) == {"nothing"}


def test_statistics_that_somebody_reads_are_left_alone():
    proto = model(CHAIN)
    proto.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    proto.graph.node[1].output.extend(["rm", "rv"])
    proto.graph.output.append(helper.make_tensor_value_info("rm", 1, [4]))
    from bnfold.ir.graph import ir
    from bnfold.recalibrating.norms import prepared

    found = prepared(ir.from_proto(proto))
    assert [norm.name for norm in found.norms] == ["BatchNormalization_y"]
    assert "used elsewhere" in found.left[0].reason


def test_an_overridable_statistic_stays_overridable():
    proto = model(CHAIN)
    proto.graph.input.append(helper.make_tensor_value_info("m", 1, [4]))
    made, _ = renewed(proto, data())
    assert "m" in {value.name for value in made.graph.input}
    assert np.allclose(stored(made, "m"), plain_chain(proto, data())["m"], atol=1e-6)


UNKNOWN = """
<ir_version: 9, opset_import: ["" : 17, "d" : 1]>
g (float[N, 3, H, W] x) => (float[N, 3, H, W] y, float[N, 3, H, W] z)
<float[3] g, float[3] b, float[3] m, float[3] v>
{
  n = BatchNormalization (x, g, b, m, v)
  u = d.Mystery (n)
  y = BatchNormalization (u, g, b, m, v)
  a = Abs (n)
  z = BatchNormalization (a, g, b, m, v)
}
"""


def test_behind_an_unknown_operator_it_is_left_alone():
    """What does not stand behind it is measured all the same."""
    _, found = renewed(onnx_model(UNKNOWN), data())
    assert len(found.layers) == 2
    assert "Mystery" in found.left[0].reason
    assert (found.engine, found.outputs) == ("onnxruntime", ())


# -- data that do not fit


def test_numbers_that_are_not_finite_are_refused_with_file_and_index(tmp_path):
    x = data()
    x[33, 1, 2, 3] = np.inf
    np.save(tmp_path / "a.npy", x[:20])
    np.save(tmp_path / "b.npy", x[20:])
    with pytest.raises(Malformed, match=r"b\.npy: input 13 holds .*inf"):
        renewed(CHAIN, [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
    with pytest.raises(UsageError, match="input 33"):
        renewed(CHAIN, x)


def test_inputs_that_the_network_does_not_run_on():
    text = CHAIN.replace("float[4, 3, 3, 3] w", "float[4, 3, 3, 3] w, float[1, 4, 6, 6] add").replace(
        "r = Relu(n)", "r = Add(n, add)"
    )
    with pytest.raises(Mismatch, match="does not run on inputs"):
        renewed(text, data(size=8))


def test_a_network_that_overflows_is_refused():
    with pytest.raises(Mismatch, match="not finite"):
        renewed(CHAIN, data() * np.float32(1e37))
