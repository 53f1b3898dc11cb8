"""Networks that are damaged, absurd or made to hurt: one sentence with the place, little time, little memory,
never a traceback."""

from __future__ import annotations

import random
import resource
import time
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnfold.errors import BnfoldError, InputError, Malformed, Unsupported
from bnfold.reading.caffe import read
from bnfold.results.options import ReadOptions

from .files import Net, caffemodel, input_layer, layer, normal

X = input_layer("x", 1, 4, 6, 6)


def ip(**values):
    return "inner_product_param { " + " ".join(f"{k}: {v}" for k, v in values.items()) + " }"


REJECTED = [
    ("Pooling", "pooling_param { kernel_size: 2 pad: 2 }", "a pad of (2, 2) for a kernel of (2, 2)"),
    ("Pooling", "pooling_param { global_pooling: true kernel_size: 2 }", "global_pooling with a kernel"),
    (
        "Pooling",
        "pooling_param { global_pooling: true stride: 2 }",
        "global_pooling with a kernel, a pad or a stride",
    ),
    ("Pooling", "pooling_param { kernel_h: 2 }", "only one of kernel_h and kernel_w"),
    ("Pooling", "pooling_param { kernel_size: 2 stride_w: 2 }", "only one of stride_h and stride_w"),
    ("Pooling", "pooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }", "kernel_size beside kernel_h"),
    ("Pooling", "", "'kernel_size' is missing"),
    ("Pooling", "pooling_param { kernel_size: 0 }", "positive numbers"),
    ("Pooling", "pooling_param { kernel_size: 90 }", "a window of (90, 90)"),
    ("LRN", "lrn_param { local_size: 2147483647 }", "local_size is 2147483647"),
    ("LRN", "lrn_param { local_size: 4 }", "local_size is 4"),
    ("Softmax", "softmax_param { axis: 4 }", "axis 4 of a blob with 4 axes"),
    ("Concat", "concat_param { axis: 1 concat_dim: 1 }", "'axis' beside 'concat_dim'"),
    ("Slice", "slice_param { axis: 1 slice_dim: 1 }", "'axis' beside 'slice_dim'"),
    ("Slice", "slice_param { slice_point: 9 }", "slice points (9)"),
    ("Reshape", "reshape_param { shape { dim: 7 } }", "the same number of values"),
    ("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }", "at most one -1"),
    ("Reshape", "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 0 } }", "dim 0 at position 4"),
    ("Reshape", "reshape_param { shape { dim: -1 } axis: 7 }", "axes that it has"),
    ("Flatten", "flatten_param { axis: 3 end_axis: 1 }", "end_axis 1 before axis 3"),
    ("Tile", "tile_param { tiles: 0 }", "tiles is 0"),
    ("Tile", "tile_param { tiles: 2000000000 }", "at most 2,147,483,647 values"),
    ("Tile", "", "'tiles' is missing"),
    ("Permute", "permute_param { order: 1 order: 1 }", "each axis at most once"),
    ("Permute", "permute_param { order: 4 }", "each axis at most once"),
    ("ShuffleChannel", "shuffle_channel_param { group: 3 }", "a divisor of its channels"),
    ("Reorg", "reorg_param { stride: 5 }", "channels that is a multiple of its square"),
    ("Interp", "", "neither a size nor a factor"),
    ("Interp", "interp_param { zoom_factor: 2 pad_beg: 1 }", "negative ones, which crop"),
    ("Upsample", "upsample_param { scale: 0 }", "scale is 0"),
    (
        "CropCenter",
        "crop_center_param { crop_size: 0 crop_size: 2 }",
        "margins that leave at least one value",
    ),
    ("ArgMax", "argmax_param { top_k: 0 }", "top_k is 0"),
    ("Exp", "exp_param { base: 0 }", "base is 0"),
    ("Log", "log_param { base: 1 }", "base is 1"),
    ("InnerProduct", ip(num_output=0), "'num_output' is 0"),
    ("InnerProduct", ip(num_output=3, axis=4), "axis 4"),
    ("Scale", "scale_param { axis: 3 num_axes: 2 }", "axes that it has"),
    ("SPP", "spp_param { pyramid_height: 40 }", "a pyramid of height 40"),
    ("SPP", "spp_param { pyramid_height: 5 }", "bins no smaller than a pixel"),
    ("PriorBox", "", "1 bottoms; expected 2"),
    ("Eltwise", "", "1 bottoms; expected at least 2"),
]


@pytest.mark.parametrize(
    ("type_", "params", "words"), REJECTED, ids=[f"{row[0]}-{i}" for i, row in enumerate(REJECTED)]
)
def test_what_caffe_rejects(tmp_path, type_, params, words):
    with pytest.raises(Malformed) as caught:
        Net(tmp_path, X + layer(type_, "x", params=params), random_weights=1)
    assert words in str(caught.value)
    assert "net.prototxt:2:" in str(caught.value)
    assert f"l ({type_})" in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "shape", "words"),
    [
        ("PReLU", (5,), "at least two axes"),
        ("BatchNorm", (5,), "at least two axes"),
        ("BN", (5,), "at least two axes"),
        ("LRN", (5, 5), "4 axes"),
        ("Pooling", (5, 5, 5), "4 axes"),
        ("MVN", (1, 1, 1, 1, 2), "at most four axes"),
    ],
)
def test_ranks_that_a_layer_does_not_have(tmp_path, type_, shape, words):
    params = "pooling_param { kernel_size: 1 }" if type_ == "Pooling" else ""
    with pytest.raises(Malformed, match=words):
        Net(tmp_path, input_layer("x", *shape) + layer(type_, "x", params=params), random_weights=1)


@pytest.mark.parametrize(
    ("type_", "shapes", "params", "words"),
    [
        ("Eltwise", [(2, 3), (2, 1)], "", "the same shape"),
        (
            "Eltwise",
            [(2,), (2,)],
            "eltwise_param { operation: PROD coeff: 1 coeff: 1 }",
            "coefficients for PROD",
        ),
        ("Eltwise", [(2,), (2,)], "eltwise_param { coeff: 1 }", "1 coefficients for SUM of 2"),
        ("Concat", [(2, 3), (3, 3)], "", "agree but on axis 1"),
        ("Crop", [(1, 1, 4, 4), (1, 1, 3, 5)], "", "a crop that lies inside"),
        ("Crop", [(1, 1, 4, 4), (1, 1, 3, 3)], "crop_param { offset: 2 }", "a crop that lies inside"),
        (
            "Crop",
            [(1, 1, 4, 4), (1, 1, 3, 3)],
            "crop_param { axis: 1 offset: 0 offset: 0 }",
            "2 offsets for 3 axes",
        ),
        ("Scale", [(2, 3), (2,)], "", "dimensions from that axis on"),
        ("SoftmaxWithLoss", [(2, 3), (3,)], "", "one label for each prediction"),
        ("EuclideanLoss", [(2, 3), (2, 2)], "", "the same number of values"),
    ],
)
def test_bottoms_that_do_not_fit(tmp_path, type_, shapes, params, words):
    text = "".join(input_layer(name, *shape) for name, shape in zip("abc", shapes, strict=False))
    with pytest.raises(Malformed) as caught:
        Net(tmp_path, text + layer(type_, "abc"[: len(shapes)], params=params))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "params"),
    [
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
        ("Pooling", "pooling_param { kernel_size: 2 torch_pooling: true }"),
        ("ELU", "elu_param { lambda: 2 }"),
        ("Reduction", "reduction_param { k: 3 }"),
    ],
)
def test_what_cannot_be_expressed(tmp_path, type_, params):
    with pytest.raises(Unsupported, match=r"net.prototxt:2:1 l .*--cut-at x"):
        Net(tmp_path, X + layer(type_, "x", params=params))


def test_absurd_sizes_cost_nothing(tmp_path):
    begin, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    huge = input_layer("x", 1, 16, 8000, 8000)
    for text in (
        huge
        + layer("PriorBox", ["x", "x2"], params="prior_box_param { min_size: 4 aspect_ratio: 2 }").replace(
            '"x2"', '"x"'
        ),
        huge + layer("InnerProduct", "x", params=ip(num_output=1)),
        X + layer("InnerProduct", "x", params=ip(num_output=2_000_000_000)),
        X
        + layer(
            "DummyData", [], params="dummy_data_param { num: 20000 channels: 100 height: 100 width: 10 }"
        ),
        X + layer("Convolution", "x", params="convolution_param { num_output: 4294967295 kernel_size: 1 }"),
        X + layer("Pooling", "x", params="pooling_param { kernel_size: 4294967295 }"),
    ):
        fine = "DummyData" in text or "PriorBox" in text  # nothing is made before somebody asks for it
        with nullcontext() if fine else pytest.raises(InputError):
            Net(tmp_path, text, {})
    assert time.process_time() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 128 << 10


def test_names_from_a_file_stay_on_one_line(tmp_path):
    with pytest.raises(Unsupported) as caught:
        Net(tmp_path, X + layer("No\\nbody\\x1b[31m", "x"))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


TEXT = (
    X
    + layer("Convolution", "x", "c", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }", "conv")
    + layer("BatchNorm", "c", "c", name="bn")
    + layer("ReLU", "c", "c", name="r")
    + layer("Pooling", "c", "p", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }", "pool")
    + layer("InnerProduct", "p", "y", ip(num_output=3), "ip")
)
MODEL = caffemodel(
    {
        "conv": [normal(4, 4, 3, 3), normal(4)],
        "bn": [normal(4), normal(4) ** 2, normal(1)],
        "ip": [normal(3, 36), normal(3)],
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_damaged_files_never_raise_anything_else(tmp_path, seed):
    chance = random.Random(seed)
    text, model = bytearray(TEXT.encode()), bytearray(MODEL)
    for data in (text, model):
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data))
            if chance.random() < 0.3:
                del data[at : at + chance.randrange(1, 20)]
            elif chance.random() < 0.5:
                data[at] = chance.randrange(256)
            else:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.randrange(1, 30)]
    network, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    network.write_bytes(text)
    weights.unlink(missing_ok=True)
    weights.write_bytes(model)
    try:
        read(network, weights, ReadOptions())
    except BnfoldError as error:
        assert error.exit_code in (3, 4)
        assert "\n" not in str(error)
