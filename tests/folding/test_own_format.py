"""What a pair of text and weights can hold: a layer whole or not at all, and an array once."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold.folding import fold
from bnfold.results.options import FoldOptions
from bnfold.results.pair import Pair, Unit

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
NORM = "float[2] g, float[2] b, float[2] m, float[2] v"


def model(text: str) -> ir.Model:
    """A model whose weights are seeded; `x` is its input."""
    proto = onnx.parser.parse_model(HEAD + text)
    random = np.random.default_rng(3)
    for value in list(proto.graph.input)[1:]:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        values = (random.random(shape) + 0.5).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, value.name))
        proto.graph.input.remove(value)
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}{index}"
    return ir.from_proto(proto)


CHAIN = f"""g (float[1,2,4,4] x, float[2,2,1,1] w, float[2] c, {NORM}) => (float[1,2,4,4] z) {{
  y = Conv(x, w, c)
  z = BatchNormalization(y, g, b, m, v)
}}"""
ARRAYS = {("Conv0", 1): ("w",), ("Conv0", 2): ("c",)}


def folded(text: str, *units: Unit, **options: object):
    """(operators that are left, the codes of what stays)."""
    result, plan = fold(model(text), FoldOptions(**options), pair=Pair(format="caffe", units=units))
    return [node.op_type for node in result.graph], [kept.code for kept in plan.kept]


def test_a_layer_that_can_vanish_into_arrays_that_are_stored():
    assert folded(CHAIN, Unit(label="u", leaves=("BatchNormalization1",), arrays=ARRAYS)) == (["Conv"], [])


@pytest.mark.parametrize(
    "units",
    [
        (Unit(label="u", arrays=ARRAYS),),
        (Unit(label="u", leaves=("BatchNormalization1",)),),
        (Unit(label="u", leaves=("BatchNormalization1",), arrays={("Conv0", 1): ("w",)}),),
    ],
    ids=["its layer stays", "no array", "no place for a bias"],
)
def test_what_has_no_place_stays(units):
    assert folded(CHAIN, *units) == (["Conv", "BatchNormalization"], ["kept.format"])


def test_what_has_to_go_into_its_own_layer():
    own = Unit(label="u", leaves=("BatchNormalization1",), inside=True)
    other = Unit(label="v", arrays=ARRAYS)
    assert folded(CHAIN, own, other)[1] == ["kept.format"]
    whole = Unit(label="u", leaves=("BatchNormalization1",), arrays=ARRAYS, inside=True)
    assert folded(CHAIN, whole)[1] == []


IN_PART = """g (float[1,2,4,4] x, float[2,2,1,1] w, float[2] c, float[2,1,1] s, float[2,1,1] t)
  => (float[1,2,4,4] z) {
  y = Conv(x, w, c)
  r = Relu(y)
  p = Mul(r, s)
  z = Add(p, t)
}"""


def test_a_layer_that_would_vanish_in_part_stays_whole():
    unit = Unit(label="layer 's'", leaves=("Mul2", "Add3"))
    operators, codes = folded(IN_PART, unit, Unit(label="c", arrays=ARRAYS))
    assert operators == ["Conv", "Relu", "Mul", "Add"]
    assert "kept.format" in codes


TWICE = f"""g (float[1,2,4,4] x, float[2,2,1,1] w, float[2] c, {NORM}) => (float[1,2,4,4] z, float[1,2,4,4] q) {{
  y = Conv(x, w, c)
  z = BatchNormalization(y, g, b, m, v)
  q = Conv(x, w, c)
}}"""


def test_an_array_that_others_use_as_it_was_stays():
    arrays = ARRAYS | {("Conv2", 1): ("w",), ("Conv2", 2): ("c",)}
    unit = Unit(label="u", leaves=("BatchNormalization1",), arrays=arrays)
    assert folded(TWICE, unit) == (["Conv", "BatchNormalization", "Conv"], ["kept.format"])


def test_an_array_that_becomes_the_same_for_all_is_rewritten_once():
    text = TWICE.replace(
        "  q = Conv(x, w, c)", "  d = Conv(x, w, c)\n  q = BatchNormalization(d, g, b, m, v)"
    )
    arrays = ARRAYS | {("Conv2", 1): ("w",), ("Conv2", 2): ("c",)}
    unit = Unit(label="u", leaves=("BatchNormalization1", "BatchNormalization3"), arrays=arrays)
    assert folded(text, unit) == (["Conv", "Conv"], [])
    assert folded(text, unit, keep=("BatchNormalization3",))[0].count("BatchNormalization") == 2


def test_the_models_own_graph_is_never_touched():
    source = model(CHAIN)
    before = [node.op_type for node in source.graph]
    unit = Unit(label="u", leaves=("BatchNormalization1",), arrays=ARRAYS)
    fold(source, FoldOptions(), in_place=True, pair=Pair(format="caffe", units=(unit,)))
    assert [node.op_type for node in source.graph] == before
