"""Operator sets before 7: the second operand of Add and its kin broadcasts only when told so, from `axis` on;
casts name types in words.

All sizes are 4, so that what is laid along the wrong axis still fits, and only the numbers tell.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from .held import hold

HEAD = """<ir_version: 3, opset_import: ["" : %d]> g (double[1, 4, 4, 4] x, double[1, 3] z, double[4] g, double[4] h, double[4, 4, 1, 1] w,
 double[4, 4] k, double[3, 4] q, int64[1] four) => (double[A, B, C, D] y) { %s }"""
SHAPES = {"g": (4,), "h": (4,), "w": (4, 4, 1, 1), "k": (4, 4), "q": (3, 4)}
SIDE = "m = MatMul (z, q)\n s = Squeeze <axes = [0]> (m)\n"


def model(body: str, version: int = 6) -> onnx.ModelProto:
    proto = parser.parse_model(HEAD % (version, body))
    random = np.random.default_rng(7)
    for name, shape in SHAPES.items():
        proto.graph.initializer.append(numpy_helper.from_array(random.uniform(0.5, 1.5, shape), name))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([4]), "four"))
    return proto


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("c = Conv (x, w)\n y = Mul <broadcast = 1, axis = 1> (c, g)", []),
        ("c = Conv (x, w)\n y = Mul <broadcast = 1, axis = -3> (c, g)", []),
        ("c = Conv (x, w)\n y = Mul <broadcast = 1, axis = 2> (c, g)", ["Mul"]),
        ("c = MatMul (x, k)\n y = Mul <broadcast = 1> (c, g)", []),
        # a constant on the way takes a map along its own axis, and no other
        (
            "c = Conv (x, w)\n d = Add <broadcast = 1, axis = 1> (c, h)\n y = Mul <broadcast = 1, "
            "axis = 1> (d, g)",
            [],
        ),
        (
            "c = Conv (x, w)\n d = Add <broadcast = 1, axis = 2> (c, h)\n y = Mul <broadcast = 1, "
            "axis = 2> (d, g)",
            ["Add", "Mul"],
        ),
        (
            "c = Conv (x, w)\n d = Add <broadcast = 1, axis = 2> (c, h)\n y = Mul <broadcast = 1, "
            "axis = 1> (d, g)",
            ["Add", "Mul"],
        ),
        (
            "c = Conv (x, w)\n d = Sub <broadcast = 1, axis = 3> (c, h)\n y = Mul <broadcast = 1, "
            "axis = 1> (d, g)",
            ["Mul", "Sub"],
        ),
        # so does a value that is computed at run time
        (
            SIDE
            + "c = MatMul (x, k)\n d = Add <broadcast = 1, axis = 3> (c, s)\n y = Mul <broadcast = 1> (d, g)",
            ["Add"],
        ),
        (
            SIDE
            + "c = MatMul (x, k)\n d = Add <broadcast = 1, axis = 1> (c, s)\n y = Mul <broadcast = 1> (d, g)",
            ["Add", "Mul"],
        ),
        (
            SIDE + "c = Conv (x, w)\n d = Add <broadcast = 1, axis = 1> (c, s)\n y = Mul <broadcast = 1, "
            "axis = 1> (d, g)",
            ["Add"],
        ),
        (
            SIDE + "c = Conv (x, w)\n d = Mul <broadcast = 1, axis = 3> (c, s)\n y = Mul <broadcast = 1, "
            "axis = 1> (d, g)",
            ["Mul"],
        ),
        (
            SIDE
            + "r = Mul <broadcast = 1> (s, g)\n d = Mul <broadcast = 1, axis = 1> (x, r)\n y = Conv (d, w)",
            ["Mul"],
        ),
        (
            SIDE + "p = Neg (s)\n r = Mul <broadcast = 1> (p, g)\n d = Mul <broadcast = 1, axis = 2> (x, "
            "r)\n y = MatMul (d, k)",
            ["Mul"],
        ),
    ],
)
def test_the_second_operand_lies_where_axis_says(body: str, left: list[str]) -> None:
    folded = hold(model(body)).model
    assert sorted(node.op_type for node in folded.graph if node.op_type in ("Add", "Sub", "Mul")) == left


@pytest.mark.parametrize("word", ["DOUBLE", "double"])
def test_a_cast_names_its_type_in_words(word: str) -> None:
    held = hold(
        model(
            f'c = Conv (x, w)\n d = Cast <to = "{word}"> (c)\n y = Mul <broadcast = 1, axis = 1> (d, g)',
            version=5,
        )
    )
    assert held.count("Mul") == 0


def test_a_tile_repeats_along_one_axis() -> None:
    proto = model("c = Conv (x, w)\n t = Tile (c, two, three)\n y = Relu (t)", version=1)
    for name, value in (("two", 2.0), ("three", 3.0)):
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, []))
        proto.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    assert hold(proto).count("Tile") == 1
