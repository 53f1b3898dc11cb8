"""Weights that no proof covers: those that the outputs show are seen, the others are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnfold.results.comparison import DECIDED, Proof
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from .sides import proto, side

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
# an operator that onnxruntime runs and float64 does not know: what stands in front of it stays open
FUSED = "f = com.microsoft.QuickGelu(c)"
PLAIN = "k = Constant<value = float {1.702}>() t = Mul(c, k) s = Sigmoid(t) f = Mul(c, s)"


def net(gelu: str, ending: str) -> str:
    return (
        f"{HEAD} g (float[N, 4] x) => (float y) <float[4, 4] w, float[4, 4] hidden, float small = {{1e-30}}>"
        f" {{ c = MatMul(x, w) {gelu} h = MatMul(x, hidden) i = Mul(h, small) {ending} }}"
    )


def test_seen_weights_are_told_from_unseen_ones() -> None:
    one, other = (proto(net(gelu, "y = Add(f, i)")) for gelu in (PLAIN, FUSED))
    found = compare(side(one), side(other), VerifyOptions())
    assert found, found.reason
    assert found.proof is not None
    assert not found.proof.complete
    assert set(found.proof.unseen_weights) == {"small"}
    assert (found.proof.proved, found.proof.seen) == (2, 1)
    assert "'small'" in found.unseen
    strict = found.strictly()
    assert not strict
    assert "neither proved nor seen" in strict.reason


def test_a_model_of_which_nothing_is_known_is_no_pass() -> None:
    text = f"{HEAD} g (float[N, 4] x) => (int64 y) <float[4, 4] w> {{ c = MatMul(x, w) GELU n = Shape(f) y = Shape(n) }}"
    one, other = (proto(text.replace("GELU", gelu)) for gelu in (PLAIN, FUSED))
    assert compare(side(one), side(one), VerifyOptions())
    found = compare(side(one), side(other), VerifyOptions())
    if found.proof is not None and not found.proof.complete:
        assert not found
        assert "cannot be verified" in found.reason


def test_an_output_behind_a_jump_is_said_to_be_decided() -> None:
    text = f"""{HEAD} g (float[N, 64] x) => (int64 y) <float[64, 64] w, float k = {{1e8}}> {{
        c = MatMul(x, w) d = Add(c, k) e = Sub(d, k) y = ArgMax<axis = 1>(e) }}"""
    found = compare(side(proto(text)), side(proto(text)), VerifyOptions())
    assert found, found.reason
    (figures,) = found.providers[0].outputs
    assert figures.reason.startswith(DECIDED)
    assert found.max_error == 0


def test_a_proof_without_unseen_weights_is_strict_enough() -> None:
    text = f"{HEAD} g (float[N, 4] x) => (float y) <float[4, 4] w> {{ y = MatMul(x, w) }}"
    found = compare(side(proto(text)), side(proto(text)), VerifyOptions())
    assert found.strictly() is found
    assert replace(found, proof=Proof(unseen=1, unseen_weights=("w",))).unseen.startswith(
        "1 weight was neither"
    )


def test_a_candidate_far_nearer_to_float64_is_noted() -> None:
    cancels = f"""{HEAD} g (float[N, 4] x) => (float y) <float k = {{1000.0}}> {{
        d = Add(x, k) y = Sub(d, k) }}"""
    plain = f"{HEAD} g (float[N, 4] x) => (float y) {{ y = Identity(x) }}"
    found = compare(side(proto(cancels)), side(proto(plain)), VerifyOptions())
    assert found, found.reason
    assert found.noise == 0 or any("nearer to float64" in note for note in found.notes)
    assert np.isfinite(found.noise)
