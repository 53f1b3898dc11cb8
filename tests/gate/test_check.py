"""The CI gate: every violation of every model is listed, under codes that stay."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import bnfold
from bnfold.cli.main import run
from bnfold.errors import Unreadable, UsageError
from bnfold.gate import check
from bnfold.results.check_rules import RULEBOOK
from bnfold.results.fold_result import Violation

from ..certified import certify, sample
from ..models import CONV_BN_RELU, RELU_BN, TWO_BLOCKS, saved


def silent(_: str) -> None:
    pass


def codes(path: Path, policy: check.Policy | None = None) -> list[str]:
    return [v.code for v in check.check(path, None, policy or check.Policy(), silent).violations]


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    found = bnfold.fold_file(saved(tmp_path, TWO_BLOCKS), out=tmp_path / "folded.onnx").path
    assert found is not None
    return found


def test_a_folded_model_is_fine(folded: Path) -> None:
    assert codes(folded) == []


def test_each_foldable_batch_norm_is_named(tmp_path: Path) -> None:
    checked = check.check(saved(tmp_path, TWO_BLOCKS), None, check.Policy(), silent)
    assert [v.code for v in checked.violations] == ["check.foldable"] * 2
    assert checked.code == 1
    assert "BatchNormalization_n" in checked.violations[0].text
    assert "net.onnx#1" in checked.violations[0].where


def test_a_batch_norm_that_must_stay_is_fine_unless_the_policy_says_otherwise(tmp_path: Path) -> None:
    path = saved(tmp_path, RELU_BN)
    assert codes(path) == []
    assert codes(path, check.Policy(kept=("kept.training-mode",))) == ["check.kept"]
    assert codes(path, check.Policy(kept=("kept.*",))) == []


def test_size_and_the_checker(folded: Path) -> None:
    assert codes(folded, check.Policy(max_size=10)) == ["check.size"]
    proto = onnx.load(folded)
    proto.graph.node[0].op_type = "Convolve"
    folded.write_bytes(proto.SerializeToString())
    assert codes(folded) == ["check.invalid"]


def test_a_model_is_held_against_another(tmp_path: Path, folded: Path) -> None:
    against = check.Policy(against=tmp_path / "net.onnx")
    assert codes(folded, against) == []
    proto = onnx.load(folded)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    folded.write_bytes(proto.SerializeToString())
    assert codes(folded, against) == ["check.not-equivalent"]


def test_what_cannot_be_read_is_a_violation_with_its_own_exit_code(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(saved(tmp_path).read_bytes()[:50])
    checked = check.check(tmp_path / "cut.onnx", None, check.Policy(), silent)
    assert (checked.code, [v.code for v in checked.violations]) == (3, ["check.unreadable"])


# Which files.


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return paths


def test_a_folder_gives_its_models_with_the_weights_beside_them(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.onnx",
        "sub/b.onnx",
        "c.prototxt",
        "c.caffemodel",
        "d.cfg",
        "d.weights",
        "solver.prototxt",
        "notes.txt",
    )
    assert check.expand([tmp_path]) == [
        (tmp_path / "a.onnx", None),
        (tmp_path / "c.prototxt", tmp_path / "c.caffemodel"),
        (tmp_path / "d.cfg", tmp_path / "d.weights"),
        (tmp_path / "sub" / "b.onnx", None),
    ]


def test_weights_behind_a_network_go_with_it(tmp_path: Path) -> None:
    network, weights, other = touch(tmp_path, "net.cfg", "best.weights", "x.onnx")
    assert check.expand([network, weights, other]) == [(network, weights), (other, None)]
    with pytest.raises(UsageError, match="do not follow a network"):
        check.expand([other, weights])


def test_patterns(tmp_path: Path) -> None:
    a, b, odd = touch(tmp_path, "a.onnx", "b.onnx", "odd[1].onnx")
    assert [n for n, _ in check.expand([tmp_path / "?.onnx"])] == [a, b]
    assert check.expand([odd]) == [(odd, None)]
    with pytest.raises(UsageError, match="nothing matches"):
        check.expand([tmp_path / "*.pb"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreadable, match="holds no model"):
        check.expand([tmp_path / "empty"])


def test_every_rule_has_words_and_stands_in_the_docs() -> None:
    assert set(RULEBOOK) == {"check.unreadable", *check.FILE_RULES, *check.MODEL_RULES}
    docs = (Path(__file__).resolve().parents[2] / "docs" / "ci.md").read_text()
    assert re.findall(r"^\| `(check\.[a-z-]+)` \|", docs, re.M) == list(
        dict.fromkeys(re.findall(r"`(check\.[a-z-]+)`", docs))
    )
    assert set(re.findall(r"^\| `(check\.[a-z-]+)` \|", docs, re.M)) == set(RULEBOOK)


def test_one_rule_that_cannot_be_applied_hides_no_other(tmp_path: Path) -> None:
    found = check.check(
        saved(tmp_path), None, check.Policy(against=tmp_path / "absent.onnx", max_size=1), silent
    )
    assert [(v.code, v.exit_code) for v in found.violations] == [
        ("check.foldable", 1),
        ("check.size", 1),
        ("check.not-equivalent", 3),
    ]
    assert found.code == 3 and found.violations[-1].text.startswith("cannot be read")


def test_the_weights_of_the_reference_may_lie_beside_it(tmp_path: Path) -> None:
    sources = sample(tmp_path, "darknet")
    assert codes(certify(tmp_path, sources).model, check.Policy(against=sources[0])) == []


# The command.


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["check", *map(str, arguments)])
        out, err = capfd.readouterr()
        return code, out, err.strip().splitlines()[-1]

    return call


def test_all_models_are_listed_and_the_last_line_counts_them(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path, folded: Path
) -> None:
    code, out, last = command(folded, tmp_path / "net.onnx")
    assert (code, last) == (1, "bnfold: FAIL models=2 failed=1 violations=2")
    assert out.count("[check.foldable]") == 2
    assert "ok   " in out
    assert command(folded)[::2] == (0, "bnfold: PASS models=1 failed=0 violations=0")


def test_what_cannot_be_read_decides_the_exit_code(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x09\x3a\x7f")
    code, out, last = command(tmp_path / "cut.onnx", saved(tmp_path, CONV_BN_RELU))
    assert (code, last) == (3, "bnfold: FAIL models=2 failed=2 violations=2")
    assert "check.unreadable" in out


def test_json_and_page_of_a_check(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = saved(tmp_path)
    code, out, _ = command(path, "--json", "-", "--report", tmp_path / "r.html")
    document = json.loads(out)
    assert code == document["exit_code"] == document["models"][0]["exit_code"] == 1
    assert document["verdict"] == "FAIL"
    assert document["models"][0]["violations"][0].keys() == Violation.__dataclass_fields__.keys()
    assert "check.foldable" in (tmp_path / "r.html").read_text()
