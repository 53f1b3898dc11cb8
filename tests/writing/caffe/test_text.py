"""What becomes of the user's prototxt: folding shows, and nothing else."""

from __future__ import annotations

import difflib

import numpy as np
import pytest

from ...reading.caffe.files import caffemodel, normal
from .folding import INPUT, SCALE, STATISTICS, Folded, conv, norm, relu

WEIGHT = normal(4, 3, 3, 3)
NET = {"conv": [WEIGHT], "bn": STATISTICS, "bn/scale": SCALE}
BIASED = NET | {"conv": [WEIGHT, normal(4)]}


def changed(folded):
    """The lines that went, and those that came."""
    lines = list(difflib.ndiff(folded.before.splitlines(), folded.text.splitlines()))
    return [x[2:] for x in lines if x[0] == "-"], [x[2:] for x in lines if x[0] == "+"]


def test_a_bias_where_there_was_none(tmp_path):
    folded = Folded(tmp_path, INPUT + conv("data", "c", params="bias_term: false") + norm("c", "c"), NET)
    gone, come = changed(folded)
    assert len(gone) == 4
    assert [line.strip() for line in come] == [
        "convolution_param { num_output: 4 kernel_size: 3 bias_term: true } }"
    ]
    assert [len(blobs) for blobs in folded.blobs.values()] == [2]
    folded.check("c")


def test_in_place_chains_leave_the_names_as_they_are(tmp_path):
    text = INPUT + conv("data", "c") + norm("c", "c") + relu("c", "c")
    folded = Folded(tmp_path, text, BIASED)
    assert folded.text == INPUT + conv("data", "c") + relu("c", "c")
    folded.check("c")


def test_the_producer_takes_the_name_of_what_vanished(tmp_path):
    text = INPUT + conv("data", "c") + norm("c", "b") + relu("b", "b") + conv("b", "d", "second")
    folded = Folded(tmp_path, text, BIASED | {"second": [normal(4, 4, 3, 3), normal(4)]})
    assert folded.text == INPUT + conv("data", "b") + relu("b", "b") + conv("b", "d", "second")
    folded.check("b", "d")


def test_a_name_never_stands_for_another_value(tmp_path):
    """Forward: what had the name in the end is gone, so that nothing has it any more."""
    pool = (
        'layer { name: "pool" type: "Pooling" bottom: "data" top: "p"\n'
        "  pooling_param { kernel_size: 2 stride: 2 } }\n"
    )
    text = INPUT.replace("dim: 3", "dim: 4") + pool + norm("p", "p") + conv("p", "c")
    folded = Folded(tmp_path, text, NET | {"conv": [normal(4, 4, 3, 3), normal(4)]})
    assert folded.text == text.replace(norm("p", "p"), "").replace('"p"', '"p/pool"')
    folded.check("c")


def test_an_input_keeps_its_name(tmp_path):
    text = INPUT + norm("data", "data") + conv("data", "c")
    layers = {"bn": [s[:3] if s.size > 1 else s for s in STATISTICS], "bn/scale": [s[:3] for s in SCALE]}
    folded = Folded(tmp_path, text, {"conv": [WEIGHT, normal(4)], **layers})
    assert folded.text == INPUT + conv("data", "c")


def test_a_blob_that_changes_on_the_way_gets_a_new_name(tmp_path):
    pool = 'layer { name: "pool" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 2 } }\n'
    scale = [np.abs(SCALE[0]) + 0.1, SCALE[1]]
    folded = Folded(tmp_path, INPUT + conv("data", "c") + pool + norm("p", "p"), BIASED | {"bn/scale": scale})
    renamed = pool.replace('"c"', '"c/folded"')
    assert folded.text == INPUT + conv("data", "c/folded") + renamed
    folded.check("p")


COMMENTED = """# The net of a test.
name: 'net'  # with a comment

{input}
# first
{conv}

# the statistics of conv:
#   from training
layer {{
  name: "bn" # its name
  type: "BatchNorm"
  bottom: "c"
  top: "c"
}} # of bn

# scaling
layer {{ name: "bn/scale" type: "Scale" bottom: "c" top: "c" scale_param {{ bias_term: true }} }}

  # activation
{relu}
# the end
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_go_with_what_they_are_about(tmp_path, newline):
    parts = {"input": INPUT, "conv": conv("data", "c"), "relu": relu("c", "c")}
    text = COMMENTED.format(**parts).replace("\n", newline)
    folded = Folded(tmp_path, text, BIASED)
    begin, end = text.index("# the statistics"), text.index("  # activation")
    assert folded.text == text[:begin] + text[end:]
    folded.check("c")


def test_layers_on_one_line(tmp_path):
    text = " ".join((INPUT + conv("data", "c") + norm("c", "c") + relu("c", "c")).split())
    folded = Folded(tmp_path, text, BIASED)
    assert folded.text == " ".join((INPUT + conv("data", "c") + relu("c", "c")).split())


def test_quotes_lists_and_separators_stay(tmp_path):
    text = (
        "\ufeff"
        + INPUT
        + "layer < name: 'conv', type: 'Con' \"volution\"; bottom: ['data'], top: ['c'] "
        + "convolution_param: { num_output: 4; kernel_size: [3, 3], bias_term: 0 } >;\n"
        + norm("c", "b")
    )
    folded = Folded(tmp_path, text, NET)
    expected = (
        text.replace(norm("c", "b"), "").replace("['c']", "['b']").replace("bias_term: 0", "bias_term: true")
    )
    assert folded.text == expected


def test_nothing_folded_is_nothing_changed(tmp_path):
    folded = Folded(
        tmp_path,
        INPUT + relu("data", "r") + norm("r", "b"),
        {k: [a[:3] if a.size > 1 else a for a in v] for k, v in NET.items() if k != "conv"},
    )
    assert folded.result.unchanged
    assert folded.text == folded.before
    assert folded.weights.read_bytes() == (tmp_path / "merged.caffemodel").read_bytes()


def test_the_same_network_gives_the_same_bytes(tmp_path):
    text = INPUT + conv("data", "c") + norm("c", "c")
    for name in "ab":
        (tmp_path / name).mkdir()
        Folded(tmp_path / name, text, BIASED)
    for file in ("merged.prototxt", "merged.caffemodel"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_parameters_that_were_shared_get_names_of_their_own_where_they_differ(tmp_path):
    tied = 'param { name: "w" lr_mult: 1 } param { name: "b" }'
    text = (
        INPUT + conv("data", "c", "one", extra=tied) + norm("c", "c") + conv("data", "d", "two", extra=tied)
    )
    layers = {"one": BIASED["conv"], "two": BIASED["conv"], "bn": STATISTICS, "bn/scale": SCALE}
    folded = Folded(tmp_path, text, layers)
    own = 'param { name: "w/one" lr_mult: 1 } param { name: "b/one" }'
    assert folded.text == INPUT + conv("data", "c", "one", extra=own) + conv("data", "d", "two", extra=tied)
    folded.check("c", "d")


def test_parameters_that_stay_the_same_stay_shared(tmp_path):
    tied = 'param { name: "w" } param { name: "b" }'
    both = 'param { name: "m" lr_mult: 0 } param { name: "v" lr_mult: 0 } param { name: "f" lr_mult: 0 }'
    text = INPUT
    for name in ("one", "two"):
        text += conv("data", name, name, extra=tied)
        text += f'layer {{ name: "{name}/bn" type: "BatchNorm" bottom: "{name}" top: "{name}" {both} }}\n'
    layers = {"one": BIASED["conv"], "two": BIASED["conv"], "one/bn": STATISTICS, "two/bn": STATISTICS}
    folded = Folded(tmp_path, text, layers)
    assert folded.text == INPUT + "".join(conv("data", n, n, extra=tied) for n in ("one", "two"))
    folded.check("one", "two")


def test_a_network_of_generation_1(tmp_path):
    """There a Power layer is the only one that can vanish."""
    text = """input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 8
layers {
  name: "conv" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false }
}
# half of it, and one more
layers { name: "half" type: POWER bottom: "c" top: "h" power_param { scale: 0.5 shift: 1 } }
layers { name: "relu" type: RELU bottom: "h" top: "h" }
"""
    weights = caffemodel({"conv": [WEIGHT], "half": []}, generation="v1", shapes="legacy")
    folded = Folded(tmp_path, text, weights=weights)
    begin, end = text.index("# half"), text.index('layers { name: "relu"')
    expected = (
        (text[:begin] + text[end:]).replace('"c"', '"h"').replace("bias_term: false", "bias_term: true")
    )
    assert folded.text == expected
    assert [blob.legacy for blob in folded.stored[0].blobs] == [True, True]
    folded.check("h")


def test_a_network_of_generation_0_is_copied(tmp_path):
    """It has nothing that could be folded."""
    text = """input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "p" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 biasterm: false } bottom: "p" top: "c" }
layers { layer { name: "relu" type: "relu" } bottom: "c" top: "c" }
"""
    weights = caffemodel({"conv": [WEIGHT]}, generation="v0", shapes="legacy")
    folded = Folded(tmp_path, text, weights=weights)
    assert (folded.text, (tmp_path / "merged.caffemodel").read_bytes()) == (text, weights)
