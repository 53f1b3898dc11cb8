"""What real Caffe and real darknet computed, where the shared goldens are at hand: small networks are folded in
their own format, and the pair that comes out, read again, computes the same."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import bnfold

SHARED = Path(__file__).resolve().parents[2] / "../shared/goldens"
LARGEST_MB = float(os.environ.get("BNFOLD_GOLDENS_MB", "0.05"))  # larger ones take minutes
# What the framework itself gets wrong, or that is declined with a sentence (README of the goldens).
DECLINED = ("trailing_bytes",)


def folders():
    """Small goldens of both frameworks."""
    found = sorted(SHARED.glob("caffe/*/expected.npz")) + sorted(SHARED.glob("darknet/*/expected.npz"))
    return [
        file.parent
        for file in found
        if _size(file.parent) <= LARGEST_MB and not file.parent.name.endswith(DECLINED)
    ]


def _size(folder):
    meta = json.loads((folder / "meta.json").read_text())
    return meta.get("weights_bytes", 4 * meta.get("param_count", 0)) / 1e6


def tools():
    """The script that holds models against goldens."""
    sys.path.insert(0, str(SHARED))
    try:
        spec = importlib.util.spec_from_file_location("check_goldens", SHARED / "check.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SHARED))
    return module


def keywords(words):
    """The options that the script gives the command line, for the Python functions."""
    found = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        if flag == "--stage":
            found.setdefault("stages", []).append(value)
        else:
            found[flag.removeprefix("--")] = int(value) if flag == "--level" else value
    return found


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared goldens of real Caffe and darknet")
@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_the_folded_pair_computes_what_the_framework_computed(tmp_path, folder):
    check, meta = tools(), json.loads((folder / "meta.json").read_text())
    network, weights, feeds = check.rebuild(folder, tmp_path)
    out = tmp_path / f"merged{network.suffix}"
    for file, words in check.variants(folder, meta):
        options = keywords(words)
        result = bnfold.fold_file(network, weights, out=out, verify=False, **options)
        bnfold.convert_file(out, result.data[0], out=tmp_path / "plain.onnx", **options)
        with np.load(folder / file) as stored:
            expected = {key: stored[key] for key in stored.files}
        must, tests = check.wanted_of(folder, expected, meta)
        got = check.evaluate(tmp_path / "plain.onnx", feeds, tests)
        assert must <= set(got)
        for key, value in got.items():
            assert check.allowed(meta, key, value, expected[key], 5e-4)[0] is None, key
