"""What a batch tells, in every form: lines and a bar, the table, JSON, JUnit and the page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bnfold.cli.main import run as run_command
from bnfold.cli.progress import Progress, duration
from bnfold.cli.screen import Screen
from bnfold.reporting import schemas
from bnfold.results.batch_run import Run

from ..batch import zoo
from ..batch.farm import batch, records
from ..models import CONV_BN_RELU, RELU_BN, saved
from ..reporting.ci_schemas import check_junit

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra 'dev' (jsonschema)")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A batch of a manifest with four models, two of them in trouble."""
    folder = tmp_path_factory.mktemp("told")
    saved(folder, CONV_BN_RELU, "a & b<i>.onnx")
    saved(folder, RELU_BN, "kept.onnx")
    (folder / "cut.onnx").write_bytes((folder / "kept.onnx").read_bytes()[:100])
    zoo.darknet(folder / "yolo.cfg", 3)
    (folder / "zoo.toml").write_text(
        "[defaults]\nsamples = 1\n"
        + "".join(
            f"[[model]]\nmodel = '{name}'\n{more}"
            for name, more in (
                ("a & b<i>.onnx", ""),
                ("kept.onnx", "name = 'deep/kept'\n"),
                ("cut.onnx", ""),
                ("yolo.cfg", "batch = 2\n"),
            )
        )
    )
    out = folder / "out"
    said = batch(
        folder / "zoo.toml",
        "--out",
        out,
        "--allow-kept",
        "kept.training-mode",
        "--json",
        out / "r.json",
        "--junit",
        out / "j.xml",
        "--report",
        out / "index.html",
        code=1,
    )
    return folder, *said


def test_the_last_line_and_the_table(told: tuple[Path, str, str]) -> None:
    folder, shown, err = told
    assert err.splitlines()[-1] == "bnfold: FAIL models=4 passed=2 failed=1 error=1"
    assert f"error cut: {folder}/zoo.toml:8: " in shown.replace("\n", "")
    assert "[check.kept]" in shown


def test_the_document_is_what_the_schema_says(told: tuple[Path, str, str]) -> None:
    folder = told[0]
    document = json.loads((folder / "out" / "r.json").read_text())
    jsonschema.validate(document, schemas.result())
    assert [(one["name"], one["outcome"], one["exit_code"]) for one in document["runs"]] == [
        ("a & b<i>", "passed", 0),
        ("deep/kept", "failed", 1),
        ("cut", "error", 3),
        ("yolo", "passed", 0),
    ]
    assert document["counts"] == {"passed": 2, "failed": 1, "error": 1}
    assert (document["verdict"], document["exit_code"]) == ("FAIL", 1)
    for name, record in records(folder / "out").items():
        jsonschema.validate(record, schemas.result())
        assert ("fingerprint" in record) == (name in ("a & b<i>", "yolo"))
    assert records(folder / "out")["yolo"]["verification"]["inputs"][0][1].startswith("2x")


def test_the_page_has_a_line_and_a_link_for_each(told: tuple[Path, str, str]) -> None:
    page = (told[0] / "out" / "index.html").read_text()
    assert '<a href="./a%20%26%20b%3Ci%3E.html">a &amp; b&lt;i&gt;</a>' in page
    assert '<a href="./deep/kept.html">deep/kept</a>' in page
    assert page.index("cut.html") < page.index("deep/kept.html") < page.index("yolo.html"), "the worst first"
    assert "default-src 'none'" in page
    assert (told[0] / "out" / "deep" / "kept.html").is_file()


def test_junit_has_a_case_for_each(told: tuple[Path, str, str]) -> None:
    root = ElementTree.parse(told[0] / "out" / "j.xml").getroot()
    check_junit(root)
    cases = {case.attrib["name"]: [child.tag for child in case] for case in root.iter("testcase")}
    assert cases == {"a & b<i>": [], "deep/kept": ["failure"], "cut": ["error"], "yolo": []}


def test_lines_where_there_is_no_terminal_and_a_bar_where_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        Run("a", "a", None, "unchanged", 0),
        Run("b\x1b", "b", None, "error", 3, "gone", seconds=1.5),
        Run("c", "c", None, "passed", 0),
    ]
    for quiet in (False, True):
        with Progress(3, Screen(quiet=quiet)) as progress:
            for run in runs:
                progress.heard(run)
        assert progress.done == 3
        lines = capsys.readouterr().err.splitlines()
        if quiet:
            assert not lines
        else:
            assert lines[0] == "1/3 unchanged a (0.0 s)"
            assert re.fullmatch(r"2/3 error     b\\x1b \(1\.5 s\): gone, \d+ s left", lines[1])
            assert lines[2] == "3/3 passed    c (0.0 s)"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(3, Screen()) as progress:
        for run in runs:
            progress.heard(run)
    assert "error     b\\x1b (1.5 s): gone" in capsys.readouterr().err


def test_the_page_can_be_made_later(told: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    out = told[0] / "out"
    assert run_command(["report", str(out / "r.json"), "-o", str(out / "deep" / "later.html")]) == 0
    assert '<a href="./../cut.html">cut</a>' in (out / "deep" / "later.html").read_text()


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 3725)] == ["0 s", "59 s", "1:01", "1:02:05"]
