"""Pooling, and what stands on it, against Caffe's own loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.errors import Malformed

from .files import normal, one_layer, same

X = normal(2, 4, 5, 6)


def one(folder, type_, params="", blobs=None, x=X, **options):
    """One layer over the usual blob."""
    return one_layer(folder, type_, params, blobs, x=x, **options)


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
        f"{what}_{a}: {v}"
        for what, pair in zip(("kernel", "stride", "pad"), window, strict=True)
        for a, v in zip("hw", pair, strict=True)
    )
    x = normal(2, 3, *size)
    if min(n + 2 * p - k for n, p, k in zip(size, pad, kernel, strict=True)) < 0 and not ceil:
        return
    got = one(
        tmp_path,
        "Pooling",
        f"pooling_param {{ pool: {method} {params} {'' if ceil else 'round_mode: FLOOR'} }}",
        x=x,
    )
    same(got, caffe_pool(x, method, kernel, stride, pad, ceil)[0])


@pytest.mark.parametrize("window", WINDOWS[:5])
def test_pooling_mask(tmp_path, window):
    params = " ".join(
        f"{what}_{a}: {v}"
        for what, pair in zip(("kernel", "stride", "pad"), window, strict=True)
        for a, v in zip("hw", pair, strict=True)
    )
    x = normal(2, 3, 7, 8)
    y, mask = one(tmp_path, "Pooling", f"pooling_param {{ {params} }}", x=x, tops=("y", "m"))
    values, places = caffe_pool(x, "MAX", *window)
    same(y, values)
    same(mask, places)


def test_global_pooling_and_the_forks_ceil_mode(tmp_path):
    same(
        one(tmp_path, "Pooling", "pooling_param { global_pooling: true pool: AVE }"),
        X.mean((2, 3), keepdims=True),
    )
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
    got = one(
        tmp_path, "LRN", f"lrn_param {{ local_size: 3 alpha: 0.7 beta: 0.6 k: 2 norm_region: {region} }}"
    )
    squares = X.astype(np.float64) ** 2
    if region == "ACROSS_CHANNELS":
        padded = np.pad(squares, ((0, 0), (1, 1), (0, 0), (0, 0)))
        total = sum(padded[:, i : i + 4] for i in range(3))
        same(got, X / (2 + 0.7 / 3 * total) ** 0.6)
    else:
        same(got, X * (1 + 0.7 * caffe_pool(squares, "AVE", (3, 3), (1, 1), (1, 1))[0]) ** -0.6)


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_an_lrn_window_may_be_wider_than_the_blob(tmp_path, region):
    x = normal(1, 1, 1, 1)
    got = one(tmp_path, "LRN", f"lrn_param {{ local_size: 7 norm_region: {region} }}", x=x)
    same(got, x * (1 + x.astype(np.float64) ** 2 / (7 if region == "ACROSS_CHANNELS" else 49)) ** -0.75)


def test_spp(tmp_path):
    x = normal(2, 3, 7, 9)
    got = one(tmp_path, "SPP", "spp_param { pyramid_height: 3 pool: AVE }", x=x)
    parts = []
    for bins in (1, 2, 4):
        kernel = [math.ceil(n / bins) for n in (7, 9)]
        pad = [(k * bins - n + 1) // 2 for k, n in zip(kernel, (7, 9), strict=True)]
        parts.append(caffe_pool(x, "AVE", kernel, kernel, pad)[0].reshape(2, -1))
    same(got, np.concatenate(parts, 1))


def c3d_pool(x, method, kernel, stride, pad):
    """Pooling over time as C3D's loops have it."""
    sizes = [
        math.ceil((n + 2 * p - k) / s) + 1
        for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)
    ]
    out = np.zeros((*x.shape[:2], *sizes))
    for place in np.ndindex(*sizes):
        start = [i * s - p for i, s, p in zip(place, stride, pad, strict=True)]
        end = [min(a + k, n + p) for a, k, n, p in zip(start, kernel, x.shape[2:], pad, strict=True)]
        area = math.prod(b - a for a, b in zip(start, end, strict=True))
        inside = tuple(slice(max(a, 0), b) for a, b in zip(start, end, strict=True))
        window = x[(slice(None), slice(None), *inside)].astype(np.float64)
        found = window.max((2, 3, 4)) if method == "MAX" else window.sum((2, 3, 4)) / area
        out[(slice(None), slice(None), *place)] = found
    return out


@pytest.mark.parametrize(
    ("params", "kernel", "stride", "pad"),
    [
        ("kernel_size: 2 kernel_depth: 1 stride: 2", (1, 2, 2), (1, 2, 2), (0, 0, 0)),
        ("kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2", (2, 3, 3), (2, 2, 2), (0, 0, 0)),
        (
            "pool: AVE kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2",
            *[(2, 3, 3), (2, 2, 2), (0, 0, 0)],
        ),
        ("pool: AVE kernel_size: 3 kernel_depth: 2 stride: 2 pad: 1", (2, 3, 3), (1, 2, 2), (0, 1, 1)),
    ],
)
def test_pooling_over_time(tmp_path, params, kernel, stride, pad):
    x = normal(2, 3, 5, 7, 8)
    got = one(tmp_path, "Pooling3D", f"pooling3d_param {{ {params} }}", x=x)
    same(got, c3d_pool(x, "AVE" if "AVE" in params else "MAX", kernel, stride, pad), 1e-5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("kernel_size: 3", "'kernel_depth' is missing"),
        ("kernel_size: 3 kernel_depth: 1 pad: 1", "a pad for averages alone"),
        ("kernel_size: 3 kernel_depth: 1 stride: 0", "a positive stride"),
        ("kernel_size: 99 kernel_depth: 1", "no larger than the padded input"),
    ],
)
def test_windows_over_time_that_do_not_fit(tmp_path, params, words):
    with pytest.raises(Malformed, match=words):
        one(tmp_path, "Pooling3D", f"pooling3d_param {{ {params} }}", x=normal(1, 2, 3, 4, 5))
