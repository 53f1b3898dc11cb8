"""Decoded boxes against darknet's own loops, written out in numpy over the layer's result."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported
from bnfold.folding import fold

from .nets import load, run

W, H = 4, 3
NET = f"[net]\nwidth={8 * W}\nheight={8 * H}\nchannels=3\n"
ANCHORS = [(5.0, 7.0), (10.0, 13.0), (16.0, 30.0)]
TEXT = ",".join(f"{w:g},{h:g}" for w, h in ANCHORS)


def conv(filters: int) -> str:
    return f"[convolutional]\nfilters={filters}\nsize=8\nstride=8\nactivation=linear\n"


def logistic(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def results(tmp_path, cfg: str, **options):
    """(the layer's result, boxes, scores) for two pictures."""
    loaded = load(tmp_path, cfg, heads="boxes", random_weights=3, **options)
    name = [
        v.name
        for node in loaded.model.graph
        for v in node.outputs
        if v.name[0].isdigit() and "/" not in v.name
    ][-1]
    return run(
        loaded, np.random.default_rng(5).standard_normal((2, 3, 8 * H, 8 * W)) * 3, name, "boxes", "scores"
    )


def cells(anchors):
    """(box, row, column, anchor) in darknet's order."""
    for cell in range(W * H):
        for n in range(anchors):
            yield cell * anchors + n, cell // W, cell % W, n


@pytest.mark.parametrize(
    ("extra", "squared"), [("", False), ("scale_x_y=1.2\n", False), ("new_coords=1\nscale_x_y=2\n", True)]
)
def test_yolo(extra, squared, tmp_path):
    y, boxes, scores = results(
        tmp_path, NET + conv(14) + f"[yolo]\nclasses=2\nnum=3\nmask=0,2\nanchors={TEXT}\n{extra}"
    )
    y = y.reshape(2, 2, 7, H, W).astype(np.float64)
    assert boxes.shape == (2, 2 * W * H, 4)
    for at, row, column, n in cells(2):
        v, anchor = y[:, n, :, row, column], ANCHORS[(0, 2)[n]]
        size = (2 * v[:, 2:4]) ** 2 if squared else np.exp(v[:, 2:4])
        want = np.concatenate([(v[:, 0:2] + (column, row)) / (W, H), size * anchor / (8 * W, 8 * H)], axis=1)
        assert np.allclose(boxes[:, at], want, rtol=1e-4, atol=1e-6)
        assert np.allclose(scores[:, at], v[:, 5:] * v[:, 4:5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("point", "moved"), [("center", 0), ("left_top", 0.5), ("right_bottom", -0.5)])
def test_gaussian_yolo(point, moved, tmp_path):
    cfg = (
        NET
        + conv(33)
        + f"[Gaussian_yolo]\nclasses=2\nnum=3\nmask=0,1,2\nanchors={TEXT}\nyolo_point={point}\n"
    )
    y, boxes, scores = results(tmp_path, cfg)
    y = y.reshape(2, 3, 11, H, W).astype(np.float64)
    for at, row, column, n in cells(3):
        v = y[:, n, :, row, column]
        size = np.exp(v[:, [4, 6]]) * ANCHORS[n] / (8 * W, 8 * H)
        want = np.concatenate([(v[:, [0, 2]] + (column, row)) / (W, H) + moved * size, size], axis=1)
        assert np.allclose(boxes[:, at], want, rtol=1e-4, atol=1e-6)
        certain = 1 - v[:, [1, 3, 5, 7]].mean(axis=1, keepdims=True)
        assert np.allclose(scores[:, at], v[:, 9:] * v[:, 8:9] * certain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("background", [0, 1])
def test_region_of_pjreddie(background, tmp_path):
    cfg = (
        NET
        + conv(24)
        + f"[region]\nclasses=3\nnum=3\ncoords=4\nsoftmax=1\nbackground={background}\nanchors=1,2,3,4,5,6\n"
    )
    y, boxes, scores = results(tmp_path, cfg, dialect="pjreddie")
    y = y.reshape(2, 3, 8, H, W).astype(np.float64)
    for at, row, column, n in cells(3):
        v = y[:, n, :, row, column]
        want = np.concatenate(
            [(v[:, 0:2] + (column, row)) / (W, H), np.exp(v[:, 2:4]) * (2 * n + 1, 2 * n + 2) / (W, H)],
            axis=1,
        )
        assert np.allclose(boxes[:, at], want, rtol=1e-4, atol=1e-6)
        assert np.allclose(
            scores[:, at], v[:, 4:7] if background else v[:, 5:8] * v[:, 4:5], rtol=1e-5, atol=1e-6
        )


def test_region_of_alexeyab_with_a_tree(tmp_path):
    (tmp_path / "t.tree").write_text("a -1\nb -1\nc 0\nd 0\ne 3\nf 6\ng 2\nh 5\n")
    cfg = NET + conv(26) + "[region]\nclasses=8\nnum=2\ncoords=4\ntree=t.tree\nanchors=1,2,3,4\n"
    y, boxes, scores = results(tmp_path, cfg, dialect="alexeyab")
    y = y.reshape(2, H, W, 2, 13).astype(np.float64)
    for at, row, column, n in cells(2):
        v = y[:, row, column, n]
        centre = np.add(logistic(v[:, 0:2]), (column, row)) / (W, H)
        want = np.concatenate([centre, np.exp(v[:, 2:4]) * (2 * n + 1, 2 * n + 2) / (W, H)], axis=1)
        assert np.allclose(boxes[:, at], want, rtol=1e-4, atol=1e-6)
        shares = v[:, 5:].T.copy()
        for child, parent in enumerate(
            [-1, -1, 0, 0, 3, 6, 2, 5]
        ):  # as darknet's loop does, also where a parent comes later
            if parent >= 0:
                shares[child] *= shares[parent]
        assert np.allclose(scores[:, at], (shares * v[:, 4]).T, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("sqrt", [0, 1])
def test_detection(sqrt, tmp_path):
    side, num, classes = 3, 2, 4
    cfg = (
        NET + f"[connected]\noutput={side * side * (5 * num + classes)}\nactivation=linear\n"
        f"[detection]\nclasses={classes}\ncoords=4\nnum={num}\nside={side}\nsoftmax=1\nsqrt={sqrt}\n"
    )
    y, boxes, scores = results(tmp_path, cfg)
    y = y.astype(np.float64)
    for cell in range(side * side):
        for n in range(num):
            at = cell * num + n
            scale = y[:, side * side * classes + at, None]
            v = y[:, side * side * (classes + num) + 4 * at :][:, :4]
            want = np.concatenate(
                [(v[:, :2] + (cell % side, cell // side)) / side, v[:, 2:] ** (2 if sqrt else 1)], axis=1
            )
            assert np.allclose(boxes[:, at], want, rtol=1e-4, atol=1e-6)
            assert np.allclose(
                scores[:, at], y[:, cell * classes : (cell + 1) * classes] * scale, rtol=1e-4, atol=1e-6
            )


def test_heads_are_concatenated_in_the_order_of_the_cfg(tmp_path):
    head = f"[yolo]\nclasses=2\nnum=3\nmask=0\nanchors={TEXT}\n"
    cfg = (
        NET
        + conv(7)
        + head
        + "[route]\nlayers=0\n[maxpool]\nsize=2\nstride=2\n[convolutional]\nfilters=7\nactivation=linear\n"
        + head
    )
    loaded = load(tmp_path, cfg, heads="boxes")
    assert [[str(d) for d in v.shape.dims] for v in loaded.model.graph.outputs] == [
        ["N", "16", "4"],
        ["N", "16", "2"],
    ]


def test_decoding_is_none_of_the_networks_affine_nodes(tmp_path):
    loaded = load(tmp_path, NET + conv(7) + "[yolo]\nclasses=2\nnum=1\nanchors=1,2\n", heads="boxes")
    assert {"Mul", "Add"} <= {node.op_type for node in loaded.model.graph}
    assert not fold(loaded.model)[1].kept


def test_heads_of_different_classes(tmp_path):
    cfg = (
        NET
        + conv(7)
        + "[yolo]\nclasses=2\nmask=0\n"
        + "[route]\nlayers=0\n"
        + "[convolutional]\nfilters=8\n[yolo]\nclasses=3\nmask=0\n"
    )
    with pytest.raises(Unsupported):
        load(tmp_path, cfg, heads="boxes")


def test_anchors_that_a_cfg_does_not_have(tmp_path):
    cfg = NET + conv(7) + "[yolo]\nclasses=2\nnum=2\nmask=5\nanchors=1,2,3,4\n"
    assert load(tmp_path, cfg).model.graph.outputs
    with pytest.raises(Malformed):
        load(tmp_path, cfg, heads="boxes")
