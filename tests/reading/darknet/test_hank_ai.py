"""hank-ai's fork: how it reads a cfg, what it stops at, and what the other dialects say of lines that it reads
otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import BnfoldError, Malformed, Unsupported
from bnfold.reading.darknet.syntax import HANK_AI, Entry

from .nets import CONV, NET, codes, floats, header, load, ops, run

HANK = {"dialect": "hank-ai"}
TWO = NET + CONV + CONV


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("width=7", Entry(key="width", value="7")),
        ("  width\t=  7  \r", Entry(key="width", value="7")),
        ("activation=leaky   # was mish", Entry(key="activation", value="leaky")),
        ("layers = -1 -2", Entry(key="layers", value="-1 -2")),
        ("[yolo] # the last", Entry(header="yolo")),
        ("[net]", Entry(header="net")),
        ("# a=1", None),
        ("a b = 3", None),
        ("pad", None),
        ("stride=", None),
        ("", None),
    ],
)
def test_lines(line: str, entry: Entry | None) -> None:
    assert HANK_AI.entry(line) == entry


@pytest.mark.parametrize(
    ("kind", "text", "items"),
    [
        ("int", "-1 -2", ["-1", "-2"]),
        ("int", "-1,-2,", ["-1", "-2"]),
        ("int", "1.5", ["1", "5"]),
        ("float", "10 14  23 27", ["10", "14", "23", "27"]),
        ("float", "10,14,  .5,27.5,", ["10", "14", ".5", "27.5"]),
        ("float", "10 - 14", ["10"]),
        ("int", "", []),
    ],
)
def test_lists(kind: str, text: str, items: list[str]) -> None:
    assert HANK_AI.items(kind, text) == items


@pytest.mark.parametrize("text", ["", "yes", "1e-3", "+4", "3 4", "-", "0x10"])
def test_what_is_no_number_stops_it(text: str) -> None:
    with pytest.raises(Malformed, match="no number"):
        HANK_AI.number("float", text)


def test_it_computes_what_the_cfg_says(tmp_path: Path) -> None:
    cfg = NET + CONV.replace("linear", "leaky # was mish") + CONV + "[route]\nlayers = -1 -2\n"
    loaded = load(tmp_path, cfg, **HANK)
    assert (loaded.dialect, ops(loaded)) == ("hank-ai", ["Conv", "LeakyRelu", "Conv", "Concat"])
    assert codes(loaded) == []
    theirs = load(tmp_path, cfg, dialect="alexeyab")
    assert ops(theirs) == ["Conv", "Relu", "Conv", "Identity"]


def test_batch_norm_is_alexeyabs(tmp_path: Path) -> None:
    cfg = "[net]\nwidth=1\nheight=1\nchannels=1\n[conv]\nbatch_normalize=1\nfilters=1\nactivation=linear\n"
    loaded = load(tmp_path, cfg, np.array([0.5, 2, 0.25, 1e-4, 3], np.float32), header(revision=5), **HANK)
    want = (3 * 1.5 - 0.25) / np.sqrt(1e-4 + 1e-5) * 2 + 0.5
    assert run(loaded, np.full((1, 1, 1, 1), 1.5))[0].item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    ("cfg", "kind", "found", "line"),
    [
        (NET + CONV + "filters=8\n", Malformed, "a second 'filters' in [convolutional]", 10),
        (NET + CONV + "foo=1\n", Malformed, "reads no 'foo' in [convolutional]", 10),
        (NET + CONV + "numload=4\n", Malformed, "reads no 'numload'", 10),
        (NET + "max_crop=3\n" + CONV, Malformed, "reads no 'max_crop' in [net]", 5),
        (NET + "policy=steps\ngamma=.1\n" + CONV, Malformed, "reads no 'gamma' in [net]", 6),
        (NET + CONV.replace("linear", "LEAKY"), Malformed, "no activation 'LEAKY'", 9),
        (NET + CONV.replace("linear", "silu"), Malformed, "no activation 'silu'", 9),
        (NET + CONV.replace("size=3", "size=three"), Malformed, "'three' is no number", 7),
        (TWO + "[sam]\nfrom=-2\nactivation=mish\n", Malformed, "no activation 'mish' in [sam]", 17),
        (NET + CONV + "[reorg]\n", Unsupported, "no section [reorg]", 10),
        (NET + CONV + "[l2norm]\n", Unsupported, "no section [l2norm]", 10),
        (NET + CONV + "[nothing]\n", Unsupported, "no darknet has a section [nothing]", 10),
    ],
)
def test_what_stops_it(tmp_path: Path, cfg: str, kind: type[BnfoldError], found: str, line: int) -> None:
    with pytest.raises(kind) as error:
        load(tmp_path, cfg, **HANK)
    assert found in str(error.value)
    assert str(error.value).startswith(f"net.cfg:{line}")


@pytest.mark.parametrize(
    ("section", "way_out"), [("[reorg]\n", "--dialect alexeyab"), ("[l2norm]\n", "--dialect pjreddie")]
)
def test_a_section_of_another_fork_names_its_dialect_which_reads_it(
    tmp_path: Path, section: str, way_out: str
) -> None:
    with pytest.raises(Unsupported) as error:
        load(tmp_path, NET + CONV + section, **HANK)
    assert way_out in error.value.way_out
    load(tmp_path, NET + CONV + section, dialect=way_out.split()[1])


def test_a_misspelt_option_has_its_hint(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="did it mean 'filters'"):
        load(tmp_path, NET + CONV.replace("filters", "filter"), **HANK)


def test_options_of_training_are_read(tmp_path: Path) -> None:
    net = (
        NET + "batch=64\nsubdivisions=8\nmomentum=0.9\npolicy=steps\nsteps=400,450\nscales=.1,.1\nmosaic=1\n"
    )
    net = net.replace("width=12", "width=64").replace("height=10", "height=32") + "adam=1\nB1=.8\n"
    yolo = CONV.replace("filters=4", "filters=18") + "[yolo]\nclasses=1\nnum=3\nanchors=1,2 3,4 5,6\n"
    loaded = load(tmp_path, net + yolo + "iou_loss=ciou\nbeta_nms=0.6\nmap=x.map\nlearning_rate=2\n", **HANK)
    assert codes(loaded) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("activation=linear", "activation=linear # ", 9, ("'linear#'", "'linear' ")),
        ("size=3", "si ze=3", 7, ("'size' is 3", "nothing")),
    ],
)
def test_a_line_that_means_something_else_there_has_a_warning(
    tmp_path: Path, old: str, new: str, line: int, words: tuple[str, str]
) -> None:
    loaded = load(tmp_path, NET + CONV.replace(old, new))
    found = next(f for f in loaded.findings if f.code == "darknet.hank-ai")
    assert (found.level, found.where) == ("warning", f"net.cfg:{line}")
    assert all(word in found.text for word in (*words, "--dialect hank-ai"))


def test_every_such_line_has_one(tmp_path: Path) -> None:
    cfg = TWO.replace("linear", "linear # x") + "[route]\nlayers=-1 -2\n"
    found = [f.where for f in load(tmp_path, cfg).findings if f.code == "darknet.hank-ai"]
    assert found == ["net.cfg:9", "net.cfg:14", "net.cfg:16"]


@pytest.mark.parametrize(
    "line", ["filters=4 # many", "momentum=1e-3", "pad=yes", "filters=9", "activation=x"]
)
def test_lines_that_mean_the_same_or_nothing_there_have_none(tmp_path: Path, line: str) -> None:
    cfg = NET + CONV.replace("[convolutional]\n", f"[convolutional]\n{line}\n")
    assert "darknet.hank-ai" not in codes(load(tmp_path, cfg))


def test_who_names_a_dialect_is_not_asked_again(tmp_path: Path) -> None:
    cfg = NET + CONV.replace("linear", "linear # x")
    assert "darknet.hank-ai" not in codes(load(tmp_path, cfg, dialect="alexeyab"))


def test_a_header_with_a_remark_names_the_dialect_that_reads_it(tmp_path: Path) -> None:
    cfg = NET + CONV + "[dropout] # off\n"
    with pytest.raises(Unsupported, match="--dialect hank-ai"):
        load(tmp_path, cfg)
    assert ops(load(tmp_path, cfg, **HANK)) == ["Conv", "Identity"]


def test_weights_are_accounted_for_as_elsewhere(tmp_path: Path) -> None:
    assert load(tmp_path, NET + CONV, floats(112), header(revision=5), **HANK).dialect == "hank-ai"


def test_the_size_of_a_detector_that_it_stops_at_has_a_warning(tmp_path: Path) -> None:
    yolo = CONV.replace("filters=4", "filters=18") + "[yolo]\nclasses=1\nnum=3\n"
    found = [f.where for f in load(tmp_path, NET + yolo, **HANK).findings if f.code == "darknet.size"]
    assert found == ["net.cfg:2", "net.cfg:3"]
    assert codes(load(tmp_path, NET + yolo + CONV, **HANK)) == []


def test_a_size_beyond_32_bits_is_named_with_its_line(tmp_path: Path) -> None:
    cfg = "[net]\nheight=32\nwidth=9223372036854775807\nchannels=3\n" + CONV + "[yolo]\n"
    with pytest.raises(Malformed, match=r":3.*32-bit"):
        load(tmp_path, cfg, **HANK)
