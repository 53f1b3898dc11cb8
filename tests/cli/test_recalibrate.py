"""`bnfold recalibrate` and `bnfold fold --recalibrate` as a script sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from ..models import model, saved
from ..recalibrating.nets import CHAIN, data, plain_chain, stored
from .conftest import Ran

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
Bnfold = Callable[..., Ran]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return saved(tmp_path, CHAIN)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", data())
    return tmp_path / "x.npy"


def test_it_writes_beside_the_model_and_says_so_in_the_last_line(
    bnfold: Bnfold, tmp_path: Path, net: Path, inputs: Path
) -> None:
    done = bnfold("recalibrate", net, "--inputs", inputs)
    assert done.code == 0
    assert re.fullmatch(r"bnfold: RECALIBRATED layers=2 inputs=40 moved=\d[\d.e+-]*", done.last)
    made = onnx.load(tmp_path / "net.recalibrated.onnx")
    for name, values in plain_chain(model(CHAIN), data()).items():
        assert np.allclose(stored(made, name), values, rtol=1e-6, atol=1e-6)
    assert "this is no fold" in done.out
    assert {p.name for p in tmp_path.iterdir()} == {"net.onnx", "x.npy", "net.recalibrated.onnx"}


@pytest.mark.parametrize("one_pass", [False, True])
def test_quiet_leaves_the_last_line_alone(bnfold: Bnfold, net: Path, inputs: Path, one_pass: bool) -> None:
    done = bnfold("recalibrate", net, "--inputs", inputs, "-q", *["--one-pass"] * one_pass)
    assert (done.out, len(done.err.splitlines())) == ("", 1)


def test_several_files_may_follow_each_other(bnfold: Bnfold, tmp_path: Path, net: Path) -> None:
    for number, part in enumerate(np.split(data(), 4)):
        np.save(tmp_path / f"{number}.npy", part)
    files = sorted(tmp_path.glob("?.npy"))
    done = bnfold("recalibrate", net, "--inputs", *files, "-o", tmp_path / "out.onnx")
    assert "inputs=40" in done.last
    assert np.allclose(
        stored(onnx.load(tmp_path / "out.onnx"), "m"), plain_chain(model(CHAIN), data())["m"], atol=1e-6
    )


def test_the_model_itself_may_be_the_output(bnfold: Bnfold, net: Path, inputs: Path) -> None:
    done = bnfold("recalibrate", net, "--inputs", inputs, "-o", net)
    assert done.last.endswith("in_place=yes")
    assert np.allclose(stored(onnx.load(net), "m"), plain_chain(model(CHAIN), data())["m"], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "no inputs are given"),
        (["--inputs", "none.npy"], 3, "none.npy"),
        (["--inputs", "empty"], 3, "the folder has no images"),
        (["--inputs", "y:x.npy"], 2, "names 'y', which is no input"),
        (["--inputs", "text.txt"], 2, "cannot read inputs from"),
        (["--inputs", "x.npy", "-o", "x.npy"], 2, "x.npy"),
        (["--inputs", "x.npy", "--json", "x.npy"], 2, "would replace"),
        (["--inputs", "wrong.npy"], 3, "wrong.npy: the array has the shape"),
        (["--inputs", "none_at_all.npy"], 3, "it holds no row"),
        (["--inputs", "complex.npy"], 3, "complex"),
        (["--inputs", "broken.npz"], 3, "broken.npz"),
        (["--inputs", "x.npy", "--batch-size", "0"], 2, "--batch-size"),
        (["--inputs", "x.npy", "--layout", "NHWC"], 2, "--layout is for inputs that are images"),
        (["--inputs", "nan.npy"], 3, "nan.npy: input 7 holds a number that is not finite (nan)"),
    ],
)
def test_mistakes_are_named(
    bnfold: Bnfold,
    tmp_path: Path,
    net: Path,
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.txt").write_text("hello")
    Path("broken.npz").write_bytes(b"PK\x03\x04 no archive")
    np.save("wrong.npy", np.zeros((2, 4, 6, 6), np.float32))
    np.save("none_at_all.npy", data()[:0])
    np.save("complex.npy", data().astype(complex))
    spoiled = data()
    spoiled[7, 0, 0, 0] = np.nan
    np.save("nan.npy", spoiled)
    before = {p.name for p in tmp_path.iterdir()}
    done = bnfold("recalibrate", net, *arguments)
    assert done.code == code, done.err
    assert words in done.last
    assert done.last.startswith(f"bnfold: ERROR code={code} ")
    assert {p.name for p in tmp_path.iterdir()} == before


def test_training_mode_is_said_loudly_and_folds(bnfold: Bnfold, tmp_path: Path, inputs: Path) -> None:
    proto = model(CHAIN)
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.append(helper.make_attribute("training_mode", 1))
            node.output.extend([f"{node.name}_rm", f"{node.name}_rv"])
    path = tmp_path / "trains.onnx"
    path.write_bytes(proto.SerializeToString())
    assert "kept=2" in bnfold("fold", path, "-o", tmp_path / "kept.onnx").last
    done = bnfold("fold", path, "--recalibrate", inputs, "-o", tmp_path / "out.onnx")
    assert done.code == 0
    assert "warning: 2 of 2 batch norms were exported in training mode" in done.err
    assert "folded=2 kept=0" in done.last
    assert "recalibrated=2" in done.last


def test_fold_does_both(bnfold: Bnfold, tmp_path: Path, net: Path, inputs: Path) -> None:
    one = bnfold(
        "fold", net, "--recalibrate", inputs, "-o", tmp_path / "one.onnx", "--json", tmp_path / "r.json"
    )
    assert one.code == 0
    bnfold("recalibrate", net, "--inputs", inputs, "-o", tmp_path / "two.onnx")
    bnfold("fold", tmp_path / "two.onnx", "-o", tmp_path / "two.folded.onnx")
    x = {"x": data(3, seed=5)}
    ways = [
        onnxruntime.InferenceSession(tmp_path / name).run(None, x)[0]
        for name in ("one.onnx", "two.folded.onnx", "two.onnx")
    ]
    assert np.allclose(ways[0], ways[1], atol=1e-6)
    assert np.allclose(ways[0], ways[2], rtol=1e-3, atol=1e-4)
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["recalibrated"]["inputs"] == 40
    assert document["verification"]["equivalent"] is True


def test_a_dry_run_recalibrates_too(bnfold: Bnfold, net: Path, inputs: Path) -> None:
    done = bnfold("fold", net, "--recalibrate", inputs, "--dry-run")
    assert "recalibrated=2" in done.last
    assert done.last.endswith("written=no")


@pytest.mark.parametrize("option", [["--one-pass"], ["--batch-size", "3"]])
def test_options_without_data_are_said(bnfold: Bnfold, net: Path, option: list[str]) -> None:
    assert f"{option[0]} has no effect without --recalibrate" in bnfold("fold", net, *option).err


def test_strict_makes_errors_of_warnings(bnfold: Bnfold, tmp_path: Path, net: Path) -> None:
    np.save(tmp_path / "few.npy", data(3))
    done = bnfold("recalibrate", net, "--inputs", tmp_path / "few.npy", "--strict")
    assert done.code == 3
    assert "fewer than 32" in done.last
    assert not (tmp_path / "net.recalibrated.onnx").exists()


def test_the_document_has_everything(bnfold: Bnfold, net: Path, inputs: Path) -> None:
    done = bnfold("recalibrate", net, "--inputs", inputs, "--json", "-")
    document = json.loads(done.out)
    assert (document["command"], document["verdict"]) == ("recalibrate", "PASS")
    found = document["recalibrated"]
    assert (found["inputs"], found["passes"], len(found["layers"])) == (40, 2, 2)
    assert len(found["layers"][0]["means"]) == 4


def test_a_batch_recalibrates_by_its_manifest(
    bnfold: Bnfold, tmp_path: Path, net: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zoo.toml").write_text("[[model]]\nmodel = 'net.onnx'\nrecalibrate = 'x.npy'\none-pass = true\n")
    words = ("batch", "zoo.toml", "-o", "out", "--jobs", "1")
    assert "folded" in bnfold(*words).out
    record = json.loads(next(Path("out").rglob("*.json")).read_text())
    assert record["recalibrated"]["one_pass"] is True
    assert record["recalibrated"]["inputs"] == 40
    assert "unchanged=1" in bnfold(*words).last
    np.save(inputs, data(50))
    assert "passed=1" in bnfold(*words).last


# -- the sample


def accuracy(path: Path) -> float:
    x = np.load(SAMPLES / "digits_inputs.npz")["data"]
    session = onnxruntime.InferenceSession(path)
    batch = session.get_inputs()[0].shape[0]
    batches = np.split(x, len(x) // batch) if isinstance(batch, int) else [x]
    scores = np.concatenate([session.run(None, {"data": one})[0] for one in batches])
    return float((scores.reshape(len(x), -1).argmax(axis=1) == np.load(SAMPLES / "digits_labels.npy")).mean())


def test_a_trained_network_gets_its_accuracy_back(bnfold: Bnfold, tmp_path: Path) -> None:
    proto = onnx.load(SAMPLES / "digits.onnx")
    good = accuracy(SAMPLES / "digits.onnx")
    random = np.random.default_rng(0)
    statistics = {
        name for n in proto.graph.node if n.op_type == "BatchNormalization" for name in n.input[3:5]
    }
    for tensor in proto.graph.initializer:
        if tensor.name in statistics:
            values = numpy_helper.to_array(tensor)
            spoiled = np.abs(values) * random.uniform(0.1, 10, values.shape) + random.uniform(0, 0.5)
            tensor.CopyFrom(numpy_helper.from_array(spoiled.astype(np.float32), tensor.name))
    onnx.save(proto, tmp_path / "spoiled.onnx")
    assert accuracy(tmp_path / "spoiled.onnx") < 0.7
    for way in ([], ["--one-pass"]):
        bnfold(
            "recalibrate",
            tmp_path / "spoiled.onnx",
            "--inputs",
            SAMPLES / "digits_inputs.npz",
            "-o",
            tmp_path / "back.onnx",
            *way,
        )
        assert accuracy(tmp_path / "back.onnx") >= good - 0.01


@pytest.mark.parametrize(
    "files", [["digits.onnx"], ["digits.prototxt", "digits.caffemodel"], ["digits.cfg", "digits.weights"]]
)
def test_all_three_formats_come_to_the_same(bnfold: Bnfold, tmp_path: Path, files: list[str]) -> None:
    done = bnfold(
        "recalibrate",
        *(SAMPLES / name for name in files),
        "--inputs",
        SAMPLES / "digits_inputs.npz",
        "-o",
        tmp_path / "out.onnx",
    )
    assert "layers=6 inputs=450" in done.last
    assert accuracy(tmp_path / "out.onnx") >= 0.99
