"""Layers that are carried as they are: of unknown type, that ONNX cannot express, of training, of another
phase."""

from __future__ import annotations

import numpy as np
import pytest

from ...reading.caffe.files import normal
from .folding import INPUT, SCALE, STATISTICS, Folded, conv, norm, relu

NET = {
    "conv": [normal(4, 3, 3, 3), normal(4)],
    "bn": STATISTICS,
    "bn/scale": SCALE,
    "second": [normal(4, 4, 3, 3), normal(4, seed=5)],
    "bn2": [normal(4, seed=6), np.abs(normal(4, seed=7)) + 0.5, np.float32([1])],
    "bn2/scale": SCALE,
    "own": [normal(5)],
}
OWN = """layer {   # ours
  name: "own"  type: "OurLayer"
  bottom: "c"  top: "o"
  our_param { a: 1 b { c: "x" } }
}
"""


def test_a_layer_of_unknown_type_stops_no_fold(tmp_path):
    text = INPUT + conv("data", "c") + norm("c", "c") + OWN + conv("o", "d", "second") + norm("d", "d", "bn2")
    folded = Folded(tmp_path, text, NET)
    assert folded.text == INPUT + conv("data", "c") + OWN + conv("o", "d", "second")
    assert list(folded.blobs) == ["conv", "second", "own"]
    assert [f.code for f in folded.result.origin.findings] == ["caffe.carried"]


def test_no_map_passes_it(tmp_path):
    text = INPUT + conv("data", "c") + OWN + norm("o", "o") + relu("o", "r")
    folded = Folded(tmp_path, text, NET)
    assert folded.text == text
    assert "kept.graph-input" in folded.codes


def test_what_it_reads_keeps_its_name_and_value(tmp_path):
    """The value before the batch norm is read by a layer that nobody looks into."""
    text = INPUT + conv("data", "c") + OWN + norm("c", "b") + relu("b", "r")
    folded = Folded(tmp_path, text, NET)
    assert folded.text == text


def test_in_place(tmp_path):
    own = OWN.replace('"o"', '"b"').replace('"c"', '"b"')
    text = INPUT + conv("data", "c") + norm("c", "b") + own + relu("b", "b")
    folded = Folded(tmp_path, text, NET)
    assert folded.text == INPUT + conv("data", "b") + own + relu("b", "b")


def test_what_onnx_cannot_express(tmp_path):
    """A known type, in a form that there is no ONNX for."""
    pool = (
        'layer { name: "p" type: "Pooling" bottom: "c" top: "p"\n'
        "  pooling_param { pool: STOCHASTIC kernel_size: 2 } }\n"
    )
    text = (
        INPUT + conv("data", "c") + norm("c", "c") + pool + conv("p", "d", "second") + norm("d", "d", "bn2")
    )
    folded = Folded(tmp_path, text, NET)
    assert folded.text == INPUT + conv("data", "c") + pool + conv("p", "d", "second")


TRAINING = """layer { name: "labels" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
"""
LOSS = """layer {
  name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss"
  include { phase: TRAIN }
}
layer { name: "accuracy" type: "Accuracy" bottom: "c" bottom: "label" top: "accuracy" include { stage: "x" } }
"""


def test_training_only_parts_stay(tmp_path):
    text = INPUT + TRAINING + conv("data", "c") + norm("c", "c") + LOSS
    folded = Folded(tmp_path, text, NET)
    assert folded.text == INPUT + TRAINING + conv("data", "c") + LOSS
    folded.check("c")


def test_what_another_phase_reads_keeps_its_value(tmp_path):
    text = INPUT + conv("data", "c") + LOSS + norm("c", "b")
    assert Folded(tmp_path, text, NET).text == text


@pytest.mark.parametrize("in_place", [True, False])
def test_the_other_form_of_what_vanishes_goes_with_it(tmp_path, in_place):
    """A batch norm is often written twice, once for each phase."""
    top = "c" if in_place else "b"
    train, test = (norm("c", top, extra=f"include {{ phase: {phase} }}") for phase in ("TRAIN", "TEST"))
    text = INPUT + conv("data", "c") + train + test + relu(top, top)
    folded = Folded(tmp_path, text, NET)
    assert folded.text == INPUT + conv("data", top) + relu(top, top)
    folded.check(top)
