"""A candidate in half precision against a reference in single precision: judged in the candidate's own terms."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from bnfold.results.comparison import Comparison
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from .sides import proto, side

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
RANDOM = np.random.default_rng(5)
W, B = RANDOM.standard_normal((6, 3, 3, 3)) * 0.3, RANDOM.standard_normal(6) * 0.1
V, T = RANDOM.standard_normal((6, 5)) * 0.4, RANDOM.standard_normal((20, 4))


def single() -> ModelProto:
    return proto(
        f"""{HEAD} g (float[N, 3, 8, 8] x) => (float[N, 5] y)
        <float[6, 3, 3, 3] w, float[6] b, float[6, 5] v> {{
        c = Conv(x, w, b) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) y = MatMul(f, v) }}""",
        w=W.astype(np.float32),
        b=B.astype(np.float32),
        v=V.astype(np.float32),
    )


def half(factor: float = 1.0, first: str = "c", loud: float = 1.0) -> ModelProto:
    weights = W.copy()
    weights[2] *= factor
    return proto(
        f"""{HEAD} g (float[N, 3, 8, 8] x) => (float[N, 5] y)
        <float16[6, 3, 3, 3] w, float16[6] b, float16[6, 5] v> {{
        h = Cast<to = 10>(x) {first} = Conv(h, w, b) r = Relu({first}) p = GlobalAveragePool(r) f = Flatten(p)
        z = MatMul(f, v) y = Cast<to = 1>(z) }}""",
        w=(weights * loud).astype(np.float16),
        b=(B * loud).astype(np.float16),
        v=(V / loud).astype(np.float16),
    )


def compared(reference: ModelProto, candidate: ModelProto) -> Comparison:
    return compare(side(reference), side(candidate), VerifyOptions(samples=1))


@pytest.mark.parametrize("first", ["c", "renamed"])
def test_what_rounding_to_half_explains_is_no_difference(first: str) -> None:
    found = compared(single(), half(first=first))
    assert found, found.reason
    assert found.noise < 4
    assert found.proof is not None
    assert not found.proof.unseen
    assert any("its own types" in note for note in found.notes)


@pytest.mark.parametrize("first", ["c", "renamed"])
def test_what_it_does_not_explain_is_one(first: str) -> None:
    assert not compared(single(), half(1.05, first))


def test_what_leaves_half_on_the_networks_own_values_is_one() -> None:
    found = compared(single(), half(loud=2.0**15, first="d"))
    assert not found


def test_a_table_in_half() -> None:
    def table(kind: str, values: np.ndarray, cast: str) -> ModelProto:
        text = f"{HEAD} g (int64[N] x) => (float[N, 4] y) <{kind}[20, 4] t> {{ {cast} }}"
        return proto(text, t=values)

    reference = table("float", T.astype(np.float32), "y = Gather(t, x)")
    other = T.copy()
    other[7] *= 1.02
    cast = "g = Gather(t, x) y = Cast<to = 1>(g)"
    assert compared(reference, table("float16", T.astype(np.float16), cast))
    assert not compared(reference, table("float16", other.astype(np.float16), cast))
