"""Which models are meant, and what their outputs are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnfold.batch.output_names import names
from bnfold.errors import Unreadable, UsageError
from bnfold.files.discovery import Found, gathered, suffix, with_suffix


def files(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def found(folder: Path, *given: str) -> list[tuple[str, str | None]]:
    return [
        (os.path.relpath(one.network, folder), one.weights and os.path.relpath(one.weights, folder))
        for one in gathered([os.fspath(folder / place) for place in given])
    ]


def test_folders_patterns_and_pairs(tmp_path: Path) -> None:
    files(
        tmp_path,
        "a/x.onnx",
        "a/b/y.cfg",
        "a/b/y.weights",
        "a/alone.cfg",
        "a/readme.txt",
        "c/z.prototxt",
        "c/other.caffemodel",
        ".bnfold-x/half.onnx",
        "a/.bnfold-y/half.onnx",
    )
    assert found(tmp_path, "a") == [("a/b/y.cfg", "a/b/y.weights"), ("a/x.onnx", None)]
    assert found(tmp_path, "c/z.prototxt", "c/other.caffemodel", "a/*.onnx") == [
        ("c/z.prototxt", "c/other.caffemodel"),
        ("a/x.onnx", None),
    ]
    assert found(tmp_path, "a/x.onnx", "a", "a/x.onnx") == [
        ("a/x.onnx", None),
        ("a/b/y.cfg", "a/b/y.weights"),
    ]
    for wrong, error in (("nothing*.onnx", UsageError), ("c/other.caffemodel", UsageError)):
        with pytest.raises(error):
            found(tmp_path, wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreadable):
        found(tmp_path, "empty")


def named(*models: str, root: str = "", given: tuple[str, ...] = ()) -> list[str]:
    return names([Found(model, None, root) for model in models], given)


def test_folders_are_mirrored() -> None:
    assert named("/zoo/a/net.onnx", "/zoo/b/net.cfg", root="/zoo") == ["a/net", "b/net"]
    assert named("s3://zoo/a/net.onnx", root="s3://zoo") == ["a/net"]
    assert named("/zoo/a/net.onnx") == ["net"]


def test_who_would_share_a_name_is_told_apart() -> None:
    assert named("/x/a/net.onnx", "/x/b/net.onnx", "/x/other.onnx") == ["a/net", "b/net", "other"]
    assert named("d/digits.onnx", "d/digits.cfg", "d/digits.prototxt") == [
        "digits",
        "digits.cfg",
        "digits.prototxt",
    ]
    assert named("http://h/a/net.onnx?x=1", "http://h/b/net.onnx?x=1") == ["a/net", "b/net"]


def test_given_names_stand_and_others_do_not_take_them() -> None:
    assert named("/x/a.onnx", "/x/b.cfg", given=("b", "")) == ["b", "b.cfg"]
    assert named("/x/a.onnx", "/y/b.cfg", given=("deep/er", "")) == ["deep/er", "b"]
    with pytest.raises(UsageError, match=r"/x/a.onnx and /y/b.onnx would both become one.onnx"):
        named("/x/a.onnx", "/y/b.onnx", given=("one", "one"))


def test_suffixes_of_urls() -> None:
    assert suffix("https://host/a.b/net.ONNX?sig=x.y") == ".onnx"
    assert with_suffix("s3://zoo/a/yolo.v3.cfg", ".weights") == "s3://zoo/a/yolo.v3.weights"
    assert with_suffix("https://host/net.cfg?sig=1", ".weights") == "https://host/net.weights"
