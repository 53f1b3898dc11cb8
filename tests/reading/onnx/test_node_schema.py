"""Nodes are held against the schemas of their operators, in the version that their file says."""

from __future__ import annotations

import pytest
from onnx import parser

from bnfold.errors import Malformed, Unsupported
from bnfold.reading.onnx.reader import read


def test_an_operator_of_a_later_version_is_held_against_what_it_became() -> None:
    text = """<ir_version: 8, opset_import: ["" : %d]> g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) { y = LayerNormalization (%s) }"""
    assert read(parser.parse_model(text % (11, "x, x"))).model.opset_imports[""] == 11
    with pytest.raises(Malformed, match=r"LayerNormalization.* has 0 inputs; expected 2 to 3"):
        read(parser.parse_model(text % (11, "")))


def test_a_cast_to_a_type_that_there_is_not_is_malformed() -> None:
    text = """<ir_version: 3, opset_import: ["" : 5]> g (float[2] x) => (float[2] y) { y = Cast <to = "%s"> (x) }"""
    assert len(read(parser.parse_model(text % "FLOAT")).model.graph) == 1
    with pytest.raises(Malformed, match=r"'to' of node.* is 'REAL'; expected the name of an element type"):
        read(parser.parse_model(text % "REAL"))


def test_an_operand_of_a_list_must_have_a_name() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[4] y) { y = Concat <axis = 0> (x, x) }"""
    proto = parser.parse_model(text)
    proto.graph.node[0].input[0] = ""
    with pytest.raises(Malformed, match=r"Concat.* has no input 0"):
        read(proto)


@pytest.mark.parametrize("outputs", [["y", ""], ["", "y"], ["y", "", ""]])
def test_a_split_keeps_the_parts_that_nobody_reads(outputs: list[str]) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[6] x) => (float[n] y) { y = Split (x) }"""
    proto = parser.parse_model(text)
    proto.graph.node[0].output[:] = outputs
    node = read(proto).model.graph[0]
    names = [value.name for value in node.outputs]
    assert len(set(names)) == len(outputs) and all(names)
    assert [name for name in names if name == "y"] == ["y"]


def test_an_initializer_must_have_a_name() -> None:
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[6] x) => (float[6] y) { y = Relu (x) }"""
    )
    proto.graph.initializer.add(data_type=1, dims=[1], float_data=[1.0])
    with pytest.raises(Malformed, match="an initializer has no name"):
        read(proto)


def test_devices_of_nodes_need_a_file_that_can_hold_them() -> None:
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[6] x) => (float[6] y) { y = Relu (x) }"""
    )
    proto.graph.node[0].device_configurations.add(configuration_id="all")
    with pytest.raises(Unsupported, match="has device configurations"):
        read(proto)
    proto.ir_version = 11
    assert len(read(proto).model.graph) == 1


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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = Add (x, x)", ""),
        ("y, z = Add (x, x)", "has 2 outputs, which no Add that the installed onnx knows has"),
        ("y = Add (x, x, x)", "has 3 inputs"),
        ("y = Relu <slope = 1.0> (x)", "has the attribute 'slope'"),
        ("y = Invented (x, x, x)", ""),
    ],
)
def test_what_an_opset_to_come_adds_to_an_operator_is_unknown(body: str, words: str) -> None:
    proto = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 999]> g (float[6] x) => (float[6] y) {{ {body} }}'
    )
    if not words:
        assert read(proto).model.opset_imports[""] == 999
        return
    with pytest.raises(Unsupported, match=words) as caught:
        read(proto)
    assert "pip install --upgrade onnx" in str(caught.value)


def test_an_empty_tensor_of_huge_sizes_is_malformed() -> None:
    """numpy makes room for the sizes beside a zero."""
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[6] x) => (float[6] y) { y = Relu (x) }'
    )
    proto.graph.initializer.add(name="k", data_type=1, dims=[0, 1 << 20])
    assert "k" in read(proto).model.graph.initializers
    proto.graph.initializer[0].dims[:] = [1 << 31, 0, 1 << 31]
    with pytest.raises(Malformed, match="'k' has the dimensions"):
        read(proto)


@pytest.mark.parametrize(
    ("kept", "words"), [(0, "has 2 outputs, its 'then_branch' gives 0"), (1, "gives 1; expected 2 from the")]
)
def test_a_branch_gives_what_its_node_gives(kept: int, words: str) -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x, bool c) => (float[2] y, float[2] z) {
            y, z = If (c) <
                then_branch = a () => (float[2] p, float[2] q) { p = Relu(x) q = Neg(x) },
                else_branch = b () => (float[2] r, float[2] s) { r = Neg(x) s = Relu(x) }
            >
        }"""
    )
    assert len(read(model).model.graph) == 1
    branch = next(a for a in model.graph.node[0].attribute if a.name == "then_branch")
    del branch.g.output[kept:]
    with pytest.raises(Malformed, match=words):
        read(model)
