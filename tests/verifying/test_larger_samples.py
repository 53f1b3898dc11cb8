"""Faults that begin at a size: a table that is wrong from a row on, a bound, a threshold, a window. Samples at
sizes that constants name show them; right pairs pass there as well."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import bnfold
from bnfold.results.comparison import Comparison
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.inputs.named_sizes import LARGEST_NAME

from .sides import side

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(1000, 4)).astype(np.float32)
MASK = np.tril(np.ones((600, 600), np.float32))
ZERO, ONE = np.array([0]), np.array([1])

ROWS = "g (float[N, 4] x) => (float[N, 4] y) { n = Shape <start = 0, end = 1> (x) t = Slice (w, z, n) y = Add (x, t) }"
IDS = """g (float[N, 4] x) => (float[N, 4] y) {
    n = Shape <start = 0, end = 1> (x) q = Squeeze (n) r = Range (a, q, o) t = Gather (w, r) y = Add (x, t)
}"""
MASKED = """g (float[B, N, N] x) => (float[B, N, N] y) {
    n = Shape <start = 1, end = 3> (x) t = Slice (w, z, n) y = Mul (x, t)
}"""
CUT = "g (float[N, 4] x) => (float[M, 4] y) { y = Slice (x, z, e) }"
CROP = """g (float[1, 3, H, W] x) => (float[1, 3, P, Q] y) { c = Conv (x, w) y = Slice (c, z, e, a) }"""
DIVIDED = """g (float[N, C] x) => (float[N, C] y) {
    n = Shape <start = 0, end = 1> (x) g = Div (n, k) c = Cast <to = 1> (g) y = Add (x, c)
}"""
IN_FLOATS = """g (float[N, C] x) => (float[N, C] y) {
    n = Shape <start = 0, end = 1> (x) f = Cast <to = 1> (n) g = Div (f, k) c = Floor (g) y = Add (x, c)
}"""
LOOKED_UP = "g (float[N, 4] x, int64[K] i) => (float[K, 4] y) { %s }"
TRIL = "g (float[1, N, N] x) => (float[1, N, N] y) { %s }"
TRIPS = """g (float[T, 4] x) => (float[4] y) {
    n = Shape <start = 0, end = 1> (x) q = Squeeze (n) k = Min (q, most)
    i = Constant <value_floats = [0.0, 0.0, 0.0, 0.0]> ()
    y = Loop (k, on, i) <body = b (int64 at, bool going, float[4] s) => (bool go, float[4] u) {
        go = Identity (going) r = Gather (x, at) u = Add (s, r)
    }>
}"""
SUMS = "g (float[1, 3, L] x) => (float[1, 3, L] y) { y = %s }"


def model(text: str, **constants: object) -> onnx.ModelProto:
    found: onnx.ModelProto = parser.parse_model('<ir_version: 10, opset_import: ["" : 20]> ' + text)
    for name, values in constants.items():
        found.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return found


def compared(ours: onnx.ModelProto, theirs: onnx.ModelProto, **options: object) -> Comparison:
    return compare(side(ours), side(theirs), VerifyOptions(**options))


def off(table: np.ndarray, first: int, last: int | None = None) -> np.ndarray:
    changed = table.copy()
    changed[first:last] += 1
    return changed


WRONG = {
    "rows from the tenth on": (model(ROWS, w=TABLE, z=ZERO), model(ROWS, w=off(TABLE, 10), z=ZERO)),
    "one row of position ids": (
        model(IDS, w=TABLE, a=np.array(0), o=np.array(1)),
        model(IDS, w=off(TABLE, 700, 701), a=np.array(0), o=np.array(1)),
    ),
    "a causal mask": (model(MASKED, w=MASK, z=[0, 0]), model(MASKED, w=off(MASK, 8), z=[0, 0])),
    "the end of a Slice": (model(CUT, z=ZERO, e=[10]), model(CUT, z=ZERO, e=[12])),
    "a crop": tuple(
        model(CROP, w=np.ones((3, 3, 1, 1), np.float32), z=[0, 0], e=[size, size], a=[2, 3])
        for size in (224, 256)
    ),
    "a divisor of a size": (model(DIVIDED, k=[1000]), model(DIVIDED, k=[2000])),
    "a divisor of a size in floats": tuple(
        model(IN_FLOATS, k=np.array([size], np.float32)) for size in (1000, 2000)
    ),
    "the diagonal of a Trilu": tuple(model(TRIL % "y = Trilu (x, k)", k=np.array(k)) for k in (-300, -400)),
    "a sliding window": (
        model(TRIL % "y = Trilu <upper = 0> (x)"),
        model(TRIL % "t = Trilu <upper = 0> (x) y = Trilu <upper = 1> (t, k)", k=np.array(-64)),
    ),
    "a window of a convolution": (
        model(SUMS % "CumSum (x, a)", a=np.array(2)),
        model(SUMS % "Conv <pads = [127, 0], group = 3> (x, w)", w=np.ones((3, 1, 128), np.float32)),
    ),
    "clamped indices": (
        model(LOOKED_UP % "y = Gather (x, i)"),
        model(LOOKED_UP % "j = Min (i, h) y = Gather (x, j)", h=np.array(50)),
    ),
    "trips of a loop": tuple(model(TRIPS, most=np.array(most), on=np.array(True)) for most in (50, 70)),
    "a mask behind a decision": tuple(
        model(
            MASKED.replace(
                "y = Mul (x, t)", "m = Mul (x, t) y = ArgMax <axis = 2, keepdims = 0> (m)"
            ).replace("float[B, N, N] y", "int64[B, N] y"),
            w=table,
            z=[0, 0],
        )
        for table in (MASK, off(MASK, 40))
    ),
}


@pytest.mark.parametrize("pair", WRONG.values(), ids=WRONG)
def test_a_fault_that_begins_at_a_size_fails(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    assert not compared(*pair)
    assert not compared(*reversed(pair))


@pytest.mark.parametrize("pair", WRONG.values(), ids=WRONG)
def test_a_model_is_itself_at_every_size(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    for one in pair:
        found = compared(one, one)
        assert found, found.reason


def test_a_note_says_which_sizes_were_tried() -> None:
    right = model(ROWS, w=TABLE, z=ZERO)
    told = [note for note in compared(right, right).notes if "constants name" in note]
    assert len(told) == 1
    assert "N of 'x' = 1000" in told[0]


def test_sizes_that_the_user_fixed_stay() -> None:
    right, wrong = WRONG["rows from the tenth on"]
    found = compared(right, wrong, input_shapes={"x": (8, 4)})
    assert found, found.reason
    assert not any("constants name" in note for note in found.notes)


def test_names_beyond_the_largest_are_not_tried() -> None:
    ends = (LARGEST_NAME + 1, LARGEST_NAME + 2)
    assert compared(*(model(CUT, z=ZERO, e=[end]) for end in ends))


def test_a_size_that_costs_too_much_is_approached_and_a_note_says_so() -> None:
    text = "g (float[1, N, N, 64] x) => (float[1, P, Q, 64] y) { r = Relu (x) y = Slice (r, z, e, a) }"
    ours = model(text, z=[0, 0], e=[2000, 2000], a=[1, 2])
    found = compared(ours, ours)
    assert found, found.reason
    assert any("constants name sizes up to 2,0" in note for note in found.notes)
    assert any("is of sizes that constants name" in note for note in found.notes)


def transformer(length: int, width: int = 16) -> onnx.ModelProto:
    """One block behind a table of positions and with a mask, both cut to the length, and a batch norm."""
    random = np.random.default_rng(1)
    text = f"""g (int64[B, T] ids) => (float[B, T, {width}] y) {{
        n = Shape <start = 1, end = 2> (ids) nn = Concat <axis = 0> (n, n)
        e = Gather (words, ids) p = Slice (places, z, n, z) h = Add (e, p)
        q = MatMul (h, wq) k = MatMul (h, wk) kt = Transpose <perm = [0, 2, 1]> (k) a = MatMul (q, kt)
        c = Slice (mask, zz, nn) l = Add (a, c) w = Softmax (l) o = MatMul (w, h) r = MatMul (o, wo)
        t = Transpose <perm = [0, 2, 1]> (r) bn = BatchNormalization (t, s, b, m, v)
        u = Transpose <perm = [0, 2, 1]> (bn) y = Add (h, u)
    }}"""
    weights = {name: random.normal(size=(width, width)) * width**-0.5 for name in ("wq", "wk", "wo")}
    weights |= {name: random.normal(size=width) for name in "sbm"} | {"v": random.uniform(0.5, 2, width)}
    weights |= {
        "words": random.normal(size=(300, width)),
        "places": random.normal(size=(length, width)),
        "mask": np.triu(np.full((length, length), -1e4), 1),
    }
    floats = {name: values.astype(np.float32) for name, values in weights.items()}
    return model(text, z=ZERO, zz=[0, 0], **floats)


def test_a_fold_of_a_network_with_a_table_of_positions_passes() -> None:
    reference = transformer(512)
    result = bnfold.fold(reference)
    found = bnfold.verify(reference, result.model)
    assert found, found.reason
    assert any("T of 'ids' = 512" in note for note in found.notes)


@pytest.mark.parametrize(("name", "first"), [("places", 300), ("mask", 300)])
def test_a_network_with_a_wrong_end_of_a_table_fails(name: str, first: int) -> None:
    reference, candidate = transformer(512), transformer(512)
    tensor = next(one for one in candidate.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(off(numpy_helper.to_array(tensor), first) * 2, name))
    assert not bnfold.verify(reference, candidate)


def test_ties_at_a_larger_size_are_excused_by_what_decides_them() -> None:
    random = np.random.default_rng(0)
    text = """g (float[1, 3, H, W] x) => (int64[1, 8, P, Q] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (c, s, b, m, v) k = Mul (n, f)
        l = Slice (k, z, e, a) y = Cast <to = 7> (l)
    }"""
    floats = {name: random.normal(size=8).astype(np.float32) for name in "sbm"}
    floats |= {"w": random.normal(size=(8, 3, 3, 3)).astype(np.float32), "f": np.array(1000, np.float32)}
    floats["v"] = random.uniform(0.5, 2, 8).astype(np.float32)
    reference = model(text, z=[0, 0], e=[200, 200], a=[2, 3], **floats)
    found = bnfold.verify(reference, bnfold.fold(reference).model)
    assert found, found.reason
    assert any("H of 'x' = 202" in note for note in found.notes)
