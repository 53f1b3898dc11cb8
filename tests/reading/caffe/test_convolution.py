"""Convolutions against sums over windows, in one to three dimensions, with everything that an option can do
to them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported

from .files import Net, input_layer, layer, normal, same


def convolve(x, w, stride, pad, dilation, group=1):
    """The definition: a sum over channels and taps for every output."""
    n, c, *size = x.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *((p, p) for p in pad)))
    out = [
        (m + 2 * p - (d * (k - 1) + 1)) // s + 1
        for m, p, d, k, s in zip(size, pad, dilation, w.shape[2:], stride, strict=True)
    ]
    y = np.zeros((n, w.shape[0], *out))
    rows, columns = w.shape[0] // group, c // group
    for place in itertools.product(*map(range, out)):
        for tap in itertools.product(*map(range, w.shape[2:])):
            at = tuple(i * s + t * d for i, s, t, d in zip(place, stride, tap, dilation, strict=True))
            for g in range(group):
                y[(slice(None), slice(g * rows, (g + 1) * rows), *place)] += (
                    x[(slice(None), slice(g * columns, (g + 1) * columns), *at)]
                    @ w[(slice(g * rows, (g + 1) * rows), slice(None), *tap)].T
                )
    return y


def deconvolve(x, w, stride, pad, dilation, group=1):
    """The definition: every input value adds its kernel to the output."""
    n, c, *size = x.shape
    full = [
        s * (m - 1) + d * (k - 1) + 1 for m, s, d, k in zip(size, stride, dilation, w.shape[2:], strict=True)
    ]
    y = np.zeros((n, w.shape[1] * group, *full))
    rows, columns = c // group, w.shape[1]
    for place in itertools.product(*map(range, size)):
        for tap in itertools.product(*map(range, w.shape[2:])):
            at = tuple(i * s + t * d for i, s, t, d in zip(place, stride, tap, dilation, strict=True))
            for g in range(group):
                y[(slice(None), slice(g * columns, (g + 1) * columns), *at)] += (
                    x[(slice(None), slice(g * rows, (g + 1) * rows), *place)].astype(np.float64)
                    @ w[(slice(g * rows, (g + 1) * rows), slice(None), *tap)]
                )
    return y[(slice(None), slice(None), *(slice(p, f - p) for p, f in zip(pad, full, strict=True)))]


def net(folder, x, params, blobs, type_="Convolution"):
    text = input_layer("x", *x.shape) + layer(type_, ["x"], params=f"convolution_param {{ {params} }}")
    return Net(folder, text, {"l": blobs})


CASES = [
    ("kernel_size: 3 pad: 1 stride: 2", (3, 3), (2, 2), (1, 1), (1, 1)),
    ("kernel_h: 1 kernel_w: 3 pad_w: 2 stride_h: 1 stride_w: 2", (1, 3), (1, 2), (0, 2), (1, 1)),
    ("kernel_size: 2 kernel_size: 3 dilation: 2 dilation: 1 pad: 1 pad: 0", (2, 3), (1, 1), (1, 0), (2, 1)),
    ("kernel_size: 3 pad_h: 1 dilation: 2", (3, 3), (1, 1), (1, 0), (2, 2)),
]


@pytest.mark.parametrize(("params", "kernel", "stride", "pad", "dilation"), CASES)
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(tmp_path, params, kernel, stride, pad, dilation, group, bias):
    x, w, b = normal(2, 4, 7, 8), normal(6, 4 // group, *kernel), normal(6)
    got = net(
        tmp_path,
        x,
        f"num_output: 6 {params} group: {group} bias_term: {str(bias).lower()}",
        [w, b] if bias else [w],
    ).run(x=x)["y"]
    same(got, convolve(x, w, stride, pad, dilation, group) + (b[:, None, None] if bias else 0))


@pytest.mark.parametrize(("params", "kernel", "stride", "pad", "dilation"), CASES)
@pytest.mark.parametrize("group", [1, 2])
def test_deconvolution(tmp_path, params, kernel, stride, pad, dilation, group):
    x, w, b = normal(2, 4, 5, 6), normal(4, 6 // group, *kernel), normal(6)
    got = net(tmp_path, x, f"num_output: 6 {params} group: {group}", [w, b], "Deconvolution").run(x=x)["y"]
    same(got, deconvolve(x, w, stride, pad, dilation, group) + b[:, None, None])


@pytest.mark.parametrize("spatial", [(9,), (4, 5, 6)])
def test_other_ranks(tmp_path, spatial):
    x, w, b = normal(2, 3, *spatial), normal(4, 3, *(3,) * len(spatial)), normal(4)
    ones = (1,) * len(spatial)
    got = net(tmp_path, x, "num_output: 4 kernel_size: 3 pad: 1", [w, b]).run(x=x)["y"]
    same(got, convolve(x, w, ones, ones, ones) + b.reshape(4, *ones))


def test_without_spatial_axes_it_is_a_product(tmp_path):
    x, w, b = normal(5, 3), normal(4, 3), normal(4)
    same(net(tmp_path, x, "num_output: 4 kernel_size: 1", [w, b]).run(x=x)["y"], x @ w.T + b)


def test_axes_before_the_channels_are_batch(tmp_path):
    x, w, b = normal(2, 3, 4, 6, 5), normal(6, 4, 3, 3), normal(6)
    got = net(tmp_path, x, "num_output: 6 kernel_size: 3 axis: 2", [w, b]).run(x=x)["y"]
    same(
        got,
        (convolve(x.reshape(6, 4, 6, 5), w, (1, 1), (0, 0), (1, 1)) + b[:, None, None]).reshape(
            2, 3, 6, 4, 3
        ),
    )


def test_several_bottoms_share_the_weights(tmp_path):
    text = input_layer("a", 1, 2, 4, 4) + input_layer("b", 1, 2, 5, 6)
    text += layer(
        "Convolution", "ab", ["p", "q"], "convolution_param { num_output: 3 kernel_size: 2 bias_term: false }"
    )
    a, b, w = normal(1, 2, 4, 4), normal(1, 2, 5, 6), normal(3, 2, 2, 2)
    found = Net(tmp_path, text, {"l": [w]})
    assert len([i for i in found.model.graph.initializers if "weight" in i]) == 1
    got = found.run(a=a, b=b)
    same(got["p"], convolve(a, w, (1, 1), (0, 0), (1, 1)))
    same(got["q"], convolve(b, w, (1, 1), (0, 0), (1, 1)))


@pytest.mark.parametrize(
    ("type_", "params"),
    [
        ("DepthwiseConvolution", "num_output: 4 group: 4"),
        ("ConvolutionDepthwise", "num_output: 4"),
        ("ConvolutionDepthwise", "num_output: 99 group: 3"),
        ("DepthwiseConv", "num_output: 4"),
    ],
)
def test_depthwise(tmp_path, type_, params):
    x, w, b = normal(1, 4, 6, 6), normal(4, 1, 3, 3), normal(4)
    got = net(tmp_path, x, f"{params} kernel_size: 3 pad: 1", [w, b], type_).run(x=x)["y"]
    same(got, convolve(x, w, (1, 1), (1, 1), (1, 1), 4) + b[:, None, None])


def test_a_depthwise_convolution_without_its_group_is_a_full_one(tmp_path):
    with pytest.raises(
        Exception,
        match=r"weight\) is \(4, 1, 3, 3\) in the weights file, but the network wants \(4, 4, 3, 3\)",
    ):
        net(
            tmp_path,
            normal(1, 4, 6, 6),
            "num_output: 4 kernel_size: 3",
            [normal(4, 1, 3, 3), normal(4)],
            "DepthwiseConvolution",
        )


def test_im2col(tmp_path):
    x = normal(1, 2, 4, 5)
    got = Net(
        tmp_path,
        input_layer("x", *x.shape)
        + layer("Im2col", "x", params="convolution_param { kernel_size: 2 stride: 2 pad: 1 }"),
    ).run(x=x)["y"]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = np.stack(
        [padded[:, c, i : i + 5 : 2, j : j + 6 : 2] for c in range(2) for i in range(2) for j in range(2)], 1
    )
    assert np.array_equal(got, want)


def test_intels_fused_relu_follows(tmp_path):
    x, w = normal(1, 2, 4, 4), normal(3, 2, 1, 1)
    y = convolve(x, w, (1, 1), (0, 0), (1, 1))
    got = net(
        tmp_path, x, "num_output: 3 kernel_size: 1 bias_term: false relu: true negative_slope: 0.2", [w]
    ).run(x=x)["y"]
    same(got, np.where(y > 0, y, 0.2 * y))
    with pytest.raises(Unsupported, match="'fusion_type' is SUM_FUSION"):
        net(tmp_path, x, "num_output: 3 kernel_size: 1 fusion_type: SUM_FUSION", [w])


BROKEN = [
    ("num_output: 3", "'kernel_size' is missing"),
    ("kernel_size: 3", "'num_output' is missing"),
    ("num_output: 0 kernel_size: 3", "'num_output' is 0"),
    ("num_output: 3 kernel_h: 3", "only one of kernel_h and kernel_w"),
    ("num_output: 3 kernel_size: 3 kernel_h: 3 kernel_w: 3", "beside 'kernel"),
    ("num_output: 3 kernel_size: 3 stride_h: 2", "stride is (2, 0)"),
    ("num_output: 3 kernel_size: 3 stride: 0", "stride is (0, 0)"),
    ("num_output: 3 kernel_size: 0", "kernel_size is (0, 0)"),
    (
        "num_output: 3 kernel_size: 3 kernel_size: 3 kernel_size: 3",
        "3 values of 'kernel_size' for 2 spatial axes",
    ),
    ("num_output: 3 kernel_size: 3 group: 2", "group 2"),
    ("num_output: 3 kernel_size: 3 group: 0", "group 0"),
    ("num_output: 3 kernel_size: 7", "reaches over (7, 7)"),
    ("num_output: 3 kernel_size: 3 dilation: 3", "reaches over (7, 7)"),
    ("num_output: 3 kernel_size: 3 axis: 4", "axis 4 of a blob with 4 axes"),
    ("num_output: 4000000000 kernel_size: 1", "values, as Caffe counts them"),
    ("num_output: 3 kernel_size: 3 pad: 1 pad_h: 2", "'pad_h' and 'pad_w' beside 'pad'"),
]


@pytest.mark.parametrize(("params", "words"), BROKEN)
def test_what_caffe_rejects(tmp_path, params, words):
    with pytest.raises(Malformed) as caught:
        net(tmp_path, normal(1, 4, 6, 6), params, [normal(3, 4, 3, 3)])
    assert words in str(caught.value)
    assert "net.prototxt:2:" in str(caught.value)
    assert "l (Convolution)" in str(caught.value)


SPATIAL = "kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 1 pad: 1 temporal_pad: 1"


@pytest.mark.parametrize("more", ["", " filter_group: 2", " group: 2"])
def test_convolution_over_time(tmp_path, more):
    x, w, b = normal(2, 4, 5, 7, 8), normal(6, 4, 2, 3, 3), normal(6)
    text = input_layer("x", *x.shape)
    text += layer("Convolution3D", "x", params=f"convolution3d_param {{ num_output: 6 {SPATIAL}{more} }}")
    want = convolve(x, w, (1, 2, 2), (1, 1, 1), (1, 1, 1)) + b[:, None, None, None]
    for bias in (b, b.reshape(1, 1, 1, 1, 6)):
        same(Net(tmp_path, text, {"l": [w, bias]}).run(x=x)["y"], want)


def test_deconvolution_over_time(tmp_path):
    x, w, b = normal(2, 4, 3, 4, 5), normal(4, 6, 2, 3, 3), normal(6)
    text = input_layer("x", *x.shape)
    text += layer("Deconvolution3D", "x", params=f"convolution3d_param {{ num_output: 6 {SPATIAL} }}")
    want = deconvolve(x, w, (1, 2, 2), (1, 1, 1), (1, 1, 1)) + b[:, None, None, None]
    same(Net(tmp_path, text, {"l": [w, b]}).run(x=x)["y"], want)
    with pytest.raises(Malformed, match="'kernel_depth' is missing"):
        Net(tmp_path, text.replace("kernel_depth: 2", ""), {"l": [w, b]})
    with pytest.raises(Malformed, match="expected 5 axes"):
        Net(tmp_path, text.replace(input_layer("x", *x.shape), input_layer("x", 2, 4, 3, 4)), {"l": [w, b]})


def bilinear(plane, row, column):
    """The value of a plane between its pixels; nothing before it, and behind it the last pixel goes on."""
    h, w = plane.shape
    if not (0 <= row < h and 0 <= column < w):
        return 0.0
    top, left = int(row), int(column)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    a, b = row - top, column - left
    upper = (1 - b) * plane[top, left] + b * plane[top, right]
    return (1 - a) * upper + a * ((1 - b) * plane[bottom, left] + b * plane[bottom, right])


@pytest.mark.parametrize(
    ("params", "stride", "pad", "dilation", "group", "parts"),
    [
        ("kernel_size: 3 pad: 1 deformable_group: 1", 1, 1, 1, 1, 1),
        ("kernel_size: 3 pad: 2 dilation: 2 stride: 2 deformable_group: 2 group: 2", 2, 2, 2, 2, 2),
        ("kernel_size: 3", 1, 0, 1, 1, 4),
    ],
)
def test_deformable_convolution(tmp_path, params, stride, pad, dilation, group, parts):
    n, c, h, w, out = 2, 4, 6, 5, 6
    x, weight, bias = normal(n, c, h, w), normal(out, c // group, 3, 3), normal(out)
    size = [(d + 2 * pad - 2 * dilation - 1) // stride + 1 for d in (h, w)]
    offsets = normal(n, parts * 18, *size, seed=7)
    text = input_layer("x", n, c, h, w) + input_layer("o", *offsets.shape)
    text += layer(
        "DeformableConvolution", "xo", params=f"deformable_convolution_param {{ num_output: {out} {params} }}"
    )
    columns = np.zeros((n, c, 3, 3, *size))
    for b, ch, i, j, row, column in np.ndindex(*columns.shape):
        tap = 2 * ((ch // (c // parts)) * 9 + i * 3 + j)
        y = row * stride - pad + i * dilation + float(offsets[b, tap, row, column])
        z = column * stride - pad + j * dilation + float(offsets[b, tap + 1, row, column])
        columns[b, ch, i, j, row, column] = bilinear(x[b, ch].astype(np.float64), y, z)
    want = np.concatenate(
        [
            np.einsum("ocij,ncijyx->noyx", weight[part], columns[:, places])
            for part, places in zip(
                np.split(np.arange(out), group), np.split(np.arange(c), group), strict=True
            )
        ],
        1,
    )
    got = Net(tmp_path, text, {"l": [weight, bias]}).run(x=x, o=offsets)["y"]
    same(got, want + bias[:, None, None], 1e-5)
    with pytest.raises(Malformed, match="offsets of shape"):
        Net(tmp_path, text.replace("kernel_size: 3", "kernel_size: 1"), {"l": [weight, bias]})
