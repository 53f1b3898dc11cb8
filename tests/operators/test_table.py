"""The columns of OPERATORS, held against onnx's own schemas, and the tables of every room against its
rows."""

from __future__ import annotations

from collections.abc import Callable, Collection

import onnx
import pytest
from onnx.defs import OpSchema

from bnfold.operators.table import OPERATORS, UNKNOWN, Dtype, names, op

SCHEMAS = [schema for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain]
CURRENT = {schema.name: schema for schema in onnx.defs.get_all_schemas() if not schema.domain}


def _types(schema: OpSchema, parameter: OpSchema.FormalParameter) -> set[str]:
    """The element types that a parameter may have."""
    constraints = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    return constraints.get(parameter.type_str, {parameter.type_str})


# Whether a schema's first output has the type that a row says.
HOLDS: dict[Dtype, Callable[[OpSchema], bool]] = {
    Dtype.ALL: lambda s: {i.type_str for i in s.inputs} == {s.outputs[0].type_str},
    Dtype.FIRST: lambda s: s.inputs[0].type_str == s.outputs[0].type_str,
    Dtype.SECOND: lambda s: s.inputs[1].type_str == s.outputs[0].type_str,
    Dtype.BOOL: lambda s: _types(s, s.outputs[0]) == {"tensor(bool)"},
    Dtype.INT64: lambda s: _types(s, s.outputs[0]) == {"tensor(int64)"},
    Dtype.ATTRIBUTE: lambda s: bool({"to", "dtype"} & set(s.attributes)),
    Dtype.OTHER: lambda s: True,
}


def test_every_operator_of_the_standard_domain_has_a_row() -> None:
    known = {schema.name for schema in SCHEMAS}
    assert not known - OPERATORS.keys(), "add rows to bnfold/operators/table.py"
    assert not OPERATORS.keys() - known


@pytest.mark.parametrize("name", OPERATORS)
def test_types_are_those_of_the_schemas_of_every_version(name: str) -> None:
    for schema in SCHEMAS:
        if schema.name == name and not schema.deprecated:
            assert HOLDS[OPERATORS[name].dtype](schema), f"{name} of opset {schema.since_version}"


def test_only_operators_with_a_variable_number_of_outputs_are_variadic() -> None:
    variadic = {
        s.name for s in SCHEMAS if any(o.option == OpSchema.FormalParameterOption.Variadic for o in s.outputs)
    }
    assert names("variadic") == variadic


def test_axes_are_by_default_those_of_the_schemas() -> None:
    """Concat has none by default since opset 4; it was 1 before."""
    for name, schema in CURRENT.items():
        if "axis" in schema.attributes and not schema.attributes["axis"].required:
            default = schema.attributes["axis"].default_value
            assert OPERATORS[name].axis == (default.i if default.name else 0), name


def test_random_operators_are_those_that_onnx_calls_so() -> None:
    """Bodies are as random as what is in them, AffineGrid is not, and Dropout is refused where it trains."""
    said = {
        s.name for s in CURRENT.values() if s.node_determinism == OpSchema.NodeDeterminism.NonDeterministic
    }
    assert names("random") == said - names("variadic") - {"AffineGrid", "Dropout"}


def test_linear_operators_have_weights() -> None:
    assert names("linear") <= names("weighted") <= names("parametric")
    assert names("streams_weight") <= names("linear")
    assert names("view") <= names("exact") & names("carries_index")


def test_another_domain_is_unknown() -> None:
    from bnfold.ir.graph import ir

    assert op(ir.node("Conv", [], domain="com.example")) is UNKNOWN
    assert op(ir.node("Conv", [], domain="ai.onnx")) is OPERATORS["Conv"]
    assert op(None) is UNKNOWN


def _tables() -> dict[str, Collection[str]]:
    from bnfold.folding import commute, linear_operators, rearrange, recognise
    from bnfold.inference import shape_contents, shape_rules, size_bounds
    from bnfold.reading.caffe import moments
    from bnfold.verifying.truth.kernels import KERNELS

    return {
        "shape rules": shape_rules.RULES,
        "contents of shape tensors": shape_contents.CONTENTS,
        "bounds on sizes": size_bounds._MADE,
        "kernels": KERNELS,
        "rules of commuting": commute.COMMUTES,
        "movers": rearrange.MOVERS,
        "linear operators": linear_operators.LINEAR_OPERATORS,
        "affine operators": recognise.READERS,
        "moments": moments.RULES,
    }


@pytest.mark.parametrize("table", _tables())
def test_every_table_of_every_room_is_keyed_by_rows(table: str) -> None:
    assert not set(_tables()[table]) - OPERATORS.keys()


def test_what_holds_maps_is_linear() -> None:
    from bnfold.folding.linear_operators import LINEAR_OPERATORS

    recurrent = {"RNN", "GRU", "LSTM"}  # linear in what they read first, and not in what they give
    assert set(LINEAR_OPERATORS) - recurrent == names("linear")


def test_operators_that_move_values_by_rule_pass_maps() -> None:
    from bnfold.folding.commute import COMMUTES
    from bnfold.folding.rearrange import MOVERS

    assert set(MOVERS) <= set(COMMUTES)
