"""Layers of FlowNet 2 against its formulas, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported

from .files import Net, input_layer, layer, normal, same

IMAGE = (2, 3, 5, 6)


def bilinear(image, x, y):
    """The value of a plane between pixels; the last pixel goes on."""
    height, width = image.shape
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = (1 - a) * image[top, left] + a * image[top, right]
    return (1 - b) * upper + b * ((1 - a) * image[bottom, left] + a * image[bottom, right])


@pytest.mark.parametrize(("fill", "outside"), [("ZERO", 0.0), ("NOT_A_NUMBER", math.nan)])
@pytest.mark.parametrize("opset", [17, 21])
def test_flow_warp(tmp_path, fill, outside, opset):
    n, c, h, w = IMAGE
    x, flow = normal(*IMAGE), normal(n, 2, h, w, seed=3) * 3
    flow[0, :, 0, 0] = (5.0, 4.0)  # the last pixel itself, which is inside
    flow[0, :, 0, 1] = (4.5, 0.0)  # behind it by less than one pixel
    flow[0, :, 0, 2] = (4.0, 0.0)  # the edge, which is outside
    want = np.full(IMAGE, outside)
    for item, row, column in np.ndindex(n, h, w):
        at_x, at_y = column + float(flow[item, 0, row, column]), row + float(flow[item, 1, row, column])
        if 0 <= at_x < w and 0 <= at_y < h:
            for channel in range(c):
                want[item, channel, row, column] = bilinear(x[item, channel], at_x, at_y)
    text = input_layer("x", *IMAGE) + input_layer("f", n, 2, h, w)
    text += layer("FlowWarp", "xf", params=f"flow_warp_param {{ fill_value: {fill} }}")
    same(Net(tmp_path, text, opset=opset).run(x=x, f=flow)["y"], want, 1e-5)
    with pytest.raises(Unsupported, match="opset 16 or more"):
        Net(tmp_path, text, opset=15)


def resampled(x, size, cubic, antialias):
    """The kernel of FlowNet 2 as it stands, with its exchanged ratios."""
    (h, w), (out_h, out_w) = x.shape, size
    fx, fy = w / out_w, h / out_h
    antialias = antialias and max(fx, fy) > 1

    def weight(d):
        d = abs(d)
        if not cubic:
            return max(0.0, 1 - d)
        if d <= 1:
            return d * d * (1.5 * d - 2.5) + 1
        return d * (d * (-0.5 * d + 2.5) - 4) + 2 if d < 2 else 0.0

    ax, ay = (1 / fx, 1 / fy) if antialias else (1.0, 1.0)
    reach = 4 if cubic else 2
    rx, ry = (2 if fx < 1 else math.ceil(reach / ax)), (2 if fy < 1 else math.ceil(reach / ay))
    found = np.zeros(size)
    for row, column in np.ndindex(*size):
        x_in, y_in = column * fx + fy / 2 - 0.5, row * fy + fx / 2 - 0.5
        cx, cy = (int(math.copysign(math.floor(abs(v) + 0.5), v)) for v in (x_in, y_in))
        total = weights = 0.0
        for i in range(max(0, cy - ry), min(h, cy + ry + 1)):
            for j in range(max(0, cx - rx), min(w, cx + rx + 1)):
                one = ax * weight(ax * (x_in - j)) * ay * weight(ay * (y_in - i))
                total, weights = total + one * x[i, j], weights + one
        found[row, column] = total / weights if weights else 0
    return found


@pytest.mark.parametrize("size", [(10, 12), (3, 4), (5, 6), (8, 4), (2, 11)])
@pytest.mark.parametrize("kind", ["LINEAR", "CUBIC"])
@pytest.mark.parametrize("antialias", [True, False])
def test_resample(tmp_path, size, kind, antialias):
    x = normal(*IMAGE)
    params = f"height: {size[0]} width: {size[1]} type: {kind} antialias: {str(antialias).lower()}"
    text = input_layer("x", *IMAGE) + layer("Resample", "x", params=f"resample_param {{ {params} }}")
    want = [[resampled(plane, size, kind == "CUBIC", antialias) for plane in item] for item in x]
    same(Net(tmp_path, text).run(x=x)["y"], want, 1e-5)


def test_resample_to_the_size_of_another_blob(tmp_path):
    x = normal(*IMAGE)
    text = input_layer("x", *IMAGE) + input_layer("z", 1, 1, 7, 9) + layer("Resample", "xz")
    want = [[resampled(plane, (7, 9), False, True) for plane in item] for item in x]
    same(Net(tmp_path, text).run(x=x, z=normal(1, 1, 7, 9))["y"], want, 1e-5)
    for params, words in (("", "a size is missing"), ("width: 0 height: 3", "a size is missing")):
        with pytest.raises(Malformed, match=words):
            Net(
                tmp_path,
                input_layer("x", *IMAGE) + layer("Resample", "x", params=f"resample_param {{ {params} }}"),
            )


def spread(x, size):
    """Corners on corners."""
    (h, w), (out_h, out_w) = x.shape, size
    rows, columns = np.linspace(0, h - 1, out_h), np.linspace(0, w - 1, out_w)
    return np.array([[bilinear(x, c, r) for c in columns] for r in rows])


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ("", (5, 6)),
        ("size_divisible_by: 4", (8, 8)),
        ("top_height: 9 top_width: 7", (9, 7)),
        ("top_height: 9 top_width: 6", (5, 6)),
        ("have_reference: true", (3, 4)),
    ],
)
def test_accum(tmp_path, params, size):
    x, z = normal(*IMAGE), normal(2, 1, 3, 4, seed=2)
    text = input_layer("x", *IMAGE) + input_layer("z", 2, 1, 3, 4)
    text += layer("Accum", "xz", params=f"accum_param {{ {params} }}")
    parts = [x] if "reference" in params else [x, z]
    want = np.concatenate(
        [[[spread(p.astype(np.float64), size) for p in item] for item in part] for part in parts], 1
    )
    same(Net(tmp_path, text).run(x=x, z=z)["y"], want, 1e-5)


def correlated(a, b, *, pad, kernel, reach, stride_1, stride_2, subtract):
    """For each displacement, what patches have in common."""
    a, b = (np.pad(v, ((0, 0), (0, 0), (pad, pad), (pad, pad))).astype(np.float64) for v in (a, b))
    radius = reach // stride_2
    grid = [
        (p * stride_2, o * stride_2) for p in range(-radius, radius + 1) for o in range(-radius, radius + 1)
    ]
    border = reach + (kernel - 1) // 2
    size = [math.ceil((d - 2 * border) / stride_1) for d in a.shape[2:]]
    found = np.zeros((len(a), len(grid), *size))
    for index, (down, right) in enumerate(grid):
        for row, column in np.ndindex(*size):
            y, x = row * stride_1 + reach, column * stride_1 + reach
            one = a[:, :, y : y + kernel, x : x + kernel]
            other = b[:, :, y + down : y + down + kernel, x + right : x + right + kernel]
            both = np.abs(one - other) if subtract else one * other
            found[:, index, row, column] = both.mean(axis=(1, 2, 3))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"pad": 2, "kernel": 1, "reach": 2, "stride_1": 1, "stride_2": 1},
        {"pad": 4, "kernel": 1, "reach": 4, "stride_1": 1, "stride_2": 2},
        {"pad": 3, "kernel": 3, "reach": 3, "stride_1": 2, "stride_2": 2},
        {"pad": 0, "kernel": 1, "reach": 0, "stride_1": 2, "stride_2": 1},
    ],
)
@pytest.mark.parametrize("subtract", [False, True])
def test_correlation(tmp_path, options, subtract):
    a, b = normal(2, 3, 8, 7), normal(2, 3, 8, 7, seed=5)
    params = (
        "pad: {pad} kernel_size: {kernel} max_displacement: {reach} stride_1: {stride_1} stride_2: {stride_2}"
    )
    params = params.format(**options) + (" correlation_type: SUBTRACT" if subtract else "")
    text = input_layer("a", 2, 3, 8, 7) + input_layer("b", 2, 3, 8, 7)
    text += layer("Correlation", "ab", params=f"correlation_param {{ {params} }}")
    same(Net(tmp_path, text).run(a=a, b=b)["y"], correlated(a, b, **options, subtract=subtract), 1e-5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("kernel_size: 2 max_displacement: 1", "an odd kernel_size"),
        ("kernel_size: 1", "displacements up to None"),
        ("kernel_size: 1 max_displacement: 9", "an image that holds them"),
    ],
)
def test_correlations_that_do_not_fit(tmp_path, params, words):
    text = input_layer("a", *IMAGE) + input_layer("b", *IMAGE)
    with pytest.raises(Malformed, match=words):
        Net(tmp_path, text + layer("Correlation", "ab", params=f"correlation_param {{ {params} }}"))
