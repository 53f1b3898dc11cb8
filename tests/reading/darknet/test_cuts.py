"""--cut-at: the network ends at layers, and the weights file there or where the cfg does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import Mismatch, UsageError
from bnfold.reading.darknet import read
from bnfold.results.options import ReadOptions

from .nets import CONV, NET, floats, load, on_disk, run

FIRST, NEXT = 4 + 108, 4 + 144
CFG = NET + CONV + "[maxpool]\nstride=2\n" + CONV + CONV
X = np.random.default_rng(0).random((1, 3, 10, 12))


def outputs(loaded) -> list[str]:  # type: ignore[no-untyped-def]
    return [value.name for value in loaded.model.graph.outputs]


@pytest.mark.parametrize(
    ("cut", "names"),
    [
        (("1",), ["001_maxpool"]),
        (("001_maxpool",), ["001_maxpool"]),
        (("1_maxpool",), ["001_maxpool"]),
        (("2", "0"), ["000_convolutional", "002_convolutional"]),
        (("3",), ["003_convolutional"]),
    ],
)
def test_layers_by_number_and_by_name(tmp_path: Path, cut: tuple[str, ...], names: list[str]) -> None:
    whole = load(tmp_path, CFG, floats(FIRST + 2 * NEXT))
    loaded = load(tmp_path, CFG, floats(FIRST + 2 * NEXT), cut_at=cut)
    assert outputs(loaded) == names
    for got, want in zip(run(loaded, X), run(whole, X, *names), strict=True):
        assert np.array_equal(got, want)


def test_nothing_is_left_of_what_stands_behind(tmp_path: Path) -> None:
    loaded = load(tmp_path, CFG, floats(FIRST + 2 * NEXT), cut_at=("1",))
    assert [n.op_type for n in loaded.model.graph] == ["Conv", "MaxPool"]
    assert sorted(loaded.model.graph.initializers) == [
        "000_convolutional/biases",
        "000_convolutional/weights",
    ]


@pytest.mark.parametrize("size", [FIRST, FIRST + NEXT])
def test_a_partial_file_says_what_to_type_and_that_works(tmp_path: Path, size: int) -> None:
    with pytest.raises(Mismatch) as error:
        load(tmp_path, CFG, floats(size))
    assert "ends before this layer" in error.value.found
    cut = error.value.way_out.partition("--cut-at ")[2].split()[0]
    assert outputs(load(tmp_path, CFG, floats(size), cut_at=(cut,)))[0].startswith(f"00{cut}_")


def test_a_file_that_ends_within_a_layer_says_what_to_type_and_that_works(tmp_path: Path) -> None:
    with pytest.raises(Mismatch) as error:
        load(tmp_path, CFG, floats(FIRST + 9))
    assert "--cut-at 1 --allow-partial" in error.value.way_out
    loaded = load(tmp_path, CFG, floats(FIRST + 9), cut_at=("1",), allow_partial=True)
    assert outputs(loaded) == ["001_maxpool"]


def test_with_allow_partial_alone_the_message_names_the_cut(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match="--cut-at 1, or give"):
        load(tmp_path, CFG, floats(FIRST), allow_partial=True)


@pytest.mark.parametrize("more", [1, 400])
def test_bytes_behind_the_cut_are_accounted_for_too(tmp_path: Path, more: int) -> None:
    network, weights = on_disk(tmp_path, CFG, floats(FIRST + 2 * NEXT))
    weights.write_bytes(weights.read_bytes() + b"\0" * more)
    with pytest.raises(Mismatch, match=f"{more} bytes are left over"):
        read(network, weights, ReadOptions(cut_at=("1",)))


def test_layers_that_nobody_can_read_are_cut_away_where_the_file_ends_before_them(tmp_path: Path) -> None:
    cfg = CFG + "[nothing]\n"
    assert outputs(load(tmp_path, cfg, floats(FIRST), cut_at=("1",))) == ["001_maxpool"]
    assert outputs(load(tmp_path, cfg, cut_at=("3",))) == ["003_convolutional"]
    with pytest.raises(Mismatch, match=r"no darknet has a section \[nothing\]"):
        load(tmp_path, cfg, floats(FIRST + 2 * NEXT + 1), cut_at=("3",))


@pytest.mark.parametrize("wrong", ["4", "-1", "x", "001_convolutional", "1_", ""])
def test_what_is_no_layer(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UsageError, match="cut_at"):
        load(tmp_path, CFG, cut_at=(wrong,))


def test_a_layer_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no result"):
        load(tmp_path, CFG + "[cost]\n", cut_at=("4",))


def test_heads_before_the_cut_stay(tmp_path: Path) -> None:
    yolo = CONV.replace("filters=4", "filters=18") + "[yolo]\nclasses=1\nnum=3\n"
    cfg = NET + yolo + "[route]\nlayers=0\n" + CONV + yolo
    assert outputs(load(tmp_path, cfg, cut_at=("3",))) == ["001_yolo", "003_convolutional"]
    assert outputs(load(tmp_path, cfg, cut_at=("3",), heads="raw")) == [
        "000_convolutional",
        "003_convolutional",
    ]
