"""Shapes: what is proved, what is not, and what shape tensors say at run time."""

from __future__ import annotations

import pytest
from onnx import parser

from bnfold.inference import Shapes
from bnfold.reading.onnx.reader import read

HEAD = """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 6, H, 5] x) => (float[A, B, C, D] y)
<int64[1] minus = {-1}, int64[1] two = {2}, int64 zero = {0}, int64 one = {1}, int64[2] lead = {0, 0}, float[7] p = {1, 1, 1, 1, 1, 1, 1}> { %s }"""

CASES = [
    ("y = Relu (x)", ("N", 6, "H", 5)),
    ("y = Transpose <perm = [0, 2, 3, 1]> (x)", ("N", "H", 5, 6)),
    ("y = Flatten (x)", ("N", "?")),
    ("t = Transpose <perm = [0, 2, 1, 3]> (x)\n y = BatchNormalization (t, p, p, p, p)", ("N", 7, 6, 5)),
    ("y = GlobalAveragePool (x)", ("N", 6, 1, 1)),
    ("s = Shape (x)\n y = Reshape (x, s)", ("N", 6, "H", 5)),
    (
        "s = Shape (x)\n n = Gather <axis = 0> (s, zero)\n a = Constant <value_ints = [0]> ()\n u "
        "= Unsqueeze (n, a)\n"
        " t = Concat <axis = 0> (u, minus)\n y = Reshape (x, t)",
        ("N", "?"),
    ),
    (
        "s = Shape (x)\n c = Gather <axis = 0> (s, one)\n a = Constant <value_ints = [0]> ()\n u = "
        "Unsqueeze (c, a)\n h = Div (u, two)\n"
        " t = Concat <axis = 0> (minus, two, h)\n y = Reshape (x, t)",
        ("?", 2, 3),
    ),
    ("t = Concat <axis = 0> (lead, minus)\n y = Reshape (x, t)", ("N", 6, "?")),
    ("s = Shape <start = 2> (x)\n y = Expand (two, s)", ("H", 5)),
    ("s = Shape (x)\n y = ConstantOfShape (s)", ("N", 6, "H", 5)),
    (
        "s = NonZero (x)\n r = Shape (s)\n t = Concat <axis = 0> (r, minus)\n y = Reshape (x, t)",
        (4, "?", "?"),
    ),
    ('y = Einsum <equation = "nchw->nwc"> (x)', ("N", 5, 6)),
    ("s = Shape (x)\n h = Gather <axis = 0> (s, zero)\n y = Range (zero, h, one)", ("N",)),
    ("s = Shape (x)\n h = Gather <axis = 0> (s, zero)\n y = Range (one, h, one)", ("?",)),
    ("s = Shape (x)\n c = Gather <axis = 0> (s, one)\n y = Range (zero, c, one)", (6,)),
    ("y, i = TopK <axis = 1> (x, two)", ("N", 2, "H", 5)),
    ("y = Sin (x)", ("N", 6, "H", 5)),
    (
        "a = Shape <start = 1, end = 2> (x)\n h = Div (a, two)\n z = Sub (h, h)\n y = Slice (x, z, h, h)",
        ("N", 6, "H", 3),
    ),
    ("a = Shape <start = 2, end = 3> (x)\n y = Slice (x, two, a, two)", ("N", 6, "?", 5)),
    ("y = GatherND (x, lead)", ("H", 5)),
    (
        "c = Constant <value = bool {1}> ()\n y = If (c) <then_branch = t () => (float[A, B, C, D] "
        "a) { a = Relu (x) }, "
        "else_branch = e () => (float[A, B, C, D] b) { r = Slice (x, minus, two, two)\n b = Relu (r) }>",
        ("N", 6, "?", 5),
    ),
]


@pytest.mark.parametrize(("body", "wanted"), CASES)
def test_what_is_known(body: str, wanted: tuple[int | str, ...]) -> None:
    model = read(parser.parse_model(HEAD % body)).model
    output = next(v for v in model.graph.outputs)
    output.shape = None
    found = Shapes(model).of(output)
    assert found is not None
    assert tuple("?" if str(d).startswith("?") else d for d in found) == wanted


def test_unknown_sizes_never_equal_one_another() -> None:
    model = read(parser.parse_model(HEAD % "a = NonZero (x)\n b = NonZero (x)\n y = Add (a, b)")).model
    shapes = Shapes(model)
    first, second = (shapes.of(n.outputs[0]) for n in list(model.graph)[:2])
    assert first is None or second is None or first[1] != second[1]


def test_a_declared_size_below_zero_is_unknown() -> None:
    proto = parser.parse_model(HEAD % "y = Relu (x)")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    found = Shapes(model := read(proto).model).of(model.graph.outputs[0])
    assert found is not None
    assert str(found[0]).startswith("?")


@pytest.mark.parametrize(
    ("body", "contradicts"),
    [
        ("y = Slice (x, two, two, one1)", False),
        ("y = Slice (x, lead, two)", True),
        ("y, z = Split <axis = 1> (x, three3)", False),
        ("y, z = Split <axis = 1> (x, lead)", True),
        ("y = Transpose <perm = [0, 1, 2, 4]> (x)", True),
        ("y = Pad (x, narrow)", True),
        ("y = Slice (lead, zero, zero, minus, lead)", True),
        ("y = Add (x, three3)", True),
        ("y = Add (x, minus)", False),
        ("y = Concat <axis = 0> (narrow, lead)", False),
        ("y = Concat <axis = 2> (x, x)", False),
        ("y = Concat <axis = 4> (x, x)", True),
        ("y = MatMul (x, three3)", True),
        ("y = MatMul (x, five)", False),
        ('y = Einsum <equation = "nchw,w->nch"> (x, three3)', True),
        ('y = Einsum <equation = "nchw,w->nch"> (x, five)', False),
        ('y = Einsum <equation = "nchw,w->nchz"> (x, five)', True),
        ('y = Einsum <equation = "nc\'w,w->ncw"> (x, five)', True),
        ('y = Einsum <equation = "nc...w...,w->nc"> (x, five)', True),
        ('y = Einsum <equation = "n c ...w, w -> nc..."> (x, five)', False),
        ("y = Conv (x, kernel)", False),
        ("y = Conv <group = 2> (x, kernel)", True),
        ("y = Conv (x, narrow)", True),
        ("y = ConvTranspose (x, kernel)", True),
        ("y = Flatten <axis = 4> (x)", False),
        ("y = Flatten <axis = 9> (x)", True),
        ("y = Reshape (lead, three3)", True),
        ("y = Squeeze (x, two)", False),
        ("y = Squeeze (x, one1)", True),
        ("y = SpaceToDepth <blocksize = 4> (x)", True),
        ("y = Unsqueeze (x, three3)", False),
        ("y = Gather <axis = 1> (x, minus)", False),
        ("y = Gather <axis = 1> (x, five)", False),
        ("y = Gather <axis = 3> (x, five)", True),
        ("y = Unsqueeze (x, lead)", True),
    ],
)
def test_a_node_whose_arguments_do_not_fit_is_known(body: str, contradicts: bool) -> None:
    extra = (
        "int64[1] one1 = {1}, int64[2] three3 = {2, 4}, int64[8] narrow = {0, -4, 0, 0, 0, -4, 0, 0}, "
        "int64[5] five = {1, 2, 3, 4, 5}, "
    )
    extra += "float[1, 6, 1, 1] kernel = {1, 2, 3, 4, 5, 6}, int64[1] minus"
    model = read(parser.parse_model((HEAD % body).replace("int64[1] minus", extra))).model
    assert Shapes(model).contradicts(next(iter(model.graph))) is contradicts


def test_an_old_broadcast_never_enlarges_the_first_operand() -> None:
    text = """<ir_version: 3, opset_import: ["" : 6]> g (float[N, 6, H, 5] x, float[6] c) => (float[A, B, C, D] y)
    { y = Add <broadcast = 1, axis = 1> (x, c) }"""
    model = read(parser.parse_model(text)).model
    node = next(iter(model.graph))
    node.outputs[0].shape = None
    shapes = Shapes(model)
    assert shapes.of(node.outputs[0]) == ("N", 6, "H", 5)
    assert not shapes.contradicts(node)


def test_axes_say_nothing_of_a_type() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]> g (float[2, 2] x) => (float[2] y) <int64[1] axes = {1}>
    { a = com.example.Mystery (x)\n b = ReduceSum <keepdims = 0> (a, axes)\n y = Identity (b) }"""
    model = read(parser.parse_model(text)).model
    assert Shapes(model).dtype(list(model.graph)[1].outputs[0]) is None
