"""SSD's boxes and the region poolings against loops over boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported
from bnfold.folding import fold

from .files import Net, input_layer, layer, normal, same

MAP = input_layer("x", 1, 2, 3, 4) + input_layer("image", 1, 3, 30, 50)


def priors(rows, columns, shapes, steps, size, offset=0.5, clip=False, variance=(0.1, 0.1, 0.1, 0.1)):
    boxes = []
    for h in range(rows):
        for w in range(columns):
            cx, cy = (w + offset) * steps[1], (h + offset) * steps[0]
            for bw, bh in shapes:
                boxes += [
                    (cx - bw / 2) / size[1],
                    (cy - bh / 2) / size[0],
                    (cx + bw / 2) / size[1],
                    (cy + bh / 2) / size[0],
                ]
    boxes = np.clip(boxes, 0, 1) if clip else np.array(boxes)
    return np.stack([boxes, np.tile(variance, len(boxes) // 4)])[None]


R = math.sqrt(2)


@pytest.mark.parametrize(
    ("params", "want"),
    [
        ("min_size: 6.9", {"shapes": [(6, 6)], "steps": (10, 12.5), "size": (30, 50)}),
        (
            "min_size: 6 max_size: 24.5 aspect_ratio: 2 aspect_ratio: 2 aspect_ratio: 1 clip: true",
            {
                "shapes": [(6, 6), (12, 12), (6 * R, 6 / R), (6 / R, 6 * R)],
                "steps": (10, 12.5),
                "size": (30, 50),
                "clip": True,
            },
        ),
        (
            "min_size: [4, 9] aspect_ratio: 2 flip: false img_size: 40 step: 5 offset: 0 variance: "
            "[0.1, 0.2, 0.3, 0.4]",
            {
                "shapes": [(4, 4), (4 * R, 4 / R), (9, 9), (9 * R, 9 / R)],
                "steps": (5, 5),
                "size": (40, 40),
                "offset": 0,
                "variance": (0.1, 0.2, 0.3, 0.4),
            },
        ),
        (
            "min_size: 4 img_h: 20 img_w: 60 step_h: 3 step_w: 4 variance: 0.5",
            {"shapes": [(4, 4)], "steps": (3, 4), "size": (20, 60), "variance": (0.5,) * 4},
        ),
    ],
)
def test_prior_box(tmp_path, params, want):
    got = Net(
        tmp_path, MAP + layer("PriorBox", ["x", "image"], params=f"prior_box_param {{ {params} }}")
    ).run(x=normal(1, 2, 3, 4), image=normal(1, 3, 30, 50))["y"]
    same(got, priors(3, 4, **want), 1e-6)


@pytest.mark.parametrize(
    ("params", "column", "words"),
    [
        ("", 1, "'min_size' is missing"),
        ("min_size: 0", 79, "min_size is (0.0)"),
        ("min_size: 4 max_size: 3", 91, "max_size is (3.0)"),
        ("min_size: 4 max_size: 5 max_size: 6", 91, "none, or one for each"),
        ("min_size: 4 variance: 1 variance: 2", 91, "one positive number, or four"),
        ("min_size: 4 img_size: 3 img_h: 4", 91, "beside img_h"),
        ("min_size: 4 step: 3 step_h: 4", 91, "beside step_h"),
        ("min_size: 4 aspect_ratio: inf", 91, "aspect_ratio is (inf)"),
        ("min_size: 4 aspect_ratio: 0", 91, "aspect_ratio is (0.0)"),
    ],
)
def test_prior_boxes_that_do_not_fit(tmp_path, params, column, words):
    with pytest.raises(Malformed) as caught:
        Net(tmp_path, MAP + layer("PriorBox", ["x", "image"], params=f"prior_box_param {{ {params} }}"))
    assert words in str(caught.value)
    assert "net.prototxt:3:" in str(caught.value)


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = [max(0, box[2] - box[0]) * max(0, box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def decode(prior, variance, loc, kind):
    if kind == "CORNER":
        return prior + variance * loc
    size = np.array([prior[2] - prior[0], prior[3] - prior[1]])
    if kind == "CORNER_SIZE":
        return prior + variance * loc * np.tile(size, 2)
    centre = (prior[:2] + prior[2:]) / 2 + variance[:2] * loc[:2] * size
    half = np.exp(variance[2:] * loc[2:]) * size / 2
    return np.concatenate([centre - half, centre + half])


def detect(
    loc,
    conf,
    prior,
    classes,
    *,
    background=0,
    shared=True,
    nms=0.3,
    top_k=-1,
    keep=-1,
    threshold=-np.inf,
    kind="CORNER",
):
    """What DetectionOutput computes, image by image and class by class."""
    batch, count = loc.shape[0], prior.shape[2] // 4
    boxes, variance = prior[0].reshape(2, count, 4)
    rows = []
    for i in range(batch):
        places = loc[i].reshape(count, 1 if shared else classes, 4)
        scores = conf[i].reshape(count, classes)
        found = []
        for c in range(classes):
            if c == background:
                continue
            mine = [decode(boxes[p], variance[p], places[p, 0 if shared else c], kind) for p in range(count)]
            order = sorted((p for p in range(count) if scores[p, c] > threshold), key=lambda p: -scores[p, c])
            kept = []
            for p in order[:top_k] if top_k > -1 else order:
                if all(overlap(mine[p], mine[q]) <= nms for q in kept):
                    kept.append(p)
            found += [(scores[p, c], c, mine[p]) for p in kept]
        if keep > -1 and len(found) > keep:
            best = {id(f) for f in sorted(found, key=lambda f: -f[0])[:keep]}
            found = [f for f in found if id(f) in best]
        rows += [[i, c, s, *box] for s, c, box in found]
    return np.array(rows or [[i] + [-1] * 6 for i in range(batch)])[None, None]


CASES = [
    ("", {}, 1),
    (
        "code_type: CENTER_SIZE nms_param { nms_threshold: 0.45 top_k: 9 } keep_top_k: 7 "
        "confidence_threshold: 0.4",
        {"kind": "CENTER_SIZE", "nms": 0.45, "top_k": 9, "keep": 7, "threshold": 0.4},
        1,
    ),
    (
        "code_type: CENTER_SIZE nms_param { nms_threshold: 0.6 top_k: 5 } keep_top_k: 6",
        {"kind": "CENTER_SIZE", "nms": 0.6, "top_k": 5, "keep": 6},
        3,
    ),
    (
        "code_type: CORNER_SIZE share_location: false background_label_id: 1 confidence_threshold: 0.2",
        {"kind": "CORNER_SIZE", "shared": False, "background": 1, "threshold": 0.2},
        2,
    ),
    (
        "share_location: false background_label_id: -1 keep_top_k: 3",
        {"shared": False, "background": -1, "keep": 3},
        2,
    ),
    ("confidence_threshold: 5", {"threshold": 5}, 2),
]


@pytest.mark.parametrize(("params", "options", "batch"), CASES)
def test_detection_output(tmp_path, params, options, batch):
    classes, count = 3, 12
    shared = options.get("shared", True)
    middles, sizes = (
        np.random.default_rng(0).random((count, 2)),
        np.random.default_rng(1).random((count, 2)) * 0.5 + 0.05,
    )
    boxes = np.concatenate([middles - sizes, middles + sizes], 1).ravel()
    prior = np.stack([boxes, np.tile([0.1, 0.1, 0.2, 0.2], count)])[None].astype(np.float32)
    loc, conf = (
        normal(batch, count * 4 * (1 if shared else classes)),
        np.random.default_rng(2).random((batch, count * classes)).astype(np.float32),
    )
    text = (
        input_layer("loc", *loc.shape) + input_layer("conf", *conf.shape) + input_layer("prior", *prior.shape)
    )
    text += layer(
        "DetectionOutput",
        ["loc", "conf", "prior"],
        params=f"detection_output_param {{ num_classes: {classes} {params} }}",
    )
    net = Net(tmp_path, text)
    assert not fold(net.model)[1].kept, "decoding is none of the network's affine nodes"
    got = net.run(loc=loc, conf=conf, prior=prior)["y"]
    same(got, detect(loc, conf, prior.astype(np.float64), classes, **options), 1e-5)


def test_inverted_boxes_overlap_nothing(tmp_path):
    prior = np.float32([[[0.2, 0.2, 0.8, 0.8] * 3, [1] * 12]])
    loc = np.float32([[0, 0, 0, 0, 0.7, 0, -0.7, 0, 0.01, 0, 0, 0]])  # the second one ends before it begins
    conf = np.float32([[0, 0.9, 0, 0.8, 0, 0.7]])
    text = input_layer("loc", 1, 12) + input_layer("conf", 1, 6) + input_layer("prior", 1, 2, 12)
    got = Net(
        tmp_path,
        text
        + layer(
            "DetectionOutput", ["loc", "conf", "prior"], params="detection_output_param { num_classes: 2 }"
        ),
    ).run(loc=loc, conf=conf, prior=prior)["y"]
    same(got, detect(loc, conf, prior.astype(np.float64), 2), 1e-6)
    assert got.shape[2] == 2


def test_detections_that_cannot_be_exact_name_the_blob_to_cut_at(tmp_path):
    text = input_layer("loc", 1, 12) + input_layer("conf", 1, 6) + input_layer("prior", 1, 2, 12)
    with pytest.raises(Unsupported, match=r"'eta' is 0.5.*--cut-at loc"):
        Net(
            tmp_path,
            text
            + layer(
                "DetectionOutput",
                ["loc", "conf", "prior"],
                params="detection_output_param { num_classes: 2 nms_param { eta: 0.5 } }",
            ),
        )
    with pytest.raises(Malformed, match="4 locations and num_classes confidences"):
        Net(
            tmp_path,
            text
            + layer(
                "DetectionOutput",
                ["loc", "conf", "prior"],
                params="detection_output_param { num_classes: 3 }",
            ),
        )
    reader = layer(
        "DetectionOutput", ["loc", "conf", "prior"], ["d"], "detection_output_param { num_classes: 2 }"
    ) + layer("InnerProduct", "d", params="inner_product_param { num_output: 2 }", name="ip")
    with pytest.raises(
        Unsupported,
        match=r"net.prototxt:5:1 ip \(InnerProduct\): the layer reads a bottom whose size depends on the "
        r"data",
    ):
        Net(tmp_path, text + reader)


ROIS = np.float32([[0, 3, 2, 20, 25], [1, 0, 0, 31, 31], [0, 10.4, 11.6, 10.4, 11.6], [1, 28, 28, 60, 70]])


def test_roi_pooling(tmp_path):
    x = normal(2, 3, 8, 8)
    text = input_layer("x", 2, 3, 8, 8) + input_layer("rois", 4, 5)
    got = Net(
        tmp_path,
        text
        + layer(
            "ROIPooling",
            ["x", "rois"],
            params="roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 }",
        ),
    ).run(x=x, rois=ROIS)["y"]
    want = np.zeros((4, 3, 3, 2))
    for r, (b, *box) in enumerate(ROIS):
        x1, y1, x2, y2 = (math.floor(v * 0.25 + 0.5) for v in box)
        tall, wide = max(y2 - y1 + 1, 1) / 3, max(x2 - x1 + 1, 1) / 2
        for i in range(3):
            for j in range(2):
                top, bottom = (
                    min(max(f(k * tall) + y1, 0), 8) for f, k in ((math.floor, i), (math.ceil, i + 1))
                )
                left, right = (
                    min(max(f(k * wide) + x1, 0), 8) for f, k in ((math.floor, j), (math.ceil, j + 1))
                )
                if bottom > top and right > left:
                    want[r, :, i, j] = x[int(b), :, top:bottom, left:right].max((1, 2))
    same(got, want)


def test_psroi_pooling(tmp_path):
    x = normal(2, 8, 8, 9)
    text = input_layer("x", 2, 8, 8, 9) + input_layer("rois", 4, 5)
    got = Net(
        tmp_path,
        text
        + layer(
            "PSROIPooling",
            ["x", "rois"],
            params="psroi_pooling_param { spatial_scale: 0.25 output_dim: 2 group_size: 2 }",
        ),
    ).run(x=x, rois=ROIS)["y"]
    want = np.zeros((4, 2, 2, 2))
    for r, (b, *box) in enumerate(ROIS):
        x1, y1, x2, y2 = (math.floor(v + 0.5) for v in box)
        top0, left0, bottom0, right0 = y1 * 0.25, x1 * 0.25, (y2 + 1) * 0.25, (x2 + 1) * 0.25
        tall, wide = max(bottom0 - top0, 0.1) / 2, max(right0 - left0, 0.1) / 2
        for i in range(2):
            for j in range(2):
                top, bottom = (
                    min(max(v, 0), 8) for v in (math.floor(i * tall + top0), math.ceil((i + 1) * tall + top0))
                )
                left, right = (
                    min(max(v, 0), 9)
                    for v in (math.floor(j * wide + left0), math.ceil((j + 1) * wide + left0))
                )
                for c in range(2):
                    window = x[int(b), (c * 2 + i) * 2 + j, top:bottom, left:right]
                    want[r, c, i, j] = window.astype(np.float64).mean() if window.size else 0
    same(got, want, 1e-5)
