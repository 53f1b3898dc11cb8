"""The whole fold: what holds for any graph."""

from __future__ import annotations

import gc
import random
import tracemalloc

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper, parser

from bnfold import writing
from bnfold.folding import fold
from bnfold.folding.forward import _Forward
from bnfold.ir import graph
from bnfold.ir.provenance import FOLDED_KEY, SOURCE_KEY
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions

from .cubes import random_cube
from .held import hold
from .nets import Net, random_net
from .parallel import random_sum
from .test_commute import batch_norm, conv

X = (1, 4, 5, 5)


@pytest.mark.parametrize("seed", range(60))
def test_random_nets(seed: int) -> None:
    hold(random_net(seed), tolerance=1e-9)


@pytest.mark.parametrize("seed", range(60, 80))
def test_random_nets_with_every_option(seed: int) -> None:
    hold(random_net(seed), FoldOptions(duplicate_producers=True, simplify_leftovers=True), tolerance=1e-9)


@pytest.mark.parametrize("seed", range(200))
def test_random_nets_whose_axes_all_have_one_size(seed: int) -> None:
    options = FoldOptions(duplicate_producers=seed % 5 == 0, simplify_leftovers=seed % 3 == 0)
    hold(random_cube(seed, 8), options, tolerance=1e-8)


@pytest.mark.parametrize(("kind", "reverse"), [("Add", False), ("Add", True), ("Sub", False), ("Sub", True)])
def test_a_constant_behind_a_matmul_takes_the_shift_with_its_sign(kind: str, reverse: bool) -> None:
    net = Net(3)
    y = batch_norm(net, net.input("x", (2, 4, 4)), "S")
    y = net.op("MatMul", [net.constant(net.normal(4, 4)), y], (2, 4, 4))
    operands = [y, net.constant(net.normal(4, 1))]
    net.op(kind, operands[::-1] if reverse else operands, (2, 4, 4))
    held = hold(net.model())
    assert [node.op_type for node in held.model.graph] == ["MatMul", kind]


@pytest.mark.parametrize("seed", range(80, 110))
def test_folding_again_changes_nothing(seed: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    once, _ = fold(read(random_net(seed)).model)
    with writing.write(once, tmp_path / "once.onnx") as written:
        written.commit()
    again, plan = fold(read(tmp_path / "once.onnx").model)
    assert plan.folded == ()
    with writing.write(again, tmp_path / "twice.onnx") as written:
        written.commit()
    assert (tmp_path / "once.onnx").read_bytes() == (tmp_path / "twice.onnx").read_bytes()


@pytest.mark.parametrize("seed", range(110, 130))
def test_the_order_in_the_file_does_not_matter(seed: int) -> None:
    proto = random_net(seed)
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(proto)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(another_order(proto, random.Random(seed)))
    one, _ = fold(read(proto).model)
    other, _ = fold(read(shuffled).model)
    assert texts(one) == texts(other)


def another_order(proto: onnx.ModelProto, rng: random.Random) -> list[onnx.NodeProto]:
    """A random topological order of the graph's nodes."""
    known = {v.name for v in proto.graph.input} | {t.name for t in proto.graph.initializer} | {""}
    waiting, ordered = list(proto.graph.node), []
    while waiting:
        ready = [n for n in waiting if set(n.input) <= known]
        node = rng.choice(ready)
        waiting.remove(node)
        ordered.append(node)
        known |= set(node.output)
    return ordered


def texts(model: ir.Model) -> list[bytes]:
    """The nodes, without their place in the source, in an order of their own, and the weights."""
    proto = ir.to_proto(model)
    for node in proto.graph.node:
        del node.metadata_props[:]
    return sorted(n.SerializeToString(deterministic=True) for n in proto.graph.node) + sorted(
        t.SerializeToString(deterministic=True) for t in proto.graph.initializer
    )


def test_names_tell_the_truth() -> None:
    net = Net(0)
    y = conv(net, net.input("x", X))
    y = net.op("Identity", [y], X)
    y = batch_norm(net, y, "S")
    net.op("Relu", [y], X)
    model = hold(net.model()).model
    assert [v.name for n in model.graph for v in n.outputs] == ["v1/folded", "v3", "v4"]


def test_new_names_collide_with_none() -> None:
    net = Net(0)
    batch_norm(net, conv(net, net.input("x", X)), "S")
    proto = net.model()
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1), "k0/folded"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["k0/folded"], ["k1/folded"])],
        "body",
        [],
        [helper.make_tensor_value_info("k1/folded", onnx.TensorProto.DOUBLE, [1])],
    )
    condition = numpy_helper.from_array(np.array(True), "condition")
    proto.graph.initializer.append(condition)
    proto.graph.node.append(helper.make_node("If", ["condition"], ["z"], then_branch=body, else_branch=body))
    proto.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.DOUBLE, [1]))
    model = hold(proto).model
    assert {"k0/folded", "k0/folded_2"} <= set(model.graph.initializers)


def test_provenance_travels_with_the_absorber() -> None:
    net = Net(0)
    y = batch_norm(net, conv(net, net.input("x", X)), "S")
    net.op("Mul", [y, net.constant(np.array(2.0))], X)
    node = next(iter(hold(net.model()).model.graph))
    assert node.metadata_props[FOLDED_KEY] == "BatchNormalization_2, Mul_3"
    assert node.metadata_props[SOURCE_KEY] == "model#0 Conv_1 (Conv)"


def test_shared_weights_are_copied_on_write() -> None:
    net = Net(0)
    x = net.input("x", X)
    w = net.constant(net.normal(4, 4, 1, 1))
    for kind in "PS":
        batch_norm(net, net.op("Conv", [x, w], X), kind)
    net.op("ReduceSum", [w], (1, 1, 1, 1))
    held = hold(net.model())
    assert held.count("BatchNormalization") == 0
    assert w in held.model.graph.initializers


def test_parameters_shared_by_two_batch_norms() -> None:
    net = Net(0)
    x = net.input("x", X)
    names = [net.constant(v) for v in (net.normal(4), net.normal(4), net.normal(4), np.ones(4))]
    for _ in range(2):
        net.op("BatchNormalization", [conv(net, x), *names], X)
    assert hold(net.model()).count("BatchNormalization") == 0


def test_another_reader_keeps_it_and_the_price_is_told() -> None:
    net = Net(0)
    y = conv(net, net.input("x", X))
    batch_norm(net, y, "S")
    net.op("Sigmoid", [y], X)
    held = hold(net.model())
    assert held.kept() == {"BatchNormalization_2": "kept.multiple-consumers"}
    assert "Sigmoid 'Sigmoid_3'" in held.plan.kept[0].reason
    assert (
        "--duplicate-producers: Conv 'Conv_1' would be computed twice, 16 weights more"
        in held.plan.kept[0].reason
    )
    assert hold(net.model(), FoldOptions(duplicate_producers=True)).count("BatchNormalization") == 0


def test_a_union_may_be_copied_for_a_reader_of_its_own() -> None:
    """Copying a producer that is a union by now keeps the type that its weights are stored in."""
    net = Net(0)
    x = net.op("Relu", [net.input("x", X)], X)
    parts = [
        net.op("Conv", [x, net.constant(net.normal(4, 4, k, k).astype(np.float32))], X, pads=[k // 2] * 4)
        for k in (3, 1)
    ]
    y = net.op("Add", parts, X)
    net.op("Sigmoid", [y], X)
    net.op("Mul", [y, net.constant(np.array(2.0, np.float32))], X)
    model, plan = fold(read(net.model()).model, FoldOptions(duplicate_producers=True))
    assert [k.code for k in plan.kept] == []
    assert {n.inputs[1].const_value.dtype for n in model.graph if n.op_type == "Conv"} == {ir.DataType.FLOAT}


def test_a_graph_output_keeps_its_value() -> None:
    net = Net(0)
    y = conv(net, net.input("x", X))
    batch_norm(net, y, "S")
    proto = net.model()
    proto.graph.output.append(helper.make_tensor_value_info(y, onnx.TensorProto.DOUBLE, X))
    assert hold(proto).kept() == {"BatchNormalization_2": "kept.graph-output"}


BODIES = """<ir_version: 8, opset_import: ["" : 17]>
g (bool c, double[1, 2, 3, 3] x) => (double[1, 2, 3, 3] y)
<double[2, 2, 1, 1] w = {1.0, 2.0, 3.0, 4.0}, double[2] s = {1.5, 2.0}, double[2] b = {1.0, -1.0},
 double[2] m = {0.5, 0.25}, double[2] v = {1.0, 2.0}>
{ y = If (c) <
    then_branch = t () => (double[1, 2, 3, 3] p) { q = Conv (x, w)
      p = BatchNormalization (q, s, b, m, v) },
    else_branch = e () => (double[1, 2, 3, 3] r) { r = Identity (x) }> }"""


def test_bodies_are_folded_inside() -> None:
    model, plan = fold(read(parser.parse_model(BODIES)).model)
    assert [f.op for f in plan.folded] == ["BatchNormalization"]
    onnx.checker.check_model(ir.to_proto(model))


FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (double[1, 2, 3, 3] x) => (double[1, 2, 3, 3] y)
<double[2, 2, 1, 1] w = {1.0, 2.0, 3.0, 4.0}, double[2] s = {1.5, 2.0}, double[2] b = {1.0, -1.0},
 double[2] m = {0.5, 0.25}, double[2] v = {1.0, 2.0}>
{ q = Conv (x, w)
  %s }
<domain: "local", opset_import: ["" : 17]> norm (X, S, B, M, V) => (Y) { Y = BatchNormalization (X, S, B, M, V) }"""


def test_a_function_called_once_is_folded_across_its_call() -> None:
    held = hold(parser.parse_model(FUNCTION % "y = local.norm (q, s, b, m, v)"))
    assert held.count("BatchNormalization") == 0


def test_a_function_called_twice_is_folded_where_its_callers_hand_over_the_parameters() -> None:
    held = hold(
        parser.parse_model(FUNCTION % "p = local.norm (q, s, b, m, v)\n  y = local.norm (p, s, b, m, v)")
    )
    assert not held.plan.kept
    assert not held.model.functions


def test_ten_thousand_nodes_in_a_row_need_no_recursion() -> None:
    net = Net(0)
    y = conv(net, net.input("x", X))
    for _ in range(10_000):
        y = net.op("Identity", [y], X)
    batch_norm(net, y, "S")
    _, plan = fold(read(net.model()).model)
    assert len(plan.folded) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_is_computed_in_double_and_rounded_once(dtype: type) -> None:
    rng = np.random.default_rng(0)
    w, (g, b, m) = rng.normal(size=(3, 2, 1, 1)).astype(dtype), rng.normal(size=(3, 3)).astype(dtype)
    v = rng.uniform(0.5, 2, 3).astype(dtype)
    net = Net(0)
    x = net.input("x", (1, 2, 3, 3))
    y = net.op("Conv", [x, net.constant(w)], (1, 3, 3, 3))
    net.op("BatchNormalization", [y, *(net.constant(k) for k in (g, b, m, v))], (1, 3, 3, 3), epsilon=1e-3)
    proto = net.model()
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model, _ = fold(read(proto).model)
    scale = g.astype(np.float64) / np.sqrt(v.astype(np.float64) + float(np.float32(1e-3)))
    node = next(iter(model.graph))
    assert np.array_equal(node.inputs[1].const_value.numpy(), (w * scale.reshape(3, 1, 1, 1)).astype(dtype))
    assert np.array_equal(node.inputs[2].const_value.numpy(), (b - scale * m).astype(dtype))


def test_half_precision_that_would_overflow_stays() -> None:
    net = Net(0)
    y = net.op(
        "Conv",
        [net.input("x", (1, 1, 2, 2)), net.constant(np.full((1, 1, 1, 1), 100.0, np.float16))],
        (1, 1, 2, 2),
    )
    net.op("Mul", [y, net.constant(np.array(1000.0, np.float16))], (1, 1, 2, 2))
    _, plan = fold(read(net.model()).model)
    assert [k.code for k in plan.kept] == ["kept.overflow"]
    assert "1e+05" in plan.kept[0].reason


def test_what_computes_a_weight_is_no_affine_node_of_the_users() -> None:
    """A caller may override the weight, so its Div and Mul are no constants: they stay, and are not listed."""
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 2, 4, 4] x, float[2, 2, 1, 1] w) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2, 1, 1, 1] a = {2, 3}, float[2, 1, 1] s = {2, 3}>
        { u = Div(w, a) v = Mul(u, a) c = Conv(x, v) r = Sigmoid(c) [users] y = Mul(r, s) }""")
    assert [k.node for k in fold(read(proto).model)[1].kept] == ["users"]


def test_a_batch_norm_of_weights_is_counted() -> None:
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 2, 4, 4] x, float[2, 2, 1, 1] w) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] s = {2, 3}>
        { t = Tanh(w) [norm] v = BatchNormalization(t, s, s, s, s) y = Conv(x, v) }""")
    assert [k.node for k in fold(read(proto).model)[1].kept] == ["norm"]


def test_a_chain_that_nothing_can_hold_is_walked_once() -> None:
    """Each of its nodes asks what stands behind it; the answer at the end is the same for all of them."""
    count = 400
    net = Net(0)
    y = net.input("x", (1, 4))
    for at in range(count):
        y = net.op(("Mul", "Add", "Relu")[at % 3], [y] + [net.constant(np.array(1.5))] * (at % 3 < 2), (1, 4))
    net.op("Sigmoid", [y], (1, 4))
    taken = []
    proto = net.model()
    with pytest.MonkeyPatch.context() as patch:
        whole = _Forward._take
        patch.setattr(_Forward, "_take", lambda self, user: (taken.append(user), whole(self, user))[1])
        held = hold(proto)
    assert len(held.kept()) == 267 and len(taken) < 3 * count


def test_a_chain_that_nobody_reads_is_walked_once() -> None:
    count = 300
    net = Net(0)
    x = y = net.input("x", (1, 4))
    for _ in range(count):
        y = net.op("Mul", [y, net.constant(np.array(1.5))], (1, 4))
    net.op("Sigmoid", [x], (1, 4))
    proto = net.model()
    del proto.graph.output[:-1]
    with pytest.MonkeyPatch.context() as patch:
        taken, whole = [], _Forward._take
        patch.setattr(_Forward, "_take", lambda self, user: (taken.append(user), whole(self, user))[1])
        plan = fold(read(proto).model)[1]
    assert len(plan.kept) == count and len(taken) < 2 * count


@pytest.mark.parametrize("seed", range(5))
def test_the_public_functions_of_onnx_ir_serve_as_well(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a version has none of the private parts that spare a square."""
    proto = random_sum(seed)
    folded = ir.to_proto(fold(read(proto).model)[0]).SerializeToString(deterministic=True)
    monkeypatch.setattr(graph, "_DIRECT", False)
    assert ir.to_proto(fold(read(proto).model)[0]).SerializeToString(deterministic=True) == folded


FOUR = ", ".join(f"float[4] {name} = {{1, 2, 3, 4}}" for name in "gbmv")


@pytest.mark.parametrize("dead", ["d = Conv(x, w) e", "d = Relu(x) f = Conv(d, w) e"])
def test_what_leads_nowhere_stays_when_a_batch_norm_in_it_is_folded(dead: str) -> None:
    last = "f" if "f =" in dead else "d"
    proto = parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 1, 5] x) => (float[N, 4, 5] y) <float[4, 1, 1] w = {{1, 2, 3, 4}}, {FOUR}> {{
        {dead} = BatchNormalization({last}, g, b, m, v)
        c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) }}""")
    folded, plan = fold(read(proto).model)
    assert len(plan.folded) == 2
    assert [n.op_type for n in folded.graph].count("Conv") == 2


def test_quantization_annotations_stay_with_their_numbers() -> None:
    proto = parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 1, 5] x) => (float[N, 4, 5] y) <float[4, 1, 1] w = {{1, 2, 3, 4}}, float k = {{1}}, {FOUR}> {{
        c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) }}""")
    for name in ("x", "c", "y"):
        note = proto.graph.quantization_annotation.add(tensor_name=name)
        note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="k" if name == "y" else "g")
    folded, _ = fold(read(proto).model)
    written = ir.to_proto(folded).graph.quantization_annotation
    assert {a.tensor_name: a.quant_parameter_tensor_names[0].value for a in written} == {"x": "g", "y": "k"}


def test_of_what_stays_nothing_but_its_reason_is_kept_in_memory() -> None:
    """Attention adds a large constant to each of its products. A refusal that is remembered with the frames
    that it went through would keep all of their maps, as no collector runs in the command."""
    count, bias = 24, np.random.default_rng(0).random((1, 4, 128, 128), np.float32)  # half a MB of float64
    nodes = [
        node
        for k in range(count)
        for node in (
            helper.make_node("MatMul", ["x", "x"], [f"p{k}"]),
            helper.make_node("Add", [f"p{k}", f"c{k}"], [f"a{k}"]),
            helper.make_node("Softmax", [f"a{k}"], [f"y{k}"], axis=-1),
        )
    ]
    shape = [1, 4, 128, 128]
    graph_ = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(f"y{k}", 1, shape) for k in range(count)],
        [numpy_helper.from_array(bias, f"c{k}") for k in range(count)],
    )
    model = ir.from_proto(helper.make_model(graph_, opset_imports=[helper.make_opsetid("", 17)]))
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        _, plan = fold(model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert not plan.folded
    assert peak < 12e6  # the maps of them all take twice that
