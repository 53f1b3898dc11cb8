"""Linear operators in every stored layout take a batch norm from behind, and a map from in front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

from bnfold.errors import Malformed
from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions

from .held import hold
from .nets import Net
from .test_commute import batch_norm

SEEDS = st.integers(0, 2**32 - 1)


def tail(net: Net, y: str) -> None:
    batch_norm(net, y, "S")


@settings(max_examples=40, deadline=None)
@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_conv(seed: int, rank: int, group: int, ins: int, outs: int, dilation: int, bias: bool) -> None:
    net = Net(seed)
    size = 6
    x = net.input("x", (2, group * ins, *(size,) * rank))
    inputs = [x, net.constant(net.normal(group * outs, ins, *(2,) * rank))] + (
        [net.constant(net.normal(group * outs))] if bias else []
    )
    y = net.op(
        "Conv",
        inputs,
        (2, group * outs, *(size - dilation,) * rank),
        group=group,
        dilations=[dilation] * rank,
    )
    tail(net, y)
    assert hold(net.model()).count("BatchNormalization") == 0


@settings(max_examples=40, deadline=None)
@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_conv_transpose(
    seed: int, rank: int, group: int, ins: int, outs: int, bias: bool, extra: bool
) -> None:
    net = Net(seed)
    x = net.input("x", (1, group * ins, *(3,) * rank))
    inputs = [x, net.constant(net.normal(group * ins, outs, *(2,) * rank))] + (
        [net.constant(net.normal(group * outs))] if bias else []
    )
    y = net.op(
        "ConvTranspose",
        inputs,
        (1, group * outs, *(6 + extra,) * rank),
        group=group,
        strides=[2] * rank,
        output_padding=[int(extra)] * rank,
    )
    tail(net, y)
    assert hold(net.model()).count("BatchNormalization") == 0


@settings(max_examples=60, deadline=None)
@given(
    SEEDS,
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([1.0, 2.0, 0.0]),
    st.sampled_from([None, (), (1,), (5,), (1, 5), (3, 1), (3, 5)]),
)
def test_gemm(
    seed: int, trans_a: bool, trans_b: bool, alpha: float, beta: float, c: tuple[int, ...] | None
) -> None:
    net = Net(seed)
    x = net.input("x", (4, 3) if trans_a else (3, 4))
    inputs = [x, net.constant(net.normal(5, 4) if trans_b else net.normal(4, 5))]
    if c is not None:
        inputs.append(net.constant(np.asarray(net.normal(*c))))
    y = net.op("Gemm", inputs, (3, 5), transA=int(trans_a), transB=int(trans_b), alpha=alpha, beta=beta)
    tail(net, y)
    assert hold(net.model()).count("BatchNormalization") == 0


def test_gemm_whose_first_operand_is_the_weight() -> None:
    net = Net(0)
    y = net.op(
        "Gemm",
        [net.constant(net.normal(5, 4)), net.input("x", (4, 3)), net.constant(net.normal(5, 1))],
        (5, 3),
        alpha=0.5,
    )
    net.op("Mul", [y, net.constant(net.normal(5, 1))], (5, 3))
    assert hold(net.model()).count("Mul") == 0


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_matmul_takes_the_scale_and_leaves_one_add(lead: tuple[int, ...]) -> None:
    net = Net(0)
    y = net.op("MatMul", [net.input("x", (*lead, 4, 3)), net.constant(net.normal(3, 5))], (*lead, 4, 5))
    y = net.op("Mul", [y, net.constant(net.normal(5))], (*lead, 4, 5))
    net.op("Add", [y, net.constant(net.normal(5))], (*lead, 4, 5))
    held = hold(net.model())
    assert (held.count("Mul"), held.count("Add"), held.count("Gemm")) == ((0, 1, 0) if lead else (0, 0, 1))


def test_a_batch_norm_behind_matmul_becomes_an_add_and_behind_matmul_and_add_vanishes() -> None:
    net = Net(0)
    y = net.op("MatMul", [net.input("x", (2, 4, 3)), net.constant(net.normal(3, 5))], (2, 4, 5))
    tail(net, net.op("Transpose", [y], (2, 5, 4), perm=[0, 2, 1]))
    held = hold(net.model())
    assert (held.count("BatchNormalization"), held.count("Add")) == (0, 1)
    net = Net(0)
    y = net.op("MatMul", [net.input("x", (4, 3)), net.constant(net.normal(3, 5))], (4, 5))
    tail(net, net.op("Add", [y, net.constant(net.normal(5))], (4, 5)))
    held = hold(net.model())
    assert (held.count("BatchNormalization"), held.count("Add"), held.count("Gemm")) == (0, 0, 1)


@pytest.mark.parametrize("row", [(5,), (1, 5), (1,), (4, 5)])
def test_a_rewritten_product_of_rows_takes_the_row_behind_it(row: tuple[int, ...]) -> None:
    """onnxruntime's basic level makes a Gemm of these, too; of any other constant it makes none, nor do we."""
    net = Net(0)
    y = net.op("Mul", [net.input("x", (4, 3)), net.constant(net.normal(3))], (4, 3))
    y = net.op("MatMul", [y, net.constant(net.normal(3, 5))], (4, 5))
    net.op("Add", [net.constant(net.normal(*row)), y], (4, 5))
    held = hold(net.model())
    assert held.count("Gemm") == (row in ((5,), (1, 5)))
    assert held.count("Mul") == 0


def test_a_product_that_no_fold_touches_stays_as_it_is() -> None:
    net = Net(0)
    y = net.op("MatMul", [net.input("x", (4, 3)), net.constant(net.normal(3, 5))], (4, 5))
    net.op("Add", [y, net.constant(net.normal(5))], (4, 5))
    assert not hold(net.model()).plan.changes


def test_an_add_that_is_to_stay_is_not_taken_by_the_product() -> None:
    net = Net(0)
    y = net.op("Mul", [net.input("x", (4, 3)), net.constant(net.normal(3))], (4, 3))
    y = net.op("MatMul", [y, net.constant(net.normal(3, 5))], (4, 5))
    net.op("Add", [y, net.constant(net.normal(5))], (4, 5))
    assert hold(net.model(), FoldOptions(keep=("Add_3",))).count("Add") == 1


def test_matmul_from_the_left() -> None:
    net = Net(0)
    y = net.op("MatMul", [net.constant(net.normal(5, 3)), net.input("x", (2, 3, 4))], (2, 5, 4))
    tail(net, y)
    held = hold(net.model())
    assert (held.count("BatchNormalization"), held.count("Add")) == (0, 1)


def test_a_batch_norm_on_another_axis_of_a_matmul_stays() -> None:
    net = Net(0)
    y = net.op("MatMul", [net.input("x", (2, 5, 4, 3)), net.constant(net.normal(3, 5))], (2, 5, 4, 5))
    tail(net, y)
    assert hold(net.model()).kept() == {"BatchNormalization_2": "kept.shift-does-not-pass"}


def test_einsum_that_is_a_matrix_product() -> None:
    net = Net(0)
    y = net.op(
        "Einsum",
        [net.input("x", (2, 3, 4)), net.constant(net.normal(4, 5))],
        (2, 3, 5),
        equation="bik,kn->bin",
    )
    net.op("Mul", [y, net.constant(net.normal(5))], (2, 3, 5))
    assert hold(net.model()).count("Mul") == 0


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("kind", ["P", "N", "S"])
def test_forward_into_conv_without_padding(group: int, kind: str) -> None:
    net = Net(0)
    y = batch_norm(net, net.input("x", (1, 4, 5, 5)), kind)
    net.op("Conv", [y, net.constant(net.normal(6, 4 // group, 3, 3))], (1, 6, 3, 3), group=group)
    assert hold(net.model()).count("BatchNormalization") == 0


@pytest.mark.parametrize(
    ("attributes", "size"), [({"pads": [1, 1, 1, 1]}, 5), ({"auto_pad": "SAME_UPPER"}, 5)]
)
def test_a_shift_stays_before_padding_and_a_scale_does_not(attributes: dict[str, object], size: int) -> None:
    for kind, left in (("S", 1), ("N", 0)):
        net = Net(0)
        y = batch_norm(net, net.input("x", (1, 4, 5, 5)), kind)
        net.op("Conv", [y, net.constant(net.normal(6, 4, 3, 3))], (1, 6, size, size), **attributes)
        held = hold(net.model())
        assert held.count("BatchNormalization") == left
        assert list(held.kept().values()) == ["kept.padding-with-shift"] * left


@pytest.mark.parametrize("kind", ["N", "S"])
def test_forward_into_conv_transpose_takes_a_scale_only(kind: str) -> None:
    net = Net(0)
    y = batch_norm(net, net.input("x", (1, 4, 5, 5)), kind)
    net.op(
        "ConvTranspose", [y, net.constant(net.normal(4, 3, 2, 2))], (1, 6, 10, 10), strides=[2, 2], group=2
    )
    assert hold(net.model()).count("BatchNormalization") == (1 if kind == "S" else 0)


def deform_conv(net: Net, x: str, group: int, parts: int, bias: bool, mask: bool) -> str:
    """Of four channels, with offsets (and a mask) for each of `parts` parts of them."""
    seen = net.input("seen", (1, 4, 5, 5))
    offset, share = (
        net.op("Conv", [seen, net.constant(net.normal(n, 4, 1, 1))], (1, n, 5, 5))
        for n in (2 * 9 * parts, 9 * parts)
    )
    inputs = [x, net.constant(net.normal(6, 4 // group, 3, 3)), offset]
    inputs.append(net.constant(net.normal(6)) if bias else "")
    return net.op(
        "DeformConv",
        [*inputs, share] if mask else inputs if bias else inputs[:3],
        (1, 6, 5, 5),
        group=group,
        offset_group=parts,
        pads=[1] * 4,
    )


@pytest.mark.parametrize(("group", "parts"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_deform_conv(group: int, parts: int, bias: bool, mask: bool) -> None:
    net = Net(0, opset=19)
    tail(net, deform_conv(net, net.input("x", (1, 4, 5, 5)), group, parts, bias, mask))
    assert hold(net.model()).count("BatchNormalization") == 0


@pytest.mark.parametrize("kind", ["N", "S"])
def test_forward_into_deform_conv_takes_a_scale_only(kind: str) -> None:
    net = Net(0, opset=19)
    deform_conv(net, batch_norm(net, net.input("x", (1, 4, 5, 5)), kind), 2, 1, True, True)
    held = hold(net.model())
    assert list(held.kept().values()) == ([] if kind == "N" else ["kept.padding-with-shift"])


def test_offsets_of_a_deform_conv_hold_no_map_of_it() -> None:
    net = Net(0, opset=19)
    x, w = net.input("x", (1, 2, 5, 5)), net.constant(net.normal(4, 2, 1, 1))
    offset = net.op("Mul", [net.op("Relu", [x], (1, 2, 5, 5)), net.constant(np.array(2.0))], (1, 2, 5, 5))
    net.op("DeformConv", [x, w, offset], (1, 4, 5, 5))
    assert hold(net.model()).count("Mul") == 1


@pytest.mark.parametrize("trans_a", [0, 1])
def test_forward_into_gemm_and_matmul(trans_a: int) -> None:
    net = Net(0)
    y = net.op(
        "Mul",
        [
            net.input("x", (4, 3) if trans_a else (3, 4)),
            net.constant(net.normal(*((4, 1) if trans_a else (4,)))),
        ],
        (4, 3) if trans_a else (3, 4),
    )
    net.op("Gemm", [y, net.constant(net.normal(4, 5))], (3, 5), transA=trans_a, alpha=0.5)
    assert hold(net.model()).count("Mul") == 0
    net = Net(0)
    y = batch_norm(net, net.input("x", (3, 4)), "S")
    net.op(
        "Add",
        [net.op("MatMul", [y, net.constant(net.normal(4, 5))], (3, 5)), net.constant(net.normal(5))],
        (3, 5),
    )
    held = hold(net.model())
    assert (held.count("BatchNormalization"), held.count("Add"), held.count("Gemm")) == (0, 0, 1)


def test_every_consumer_must_take_it() -> None:
    for pads, left in (([0] * 4, 0), ([1] * 4, 1)):
        net = Net(0)
        y = batch_norm(net, net.input("x", (1, 4, 5, 5)), "S")
        net.op("Conv", [y, net.constant(net.normal(6, 4, 3, 3))], (1, 6, 3, 3))
        net.op(
            "Conv",
            [y, net.constant(net.normal(2, 4, 3, 3))],
            (1, 2, 3 + 2 * pads[0], 3 + 2 * pads[0]),
            pads=pads,
        )
        assert hold(net.model()).count("BatchNormalization") == left


def test_a_mean_far_away_is_not_pushed_forward() -> None:
    net = Net(0)
    vectors = [np.ones(4), np.zeros(4), np.full(4, 1000.0), np.ones(4)]
    y = net.op("BatchNormalization", [net.input("x", (3, 4)), *(net.constant(v) for v in vectors)], (3, 4))
    net.op("MatMul", [y, net.constant(net.normal(4, 5))], (3, 5))
    assert hold(net.model()).kept() == {"BatchNormalization_1": "kept.ill-conditioned"}


def test_readers_of_shape_or_type_alone_do_not_stand_in_the_way() -> None:
    """torch's dynamo exporter puts a CastLike and a Shape beside every convolution."""
    net = Net(0)
    y = net.op("Conv", [net.input("x", (1, 4, 5, 5)), net.constant(net.normal(4, 4, 1, 1))], (1, 4, 5, 5))
    zero = net.op("CastLike", [net.constant(np.array(0.0)), y], ())
    batch_norm(net, net.op("Identity", [y], (1, 4, 5, 5)), "S")
    net.op("Identity", [zero], ())
    net.op("Size", [y], ())
    assert hold_outputs_but_size(net).count("BatchNormalization") == 0


def hold_outputs_but_size(net: Net):  # type: ignore[no-untyped-def]
    """Size gives an integer; the helper declares every output double."""
    proto = net.model()
    proto.graph.output[-1].type.tensor_type.elem_type = 7
    return hold(proto)


def test_the_weight_behind_a_batch_norm_tells_its_rank() -> None:
    net = Net(0)
    x = net.input("x", (1, 4, 5, 5))
    y = net.op("Reshape", [x, net.input("shape", (4,))], (1, 4, 5, 5))
    y = batch_norm(net, y, "S")
    net.op("Conv", [y, net.constant(net.normal(6, 4, 3, 3))], (1, 6, 3, 3))
    proto = net.model()
    proto.graph.input[1].type.tensor_type.elem_type = 7
    proto.graph.input[1].type.tensor_type.ClearField("shape")
    _, plan = fold(read(proto).model)
    assert [f.into for f in plan.folded] == [("Conv_3",)]


def test_a_zero_bias_hidden_by_an_exporter_is_a_constant() -> None:
    """Expand(CastLike(0, b), Shape(w)), where the type of b is declared nowhere."""
    net = Net(0)
    b = batch_norm(net, net.input("x", (1, 4, 5, 5)), "S")
    w = net.constant(net.normal(6, 4, 3, 3))
    length = net.op("Shape", [w], (1,), end=1)
    bias = net.op(
        "Expand", [net.op("CastLike", [net.constant(np.array(0.0, np.float32)), b], ()), length], (6,)
    )
    net.op("Conv", [b, w, bias], (1, 6, 3, 3))
    held = hold(net.model())
    assert [n.op_type for n in held.model.graph] == ["Conv"]


@pytest.mark.parametrize("operator", ["Gemm", 'Einsum <equation = "ij,jk->ik">'])
def test_a_weight_that_is_no_matrix_is_malformed(operator: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2] x) => (float[N, 2] y)
    <float[2, 2, 1] w = {{1, 2, 3, 4}}, float[2] g = {{1, 2}}, float[2] b = {{0, 1}}, float[2] m = {{0, 1}}, float[2] v = {{1, 2}}>
    {{ c = {operator} (x, w)
      y = BatchNormalization (c, g, b, m, v) }}"""
    with pytest.raises(Malformed, match=r"has a weight of \[2, 2, 1\]; expected a matrix"):
        fold(read(parser.parse_model(text)).model)
