"""What is finished is not made again; everything else is. And what workers do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bnfold.batch import coordinator, fingerprints, locations, one_model, supervisor, worker
from bnfold.batch.task import Limits, Request, Task
from bnfold.errors import NotEquivalent
from bnfold.gate.policy import Policy
from bnfold.reporting.json import plain
from bnfold.results.batch_run import Run, code_of
from bnfold.results.options import FoldOptions, ReadOptions, VerifyOptions

from ..models import model
from . import zoo
from .farm import batch, records


def made(task: Task, folder: Path) -> Run:
    """The task, done in this process."""
    work = folder / f"work{time.monotonic_ns()}"
    work.mkdir()
    stages: list[str] = []
    found = one_model.run(task, work, stages.append)
    shutil.rmtree(work)
    return found


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "in" / "weights").mkdir(parents=True)
    path = tmp_path / "in" / "net.onnx"
    onnx.save(
        model(zoo.WIDE), path, save_as_external_data=True, location="weights/net.data", size_threshold=0
    )
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


@pytest.mark.parametrize(
    "what",
    [
        "network",
        "data",
        "output",
        "output gone",
        "data of the output",
        "record",
        "record of another",
        "options",
        "policy",
        "version",
    ],
)
def test_whatever_changes_it_is_made_again(
    what: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_folder_of_inputs_is_listed_once(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_bytes(name.encode())
    task = changed(task, verify=VerifyOptions(inputs=(("", os.fspath(folder)),)))
    taken = fingerprints.taken(task, Path(task.network))
    record = Path(fingerprints.record_of(task))
    record.parent.mkdir(parents=True)
    output = record.with_name("net.onnx")
    output.write_bytes(b"a result")
    outputs = ((output.name, locations.store_of(os.fspath(output)).identity(os.fspath(output))),)
    record.write_text(json.dumps({"exit_code": 0, "fingerprint": plain(replace(taken, outputs=outputs))}))
    listed: list[Path] = []
    real = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: listed.append(self) or real(self, pattern))
    assert fingerprints.finished(task) is not None
    assert listed == [folder]
    (folder / "d.png").write_bytes(b"d")
    assert fingerprints.finished(task) is None


def test_what_failed_is_tried_again(task: Task, tmp_path: Path) -> None:
    impossible = changed(task, policy=Policy(max_size=1))
    found = made(impossible, tmp_path)
    assert (found.outcome, found.exit_code, [v.code for v in found.violations]) == (
        "failed",
        1,
        ["check.size"],
    )
    assert not (tmp_path / "out" / "deep" / "net.onnx").exists()
    assert made(impossible, tmp_path).outcome == "failed"
    assert made(task, tmp_path).outcome == "passed"
    assert made(impossible, tmp_path).outcome == "failed"
    assert (tmp_path / "out" / "deep" / "net.onnx").exists(), "what an earlier run finished stays"


def test_a_record_with_figures_that_are_none_is_no_record(task: Task, tmp_path: Path) -> None:
    made(task, tmp_path)
    record = tmp_path / "out" / "deep" / "net.result.json"
    document = json.loads(record.read_text())
    for nonsense in (
        {"batch_norms": [1]},
        {"batch_norms": {"folded": "many"}},
        {"verification": {"noise": "loud"}},
        {"size": 4},
    ):
        record.write_text(json.dumps({**document, **nonsense}))
        assert made(task, tmp_path).outcome == "passed"


def test_a_model_that_is_not_equivalent_fails(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(job: Any) -> None:
        raise NotEquivalent("noise ratio 99", where=job.target)

    monkeypatch.setattr(one_model.pipeline, "fold_file", refused)
    found = made(task, tmp_path)
    assert (found.outcome, found.exit_code) == ("failed", 1)
    assert found.sentence == f"{tmp_path}/out/deep/net.onnx: noise ratio 99"


def test_a_bug_is_one_models_error(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_model.pipeline, "fold_file", lambda job: 1 / 0)
    found = made(task, tmp_path)
    assert (found.outcome, found.exit_code) == ("error", 70)
    assert "ZeroDivisionError" in found.sentence


def test_a_request_survives_its_journey(task: Task) -> None:
    task = changed(
        task,
        read=ReadOptions(stages=("a",), input_shapes=(("x", (1, 2)),)),
        policy=Policy(against=Path("a.onnx")),
    )
    request = Request(task, Limits(5.0, 1 << 30, 2), "work")
    assert Request.of(json.loads(json.dumps(request.as_json()))) == request


@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 0], 0), ([0, 3, 4], 4), ([6, 1, 70], 1), ([0, 1], 1), ([6, 5], 6)]
)
def test_one_that_is_not_what_it_should_be_decides_the_exit_code(codes: list[int], code: int) -> None:
    assert code_of([Run("x", "x", None, "passed", one) for one in codes]) == code


def test_two_batches_on_one_folder(tmp_path: Path) -> None:
    zoo.zoo(tmp_path / "zoo", 12)
    with ThreadPoolExecutor(2) as both:
        lasts = [
            said[1].splitlines()[-1]
            for said in both.map(lambda _: batch(tmp_path / "zoo", "-o", tmp_path / "out", "-q"), range(2))
        ]
    assert all(last.startswith("bnfold: PASS models=12 ") for last in lasts)
    assert batch(tmp_path / "zoo", "-o", tmp_path / "out", "-q")[1] == "bnfold: PASS models=12 unchanged=12\n"
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "code", "last"),
    [
        (
            ["zoo", "--scheduler", "tcp://x:1", "--jobs", "2"],
            2,
            "--jobs with --scheduler; expected one of them: ",
        ),
        (["zoo", "--memory-limit", "lots"], 2, "--memory-limit cannot be 'lots'; expected bytes"),
        (["nothing/*.onnx"], 2, "nothing matches nothing/*.onnx"),
        (
            ["zoo", "--policy", "strict.toml"],
            2,
            "the policy requires certificates, which a batch does not make; bnfold fold --certificate",
        ),
        (["zoo/net0.onnx", "--out", "zoo"], 2, "would replace a model that is read; expected another --out"),
        (["bad.csv"], 3, "bad.csv:2: unknown key 'nonsens'"),
    ],
)
def test_wrong_calls_are_told_before_any_work(
    arguments: list[str], code: int, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").mkdir()
    zoo.onnx(tmp_path / "zoo" / "net0.onnx", 0)
    (tmp_path / "strict.toml").write_text("require-certificate = true")
    (tmp_path / "bad.csv").write_text("model,nonsens\nzoo/net0.onnx,1\nzoo/net0.onnx,2")
    _, err = batch("--out", "out", *arguments, code=code)
    assert last in err.splitlines()[-1]
    if "bad.csv" in arguments:
        assert [line.partition(";")[0] for line in err.splitlines()[:2]] == [
            f"error: bad.csv:{n}: unknown key 'nonsens'" for n in (2, 3)
        ]


def test_options_for_nobody_are_said(tmp_path: Path) -> None:
    zoo.onnx(tmp_path / "net.onnx", 0)
    _, err = batch(
        tmp_path / "net.onnx", "-o", tmp_path / "out", "--heads", "raw", "--no-verify", "--seed", 3
    )
    assert "warning: --heads is for darknet models, and none is among these" in err
    assert "warning: --seed has no effect with --no-verify" in err


def test_outputs_are_no_inputs_of_the_next_run(tmp_path: Path) -> None:
    zoo.zoo(tmp_path, 2)
    for outcome, more in (("passed", []), ("unchanged", []), ("passed", ["--force"])):
        assert (
            batch(tmp_path, "-o", tmp_path / "out", "-q", *more)[1] == f"bnfold: PASS models=2 {outcome}=2\n"
        )


def test_a_policy_says_what_each_fold_is_verified_with(tmp_path: Path) -> None:
    zoo.onnx(tmp_path / "net.onnx", 0)
    (tmp_path / "strict.toml").write_text('providers = ["cpu"]\nnoise-limit = 3.5\nmax-size = "1 MB"\n')
    batch(tmp_path / "net.onnx", "-o", tmp_path / "out", "--policy", tmp_path / "strict.toml")
    assert records(tmp_path / "out")["net"]["verification"]["noise_limit"] == 3.5
    batch(
        tmp_path / "net.onnx",
        "-o",
        tmp_path / "out",
        "--policy",
        tmp_path / "strict.toml",
        "--noise-limit",
        "2.5",
    )
    assert records(tmp_path / "out")["net"]["verification"]["noise_limit"] == 2.5


def test_a_worker_that_cannot_write_says_so(task: Task, tmp_path: Path) -> None:
    found = worker.work(Request(task, Limits(), str(tmp_path / "none")).as_json())
    assert (found["outcome"], found["exit_code"]) == ("crashed", 6)
    assert found["sentence"] == f"a worker cannot write to {tmp_path}/none (no such file or directory)"


def test_threads_are_those_that_were_given() -> None:
    given = supervisor.environment(3)
    assert {given[name] for name in ("BNFOLD_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert coordinator._threads(coordinator.Settings(jobs=1), 9) == coordinator._cores()
    assert coordinator._threads(coordinator.Settings(jobs=64), 100) == 1
    assert coordinator._threads(coordinator.Settings(scheduler="tcp://x:1"), 100) == 1


def test_a_worker_of_another_version_declines(task: Task) -> None:
    found = worker.work({**Request(task, Limits()).as_json(), "version": "0.0.1"})
    assert found["sentence"].startswith("a worker has bnfold ")
    assert found["name"] == "deep/net"


def test_a_child_that_went_by_itself_is_no_loss(task: Task, tmp_path: Path) -> None:
    request = Request(task, Limits(threads=1)).as_json()
    try:
        assert worker.work(request)["outcome"] == "passed"
        (child,) = worker._all
        os.kill(child._process.pid, signal.SIGKILL)  # dead when it is looked at, or a moment later
        assert worker.work({**request, "task": {**request["task"], "force": True}})["outcome"] == "passed"
    finally:
        worker.close()
    assert not worker._all


def test_a_child_that_cannot_start_says_why(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        supervisor, "COMMAND", (sys.executable, "-c", "import os; os.write(2, b'no room\\n'); os._exit(3)")
    )
    found = worker.work(Request(task, Limits(threads=3)).as_json())
    assert (found["outcome"], found["sentence"]) == (
        "crashed",
        "the worker process ended with exit code 3 while starting: no room",
    )
