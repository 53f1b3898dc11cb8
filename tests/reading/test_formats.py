"""The kind comes from the content; a name never decides against it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnfold.errors import Unreadable, UsageError
from bnfold.reading import formats
from bnfold.results.options import ReadOptions

from ..models import saved

PROTOTXT = b'name: "net"\ninput: "data"\nlayer { name: "c" type: "ReLU" bottom: "data" top: "c" }\n'
CFG = b"# a comment\n[net]\nwidth=8\nheight=8\nchannels=3\n\n[convolutional]\nfilters=4\n"


@pytest.mark.parametrize("name", ["net.onnx", "net.prototxt", "net.cfg", "net", "net.bin"])
def test_onnx_under_any_name(tmp_path: Path, name: str) -> None:
    assert formats.kind_of(saved(tmp_path, name=name)) == "onnx"


@pytest.mark.parametrize("name", ["net.onnx", "net.prototxt", "net.cfg", "net.txt"])
@pytest.mark.parametrize(("content", "expected"), [(PROTOTXT, "caffe"), (CFG, "darknet")])
def test_text_under_any_name(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert formats.kind_of(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("suffix", "expected"), [(".onnx", "onnx"), (".prototxt", "caffe"), (".cfg", "darknet")]
)
def test_the_extension_decides_where_content_cannot(tmp_path: Path, suffix: str, expected: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"\xff\xfe rubbish" if suffix == ".onnx" else b"# nothing but a comment\n")
    assert formats.kind_of(path) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04....", "export the model to ONNX"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
    ],
)
def test_files_that_people_give_by_mistake(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        formats.kind_of(tmp_path / "net.onnx")


def test_weights_in_place_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"\x0a\x03net\xa2\x06\x00\x00")
    with pytest.raises(Unreadable, match="network first"):
        formats.kind_of(tmp_path / "net.caffemodel")


def test_unknown_content_under_an_unknown_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"hello there\n")
    with pytest.raises(Unreadable, match="neither"):
        formats.kind_of(tmp_path / "notes.txt")


def test_no_file_a_folder_an_empty_file_a_null_byte(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    for path, words in (
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path, "folder"),
        (tmp_path / "empty.onnx", "empty"),
        (Path("a\0b.onnx"), "null"),
    ):
        with pytest.raises(Unreadable, match=words):
            formats.kind_of(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(Unreadable, match="regular file"):
        formats.kind_of(tmp_path / "pipe.onnx")


def test_weights_beside_an_onnx_model_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(UsageError, match="carries its weights"):
        formats.read(path, tmp_path / "net.caffemodel", ReadOptions())
    with pytest.raises(UsageError, match="path"):
        formats.read(path.read_bytes(), tmp_path / "net.caffemodel", ReadOptions())


@pytest.mark.parametrize(("network", "name"), [(CFG, "net.cfg"), (PROTOTXT, "net.prototxt")])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04....", "PyTorch"),
        (b"\x80\x02}q", "PyTorch"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        (b"<html>", "web page"),
    ],
)
def test_weights_that_people_give_by_mistake(
    tmp_path: Path, network: bytes, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(network)
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        formats.read(tmp_path / name, tmp_path / "w", ReadOptions())


@pytest.mark.parametrize(
    ("network", "name", "weights", "content", "words"),
    [
        (PROTOTXT, "net.prototxt", "net.weights", bytes(4) + b"\2" + bytes(40), r"darknet.*\.caffemodel"),
        (PROTOTXT, "net.prototxt", "w.bin", bytes(4) + b"\2" + bytes(40), r"darknet.*\.caffemodel"),
        (PROTOTXT, "net.prototxt", "w.weights", b"\1\0\0\0" + bytes(40), r"darknet.*\.caffemodel"),
        (CFG, "net.cfg", "net.caffemodel", b"\x0a\x03net\xa2\x06\x00", r"caffe.*\.weights"),
    ],
)
def test_weights_of_another_format_are_named(
    tmp_path: Path, network: bytes, name: str, weights: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(network)
    (tmp_path / weights).write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        formats.read(tmp_path / name, tmp_path / weights, ReadOptions())


def test_a_link_that_leads_nowhere_is_not_offered_in_its_own_place(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").symlink_to(tmp_path / "gone.onnx")
    with pytest.raises(Unreadable) as refused:
        formats.kind_of(tmp_path / "net.onnx")
    assert "did you mean" not in str(refused.value)
