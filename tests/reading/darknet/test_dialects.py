"""The choice of a dialect, and what it changes: the formula of batch norm above all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import UsageError
from bnfold.reading.darknet.dialects import DIALECTS

from .nets import CONV, NET, codes, floats, header, load, ops, run

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "dialects.md").read_text(encoding="utf-8")
DOCUMENTED = sorted(set(re.findall(r"`(test_\w+\.py(?:::\w+)?)`", PAGE)))
NORMED = (
    "[net]\nwidth=1\nheight=1\nchannels=1\n[convolutional]\nbatch_normalize=1\nfilters=1\nactivation=linear\n"
)


@pytest.mark.parametrize(
    ("section", "fork", "what"),
    [
        ("[sam]\nfrom=-1\n", "alexeyab", "[sam]"),
        ("[l2norm]\n", "pjreddie", "[l2norm]"),
        ("[convolutional]\nactivation=mish\n", "alexeyab", "the activation mish"),
        ("[convolutional]\nstride_x=1\n", "alexeyab", "'stride_x'"),
        ("[shortcut]\nfrom=-1\nalpha=2\n", "pjreddie", "'alpha'"),
        ("[shortcut]\nfrom=-1,-2\n", "alexeyab", "several layers"),
        ("[cost]\nnoobj=.5\n", "pjreddie", "'noobj'"),
        ("[dropout]\ndropblock=1\n", "alexeyab", "'dropblock'"),
    ],
)
def test_what_only_one_fork_has_decides_and_is_named(section, fork, what, tmp_path):
    loaded = load(tmp_path, NET + CONV + CONV + section)
    assert loaded.dialect == fork
    assert what in loaded.dialect_reason
    assert "net.cfg:1" in loaded.dialect_reason


def test_a_section_outweighs_an_option(tmp_path):
    assert load(tmp_path, NET + CONV + "[convolutional]\nstride_x=1\n[l2norm]\n").dialect == "pjreddie"


def test_a_net_without_pictures_is_pjreddies(tmp_path):
    loaded = load(
        tmp_path, "[net]\ninputs=4\n[gru]\noutput=3\n", floats(3 * (3 + 9) + 3 * (3 + 12)), header(revision=5)
    )
    assert (loaded.dialect, "without pictures" in loaded.dialect_reason) == ("pjreddie", True)


@pytest.mark.parametrize(("revision", "dialect"), [(0, "pjreddie"), (5, "alexeyab")])
def test_otherwise_the_writer_of_the_weights_decides(revision, dialect, tmp_path):
    assert load(tmp_path, NET + CONV, floats(112), header(revision=revision)).dialect == dialect


def test_a_wrong_name(tmp_path):
    with pytest.raises(UsageError):
        load(tmp_path, NET + CONV, dialect="alexey")


@pytest.mark.parametrize("variance", [0.0, 5.6e-45, 1e-12, 1e-5, 0.3, 4e4])
@pytest.mark.parametrize(
    ("dialect", "divisor"),
    [
        ("alexeyab", lambda v: np.sqrt(v + 1e-5)),
        ("pjreddie", lambda v: np.sqrt(v + 1e-5)),
        ("pjreddie-cpu", lambda v: np.sqrt(v) + 1e-6),
    ],
)
def test_batch_norm(variance, dialect, divisor, tmp_path):
    bias, scale, mean, weight, x = 0.5, 2.0, 0.25, 3.0, 1.5
    stored = np.float32(variance)
    loaded = load(
        tmp_path, NORMED, np.array([bias, scale, mean, stored, weight], np.float32), dialect=dialect
    )
    assert ops(loaded) == ["Conv", "BatchNormalization"]
    want = (weight * x - mean) / divisor(float(stored)) * scale + bias
    assert run(loaded, np.full((1, 1, 1, 1), x))[0].item() == pytest.approx(want, rel=5e-7)


def test_the_root_of_a_negative_variance_is_nan_with_a_warning(tmp_path):
    arrays = np.array([0, 1, 0, -7e-44, 1], np.float32)
    assert codes(load(tmp_path, NORMED, arrays, dialect="alexeyab")) == ["darknet.epsilon"]
    assert "darknet.variance" in codes(load(tmp_path, NORMED, arrays, dialect="pjreddie-cpu"))
    assert np.isnan(DIALECTS["pjreddie-cpu"].variance(np.float32([-7e-44, 1]))).tolist() == [True, False]


def test_how_much_the_epsilon_matters_is_told(tmp_path):
    quiet = load(tmp_path, NORMED, np.array([0, 1, 0, 1, 1], np.float32))
    assert codes(quiet) == []
    loud = load(tmp_path, NORMED, np.array([0, 1, 0, 1e-6, 1], np.float32))
    note = next(f for f in loud.findings if f.code == "darknet.epsilon")
    assert (note.level, note.where) == ("note", "net.cfg:5 [convolutional] #0")
    assert "1e-06" in note.text
    assert f"{np.sqrt(1.1e-5) / (1e-3 + 1e-6):.3g} times" in note.text


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_variances_that_are_none(bad, tmp_path):
    assert codes(load(tmp_path, NORMED, np.array([0, 1, 0, bad, 1], np.float32))) == ["darknet.variance"]


def test_an_option_of_the_other_fork_is_ignored_with_a_warning(tmp_path):
    cfg = NET + "[convolutional]\nfilters=2\nstride_x=2\nactivation=mish\n"
    theirs = load(tmp_path, cfg, dialect="pjreddie")
    assert codes(theirs) == ["darknet.other-fork", "darknet.activation"]
    assert run(theirs, np.ones((1, 3, 10, 12)))[0].shape == (1, 2, 10, 12)
    assert run(load(tmp_path, cfg, dialect="alexeyab"), np.ones((1, 3, 10, 12)))[0].shape == (1, 2, 10, 6)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_where_the_page_says_that_a_difference_is_tested_there_is_a_test(name):
    file, _, test = name.partition("::")
    source = (Path(__file__).parent / file).read_text()
    assert f"def {test or 'test_'}" in source


def test_the_page_has_every_dialect():
    assert all(f"| `{name}` |" in PAGE for name in DIALECTS)


@pytest.mark.parametrize("options", ["scale_x_y=1.2\n", "new_coords=1\nscale_x_y=2\nmax_delta=5\n"])
def test_sowsons_yolo4_is_alexeyabs_yolo(options, tmp_path):
    """sowson's fork keeps pjreddie's [yolo] and calls AlexeyAB's [yolo4]."""
    cfg = "[convolutional]\nfilters=12\nactivation=logistic\n[{}]\nclasses=1\nnum=2\nanchors=1,2, 3,4\n"
    x = np.random.default_rng(2).normal(size=(1, 3, 10, 12))
    theirs, ours = (
        load(tmp_path, NET + cfg.format(name) + options, floats(12 + 12 * 3)) for name in ("yolo4", "yolo")
    )
    assert (theirs.dialect, ours.dialect) == ("alexeyab", "alexeyab")
    assert "sowson" in theirs.dialect_reason
    assert set(codes(theirs)) - set(codes(ours)) == {"darknet.yolo4"}
    for one, other in zip(run(theirs, x), run(ours, x), strict=True):
        assert np.array_equal(one, other)
