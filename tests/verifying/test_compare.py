"""Two models in, a verdict out: right folds, planted faults, engines, shapes, faces, where it parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bnfold.errors import UsageError
from bnfold.ir.graph import ir
from bnfold.ir.provenance import FOLDED_KEY
from bnfold.results.comparison import Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.selftest_networks import FAULTS, STATISTICS, STRUCTURAL, Recipe, pair

from .sides import proto, side, verdict

OPTIONS = VerifyOptions()


@pytest.mark.parametrize("stats", STATISTICS)
@pytest.mark.parametrize(("depth", "rank"), [(1, 2), (4, 1), (8, 3)])
def test_right_folds_are_accepted(stats: str, depth: int, rank: int) -> None:
    found = verdict(Recipe(depth, depth, rank, stats=stats))
    assert found, found.reason
    assert found.noise < 4
    assert found.providers[0].engine == "onnxruntime"
    assert len(found.folds) == depth + 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("seed", range(4))
def test_right_folds_of_other_types_are_accepted(dtype: str, seed: int) -> None:
    found = verdict(Recipe(seed, 5, 2, stats=list(STATISTICS)[seed], dtype=dtype))
    assert found, found.reason
    assert found.providers[0].engine == ("onnxruntime" if dtype == "float16" else "float64")


@pytest.mark.parametrize("fault", [*FAULTS, *STRUCTURAL])
@pytest.mark.parametrize("depth", [1, 10, 50])
def test_planted_faults_are_refused(fault: str, depth: int) -> None:
    found = verdict(Recipe(3, depth), fault)
    assert not found
    assert found.reason
    assert found.divergence is not None
    if fault != "epsilon 1e-6 for 1e-5":
        assert found.divergence.value == f"bn{depth // 2}"
        assert found.divergence.folds == f"batch norm of bn{depth // 2}"


@pytest.mark.parametrize("fault", [*FAULTS, *STRUCTURAL])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_planted_faults_in_half_precision_are_refused(fault: str, dtype: str) -> None:
    """What the type cannot show on an output shows in the bits of the weights, which are derived again."""
    found = verdict(Recipe(3, 8, channels=24, dtype=dtype), fault)
    assert not found
    if fault == "epsilon 1e-6 for 1e-5":
        assert all(f.passed for f in found.providers[0].outputs)
        assert "not the nearest" in found.reason
        assert found.divergence is not None
        assert found.divergence.folds.startswith("batch norm of bn")


@pytest.mark.parametrize("fault", ["epsilon 1e-6 for 1e-5", "dropped bias", "one scale off by 1e-3"])
def test_models_of_other_tools_are_judged_by_their_outputs(fault: str, tmp_path: Path) -> None:
    """Nothing says what was folded where: the output fails, and bisection finds the first value that
    differs."""
    made = pair(Recipe(5, 6), fault, block=2)
    for node in made[1].graph.node:
        del node.metadata_props[:]
    found = compare(side(made[0], tmp_path / "a.onnx"), side(made[1], tmp_path / "b.onnx"), OPTIONS)
    assert not found
    assert not found.folds
    assert found.divergence is not None
    assert found.divergence.value == ("bn0" if fault.startswith("epsilon") else "bn2")
    assert found.divergence.node.startswith("Conv")


def test_the_divergence_names_its_source() -> None:
    reference, candidate = pair(Recipe(5, 3), "dropped bias")
    for node in candidate.graph.node:
        node.metadata_props.add(key="bnfold.source", value=f"deploy.prototxt:14 {node.name} (Convolution)")
    found = compare(side(reference), side(candidate), OPTIONS)
    assert found.divergence is not None
    assert found.divergence.source == "deploy.prototxt:14 Conv_bn1 (Convolution)"


def test_every_value_can_be_judged() -> None:
    found = verdict(Recipe(2, 4), every_value=True)
    assert {f.value for f in found.providers[0].outputs} > {"y", "bn0", "relu0", "pooled"}
    assert found


def test_the_same_call_gives_the_same_figures() -> None:
    one, two = (verdict(Recipe(2, 4)) for _ in range(2))
    assert (one.noise, one.max_error, one.folds) == (two.noise, two.max_error, two.folds)
    assert one.noise != verdict(Recipe(4, 4)).noise


def test_the_report_is_json() -> None:
    found = json.loads(verdict(Recipe(2, 2), "overflow").to_json())
    assert found["equivalent"] is False
    assert found["folds"][1]["noise"] is None
    assert dict(found["environment"])["onnxruntime"]


def test_without_a_float64_truth_the_unfolded_model_serves() -> None:
    right = verdict(Recipe(2, 10), truth="unfolded")
    assert right, right.reason
    assert right.truth == "unfolded"
    assert not verdict(Recipe(2, 10), "variance for deviation", truth="unfolded")


def test_fixed_tolerances() -> None:
    assert verdict(Recipe(2, 2), rtol=(("", 1e-3),), atol=(("y", 1e-3),))
    found = verdict(Recipe(2, 2), atol=(("y", 1e-12),))
    assert not found
    assert "atol" in found.reason


# -- shapes

RESHAPED = """<ir_version: 9, opset_import: ["" : 17]> g (float[N, 3, H, W] x) => (float[N, 10] y)
    <float[10, 3072] w, int64[2] shape = {1, 3072}> {
    r = Reshape(x, shape)
    y = Gemm<transB = 1>(r, w) }"""


def test_free_dims_are_found_by_trying_and_reported() -> None:
    found = compare(side(RESHAPED), side(RESHAPED), OPTIONS)
    assert found
    assert found.inputs == (("x", "1x3x32x32"),)
    assert any("free dims" in note for note in found.notes)


def test_shapes_can_be_given() -> None:
    found = compare(side(RESHAPED), side(RESHAPED), VerifyOptions(input_shapes=(("", (1, 3, 16, 64)),)))
    assert found
    assert found.inputs == (("x", "1x3x16x64"),)
    assert not any("free dimensions" in note for note in found.notes)


@pytest.mark.parametrize("shapes", [(("z", (1,)),), (("x", (1, 3)),), (("x", (1, 4, 32, 32)),)])
def test_shapes_that_do_not_fit_are_refused(shapes: Any) -> None:
    with pytest.raises(UsageError):
        compare(side(RESHAPED), side(RESHAPED), VerifyOptions(input_shapes=shapes))


def test_the_same_symbol_is_the_same_number() -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 17]> g (float[N, K] a, float[K, M] b) => (float[N, M] y) '
        "{ y = MatMul(a, b) }"
    )
    found = compare(side(text), side(text), VerifyOptions(input_shapes=(("a", (5, 7)),)))
    assert found
    assert dict(found.inputs)["b"].startswith("7x")


def test_indices_stay_inside_their_table() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]> g (int64[1, 6] ids) => (float[1, 6, 4] y) <float[3, 4] w> {
        i = Identity(ids)
        y = Gather(w, i) }"""
    assert compare(side(text), side(text), VerifyOptions(samples=8))


# -- faces that do not fit

LINE = (
    '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 4] {x}) => (float[1, 4] {y}) {{ {y} = Relu({x}) }}'
)


def test_names_that_differ_are_matched_by_position_where_that_is_allowed() -> None:
    sides = side(LINE.format(x="x", y="y")), side(LINE.format(x="a", y="b"))
    refused = compare(*sides, OPTIONS)
    assert not refused
    assert "--rename x=a" in refused.reason
    found = compare(*sides, replace(OPTIONS, by_position=True))
    assert found
    assert sum("by position" in note for note in found.notes) == 2
    assert compare(*sides, replace(OPTIONS, rename=(("x", "a"), ("y", "b"))))


@pytest.mark.parametrize(
    "other",
    [
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y, float[1, 4] '
        "z) { y = Relu(x)  z = Neg(x) }",
        '<ir_version: 9, opset_import: ["" : 17]> g (double[1, 4] x) => (double[1, 4] y) { y = Relu(x) }',
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 5] x) => (float[1, 5] y) { y = Relu(x) }',
    ],
)
def test_models_of_other_interfaces_are_not_the_same(other: str) -> None:
    found = compare(side(LINE.format(x="x", y="y")), side(other), OPTIONS)
    assert not found
    assert found.reason.startswith("not the same: ")


def test_an_unknown_truth_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="float64"):
        compare(side(LINE.format(x="x", y="y")), side(LINE.format(x="x", y="y")), VerifyOptions(truth="mine"))


# -- files


def test_weights_beside_the_model_and_values_inside_it(tmp_path: Path) -> None:
    reference, candidate = pair(Recipe(5, 4), "dropped bias")
    sides = []
    for name, model in (("a", reference), ("b", candidate)):
        for node in model.graph.node:
            del node.metadata_props[:]
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path, save_as_external_data=True, location=f"{name}.data", size_threshold=0)
        sides.append(Side(ir.load(path), path))
    found = compare(*sides, OPTIONS)
    assert not found
    assert found.divergence is not None
    assert found.divergence.value == "bn2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.data", "a.onnx", "b.data", "b.onnx"]


def test_an_affine_map_moved_through_an_operator_is_judged_where_names_meet_again() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17]> g (float[1, 3, 8, 8] x) => (float[1, 4, 3, 3] y) <float[4, 3, 3, 3] w {more}> {{
        c = Conv(x, w {bias})
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
        {last} }}"""
    random = np.random.default_rng(0)
    w, s, t = (
        random.standard_normal((4, 3, 3, 3)),
        random.uniform(0.5, 2, (1, 4, 1, 1)),
        random.standard_normal((1, 4, 1, 1)),
    )
    w, s, t = (v.astype(np.float32) for v in (w, s, t))
    affine = "m = Mul(p, s)\n y = Add(m, t)"
    plain = proto(
        text.format(more=", float[1, 4, 1, 1] s, float[1, 4, 1, 1] t", bias="", last=affine), w=w, s=s, t=t
    )
    for factor in (1.0, 1 + 1e-5):
        held = (w.astype(np.float64) * s.reshape(-1, 1, 1, 1) * factor).astype(np.float32)
        folded = proto(
            text.format(more=", float[4] b", bias=", b", last="y = Identity(p)"), w=held, b=t.reshape(-1)
        )
        folded.graph.node[0].output[0] = folded.graph.node[1].input[0] = "c_moved"
        folded.graph.node[1].output[0] = folded.graph.node[2].input[0] = "p_moved"
        folded.graph.node[0].metadata_props.add(key=FOLDED_KEY, value="m, y")
        found = compare(side(plain), side(folded), OPTIONS)
        assert bool(found) == (factor == 1), found.reason
        assert [f.value for f in found.folds] == ["y"]


COLLECTED = """
<ir_version: 8, opset_import: ["": 17]>
g (float[N,4,5] x) => (float[?,?,?] y)
<bool going = {1}, int64 trips = {0}, int64[1] axis = {0}, float s = {2}>
{
  given = Shape <start: int = 1> (x)
  sizes = Max (given, axis)
  y = Loop (trips, going) <body: graph = body (int64 number, bool on) => (bool still, float[?,?] part) {
    still = Identity (on)
    scaled = Mul (x, s)
    rows = ReduceSum <keepdims: int = 0> (scaled, axis)
    part = Reshape (rows, sizes)
  }>
}
"""


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [
        ("float[?,?] part", "float[?,?] part", True),
        ("part = Reshape (rows, sizes)", "part = Identity (rows)", True),
        ("part = Reshape (rows, sizes)", "part = Unsqueeze (rows, axis)", False),
        ("trips = {0}", "trips = {1}", False),
    ],
)
def test_what_a_loop_without_a_trip_collects_has_no_sizes_to_compare(
    old: str, new: str, passes: bool
) -> None:
    """onnxruntime makes (0, 0, 0) of unknown sizes and (0, 4, 5) of known ones."""
    assert compare(side(COLLECTED), side(COLLECTED.replace(old, new)), VerifyOptions()).equivalent == passes
