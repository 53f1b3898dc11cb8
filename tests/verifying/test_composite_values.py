"""Outputs that are no tensors: sequences, maps, optionals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.case import Case
from bnfold.verifying.composite_values import parts, renamed, whole
from bnfold.verifying.engines.accelerators import judged_on
from bnfold.verifying.engines.providers import CPU
from bnfold.verifying.inputs.interface import interface

from .sides import proto, side

TEXT = """<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]> net (float[N,2,4,4] x) => (OUTPUTS)
<float[3,2,1,1] w, float[3] s, float[3] b, float[3] m, float[3] v> {
    c = Conv(x, w) y = BatchNormalization(c, s, b, m, v) p = GlobalAveragePool(y) f = Flatten(p) h = Softmax(f) ENDING
}"""


def net(ending: str, outputs: str, value: onnx.ValueInfoProto | None = None) -> onnx.ModelProto:
    model = proto(TEXT.replace("OUTPUTS", outputs).replace("ENDING", ending))
    if value is not None:
        model.graph.output.append(value)
    return model


def sequence(ending: str = "q = SequenceConstruct(h, f)") -> onnx.ModelProto:
    return net(ending, "float[N,3] h, seq(float[N,3]) q")


def zipped() -> onnx.ModelProto:
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, number))
    model = net("", "float[N,3] h", helper.make_value_info("q", kind))
    model.graph.node.append(
        helper.make_node(
            "ZipMap", ["h"], ["q"], domain="ai.onnx.ml", classlabels_strings=["cat", "ant", "dog"]
        )
    )
    return model


def sides(model: onnx.ModelProto, change: str = "", path: Any = None) -> tuple[Any, Any]:
    """A model and itself with another weight; types that onnx_ir has none for are in the file alone."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for stored in other.graph.initializer:
        if stored.name == change:
            stored.CopyFrom(
                onnx.numpy_helper.from_array(
                    onnx.numpy_helper.to_array(stored) * np.float32(1.01), stored.name
                )
            )
    return tuple(side(one, path / f"{i}.onnx") for i, one in enumerate((model, other)))


def test_values_are_taken_apart() -> None:
    found = parts(
        {
            "t": np.arange(2),
            "none": None,
            "list": [np.zeros(1), [np.ones(2)]],
            "map": {2: 0.25, 1: 0.75},
            "empty": [],
            "rows": [{"b": 1.0, "a": 2.0}, {"a": 4.0, "b": 3.0}],
            "mixed": [{"a": 1.0}, {"b": 1.0}],
            "texts": np.array(["a", "bc"], object),
        }
    )
    assert list(found) == [
        "t",
        "list [0]",
        "list [1] [0]",
        "map [keys]",
        "map [values]",
        "rows [keys]",
        "rows [values]",
        "mixed [0] [keys]",
        "mixed [0] [values]",
        "mixed [1] [keys]",
        "mixed [1] [values]",
        "texts",
    ]
    assert found["map [keys]"].tolist() == [1, 2] and found["map [values]"].tolist() == [0.75, 0.25]
    assert found["rows [keys]"].tolist() == [["a", "b"]] * 2 and found["rows [values]"].tolist() == [
        [2.0, 1.0],
        [4.0, 3.0],
    ]
    assert found["texts"].dtype.kind == "U"


@pytest.mark.parametrize(
    ("name", "new"), [("a", "A"), ("a [0]", "A [0]"), ("b [keys]", "b [keys]"), ("c [0]", "C"), ("d", "d")]
)
def test_parts_have_the_new_names_of_their_values(name: str, new: str) -> None:
    assert renamed(name, {"a": "A", "c [0]": "C"}) == new
    assert whole("a [0] [1]") == whole("a") == "a"


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (sequence(), ["h", "q [0]", "q [1]"]),
        (zipped(), ["h", "q [keys]", "q [values]"]),
        (net("q = Optional(h)", "float[N,3] h, optional(float[N,3]) q"), ["h", "q"]),
        (net("q = SequenceEmpty()", "float[N,3] h, seq(float[N,3]) q"), ["h"]),
        # two rows at the first sizes, three at the second
        (sequence("q = SplitToSequence <axis = 0, keepdims = 0> (h)"), ["h", "q [0]", "q [1]", "q [2]"]),
    ],
)
def test_each_part_is_judged(model: onnx.ModelProto, names: list[str], tmp_path: Any) -> None:
    found = compare(*sides(model, path=tmp_path), VerifyOptions())
    assert found, found.reason
    assert [figure.value for figure in found.providers[0].outputs] == names


@pytest.mark.parametrize("model", [sequence(), zipped()])
def test_a_fault_in_a_part_is_found(model: onnx.ModelProto, tmp_path: Any) -> None:
    model.graph.output.pop(0)  # the tensor
    found = compare(*sides(model, "s", tmp_path), VerifyOptions())
    assert not found
    assert found.reason.startswith(("q [", "y:"))


@pytest.mark.parametrize(
    "ending", ["q = SequenceConstruct(h)", "q = SequenceConstruct(h, f, h)", "q = SequenceEmpty()"]
)
def test_a_sequence_of_another_length_is_a_difference(ending: str) -> None:
    found = compare(side(sequence()), side(sequence(ending)), VerifyOptions())
    assert not found
    assert "only one of the models has this output" in found.reason


def test_parts_are_compared_where_outputs_have_other_names() -> None:
    other = sequence()
    other.graph.output[1].name = other.graph.node[-1].output[0] = "other"
    found = compare(side(sequence()), side(other), VerifyOptions(rename=(("q", "other"),)))
    assert found, found.reason
    assert [figure.value for figure in found.providers[0].outputs] == ["h", "q [0]", "q [1]"]


def test_what_is_no_float_comes_back_from_another_process() -> None:
    model = net("t = Greater(h, f) a = ArgMax(h)", "float[N,3] h, bool[N,3] t, int64[1,3] a")
    reference, candidate = side(model), side(model)
    case = Case(
        reference, candidate, VerifyOptions(), interface(reference, candidate), lambda what, share: None
    )
    runs = case.reference_runs()
    case.complete(runs)
    found = judged_on(case, runs, CPU)
    assert found.passed
    assert {figure.value: figure.dtype for figure in found.outputs} == {
        "h": "float",
        "t": "bool",
        "a": "int64",
    }


@pytest.mark.parametrize(("change", "passed"), [("", True), ("b", False)])
def test_parts_come_back_from_another_process(change: str, passed: bool, tmp_path: Any) -> None:
    reference, candidate = sides(sequence(), change, tmp_path)
    case = Case(
        reference, candidate, VerifyOptions(), interface(reference, candidate), lambda what, share: None
    )
    runs = case.reference_runs()
    case.complete(runs)
    found = judged_on(case, runs, CPU)
    assert [figure.value for figure in found.outputs] == ["h", "q [0]", "q [1]"]
    assert found.passed == passed
    assert found.spread == 0.0 and math.isfinite(found.noise)
