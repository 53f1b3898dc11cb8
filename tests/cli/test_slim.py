"""`bnfold slim` on the command line: the last line, what is shown, and what is wrong usage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.results.stay_reasons import STAY_CODES

from ..slimming.nets import behind, values

Bnfold = Callable[..., Any]


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A padded reader keeps one of three dead channels."""
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32))
    path = tmp_path / "net.onnx"
    proto = behind("y = Conv<pads=[1,1,1,1]>(r, w2)", {"w2": values(4, 6, 3, 3)})
    path.write_bytes(proto.SerializeToString())
    return path


def test_the_exact_mode(bnfold: Bnfold, net: Path) -> None:
    done = bnfold("slim", net, "-o", "out.onnx", "--json", "r.json", "--report", "r.html")
    assert done.code == 0
    assert re.match(
        r"bnfold: PASS channels=2 of=10 noise=\S+ max_error=\S+ ep=cpu proved=6 seen=0 unseen=0", done.last
    )
    assert "stays: 1 channel of BatchNormalization 'b'" in done.out
    document = json.loads(Path("r.json").read_text())
    assert document["channels"] == {"gone": 2, "of": 10}
    assert [row["code"] for row in document["slimming"]["stays"]] == ["stays.padding"]
    assert "Channels of batch norms" in Path("r.html").read_text()
    assert bnfold("verify", net, "out.onnx").code == 0
    assert bnfold("report", "r.json").code == 0


def test_a_dry_run_writes_nothing(bnfold: Bnfold, net: Path) -> None:
    before = sorted(net.parent.iterdir())
    done = bnfold("slim", net, "--dry-run")
    assert (done.code, done.last) == (0, "bnfold: PASS channels=2 of=10 written=no")
    assert re.search(r"^ b +6 +3 +2 ", done.out, re.M), done.out
    done = bnfold("slim", net, "--dry-run", "--ratio", "0.9")
    assert (done.code, done.last) == (0, "bnfold: SLIMMED channels=5 of=10 written=no")
    assert sorted(net.parent.iterdir()) == before


def test_by_a_ratio(bnfold: Bnfold, net: Path) -> None:
    done = bnfold("slim", net, "--ratio", "0.7", "--inputs", "x.npy", "--runs", "1", "--warm-up", "1")
    assert done.code == 0
    assert re.match(r"bnfold: SLIMMED channels=4 of=10 agreement=(0\.\d+|1) error=\S+ noise=", done.last), (
        done.last
    )
    assert "recalibrate" in done.err
    for words in (
        "top-1 agreement",
        "output error",
        "MACs",
        "parameters",
        "file size",
        "onnxruntime   ratio",
    ):
        assert words in done.out
    assert bnfold("verify", net, "net.slim.onnx").code == 1


def test_recalibrated_in_one_go(bnfold: Bnfold, net: Path) -> None:
    more = ("--inputs", "x.npy", "--runs", "1", "--warm-up", "1", "--json", "r.json", "--report", "r.html")
    done = bnfold("slim", net, "--ratio", "0.7", "--recalibrate", "x.npy", *more)
    assert done.code == 0, done.err
    assert done.last.startswith("bnfold: SLIMMED channels=4 of=10 agreement=")
    assert done.last.endswith(" recalibrated=1")
    assert "estimates them again" not in done.err
    document = json.loads(Path("r.json").read_text())
    assert [row["node"] for row in document["recalibrated"]["layers"]] == ["b"]


def test_without_verification_and_quietly(bnfold: Bnfold, net: Path) -> None:
    done = bnfold("slim", net, "out.onnx", "--no-verify", "-q")
    assert (done.code, done.out, done.last) == (0, "", "bnfold: PASS channels=2 of=10 verified=no")


def test_onto_the_source(bnfold: Bnfold, net: Path) -> None:
    done = bnfold("slim", net, "-o", net)
    assert done.code == 0
    assert done.last.endswith("in_place=yes")
    assert bnfold("slim", net).last.startswith("bnfold: PASS channels=0 of=8")


def test_inspect_lists_channels(bnfold: Bnfold, net: Path) -> None:
    done = bnfold("inspect", net, "--json", "r.json")
    assert done.code == 0
    assert "dead" in done.out
    (row,) = json.loads(Path("r.json").read_text())["norms"]
    assert (row["channels"], row["dead"], row["gone"], sum(row["histogram"])) == (6, 3, 2, 6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--ratio 0.3", "--ratio without --inputs"),
        ("--below 0.3", "--below without --inputs"),
        ("--ratio nan --inputs x.npy", "--ratio cannot be 'nan'; expected a finite number, at least 0, at most 1"),
        ("--ratio 30 --inputs x.npy", "--ratio cannot be '30'"),
        ("--below -1 --inputs x.npy", "--below cannot be '-1'"),
        ("--ratio 0.3 --below 0.1 --inputs x.npy", "--ratio and --below; expected one of them"),
        ("--ratio 0.3 --inputs absent.npy", "absent.npy"),
        ("-o out.prototxt", "ONNX"),
        ("--dry-run --time", "--time with --dry-run"),
    ],
)  # fmt: skip
def test_wrong_usage(bnfold: Bnfold, net: Path, arguments: str, words: str) -> None:
    done = bnfold("slim", net, *arguments.split())
    assert done.code in (2, 3), done.last
    assert words in done.last
    assert sorted(p.name for p in net.parent.iterdir()) == ["net.onnx", "x.npy"]


def test_a_pattern_that_matches_nothing_is_said(bnfold: Bnfold, net: Path) -> None:
    assert "matches no node" in bnfold("slim", net, "--keep", "nothing*").err
    done = bnfold("slim", net, "--keep", "b", "--json", "r.json")
    assert done.last.startswith("bnfold: PASS channels=0")


def test_every_code_has_words() -> None:
    assert all(code.startswith("stays.") and words for code, words in STAY_CODES.items())
