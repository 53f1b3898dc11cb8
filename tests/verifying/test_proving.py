"""The obligations without recorded runs of the user's: for an audit."""

from __future__ import annotations

import pytest

from bnfold.folding import fold
from bnfold.results.comparison import Side
from bnfold.verifying import NotDerived, prove

from .sides import proto, side

NET = """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, H, W] x) => (float y)
    <float[4, 3, 3, 3] w, float[4] s, float[4] b, float[4] m, float[4] v> {
        c = Conv(x, w) n = BatchNormalization(c, s, b, m, v) r = Relu(n) y = GlobalMaxPool(r) }"""


def test_a_fold_is_proved_again() -> None:
    reference = side(proto(NET))
    model, plan = fold(reference.model)
    found = prove(reference, Side(model))
    assert found.complete and found.unseen == 0
    assert {f.node for f in plan.folded} <= found.folds


def test_another_model_is_refuted() -> None:
    reference = side(proto(NET))
    found = prove(reference, side(proto(NET.replace("GlobalMaxPool", "GlobalAveragePool"))))
    assert [o.value for o in found.refuted] == ["y"]


def test_what_has_other_inputs_is_not_derived() -> None:
    with pytest.raises(NotDerived, match="no input 'x'"):
        prove(side(proto(NET)), side(proto(NET.replace("W] x", "W] z").replace("Conv(x", "Conv(z"))))
