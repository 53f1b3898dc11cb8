"""What darknet computes where a cfg is not as its author thought, and what a user is told of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import BnfoldError, Malformed, Mismatch, Unsupported
from bnfold.folding import fold

from .nets import CONV, NET, codes, floats, header, load, ops, run

X = np.random.default_rng(0).standard_normal((1, 3, 10, 12))
YOLO = "[yolo]\nclasses=1\nnum=3\n"
HEAD = CONV.replace("filters=4", "filters=18")


# activation=silu


def test_silu_is_an_error_that_says_what_is_meant_once(tmp_path: Path) -> None:
    with pytest.raises(Malformed) as error:
        load(tmp_path, NET + 3 * CONV.replace("linear", "silu"))
    assert str(error.value.where) == "net.cfg:9"
    assert "in 3 layers" in error.value.found
    assert "swish" in error.value.expected


@pytest.mark.parametrize("dialect", ["auto", "alexeyab", "pjreddie", "hank-ai"])
@pytest.mark.parametrize(("silu", "operators"), [("swish", ["Sigmoid", "Mul"]), ("relu", ["Relu"])])
def test_silu_is_what_the_user_says(tmp_path: Path, dialect: str, silu: str, operators: list[str]) -> None:
    loaded = load(tmp_path, NET + 3 * CONV.replace("linear", "silu"), silu=silu, dialect=dialect)
    assert ops(loaded) == 3 * ["Conv", *operators]
    assert codes(loaded) == ["darknet.silu"]


def test_other_unknown_activations_are_relu_with_a_warning_and_an_idea(tmp_path: Path) -> None:
    loaded = load(tmp_path, NET + CONV.replace("linear", "LEAKY"))
    assert ops(loaded) == ["Conv", "Relu"]
    assert "'leaky'" in loaded.findings[-1].text


# warnings before an error


def test_an_error_comes_with_the_warnings_before_it(tmp_path: Path) -> None:
    with pytest.raises(Malformed) as error:
        load(tmp_path, NET + CONV.replace("filters=4", "filter=18") + YOLO)
    (finding,) = error.value.findings
    assert (finding.code, finding.where) == ("darknet.unknown-option", "net.cfg:6")
    assert "'filters'" in finding.text


def test_warnings_of_the_syntax_and_of_weights_that_do_not_fit_too(tmp_path: Path) -> None:
    with pytest.raises(BnfoldError) as error:
        load(tmp_path, "[net]\nwidth=8\nwidth=9\n[nothing]\n")
    assert [f.code for f in error.value.findings] == ["darknet.duplicate-option"]
    with pytest.raises(Mismatch) as error:
        load(tmp_path, NET + CONV.replace("filters=4", "filter=4"), floats(112))
    assert [f.code for f in error.value.findings] == ["darknet.unknown-option"]


# detection


@pytest.mark.parametrize("dialect", ["auto", "alexeyab", "pjreddie", "hank-ai"])
@pytest.mark.parametrize(
    ("anchors", "found"),
    [
        ("1,2, 3,4, 5,6", ""),
        ("1,2,3,4", "4 numbers"),
        ("1,2,3,4,5", "5 numbers"),
        ("1,2,3,4,5,6,7,8", "8 numbers"),
    ],
)
def test_anchors_that_are_not_two_for_each_have_a_warning(
    tmp_path: Path, dialect: str, anchors: str, found: str
) -> None:
    loaded = load(tmp_path, NET + HEAD + YOLO + f"anchors={anchors}\n", dialect=dialect, heads="boxes")
    told = [f for f in loaded.findings if f.code == "darknet.anchors"]
    assert len(told) == bool(found)
    assert all(found in f.text and f.where == "net.cfg:13" for f in told)


def test_anchors_without_commas_are_one_huge_number_and_have_a_warning(tmp_path: Path) -> None:
    loaded = load(tmp_path, NET + HEAD + YOLO + "anchors=10 14  23 27  37 58\n", heads="boxes")
    assert {"darknet.anchors", "darknet.hank-ai"} <= set(codes(loaded))
    assert "darknet.anchors" not in codes(
        load(tmp_path, NET + HEAD + YOLO + "anchors=10 14  23 27  37 58\n", dialect="hank-ai")
    )


@pytest.mark.parametrize(
    ("before", "warned"),
    [
        (HEAD.replace("linear", "logistic"), False),
        (HEAD.replace("linear", "logistic") + "[route]\nlayers=-1\n", False),
        (HEAD.replace("linear", "logistic") + "[dropout]\n", False),
        (HEAD + "[activation]\nactivation=logistic\n", False),
        (HEAD.replace("18", "9").replace("linear", "logistic") + "[route]\nlayers=-1,-1\n", False),
        (HEAD, True),
        (HEAD.replace("linear", "swish"), True),
        (
            HEAD.replace("18", "9")
            + HEAD.replace("18", "9").replace("linear", "logistic")
            + "[route]\nlayers=-1,-2\n",
            True,
        ),
    ],
)
def test_new_coords_behind_another_activation_has_a_warning(
    tmp_path: Path, before: str, warned: bool
) -> None:
    loaded = load(tmp_path, NET + before + YOLO + "new_coords=1\n", dialect="alexeyab")
    assert ("darknet.new_coords" in codes(loaded)) == warned


def test_a_yolov1_head_without_classes(tmp_path: Path) -> None:
    cfg = "[net]\ninputs=20\n[detection]\nclasses=0\nside=2\nnum=1\ncoords=4\nsoftmax=1\n"
    loaded = load(tmp_path, cfg)
    x = np.arange(20.0)[None]
    assert np.array_equal(run(loaded, x)[0], x)
    with pytest.raises(Unsupported, match="no class"):
        load(tmp_path, cfg, heads="boxes")


def test_classes_behind_a_tree_stay(tmp_path: Path) -> None:
    (tmp_path / "t.tree").write_text("a -1\nb -1\nc 0\n")
    cfg = NET + CONV.replace("filters=4", "filters=10") + "[region]\nclasses=5\nnum=1\ntree=t.tree\n"
    loaded = load(tmp_path, cfg, dialect="pjreddie")
    assert "darknet.tree" in codes(loaded)
    raw, result = run(loaded, X, "000_convolutional", "001_region")
    assert np.array_equal(result[:, 8:], raw[:, 8:])
    assert np.allclose(result[:, 5:7].sum(axis=1), 1)
    with pytest.raises(Unsupported, match="from a tree of 3"):
        load(tmp_path, cfg, dialect="pjreddie", heads="boxes")


# convolutions and pooling


@pytest.mark.parametrize(("filters", "groups"), [(12, 8), (5, 4), (3, 4), (7, 2)])
@pytest.mark.parametrize("norm", [0, 1])
def test_groups_that_leave_filters_over(tmp_path: Path, filters: int, groups: int, norm: int) -> None:
    """Group j computes filters // groups filters with the weights from j / groups of them on; the rest of the
    channels are zero before the batch norm."""
    cfg = f"[net]\nwidth=5\nheight=4\nchannels=8\n[convolutional]\nfilters={filters}\nsize=3\npad=1\n"
    cfg += f"groups={groups}\nactivation=linear\nbatch_normalize={norm}\n"
    taps, each = 8 // groups * 9, filters // groups
    values = floats(filters * (1 + 3 * norm) + filters * taps)
    loaded = load(tmp_path, cfg, values, dialect="alexeyab")
    assert "darknet.groups" in codes(loaded)
    x = np.random.default_rng(1).standard_normal((1, 8, 4, 5)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[0].transpose(
        0, 3, 4, 1, 2
    )
    weights = values[filters * (1 + 3 * norm) :].astype(np.float64)
    want = np.zeros((filters, 4, 5))
    for group in range(groups):
        rows = weights[group * weights.size // groups :][: each * taps].reshape(each, taps)
        part = patches[group * (8 // groups) : (group + 1) * (8 // groups)].reshape(taps, 20)
        want[group * each : (group + 1) * each] = (rows @ part).reshape(each, 4, 5)
    bias, scale, mean, variance = (values[filters * k : filters * (k + 1), None, None] for k in range(4))
    if norm:
        want = (want - mean) / np.sqrt(variance + 1e-5) * scale
    np.testing.assert_allclose(run(loaded, x)[0][0], want + bias, atol=1e-4)
    assert not [kept for kept in fold(loaded.model)[1].kept if kept.op == "BatchNormalization"]


@pytest.mark.parametrize("out_channels", [1, 2, 3, 4, 5, 7, 9])
def test_a_maximum_over_channels_that_do_not_divide(tmp_path: Path, out_channels: int) -> None:
    cfg = f"[net]\nwidth=3\nheight=2\nchannels=7\n[maxpool]\nmaxpool_depth=1\nout_channels={out_channels}\n"
    x = np.random.default_rng(1).standard_normal((1, 7, 2, 3)).astype(np.float32)
    got = run(load(tmp_path, cfg, dialect="alexeyab"), x)[0]
    for channel in range(out_channels):
        part = x[:, channel::out_channels]
        want = part.max(axis=1) if part.size else np.full((1, 2, 3), np.finfo(np.float32).min)
        assert np.array_equal(got[:, channel], want)


@pytest.mark.parametrize(
    ("lines", "dialect", "warned"),
    [
        ("stride_x=1\nstride_y=2\n", "alexeyab", True),
        ("stride_x=1\nstride_y=2\n", "hank-ai", True),
        ("stride_x=2\nstride_y=1\n", "alexeyab", False),
        ("stride=2\n", "alexeyab", False),
        ("size=3\nstride_x=1\nstride_y=2\n", "alexeyab", False),
    ],
)
def test_one_by_one_with_a_stride_in_one_direction(
    tmp_path: Path, lines: str, dialect: str, warned: bool
) -> None:
    loaded = load(tmp_path, NET + f"[convolutional]\nfilters=2\n{lines}", dialect=dialect)
    assert ("darknet.stride" in codes(loaded)) == warned


@pytest.mark.parametrize(("dialect", "nothing"), [("pjreddie", 0.0), ("pjreddie-cpu", np.nan)])
def test_l2norm_of_a_pixel_that_is_zero(tmp_path: Path, dialect: str, nothing: float) -> None:
    x = np.zeros((1, 3, 10, 12))
    x[0, :, 1, 2] = 3, 0, -4
    got = run(load(tmp_path, NET + "[l2norm]\n", dialect=dialect), x)[0]
    assert np.allclose(got[0, :, 1, 2], (0.6, 0, -0.8))
    assert np.array_equal(got[0, :, 0, 0], [nothing] * 3, equal_nan=True)


# routes over maps of different sizes

APART = CONV + "[maxpool]\nstride=2\n" + "[route]\nlayers=-1,0\n"


@pytest.mark.parametrize(
    "behind",
    [
        CONV,
        "[maxpool]\n",
        "[upsample]\n",
        "[yolo]\n",
        "[region]\n",
        "[batchnorm]\n",
        "[route]\nlayers=-1\n[convolutional]\n",
        "[route]\nlayers=-1,-2\n[dropout]\n[convolutional]\n",
    ],
)
def test_what_reads_a_route_over_maps_of_two_sizes_asks_for_the_input(tmp_path: Path, behind: str) -> None:
    with pytest.raises(Malformed, match=r"#2 joins pictures of 5 x 6 and 10 x 12 pixels.*multiple of 32"):
        load(tmp_path, NET + APART + behind)


def test_a_route_of_groups_over_maps_of_two_sizes_asks_too(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="multiple of 32"):
        load(tmp_path, NET + APART.replace("layers=-1,0", "layers=-1,0\ngroups=2"))


def test_a_writer_of_old_files_is_no_reason_for_a_warning(tmp_path: Path) -> None:
    assert codes(load(tmp_path, NET + CONV, floats(112), header(0, 1, 0, wide=False))) == []
