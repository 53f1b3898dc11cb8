"""Large weights are widened part by part: the same numbers as at once, and never the whole in float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from bnfold.ir.tensor import Recipe
from bnfold.verifying.truth import interpreter, large_weights
from bnfold.verifying.truth.interpreter import Interpreter
from bnfold.verifying.truth.large_weights import Stored, changed, parts

from ..sides import side

RANDOM = np.random.default_rng(5)


def weight(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


NETS = {
    "conv": ("Conv", (2, 6, 9, 9), weight(8, 6, 3, 3), {"pads": [1, 1, 1, 1]}),
    "grouped": ("Conv", (2, 6, 9, 9), weight(8, 3, 3, 3), {"group": 2}),
    "depthwise": ("Conv", (2, 6, 9, 9), weight(6, 1, 3, 3), {"group": 6, "strides": [2, 2]}),
    "transposed": ("ConvTranspose", (2, 6, 5, 5), weight(6, 4, 3, 3), {"strides": [2, 2], "group": 2}),
    "gemm": ("Gemm", (3, 7), weight(7, 10), {"alpha": 0.5}),
    "gemm, transposed": ("Gemm", (3, 7), weight(10, 7), {"transB": 1}),
    "matmul": ("MatMul", (2, 3, 7), weight(7, 10), {}),
    "matmul, stacked": ("MatMul", (2, 3, 7), weight(2, 7, 10), {}),
    "matmul, vector": ("MatMul", (3, 7), weight(7), {}),
}


def computed(name: str, **changes) -> np.ndarray:
    op, shape, w, attributes = NETS[name]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(w, "w")],
    )
    model = side(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)).model
    return Interpreter(model, **changes).run(
        {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    )["y"]


@pytest.mark.parametrize("name", NETS)
def test_parts_give_what_the_whole_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = computed(name)
    monkeypatch.setattr(large_weights, "LEAST_BYTES", 1)
    monkeypatch.setattr(large_weights, "PART_BYTES", 100)
    seen: list[tuple[int, ...]] = []
    taken = Stored.__getitem__
    monkeypatch.setattr(
        Stored,
        "__getitem__",
        lambda self, place: seen.append(np.shape(self.array[place])) or taken(self, place),
    )
    np.testing.assert_allclose(computed(name), whole, rtol=1e-13, atol=1e-13)
    assert seen


def test_a_part_is_no_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_weights, "PART_BYTES", 8 * 60)
    w = Stored(weight(7, 5, 4))
    taken = [w[rows] for rows in parts(w, 0)]
    assert [len(part) for part in taken] == [3, 3, 1]
    assert all(part.dtype == np.float64 and part.nbytes <= 8 * 60 for part in taken)
    np.testing.assert_array_equal(np.concatenate(taken), w.array)
    assert list(parts(w.array, 0)) == [slice(0, 7)]


def test_changes_come_in_order_and_views_share_them() -> None:
    w = changed(changed(Stored(weight(2, 6)), np.square), lambda part: part + 1)
    np.testing.assert_allclose(w.reshape(3, 4)[:], (w.array.astype(float) ** 2 + 1).reshape(3, 4))
    np.testing.assert_array_equal(w.T[1:3], w[:, 1:3].T)


def test_a_weight_that_others_read_is_widened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_weights, "LEAST_BYTES", 1)
    w = weight(4, 4)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, (4, 4))],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(w, "w")],
    )
    model = side(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)).model
    np.testing.assert_allclose(
        Interpreter(model).run({"x": np.eye(4, dtype=np.float32)})["y"], 2.0 * w, rtol=1e-6
    )


def test_weights_that_are_made_while_they_are_read_are_kept_until_others_need_the_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Folded weights are recipes; each is made once while it is among the last that were read."""
    made: list[str] = []

    def weight(name: str) -> ir.Value:
        def arrays() -> Iterator[np.ndarray]:
            made.append(name)
            yield np.ones(256, np.float32)

        return ir.Value(name=name, const_value=Recipe(ir.DataType.FLOAT, (256,), arrays, name))

    monkeypatch.setattr(interpreter, "MADE_BYTES", 2 * 1024)
    known = interpreter.Known(ir.Model(ir.Graph((), (), nodes=(), opset_imports={"": 17}), ir_version=8))
    a, b, c = map(weight, "abc")
    for value in (a, b, a, b, c, b, a):
        assert value.const_value is not None
        np.testing.assert_array_equal(known.stored(value, value.const_value), np.ones(256))
    assert made == ["a", "b", "c", "a"]  # c takes the place of a, which was read before b
