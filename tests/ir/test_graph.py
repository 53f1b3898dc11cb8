"""The questions that we ask of onnx_ir, on graphs written as ONNX text."""

import onnx_ir as ir
import pytest

from bnfold.ir import graph
from bnfold.ir.graph import Names, reads
from bnfold.ir.provenance import SOURCE_KEY

NESTED = """
<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
outer (bool c, float[2] x) => (float[2] y)
{
  h = mine.twice (x)
  [pick] y = If (c) <then_branch = yes () => (float[2] t) { [inner] t = Add (h, x) },
                     else_branch = no () => (float[2] e) { e = If (c) <then_branch = deep () => (float[2] d) { d = Neg (x) },
                                                                        else_branch = flat () => (float[2] f) { f = Abs (x) }> }>
}
<domain: "mine", opset_import: ["" : 15]>
twice (a) => (b) { b = Add (a, a) }
"""


@pytest.fixture
def model():
    return ir.from_onnx_text(NESTED)


def test_every_graph_is_visited_outer_before_inner(model):
    (function,) = graph.function_graphs(model)
    names = ["twice" if g is function else g.name for g in graph.graphs(model)]
    assert names[:2] == ["outer", "twice"]
    assert sorted(names) == sorted(["outer", "twice", "yes", "no", "deep", "flat"])
    assert names.index("no") < names.index("deep")


def test_every_node_is_visited_once(model):
    assert sorted(node.op_type for node in graph.nodes(model)) == sorted(
        ["twice", "If", "Add", "If", "Neg", "Abs", "Add"]
    )


def test_bodies_are_the_graphs_of_one_node(model):
    twice, pick = model.graph
    assert graph.bodies(twice) == []
    assert [body.name for body in graph.bodies(pick)] == ["yes", "no"]


@pytest.mark.parametrize(
    ("domain", "standard"), [("", True), ("ai.onnx", True), ("mine", False), ("ai.onnx.ml", False)]
)
def test_only_standard_operators_are_meant(domain, standard):
    node = ir.node("Conv", [], domain=domain)
    assert graph.is_op(node, "Gemm", "Conv") is standard
    assert not graph.is_op(node, "Gemm")
    assert not graph.is_op(None, "Conv")


def test_an_attribute_is_its_value_or_the_default():
    node = ir.node("Conv", [], {"group": 4, "auto_pad": "VALID", "strides": [1, 2]})
    assert graph.attribute(node, "group") == 4
    assert graph.attribute(node, "auto_pad") == "VALID"
    assert list(graph.attribute(node, "strides")) == [1, 2]
    assert graph.attribute(node, "dilations") is None
    assert graph.attribute(node, "dilations", [1, 1]) == [1, 1]


def test_a_reference_to_a_functions_attribute_is_not_a_value():
    node = ir.Node("", "Elu", [], [ir.RefAttr("alpha", "slope", ir.AttributeType.FLOAT)])
    with pytest.raises(LookupError, match="'alpha' refers to the function's attribute 'slope'"):
        graph.attribute(node, "alpha", 1.0)
    assert graph.bodies(node) == []


def test_a_function_follows_its_own_opset(model):
    (function,) = graph.function_graphs(model)
    assert graph.opset(model) == graph.opset(model, model.graph) == 17
    assert graph.opset(model, function) == 15


@pytest.mark.parametrize(("imports", "version"), [({"": 9}, 9), ({"ai.onnx": 9}, 9), ({"mine": 3}, 1)])
def test_the_standard_domain_has_two_names(imports, version):
    assert graph.opset(ir.Model(ir.Graph([], [], nodes=[], opset_imports=imports), ir_version=8)) == version


def test_a_label_is_never_empty():
    named, unnamed, bare = ir.node("Relu", [], name="act"), ir.node("Relu", []), ir.node("Relu", [])
    unnamed.outputs[0].name = "y"
    assert [graph.label(node) for node in (named, unnamed, bare)] == ["act", "y", "Relu"]


def test_where_a_node_came_from_is_on_the_node_or_in_its_file():
    node = ir.node("Relu", [])
    assert graph.source_text(node) == ""
    node.meta[SOURCE_KEY] = "model.onnx#0 (Relu)"
    assert graph.source_text(node) == "model.onnx#0 (Relu)"
    node.metadata_props[SOURCE_KEY] = "net.cfg:3 [activation] #0"
    assert graph.source_text(node) == "net.cfg:3 [activation] #0"


def test_new_names_collide_with_none_anywhere(model):
    names = Names(model)
    for taken in ("x", "h", "y", "t", "e", "d", "f", "a", "b"):
        assert names.value(taken) == f"{taken}_2"
    assert names.value("x") == "x_3"
    assert names.value("free") == "free"
    assert names.value("free") == "free_2"
    assert names.node("inner") == "inner_2"
    assert names.node("x") == "x"


def test_new_names_avoid_numbered_ones():
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] x_2) <float[1] w = '
        "{1.0}> { x_2 = Add (x, w) }"
    )
    names = Names(ir.from_onnx_text(text))
    assert names.value("x") == "x_3"
    assert names.value("w") == "w_2"


def test_a_node_reads_what_its_bodies_read_from_outside_of_them():
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (bool c, float[1] x, float[1] z) => (float[1] y) <float[1] w = {1.0}> {
        y = If (c) <
            then_branch = t () => (float[1] a) <float[1] own = {2.0}> { b = Add (x, own) a = Mul (b, w) },
            else_branch = e () => (float[1] d) {
                d = If (c) <
                    then_branch = t2 () => (float[1] f) { f = Identity (z) },
                    else_branch = e2 () => (float[1] h) { h = Identity (x) }
                >
            }
        >
    }""")
    assert {value.name for value in reads(model.graph[0])} == {"c", "x", "w", "z"}
