"""Certificates of models with new statistics: they say that there is no fold of the sources, and every weight
follows from the sources and the statistics in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bnfold.cli.main import run
from bnfold.gate import certificate
from bnfold.gate.audit import audit

from ..certified import FORMATS, SAMPLES, flip, sample

INPUTS = SAMPLES / "digits_inputs.npz"


def command(*words: object) -> int:
    return run([str(word) for word in words])


def made(folder: Path, kind: str, *, fold: bool, end: str = "onnx") -> tuple[Path, Path]:
    out, path = folder / f"out.{end}", folder / "out.cert.json"
    words = ("fold", "--recalibrate") if fold else ("recalibrate", "--inputs")
    files = sample(folder, kind)
    assert command(words[0], *files, words[1], INPUTS, "-o", out, "--certificate", path, "-q") == 0
    return out, path


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize(
    ("kind", "end"), [*((kind, "onnx") for kind in FORMATS), ("caffe", "prototxt"), ("darknet", "cfg")]
)
def test_every_weight_follows_from_sources_and_statistics(tmp_path, kind, end, fold):
    out, path = made(tmp_path, kind, fold=fold, end=end)
    found = certificate.read(path).recalibrated
    assert found is not None
    assert (found.alone, found.inputs, len(found.statistics)) == (not fold, 450, 6)
    assert "this is no fold" in found.note
    assert [entry.sha256 for entry in found.files] == [certificate.sha256(INPUTS)]
    checks = audit(path, out)
    assert all(checks), [str(check) for check in checks if not check]
    levels = {check.name: check.level for check in checks}
    assert levels["statistics"] == "note"
    assert levels["weights"] == levels["graph"] == "ok"


@pytest.mark.parametrize("fold", [True, False])
def test_another_weight_is_found(tmp_path, fold):
    out, path = made(tmp_path, "onnx", fold=fold)
    flip(out, 8 * (out.stat().st_size // 2) + 3)
    assert any(check.name == "weights" and check.level == "fault" for check in audit(path, out))


def test_other_statistics_are_found(tmp_path):
    """Whoever changes them has to make a new digest, and then the weights do not follow any more."""
    out, path = made(tmp_path, "onnx", fold=True)
    document = json.loads(path.read_text())
    document["recalibrated"]["statistics"][0]["mean"][0] += 0.25
    document["digest"] = certificate._digest(document)
    path.write_text(json.dumps(document))
    assert any(check.level == "fault" for check in audit(path, out))


@pytest.mark.parametrize("change", [{"node": "no such"}, {"mean": [1.0], "variance": [1.0]}])
def test_statistics_of_another_model(tmp_path, change):
    out, path = made(tmp_path, "onnx", fold=False)
    document = json.loads(path.read_text())
    document["recalibrated"]["statistics"][0].update(change)
    document["digest"] = certificate._digest(document)
    path.write_text(json.dumps(document))
    assert command("audit", path, out, "-q") in (1, 3)


def test_a_folder_of_images_is_one_entry(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number:02}.png")
    out, path = tmp_path / "out.onnx", tmp_path / "out.cert.json"
    words = ("recalibrate", *sample(tmp_path, "onnx"), "--inputs", folder, "--std", "255")
    assert command(*words, "-o", out, "--certificate", path, "-q") == 0
    (entry,) = certificate.read(path).recalibrated.files
    assert entry.size == sum(file.stat().st_size for file in folder.iterdir())
    before = entry.sha256
    (folder / "07.png").rename(folder / "99.png")
    assert command(*words, "-o", out, "--certificate", path, "-q") == 0
    assert certificate.read(path).recalibrated.files[0].sha256 != before


def test_a_certificate_of_a_fold_alone_is_what_it_was(tmp_path):
    out, path = tmp_path / "out.onnx", tmp_path / "out.cert.json"
    assert command("fold", *sample(tmp_path, "onnx"), "-o", out, "--certificate", path, "-q") == 0
    assert "recalibrated" not in json.loads(path.read_text())
