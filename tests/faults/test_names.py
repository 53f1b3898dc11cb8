"""Odd names of files: each is a file like any other, and what is written under it can be read again.

Most go through Python's doors, which are the same functions and quick; the worst go through the command line,
whose arguments and lines are a danger of their own.
"""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

import bnfold as api

from .running import bnfold, contents, data_of, digits, sentence, whole_pair

ODD = {
    "spaces": " a net  with spaces ",
    "quotes": 'it\'s "quoted" `$(net)`',
    "newlines": "first\nsecond\r\n",
    "tabs": "a\tb",
    "a leading dash": "-net",
    "two dashes": "--help",
    "an option": "--json=x",
    "only dots": "...",
    "hidden": ".net",
    "a Windows drive": "C:net",
    "a Windows path": "C:\\net\\x",
    "a URL": "https:net",
    "a glob": "*[a]?",
    "a variable": "%PATH%$HOME",
    "composed": unicodedata.normalize("NFC", "modèle-naïf"),
    "decomposed": unicodedata.normalize("NFD", "modèle-naïf"),
    "Chinese": "模型",
    "right to left": "\u202eledom\u202c",
    "emoji": "🧠" * 20,
    "markup": "[red]net[bold]<b>&amp;",
    "control": "a\x1b[31m\x07b",
    "a device of Windows": "NUL",
    "longest": "x" * 240,
    "longest in bytes": "模" * 80,
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_in_and_out(tmp_path: Path, name: str) -> None:
    """Folded with its data beside it, read back from there, and into itself."""
    source = digits(tmp_path, f"{name}.onnx")
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / source.name
    result = api.fold_file(source, out=out, external_data=True)
    assert result.report is not None
    assert result.report.providers[0].engine == "onnxruntime"
    assert result.path == out
    whole_pair(out)
    assert len(contents(out.parent)) == 2
    again = api.convert_file(out, out=out)
    assert again.before.parameters == result.after.parameters
    assert api.verify(source, out)


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_folder_of_that_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert api.fold_file(digits(folder), external_data=True).report
    assert len(contents(folder)) == 3


WORST = [b"-n\xffet \n\"'.onnx", "--json $(x) 模型.onnx".encode(), b"\xff\xfe.onnx"]


@pytest.mark.parametrize("name", WORST, ids=repr)
def test_on_the_command_line(tmp_path: Path, name: bytes) -> None:
    """Bytes that are no text included; reports are pure text all the same."""
    where = os.fsencode(tmp_path)
    source = digits(tmp_path, os.fsdecode(name))
    (tmp_path / "out").mkdir()
    out = where + b"/out/" + name
    run = bnfold(
        "fold",
        "--certificate",
        where + b"/c.json",
        "--json",
        where + b"/r.json",
        "--report",
        where + b"/r.html",
        "-o",
        out,
        "--external-data",
        "--",
        os.fsencode(source.name),
        cwd=tmp_path,
    )
    assert "noise=" in sentence(run, 0)
    document = json.loads((tmp_path / "r.json").read_bytes())
    assert os.fsencode(document["output"]["path"]) == out
    (tmp_path / "r.html").read_text(encoding="utf-8")
    whole_pair(Path(os.fsdecode(out)))
    assert sentence(bnfold("check", b"./out/" + name, cwd=tmp_path), 0)
    assert sentence(bnfold("audit", where + b"/c.json", b"./out/" + name, b"./" + name, cwd=tmp_path), 0)


def test_a_folder_that_is_no_text(tmp_path: Path) -> None:
    """Verified by onnxruntime all the same, which takes nothing but text."""
    folder = tmp_path / os.fsdecode(b"f\xff")
    folder.mkdir()
    source = digits(folder, os.fsdecode(b"n\xfe.onnx"))
    api.fold_file(source, out=folder / "a.onnx", external_data=True)
    result = api.fold_file(source, out=folder / os.fsdecode(b"b\xfd.onnx"), external_data=True)
    assert result.report is not None
    assert [p.engine for p in result.report.providers] == ["onnxruntime"]
    assert api.verify(source, folder / "a.onnx").providers[0].engine == "onnxruntime"


def test_a_name_without_the_marker_of_its_end_is_an_option(tmp_path: Path) -> None:
    digits(tmp_path, "--net.onnx")
    assert "No such option" in sentence(bnfold("fold", "--net.onnx", cwd=tmp_path), 2)
    assert sentence(bnfold("fold", "./--net.onnx", "-q", cwd=tmp_path), 0)


@pytest.mark.parametrize("name", ["C:\\net.onnx", "\\\\server\\share\\net.onnx", "NUL"])
def test_what_is_no_path_here_is_no_file(tmp_path: Path, name: str) -> None:
    assert "cannot be read (no such file or directory)" in sentence(bnfold("fold", name, cwd=tmp_path), 3)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("url", ["https://example.org/net.onnx", "file:///net.onnx", "s3://nets/net.onnx"])
@pytest.mark.parametrize("command", ["fold", "inspect", "verify", "check", "convert"])
def test_a_url_is_named_as_it_was_given(tmp_path: Path, command: str, url: str) -> None:
    said = sentence(bnfold(command, url, cwd=tmp_path), 2)
    assert f"{url} is a URL, and 'bnfold {command}' takes files; download it first" in said
    assert contents(tmp_path) == {}


def test_a_name_of_all_the_bytes_there_are(tmp_path: Path) -> None:
    """255 bytes are the limit of common file systems: with them bnfold writes, its own names are shorter;
    beyond them it says so."""
    source = digits(tmp_path)
    (tmp_path / "out").mkdir()
    longest = tmp_path / "out" / ("n" * 250 + ".onnx")
    run = bnfold("fold", source, "-o", longest, "--external-data")
    assert sentence(run, 0)
    assert data_of(longest.read_bytes()) in contents(longest.parent)
    said = sentence(bnfold("fold", longest, "--no-verify"), 3)
    assert said.endswith("cannot be written (file name too long)")


def test_a_path_longer_than_the_system_takes(tmp_path: Path) -> None:
    """Beyond 4096 bytes a file is still reachable from its folder."""
    folder = tmp_path
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 240, dir_fd=descriptor)
        below = os.open("d" * 240, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    deep = Path(f"/proc/self/fd/{descriptor}")
    digits(deep)
    run = bnfold(
        "fold",
        "net.onnx",
        "-o",
        "out.onnx",
        "--no-verify",
        preexec_fn=lambda: os.fchdir(descriptor),
        cwd=None,
    )
    left = {file.name for file in deep.iterdir()}
    os.close(descriptor)
    if run.code:
        assert "file name too long" in sentence(run, 3)
    assert left == ({"net.onnx"} if run.code else {"net.onnx", "out.onnx"})
