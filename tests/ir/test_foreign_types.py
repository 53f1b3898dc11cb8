"""Types that onnx_ir has none for survive every way through; the caller's message is not touched."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, TypeProto, helper

import bnfold
from bnfold.errors import Malformed, Unsupported

from ..models import TWO_BLOCKS, model

NUMBER = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
MAP = helper.make_map_type_proto(TensorProto.INT64, NUMBER)
OPAQUE = TypeProto(opaque_type=TypeProto.Opaque(domain="net", name="image"))
TYPES = {
    "map": MAP,
    "opaque": OPAQUE,
    "sequence of maps": helper.make_sequence_type_proto(MAP),
    "optional map": helper.make_optional_type_proto(MAP),
    "sequence of opaque": helper.make_sequence_type_proto(OPAQUE),
    "map of sequences": helper.make_map_type_proto(
        TensorProto.STRING, helper.make_sequence_type_proto(NUMBER)
    ),
}


def with_type(kind: TypeProto) -> onnx.ModelProto:
    """Two blocks, a custom operator behind them that gives two values of a type, and an input that it takes
    besides."""
    made = model(TWO_BLOCKS)
    made.opset_import.append(helper.make_opsetid("net", 1))
    made.graph.node.append(
        helper.make_node("Label", [made.graph.output[0].name, "options"], ["inner"], domain="net")
    )
    made.graph.node.append(helper.make_node("Label", ["inner"], ["labels"], domain="net"))
    made.graph.input.append(helper.make_value_info("options", kind))
    made.graph.output.append(helper.make_value_info("labels", kind))
    made.graph.value_info.append(helper.make_value_info("inner", kind))
    return made


def types(proto: onnx.ModelProto) -> dict[str, TypeProto]:
    values = (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
    return {value.name: value.type for value in values if value.name in ("options", "labels", "inner")}


@pytest.mark.parametrize("name", TYPES)
def test_every_way_through_keeps_the_types(name: str, tmp_path: Path) -> None:
    made = with_type(TYPES[name])
    before = made.SerializeToString()
    path, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    path.write_bytes(before)
    result = bnfold.fold(made)
    assert result.plan.folded
    assert made.SerializeToString() == before
    bnfold.fold_file(path, out=out, verify=False)
    again = bnfold.fold(result.model).model
    found = [bnfold.to_onnx(result.model), onnx.load(out), bnfold.to_onnx(again)]
    bnfold.save(again, out)
    found.append(onnx.load(out))
    bnfold.convert_file(path, out=out)
    found.append(onnx.load(out))
    assert all(types(proto) == types(made) and len(types(made)) == 3 for proto in found)


def test_the_type_of_a_value_that_is_gone_is_forgotten() -> None:
    made = with_type(MAP)
    made.graph.value_info.append(helper.make_value_info("gone", MAP))
    assert "gone" not in [value.name for value in bnfold.to_onnx(bnfold.fold(made).model).graph.value_info]


def test_a_value_of_two_types_is_malformed() -> None:
    made = with_type(MAP)
    made.graph.output.append(helper.make_tensor_value_info("labels", TensorProto.FLOAT, [1]))
    with pytest.raises(Malformed, match="'labels' is declared with two types"):
        bnfold.fold(made)


def test_in_a_body_they_are_refused() -> None:
    made = with_type(MAP)
    value = helper.make_value_info("m", MAP)
    body = helper.make_graph(
        [helper.make_node("Label", [made.graph.input[0].name], ["m"], domain="net")], "then", [], [value]
    )
    made.graph.node.append(helper.make_node("If", ["flag"], ["chosen"], then_branch=body, else_branch=body))
    made.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    with pytest.raises(Unsupported, match="'m' in 'then' is a map"):
        bnfold.fold(made)
