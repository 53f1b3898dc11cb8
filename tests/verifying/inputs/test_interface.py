"""Interfaces are exact: what differs is named, with what allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.inputs.interface import InterfaceExceptions, InterfacesDiffer, interface

from ..sides import proto, side


def model(
    inputs: str = "float[N, 3] x", outputs: str = "float[N, 3] y", body: str = "y = Relu(x)"
) -> onnx.ModelProto:
    return proto(f'<ir_version: 9, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ {body} }}')


TWO = model(outputs="float[N, 3] y, float[N, 3] z", body="y = Relu(x) z = Neg(x)")
DEFAULT = model(inputs="float[N, 3] x, float[3] s = {1, 2, 3}", body="y = Mul(x, s)")
DROPPED = model(body="s = Constant <value_floats = [1.0, 2.0, 3.0]> () y = Mul(x, s)")


@pytest.mark.parametrize(
    ("reference", "candidate", "words", "allowed"),
    [
        (
            model(),
            model(inputs="float[N, 3] a", body="y = Relu(a)"),
            "no input 'x', the reference has no input 'a' (--rename x=a allows it",
            {"rename": (("x", "a"),)},
        ),
        (
            model(),
            model(outputs="float[N, 3] z", body="z = Relu(x)"),
            "no output 'y', the reference has no output 'z' (--rename y=z allows it",
            {"by_position": True},
        ),
        (
            TWO,
            model(outputs="float[N, 3] z, float[N, 3] y", body="y = Relu(x) z = Neg(x)"),
            "outputs are in another order: y, z and z, y (--any-order allows it)",
            {"any_order": True},
        ),
        (
            model(),
            model(inputs="float[1, 3] x"),
            "input 'x' is [N, 3], in the candidate [1, 3] (--fixed-shapes allows it)",
            {"fixed_shapes": True},
        ),
        (
            model(),
            model(outputs="float[1, 3] y"),
            "output 'y' is [N, 3], in the candidate [1, 3] (--fixed-shapes allows it)",
            {"fixed_shapes": True},
        ),
        (
            DEFAULT,
            DROPPED,
            "input 's' has a default value that a caller may override, the candidate has no such input "
            "(--drop-overridable allows it)",
            {"drop_overridable": True},
        ),
        (
            DEFAULT,
            model(inputs="float[N, 3] x, float[3] s", body="y = Mul(x, s)"),
            "in the candidate it has none",
            None,
        ),
        (model(), TWO, "the reference has no output 'z'", None),
        (TWO, model(), "the candidate has no output 'z'", None),
        (
            model(),
            model(inputs="double[N, 3] x", outputs="double[N, 3] y"),
            "input 'x' is float, in the candidate double; output 'y' is float, in the candidate double",
            None,
        ),
        (model(), model(inputs="float[N, 4] x"), "input 'x' is [N, 3], in the candidate [N, 4]", None),
        (model(), model(inputs="float[N, 3, 1] x"), "in the candidate [N, 3, 1]", None),
    ],
)
def test_a_difference_is_named_with_what_allows_it(
    reference: onnx.ModelProto, candidate: onnx.ModelProto, words: str, allowed: dict[str, Any] | None
) -> None:
    with pytest.raises(InterfacesDiffer) as error:
        interface(side(reference), side(candidate))
    assert words in str(error.value)
    if allowed is not None:
        found = interface(side(reference), side(candidate), InterfaceExceptions(**allowed))
        assert found.notes


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        (model(), model()),
        (model(inputs="float[1, 3] x"), model()),  # more than was asked for
        (DROPPED, DEFAULT),
        (model(outputs="float[N, 3] y"), model(outputs="float[M, 3] y")),
        (DEFAULT, DEFAULT),
    ],
)
def test_what_a_caller_cannot_tell_is_the_same(
    reference: onnx.ModelProto, candidate: onnx.ModelProto
) -> None:
    assert not interface(side(reference), side(candidate)).notes


def test_initializers_among_the_inputs_of_old_files_are_constants() -> None:
    old = onnx.ModelProto()
    old.CopyFrom(DEFAULT)
    old.ir_version = 3
    interface(side(old), side(DROPPED))


def test_verification_says_not_the_same_and_reports_what_is_allowed() -> None:
    found = compare(side(DEFAULT), side(DROPPED), VerifyOptions())
    assert not found
    assert found.reason.startswith("not the same: input 's'")
    found = compare(side(DEFAULT), side(DROPPED), VerifyOptions(drop_overridable=True))
    assert found
    assert any("allowed by --drop-overridable" in note for note in found.notes)
    assert compare(side(DEFAULT), side(DROPPED), VerifyOptions(freeze_initializers=True))


def test_outputs_in_another_order_are_compared_by_name() -> None:
    turned = model(outputs="float[N, 3] z, float[N, 3] y", body="y = Relu(x) z = Neg(x)")
    assert compare(side(TWO), side(turned), VerifyOptions(any_order=True))
    assert not compare(side(TWO), side(turned), VerifyOptions(by_position=True))


def test_feeds_and_values_go_by_the_candidates_names() -> None:
    face = interface(
        side(model()),
        side(model("float[N, 3] a", "float[N, 3] b", "b = Relu(a)")),
        InterfaceExceptions(rename=(("x", "a"), ("y", "b"))),
    )
    one = np.zeros(1)
    assert list(face.for_candidate({"x": one})) == ["a"]
    assert list(face.in_reference_names({"b": one})) == ["y"]


PAIR = model("float[N, 3] x, float[M, 3] z", "float[N, 3] y, float[M, 3] w", "y = Relu(x) w = Relu(z)")
TIED = model("float[N, 3] x, float[N, 3] z", "float[N, 3] y, float[N, 3] w", "y = Relu(x) w = Relu(z)")


def test_sizes_that_the_reference_leaves_apart_bear_no_common_name() -> None:
    found = compare(side(PAIR), side(TIED), VerifyOptions())
    assert not found
    assert "wants sizes to be equal that the reference leaves apart: 'N' is" in found.reason
    assert "('fixed_shapes' allows it)" in found.reason
    assert compare(side(PAIR), side(TIED), VerifyOptions(fixed_shapes=True))
    assert compare(side(TIED), side(PAIR), VerifyOptions())


def test_a_name_that_the_samples_of_the_user_break_in_both_models_is_no_difference() -> None:
    given = (("x", np.ones((2, 3), np.float32)), ("z", np.ones((5, 3), np.float32)))
    assert compare(side(TIED), side(TIED), VerifyOptions(inputs=given))
