"""What the original frameworks compute, where the shared goldens are at hand: those small enough to be quick,
in each dialect they have."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bnfold.errors import Mismatch
from bnfold.reading.darknet import read
from bnfold.results.options import ReadOptions

from .nets import run

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "goldens"
LARGEST = 4e6  # bytes of weights
TOLERANCE = 1e-4


def found() -> list[Path]:
    """Golden folders of darknet nets, small ones."""
    folders = (
        sorted((SHARED / "darknet").glob("*")) + sorted((SHARED / "trained").glob("darknet__*"))
        if SHARED.is_dir()
        else []
    )
    return [f for f in folders if json.loads((f / "meta.json").read_text())["weights_bytes"] <= LARGEST]


FOLDERS = found()
pytestmark = pytest.mark.skipif(not FOLDERS, reason="the shared goldens are not here")


def rebuilt(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """(weights file, input) by the goldens' own script."""
    monkeypatch.syspath_prepend(str(SHARED))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import make_weights

    if (folder / "net.weights").exists():
        return folder / "net.weights", make_weights.build_input(
            json.loads((folder / "meta.json").read_text())["input"]
        )
    return make_weights.build(folder, out)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_golden(folder, tmp_path, monkeypatch):
    meta = json.loads((folder / "meta.json").read_text())
    weights, x = rebuilt(folder, tmp_path, monkeypatch)
    dialects = {
        "expected.npz": "pjreddie-cpu" if meta["fork"] == "pjreddie" else "alexeyab",
        "expected_gpubn.npz": "pjreddie",
    }
    for file, dialect in dialects.items():
        if not (folder / file).exists():
            continue
        if "file_too_long" in (meta.get("tags") or []):
            with pytest.raises(Mismatch):
                read(folder / "net.cfg", weights, ReadOptions(dialect=dialect))
            continue
        loaded = read(folder / "net.cfg", weights, ReadOptions(dialect=dialect))
        names = {
            n.outputs[0].name[:3]: n.outputs[0].name
            for n in loaded.model.graph
            if "/" not in n.outputs[0].name
        }
        with np.load(folder / file) as stored:
            wanted = {
                key: stored[key] for key in stored.files if key.startswith("layer_") and key != "layer_stats"
            }
        for want, got in zip(
            wanted.values(), run(loaded, x, *(names[f"{int(key[6:]):03}"] for key in wanted)), strict=True
        ):
            error = np.abs(got.reshape(-1).astype(np.float64) - want.reshape(-1)) / (
                np.abs(want.reshape(-1)) + want.std() + 1e-3
            )
            assert error.max() < TOLERANCE
