"""Suggestions stand where they are likely, and nowhere else."""

from __future__ import annotations

import pytest

from bnfold.errors import Unsupported
from bnfold.reading.darknet import sections as _  # noqa: F401  (fills SECTIONS)
from bnfold.reading.darknet.activations import ACTIVATIONS, meant
from bnfold.reading.darknet.foreign_sections import ROWS
from bnfold.reading.darknet.schema import SECTIONS
from bnfold.reading.darknet.spelling import likely

from .nets import CONV, NET, load


@pytest.mark.parametrize(
    ("word", "meant_"),
    [
        ("YOLO", "yolo"),
        ("Convolutional", "convolutional"),
        ("gaussian_yolo", "Gaussian_yolo"),
        ("convolution", "convolutional"),
        ("convolutionall", "convolutional"),
        ("maxpol", "maxpool"),
        ("max_pool", "maxpool"),
        ("upsampel", "upsample"),
        ("shortcuts", "shortcut"),
        ("dropuot", "dropout"),
    ],
)
def test_slips(word: str, meant_: str) -> None:
    assert likely(word, SECTIONS) == [meant_]


@pytest.mark.parametrize(
    "word",
    [
        *("select", "attention", "concat", "dwconv", "shift_channels", "depthwise", "Focus", "prelu", "se"),
        *("reorg2d", "resample", "detect", "spp", "route_lhalf", "implicit_add"),
    ],
)
def test_words_that_mean_something_else(word: str) -> None:
    assert likely(word, SECTIONS) == []


@pytest.mark.parametrize(
    ("name", "known"),
    [("silu", "swish"), ("SiLU", "swish"), ("LEAKY", "leaky"), ("laeky", "leaky"), ("x", "")],
)
def test_activations(name: str, known: str) -> None:
    assert meant(name) == ([f"darknet's word for it is '{known}'"] if known else [])
    assert not known or known in ACTIVATIONS


@pytest.mark.parametrize("name", [name for row in ROWS for name in row[0].split()])
def test_sections_of_other_programs_are_known_as_such(tmp_path, name: str) -> None:  # type: ignore[no-untyped-def]
    assert name not in SECTIONS
    with pytest.raises(Unsupported) as error:
        load(tmp_path, NET + CONV + f"[{name}]\n")
    assert str(error.value.where).startswith("net.cfg:10")
    assert f"[{name}]" in error.value.found
    assert error.value.way_out
