"""Constants are what onnxruntime computes, also where little but the last bits of large numbers is left."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from bnfold.inference import Shapes
from bnfold.inference.constants import Constants
from bnfold.ir.graph import ir
from bnfold.reading.onnx.reader import read

HEAD = '<ir_version: 8, opset_import: ["" : %d]> g () => (float[A, B] y) <float[64, 34] k, float[34, 1] ones> { %s }'
CANCELLING = {
    "a sum": "y = ReduceSum (k)",
    "a mean": "y = ReduceMean <axes = [0]> (k)",
    "a product of matrices": "y = MatMul (k, ones)",
    "a variance as a difference": (
        "q = Mul (k, k)\n a = ReduceMean <axes = [0]> (q)\n b = ReduceMean <axes = [0]> (k)\n c = Mul (b, b)\n"
        "y = Sub (a, c)"
    ),
}


def computed(text: str, opset: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """(what we take for the constant y, what onnxruntime computes)."""
    proto = parser.parse_model(HEAD % (opset, text))
    random = np.random.default_rng(0)
    signs = np.where(np.add.outer(np.arange(64), np.arange(34)) % 2, 1, -1)
    large = (signs * 1e7 + 3 * random.standard_normal((64, 34))).astype(np.float32)
    for name, values in (("k", large), ("ones", np.ones((34, 1), np.float32))):
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    del proto.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    model = read(proto).model
    ours = Shapes(model).constants.typed(model.graph.outputs[0])
    assert ours is not None
    return ours, session.run(None, {})[0]


@pytest.mark.parametrize("name", CANCELLING)
def test_large_numbers_that_cancel_leave_what_onnxruntime_leaves(name: str) -> None:
    ours, theirs = computed(CANCELLING[name])
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("opset", [10, 13])
def test_an_operator_that_onnx_has_no_reference_for_is_computed_all_the_same(opset: int) -> None:
    text = (
        "i = Constant <value = int8[2, 2] {1, -2, 3, 4}> ()\n s = Constant <value = float {0.5}> ()\n"
        "y = DequantizeLinear (i, s)"
    )
    ours, theirs = computed(text, opset)
    np.testing.assert_array_equal(ours, theirs)


FREE = """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 300, 2] x) => (float[A] y)
<int64[1] one = {1}, int64[1] two = {2}> { s = Shape (x)\n a = Gather (s, one)\n b = Gather (s, two)\n %s }"""
SIZES = {
    "c = Cast <to = 1> (a)\n y = Identity (c)": [300.0],
    # in floats a quotient is not rounded down, and narrow integers wrap around
    "c = Cast <to = 1> (b)\n d = Cast <to = 1> (a)\n e = Div (c, d)\n f = Mul (e, d)\n y = Cast <to = 7> (f)": [
        2
    ],
    "c = Cast <to = 3> (a)\n y = Cast <to = 7> (c)": [44],
    "c = Cast <to = 9> (a)\n y = Cast <to = 7> (c)": [1],
    "c = Div (a, b)\n d = Cast <to = 1> (c)\n e = Exp (d)\n f = Log (e)\n g = Cast <to = 1> (a)\n y = Div (g, d)": [
        2.0
    ],
    "c = Max (a, b)\n y = Mod (c, two)": [0],
}


@pytest.mark.parametrize("text", SIZES)
def test_known_sizes_among_free_ones_are_constants(text: str) -> None:
    model = read(parser.parse_model(FREE % text)).model
    found = Shapes(model).constants.typed(model.graph.outputs[0])
    assert found is not None
    assert found.tolist() == SIZES[text]


def test_a_free_size_is_no_constant() -> None:
    text = "zero = Constant <value = int64[1] {0}> ()\n c = Gather (s, zero)\n y = Cast <to = 1> (c)"
    model = read(parser.parse_model(FREE % text)).model
    assert Shapes(model).constants.typed(model.graph.outputs[0]) is None


MADE = {
    "e = EyeLike (q)\n y = Add (e, k)": (4, 6),
    "y = Conv <pads = [1, 1], dilations = [2]> (x, w)": (2, 3, 5),
    "y = GlobalAveragePool (x)": (2, 4, 1),
    "n = Constant <value_int = 6> ()\n h = HannWindow (n)\n y = Mul (k, h)": (4, 6),
}


@pytest.mark.parametrize("text", MADE)
def test_what_operators_make_of_constants_is_constant(text: str) -> None:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4, 6] q) => (float[A] y) '
        f"<float[4, 6] k, float[2, 4, 7] x, float[3, 4, 3] w> {{ {text} }}"
    )
    random = np.random.default_rng(0)
    for value in list(proto.graph.value_info):
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        values = random.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(values, value.name))
    del proto.graph.value_info[:]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"q": np.zeros((4, 6), np.float32)})[0]
    model = read(proto).model
    ours = Shapes(model).constants.typed(model.graph.outputs[0])
    assert ours is not None
    assert ours.shape == MADE[text]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_vectors_that_are_read_together_are_what_each_alone_is() -> None:
    """Vectors of two lengths, one of another type, one that a caller may override, and a matrix."""
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[1] x, float[2] o) => (float[1] y)
        <float[2] a = {1.5, -0.0}, float[2] b = {3.0, 1e-45}, float[3] c = {0.1, 0.2, 0.3},
         double[2] d = {0.1, 0.2}, float[1,2] m = {1.0, 2.0}, float[2] o = {1.0, 2.0}> { y = Identity(x) }"""
    )
    for stored in proto.graph.initializer:  # as exporters write them
        stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored), stored.name))
    model = ir.from_proto(proto)
    values = [model.graph.initializers[name] for name in "abcdmo"]
    alone, together = Constants(model), Constants(model)
    together.read_together([*values, None, values[0]])
    for value in values:
        for question in (Constants.typed, Constants.array):
            one, other = question(alone, value), question(together, value)
            assert (one is None) == (other is None) == (value.name == "o")
            if one is not None and other is not None:
                assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
