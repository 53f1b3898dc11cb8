"""Shapes that are written into a model, and a batch that is left open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import bnfold

from ..reading.caffe.files import caffemodel
from .networks import DENSE, convolution, run, saved

DRAW = np.random.default_rng(5)
OPEN = convolution(data="float[N, 3, H, W]")
NAMED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, H, W] a, float[N, 3, H, W] b) => (float[N, 3, H, W] y) { y = Add(a, b) }
"""
RESHAPED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, H, W] data) => (float[N, 6] y) <float[192, 6] w>
{
  shape = Constant <value = int64[2] {-1, 192}> ()
  f = Reshape(data, shape)
  y = MatMul(f, w)
}
"""


def shapes(path: Path) -> dict[str, list[int | str]]:
    graph = onnx.load(path).graph
    return {
        one.name: [
            d.dim_value if d.HasField("dim_value") else d.dim_param for d in one.type.tensor_type.shape.dim
        ]
        for one in (*graph.input, *graph.output)
    }


@pytest.mark.parametrize("convert", [True, False])
def test_a_shape_goes_through_to_the_outputs(tmp_path: Path, convert: bool) -> None:
    source, out = saved(tmp_path, OPEN), tmp_path / "out.onnx"
    (bnfold.convert_file if convert else bnfold.fold_file)(source, out=out, fix_shape=(2, 3, 10, 12))
    assert shapes(out) == {"data": [2, 3, 10, 12], "y": [2, 2, 8, 10]}
    onnx.checker.check_model(str(out), full_check=True)


def test_a_size_that_is_declared_may_be_another(tmp_path: Path) -> None:
    source, out = saved(tmp_path, convolution(data="float[1, 3, 8, 8]")), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, fix_shape={"data": (4, 3, 16, 16)})
    assert shapes(out) == {"data": [4, 3, 16, 16], "y": [4, 2, 14, 14]}


def test_a_name_of_a_size_means_one_size(tmp_path: Path) -> None:
    source, out = saved(tmp_path, NAMED), tmp_path / "out.onnx"
    bnfold.convert_file(source, out=out, fix_shape={"a": (1, 3, 4, 5)})
    assert shapes(out) == {name: [1, 3, 4, 5] for name in "aby"}
    with pytest.raises(bnfold.Mismatch, match="'H' would be 4 and 6"):
        bnfold.convert_file(source, out=out, fix_shape={"a": (1, 3, 4, 5), "b": (1, 3, 6, 5)})


@pytest.mark.parametrize(
    ("text", "dims", "node"),
    [
        (DENSE, (1, 3, 4, 6), "Gemm 'Gemm_y'"),
        (RESHAPED, (1, 3, 7, 7), "Reshape 'Reshape_f'"),
        (convolution(), (1, 4, 8, 8), "Conv 'Conv_h'"),
        (convolution(), (1, 3, 2, 2), "Conv 'Conv_h'"),
    ],
)
def test_a_size_that_contradicts_the_graph(
    tmp_path: Path, text: str, dims: tuple[int, ...], node: str
) -> None:
    source = saved(tmp_path, text)
    for made in (bnfold.convert_file, bnfold.fold_file):
        with pytest.raises(bnfold.Mismatch, match=node) as caught:
            made(source, out=tmp_path / "out.onnx", fix_shape=dims)
        assert caught.value.exit_code == 3
    assert not (tmp_path / "out.onnx").exists()


def test_a_shape_and_preprocessing(tmp_path: Path) -> None:
    """The shape is the network's; the layout that comes in is another."""
    source, out = saved(tmp_path, OPEN), tmp_path / "out.onnx"
    options = {"fix_shape": (1, 3, 6, 7), "input_layout": "NHWC", "input_type": "uint8"}
    bnfold.fold_file(source, out=out, bake_input={"mean": (1, 2, 3)}, **options)  # type: ignore[arg-type]
    assert shapes(out) == {"data": [1, 6, 7, 3], "y": [1, 2, 4, 5]}


FIXED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 5 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
"""
BODIES = {
    "convolution": "",
    "dense": 'layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 6 } }',
    "reshape": 'layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 0 dim: 2 dim: -1 } } }',
    "flatten": 'layer { name: "f" type: "Flatten" bottom: "conv" top: "f" }',
    "softmax": 'layer { name: "s" type: "Softmax" bottom: "conv" top: "s" }',
    "lrn": 'layer { name: "s" type: "LRN" bottom: "conv" top: "s" lrn_param { norm_region: WITHIN_CHANNEL } }',
    "pool": 'layer { name: "p" type: "Pooling" bottom: "conv" top: "p" pooling_param { pool: AVE global_pooling: true } }',
    "merged": 'layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: -1 dim: 6 dim: 6 } } }',
}
FORBID = {
    "written": (
        'layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 5 dim: 4 dim: -1 } } }',
        "",
    ),
    "batch as an axis": (
        'layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 1 dim: -1 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "r" top: "fc" inner_product_param { num_output: 6 } }',
        "fc",
    ),
}


def caffe(folder: Path, body: str) -> Path:
    path = folder / "net.prototxt"
    path.write_text(FIXED + body)
    draw = DRAW.normal
    weights = {
        "conv": [draw(size=(4, 3, 3, 3)), draw(size=4)],
        "bn": [draw(size=4), draw(size=4) ** 2 + 0.5, [1.0]],
        "fc": [draw(size=(6, 720 if "dim: 1 dim: -1" in body else 144)), draw(size=6)],
    }
    path.with_suffix(".caffemodel").write_bytes(
        caffemodel({k: [np.float32(a) for a in v] for k, v in weights.items()})
    )
    return path


@pytest.mark.parametrize("name", BODIES)
def test_a_batch_is_left_open(tmp_path: Path, name: str) -> None:
    source, out = caffe(tmp_path, BODIES[name]), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, dynamic_batch=True)
    bnfold.convert_file(source, out=tmp_path / "plain.onnx")
    assert shapes(out)["data"] == ["N", 3, 8, 8]
    onnx.checker.check_model(str(out), full_check=True)
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    theirs = run(tmp_path / "plain.onnx", {"data": x})[0]
    np.testing.assert_allclose(run(out, {"data": x})[0], theirs, rtol=1e-4, atol=1e-5)
    if name != "merged":
        for count in (1, 2, 3):
            np.testing.assert_allclose(run(out, {"data": x[:count]})[0], theirs[:count], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", ["fix_shape", "input_shapes"])
def test_a_shape_that_does_not_fit_a_darknet_network_is_called_what_it_was_given_as(
    tmp_path: Path, option: str
) -> None:
    (cfg := tmp_path / "net.cfg").write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n")
    with pytest.raises(bnfold.UsageError, match=f"'{option}' cannot be.*expected N,3,height,width"):
        bnfold.convert_file(cfg, out=tmp_path / "out.onnx", **{option: (1, 4, 8, 8)})


def test_a_batch_that_moved_is_not_taken_for_a_size_of_the_same_number(tmp_path: Path) -> None:
    """After the Permute the second axis is the batch, and the third always has two entries."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "data" input_shape { dim: 5 dim: 2 dim: 8 dim: 3 }'
        'layer { name: "p" type: "Permute" bottom: "data" top: "p" permute_param { order: 2 order: 0 order: 1 } }'
        'layer { name: "s" type: "ShuffleChannel" bottom: "p" top: "s" shuffle_channel_param { group: 1 } }'
    )
    out = tmp_path / "out.onnx"
    bnfold.convert_file(path, out=out, dynamic_batch=True)
    x = np.random.default_rng(0).standard_normal((5, 2, 8, 3)).astype(np.float32)
    for count in (5, 2, 1):
        np.testing.assert_array_equal(run(out, {"data": x[:count]})[0], x[:count].transpose(2, 0, 1, 3))


@pytest.mark.parametrize("name", FORBID)
def test_a_batch_that_a_layer_forbids(tmp_path: Path, name: str) -> None:
    body, words = FORBID[name]
    with pytest.raises(bnfold.Unsupported, match=f"'dynamic_batch'.*{words}") as caught:
        bnfold.fold_file(caffe(tmp_path, body), out=tmp_path / "out.onnx", dynamic_batch=True)
    assert caught.value.exit_code == 4 and "net.prototxt" in str(caught.value)


def test_an_open_batch_and_preprocessing(tmp_path: Path) -> None:
    source, out = caffe(tmp_path, BODIES["dense"]), tmp_path / "out.onnx"
    options = {"dynamic_batch": True, "fix_shape": (1, 3, 8, 8), "input_layout": "NHWC"}
    result = bnfold.fold_file(source, out=out, bake_input={"mean": (1, 2, 3), "order": "bgr"}, **options)  # type: ignore[arg-type]
    assert shapes(out)["data"] == ["N", 8, 8, 3] and result.outside and result.outside.passed


def test_an_open_batch_is_for_caffe(tmp_path: Path) -> None:
    with pytest.raises(bnfold.UsageError, match="'dynamic_batch' is for caffe models"):
        bnfold.fold_file(saved(tmp_path, OPEN), out=tmp_path / "out.onnx", dynamic_batch=True)


def test_a_network_that_states_no_shape(tmp_path: Path) -> None:
    source = caffe(tmp_path, "")
    source.write_text(
        'layer { name: "data" type: "Data" top: "data" data_param { source: "x" batch_size: 1 } }'
        + "\n".join(FIXED.splitlines()[2:])
    )
    bnfold.fold_file(source, out=tmp_path / "out.onnx", fix_shape=(1, 3, 8, 8))
    assert shapes(tmp_path / "out.onnx")["data"] == [1, 3, 8, 8]
    with pytest.raises(bnfold.UsageError, match="'conv', which is no input"):
        bnfold.fold_file(
            caffe(tmp_path, BODIES["dense"]), out=tmp_path / "out.onnx", fix_shape={"conv": (5, 4, 6, 6)}
        )
