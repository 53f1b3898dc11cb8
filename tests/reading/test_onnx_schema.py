"""Nodes are held against the schemas of their operators, in the version that their file says."""

from __future__ import annotations

import pytest
from onnx import parser

from bnfold.errors import Malformed
from bnfold.reading.onnx import read


def test_an_operator_of_a_later_version_is_held_against_what_it_became() -> None:
    text = """<ir_version: 8, opset_import: ["" : %d]> g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) { y = LayerNormalization (%s) }"""
    assert read(parser.parse_model(text % (11, "x, x"))).model.opset_imports[""] == 11
    with pytest.raises(Malformed, match=r"LayerNormalization.* has 0 inputs; 2 to 3"):
        read(parser.parse_model(text % (11, "")))


def test_a_cast_to_a_type_that_there_is_not_is_malformed() -> None:
    text = """<ir_version: 3, opset_import: ["" : 5]> g (float[2] x) => (float[2] y) { y = Cast <to = "%s"> (x) }"""
    assert len(read(parser.parse_model(text % "FLOAT")).model.graph) == 1
    with pytest.raises(Malformed, match=r"'to' of node.* is 'REAL'; the name of an element type"):
        read(parser.parse_model(text % "REAL"))


def test_an_operand_of_a_list_must_have_a_name() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[4] y) { y = Concat <axis = 0> (x, x) }"""
    proto = parser.parse_model(text)
    proto.graph.node[0].input[0] = ""
    with pytest.raises(Malformed, match=r"Concat.* has no input 0"):
        read(proto)


def test_attributes_without_a_type_get_one_in_a_copy() -> None:
    text = """<ir_version: 3, opset_import: ["" : 11]> g (bool c, float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) {
        y = If (c) <then_branch = t () => (float[1, 2, 4, 4] z) { z = LRN <size = 3> (x) },
                    else_branch = e () => (float[1, 2, 4, 4] z) { z = LRN <size = 5> (x) }>
    }"""
    proto = parser.parse_model(text)
    inner = proto.graph.node[0].attribute[0].g.node[0].attribute[0]
    inner.ClearField("type")
    before = proto.SerializeToString()
    node = read(proto).model.graph[0].attributes["then_branch"].as_graph()[0]
    assert node.attributes["size"].as_int() == 3
    assert proto.SerializeToString() == before
