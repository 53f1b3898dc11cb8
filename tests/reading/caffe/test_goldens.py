"""What real Caffe computed, where the shared goldens are at hand: every small network, value by value, before
any folding."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bnfold.reading.caffe import read
from bnfold.results.options import ReadOptions

from .files import Net

SHARED = Path(__file__).resolve().parents[3] / "../shared/goldens"
LARGEST_MB = 0.5


def folders():
    found = (
        [*sorted((SHARED / "caffe").glob("*/")), *sorted((SHARED / "trained").glob("caffe__*/"))]
        if SHARED.exists()
        else []
    )
    return [
        folder
        for folder in found
        if 4e-6 * json.loads((folder / "meta.json").read_text())["param_count"] <= LARGEST_MB
    ]


def maker():
    spec = importlib.util.spec_from_file_location("make_caffemodel", SHARED / "make_caffemodel.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("make_caffemodel", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared goldens of real Caffe")
@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_it_computes_what_caffe_computes(tmp_path, folder):
    meta, make = json.loads((folder / "meta.json").read_text()), maker()
    weights = folder / "weights.caffemodel"
    if not weights.exists():
        make.main(folder, tmp_path)
        weights = tmp_path / "weights.caffemodel"
    state = meta.get("state", {})
    net = Net.__new__(Net)
    net.loaded = read(
        folder / "deploy.prototxt",
        weights,
        ReadOptions(stages=tuple(state.get("stage", ())), level=state.get("level", 0)),
    )
    net.model = net.loaded.model
    got = net.run(**{i["name"]: make.draw(i) for i in meta["inputs"]})
    with np.load(folder / "expected.npz") as expected:
        for key in expected.files:
            about, want = meta["expected"][key], expected[key].astype(np.float64).ravel()
            assert about["role"] != "output" or about["blob"] in got
            if about["blob"] in got:
                value = got[about["blob"]].astype(np.float64).ravel()[:: about.get("stride", 1)]
                assert np.array_equal(np.isfinite(value), np.isfinite(want))
                off = (
                    np.abs(value - want)[np.isfinite(want)]
                    / (np.abs(want) + want.std() + 1e-3)[np.isfinite(want)]
                )
                assert off.max(initial=0) < 5e-5, key
