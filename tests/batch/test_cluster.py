"""A Dask cluster of worker processes on this machine: 200 models, one worker killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from . import zoo
from .farm import assert_right, batch, below, records, start, until
from .test_pool import hanging

distributed = pytest.importorskip("distributed", reason="needs the extra 'dask'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=4, processes=True, threads_per_worker=1, dashboard_address=":0", silence_logs=60
    ) as started:
        yield started


def workers(cluster: Any) -> dict[str, int]:
    with distributed.Client(cluster, set_as_default=False) as client:
        found: dict[str, int] = client.run(os.getpid)
    return found


@pytest.mark.slow
def test_a_killed_worker_costs_no_model_and_a_second_run_does_nothing(cluster: Any, tmp_path: Path) -> None:
    models = zoo.zoo(tmp_path / "zoo", 200)
    out = tmp_path / "out"
    pids = workers(cluster)
    assert len(pids) == 4
    victim = next(iter(pids.values()))
    met: list[int] = []

    def kill() -> None:
        met.append(until(lambda: len(records(out)) if len(records(out)) >= 30 else 0))
        until(lambda: below(victim, "bnfold.batch.child"))
        os.kill(victim, signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    _, err = batch(tmp_path / "zoo", "--out", out, "--scheduler", cluster.scheduler_address)
    killer.join()
    assert err.splitlines()[-1] == "bnfold: PASS models=200 passed=200"
    assert met[0] < 200, "the worker was killed when everything was over"
    assert victim not in workers(cluster).values()
    assert_right(models, tmp_path / "zoo", out)

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    _, err = batch(tmp_path / "zoo", "--out", out, "--scheduler", cluster.scheduler_address, "-q")
    assert err.splitlines() == ["bnfold: PASS models=200 unchanged=200"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    for pid in workers(cluster).values():
        assert not below(pid, "bnfold.batch.child"), "a child stayed behind on the cluster"


def test_ctrl_c_ends_what_runs_on_the_cluster(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    zoo.onnx(tmp_path / "zoo" / "fine.onnx", 1)
    hanging(tmp_path / "zoo" / "hang.onnx")
    out = tmp_path / "out"
    process = start(tmp_path / "zoo", "--out", out, "--scheduler", cluster.scheduler_address)
    until(lambda: len(records(out)) == 1)
    until(lambda: list(out.glob(".bnfold-*/bnfold-*/out")))  # the other one is being folded
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 2 models are finished" in err.splitlines()[-1]
    until(lambda: not any(below(pid, "bnfold.batch.child") for pid in workers(cluster).values()))
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_a_scheduler_that_goes_is_said(tmp_path: Path) -> None:
    hanging(tmp_path / "hang.onnx")
    with distributed.LocalCluster(
        n_workers=1, processes=True, dashboard_address=":0", silence_logs=60
    ) as cluster:
        process = start(
            tmp_path / "hang.onnx", "--out", tmp_path / "out", "--scheduler", cluster.scheduler_address
        )
        until(lambda: list((tmp_path / "out").glob(".bnfold-*/bnfold-*/out")))
    _, err = process.communicate(timeout=90)
    assert process.returncode == 6
    assert len(err.splitlines()) == 2
    assert "the cluster gave it up (" in err
    assert err.splitlines()[-1] == "bnfold: FAIL models=1 crashed=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("", "the worker cannot say which bnfold it has ("),
        ("def version():\n    return '0.0.1'\n", "the worker has bnfold 0.0.1; "),
    ],
)
def test_a_worker_with_another_bnfold_is_refused(module: str, told: str, tmp_path: Path) -> None:
    package = tmp_path / "other" / "bnfold"
    (package / "batch").mkdir(parents=True)
    (package / "__init__.py").touch()
    if module:
        (package / "batch" / "__init__.py").touch()
        (package / "batch" / "worker.py").write_text(module)
    zoo.onnx(tmp_path / "net.onnx", 0)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=60) as cluster:
        command = [
            sys.executable,
            "-P",
            "-m",
            "distributed.cli.dask_worker",
            cluster.scheduler_address,
            "--no-dashboard",
            "--no-nanny",
        ]
        worker = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "other")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: cluster.scheduler.workers)
            _, err = batch(
                tmp_path / "net.onnx",
                "--out",
                tmp_path / "out",
                "--scheduler",
                cluster.scheduler_address,
                code=3,
            )
        finally:
            worker.kill()
            worker.wait()
    assert told in err.splitlines()[-1]


def test_nobody_there_is_said(tmp_path: Path) -> None:
    zoo.onnx(tmp_path / "net.onnx", 0)
    _, err = batch(
        tmp_path / "net.onnx", "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9", code=3
    )
    assert err.splitlines()[-1].startswith(
        "bnfold: ERROR code=3 tcp://127.0.0.1:9: no Dask scheduler answers ("
    )
    _, err = batch(tmp_path / "net.onnx", "--out", tmp_path / "out", "--scheduler", "nonsense://here", code=2)
    assert (
        err.splitlines()[-1]
        == "bnfold: ERROR code=2 --scheduler 'nonsense://here' is not an address; expected an address "
        "such as tcp://host:8786"
    )
