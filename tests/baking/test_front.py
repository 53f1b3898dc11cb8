"""Preprocessing in the network gives what preprocessing outside gives, and the engine folds it where that is exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bnfold

from ..models import model
from .networks import DENSE, MEAN, STD, convolution, operators, pixels, prepared, run, saved

NORMAL = {"mean": MEAN, "std": STD, "order": "bgr"}
# what padding there is, what becomes of it -> the operators that are left
LEFT = {
    (0, "auto"): ["Conv", "Relu", "Conv"],
    (0, "pad"): ["Conv", "Relu", "Conv"],
    (1, "auto"): ["Sub", "Conv", "Relu", "Conv"],
    (1, "sub"): ["Sub", "Conv", "Relu", "Conv"],
    (1, "pad"): ["Split", "Pad", "Pad", "Pad", "Concat", "Conv", "Relu", "Conv"],
}


@pytest.mark.parametrize(("pads", "padding"), LEFT)
def test_a_fold_takes_all_that_is_exact(tmp_path: Path, pads: int, padding: str) -> None:
    source, out = saved(tmp_path, convolution(pads)), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input=NORMAL, bake_padding=padding)
    assert operators(out) == LEFT[pads, padding]
    raw = pixels((1, 3, 8, 8))
    ours, theirs = (
        run(out, {"data": raw.astype(np.float32)}),
        run(source, {"data": prepared(raw, MEAN, STD, bgr=True)}),
    )
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)
    assert result.report and result.outside is not None and result.outside.passed and result.outside.samples


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
@pytest.mark.parametrize("padding", ["sub", "pad"])
def test_every_opset_holds_it(tmp_path: Path, opset: int, padding: str) -> None:
    source, out = (saved(tmp_path, convolution(1, opset=opset)), tmp_path / "out.onnx")
    bnfold.fold_file(source, out=out, bake_input=NORMAL, input_type="uint8", bake_padding=padding)
    onnx.checker.check_model(str(out), full_check=True)
    raw = pixels((1, 3, 8, 8))
    theirs = run(source, {"data": prepared(raw, MEAN, STD, bgr=True)})
    np.testing.assert_allclose(run(out, {"data": raw})[0], theirs[0], rtol=1e-4, atol=1e-4)


def test_one_mean_for_all_is_one_pad(tmp_path: Path) -> None:
    source, out = saved(tmp_path, convolution(1)), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, bake_input={"mean": 127.5, "scale": 1 / 128}, bake_padding="pad")
    assert operators(out)[:2] == ["Pad", "Conv"]


@pytest.mark.parametrize("convert", [True, False], ids=["convert", "fold"])
@pytest.mark.parametrize("type_", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_type_and_layout(tmp_path: Path, convert: bool, type_: str, layout: str) -> None:
    source, out = saved(tmp_path, convolution(1)), tmp_path / "out.onnx"
    made: Any = bnfold.convert_file if convert else bnfold.fold_file
    made(source, out=out, bake_input=NORMAL, input_type=type_, input_layout=layout)
    raw = pixels((1, 8, 8, 3) if layout == "NHWC" else (1, 3, 8, 8))
    theirs = run(source, {"data": prepared(raw, MEAN, STD, bgr=True, nhwc=layout == "NHWC")})
    np.testing.assert_allclose(run(out, {"data": raw.astype(type_)})[0], theirs[0], rtol=1e-3, atol=1e-3)
    onnx.checker.check_model(str(out), full_check=True)
    one = onnx.load(out).graph.input[0]
    assert one.name == "data"
    assert [d.dim_value for d in one.type.tensor_type.shape.dim] == list(raw.shape)


def test_a_conversion_has_the_nodes_in_front(tmp_path: Path) -> None:
    source, out = saved(tmp_path, convolution()), tmp_path / "out.onnx"
    result = bnfold.convert_file(source, out=out, bake_input=NORMAL, input_type="uint8", input_layout="NHWC")
    assert operators(out)[:5] == ["Cast", "Transpose", "Sub", "Mul", "Gather"]
    assert result.outside is not None and result.outside.passed
    again = bnfold.fold_file(out, out=tmp_path / "again.onnx")  # the file says what they are
    assert again.plan.merged == ("data/order",)


def test_a_network_without_convolution_takes_a_mean_image(tmp_path: Path) -> None:
    source, out = saved(tmp_path, DENSE), tmp_path / "out.onnx"
    image = np.random.default_rng(0).uniform(90, 130, (3, 4, 5))
    np.save(tmp_path / "mean.npy", image)
    bnfold.fold_file(
        source, out=out, bake_input={"mean_file": tmp_path / "mean.npy", "std": 50, "order": "bgr"}
    )
    assert operators(out) == ["Flatten", "Gemm"]
    raw = pixels((1, 3, 4, 5))
    outside = ((raw[:, ::-1].astype(np.float64) - image) / 50).astype(np.float32)
    ours, theirs = run(out, {"data": raw.astype(np.float32)}), run(source, {"data": outside})
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)


def test_a_mean_image_before_a_convolution_is_one_sub(tmp_path: Path) -> None:
    source, out = saved(tmp_path, convolution()), tmp_path / "out.onnx"
    np.save(tmp_path / "mean.npy", np.random.default_rng(0).uniform(90, 130, (3, 8, 8)))
    result = bnfold.fold_file(source, out=out, bake_input={"mean_file": tmp_path / "mean.npy", "scale": 0.5})
    assert operators(out) == ["Sub", "Conv", "Relu", "Conv"]
    assert [kept.code for kept in result.plan.kept] == ["kept.wrong-axis"]
    assert result.origin.baked[0].mean_shape == (3, 8, 8)


def test_a_mean_image_of_one_colour_is_a_mean(tmp_path: Path) -> None:
    source, out = saved(tmp_path, convolution()), tmp_path / "out.onnx"
    np.save(tmp_path / "mean.npy", np.broadcast_to(np.reshape(MEAN, (3, 1, 1)), (3, 99, 99)))
    result = bnfold.fold_file(
        source, out=out, bake_input={"mean_file": tmp_path / "mean.npy", "order": "bgr"}
    )
    assert operators(out) == ["Conv", "Relu", "Conv"]
    assert result.outside is not None and result.outside.passed


TWO = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] data, float[1, 3] info) => (float[1, 4, 8, 8] y, float[1, 3] z)
<float[4, 3, 3, 3] w, float[4, 3, 1, 1] v>
{
  a = Conv <pads = [1, 1, 1, 1]> (data, w)
  b = Conv(data, v)
  y = Add(a, b)
  z = Relu(info)
}
"""


def test_two_readers_and_two_inputs(tmp_path: Path) -> None:
    source, out = saved(tmp_path, TWO), tmp_path / "out.onnx"
    with pytest.raises(bnfold.UsageError, match="without a name"):
        bnfold.fold_file(source, out=out, bake_input=NORMAL)
    result = bnfold.fold_file(source, out=out, bake_input={"data": NORMAL}, input_type={"data": "uint8"})
    assert operators(out)[:2] == ["Cast", "Sub"] and "Gather" not in operators(out) and result.report
    raw, info = pixels((1, 3, 8, 8)), np.ones((1, 3), np.float32)
    theirs = run(source, {"data": prepared(raw, MEAN, STD, bgr=True), "info": info})
    ours = run(out, {"data": raw, "info": info})
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-4)


def test_rank_two_has_channels_too(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w, float[2] b> { h = MatMul(x, w)  y = Add(h, b) }
"""
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input=NORMAL)
    assert operators(out) in (["MatMul", "Add"], ["Gemm"]) and result.outside and result.outside.passed
    raw = pixels((5, 3)).astype(np.float32)
    theirs = run(source, {"x": (((raw - MEAN) / STD)[:, ::-1]).astype(np.float32)})
    np.testing.assert_allclose(run(out, {"x": raw})[0], theirs[0], rtol=1e-4, atol=1e-4)


def test_grey_pictures(tmp_path: Path) -> None:
    text = convolution().replace("[1, 3, 8, 8]", "[1, 1, 8, 8]").replace("[4, 3, 3, 3]", "[4, 1, 3, 3]")
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    bnfold.fold_file(source, out=out, bake_input={"mean": 33.3, "std": 78.6}, input_type="uint8")
    assert operators(out)[:2] == ["Cast", "Conv"]
    with pytest.raises(bnfold.UsageError, match="order bgr; expected an input of 3 channels"):
        bnfold.fold_file(source, out=out, bake_input={"order": "bgr"})


def test_an_input_of_pixels_whose_cast_is_the_networks_own(tmp_path: Path) -> None:
    text = convolution(data="uint8[1, 3, 8, 8]").replace("h = Conv", "f = Cast <to = 1> (data)\n h = Conv")
    text = text.replace("(data, w, b)", "(f, w, b)")
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input=NORMAL, input_layout="NHWC", input_type="uint8")
    assert operators(out)[:3] == ["Cast", "Transpose", "Conv"]
    assert [f.code for f in result.origin.findings] == ["bake.same-type"]
    assert result.report


def test_images_of_height_width_channels_inside(tmp_path: Path) -> None:
    text = convolution(data="float[1, 8, 8, 3]").replace(
        "h = Conv", "t = Transpose <perm = [0, 3, 1, 2]> (data)\n h = Conv"
    )
    source, out = saved(tmp_path, text.replace("(data, w, b)", "(t, w, b)")), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input={"mean": MEAN, "std": STD}, input_layout="NCHW")
    assert result.origin.baked[0].axis == 3 and result.outside and result.outside.passed
    raw = pixels((1, 3, 8, 8))
    theirs = run(source, {"data": prepared(raw, MEAN, STD).transpose(0, 2, 3, 1)})
    np.testing.assert_allclose(run(out, {"data": raw.astype(np.float32)})[0], theirs[0], rtol=1e-4, atol=1e-4)


def _narrow(folder: Path, kind: str) -> Path:
    """A network that reads 6 channels of 9 x 3 values, which looks like a picture with its channels last."""
    if kind == "convolution":
        return saved(
            folder,
            convolution(data="float[1, 6, 9, 3]").replace("float[4, 3, 3, 3] w", "float[4, 6, 3, 3] w"),
        )
    text = {
        "prototxt": 'input: "data" input_shape { dim: 1 dim: 6 dim: 9 dim: 3 }'
        'layer { name: "y" type: "Softmax" bottom: "data" top: "y" }',
        "cfg": "[net]\nwidth=3\nheight=9\nchannels=6\n[avgpool]\n[softmax]\n",
    }[kind]
    (path := folder / f"net.{kind}").write_text(text)
    return path


@pytest.mark.parametrize("kind", ["convolution", "prototxt", "cfg"])
def test_a_narrow_input_whose_channels_are_known_to_come_first(tmp_path: Path, kind: str) -> None:
    source, out = _narrow(tmp_path, kind), tmp_path / "out.onnx"
    mean = tuple(range(6))
    result = bnfold.fold_file(source, out=out, bake_input={"mean": mean, "std": 60}, input_layout="NHWC")
    assert [one.axis for one in result.origin.baked] == [1]
    bnfold.convert_file(source, out=tmp_path / "plain.onnx")
    raw = pixels((1, 9, 3, 6))
    theirs = run(tmp_path / "plain.onnx", {"data": prepared(raw, mean, 60, nhwc=True)})
    np.testing.assert_allclose(run(out, {"data": raw.astype(np.float32)})[0], theirs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("type_", [None, "uint8"])
def test_half_precision(tmp_path: Path, type_: str | None) -> None:
    proto = model(convolution(1).replace("float[", "float16["))
    for one in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(one).astype(np.float16)
        one.CopyFrom(onnx.numpy_helper.from_array(values, one.name))
    onnx.save(proto, source := tmp_path / "net.onnx")
    options = {"input_type": type_} if type_ else {}
    result = bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input=NORMAL, **options)
    assert result.report and result.outside and result.outside.passed


def test_the_model_in_memory(tmp_path: Path) -> None:
    loaded = bnfold.load(saved(tmp_path, convolution()), bake_input=NORMAL, input_type="uint8")
    result = bnfold.fold(loaded)
    assert [node.op_type for node in result.model.graph] == ["Cast", "Conv", "Relu", "Conv"]
    assert bnfold.verify(loaded, result)
    assert str(result.origin.baked[0]).startswith("'data': uint8, mean=123.675")


def test_keep_leaves_the_order_where_it_is(tmp_path: Path) -> None:
    source = saved(tmp_path, convolution())
    result = bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input=NORMAL, keep=["data/order"])
    assert "kept.requested" in [kept.code for kept in result.plan.kept]
    assert "Gather" in operators(tmp_path / "out.onnx")


def test_nothing_asked_is_nothing_done(tmp_path: Path) -> None:
    source, out = saved(tmp_path, convolution()), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input={"mean": 0, "std": 1, "scale": 1, "order": "rgb"})
    assert operators(out) == ["Conv", "Relu", "Conv"] and result.outside and result.outside.passed


def test_names_that_are_taken(tmp_path: Path) -> None:
    text = convolution().replace("r = Relu(h)", "z = Relu(h)\n  r = Identity(z)")
    proto = model(text)
    for node in proto.graph.node:
        node.output[:] = ["data/mean" if name == "z" else name for name in node.output]
        node.input[:] = ["data/mean" if name == "z" else name for name in node.input]
        node.name = {"Conv_h": "data/mean", "Conv_y": "data/scale"}.get(node.name, node.name)
    onnx.save(proto, source := tmp_path / "net.onnx")
    assert bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_input=NORMAL).report


ROWS = {
    "BatchNormalization": "n = BatchNormalization(data, g, b, m, v)",
    "Div": "s = Constant <value = float[1] {255}> ()\n  n = Div(data, s)",
    "Mul": "n = Mul(data, row)",
}


@pytest.mark.parametrize("own", ROWS)
def test_what_stays_joins_the_networks_own_normalisation(tmp_path: Path, own: str) -> None:
    text = f"""
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] data) => (float[1, 4, 8, 8] y)
<float[4, 3, 3, 3] w, float[3] g, float[3] b, float[3] m, float[3] v, float[1, 3, 1, 1] row>
{{
  {ROWS[own]}
  y = Conv <pads = [1, 1, 1, 1]> (n, w)
}}
"""
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    result = bnfold.fold_file(source, out=out, bake_input=NORMAL)
    left = "BatchNormalization" if own == "BatchNormalization" else "Sub"
    assert operators(out) == [left, "Conv"] and result.outside and result.outside.passed
    raw = pixels((1, 3, 8, 8))
    ours, theirs = (
        run(out, {"data": raw.astype(np.float32)}),
        run(source, {"data": prepared(raw, MEAN, STD, bgr=True)}),
    )
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-3, atol=1e-3)


def test_a_number_of_channels_that_is_open(tmp_path: Path) -> None:
    """The weight of the first convolution tells it, or the values do, and it is written into the input."""
    source, out = saved(tmp_path, convolution(1, data="float[N, C, H, W]")), tmp_path / "out.onnx"
    with pytest.raises(bnfold.UsageError, match="4 values of mean; expected 3"):
        bnfold.fold_file(source, out=out, bake_input={"mean": [1, 2, 3, 4]})
    bnfold.fold_file(source, out=out, bake_input=NORMAL, bake_padding="pad", input_layout="NHWC")
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", "H", "W", 3]
    relu = '<ir_version: 8, opset_import: ["" : 17]>\nnet (float[N, C] x) => (float[N, C] y) { y = Relu(x) }'
    bnfold.fold_file(saved(tmp_path, relu, "relu.onnx"), out=out, bake_input={"mean": [1, 2, 3, 4]})
    assert onnx.load(out).graph.input[0].type.tensor_type.shape.dim[1].dim_value == 4


@pytest.mark.parametrize("made", ["onnx", "prototxt"])
def test_dims_are_those_of_the_network(tmp_path: Path, made: str) -> None:
    """Whatever layout was baked in; verification feeds the other one."""
    samples = Path(__file__).resolve().parents[2] / "samples"
    result = bnfold.fold_file(
        samples / f"digits.{made}", out=tmp_path / "out.onnx", input_layout="NHWC", input_shapes=(4, 1, 8, 8)
    )
    assert result.report and result.report.inputs == (("data", "4x8x8x1"),)


@pytest.mark.parametrize("mark", ["order", "mean", "scale", "pad", "nonsense"])
@pytest.mark.parametrize("padding", ["sub", "pad"])
def test_a_file_may_say_of_any_node_that_it_was_baked(tmp_path: Path, mark: str, padding: str) -> None:
    """The mark comes from a file that anybody may have written; what the nodes are decides."""
    text = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[1, 3, 8, 8] data) => (float[1, 4, 8, 8] y, float[1, 2, 8, 8] z)
<float[4, 3, 3, 3] w, float[1, 3, 8, 8] image, float[8] line, int64[2] some>
{
  a = Sub(data, image)
  b = Mul(a, line)
  c = Sub(line, b)
  y = Conv <pads = [1, 1, 1, 1]> (c, w)
  k = Constant <value = int64[2] {0, 0}> ()
  z = Gather <axis = 1> (b, k)
}
"""
    proto = model(text.replace(", int64[2] some", ""))
    for node in proto.graph.node:
        node.metadata_props.add(key="bnfold.baked", value=mark)
    onnx.save(proto, source := tmp_path / "net.onnx")
    bnfold.fold_file(source, out=tmp_path / "out.onnx", bake_padding=padding)
    raw = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    for ours, theirs in zip(
        run(tmp_path / "out.onnx", {"data": raw}), run(source, {"data": raw}), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert "Pad" not in operators(tmp_path / "out.onnx")


FIRST = "h = Conv <pads = [0, 0, 0, 0]> (data, w, b)"
# the first layer -> what the plan says of the Sub where no Pad can take its place
NO_PAD = {
    'h = Conv <auto_pad = "SAME_UPPER"> (data, w, b)': "follows from sizes that are open",
    "q = Conv(data, w, b)\n  p = Conv <pads = [1, 1, 1, 1]> (data, w, b)\n  h = Conv <pads = [0, 0, 0, 0], kernel_shape = [3, 3]> (data, w, b)": "pad differently",
    "s = Relu(data)\n  h = Conv <pads = [1, 1, 1, 1]> (data, w, b)": "",
}


@pytest.mark.parametrize("first", NO_PAD)
def test_why_no_pad_can_take_the_place(tmp_path: Path, first: str) -> None:
    text = convolution(data="float[N, 3, H, W]").replace(FIRST, first)
    if "Relu(data)" in first:
        text = text.replace("(float[a, 2, b, c] y)", "(float[a, 2, b, c] y, float[a, 3, d, e] s)")
    if "q =" in first:
        text = text.replace(
            "(float[a, 2, b, c] y)", "(float[a, 2, b, c] y, float[a, 4, d, e] p, float[a, 4, f, g] q)"
        )
    result = bnfold.fold_file(
        saved(tmp_path, text), out=tmp_path / "out.onnx", bake_input={"mean": 1}, bake_padding="pad"
    )
    (kept,) = result.plan.kept
    assert NO_PAD[first] in kept.reason and "Pad" not in operators(tmp_path / "out.onnx")


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("strides", [1, 2])
def test_padding_that_follows_from_sizes(tmp_path: Path, mode: str, strides: int) -> None:
    first = f'h = Conv <auto_pad = "{mode}", strides = [{strides}, {strides}]> (data, w, b)'
    source, out = (
        saved(tmp_path, convolution(data="float[1, 3, 8, 7]").replace(FIRST, first)),
        tmp_path / "out.onnx",
    )
    result = bnfold.fold_file(source, out=out, bake_input=NORMAL)
    assert "'bake_padding' puts a Pad by the mean there" in result.plan.kept[0].reason
    bnfold.fold_file(source, out=out, bake_input=NORMAL, bake_padding="pad")
    assert operators(out)[:6] == ["Split", "Pad", "Pad", "Pad", "Concat", "Conv"]
    raw = pixels((1, 3, 8, 7))
    theirs = run(source, {"data": prepared(raw, MEAN, STD, bgr=True)})
    np.testing.assert_allclose(run(out, {"data": raw.astype(np.float32)})[0], theirs[0], rtol=1e-4, atol=1e-4)


def test_statistics_from_raw_pixels(tmp_path: Path) -> None:
    """Recalibration runs on what comes in; the network alone gets the same statistics before it is held outside."""
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 8, 8] data) => (float[N, 4, 8, 8] y)
<float[4, 3, 3, 3] w, float[4] g, float[4] b, float[4] m, float[4] v>
{ c = Conv <pads = [1, 1, 1, 1]> (data, w)  y = BatchNormalization(c, g, b, m, v) }
"""
    np.save(tmp_path / "data.npy", pixels((12, 3, 8, 8)))
    source, out = saved(tmp_path, text), tmp_path / "out.onnx"
    result = bnfold.fold_file(
        source, out=out, bake_input=NORMAL, input_type="uint8", recalibrate={"data": tmp_path / "data.npy"}
    )
    assert result.recalibrated is not None and result.outside is not None and result.outside.passed
    assert operators(out) == ["Cast", "Sub", "Conv"]
    with pytest.raises(bnfold.UsageError, match="'mean' beside 'bake_input'"):
        bnfold.fold_file(source, out=out, bake_input=NORMAL, recalibrate=tmp_path / "data.npy", mean=1)
