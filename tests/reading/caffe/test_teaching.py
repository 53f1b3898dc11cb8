"""Teaching a type of layer at run time, by the decorator that the built-in ones use; and the table of what is
known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import Malformed, UsageError
from bnfold.reading.caffe.registry import LAYERS, layer
from bnfold.reading.caffe.supported import FIRST, renewed

from .files import Net, input_layer, normal, same
from .files import layer as text_of

X = input_layer("x", 2, 3)
DATA = normal(2, 3)


@pytest.fixture(autouse=True)
def forget():
    before = dict(LAYERS)
    yield
    LAYERS.clear()
    LAYERS.update(before)


def test_a_layer_with_parameters_and_blobs(tmp_path):
    @layer("Gain", param="gain_param", inplace=True)
    def gain(at, x, *, factor: float, shifts: tuple = (), mode: str = "plain", on: bool = True):
        """factor weight x, and a shift"""
        assert (mode, on) == ("odd", False)
        y = at.op("Mul", x, at.blob(0, "weight", (3,)))
        return at.op("Add", at.op("Mul", y, at.scalar(factor, "factor")), at.scalar(sum(shifts), "shift"))

    params = "gain_param { factor: 3 shifts: 1 shifts: -0.5 mode: ODD on: false }".replace("ODD", "'odd'")
    net = Net(tmp_path, X + text_of("Gain", "x", params=params, name="g"), {"g": [normal(3)]})
    assert net.codes == []
    same(net.run(x=DATA)["y"], DATA * normal(3) * 3 + 0.5)
    with pytest.raises(
        Malformed,
        match=r"net.prototxt:2:1 g \(Gain\): 'factor' is missing; expected gain_param \{ factor: ... \}",
    ):
        Net(tmp_path, X + text_of("Gain", "x", name="g"), {"g": [normal(3)]})
    net = Net(
        tmp_path,
        X + text_of("Gain", "x", params=params.replace("on:", "volume: 11 on:"), name="g"),
        {"g": [normal(3)]},
    )
    assert "layer type 'Gain' takes no 'volume'" in str(net.loaded.findings[0])


def test_several_tops_and_shapes(tmp_path):
    @layer("Halves")
    def halves(at, x):
        return at.cut(x, 1, 0, 1), at.cut(x, 1, 1, 3)

    got = Net(tmp_path, X + text_of("Halves", "x", "ab")).run(x=DATA)
    assert np.array_equal(got["a"], DATA[:, :1])
    assert np.array_equal(got["b"], DATA[:, 1:])


def test_a_later_registration_takes_the_place_of_a_built_in_one(tmp_path):
    @layer("ReLU")
    def negative(at, x):
        return at.op("Neg", x)

    assert np.array_equal(Net(tmp_path, X + text_of("ReLU", "x")).run(x=DATA)["y"], -DATA)


def test_what_a_function_may_not_do(tmp_path):
    @layer("Forgets")
    def forgets(at, x):
        return None

    with pytest.raises(
        UsageError,
        match=r"net.prototxt:2:1 l \(Forgets\): the function for layer type 'Forgets' returned NoneType "
        r"for top 'y'",
    ):
        Net(tmp_path, X + text_of("Forgets", "x"))
    with pytest.raises(UsageError, match="without a type of layer"):
        layer()


def test_a_function_that_raises_is_to_blame_itself(tmp_path):
    @layer("Faulty")
    def my_faulty_layer(at, x):
        return {}["gain"]

    with pytest.raises(UsageError) as caught:
        Net(tmp_path, X + text_of("Faulty", "x"))
    said = str(caught.value)
    assert (
        "net.prototxt:2:1 l (Faulty): the function 'my_faulty_layer' for layer type 'Faulty' raised" in said
    )
    assert "KeyError: 'gain'" in said
    assert f"correct it in {__file__}:{my_faulty_layer.__code__.co_firstlineno + 2}" in said


def test_the_table_in_readme_is_current():
    text = (Path(__file__).resolve().parents[3] / "docs" / "caffe.md").read_text()
    assert FIRST in text
    assert renewed(text) == text
