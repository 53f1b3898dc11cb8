"""Layers of several bottoms or tops, and those that move values, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported

from .files import Net, input_layer, layer, normal, one_layer, same

X = normal(2, 4, 5, 6)


def one(folder, type_, params="", blobs=None, x=X, **options):
    """One layer over the usual blob."""
    return one_layer(folder, type_, params, blobs, x=x, **options)


def test_reshape_copies_the_dimension_at_the_shifted_position(tmp_path):
    x = normal(2, 3, 4, 8)
    same(
        one(tmp_path, "Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } axis: 2 }", x=x),
        x.reshape(2, 3, 4, 2, 4),
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_reorg_keeps_the_quirk_of_darknet(tmp_path, reverse):
    n, c, h, w, s = 2, 8, 4, 6, 2
    x = normal(n, c, h, w)
    oc = c // (s * s)
    want = np.zeros((n, c * h * w))
    for b in range(n):
        for k in range(c):
            for j in range(h):
                for i in range(w):
                    o = k // oc
                    small = i + w * (j + h * k)
                    big = (i * s + o % s) + w * s * ((j * s + o // s) + h * s * (k % oc))
                    if reverse:
                        want[b, big] = x[b].flat[small]
                    else:
                        want[b, small] = x[b].flat[big]
    got = one(tmp_path, "Reorg", f"reorg_param {{ stride: {s} reverse: {str(reverse).lower()} }}", x=x)
    same(got, want.reshape((n, oc, h * s, w * s) if reverse else (n, c * s * s, h // s, w // s)))


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ("zoom_factor: 3", (13, 16)),
        ("shrink_factor: 2", (3, 3)),
        ("shrink_factor: 2 zoom_factor: 2", (5, 5)),
        ("height: 7 width: 4", (7, 4)),
        ("height: 1 width: 9", (1, 9)),
        ("height: 9 width: 9 pad_beg: -1 pad_end: -2", (9, 9)),
        ("zoom_factor: 1", (5, 6)),
    ],
)
def test_interp(tmp_path, params, shape):
    got = one(tmp_path, "Interp", f"interp_param {{ {params} }}")
    x = X[:, :, 1:-2, 1:-2] if "pad_beg" in params else X
    rows, columns = (
        np.arange(n) * ((m - 1) / (n - 1) if n > 1 else 0) for n, m in zip(shape, x.shape[2:], strict=True)
    )

    def lines(positions, data, axis):
        low = np.minimum(positions.astype(int), data.shape[axis] - 1)
        high = np.minimum(low + 1, data.shape[axis] - 1)
        part = (positions - low).reshape([-1 if i == axis else 1 for i in range(4)])
        return np.take(data, low, axis) * (1 - part) + np.take(data, high, axis) * part

    same(got, lines(columns, lines(rows, x.astype(np.float64), 2), 3), 1e-5)


def test_eltwise(tmp_path):
    text = input_layer("a", 2, 3) + input_layer("b", 2, 3) + input_layer("c", 2, 3)
    a, b, c = (normal(2, 3, seed=i) for i in range(3))
    for params, want in (
        ("", a + b + c),
        ("operation: SUM coeff: 1 coeff: -0.5 coeff: 3", a - 0.5 * b + 3 * c),
        ("operation: PROD", a * b * c),
        ("operation: MAX", np.maximum(np.maximum(a, b), c)),
        ("operation: MAX coeff: 2 coeff: 2 coeff: 2", np.maximum(np.maximum(a, b), c)),
    ):
        same(
            Net(tmp_path, text + layer("Eltwise", "abc", params=f"eltwise_param {{ {params} }}")).run(
                a=a, b=b, c=c
            )["y"],
            want,
        )
    twice = Net(tmp_path, input_layer("a", 2, 3) + layer("Eltwise", "aa")).run(a=a)["y"]
    same(twice, a + a)


def test_a_second_bottom_as_coefficient(tmp_path):
    text = input_layer("x", 2, 4, 5, 6) + input_layer("s", 2, 4)
    s = normal(2, 4)
    net = Net(
        tmp_path,
        text + layer("Scale", "xs", params="scale_param { axis: 0 bias_term: true }"),
        {"l": [normal(2, 4, seed=8)]},
    )
    same(net.run(x=X, s=s)["y"], X * s[..., None, None] + normal(2, 4, seed=8)[..., None, None])
    same(
        Net(tmp_path, text + layer("Bias", "xs", params="bias_param { axis: 0 }")).run(x=X, s=s)["y"],
        X + s[..., None, None],
    )
    y = normal(2, 4, 5, 6, seed=4)
    net = Net(tmp_path, text + input_layer("z", 2, 4, 5, 6) + layer("Axpy", "sxz"))
    same(net.run(x=X, s=s, z=y)["y"], s[..., None, None] * X + y)


def test_slice_concat_crop(tmp_path):
    text = input_layer("x", 2, 4, 5, 6)
    got = Net(
        tmp_path, text + layer("Slice", "x", "abc", "slice_param { axis: -1 slice_point: 1 slice_point: 4 }")
    ).run(x=X)
    assert all(np.array_equal(got[k], v) for k, v in zip("abc", np.split(X, [1, 4], 3), strict=True))
    got = Net(
        tmp_path,
        text
        + layer("Slice", "x", "ab", "slice_param { slice_dim: 1 }")
        + layer("Concat", "ba", params="concat_param { concat_dim: 2 }", name="m"),
    ).run(x=X)
    assert np.array_equal(got["y"], np.concatenate([X[:, 2:], X[:, :2]], 2))
    crop = Net(
        tmp_path,
        text
        + input_layer("like", 1, 1, 3, 2)
        + layer("Crop", ["x", "like"], params="crop_param { offset: 2 offset: 1 }"),
    )
    assert np.array_equal(crop.run(x=X, like=np.zeros((1, 1, 3, 2)))["y"], X[:, :, 2:5, 1:3])
    one_of_each = Net(
        tmp_path, text + layer("Concat", "x", "a") + layer("Slice", "a", params="", name="m")
    ).run(x=X)
    assert np.array_equal(one_of_each["y"], X)


def test_argmax(tmp_path):
    x = np.round(normal(2, 3, 4, 1) * 2)
    flat = x.reshape(2, -1)
    order = np.lexsort((-np.arange(12)[None].repeat(2, 0), -flat), axis=-1)[:, :5]  # equals: the later first
    got = one(tmp_path, "ArgMax", "argmax_param { top_k: 5 out_max_val: true }", x=x)
    same(got, np.stack([order, np.take_along_axis(flat, order, 1)], 1)[..., None])
    same(one(tmp_path, "ArgMax", x=x), order[:, :1].reshape(2, 1, 1, 1))
    best = 2 - x[:, ::-1].argmax(1, keepdims=True)
    same(one(tmp_path, "ArgMax", "argmax_param { axis: 1 }", x=x), best)
    same(one(tmp_path, "ArgMax", "argmax_param { axis: -3 out_max_val: true }", x=x), x.max(1, keepdims=True))
    assert one(tmp_path, "ArgMax", x=normal(2, 7)).shape == (2, 1, 1)


def test_embed_reindex_filter(tmp_path):
    index = np.float32([[0, 3.9], [1, 2]])
    weight, bias = normal(4, 3), normal(3)
    got = one(tmp_path, "Embed", "embed_param { num_output: 3 input_dim: 4 }", [weight, bias], index)
    same(got, weight[index.astype(int)] + bias)
    net = Net(tmp_path, input_layer("x", 2, 4, 5, 6) + input_layer("i", 3) + layer("BatchReindex", "xi"))
    assert np.array_equal(net.run(x=X, i=[1, 0, 1])["y"], X[[1, 0, 1]])
    net = Net(tmp_path, input_layer("x", 3, 2) + input_layer("i", 3, 1) + layer("Filter", "xi"))
    x = normal(3, 2)
    assert np.array_equal(net.run(x=x, i=[[0], [-0.5], [2]])["y"], x[1:])


def test_max_unpooling(tmp_path):
    x = normal(1, 2, 4, 6)
    text = input_layer("x", 1, 2, 4, 6) + layer(
        "Pooling", "x", "pm", "pooling_param { kernel_size: 2 stride: 2 }"
    )
    for params, size in (
        ("", (4, 6)),
        ("upsample_h: 5 upsample_w: 7", (5, 7)),
        ("scale_h: 3 scale_w: 2 pad_out_h: true", (5, 6)),
    ):
        got = Net(
            tmp_path, text + layer("Upsample", "pm", params=f"upsample_param {{ {params} }}", name="u")
        ).run(x=x)
        want = np.zeros((1, 2, size[0] * size[1]))
        for c in range(2):
            want[0, c, got["m"][0, c].ravel().astype(int)] = got["p"][0, c].ravel()
        same(got["y"], want.reshape(1, 2, *size))


def test_unpooling_of_deconvnet(tmp_path):
    x = normal(1, 2, 4, 6)
    text = input_layer("x", 1, 2, 4, 6) + layer(
        "Pooling", "x", "pm", "pooling_param { kernel_size: 2 stride: 2 }"
    )
    for params, size in (
        ("kernel_size: 2 stride: 2", (5, 7)),
        ("kernel_size: 2 stride: 2 unpool_h: 4 unpool_w: 6", (4, 6)),
        ("kernel_h: 4 kernel_w: 2 stride_h: 2 stride_w: 2", (6, 7)),
    ):
        unpooling = layer("Unpooling", "pm", params=f"unpooling_param {{ {params} }}", name="u")
        got = Net(tmp_path, text + unpooling).run(x=x)
        want = np.zeros((1, 2, size[0] * size[1]))
        for c in range(2):
            want[0, c, got["m"][0, c].ravel().astype(int)] = got["p"][0, c].ravel()
        same(got["y"], want.reshape(1, 2, *size))
    for bottoms, params, words in (
        ("p", "kernel_size: 2", "without a mask"),
        ("pm", "kernel_size: 2 unpool: TILE", "'unpool' is TILE"),
    ):
        with pytest.raises(Unsupported, match=words):
            Net(
                tmp_path,
                text + layer("Unpooling", bottoms, params=f"unpooling_param {{ {params} }}", name="u"),
            )


def test_a_mask_of_another_size(tmp_path):
    text = input_layer("x", 1, 2, 4, 6) + input_layer("m", 1, 2, 4, 4) + layer("Upsample", "xm")
    with pytest.raises(Malformed, match=r"net.prototxt:3:1 l \(Upsample\): a mask of shape \(1, 2, 4, 4\)"):
        Net(tmp_path, text)
