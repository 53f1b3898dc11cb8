"""What is finished is not made again; everything else is. And what a batch tells, in every form."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from bnfold.batch import fingerprints, single
from bnfold.batch.task import Limits, Request, Task
from bnfold.cli.progress import duration
from bnfold.errors import NotEquivalent
from bnfold.policy import Policy
from bnfold.record import FoldOptions, ReadOptions
from bnfold.reporting import schemas
from bnfold.rollup import Run, code_of

from ..models import CONV_BN_RELU, RELU_BN, model, saved
from ..reporting.ci_schemas import check_junit
from . import zoo
from .farm import batch, records

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra 'dev' (jsonschema)")
ROOT = Path(__file__).resolve().parents[2]


def made(task: Task, folder: Path) -> Run:
    """The task, done in this process."""
    work = folder / f"work{time.monotonic_ns()}"
    work.mkdir()
    stages: list[str] = []
    found = single.run(task, work, stages.append)
    shutil.rmtree(work)
    return found


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "in" / "weights").mkdir(parents=True)
    path = tmp_path / "in" / "net.onnx"
    onnx.save(model(zoo.WIDE), path, save_as_external_data=True, location="weights/net.data", size_threshold=0)
    return Task("deep/net", str(path), None, str(tmp_path / "out"), external_data=True)


def changed(task: Task, **fields: Any) -> Task:
    return Task(**{**vars(task), **fields})


def test_a_finished_model_is_left_alone(task: Task, tmp_path: Path) -> None:
    assert made(task, tmp_path).outcome == "passed"
    again = made(task, tmp_path)
    assert (again.outcome, again.folded, again.kept) == ("unchanged", 1, 0)
    assert again.output == str(tmp_path / "out" / "deep" / "net.onnx")
    moved = tmp_path / "elsewhere"
    (tmp_path / "in").rename(moved)
    assert made(changed(task, network=str(moved / "net.onnx")), tmp_path).outcome == "unchanged"
    assert made(changed(task, network=str(moved / "net.onnx"), force=True), tmp_path).outcome == "passed"


@pytest.mark.parametrize("what", ["network", "data", "output", "output gone", "data of the output", "record", "record of another",
                                  "options", "policy", "version"])
def test_whatever_changes_it_is_made_again(what: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(task, tmp_path).outcome == "passed"
    out = tmp_path / "out" / "deep"
    record = out / "net.result.json"
    if what == "network":
        proto = onnx.load(task.network, load_external_data=False)
        proto.doc_string = "another"
        Path(task.network).write_bytes(proto.SerializeToString())
    elif what == "data":
        data = Path(task.network).parent / "weights" / "net.data"
        status = data.stat()
        values = np.fromfile(data, np.float32)
        data.write_bytes((values * np.float32(1.0 + 1e-3)).tobytes())
        os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))  # a time is no proof
    elif what == "output":
        (out / "net.onnx").write_bytes((out / "net.onnx").read_bytes() + b"\x0a\x00")
    elif what == "output gone":
        (out / "net.onnx").unlink()
    elif what == "data of the output":
        next(out.glob("*.data")).unlink()
    elif what == "record":
        record.write_text(record.read_text()[:-200])
    elif what == "record of another":
        record.write_text(record.read_text().replace('"version"', '"versions"'))
    elif what == "options":
        task = changed(task, fold=FoldOptions(simplify_leftovers=True))
    elif what == "policy":
        task = changed(task, policy=Policy(kept=("kept.*",)))
    elif what == "version":
        monkeypatch.setattr(fingerprints, "__version__", "0.0.0")
    assert made(task, tmp_path).outcome == "passed"
    assert made(task, tmp_path).outcome == "unchanged"


def test_what_failed_is_tried_again(task: Task, tmp_path: Path) -> None:
    impossible = changed(task, policy=Policy(max_size=1))
    found = made(impossible, tmp_path)
    assert (found.outcome, found.exit_code, [v.code for v in found.violations]) == ("failed", 1, ["check.size"])
    assert not (tmp_path / "out" / "deep" / "net.onnx").exists()
    assert made(impossible, tmp_path).outcome == "failed"
    assert made(task, tmp_path).outcome == "passed"
    assert made(impossible, tmp_path).outcome == "failed"
    assert (tmp_path / "out" / "deep" / "net.onnx").exists(), "what an earlier run finished stays"


def test_a_record_with_figures_that_are_none_is_no_record(task: Task, tmp_path: Path) -> None:
    made(task, tmp_path)
    record = tmp_path / "out" / "deep" / "net.result.json"
    document = json.loads(record.read_text())
    for nonsense in ({"batch_norms": [1]}, {"batch_norms": {"folded": "many"}}, {"verification": {"noise": "loud"}}, {"size": 4}):
        record.write_text(json.dumps({**document, **nonsense}))
        assert made(task, tmp_path).outcome == "passed"


def test_a_model_that_is_not_equivalent_fails(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(job: Any) -> None:
        raise NotEquivalent("noise ratio 99", where=job.target)

    monkeypatch.setattr(single.pipeline, "fold_file", refused)
    found = made(task, tmp_path)
    assert (found.outcome, found.exit_code) == ("failed", 1)
    assert found.sentence == f"{tmp_path}/out/deep/net.onnx: noise ratio 99"


def test_a_bug_is_one_models_error(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single.pipeline, "fold_file", lambda job: 1 / 0)
    found = made(task, tmp_path)
    assert (found.outcome, found.exit_code) == ("error", 70)
    assert "ZeroDivisionError" in found.sentence


def test_a_request_survives_its_journey(task: Task) -> None:
    task = changed(task, read=ReadOptions(stages=("a",), input_shapes=(("x", (1, 2)),)), policy=Policy(against=Path("a.onnx")))
    request = Request(task, Limits(5.0, 1 << 30, 2), "work")
    assert Request.of(json.loads(json.dumps(request.as_json()))) == request


@pytest.mark.parametrize(("codes", "code"), [([], 0), ([0, 0], 0), ([0, 3, 4], 4), ([6, 1, 70], 1), ([0, 1], 1), ([6, 5], 6)])
def test_one_that_is_not_what_it_should_be_decides_the_exit_code(codes: list[int], code: int) -> None:
    assert code_of([Run("x", "x", None, "passed", one) for one in codes]) == code


def test_two_batches_on_one_folder(tmp_path: Path) -> None:
    zoo.zoo(tmp_path / "zoo", 12)
    with ThreadPoolExecutor(2) as both:
        lasts = [said[1].splitlines()[-1] for said in both.map(lambda _: batch(tmp_path / "zoo", "-o", tmp_path / "out", "-q"), range(2))]
    assert all(last.startswith("bnfold: PASS models=12 ") for last in lasts)
    assert batch(tmp_path / "zoo", "-o", tmp_path / "out", "-q")[1] == "bnfold: PASS models=12 unchanged=12\n"
    assert not list((tmp_path / "out").glob(".*"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A batch of a manifest with four models, two of them in trouble."""
    folder = tmp_path_factory.mktemp("told")
    saved(folder, CONV_BN_RELU, "a & b<i>.onnx")
    saved(folder, RELU_BN, "kept.onnx")
    (folder / "cut.onnx").write_bytes((folder / "kept.onnx").read_bytes()[:100])
    zoo.darknet(folder / "yolo.cfg", 3)
    (folder / "zoo.toml").write_text("[defaults]\nsamples = 1\n" + "".join(
        f"[[model]]\nmodel = '{name}'\n{more}" for name, more in (
            ("a & b<i>.onnx", ""), ("kept.onnx", "name = 'deep/kept'\n"), ("cut.onnx", ""), ("yolo.cfg", "batch = 2\n"))))
    out = folder / "out"
    said = batch(folder / "zoo.toml", "--out", out, "--allow-kept", "kept.training-mode", "--json", out / "r.json",
                 "--junit", out / "j.xml", "--report", out / "index.html", code=1)
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
        ("a & b<i>", "passed", 0), ("deep/kept", "failed", 1), ("cut", "error", 3), ("yolo", "passed", 0)]
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


@pytest.mark.parametrize(("arguments", "code", "last"), [
    (["zoo", "--scheduler", "tcp://x:1", "--jobs", "2"], 2, "--jobs with --scheduler; one of them: "),
    (["zoo", "--memory-limit", "lots"], 2, "'lots' is no size; bytes, or "),
    (["nothing/*.onnx"], 2, "nothing matches nothing/*.onnx"),
    (["zoo", "--policy", "strict.toml"], 2, "the policy requires certificates, which a batch does not make; bnfold fold --certificate"),
    (["zoo/net0.onnx", "--out", "zoo"], 2, "would replace a model that is read; another --out"),
    (["bad.csv"], 3, "bad.csv:2: unknown key 'nonsens'"),
])
def test_wrong_calls_are_told_before_any_work(arguments: list[str], code: int, last: str, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    zoo.onnx(tmp_path / "zoo" / "net0.onnx", 0)
    (tmp_path / "strict.toml").write_text("require-certificate = true")
    (tmp_path / "bad.csv").write_text("model,nonsens\nzoo/net0.onnx,1\nzoo/net0.onnx,2")
    _, err = batch("--out", "out", *arguments, code=code)
    assert last in err.splitlines()[-1]
    if "bad.csv" in arguments:
        assert [line.partition(";")[0] for line in err.splitlines()[:2]] == [f"error: bad.csv:{n}: unknown key 'nonsens'" for n in (2, 3)]


def test_options_for_nobody_are_said(tmp_path: Path) -> None:
    zoo.onnx(tmp_path / "net.onnx", 0)
    _, err = batch(tmp_path / "net.onnx", "-o", tmp_path / "out", "--heads", "raw", "--no-verify", "--seed", 3)
    assert "warning: --heads is for darknet models, and none is among these" in err
    assert "warning: --seed has no effect with --no-verify" in err


def test_outputs_are_no_inputs_of_the_next_run(tmp_path: Path) -> None:
    zoo.zoo(tmp_path, 2)
    for outcome in ("passed", "unchanged"):
        assert batch(tmp_path, "-o", tmp_path / "out", "-q")[1] == f"bnfold: PASS models=2 {outcome}=2\n"


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 3725)] == ["0 s", "59 s", "1:01", "1:02:05"]
