"""Tiny nets through the real binaries: pjreddie/darknet at f6afaab and AlexeyAB/darknet at 59596d7, built for
the CPU, each result sampled. (pjreddie's [deconvolutional] with groups = 1, which its own code forgets to set
before it divides by it.)

recorded.json holds for each net its cfg, how many floats its file has and which of them are variances, and
some numbers of every layer's result. The floats themselves are drawn here, by numpy's Philox, whose stream is
stable. That the binaries read the same file to the same numbers says that sizes and order of all arrays are
right, besides every formula. Those called random are random compositions.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bnfold import fold
from bnfold.results.plan import Loaded

from .nets import header, load, run

NETS = {net["name"]: net for net in json.loads((Path(__file__).parent / "recorded.json").read_text())}
TOLERANCE = 1e-4  # of |got - want| / (|want| + deviation + 1e-3); the worst measured is 4e-6


def drawn(net: dict) -> np.ndarray:
    """The floats of the weights file."""
    values = np.random.Generator(np.random.Philox(key=[7, net["floats"]])).standard_normal(
        net["floats"], dtype=np.float32
    )
    values *= np.float32(0.5)
    for at, count in net["variances"]:
        values[at : at + count] = np.abs(values[at : at + count]) + np.float32(0.2)
    return values


@pytest.mark.parametrize("name", NETS)
def test_what_darknet_computes(name, tmp_path):
    net = NETS[name]
    for file, text in net["files"].items():
        (tmp_path / file).write_text(text)
    pjreddie = net["fork"] == "pjreddie"
    dialect = "pjreddie-cpu" if pjreddie else "alexeyab"
    loaded = load(tmp_path, net["cfg"], drawn(net), header(revision=0 if pjreddie else 5), dialect=dialect)
    hold(net, loaded)
    hold(net, replace(loaded, model=fold(loaded.model).model))


def hold(net: dict, loaded: Loaded) -> None:
    """Every value that the model still has against the number recorded."""
    results = {
        int(node.outputs[0].name[:3]): node.outputs[0].name
        for node in loaded.model.graph
        if "/" not in node.outputs[0].name
    }
    wanted = {int(layer): want for layer, want in net["layers"].items() if int(layer) in results}
    assert wanted
    x = np.random.Generator(np.random.Philox(key=[8, 0])).standard_normal(net["shape"], dtype=np.float32)
    for (layer, want), got in zip(
        wanted.items(), run(loaded, x, *(results[layer] for layer in wanted)), strict=True
    ):
        assert got.size == want["size"], results[layer]
        sampled, values = got.reshape(-1)[:: want["step"]].astype(np.float64), np.array(want["values"])
        error = np.abs(sampled - values) / (np.abs(values) + want["std"] + 1e-3)
        assert error.max() < TOLERANCE, (results[layer], sampled, values)
