"""Which integers an input may hold, by where it is used."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Unsupported
from bnfold.ir.graph import ir
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.inputs.integer_ranges import ranged
from bnfold.verifying.inputs.samples import Input, fill, inputs_of

from ..sides import proto, side

HEAD = '<ir_version: 9, opset_import: ["" : 17]> '
TEXT = HEAD + "g (int64[N, T] i) => (float[] y) <float[%d, 6] E> { one = Constant <value_int = 1> () %s }"


def found(body: str, rows: int = 50) -> Input:
    model = ir.from_proto(proto(TEXT % (rows, body)))
    return ranged(inputs_of(model), model, {})[0]


@pytest.mark.parametrize(
    ("body", "span", "free"),
    [
        ("y = Gather(E, i)", (0, 50), False),
        ("s = Constant <value_ints = [-1]> () j = Reshape(i, s) y = Gather(E, j)", (0, 50), False),
        ("j = Squeeze(i) y = Gather(E, j)", (0, 50), False),
        ("j = Cast <to = 6> (i) k = Concat <axis = 0> (j, j) y = Gather(E, k)", (0, 50), False),
        ("j = Gather(i, one) y = Gather(E, j)", (0, 50), False),
        ("j = Add(i, one) y = Gather(E, j)", None, False),
        ("j = CumSum(i, one) k = Mul(j, i) y = Gather(E, k)", None, False),
        ("y = Reshape(E, i)", None, False),
        ("y = Tile(E, i)", (1, 4), False),
        ("y = SoftmaxCrossEntropyLoss(E, i)", (0, 6), False),
        ('j = BitShift <direction = "LEFT"> (one, i) y = Cast <to = 1> (j)', (0, 8), False),
        ("j = Cast <to = 1> (i) y = Sub(j, j)", None, True),
        ("b = Equal(i, one) y = Cast <to = 1> (b)", None, True),
    ],
)
def test_integers_are_followed_to_where_they_are_used(
    body: str, span: tuple[int, int] | None, free: bool
) -> None:
    one = found(body)
    assert (one.span, one.free) == (span, free)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_the_last_and_the_first_row_come_first(rows: int) -> None:
    one = found("y = Gather(E, i)", rows)
    first = fill(one, (2, 1), 0, 0).reshape(-1).tolist()
    assert first == [rows - 1, 0]
    seen = {int(row) for k in range(5) for row in fill(one, (4, 5), 0, k).reshape(-1)}
    assert seen == set(range(rows))


def test_free_integers_are_small_and_large_and_of_both_signs() -> None:
    one = Input("i", ir.DataType.INT64, (999,), free=True)
    samples = [fill(one, (999,), 0, k) for k in range(3)]
    assert [(v.min(), v.max()) for v in samples[:2]] == [(0, 1), (0, 9)]
    assert samples[2].min() < -10_000
    assert samples[2].max() > 10_000
    assert fill(Input("i", ir.DataType.UINT16, (9,), free=True), (9,), 0, 2).dtype == np.uint16


def test_a_row_that_few_samples_would_ask_for_is_reached() -> None:
    reference = proto(TEXT % (5000, "y = Gather(E, i)"))
    candidate = proto(TEXT % (5000, "y = Gather(E, i)"))
    table = np.frombuffer(candidate.graph.initializer[0].raw_data, np.float32).reshape(5000, 6).copy()
    table[1234] = 0
    candidate.graph.initializer[0].raw_data = table.tobytes()
    assert not compare(side(reference), side(candidate), VerifyOptions())
    assert compare(side(reference), side(reference), VerifyOptions())


SIZES_FROM_OUTSIDE = """
    g (float[N, 3, 8, 8] x, int64[%d] s) => (float[] y) <float[4, 3, 3, 3] w, float[9, 4, 1, 1] v> {
        c = Conv(x, w) %s }"""


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (4, "y = Reshape(c, s)"),
        (4, "r = Reshape(c, s) y = Conv(r, v)"),
        (2, "y = Reshape(c, s)"),
        (6, "y = Reshape(c, s)"),
        (
            2,
            "h = Shape <end: int = 2> (c) f = Concat <axis: int = 0> (h, s) r = Reshape(c, f) y = Conv(r, v)",
        ),
        (4, "y = Expand(c, s)"),
    ],
)
def test_a_shape_that_comes_from_outside_fits_what_it_is_given_to(count: int, body: str) -> None:
    model = HEAD + SIZES_FROM_OUTSIDE % (count, body)
    found = compare(side(model), side(model), VerifyOptions())
    assert found.equivalent, found.reason


def test_what_the_user_gives_for_a_shape_is_kept_in_every_sample(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = HEAD + SIZES_FROM_OUTSIDE % (4, "r = Reshape(c, s) y = Conv(r, u)")
    model = model.replace("float[9, 4, 1, 1] v", "float[2, 9, 1, 1] u")
    with pytest.raises(Unsupported, match="4 channels") as error:
        compare(side(model), side(model), VerifyOptions())
    assert "s:FILE.npy" in str(error.value.way_out)
    np.save(tmp_path / "s.npy", np.array([2, 9, 8, 8]))
    given = VerifyOptions(input_shapes=(("x", (8, 3, 8, 8)),), inputs=(("s", str(tmp_path / "s.npy")),))
    assert compare(side(model), side(model), given)


def test_integers_that_the_reference_refuses_are_not_insisted_on() -> None:
    """The function hides that what is computed looks up a table."""
    text = """<ir_version: 9, opset_import: ["" : 17, "own" : 1]>
    g (int64[4] i) => (float[] y) <float[3, 2] E> { one = Constant <value_int = 1> () y = own.Look(E, i, one) }
    <domain: "own", opset_import: ["" : 17]> Look (E, i, one) => (y) {
        f = Cast <to = 1> (i) s = Sqrt(f) q = Mul(s, s) j = Cast <to = 7> (q) y = Gather(E, j) }"""
    assert compare(side(text), side(text), VerifyOptions())


def test_a_mask_of_large_integers_leaves_the_same_models_the_same() -> None:
    text = (
        HEAD
        + """g (float[N, T, T] x, int64[N, T] mask) => (float[N, T, T] y) {
        one = Constant <value_float = 1.0> () big = Constant <value_float = -10000.0> ()
        axis = Constant <value_ints = [1]> ()
        f = Cast <to = 1> (mask) n = Sub(one, f) b = Mul(n, big) u = Unsqueeze(b, axis) s = Add(x, u) y = Softmax(s)
    }"""
    )
    assert compare(side(text), side(text), VerifyOptions())
