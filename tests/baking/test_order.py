"""An order of channels goes into weights where they can take it, and stays where they cannot, with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnfold

from .networks import operators, pixels, run, saved

HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] data) => (float[a, b, c, d] y)
<float[4, 3, 3, 3] w, float[3, 1, 3, 3] grouped, float[3] g, float[3] b, float[3] m, float[3] v,
 float[1, 3, 1, 1] row, float[3, 1, 1] thin, float[3, 8, 8] image, float[3, 4, 2, 2] wt, float[8, 8] plane> {
"""
TAKES = {
    "a convolution": "y = Conv(data, w)",
    "a transposed one": "y = ConvTranspose(data, wt)",
    "two of them": "p = Conv(data, w)  q = Conv(data, w)  y = Add(p, q)",
    "an activation": "a = Relu(data)  y = Conv(a, w)",
    "pooling": "a = MaxPool <kernel_shape = [2, 2]> (data)  y = Conv(a, w)",
    "a batch norm": "a = BatchNormalization(data, g, b, m, v)  y = Conv(a, w)",
    "constants along channels": "a = Mul(data, row)  s = Sub(thin, a)  y = Conv(s, w)",
    "a constant for every value": "a = Add(data, image)  y = Conv(a, w)",
    "slopes": "a = PRelu(data, thin)  y = Conv(a, w)",
    "what reads its shape": "s = Shape(data)  f = Cast <to = 1> (s)  t = ReduceSum <keepdims = 0> (f)  k = Conv(data, w)  y = Mul(k, t)",
    "a constant for every place": "a = Add(plane, data)  y = Conv(a, w)",
}
REFUSES = {
    "groups": ("y = Conv <group = 3> (data, grouped)", "Conv 'Conv_y'"),
    "an output": ("y = Relu(data)", "'y' is a graph output"),
    "a sum with itself": (
        "a = Conv(data, w)  c = Add(data, data)  d = Conv(c, w)  y = Add(a, d)",
        "Add 'Add_c'",
    ),
    "softmax": ("s = Softmax <axis = 1> (data)  y = Conv(s, w)", "Softmax 'Softmax_s'"),
    "a reduction": ("r = ReduceMean <axes = [1]> (data)  y = Mul(r, thin)", "ReduceMean 'ReduceMean_r'"),
    "a weight that is computed": ("u = Relu(w)  k = Mul(u, w)  y = Conv(data, k)", ""),
}


@pytest.mark.parametrize("name", TAKES)
def test_weights_take_it(tmp_path: Path, name: str) -> None:
    source, out = saved(tmp_path, HEAD + TAKES[name] + "}"), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input={"order": "bgr"})
    assert result.plan.merged[0] == "data/order" and "Gather" not in operators(out)
    _same(source, out)


@pytest.mark.parametrize("name", REFUSES)
def test_a_gather_stays(tmp_path: Path, name: str) -> None:
    body, words = REFUSES[name]
    source, out = saved(tmp_path, HEAD + body + "}"), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input={"order": "bgr"})
    if words:
        kept = [kept for kept in result.plan.kept if kept.code == "kept.channel-order"]
        assert len(kept) == 1 and words in kept[0].reason and "Gather" in operators(out)
    _same(source, out)


@pytest.mark.parametrize("order", ["rbg", "gbr", "brg", "grb"])
def test_every_order(tmp_path: Path, order: str) -> None:
    source, out = saved(tmp_path, HEAD + TAKES["constants along channels"] + "}"), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, bake_input={"order": order, "mean": [10, 20, 30], "std": [1, 2, 3]})
    raw = pixels((1, 3, 8, 8)).astype(np.float32)
    inside = (raw - np.reshape([10, 20, 30], (3, 1, 1))) / np.reshape([1, 2, 3], (3, 1, 1))
    inside = inside[:, ["rgb".index(letter) for letter in order]].astype(np.float32)
    ours, theirs = run(out, {"data": raw}), run(source, {"data": inside})
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-2)


def _same(source: Path, out: Path) -> None:
    raw = pixels((1, 3, 8, 8)).astype(np.float32)
    ours, theirs = run(out, {"data": raw}), run(source, {"data": np.ascontiguousarray(raw[:, ::-1])})
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-2)


def test_a_weight_that_a_node_makes(tmp_path: Path) -> None:
    """What made the old one is gone with its last reader."""
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 2, 2] data) => (float[1, 1, 2, 2] y)
{ w = Constant <value = float[1, 3, 1, 1] {1, 2, 3}> ()  y = Conv(data, w) }
"""
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, bake_input={"order": "bgr"})
    assert operators(out) == ["Conv"]
    raw = pixels((1, 3, 2, 2)).astype(np.float32)
    ours, theirs = run(out, {"data": raw}), run(source, {"data": np.ascontiguousarray(raw[:, ::-1])})
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_an_opset_in_which_constants_say_where_they_begin(tmp_path: Path) -> None:
    text = """
<ir_version: 3, opset_import: ["" : 6]>
net (float[1, 3, 8, 3] data, float[3] row = {1, 2, 3}, float[1, 3, 1, 1] w = {1, 2, 3}) => (float[1, 1, 8, 3] y)
{ a = Mul <axis = 1, broadcast = 1> (data, row)  y = Conv(a, w) }
"""
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    result = bnfold.fold_file(
        source, out=out, bake_input={"data": {"order": "bgr"}}, freeze_initializers=True
    )
    assert result.outside and result.outside.passed
    assert "Gather" in operators(out)
