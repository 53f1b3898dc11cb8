"""Files that a run reads and would write, however the call spells them: refused, or safe. No original is
lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import bnfold as api
from bnfold.errors import UsageError
from bnfold.pipeline.job import Job
from bnfold.results.options import VerifyOptions
from bnfold.results.plan import Loaded

from .running import SAMPLES, UNVERIFIABLE, bnfold, contents, digits, large, sentence

Spelling = Callable[[Path], Path]
REPORTS = ("--json", "--report", "--certificate")


def hard_link(path: Path) -> Path:
    other = path.with_name("hard.json")
    other.hardlink_to(path)
    return other


def link(path: Path) -> Path:
    other = path.with_name("link.json")
    other.symlink_to(path)
    return other


def folder_link(path: Path) -> Path:
    other = path.parent / "folder"
    other.symlink_to(path.parent)
    return other / path.name


def dots(path: Path) -> Path:
    return Path(f"{path.parent}/./x/../{path.name}") if (path.parent / "x").mkdir() is None else path


def relative(path: Path) -> Path:
    return Path(os.path.relpath(path))


SPELLINGS = (hard_link, link, folder_link, dots, relative)


def split(folder: Path) -> Path:
    """A model with external data."""
    large(folder / "net.onnx", 1, external=True)
    return folder / "net.onnx"


def test_in_place(tmp_path: Path) -> None:
    """What was asked for: the source is replaced by its own folded self, whole and verified; the data that it
    named stays."""
    source = split(tmp_path)
    data = (tmp_path / "net.data").read_bytes()
    assert bnfold("fold", source, "-o", source, "-q").code == 0
    assert (tmp_path / "net.data").read_bytes() == data
    assert bnfold("check", source).code == 0


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_in_place_under_another_name(tmp_path: Path, spelling: Spelling) -> None:
    source = digits(tmp_path)
    before = source.read_bytes()
    other = spelling(source)
    api.fold_file(source, out=other)
    assert not {"BatchNormalization"} & {
        node.op_type for node in onnx.load_from_string(other.read_bytes()).graph.node
    }
    assert (source.read_bytes() == before) == (spelling is hard_link)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_data_of_the_source_is_no_target(tmp_path: Path, spelling: Spelling) -> None:
    source = split(tmp_path)
    other, before = spelling(tmp_path / "net.data"), contents(tmp_path)
    for out in (tmp_path / "net.data", other):
        with pytest.raises(UsageError, match=r"would replace .*net\.data, which is read"):
            api.fold_file(source, out=out)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["digits.prototxt", "digits.caffemodel"])
@pytest.mark.parametrize("command", ["fold", "convert"])
def test_neither_network_nor_weights_are_targets(tmp_path: Path, command: str, name: str) -> None:
    for one in ("digits.prototxt", "digits.caffemodel"):
        shutil.copy(SAMPLES / one, tmp_path)
    before = contents(tmp_path)
    run = bnfold(command, tmp_path / "digits.prototxt", tmp_path / "digits.caffemodel", "-o", tmp_path / name)
    converted = (command, name) == ("convert", "digits.prototxt")  # refused whatever is there
    assert ("a conversion writes only ONNX" if converted else "which is read") in sentence(run, 2)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("flag", REPORTS)
def test_reports_go_nowhere_near_what_is_read(tmp_path: Path, flag: str) -> None:
    """The source under another name, its data, the inputs of verification, the model that is to be
    written."""
    out, source = tmp_path / "out", named_as_reports(tmp_path)
    before = contents(tmp_path)
    inputs = ("--inputs", f"x:{tmp_path / 'x.json'}")
    for target, also in (("model.json", ()), ("data.json", ()), ("x.json", inputs), ("out", ()))[
        : 4 if flag == "--json" else 2
    ]:
        said = sentence(bnfold("fold", source, "-o", out, flag, tmp_path / target, *also), 2)
        assert "which is read" in said or "one file" in said or "no text" in said
        assert contents(tmp_path) == before


@pytest.mark.parametrize("flag", REPORTS)
def test_nor_does_the_report_of_that_error(tmp_path: Path, flag: str) -> None:
    """Data that looks like text is found when the model has been read; what follows is an error, which has a
    report, too."""
    source = named_as_reports(tmp_path)
    data = tmp_path / "data.json"
    data.write_bytes(b"AB" * (data.stat().st_size // 2))
    before = contents(tmp_path)
    assert "data.json, which is read" in sentence(
        bnfold("fold", source, "-o", tmp_path / "out.onnx", flag, data), 2
    )
    assert contents(tmp_path) == before


def named_as_reports(folder: Path) -> Path:
    """A model and its data under names that reports could have, and a file of inputs."""
    split(folder)
    proto = onnx.load_from_string((folder / "net.onnx").read_bytes())
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "data.json" if entry.key == "location" else entry.value
    (folder / "net.data").rename(folder / "data.json")
    (folder / "net.onnx").unlink()
    (folder / "model.json").write_bytes(proto.SerializeToString())
    (folder / "x.json").write_bytes(b"no array")
    return folder / "model.json"


@pytest.mark.parametrize("command", ["fold", "convert", "inspect", "verify", "check"])
def test_a_network_is_text_and_read(tmp_path: Path, command: str) -> None:
    """Its content says what it is, whatever its name."""
    network = Path(shutil.copy(SAMPLES / "digits.prototxt", tmp_path / "net.txt"))
    before = contents(tmp_path)
    more = {"convert": ("-o", tmp_path / "out.onnx"), "verify": (SAMPLES / "digits.onnx",)}.get(command, ())
    run = bnfold(command, network, SAMPLES / "digits.caffemodel", *more, "--json", network)
    assert "--json would replace" in sentence(run, 2)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["r.json", "net.onnx", "weights.bin"])
def test_the_page_of_a_result_replaces_no_other_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "r.json").write_text("{}")
    shutil.copy(digits(tmp_path), tmp_path / "weights.bin")
    before = contents(tmp_path)
    said = sentence(bnfold("report", tmp_path / "r.json", "-o", tmp_path / name), 2)
    assert "would replace" in said or "has the name of a model" in said
    assert contents(tmp_path) == before


def test_two_reports_are_two_files(tmp_path: Path) -> None:
    source = digits(tmp_path)
    (tmp_path / "a.json").write_bytes(b"old")
    other = link(tmp_path / "a.json")
    assert "both write" in sentence(
        bnfold("fold", source, "--json", tmp_path / "a.json", "--report", other), 2
    )
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_what_is_kept_of_a_refused_model_replaces_no_source(tmp_path: Path) -> None:
    source = digits(tmp_path, "net.failed.onnx")
    before = source.read_bytes()
    run = bnfold("fold", source, "-o", tmp_path / "net.onnx", "--keep-failed", *UNVERIFIABLE)
    assert "which is read" in sentence(run, 2)
    assert contents(tmp_path) == {"net.failed.onnx": before}


@pytest.mark.parametrize(
    ("system", "name", "same"),
    [
        ("linux", "NET.JSON", False),
        ("darwin", "NET.JSON", True),
        ("win32", "Net.json", True),
        ("darwin", "ne\u0301t.json", False),
        ("linux", "nét.json", False),
    ],
)
def test_names_that_do_not_exist_yet_are_compared_as_the_system_does(
    tmp_path: Path, system: str, name: str, same: bool
) -> None:
    job = Job(source=tmp_path / "model.onnx", out=tmp_path / "net.json", others=(tmp_path / name,))
    if not same:
        job.check_targets(nothing(), system)
        return
    with pytest.raises(UsageError, match="one file"):
        job.check_targets(nothing(), system)


def test_accents_are_compared_as_macos_does(tmp_path: Path) -> None:
    job = Job(
        source=tmp_path / "model.onnx", out=tmp_path / "n\u00e9t.json", others=(tmp_path / "ne\u0301t.json",)
    )
    job.check_targets(nothing(), "linux")
    with pytest.raises(UsageError, match="one file"):
        job.check_targets(nothing(), "darwin")


def test_windows_does_not_let_go_of_a_file_that_is_read(tmp_path: Path) -> None:
    source = digits(tmp_path)
    job = Job(source=source, out=source, verify=VerifyOptions())
    read = Loaded(model=api.load(source), format="onnx", name="net", files=(source,))
    job.check_targets(read, "linux")
    with pytest.raises(UsageError, match="which is read"):
        job.check_targets(read, "win32")


def nothing() -> Loaded:
    return Loaded(model=None, format="onnx", name="net")  # type: ignore[arg-type]  # the model is not asked
