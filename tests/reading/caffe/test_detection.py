"""SSD's boxes and the region poolings against loops over boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported
from bnfold.folding import fold

from .files import Net, input_layer, layer, normal, same

MAP = input_layer("x", 1, 2, 3, 4) + input_layer("image", 1, 3, 30, 50)


def priors(
    rows, columns, shapes, steps, size, offsets=((0.5, 0.5),), clip=False, variance=(0.1, 0.1, 0.1, 0.1)
):
    boxes = []
    for h in range(rows):
        for w in range(columns):
            for (bw, bh), (dx, dy) in ((shape, offset) for shape in shapes for offset in offsets):
                cx, cy = (w + dx) * steps[1], (h + dy) * steps[0]
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
                "offsets": ((0, 0),),
                "variance": (0.1, 0.2, 0.3, 0.4),
            },
        ),
        (
            "min_size: 4 aspect_ratio: 2 flip: false offset_w: [0.25, 0.75] offset_h: [0.5, 0]",
            {
                "shapes": [(4, 4), (4 * R, 4 / R)],
                "steps": (10, 12.5),
                "size": (30, 50),
                "offsets": ((0.25, 0.5), (0.75, 0)),
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
    ("params", "want"),
    [
        ("", {"steps": (10, 12.5)}),
        ("step: 4 offset: 0 clip: true", {"steps": (4, 4), "offsets": ((0, 0),), "clip": True}),
        ("step_h: 3 step_w: 5 variance: 0.5", {"steps": (3, 5), "variance": (0.5,) * 4}),
    ],
)
def test_clustered_prior_boxes(tmp_path, params, want):
    sizes = "width: [9.5, 25] height: [15, 40]"
    text = MAP + layer("PriorBoxClustered", ["x", "image"], params=f"prior_box_param {{ {sizes} {params} }}")
    got = Net(tmp_path, text).run(x=normal(1, 2, 3, 4), image=normal(1, 3, 30, 50))["y"]
    same(got, priors(3, 4, [(9.5, 15), (25, 40)], size=(30, 50), **want), 1e-6)
    with pytest.raises(Malformed, match="as many of each, positive"):
        Net(tmp_path, text.replace("width: [9.5, 25]", "width: 9.5"))


@pytest.mark.parametrize(
    ("params", "column", "words"),
    [
        ("", 1, "'min_size' is missing"),
        ("min_size: 4 offset_h: 0.5", 91, "1 of offset_h and 0 of offset_w"),
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
    clip=False,
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
            mine = [np.clip(box, 0, 1) for box in mine] if clip else mine
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
    ("code_type: CENTER_SIZE clip: true", {"kind": "CENTER_SIZE", "clip": True}, 2),
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


def widened(roi, ratio):
    """A region that is wider by a part of its size on each side."""
    b, x1, y1, x2, y2 = map(float, roi)
    dx, dy = (x2 - x1 + 1) * ratio, (y2 - y1 + 1) * ratio
    return b, x1 - dx, y1 - dy, x2 + dx, y2 + dy


@pytest.mark.parametrize("ratio", [0, 0.25])
@pytest.mark.parametrize("opset", [16, 20])
def test_roi_align(tmp_path, ratio, opset):
    x, (tall, wide), scale = normal(2, 3, 8, 9), (3, 2), 0.25
    rois = np.concatenate([ROIS, np.float32([[1, 20, 9, 20, 30], [0, -9, -9, 50, 60], [1, 0, 0, 4, 4]])])
    text = input_layer("x", 2, 3, 8, 9) + input_layer("rois", len(rois), 5)
    params = f"pooled_h: {tall} pooled_w: {wide} spatial_scale: {scale} pad_ratio: {ratio}"
    text += layer("ROIAlign", ["x", "rois"], params=f"roi_pooling_param {{ {params} }}")
    want = np.zeros((len(rois), 3, tall + 1, wide + 1))
    for r, roi in enumerate(rois):
        b, *box = widened(roi, ratio)
        x1, y1, x2, y2 = (v * scale - 0.5 for v in box)
        if x2 <= x1 or y2 <= y1:
            continue
        for i, j in np.ndindex(tall + 1, wide + 1):
            row, column = y1 + i * (y2 - y1) / tall, x1 + j * (x2 - x1) / wide
            if not (-0.5 <= row <= 7.5 and -0.5 <= column <= 8.5):
                continue
            row, column = min(max(row, 0), 7), min(max(column, 0), 8)
            top, left = min(int(row), 6), min(int(column), 7)
            a, c = row - top, column - left
            corners = x[int(b), :, top : top + 2, left : left + 2].astype(np.float64)
            want[r, :, i, j] = (corners * np.outer([1 - a, a], [1 - c, c])).sum((1, 2))
    same(Net(tmp_path, text, opset=opset).run(x=x, rois=rois)["y"], want, 1e-5)
    with pytest.raises(Unsupported, match="opset 16 or more"):
        Net(tmp_path, text, opset=14)


@pytest.mark.parametrize("norm", [False, True])
def test_decoded_boxes(tmp_path, norm):
    mean, std = (np.float32([0.1, -0.2, 0.3, 0.0]), np.float32([0.1, 0.1, 0.2, 0.2])) if norm else (0, 1)
    params = (
        "bbox_reg_param { bbox_mean: [0.1, -0.2, 0.3, 0] bbox_std: [0.1, 0.1, 0.2, 0.2] }" if norm else ""
    )
    text = input_layer("b", 4, 8) + input_layer("p", 4, 5, 1, 1) + layer("DecodeBBox", "bp", params=params)
    box = normal(4, 8)
    got = Net(tmp_path, text).run(b=box, p=ROIS.reshape(4, 5, 1, 1))["y"]
    delta = box[:, 4:] * std + mean
    low, high = ROIS[:, 1:3].astype(np.float64), ROIS[:, 3:].astype(np.float64)
    size = high - low + 1
    middle, size = (low + high) / 2 + delta[:, :2] * size, size * np.exp(delta[:, 2:])
    low = middle - (size - 1) / 2
    same(got, np.concatenate([ROIS[:, :1], low, low + size - 1], 1).reshape(4, 5, 1, 1), 1e-5)
    with pytest.raises(Unsupported, match="the phase TRAIN"):
        Net(tmp_path, text, phase="TRAIN")
    if norm:
        with pytest.raises(Malformed, match="4 of each"):
            Net(tmp_path, text.replace("std: [0.1, 0.1,", "std: [0.1,"))


@pytest.mark.parametrize("ratio", [0, 0.3])
def test_roi_pooling(tmp_path, ratio):
    x = normal(2, 3, 8, 8)
    text = input_layer("x", 2, 3, 8, 8) + input_layer("rois", 4, 5)
    got = Net(
        tmp_path,
        text
        + layer(
            "ROIPooling",
            ["x", "rois"],
            params=f"roi_pooling_param {{ pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 pad_ratio: {ratio} }}",
        ),
    ).run(x=x, rois=ROIS)["y"]
    want = np.zeros((4, 3, 3, 2))
    for r, roi in enumerate(ROIS):
        b, *box = widened(roi, ratio)
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


@pytest.mark.parametrize("batch", [1, 2])
def test_psroi_pooling(tmp_path, batch):
    x, rois = normal(batch, 8, 8, 9), ROIS.copy()
    rois[:, 0] %= batch
    text = input_layer("x", batch, 8, 8, 9) + input_layer("rois", 4, 5)
    got = Net(
        tmp_path,
        text
        + layer(
            "PSROIPooling",
            ["x", "rois"],
            params="psroi_pooling_param { spatial_scale: 0.25 output_dim: 2 group_size: 2 }",
        ),
    ).run(x=x, rois=rois)["y"]
    want = np.zeros((4, 2, 2, 2))
    for r, (b, *box) in enumerate(rois):
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


@pytest.mark.parametrize("kind", ["CENTER_SIZE", "CORNER"])
@pytest.mark.parametrize("stage", ["conf", "both"])
def test_two_stages_of_refinedet(tmp_path, kind, stage):
    count, classes, batch = 12, 3, 2
    random = np.random.default_rng(5)
    middles, sizes = random.random((count, 2)), random.random((count, 2)) * 0.3 + 0.1
    variance = np.tile([0.1, 0.1, 0.2, 0.2], count)
    prior = np.float32(
        np.stack([np.concatenate([middles - sizes / 2, middles + sizes / 2], 1).ravel(), variance])[None]
    )
    loc, arm_loc = normal(batch, count * 4), normal(batch, count * 4, seed=4)
    conf, arm_conf = (
        np.float32(random.random((batch, count * classes))),
        np.float32(random.random((batch, count * 2))),
    )
    feeds = {"loc": loc, "conf": conf, "prior": prior, "arm_conf": arm_conf, "arm_loc": arm_loc}
    bottoms = list(feeds)[: 4 if stage == "conf" else 5]
    params = f"num_classes: 3 objectness_score: 0.4 code_type: {kind} nms_param {{ nms_threshold: 0.45 }}"
    text = "".join(input_layer(name, *feeds[name].shape) for name in bottoms)
    text += layer("DetectionOutput", bottoms, params=f"detection_output_param {{ {params} }}")
    got = Net(tmp_path, text).run(**{name: feeds[name] for name in bottoms})["y"]
    empty = arm_conf.reshape(batch, count, 2)[:, :, 1] < np.float32(0.4)
    scores = conf.reshape(batch, count, classes).copy()
    scores[empty] = [1, 0, 0]
    rows = []
    for i in range(batch):
        boxes, variances = prior[0].reshape(2, count, 4).astype(np.float64)
        if stage == "both":
            stages = zip(boxes, variances, arm_loc[i].reshape(count, 4), strict=True)
            boxes = np.array([decode(box, v, move, kind) for box, v, move in stages])
        moved = np.stack([boxes.ravel(), variances.ravel()])[None]
        found = detect(loc[i : i + 1], scores[i].reshape(1, -1), moved, classes, nms=0.45, kind=kind)[0, 0]
        found[:, 0] = i
        rows.append(found)
    same(got, np.concatenate(rows)[None, None], 1e-5)


def test_a_first_stage_that_does_not_fit(tmp_path):
    text = input_layer("loc", 1, 12) + input_layer("conf", 1, 6) + input_layer("prior", 1, 2, 12)
    text += input_layer("a", 1, 5) + layer(
        "DetectionOutput", ["loc", "conf", "prior", "a"], params="detection_output_param { num_classes: 2 }"
    )
    with pytest.raises(Malformed, match=r"a first stage of shape \(1, 5\) for 3 boxes"):
        Net(tmp_path, text)
