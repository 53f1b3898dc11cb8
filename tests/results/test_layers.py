"""Parameters and multiply-accumulates of layers, held against their formulas and against what a run counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest

import bnfold
from bnfold.results.layers import MACS, Layer, layers


def layers_of(text: str, weights: dict[str, tuple[int, ...]], given: object = ()) -> list[Layer]:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    for name, shape in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return list(layers(bnfold.load(model), given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "inputs", "weights", "macs", "parameters"),
    [
        (
            "Conv<pads=[1,1,1,1]>(x, w, b)",
            "N, 4, 10, 12",
            {"w": (8, 4, 3, 3), "b": (8,)},
            8 * 10 * 12 * 36,
            296,
        ),
        ("Conv<group=4>(x, w)", "1, 4, 10, 12", {"w": (8, 1, 3, 3)}, 8 * 8 * 10 * 9, 72),
        ("Conv<strides=[2,2]>(x, w)", "3, 4, 9, 9", {"w": (2, 4, 3, 3)}, 3 * 2 * 16 * 36, 72),
        ("ConvTranspose<strides=[2,2]>(x, w)", "1, 4, 5, 5", {"w": (4, 6, 2, 2)}, 4 * 25 * 24, 96),
        ("Gemm<transB=1>(x, w, b)", "N, 6", {"w": (5, 6), "b": (5,)}, 30, 35),
        ("Gemm<transA=1>(x, w)", "6, 3", {"w": (6, 5)}, 3 * 5 * 6, 30),
        ("MatMul(x, w)", "N, 7, 6", {"w": (6, 5)}, 7 * 6 * 5, 30),
        ("Mul(x, w)", "N, 6", {"w": (6,)}, 0, 6),
        ("Conv(x, w)", "N, 4, H, W", {"w": (8, 4, 3, 3)}, None, 288),
    ],
)
def test_a_layer(
    node: str, inputs: str, weights: dict[str, tuple[int, ...]], macs: int, parameters: int
) -> None:
    (layer,) = layers_of(f"(float[{inputs}] x) => (float y) {{ y = {node} }}", weights)
    assert (layer.macs, layer.parameters) == (macs, parameters)


def test_a_recurrent_layer_multiplies_at_every_step() -> None:
    (layer,) = layers_of(
        "(float[7, 1, 4] x) => (float y) { y = LSTM<hidden_size=3>(x, w, r) }",
        {"w": (1, 12, 4), "r": (1, 12, 3)},
    )
    assert layer.macs == 7 * 12 * (4 + 3)


@pytest.mark.parametrize("given", [(("x", (2, 4, 10, 10)),), (("", (2, 4, 10, 10)),)])
def test_sizes_that_are_given(given: object) -> None:
    (layer,) = layers_of("(float[N, 4, H, W] x) => (float y) { y = Conv(x, w) }", {"w": (8, 4, 3, 3)}, given)
    assert (layer.output, layer.macs) == ("2x8x8x8", 2 * 8 * 64 * 36)


def test_a_weight_that_two_layers_share_is_counted_once() -> None:
    first, second = layers_of(
        "(float[N, 6] x) => (float y) { t = MatMul(x, w) \n y = MatMul(t, w) }", {"w": (6, 6)}
    )
    assert (first.parameters, second.parameters) == (36, 0)
    assert first.macs == second.macs == 36


def test_every_rule_names_an_operator() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert known >= MACS.keys()


def test_a_published_figure() -> None:
    """The sample network, counted by hand from its prototxt."""
    sample = Path(__file__).resolve().parents[2] / "samples" / "digits.prototxt"
    found = {layer.node: layer.macs for layer in layers(bnfold.load(sample))}
    assert found["conv1"] == 16 * 64 * 9
    assert found["depthwise"] == 32 * 64 * 9
    assert found["logits"] == 64 * 10
