"""A source that another program writes to while it is read: never a model that mixes old and new, and a
sentence that says what happened.

The command line meets the change at a moment that the script sets: it runs as users start it, with one
function of the package taking a look outside first.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import bnfold as api

from .running import SAMPLES, contents, digits, large, python, sentence, started, whole_pair

OLD = b"the old one"
CHANGED = "changed while it was read"

# argv: module, function, what to do (Python, with `path`), the file, then the command line
MEANWHILE = """
import importlib, os, sys
name, function, action, path = sys.argv[1:5]
def work():
    module = importlib.import_module(name)
    real = getattr(module, function)
    def also(*given, **named):
        exec(action)
        return real(*given, **named)
    setattr(module, function, also)
    from bnfold.cli.main import run
    return run(sys.argv[5:])
from bnfold.cli.process import _clean
from bnfold.files.supervision import guarded
sys.exit(guarded(work, _clean))
"""
AT = {"before writing": ("bnfold.writing", "write"), "before verifying": ("bnfold.verifying", "compare")}
ACTIONS = {
    "shrinks": "os.truncate(path, os.path.getsize(path) // 2)",
    "is emptied": "os.truncate(path, 0)",
    "grows": "open(path, 'ab').write(bytes(100))",
    "is written to in place": "file = open(path, 'r+b'); file.seek(-2000, 2); file.write(bytes(64)); file.close()",
    "is replaced": "open(path + '.new', 'wb').write(open(path, 'rb').read()); os.replace(path + '.new', path)",
    "is removed": "os.remove(path)",
}


@pytest.mark.parametrize(
    ("action", "moment"),
    [
        *((action, "before writing") for action in ACTIONS),
        ("shrinks", "before verifying"),
        ("is written to in place", "before verifying"),
    ],
)
def test_a_source_that(tmp_path: Path, action: str, moment: str) -> None:
    source = large(tmp_path / "net.onnx", 5)
    (tmp_path / "out.onnx").write_bytes(OLD)
    run = python(
        MEANWHILE, *AT[moment], ACTIONS[action], source, "fold", source, "-o", tmp_path / "out.onnx", "-q"
    )
    assert CHANGED in sentence(run, 3)
    assert (tmp_path / "out.onnx").read_bytes() == OLD
    assert contents(tmp_path).keys() <= {"out.onnx", "net.onnx"}


@pytest.mark.parametrize(
    "options", [("fold",), ("convert",), ("fold", "--no-verify"), ("fold", "--external-data")], ids=" ".join
)
def test_every_way_of_writing(tmp_path: Path, options: tuple[str, ...]) -> None:
    source = digits(tmp_path)
    run = python(
        MEANWHILE,
        *AT["before writing"],
        ACTIONS["is written to in place"],
        source,
        *options,
        source,
        "-o",
        tmp_path / "out.onnx",
    )
    assert f"net.onnx: {CHANGED}" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx"}


@pytest.mark.parametrize("action", ["shrinks", "is written to in place"])
def test_the_data_file_of_a_source(tmp_path: Path, action: str) -> None:
    source = large(tmp_path / "net.onnx", 5, external=True)
    run = python(
        MEANWHILE,
        *AT["before writing"],
        ACTIONS[action],
        tmp_path / "net.data",
        "fold",
        source,
        "-o",
        tmp_path / "out.onnx",
        "--no-verify",
        "-q",
    )
    assert CHANGED in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx", "net.data"}


@pytest.mark.parametrize("weights", ["digits.caffemodel", "digits.weights"])
def test_weights_of_other_formats(tmp_path: Path, weights: str) -> None:
    network = {"digits.caffemodel": "digits.prototxt", "digits.weights": "digits.cfg"}[weights]
    for name in (network, weights):
        shutil.copy(SAMPLES / name, tmp_path)
    run = python(
        MEANWHILE,
        *AT["before writing"],
        ACTIONS["is written to in place"],
        tmp_path / weights,
        "fold",
        tmp_path / network,
        tmp_path / weights,
        "-o",
        tmp_path / "out.onnx",
    )
    assert f"{weights}: {CHANGED}" in sentence(run, 3)
    assert contents(tmp_path).keys() == {network, weights}


def test_a_certificate_names_what_was_folded(tmp_path: Path) -> None:
    """The source changes after the model is in place and before the certificate takes its hash: no
    certificate of another file."""
    source = digits(tmp_path)
    run = python(
        MEANWHILE,
        "bnfold.gate.certificate",
        "_libraries",
        ACTIONS["grows"],
        source,
        "fold",
        source,
        "-o",
        tmp_path / "out.onnx",
        "--certificate",
        tmp_path / "out.cert.json",
    )
    assert f"net.onnx: {CHANGED}" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx", "out.onnx"}


def test_an_error_of_the_change_is_told_as_the_change(tmp_path: Path) -> None:
    """Half a file looks malformed; that is not what the user has to know."""
    source = digits(tmp_path)
    action = ACTIONS["shrinks"] + "; raise ValueError('nonsense')"
    run = python(MEANWHILE, "bnfold.reading.onnx.reader", "check_door", action, source, "fold", source)
    assert f"net.onnx: {CHANGED}" in sentence(run, 3)


def test_cut_at_any_moment(tmp_path: Path) -> None:
    """No moment chosen: a 24 MB file is cut while a run goes on, 6 times at even distances."""
    whole = large(tmp_path / "whole.onnx")
    out, source = tmp_path / "out.onnx", tmp_path / "net.onnx"
    shutil.copy(whole, source)
    begun = time.monotonic()
    assert started("fold", source, "-o", out, "-q").wait(60) == 0
    length = time.monotonic() - begun
    new, codes = out.read_bytes(), []
    for number in range(6):
        shutil.copy(whole, source)
        out.write_bytes(OLD)
        process = started("fold", source, "-o", out, "-q")
        time.sleep(length * (0.3 + 0.12 * number))
        os.truncate(source, 1 << 20)
        err = process.communicate(timeout=60)[1].decode()
        codes.append(process.returncode)
        assert process.returncode in (0, 3), err
        assert process.returncode == 0 or CHANGED in err or "needs" in err or "cut" in err, err
        assert out.read_bytes() == (OLD if process.returncode else new)
    assert 3 in codes
    assert contents(tmp_path).keys() == {"whole.onnx", "net.onnx", "out.onnx"}


def test_in_python(tmp_path: Path) -> None:
    """Between `load` and `save` everything may happen. What was replaced stays readable; what was written to
    does not."""
    source = large(tmp_path / "net.onnx", 5, external=True)
    replaced, changed = api.load(source), api.load(source)
    shutil.copy(tmp_path / "net.data", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "net.data")
    api.save(replaced, tmp_path / "one.onnx", external_data=True)
    whole_pair(tmp_path / "one.onnx")
    changed = api.load(source)
    with (tmp_path / "net.data").open("r+b") as file:
        file.write(b"other")
    with pytest.raises(api.BnfoldError, match=CHANGED):
        api.save(changed, tmp_path / "two.onnx")
    with pytest.raises(api.BnfoldError, match=CHANGED):
        api.verify(changed, tmp_path / "one.onnx")
    assert not (tmp_path / "two.onnx").exists()


def test_a_source_that_is_left_alone_is_folded_into_itself(tmp_path: Path) -> None:
    """The result is a change of the source, too, and the one that was asked for."""
    source = digits(tmp_path)
    result = api.fold_file(source, out=source)
    assert result.plan.batch_norms == (6, 0)
    api.save(result.model, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == source.read_bytes()
