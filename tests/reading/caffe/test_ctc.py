"""CTCGreedyDecoder against its loop, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported

from .files import Net, input_layer, layer, same

STEPS, ITEMS, CLASSES = 9, 4, 3


def decoded(x, marks, blank, merge):
    """The fork's loop: (labels, scores)."""
    labels, scores = np.full((ITEMS, STEPS), -1.0), np.zeros(ITEMS)
    for item in range(ITEMS):
        told, before = [], -1
        for step in range(STEPS):
            best = int(np.argmax(x[step, item]))
            scores[item] -= x[step, item, best]
            if best != blank and not (merge and best == before):
                told.append(best)
            before = best
            if step + 1 < STEPS and marks is not None and marks[step + 1, item] == 0:
                break
        labels[item, : len(told)] = told
    return labels.reshape(ITEMS, STEPS, 1, 1), scores.reshape(ITEMS, 1, 1, 1)


@pytest.mark.parametrize("blank", [-1, 0, 1])
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("opset", [13, 21])
def test_against_the_loop(tmp_path, blank, merge, marked, opset):
    rng = np.random.default_rng(5)
    x = rng.random((STEPS, ITEMS, CLASSES)).astype(np.float32)
    x[3:6] = x[3]  # repetitions
    x[0, 1] = 0.5  # equals: the first counts
    marks = np.ones((STEPS, ITEMS), np.float32)
    marks[0] = 0
    marks[6:, 0] = marks[2, 1] = 0
    text = input_layer("x", *x.shape) + (input_layer("m", *marks.shape) if marked else "")
    params = f"ctc_decoder_param {{ blank_index: {blank} ctc_merge_repeated: {str(merge).lower()} }}"
    text += layer("CTCGreedyDecoder", "xm" if marked else "x", ("y", "s"), params)
    feeds = {"x": x, "m": marks} if marked else {"x": x}
    got = Net(tmp_path, text, opset=opset).run(**feeds)
    labels, scores = decoded(x, marks if marked else None, blank if blank >= 0 else CLASSES - 1, merge)
    same(got["y"], labels, 0)
    same(got["s"], scores)


def test_labels_and_marks_that_cannot_be(tmp_path):
    text = input_layer("x", 9, 4, 3) + input_layer("m", 9, 4) + input_layer("t", 9, 4)
    with pytest.raises(Unsupported, match="remove the third bottom"):
        Net(tmp_path, text + layer("CTCGreedyDecoder", "xmt", ("y", "a")))
    with pytest.raises(Malformed, match=r"expected \(9, 4\)"):
        Net(tmp_path, input_layer("x", 9, 4, 3) + input_layer("m", 4, 9) + layer("CTCGreedyDecoder", "xm"))
    with pytest.raises(Malformed, match="3 axes"):
        Net(tmp_path, input_layer("x", 9, 4) + layer("CTCGreedyDecoder", "x"))
