"""Random networks: what the reader makes of them computes what Caffe computes, and what the fold makes of
that, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnfold

from .drawn import LAYERS, draw
from .files import Net

SEEDS = range(48)


def deviation(drawn, net):
    """The largest deviation of all blobs that can be seen, relative to the largest entry of each, and the
    name of its blob."""
    found = net.run(**{name: drawn.feeds[name.split("/")[0]] for name in net.inputs})
    seen = {name: (found[name], value) for name, value in drawn.values.items() if name in found}
    assert seen.keys() >= set(net.outputs)
    assert all(got.shape == want.shape for got, want in seen.values())
    return max(
        (float(np.abs(got - want).max(initial=0)) / (float(np.abs(want).max(initial=0)) + 1e-3), name)
        for name, (got, want) in seen.items()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_network_is_read_and_folded_right(tmp_path: Path, seed: int):
    drawn = draw(seed)
    net = Net(tmp_path, drawn.text, drawn.weights, opset=13 + seed % 10)
    assert deviation(drawn, net) < (1e-4, ""), drawn.text
    net.model = bnfold.fold(net.model, simplify_leftovers=seed % 3 == 0).model
    assert deviation(drawn, net) < (3e-4, ""), drawn.text


def test_every_layer_is_drawn():
    text = "".join(draw(seed).text for seed in SEEDS)
    assert [name for name in LAYERS if name != "activation" and f'type: "{name}"' not in text] == []
