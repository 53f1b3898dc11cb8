"""Every layer against numpy: the formulas are written here a second time, element by element where Caffe's own code is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.errors import Malformed

from .files import Net, input_layer, layer, normal, same

X = normal(2, 4, 5, 6)


def one(folder, type_, params="", blobs=None, x=X, tops=("y",), **options):
    """The tops of one layer over `x`."""
    net = Net(folder, input_layer("x", *x.shape) + layer(type_, ["x"], tops, params), {"l": blobs} if blobs else {}, **options)
    found = net.run(x=x)
    return found["y"] if tops == ("y",) else [found[top] for top in tops]


def logistic(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def leaky(x, slope):
    return np.where(x > 0, x, x * slope)


SLOPE = normal(4, seed=1)
ELEMENTWISE = [
    ("ReLU", "", None, lambda x: np.maximum(x, 0)),
    ("ReLU", "relu_param { negative_slope: 0.3 }", None, lambda x: leaky(x, 0.3)),
    ("ReLU6", "", None, lambda x: np.clip(x, 0, 6)),
    ("ReLU6", "relu6_param { negative_slope: 0.1 }", None, lambda x: np.minimum(leaky(x, 0.1), 6)),
    ("PReLU", "", [SLOPE], lambda x: leaky(x, SLOPE[:, None, None])),
    ("PReLU", "prelu_param { channel_shared: true }", [np.float32(-1.5)], lambda x: leaky(x, -1.5)),
    ("ELU", "elu_param { alpha: 0.7 }", None, lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    ("Sigmoid", "", None, logistic),
    ("TanH", "", None, np.tanh),
    ("AbsVal", "", None, np.abs),
    ("BNLL", "", None, lambda x: np.log1p(np.exp(x))),
    ("HardSigmoid", "", None, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    ("Swish", "swish_param { beta: 1.7 }", None, lambda x: x * logistic(1.7 * x)),
    ("Clip", "clip_param { min: -0.5 max: 0.25 }", None, lambda x: np.clip(x, -0.5, 0.25)),
    ("Threshold", "threshold_param { threshold: 0.2 }", None, lambda x: (x > np.float32(0.2)).astype(float)),
    ("Power", "power_param { scale: -2 shift: 0.5 }", None, lambda x: 0.5 - 2 * x),
    ("Power", "power_param { power: 3 scale: 0.5 shift: 1 }", None, lambda x: (1 + 0.5 * x.astype(np.float64)) ** 3),
    ("Power", "power_param { power: 0.5 scale: 0.01 shift: 1 }", None, lambda x: (1 + 0.01 * x) ** 0.5),
    ("Power", "power_param { power: 2 scale: 0 shift: 3 }", None, lambda x: np.full_like(x, 9)),
    ("Power", "power_param { power: 0 scale: 5 }", None, np.ones_like),
    ("Power", "power_param { power: -1 scale: 0 }", None, lambda x: np.full_like(x, np.inf)),
    ("Power", "", None, lambda x: x),
    ("Exp", "", None, np.exp),
    ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1.5 }", None, lambda x: 2 ** (1.5 + 0.5 * x.astype(np.float64))),
    ("Log", "log_param { base: 10 scale: 0.1 shift: 4 }", None, lambda x: np.log10(4 + 0.1 * x)),
    ("Dropout", "dropout_param { dropout_ratio: 0.7 }", None, lambda x: x),
    ("Softmax", "", None, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    ("Softmax", "softmax_param { axis: -1 }", None, lambda x: np.exp(x) / np.exp(x).sum(3, keepdims=True)),
    ("MVN", "", None, lambda x: (x - x.mean((2, 3), keepdims=True)) / (x.std((2, 3), keepdims=True) + 1e-9)),
    (
        "MVN",
        "mvn_param { across_channels: true eps: 0.5 }",
        None,
        lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / (x.std((1, 2, 3), keepdims=True) + 0.5),
    ),
    ("MVN", "mvn_param { normalize_variance: false }", None, lambda x: x - x.mean((2, 3), keepdims=True)),
    ("Tile", "tile_param { axis: 2 tiles: 3 }", None, lambda x: np.tile(x, (1, 1, 3, 1))),
    ("Permute", "permute_param { order: 2 order: 0 }", None, lambda x: x.transpose(2, 0, 1, 3)),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }", None, lambda x: x[:, [0, 2, 1, 3]]),
    ("CropCenter", "crop_center_param { crop_size: 0 crop_size: 1 crop_size: 2 crop_size: 1 }", None, lambda x: x[:, 1:-1, 2:-2, 1:-1]),
    ("Flatten", "", None, lambda x: x.reshape(2, 120)),
    ("Flatten", "flatten_param { axis: 0 }", None, lambda x: x.reshape(-1)),
    ("Flatten", "flatten_param { axis: -3 end_axis: -2 }", None, lambda x: x.reshape(2, 20, 6)),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", None, lambda x: x.reshape(2, 40, 3)),
    ("Reshape", "reshape_param { shape { dim: 1 dim: 1 } axis: -1 num_axes: 0 }", None, lambda x: x.reshape(2, 4, 5, 6, 1, 1)),
    ("Reduction", "", None, lambda x: x.astype(np.float64).sum()),
    ("Reduction", "reduction_param { operation: ASUM axis: 1 coeff: 2 }", None, lambda x: 2 * np.abs(x).sum((1, 2, 3))),
    ("Reduction", "reduction_param { operation: SUMSQ axis: -2 }", None, lambda x: (x**2).sum((2, 3))),
    ("Reduction", "reduction_param { operation: MEAN axis: 3 coeff: -1 }", None, lambda x: -x.mean(3)),
    ("Upsample", "upsample_param { scale: 2 }", None, lambda x: x.repeat(2, 2).repeat(2, 3)),
    ("Scale", "", [SLOPE], lambda x: x * SLOPE[:, None, None]),
    (
        "Scale",
        "scale_param { axis: 2 num_axes: 2 bias_term: true }",
        [normal(5, 6), normal(5, 6, seed=2)],
        lambda x: x * normal(5, 6) + normal(5, 6, seed=2),
    ),
    ("Scale", "scale_param { axis: 0 }", [normal(2)], lambda x: x * normal(2)[:, None, None, None]),
    ("Scale", "scale_param { axis: 1 num_axes: -1 }", [normal(4, 5, 6)], lambda x: x * normal(4, 5, 6)),
    ("Scale", "scale_param { num_axes: 0 bias_term: true }", [np.float32(3), np.float32(-2)], lambda x: 3 * x - 2),
    ("Bias", "bias_param { axis: -2 }", [normal(5)], lambda x: x + normal(5)[:, None]),
    (
        "BatchNorm",
        "",
        [normal(4), np.abs(normal(4, seed=3)) + 0.1, np.float32([4])],
        lambda x: (x - (normal(4) / 4)[:, None, None]) / np.sqrt((np.abs(normal(4, seed=3)) + 0.1)[:, None, None] / 4 + 1e-5),
    ),
    ("BatchNorm", "batch_norm_param { eps: 0.25 }", [normal(4), normal(4) ** 2, np.float32([0])], lambda x: x / 0.5),
    (
        "BatchNorm",
        "batch_norm_param { use_global_stats: false }",
        [normal(4), normal(4) ** 2, np.float32([1])],
        lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5),
    ),
    (
        "BatchNorm",
        "batch_norm_param { scale_bias: true eps: 1e-7 }",
        [normal(4), normal(4, seed=9) ** 2 + 1, np.float32([7]), SLOPE, normal(4, seed=5)],
        lambda x: (
            (x - normal(4)[:, None, None]) / np.sqrt(normal(4, seed=9)[:, None, None] ** 2 + 1 + 1e-5) * SLOPE[:, None, None]
            + normal(4, seed=5)[:, None, None]
        ),
    ),
    (
        "BatchNorm",
        "batch_norm_param { use_weight_bias: true relu: true }",
        [normal(4), normal(4, seed=9) ** 2 + 1, np.float32([2]), SLOPE],
        lambda x: np.maximum(
            (x - normal(4)[:, None, None] / 2) / np.sqrt((normal(4, seed=9)[:, None, None] ** 2 + 1) / 2 + 1e-5) * SLOPE[:, None, None], 0
        ),
    ),
    (
        "BN",
        "bn_param { bn_mode: INFERENCE }",
        [normal(1, 4, 1, 1), normal(1, 4, 1, 1, seed=2)],
        lambda x: x * normal(1, 4, 1, 1) + normal(1, 4, 1, 1, seed=2),
    ),
    (
        "BN",
        "",
        [normal(1, 4, 1, 1), normal(1, 4, 1, 1, seed=2)],
        lambda x: (
            (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-9) * normal(1, 4, 1, 1)
            + normal(1, 4, 1, 1, seed=2)
        ),
    ),
    (
        "BN",
        "bn_param { eps: 0.1 }",
        [normal(1, 4, seed=i) ** (1 if i < 3 else 2) for i in range(4)],
        lambda x: (
            normal(1, 4)[..., None, None]
            * (x - normal(1, 4, seed=2)[..., None, None])
            / np.sqrt(normal(1, 4, seed=3)[..., None, None] ** 2 + 0.1)
            + normal(1, 4, seed=1)[..., None, None]
        ),
    ),
    ("Normalize", "", [np.float32(20)], lambda x: 20 * x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 1e-10)),
    (
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false eps: 0.5 }",
        [SLOPE],
        lambda x: SLOPE[:, None, None] * x / np.sqrt((x**2).sum(1, keepdims=True) + 0.5),
    ),
    (
        "InnerProduct",
        "inner_product_param { num_output: 3 }",
        [normal(3, 120), normal(3)],
        lambda x: x.reshape(2, 120).astype(np.float64) @ normal(3, 120).T + normal(3),
    ),
    (
        "InnerProduct",
        "inner_product_param { num_output: 3 axis: 2 transpose: true bias_term: false }",
        [normal(30, 3)],
        lambda x: x.reshape(2, 4, 30).astype(np.float64) @ normal(30, 3),
    ),
    (
        "InnerProduct",
        "inner_product_param { num_output: 3 axis: 0 }",
        [normal(3, 240), normal(3)],
        lambda x: normal(3, 240).astype(np.float64) @ x.ravel() + normal(3),
    ),
]


@pytest.mark.parametrize(("type_", "params", "blobs", "formula"), ELEMENTWISE, ids=[f"{row[0]}-{i}" for i, row in enumerate(ELEMENTWISE)])
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_one_layer(tmp_path, type_, params, blobs, formula, opset):
    x = X.astype(np.float64) if type_ == "Softmax" else X
    with np.errstate(all="ignore"):
        same(one(tmp_path, type_, params, blobs, opset=opset), formula(x))


@pytest.mark.parametrize("spatial", [(), (9,), (3, 4, 5)])
def test_batch_norm_normalises_axis_1_whatever_the_rank(tmp_path, spatial):
    x = normal(3, 4, *spatial)
    mean, variance = normal(4), normal(4, seed=1) ** 2 + 0.5
    along = (4, *(1,) * len(spatial))
    got = one(tmp_path, "BatchNorm", "", [mean * 3, variance * 3, np.float32([3])], x)
    same(got, (x - mean.reshape(along)) / np.sqrt(variance.reshape(along) + 1e-5))


def caffe_pool(x, method, kernel, stride, pad, ceil=True):
    """Pooling as Caffe's own loops have it: (values, mask)."""
    sizes = []
    for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        exact = (n + 2 * p - k) / s
        size = (math.ceil(exact) if ceil else math.floor(exact)) + 1
        sizes.append(size - 1 if any(pad) and (size - 1) * s >= n + p else size)
    out, mask = np.zeros((*x.shape[:2], *sizes)), np.full((*x.shape[:2], *sizes), -1.0)
    height, width = x.shape[2:]
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
            bottom, right = min(top + kernel[0], height + pad[0]), min(left + kernel[1], width + pad[1])
            area = (bottom - top) * (right - left)
            top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
            window = x[:, :, top:bottom, left:right]
            if method == "AVE":
                with np.errstate(invalid="ignore"):
                    out[:, :, i, j] = window.astype(np.float64).sum((2, 3)) / area if area else np.nan
            elif window.size:
                flat = window.reshape(*x.shape[:2], -1)
                best = flat.argmax(-1)
                out[:, :, i, j] = flat.max(-1)
                mask[:, :, i, j] = (best // (right - left) + top) * width + best % (right - left) + left
            else:
                out[:, :, i, j] = np.finfo(np.float32).min
    return out, mask


WINDOWS = [
    ((3, 3), (2, 2), (0, 0)),
    ((3, 3), (2, 2), (1, 1)),
    ((2, 3), (2, 1), (1, 0)),
    ((3, 2), (3, 2), (0, 1)),
    ((5, 5), (1, 1), (2, 2)),
    ((2, 2), (3, 3), (1, 1)),
    ((4, 4), (3, 3), (3, 3)),
    ((1, 1), (2, 2), (0, 0)),
    ((1, 1), (4, 4), (0, 0)),
    ((9, 9), (2, 2), (1, 1)),
]


@pytest.mark.parametrize("size", [(7, 8), (8, 11)])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("ceil", [True, False])
def test_pooling(tmp_path, size, window, method, ceil):
    kernel, stride, pad = window
    params = " ".join(
        f"{what}_{a}: {v}" for what, pair in zip(("kernel", "stride", "pad"), window, strict=True) for a, v in zip("hw", pair, strict=True)
    )
    x = normal(2, 3, *size)
    if min(n + 2 * p - k for n, p, k in zip(size, pad, kernel, strict=True)) < 0 and not ceil:
        return
    got = one(tmp_path, "Pooling", f"pooling_param {{ pool: {method} {params} {'' if ceil else 'round_mode: FLOOR'} }}", x=x)
    same(got, caffe_pool(x, method, kernel, stride, pad, ceil)[0])


@pytest.mark.parametrize("window", WINDOWS[:5])
def test_pooling_mask(tmp_path, window):
    params = " ".join(
        f"{what}_{a}: {v}" for what, pair in zip(("kernel", "stride", "pad"), window, strict=True) for a, v in zip("hw", pair, strict=True)
    )
    x = normal(2, 3, 7, 8)
    y, mask = one(tmp_path, "Pooling", f"pooling_param {{ {params} }}", x=x, tops=("y", "m"))
    values, places = caffe_pool(x, "MAX", *window)
    same(y, values)
    same(mask, places)


def test_global_pooling_and_the_forks_ceil_mode(tmp_path):
    same(one(tmp_path, "Pooling", "pooling_param { global_pooling: true pool: AVE }"), X.mean((2, 3), keepdims=True))
    y, mask = one(tmp_path, "Pooling", "pooling_param { global_pooling: true }", tops=("y", "m"))
    same(y, X.max((2, 3), keepdims=True))
    same(mask, X.reshape(2, 4, 30).argmax(-1).reshape(2, 4, 1, 1))
    same(
        one(tmp_path, "Pooling", "pooling_param { kernel_size: 2 stride: 2 ceil_mode: false }"),
        caffe_pool(X, "MAX", (2, 2), (2, 2), (0, 0), False)[0],
    )


def test_a_window_outside_of_the_input_holds_what_caffe_starts_with(tmp_path):
    x = normal(1, 1, 6, 6)
    got = one(tmp_path, "Pooling", "pooling_param { kernel_size: 1 stride: 3 }", x=x)
    assert (got[0, 0, 2] == np.finfo(np.float32).min).all()
    same(got, caffe_pool(x, "MAX", (1, 1), (3, 3), (0, 0))[0])
    got = one(tmp_path, "Pooling", "pooling_param { kernel_size: 1 stride: 3 pool: AVE }", x=x)
    assert np.isnan(got[0, 0, 2]).all()


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_lrn(tmp_path, region):
    got = one(tmp_path, "LRN", f"lrn_param {{ local_size: 3 alpha: 0.7 beta: 0.6 k: 2 norm_region: {region} }}")
    squares = X.astype(np.float64) ** 2
    if region == "ACROSS_CHANNELS":
        padded = np.pad(squares, ((0, 0), (1, 1), (0, 0), (0, 0)))
        total = sum(padded[:, i : i + 4] for i in range(3))
        same(got, X / (2 + 0.7 / 3 * total) ** 0.6)
    else:
        same(got, X * (1 + 0.7 * caffe_pool(squares, "AVE", (3, 3), (1, 1), (1, 1))[0]) ** -0.6)


def test_spp(tmp_path):
    x = normal(2, 3, 7, 9)
    got = one(tmp_path, "SPP", "spp_param { pyramid_height: 3 pool: AVE }", x=x)
    parts = []
    for bins in (1, 2, 4):
        kernel = [math.ceil(n / bins) for n in (7, 9)]
        pad = [(k * bins - n + 1) // 2 for k, n in zip(kernel, (7, 9), strict=True)]
        parts.append(caffe_pool(x, "AVE", kernel, kernel, pad)[0].reshape(2, -1))
    same(got, np.concatenate(parts, 1))


def test_reshape_copies_the_dimension_at_the_shifted_position(tmp_path):
    x = normal(2, 3, 4, 8)
    same(one(tmp_path, "Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } axis: 2 }", x=x), x.reshape(2, 3, 4, 2, 4))


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
    rows, columns = (np.arange(n) * ((m - 1) / (n - 1) if n > 1 else 0) for n, m in zip(shape, x.shape[2:], strict=True))

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
        same(Net(tmp_path, text + layer("Eltwise", "abc", params=f"eltwise_param {{ {params} }}")).run(a=a, b=b, c=c)["y"], want)
    twice = Net(tmp_path, input_layer("a", 2, 3) + layer("Eltwise", "aa")).run(a=a)["y"]
    same(twice, a + a)


def test_a_second_bottom_as_coefficient(tmp_path):
    text = input_layer("x", 2, 4, 5, 6) + input_layer("s", 2, 4)
    s = normal(2, 4)
    net = Net(tmp_path, text + layer("Scale", "xs", params="scale_param { axis: 0 bias_term: true }"), {"l": [normal(2, 4, seed=8)]})
    same(net.run(x=X, s=s)["y"], X * s[..., None, None] + normal(2, 4, seed=8)[..., None, None])
    same(Net(tmp_path, text + layer("Bias", "xs", params="bias_param { axis: 0 }")).run(x=X, s=s)["y"], X + s[..., None, None])
    y = normal(2, 4, 5, 6, seed=4)
    net = Net(tmp_path, text + input_layer("z", 2, 4, 5, 6) + layer("Axpy", "sxz"))
    same(net.run(x=X, s=s, z=y)["y"], s[..., None, None] * X + y)


def test_slice_concat_crop(tmp_path):
    text = input_layer("x", 2, 4, 5, 6)
    got = Net(tmp_path, text + layer("Slice", "x", "abc", "slice_param { axis: -1 slice_point: 1 slice_point: 4 }")).run(x=X)
    assert all(np.array_equal(got[k], v) for k, v in zip("abc", np.split(X, [1, 4], 3), strict=True))
    got = Net(
        tmp_path,
        text
        + layer("Slice", "x", "ab", "slice_param { slice_dim: 1 }")
        + layer("Concat", "ba", params="concat_param { concat_dim: 2 }", name="m"),
    ).run(x=X)
    assert np.array_equal(got["y"], np.concatenate([X[:, 2:], X[:, :2]], 2))
    crop = Net(tmp_path, text + input_layer("like", 1, 1, 3, 2) + layer("Crop", ["x", "like"], params="crop_param { offset: 2 offset: 1 }"))
    assert np.array_equal(crop.run(x=X, like=np.zeros((1, 1, 3, 2)))["y"], X[:, :, 2:5, 1:3])
    one_of_each = Net(tmp_path, text + layer("Concat", "x", "a") + layer("Slice", "a", params="", name="m")).run(x=X)
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
    text = input_layer("x", 1, 2, 4, 6) + layer("Pooling", "x", "pm", "pooling_param { kernel_size: 2 stride: 2 }")
    for params, size in (("", (4, 6)), ("upsample_h: 5 upsample_w: 7", (5, 7)), ("scale_h: 3 scale_w: 2 pad_out_h: true", (5, 6))):
        got = Net(tmp_path, text + layer("Upsample", "pm", params=f"upsample_param {{ {params} }}", name="u")).run(x=x)
        want = np.zeros((1, 2, size[0] * size[1]))
        for c in range(2):
            want[0, c, got["m"][0, c].ravel().astype(int)] = got["p"][0, c].ravel()
        same(got["y"], want.reshape(1, 2, *size))


def test_a_mask_of_another_size(tmp_path):
    text = input_layer("x", 1, 2, 4, 6) + input_layer("m", 1, 2, 4, 4) + layer("Upsample", "xm")
    with pytest.raises(Malformed, match=r"net.prototxt:3:1 l \(Upsample\): a mask of shape \(1, 2, 4, 4\)"):
        Net(tmp_path, text)
