"""Every way to interpolate of Resize: the float64 interpreter against onnxruntime. Geometry is in
tests/operators/test_against_onnxruntime.py."""

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
