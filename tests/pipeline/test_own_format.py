"""Results in the model's own format, from every door; and what such an output does not go with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import bnfold
from bnfold.cli.main import run
from bnfold.pipeline import own_format
from bnfold.reading import formats
from bnfold.results.options import ReadOptions
from bnfold.results.pair_formats import asked, of_format

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CAFFE = (SAMPLES / "digits.prototxt", SAMPLES / "digits.caffemodel")
DARKNET = (SAMPLES / "digits.cfg", SAMPLES / "digits.weights")
ONNX = (SAMPLES / "digits.onnx",)


def command(*words: object) -> int:
    return run([str(word) for word in words])


@pytest.mark.parametrize(
    ("files", "end", "weights"), [(CAFFE, "prototxt", "caffemodel"), (DARKNET, "cfg", "weights")]
)
def test_the_pair_is_verified_and_written(tmp_path, files, end, weights):
    result = bnfold.fold_file(*files, out=tmp_path / f"merged.{end}")
    assert result.report is not None
    assert result.report.equivalent
    assert result.path == tmp_path / f"merged.{end}"
    assert result.data == (tmp_path / f"merged.{weights}",)
    assert result.after.size == sum(file.stat().st_size for file in (result.path, *result.data))
    before, after = bnfold.load(*files), bnfold.load(result.path, result.data[0])
    assert bnfold.verify(before, after)
    assert result.plan.batch_norms == (6, 0)


def test_the_weights_go_where_they_are_told_to(tmp_path):
    (tmp_path / "w").mkdir()
    result = bnfold.fold_file(*DARKNET, out=tmp_path / "m.cfg", weights_out=tmp_path / "w" / "x.bin")
    assert result.data == (tmp_path / "w" / "x.bin",)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["m.cfg", "x.bin"]


def test_the_output_as_a_positional(tmp_path, capsys):
    assert command("fold", *CAFFE, tmp_path / "merged.prototxt", "-q") == 0
    assert (tmp_path / "merged.caffemodel").is_file()


def test_json_and_text_name_both_files(tmp_path, capsys):
    out = tmp_path / "merged.cfg"
    assert (
        command("fold", *DARKNET, "-o", out, "--json", tmp_path / "r.json", "--report", tmp_path / "r.html")
        == 0
    )
    assert json.loads((tmp_path / "r.json").read_text())["output"]["data"] == [
        str(tmp_path / "merged.weights")
    ]
    assert "merged.weights" in (tmp_path / "r.html").read_text()
    assert "merged.weights" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("files", "end", "weights"), [(CAFFE, "prototxt", "caffemodel"), (DARKNET, "cfg", "weights")]
)
def test_certificate_and_audit(tmp_path, capsys, files, end, weights):
    out, certificate = tmp_path / f"merged.{end}", tmp_path / "merged.cert.json"
    assert command("fold", *files, "-o", out, "--certificate", certificate, "-q") == 0
    assert command("audit", certificate, out, *files, "-q") == 0
    assert capsys.readouterr().err.splitlines()[-1] == "bnfold: PASS checks=8 notes=0 faults=0"
    data = bytearray((tmp_path / f"merged.{weights}").read_bytes())
    data[-5] ^= 0x40
    (tmp_path / f"merged.{weights}").write_bytes(data)
    assert command("audit", certificate, out, *files, "-q") == 1
    assert (
        command("fold", *files, "-o", out, "--weights-out", SAMPLES / "x", "--certificate", certificate) == 2
    )


def test_batch_in_the_format_that_each_has(tmp_path, capsys):
    for file in (*CAFFE, *DARKNET):
        shutil.copy(file, tmp_path)
    (tmp_path / "net").mkdir()
    shutil.move(tmp_path / "digits.cfg", tmp_path / "net")
    shutil.move(tmp_path / "digits.weights", tmp_path / "net")
    words = ("batch", tmp_path, ONNX[0], "-o", tmp_path / "out", "--format", "same", "--no-verify", "-q")
    assert command(*words) == 0
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    ends = {name.rpartition(".")[2] for name in found}
    assert {"prototxt", "caffemodel", "cfg", "weights", "onnx"} <= ends
    assert command(*words) == 0
    assert "unchanged=3" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (*ONNX, "-o", "m.prototxt"),
            "m.prototxt asks for a caffe model, and the model that is read is onnx",
        ),
        ((*ONNX, "-o", "m.cfg"), "m.cfg asks for a darknet model"),
        ((*CAFFE, "-o", "m.cfg"), "expected an output that ends in .onnx or .prototxt"),
        ((*DARKNET, "-o", "m.prototxt"), "the model that is read is darknet"),
        ((*CAFFE, "-o", "m.onnx", "--weights-out", "w.caffemodel"), "a file for weights (w.caffemodel)"),
        ((*CAFFE, "-o", "m.prototxt", "--weights-out", "m.prototxt"), "are one file"),
        ((*CAFFE, "-o", "m.prototxt", "--weights-out", "-"), "--weights-out cannot be '-'"),
        ((*CAFFE, "-o", "m.prototxt", "--external-data"), "external data beside m.prototxt"),
        ((*CAFFE, "-o", "m.prototxt", "--opset", "17"), "--opset is for ONNX outputs"),
        ((*CAFFE, "-o", "m.prototxt", "--simplify-leftovers"), "--simplify-leftovers is for ONNX outputs"),
        ((*CAFFE, "-o", "m.prototxt", "--duplicate-producers"), "--duplicate-producers is for ONNX outputs"),
        ((*DARKNET, "-o", "m.cfg", "--heads", "raw"), "--heads is for ONNX outputs"),
        ((DARKNET[0], "-o", "m.cfg", "--random-weights", "1"), "--random-weights is for ONNX outputs"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert command("fold", *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_nothing_is_converted_to_a_pair(tmp_path):
    with pytest.raises(bnfold.UsageError, match="a conversion writes only ONNX"):
        bnfold.convert_file(*CAFFE, out=tmp_path / "m.prototxt")


def test_a_dry_run_tells_what_the_pair_would_hold(tmp_path, capsys):
    assert command("fold", *DARKNET, "-o", tmp_path / "m.cfg", "--dry-run", "-q") == 0
    assert "folded=6 kept=0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_refused_pair_is_kept_under_another_name(tmp_path, capsys):
    words = ("fold", *DARKNET, "-o", tmp_path / "m.cfg", "--keep-failed", "--strict", "--noise-limit", "1e-9")
    assert command(*words, "-q") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.failed.cfg", "m.failed.weights"]


def test_a_pair_that_holds_something_else_is_not_put_in_place(tmp_path, monkeypatch):
    """What the writer wrote is read again, and every weight compared."""
    read = formats.read

    def spoilt(source, weights, options, *, pair=False):
        if pair and Path(source).parent != SAMPLES:
            data = np.fromfile(weights, np.uint8)
            data[-200] ^= 1
            data.tofile(weights)
        return read(source, weights, options, pair=pair)

    monkeypatch.setattr(formats, "read", spoilt)
    with pytest.raises(bnfold.NotEquivalent, match="does not hold the folded model"):
        bnfold.fold_file(*DARKNET, out=tmp_path / "m.cfg")
    assert not list(tmp_path.iterdir())


def test_which_output_asks_for_which_format():
    assert [asked(Path(name)) and asked(Path(name)).format for name in ("a.PROTOTXT", "a.cfg", "a.onnx")] == [
        "caffe",
        "darknet",
        None,
    ]
    assert asked(None) is None
    assert of_format("onnx") is None
    assert own_format.read_pair(*DARKNET, "darknet", "alexeyab", ReadOptions()).pair is not None
