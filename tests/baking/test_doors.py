"""The same through every door: command line, manifest, policy, certificate, and reports that carry it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bnfold
from bnfold.batch.companions import companions
from bnfold.cli.main import run as run_command

from .networks import MEAN, STD, convolution, operators, pixels, prepared, run, saved

SPEC = "mean=123.675,116.28,103.53,std=58.395,57.12,57.375,order=bgr"
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def called(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        code = run_command([str(a) for a in arguments])
        return code, "".join(capfd.readouterr())

    return called


def check(source: Path, out: Path) -> None:
    raw = pixels((1, 3, 8, 8))
    theirs = run(source, {"data": prepared(raw, MEAN, STD, bgr=True)})
    np.testing.assert_allclose(run(out, {"data": raw})[0], theirs[0], rtol=1e-4, atol=1e-4)


def test_command_line_and_documents(tmp_path: Path, call: Call) -> None:
    source, out = saved(tmp_path, convolution(1)), tmp_path / "out.onnx"
    documents = [
        "--json",
        tmp_path / "a.json",
        "--report",
        tmp_path / "a.html",
        "--certificate",
        tmp_path / "a.cert.json",
    ]
    code, said = call(
        "fold", source, "-o", out, "--bake-input", f"data:{SPEC}", "--input-type", "uint8", *documents
    )
    assert code == 0 and f"baked: 'data': uint8, {SPEC}" in said and "held by weights (data/order)" in said
    check(source, out)
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["input"]["baked"][0]["preprocessing"]["order"] == "bgr"
    assert document["outside"]["passed"] and document["outside"]["samples"]
    assert SPEC in (tmp_path / "a.html").read_text()
    certificate = json.loads((tmp_path / "a.cert.json").read_text())
    assert certificate["read"]["bake_input"][0][1]["order"] == "bgr"
    assert certificate["baked"][0]["type"] == "uint8" and certificate["outside"]["passed"]
    assert call("audit", tmp_path / "a.cert.json", out)[0] == 0


def test_an_audit_finds_a_mean_image_of_another_day(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, file = saved(tmp_path, convolution()), tmp_path / "out.onnx", tmp_path / "mean.npy"
    np.save(file, np.random.default_rng(0).uniform(90, 130, (3, 8, 8)))
    monkeypatch.chdir(tmp_path)
    spec = ("--bake-input", "mean_file=mean.npy,std=50")
    assert call("fold", source, "-o", out, *spec, "--certificate", "a.cert.json")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the certificate names files from where it lies
    assert call("audit", "../a.cert.json", out)[0] == 0
    np.save(file, np.random.default_rng(1).uniform(90, 130, (3, 8, 8)))
    code, said = call("audit", "../a.cert.json", out)
    assert code == 1 and "mean.npy" in said


def test_a_file_that_is_read_is_not_written(tmp_path: Path, call: Call) -> None:
    np.save(file := tmp_path / "mean.npy", np.zeros((3, 8, 8)))
    shutil.move(file, tmp_path / "mean.onnx.npy")
    source = saved(tmp_path, convolution())
    file = tmp_path / "mean.onnx.npy"
    with pytest.raises(bnfold.WouldReplace):
        bnfold.fold_file(source, out=file, bake_input={"mean_file": file})


@pytest.mark.parametrize("form", ["toml", "csv"])
def test_a_manifest(tmp_path: Path, call: Call, form: str) -> None:
    source = saved(tmp_path, convolution())
    np.save(tmp_path / "mean.npy", np.broadcast_to(np.reshape(MEAN[::-1], (3, 1, 1)), (3, 8, 8)))
    asked = "mean_file=mean.npy,std=58.395,57.12,57.375,order=bgr"
    manifest = tmp_path / f"models.{form}"
    if form == "toml":
        manifest.write_text(f'[[model]]\nmodel = "net.onnx"\nbake-input = "{asked}"\ninput-type = "uint8"\n')
    else:
        manifest.write_text(f'model,bake-input,input-type\nnet.onnx,"data:{asked}",uint8\n')
    code, said = call("batch", manifest, "-o", tmp_path / "out", "--jobs", 1)
    assert code == 0, said
    check(source, tmp_path / "out" / "net.onnx")
    manifest.write_text('[[model]]\nmodel = "net.onnx"\nbake-input = "std=0"\n')
    if form == "toml":
        code, said = call("batch", manifest, "-o", tmp_path / "out")
        assert code == 3 and "models.toml:3: 'bake-input' cannot be 'std=0'" in said


def test_a_batch_makes_it_again_when_the_image_changes(tmp_path: Path, call: Call) -> None:
    saved(tmp_path, convolution())
    file = tmp_path / "mean.npy"
    command = (
        "batch",
        tmp_path / "net.onnx",
        "-o",
        tmp_path / "out",
        "--jobs",
        1,
        "--bake-input",
        f"mean_file={file}",
    )
    for value, outcome in ((1.0, "passed"), (1.0, "unchanged"), (2.0, "passed")):
        if outcome == "passed":
            np.save(file, np.full((3, 8, 8), value))
        code, said = call(*command)
        assert code == 0 and f"{outcome}=1" in said, said


def test_a_policy(tmp_path: Path, call: Call) -> None:
    source, out = saved(tmp_path, convolution()), tmp_path / "out.onnx"
    bnfold.fold_file(
        source, out=out, bake_input={"mean": MEAN, "std": STD, "order": "bgr"}, input_type="uint8"
    )
    policy = tmp_path / "bnfold.toml"
    text = f'against = "net.onnx"\nbake-input = "{SPEC}"\ninput-type = "uint8"\n'
    policy.write_text(text)
    assert call("check", out, "--policy", policy)[0] == 0
    policy.write_text(text.replace("order=bgr", "order=rgb"))
    code, said = call("check", out, "--policy", policy)
    assert code == 1 and "check.not-equivalent" in said
    policy.write_text(text.replace("order=bgr", "order=bgrx"))
    code, said = call("check", out, "--policy", policy)
    assert code == 3 and "'bake-input' cannot be" in said
    options = ("--bake-input", SPEC, "--input-type", "uint8")
    assert call("check", out, "--against", source, *options)[0] == 0
    code, said = call("check", out, *options)
    assert code == 2 and "without --against" in said


def test_a_projects_own_defaults(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path, convolution())
    (tmp_path / "bnfold.toml").write_text(
        f'[fold]\nbake-input = "{SPEC}"\ninput-type = "data:uint8"\nbake-padding = "pad"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert call("fold", source, "-o", "out.onnx")[0] == 0
    check(source, tmp_path / "out.onnx")


def test_verify_bench_and_inspect_read_it_so(tmp_path: Path, call: Call) -> None:
    source, out = saved(tmp_path, convolution(1)), tmp_path / "out.onnx"
    options = ("--bake-input", SPEC, "--input-type", "uint8")
    assert call("convert", source, "-o", out, *options)[0] == 0
    assert operators(out)[0] == "Cast"
    assert call("verify", source, out, *options)[0] == 0
    assert (
        call(
            "verify",
            source,
            out,
            "--bake-input",
            SPEC.replace("order=bgr", "order=rgb"),
            "--input-type",
            "uint8",
        )[0]
        == 1
    )
    assert (
        call(
            "verify",
            source,
            out,
            "--bake-input",
            "mean=123.675,116.28,103.53,order=bgr",
            "--input-type",
            "uint8",
        )[0]
        == 1
    )
    assert call("verify", source, out)[0] == 1
    assert call("inspect", source, *options)[0] == 0
    assert call("fold", source, "--dry-run", *options)[0] == 0


def test_the_mean_image_of_a_network_is_its_companion(tmp_path: Path) -> None:
    network = tmp_path / "net.prototxt"
    network.write_text(
        "layer { transform_param { mean_file: \"/home/a/mean.binaryproto\" } }\nmean_file : '..\\\\b.npy'"
    )
    assert companions(network) == ["mean.binaryproto", "b.npy"]
    network.write_text('mean_file: "/home/a/.."')
    assert companions(network) == []


def test_an_oracle_knows_no_preprocessing(tmp_path: Path, call: Call) -> None:
    sample = Path(__file__).resolve().parents[2] / "samples" / "digits.prototxt"
    code, said = call("verify", sample, "--oracle", "opencv", "--bake-input", "mean=1")
    assert code == 2 and "OpenCV reads the files as they are" in said
