"""Which sizes the constants of two models name, and which of them are tried first."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.ir.graph import ir
from bnfold.verifying.inputs.named_sizes import NamedSizes, named_sizes

from ..sides import proto

HEAD = '<ir_version: 10, opset_import: ["" : 20]> '


def read(text: str, **weights: np.ndarray) -> ir.Model:
    return ir.from_proto(proto(HEAD + text, **weights))


def named(text: str, **weights: np.ndarray) -> tuple[int, ...]:
    model = read(text, **weights)
    return named_sizes(model, model, 4).sizes


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("(float[N] x) => (float[M] y) <float[77, 2] w> { s = Shape (x) y = Slice (w, s, s) }", (77,)),
        (
            "(float[N] x) => (float[M] y) <int64[1] z = {0}, int64[1] e = {-30}> { y = Slice (x, z, e) }",
            (30,),
        ),
        ("(float[N, N] x) => (float[N, N] y) { k = Constant <value_int = -9> () y = Trilu (x, k) }", (9,)),
        ("(float[N, N] x) => (float[N, N] y) { y = EyeLike <k = 12> (x) }", (12,)),
        ("(float[1, 8, L] x) => (float[1, 16, M] y) <float[16, 8, 31] w> { y = Conv (x, w) }", (31,)),
        ("(float[N, 64] x) => (float[N, 32] y) <float[64, 32] w> { y = MatMul (x, w) }", ()),
        ("(float[N, 64] x) => (float[N, 64] y) <float[64] w> { y = Add (x, w) }", ()),
        ("(float[N, 64] x) => (float[N, 8, 8] y) <int64[3] s = {0, 8, 8}> { y = Reshape (x, s) }", ()),
        ("(int64[N] i) => (float[N, 8] y) <float[900, 8] w> { y = Gather (w, i) }", ()),
        (
            "(float[N] x) => (float[N, 8] y) <float[900, 8] w, int64 a = {0}, int64 o = {1}> "
            "{ s = Shape (x) n = Squeeze (s) r = Range (a, n, o) y = Gather (w, r) }",
            (900,),
        ),
        (
            "(float[N] x) => (float[N] y) <float k = {50.0}> "
            "{ s = Shape (x) f = Cast <to = 1> (s) d = Div (f, k) c = Floor (d) y = Add (x, c) }",
            (50,),
        ),
        ("(float[N] x) => (float[N] y) <float k = {50.0}> { y = Div (x, k) }", ()),
        ("(float[N] x) => (float[M] y) <int64[1] z = {0}, int64[1] e = {5000}> { y = Slice (x, z, e) }", ()),
    ],
)
def test_what_names_a_size(text: str, sizes: tuple[int, ...]) -> None:
    assert named("g " + text) == sizes


def test_what_only_one_model_names_comes_first() -> None:
    pair = [
        read(
            "g (float[N] x) => (float[M] y) "
            f"<int64[1] z = {{0}}, int64[1] e = {{{end}}}, int64[1] f = {{300}}> "
            "{ c = Slice (x, z, e) y = Slice (c, z, f) }"
        )
        for end in (20, 40)
    ]
    assert named_sizes(*pair, 4).sizes == (40, 20, 300)


def test_windows_are_told_apart() -> None:
    model = read("g (float[1, 8, L] x) => (float[1, 16, M] y) <float[16, 8, 31] w> { y = Conv (x, w) }")
    assert named_sizes(model, model, 4) == NamedSizes((31,), frozenset({31}))
