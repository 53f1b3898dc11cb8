"""All cores of one machine: what dies there, and what is left of it."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from bnfold.batch import pool
from bnfold.batch.task import Limits, Request, Task

from ..models import CONV_BN_RELU, model
from ..reading.caffe.files import input_layer, layer
from . import zoo
from .farm import assert_right, batch, below, psutil, records, start, until

WORKER, CHILD = "popen_loky", "bnfold.batch.child"


def hanging(path: Path) -> Path:
    """A network that onnxruntime computes for ever."""
    values = (
        ("i", TensorProto.INT64, []),
        ("more", TensorProto.BOOL, []),
        ("carried", TensorProto.FLOAT, None),
    )
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["again"]),
            helper.make_node("Add", ["carried", "carried"], ["twice"]),
        ],
        "body",
        [helper.make_tensor_value_info(*value) for value in values],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, None),
        ],
    )
    nodes = [helper.make_node("Loop", ["trips", "true", "y"], ["z"], name="loop", body=body)]
    constants = [
        helper.make_tensor("trips", TensorProto.INT64, [], [1 << 60]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    ]
    return extended(
        path, nodes, constants, helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4, 8, 8])
    )


def greedy(path: Path) -> Path:
    """A network of a few bytes that needs gigabytes to run."""
    nodes = [
        helper.make_node("Expand", ["y", "big"], ["wide"], name="wide"),
        helper.make_node("ReduceSum", ["wide"], ["z"], name="sum", keepdims=0),
    ]
    constants = [helper.make_tensor("big", TensorProto.INT64, [5], [1 << 20, 1, 1, 1, 1])]
    return extended(path, nodes, constants, helper.make_tensor_value_info("z", TensorProto.FLOAT, []))


def extended(
    path: Path, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], output: onnx.ValueInfoProto
) -> Path:
    proto = model(CONV_BN_RELU)
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(constants)
    proto.graph.output.append(output)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.slow
def test_a_killed_worker_costs_no_model(tmp_path: Path) -> None:
    models = zoo.zoo(tmp_path / "zoo", 200)
    out = tmp_path / "out"
    process = start(tmp_path / "zoo", "--out", out, "--jobs", 4)
    until(lambda: len(records(out)) >= 40)
    victim = until(lambda: below(process.pid, WORKER))[0]
    orphans = until(lambda: below(victim.pid, CHILD))
    victim.send_signal(signal.SIGKILL)
    said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert said[1].splitlines()[-1] == "bnfold: PASS models=200 passed=200"
    until(
        lambda: (
            not any(orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE for orphan in orphans)
        ),
        10,
    )
    assert_right(models, tmp_path / "zoo", out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert (
        batch(tmp_path / "zoo", "--out", out)[1].splitlines()[-1] == "bnfold: PASS models=200 unchanged=200"
    )
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_one_that_hangs_stops_no_other(tmp_path: Path) -> None:
    hanging(tmp_path / "a_hang.onnx")
    zoo.onnx(tmp_path / "b_fine.onnx", 1)
    out = tmp_path / "out"
    (tmp_path / "temporary").mkdir()
    _, err = batch(
        tmp_path, "--out", out, "--jobs", 1, "--timeout", 6, code=6, TMPDIR=str(tmp_path / "temporary")
    )
    assert not list((tmp_path / "temporary").glob("bnfold-*"))
    assert err.splitlines()[-1] == "bnfold: FAIL models=2 passed=1 timeout=1"
    found = records(out)
    assert found["b_fine"]["verdict"] == "PASS"
    assert (
        found["a_hang"]["error"]["found"]
        == "the worker process took longer than 6 s and was killed while running the reference"
    )
    assert (out / "a_hang.html").is_file()
    assert not (out / "a_hang.onnx").exists()


def test_one_that_crashes_stops_no_other(tmp_path: Path) -> None:
    hanging(tmp_path / "a_hang.onnx")
    zoo.onnx(tmp_path / "b_fine.onnx", 1)
    process = start(tmp_path, "--out", tmp_path / "out", "--jobs", 1)
    until(lambda: list((tmp_path / "out").glob(".bnfold-*/bnfold-*/out/*")))  # it is being verified
    below(process.pid, CHILD)[0].send_signal(signal.SIGSEGV)
    said = process.communicate(timeout=60)
    assert process.returncode == 6, said
    assert said[1].splitlines()[-1] == "bnfold: FAIL models=2 passed=1 crashed=1"
    assert (
        "the worker process was killed by SIGSEGV while "
        in records(tmp_path / "out")["a_hang"]["error"]["found"]
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's own memory")
def test_one_that_wants_too_much_memory_stops_no_other(tmp_path: Path) -> None:
    greedy(tmp_path / "a_greedy.onnx")
    zoo.onnx(tmp_path / "b_fine.onnx", 1)
    _, err = batch(tmp_path, "--out", tmp_path / "out", "--jobs", 1, "--memory-limit", "700 MB", code=6)
    assert err.splitlines()[-1] == "bnfold: FAIL models=2 passed=1 memory=1"
    assert "700,000,000 bytes are allowed" in records(tmp_path / "out")["a_greedy"]["error"]["found"]


def test_ctrl_c_ends_everything_and_leaves_no_half_file(tmp_path: Path) -> None:
    zoo.zoo(tmp_path / "zoo", 6)
    hanging(tmp_path / "zoo" / "hang.onnx")
    out = tmp_path / "out"
    process = start(tmp_path / "zoo", "--out", out, "--jobs", 2)
    until(lambda: len(records(out)) == 6)
    everyone = below(process.pid, "")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    last = (
        r"bnfold: ERROR code=130 interrupted; [56] of 7 models are finished; the same command goes on "
        r"from there"
    )
    assert re.fullmatch(last, err.splitlines()[-1])  # the last record may be there a moment before it is told
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in everyone), 10)
    assert not list(out.glob(".*"))
    (tmp_path / "zoo" / "hang.onnx").unlink()
    assert batch(tmp_path / "zoo", "--out", out)[1].splitlines()[-1] == "bnfold: PASS models=6 unchanged=6"


def test_broken_models_are_told_and_the_rest_is_made(tmp_path: Path) -> None:
    fine = zoo.onnx(tmp_path / "fine.onnx", 1)
    (tmp_path / "cut.onnx").write_bytes(fine.read_bytes()[:900])
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "notes.prototxt").write_text(input_layer("data", 1, 3, 8, 8) + layer("Nonsense", ["data"]))
    (tmp_path / "notes.caffemodel").write_bytes(b"\n\x01n")  # a name alone
    _, err = batch(tmp_path, "missing.cfg", "--out", tmp_path / "out", "--jobs", 1, code=4)
    assert err.splitlines()[-1] == "bnfold: FAIL models=5 passed=1 error=4"
    found = {
        name: (record["exit_code"], record.get("error", {}).get("found", ""))
        for name, record in records(tmp_path / "out").items()
    }
    assert found["fine"] == (0, "")
    assert found["empty"] == (3, "the file is empty")
    assert found["missing"] == (3, "cannot be read (no such file or directory)")
    assert found["cut"][0] == 3
    assert found["notes"][0] == 4


def test_nobody_stays_when_the_one_that_coordinates_is_killed(tmp_path: Path) -> None:
    hanging(tmp_path / "hang.onnx")
    process = start(tmp_path, "--out", tmp_path / "out", "--jobs", 1)
    until(lambda: below(process.pid, CHILD))
    everyone = below(process.pid, "")
    for one in [
        *psutil.Process(process.pid).children(),
        psutil.Process(process.pid),
    ]:  # it, and who watches over it
        one.send_signal(signal.SIGKILL)
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in everyone), 20)
    process.communicate()


def deadly(request: dict[str, Any]) -> dict[str, Any]:
    """A worker that dies of one model, and does the others."""
    if request["task"]["name"] == "deadly":
        time.sleep(0.5)  # so that the others are done
        os.kill(os.getpid(), signal.SIGKILL)
    return {"name": request["task"]["name"]}


@pytest.mark.slow
def test_a_model_of_which_workers_die_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.worker, "work", deadly)
    requests = [
        Request(Task(name, f"{name}.onnx", None, "out"), Limits()).as_json()
        for name in ("a", "deadly", "b", "c")
    ]
    found = dict(pool.results(requests, 2))
    assert [found[at]["name"] for at in (0, 2, 3)] == ["a", "b", "c"]
    assert (found[1]["outcome"], found[1]["sentence"]) == (
        "crashed",
        "3 workers died while they had this model",
    )
