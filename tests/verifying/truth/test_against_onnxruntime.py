"""Convolutions, pools and resizes of random shapes, strides, pads and groups: the float64 interpreter against
onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from packaging.version import Version

from bnfold.ir.graph import ir
from bnfold.verifying.truth.interpreter import Interpreter

FORGETS_PADS = Version(onnxruntime.__version__) < Version("1.25")


def both(
    op: str,
    inputs: dict[str, np.ndarray],
    constants: dict[str, np.ndarray],
    outputs: int = 1,
    names: list[str] | None = None,
    opset: int = 22,
    **attributes: Any,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(what the interpreter gives, what onnxruntime gives) for one node."""
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names or [*inputs, *constants], results, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in inputs.items()
        ],
        [helper.make_tensor_value_info(n, 7 if i else 1, None) for i, n in enumerate(results)],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    wanted = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, inputs)
    found = Interpreter(ir.from_proto(model)).run(inputs)
    return [found[name] for name in results], wanted


def assert_close(found: list[np.ndarray], wanted: list[np.ndarray], what: object) -> None:
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape, what
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4, err_msg=str(what))


def geometry(
    random: np.random.Generator, rank: int, *, dilated: bool = True
) -> tuple[list[int], list[int], dict[str, Any]]:
    """(spatial size, kernel, attributes) of a window operator whose windows fit."""
    kernel = [int(k) for k in random.integers(1, 4, rank)]
    attributes: dict[str, Any] = {"strides": [int(s) for s in random.integers(1, 4, rank)]}
    if dilated and random.random() < 0.4:
        attributes["dilations"] = [int(d) for d in random.integers(1, 3, rank)]
    kind = random.integers(3)
    if kind == 1:
        attributes["pads"] = [int(random.integers(0, k)) for k in kernel * 2]
    elif kind == 2 and "dilations" not in attributes:  # onnxruntime's pools pad by the undilated kernel
        attributes["auto_pad"] = str(random.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        attributes["strides"] = [
            min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)
        ]  # else onnxruntime pads negatively
    return [int(s) for s in random.integers(7, 10, rank)], kernel, attributes


@pytest.mark.parametrize("seed", range(60))
def test_conv(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, kernel, attributes = geometry(random, int(random.integers(1, 4)))
    group, per = int(random.choice([1, 2, 3])), int(random.choice([1, 2]))
    x = random.standard_normal((2, group * per, *size)).astype(np.float32)
    w = random.standard_normal((group * int(random.integers(1, 3)), per, *kernel)).astype(np.float32)
    constants = {"w": w, "b": random.standard_normal(w.shape[0]).astype(np.float32)} if seed % 2 else {"w": w}
    assert_close(*both("Conv", {"x": x}, constants, group=group, **attributes), attributes)


@pytest.mark.parametrize("seed", range(80))
def test_conv_transpose(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, kernel, attributes = geometry(random, int(random.integers(1, 4)))
    group, per = int(random.choice([1, 2, 3])), int(random.choice([1, 2]))
    strides, dilations = attributes["strides"], attributes.get("dilations", [1] * len(size))
    attributes["output_padding"] = [int(random.integers(0, max(s, 1))) for s in strides]
    if "pads" not in attributes and random.random() < 0.5:
        full = [
            s * (i - 1) + (k - 1) * d + 1 + p
            for s, i, k, d, p in zip(
                strides, size, kernel, dilations, attributes["output_padding"], strict=True
            )
        ]
        attributes["output_shape"] = [f - int(random.integers(0, 3)) for f in full]
        attributes["auto_pad"] = str(random.choice(["NOTSET", "SAME_UPPER", "SAME_LOWER"]))
    x = random.standard_normal((2, group * per, *size)).astype(np.float32)
    w = random.standard_normal((group * per, int(random.integers(1, 3)), *kernel)).astype(np.float32)
    assert_close(*both("ConvTranspose", {"x": x}, {"w": w}, group=group, **attributes), attributes)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("seed", range(40))
def test_pools(op: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    size, kernel, attributes = geometry(random, int(random.integers(1, 4)))
    attributes |= {"kernel_shape": kernel, "ceil_mode": seed % 2}
    if op == "AveragePool":
        attributes["count_include_pad"] = seed // 2 % 2
        if FORGETS_PADS and attributes["count_include_pad"] and len(size) == 3:
            pytest.skip("onnxruntime before 1.25 does not count the last pads of a 3-D AveragePool")
    outputs = 2 if op == "MaxPool" and seed % 3 == 0 else 1
    if outputs == 2:
        attributes["storage_order"] = seed // 3 % 2
    x = random.standard_normal((2, 3, *size)).astype(np.float32)
    assert_close(*both(op, {"x": x}, {}, outputs, **attributes), attributes)


TIES = {
    ("asymmetric", "round_prefer_ceil"),
    ("half_pixel_symmetric", "round_prefer_floor"),
    ("tf_crop_and_resize", "round_prefer_ceil"),
}


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "transform",
    [
        "half_pixel",
        "asymmetric",
        "align_corners",
        "pytorch_half_pixel",
        "half_pixel_symmetric",
        "tf_crop_and_resize",
    ],
)
def test_resize(mode: str, transform: str) -> None:
    random = np.random.default_rng(0)
    roi = np.array([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.7] if transform == "tf_crop_and_resize" else [], np.float32)
    options = itertools.product(
        ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"] if mode == "nearest" else ["floor"],
        (0, 1) if mode != "nearest" and transform == "half_pixel" else (0,),
        (0, 1) if mode == "cubic" else (0,),
        [((4, 4), (0.6, 0.6)), ((5, 7), (2.0, 2.0)), ((6, 5), (1.5, 0.37)), ((7, 3), (1 / 3, 3.0))],
    )
    for nearest, antialias, exclude, (size, scales) in options:
        if (transform, nearest) in TIES:
            continue  # places that fall on a tie in float32, where the order of operations decides
        x = random.standard_normal((1, 2, *size)).astype(np.float32)
        attributes = {
            "mode": mode,
            "coordinate_transformation_mode": transform,
            "antialias": antialias,
            "exclude_outside": exclude,
        }
        if mode == "nearest":
            attributes["nearest_mode"] = nearest
        by_scale = {"roi": roi, "scales": np.array([1, 1, *scales], np.float32)}
        assert_close(*both("Resize", {"x": x}, by_scale, opset=19, **attributes), (attributes, size, scales))
        sizes = np.array([1, 2, *(max(1, int(n * s)) for n, s in zip(size, scales, strict=True))], np.int64)
        found = both(
            "Resize",
            {"x": x},
            {"roi": roi, "sizes": sizes},
            opset=19,
            names=["x", "roi", "", "sizes"],
            **attributes,
        )
        assert_close(*found, (attributes, size, sizes))
