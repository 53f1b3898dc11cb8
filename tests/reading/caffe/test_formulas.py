"""Layers of one bottom against their formulas, written a second time in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from .files import Net, input_layer, layer, normal, one_layer, same

X = normal(2, 4, 5, 6)


def one(folder, type_, params="", blobs=None, x=X, **options):
    """One layer over the usual blob."""
    return one_layer(folder, type_, params, blobs, x=x, **options)


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
    ("BReLU", "brelu_param { minval: -0.25 maxval: 0.5 }", None, lambda x: np.clip(x, -0.25, 0.5)),
    ("Mish", "", None, lambda x: x * np.tanh(np.log1p(np.exp(x.astype(np.float64))))),
    ("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }", None, lambda x: 0.7 * x),
    ("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: true }", None, lambda x: x),
    ("Dropout", "dropout_param { scale_train: false }", None, lambda x: 0.5 * x),
    ("Transpose", "transpose_param { dim: 3 dim: 0 dim: 2 dim: 1 }", None, lambda x: x.transpose(3, 0, 2, 1)),
    ("Reverse", "", None, lambda x: x[::-1]),
    ("Reverse", "reverse_param { axis: 2 }", None, lambda x: x[:, :, ::-1]),
    ("Flip", "", None, lambda x: x[..., ::-1]),
    ("Flip", "flip_param { flip_width: false flip_height: true }", None, lambda x: x[:, :, ::-1]),
    ("Threshold", "threshold_param { threshold: 0.2 }", None, lambda x: (x > np.float32(0.2)).astype(float)),
    ("Power", "power_param { scale: -2 shift: 0.5 }", None, lambda x: 0.5 - 2 * x),
    (
        "Power",
        "power_param { power: 3 scale: 0.5 shift: 1 }",
        None,
        lambda x: (1 + 0.5 * x.astype(np.float64)) ** 3,
    ),
    ("Power", "power_param { power: 0.5 scale: 0.01 shift: 1 }", None, lambda x: (1 + 0.01 * x) ** 0.5),
    ("Power", "power_param { power: 2 scale: 0 shift: 3 }", None, lambda x: np.full_like(x, 9)),
    ("Power", "power_param { power: 0 scale: 5 }", None, np.ones_like),
    ("Power", "power_param { power: -1 scale: 0 }", None, lambda x: np.full_like(x, np.inf)),
    ("Power", "", None, lambda x: x),
    ("Exp", "", None, np.exp),
    (
        "Exp",
        "exp_param { base: 2 scale: 0.5 shift: 1.5 }",
        None,
        lambda x: 2 ** (1.5 + 0.5 * x.astype(np.float64)),
    ),
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
    (
        "CropCenter",
        "crop_center_param { crop_size: 0 crop_size: 1 crop_size: 2 crop_size: 1 }",
        None,
        lambda x: x[:, 1:-1, 2:-2, 1:-1],
    ),
    ("Flatten", "", None, lambda x: x.reshape(2, 120)),
    ("Flatten", "flatten_param { axis: 0 }", None, lambda x: x.reshape(-1)),
    ("Flatten", "flatten_param { axis: -3 end_axis: -2 }", None, lambda x: x.reshape(2, 20, 6)),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", None, lambda x: x.reshape(2, 40, 3)),
    (
        "Reshape",
        "reshape_param { shape { dim: 1 dim: 1 } axis: -1 num_axes: 0 }",
        None,
        lambda x: x.reshape(2, 4, 5, 6, 1, 1),
    ),
    ("Reduction", "", None, lambda x: x.astype(np.float64).sum()),
    (
        "Reduction",
        "reduction_param { operation: ASUM axis: 1 coeff: 2 }",
        None,
        lambda x: 2 * np.abs(x).sum((1, 2, 3)),
    ),
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
    (
        "Scale",
        "scale_param { num_axes: 0 bias_term: true }",
        [np.float32(3), np.float32(-2)],
        lambda x: 3 * x - 2,
    ),
    ("Bias", "bias_param { axis: -2 }", [normal(5)], lambda x: x + normal(5)[:, None]),
    (
        "BatchNorm",
        "",
        [normal(4), np.abs(normal(4, seed=3)) + 0.1, np.float32([4])],
        lambda x: (
            (x - (normal(4) / 4)[:, None, None])
            / np.sqrt((np.abs(normal(4, seed=3)) + 0.1)[:, None, None] / 4 + 1e-5)
        ),
    ),
    (
        "BatchNorm",
        "batch_norm_param { eps: 0.25 }",
        [normal(4), normal(4) ** 2, np.float32([0])],
        lambda x: x / 0.5,
    ),
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
            (x - normal(4)[:, None, None])
            / np.sqrt(normal(4, seed=9)[:, None, None] ** 2 + 1 + 1e-5)
            * SLOPE[:, None, None]
            + normal(4, seed=5)[:, None, None]
        ),
    ),
    (
        "BatchNorm",
        "batch_norm_param { use_weight_bias: true relu: true }",
        [normal(4), normal(4, seed=9) ** 2 + 1, np.float32([2]), SLOPE],
        lambda x: np.maximum(
            (x - normal(4)[:, None, None] / 2)
            / np.sqrt((normal(4, seed=9)[:, None, None] ** 2 + 1) / 2 + 1e-5)
            * SLOPE[:, None, None],
            0,
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
            (x - x.mean((0, 2, 3), keepdims=True))
            / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-9)
            * normal(1, 4, 1, 1)
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
    (
        "Normalize",
        "",
        [np.float32(20)],
        lambda x: 20 * x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 1e-10),
    ),
    (
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false eps: 0.5 }",
        [SLOPE],
        lambda x: SLOPE[:, None, None] * x / np.sqrt((x**2).sum(1, keepdims=True) + 0.5),
    ),
    (
        "Normalize",
        "normalize_param { }",
        None,
        lambda x: x / np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True) + 1e-6),
    ),
    (
        "Normalize",
        "normalize_param { normalize_type: 'L1' }",
        None,
        lambda x: x / (np.abs(x.astype(np.float64)).sum(1, keepdims=True) + 1e-6),
    ),
    (
        "InnerProduct",
        "inner_product_param { num_output: 3 }",
        [normal(3, 120), normal(3)],
        lambda x: x.reshape(2, 120).astype(np.float64) @ normal(3, 120).T + normal(3),
    ),
    (
        "InnerProduct",
        "inner_product_param { num_output: 3 normalize: true bias_term: false }",
        [normal(3, 120)],
        lambda x: (
            x.reshape(2, 120).astype(np.float64)
            @ (normal(3, 120) / np.sqrt((normal(3, 120) ** 2).sum(1, keepdims=True) + 1e-6)).T
        ),
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


@pytest.mark.parametrize(
    ("type_", "params", "blobs", "formula"),
    ELEMENTWISE,
    ids=[f"{row[0]}-{i}" for i, row in enumerate(ELEMENTWISE)],
)
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


def test_the_normalize_of_normface_is_told_by_the_lack_of_a_scale(tmp_path):
    x = normal(2, 4, seed=3)
    text = input_layer("x", 2, 4) + layer("Normalize", "x", ["y", "norm"])
    net = Net(tmp_path, text, {"l": []})
    norm = np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True) + 1e-6)
    got = net.run(x=x)
    same(got["y"], (x / norm).reshape(2, 4, 1, 1))
    same(got["norm"], norm.reshape(2, 1, 1, 1))
