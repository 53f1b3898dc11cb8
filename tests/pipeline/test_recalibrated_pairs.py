"""New statistics in the model's own format: they stand where the old ones stood, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnfold
from bnfold.cli.main import run
from bnfold.files.protobuf import bytes_field

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CAFFE = (SAMPLES / "digits.prototxt", SAMPLES / "digits.caffemodel")
DARKNET = (SAMPLES / "digits.cfg", SAMPLES / "digits.weights")
INPUTS = SAMPLES / "digits_inputs.npz"
PAIRS = [(CAFFE, "prototxt", "caffemodel"), (DARKNET, "cfg", "weights")]


def command(*words: object) -> int:
    return run([str(word) for word in words])


@pytest.mark.parametrize(("files", "end", "weights"), PAIRS)
def test_the_text_stays_and_the_statistics_are_those_of_the_onnx_model(tmp_path, files, end, weights):
    out = tmp_path / f"new.{end}"
    assert command("recalibrate", *files, "--inputs", INPUTS, "-o", out, "-q") == 0
    assert out.read_bytes() == files[0].read_bytes()
    written = bnfold.load(out, tmp_path / f"new.{weights}")
    wanted = bnfold.recalibrate(bnfold.load(*files), INPUTS).model
    assert bnfold.verify(wanted, written)
    for mine, its in zip(wanted.graph, written.graph, strict=True):
        if mine.op_type == "BatchNormalization":
            for a, b in zip(mine.inputs[1:], its.inputs[1:], strict=True):
                assert np.array_equal(a.const_value.numpy(), b.const_value.numpy())


@pytest.mark.parametrize(("files", "end", "weights"), PAIRS)
def test_folded_at_once(tmp_path, capsys, files, end, weights):
    out = tmp_path / f"new.{end}"
    assert command("fold", *files, "--recalibrate", INPUTS, "-o", out, "-q") == 0
    assert " kept=0 " in capsys.readouterr().err
    wanted = bnfold.recalibrate(bnfold.load(*files), INPUTS).model
    assert bnfold.verify(wanted, bnfold.load(out, tmp_path / f"new.{weights}"))


@pytest.mark.parametrize(("files", "end", "weights"), PAIRS)
def test_what_is_kept_has_new_statistics_too(tmp_path, files, end, weights):
    out = tmp_path / f"new.{end}"
    words = ("--keep", "*", "--recalibrate", INPUTS, "-o", out, "-q")
    assert command("fold", *files, *words) == 0
    wanted = bnfold.recalibrate(bnfold.load(*files), INPUTS).model
    written = bnfold.load(out, tmp_path / f"new.{weights}")
    assert [node.op_type for node in written.graph] == [node.op_type for node in wanted.graph]
    assert bnfold.verify(wanted, written)


def test_the_factor_of_caffe_becomes_one(tmp_path):
    """The sample stores sums, to be divided by 10."""
    out = tmp_path / "new.prototxt"
    command("recalibrate", *CAFFE, "--inputs", INPUTS, "-o", out, "-q")
    again = bnfold.recalibrate(bnfold.load(out, tmp_path / "new.caffemodel"), INPUTS)
    assert again.statistics.moved < 1e-5


SHARED = """[net]
height=4
width=4
channels=2
batch=1

[convolutional]
batch_normalize=1
filters=2
size=1
activation=relu

[convolutional]
batch_normalize=1
filters=2
size=1
activation=linear
share_index=0
"""
SIAMESE = """
input: "a" input_shape { dim: 4 dim: 2 dim: 3 dim: 3 }
layer { name: "bn" type: "BatchNorm" bottom: "a" top: "b" }
layer { name: "p" type: "ReLU" bottom: "b" top: "c" }
layer { name: "bn2" type: "BatchNorm" bottom: "c" top: "d" %s }
"""


@pytest.mark.parametrize("factor", [0.5, 1.0, 0.0])
def test_shared_names_of_caffe_are_untied(tmp_path, factor):
    net = tmp_path / "net.prototxt"
    ties = 'param { name: "m" } param { name: "v" } param { name: "f" }'
    text = SIAMESE.replace('top: "b" }', f'top: "b" {ties} }}') % ties
    net.write_text(text)
    caffemodel(tmp_path / "net.caffemodel", ("bn", "bn2"), factor)
    x = np.random.default_rng(0).normal(1, 2, (64, 2, 3, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "out.prototxt"
    assert command("recalibrate", net, "--inputs", tmp_path / "x.npy", "-o", out, "-q") == 0
    first, second = (
        [value.const_value.numpy() for value in node.inputs[3:5]]
        for node in bnfold.load(out, tmp_path / "out.caffemodel").graph
        if node.op_type == "BatchNormalization"
    )
    assert np.allclose(first, [x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))], atol=1e-5)
    assert not np.allclose(first, second)


def caffemodel(path: Path, names: tuple[str, ...], factor: float) -> None:
    """BatchNorm layers with statistics that are divided by a factor."""

    def blob(*values: float) -> bytes:
        shape = bytes_field(7, bytes_field(1, bytes([len(values)])))
        return bytes_field(7, shape + bytes_field(5, np.array(values, np.float32).tobytes()))

    blobs = blob(0.1, 0.2) + blob(0.5, 0.6) + blob(factor)
    layers = [bytes_field(1, name.encode()) + bytes_field(2, b"BatchNorm") + blobs for name in names]
    path.write_bytes(b"".join(bytes_field(100, layer) for layer in layers))


def test_arrays_that_darknet_shares_cannot_differ(tmp_path, capsys):
    (tmp_path / "net.cfg").write_text(SHARED)
    values = np.abs(np.random.default_rng(0).normal(size=2 * 4 + 4)).astype(np.float32) + 0.5
    (tmp_path / "net.weights").write_bytes(np.array([0, 2, 0, 0, 0], np.int32).tobytes() + values.tobytes())
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(40, 2, 4, 4)).astype(np.float32))
    words = ("recalibrate", tmp_path / "net.cfg", "--inputs", tmp_path / "x.npy", "-q", "-o")
    code = command(*words, tmp_path / "out.cfg")
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 2, last
    assert "out.cfg cannot hold the statistics" in last
    assert "ends in .onnx" in last
    assert not (tmp_path / "out.cfg").exists()
    assert command(*words, tmp_path / "out.onnx") == 0


def test_a_section_under_its_other_name(tmp_path, capsys):
    text = SHARED.partition("share_index")[0].replace("[convolutional]", "[conv]", 1)
    (tmp_path / "net.cfg").write_text(text)
    values = np.abs(np.random.default_rng(0).normal(size=2 * 12)).astype(np.float32)
    (tmp_path / "net.weights").write_bytes(np.array([0, 2, 0, 0, 0], np.int32).tobytes() + values.tobytes())
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(40, 2, 4, 4)).astype(np.float32))
    words = ("recalibrate", tmp_path / "net.cfg", "--inputs", tmp_path / "x.npy", "-q", "-o")
    code = command(*words, tmp_path / "out.cfg")
    assert code == 0, capsys.readouterr().err


def test_a_text_that_asks_for_batch_statistics(tmp_path, capsys):
    words = ("--inputs", INPUTS, "--assume-global-stats", "-o", tmp_path / "out.prototxt")
    assert command("recalibrate", *CAFFE, *words) == 2
    assert "--assume-global-stats with out.prototxt" in capsys.readouterr().err
