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
FUSED = "f = com.microsoft.SampleOp(c)"
PLAIN = "n = Mul(c, one) f = Add(n, small)"


def net(middle: str) -> str:
    return (
        f"{HEAD} g (float[N, 4] x) => (float y) <float[4, 4] w, float one = {{1.0}}, float small = {{1e-30}}>"
        f" {{ c = MatMul(x, w) {middle} y = Relu(f) }}"
    )


def test_seen_weights_are_told_from_unseen_ones() -> None:
    found = compare(side(proto(net(PLAIN))), side(proto(net(FUSED))), VerifyOptions())
    assert found, found.reason
    assert found.proof is not None
    assert not found.proof.complete
    assert found.proof.unseen_weights == ("small",)
    assert (found.proof.proved, found.proof.seen, found.proof.unseen) == (1, 1, 1)
    assert "'small'" in found.unseen
    strict = found.strictly()
    assert not strict
    assert "neither proved nor seen" in strict.reason


def test_a_model_of_which_nothing_is_known_is_no_pass() -> None:
    """An output that is zero whatever the weights hold."""
    plain, fused = (
        f"{HEAD} g (float[N, 4] x) => (float y) {{ {made} z = Sub(f, f) k = Constant<value = float {{2.0}}>() y = Mul(z, k) }}"
        for made in ("h = Neg(x) f = Identity(h)", "h = Neg(x) f = com.microsoft.SampleOp(h)")
    )
    assert compare(side(proto(plain)), side(proto(plain)), VerifyOptions())
    found = compare(side(proto(plain)), side(proto(fused)), VerifyOptions())
    assert not found
    assert "cannot be verified" in found.reason


def test_an_output_behind_a_jump_is_said_to_be_decided() -> None:
    text = f"""{HEAD} g (float[N, 64] x) => (float y) <float[64, 64] w, float k = {{1e8}}> {{
        c = MatMul(x, w) d = Add(c, k) e = Sub(d, k) a = ArgMax<axis = 1>(e) y = Cast<to = 1>(a) }}"""
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
