"""The published JSON Schemas are those of the code, and what the commands write fits them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.cli.main import COMMANDS, run
from bnfold.reporting import schemas

from ..certified import certify
from ..models import RELU_BN, TWO_BLOCKS, saved

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra 'dev' (jsonschema)")
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", schemas.SCHEMAS)
def test_what_is_published_is_current(name: str) -> None:
    published = (DOCS / f"{name}.schema.json").read_text()
    assert published == schemas.text(name), (
        f"python -m bnfold.reporting.schemas {name} > docs/{name}.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


@pytest.fixture
def documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[dict[str, Any]]:
    """What every command writes, right and wrong."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    certify(tmp_path, (saved(tmp_path, TWO_BLOCKS),), "folded")
    saved(tmp_path, RELU_BN, "kept.onnx")
    np.save("x.npy", np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32))
    calls = {
        "fold": "net.onnx out.onnx",
        "fold dry": "net.onnx --dry-run",
        "fold unverified": "net.onnx out.onnx --no-verify",
        "fold nothing": "kept.onnx out.onnx",
        "fold absent": "absent.onnx",
        "convert": "net.onnx -o out.onnx",
        "verify": "net.onnx folded.onnx",
        "verify wrong": "net.onnx kept.onnx",
        "inspect": "net.onnx",
        "batch": "net.onnx absent.onnx -o many --jobs 1",
        "check": "net.onnx folded.onnx absent.onnx",
        "audit": "folded.cert.json folded.onnx",
        "audit wrong": "folded.cert.json net.onnx",
        "selftest": "",
        "fold timed": "net.onnx out.onnx --time --runs 2",
        "bench": "net.onnx folded.onnx --runs 2",
        "recalibrate": "net.onnx --inputs x.npy",
        "recalibrate nothing": "net.onnx --inputs absent.npy",
        "fold recalibrated": "net.onnx out.onnx --recalibrate x.npy",
    }
    for name, arguments in calls.items():
        run([name.split()[0], *arguments.split(), "--json", "result.json", "-q"])
        capfd.readouterr()
        calls[name] = json.loads(Path("result.json").read_text())
    yield calls


def test_what_the_commands_write_fits(documents: dict[str, Any]) -> None:
    schema = schemas.result()
    validator = jsonschema.Draft202012Validator(schema)
    assert (
        {d["command"] for d in documents.values()}
        == set(schema["properties"]["command"]["enum"])
        == set(COMMANDS) - {"report", "completion"}
    )
    for name, document in documents.items():
        assert [f"{name}{e.json_path}: {e.message}" for e in validator.iter_errors(document)] == []
        assert set(document) <= set(schema["properties"]), name
    del documents["check"]["models"][0]["violations"][0]["code"]
    assert not validator.is_valid(documents["check"])


def test_certificates_fit(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(schemas.certificates())
    for name, text in (("folded", TWO_BLOCKS), ("kept", RELU_BN)):
        document = json.loads(
            certify(tmp_path, (saved(tmp_path, text, f"{name}.source.onnx"),), name).certificate.read_text()
        )
        validator.validate(document)
        assert not validator.is_valid({**document, "more": 1})
