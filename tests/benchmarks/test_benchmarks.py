"""The benchmarks measure what they say: their models are valid and equal in both forms, processes are timed,
failures are named."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
WORK = """
import os, sys, time
for line in sys.stdin:
    if line == "die\\n":
        os.abort()
    if line == "hang\\n":
        time.sleep(60)
    print("did", line, end="", flush=True)
"""


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    """They are scripts: their own folder is where they import from."""
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def models():
    return import_module("models")


@pytest.mark.parametrize("external", [False, True])
def test_a_generated_chain_is_a_valid_model(models, tmp_path, external):
    chain = models.Chain(3, 8, external)
    files = models.make(chain, tmp_path / "chain.onnx")
    assert len(files) == 1 + external
    assert 0 < sum(file.stat().st_size for file in files) - chain.nbytes < 5_000
    onnx.checker.check_model(str(tmp_path / "chain.onnx"), full_check=True)
    model = onnx.load(tmp_path / "chain.onnx")
    assert [node.op_type for node in model.graph.node] == ["Conv", "BatchNormalization", "Relu"] * 3
    assert len(model.graph.initializer) == 15


def test_both_forms_hold_the_same_healthy_numbers(models, tmp_path):
    stored = []
    for external in (False, True):
        models.make(models.Chain(2, 4, external), tmp_path / f"{external}.onnx")
        initializers = onnx.load(tmp_path / f"{external}.onnx").graph.initializer
        stored.append({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initializers})
    one, other = stored
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert all(values.min() > 0.4 for name, values in one.items() if name.endswith("variance"))
    assert not np.array_equal(one["block0.weight"], one["block1.weight"])


def test_a_process_is_measured(tmp_path):
    measure = import_module("measure")
    script = "import time; kept = bytearray(b'x' * 50_000_000); time.sleep(0.3)"
    run = measure.measured([sys.executable, "-c", script], limit=60)
    assert run.failure == ""
    assert 0.3 < run.wall < 30
    assert 0 < run.cpu < run.wall + 1
    assert 50e6 < run.own < 500e6


@pytest.mark.parametrize(
    ("script", "limit", "failure"),
    [
        ("raise SystemExit(3)", 60, "exit 3: no message"),
        ("raise ValueError('two\\nlines')", 60, "exit 1: lines"),
        ("import time; time.sleep(60)", 0.2, "no end in 0 s"),
    ],
)
def test_a_failure_is_named(script, limit, failure):
    assert import_module("measure").measured([sys.executable, "-c", script], limit).failure == failure


def test_a_worker_survives_what_it_runs():
    worker = import_module("worker").Worker([sys.executable, "-c", WORK], limit=10)
    try:
        assert worker.ask("one") == "did one"
        assert worker.ask("die") is None
        assert worker.ask("two") == "did two"
        worker.limit = 0.5
        assert worker.ask("hang") is None
    finally:
        worker.close()


def test_speed_compares_bnfold_with_a_copy(tmp_path, capsys, monkeypatch):
    speed = import_module("speed")
    arguments = [
        "--rows",
        "start-up",
        "--rounds",
        "1",
        "--tools",
        "cp + fsync",
        "bnfold",
        "--dir",
        str(tmp_path),
        "--grow",
        "--page",
        str(tmp_path / "page.md"),
    ]
    monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    speed.main()
    shown = capsys.readouterr().out
    rows = {
        cells[1].strip(): cells
        for cells in (line.split("|") for line in shown.splitlines())
        if len(cells) > 5
    }
    assert rows["cp + fsync"][8].strip() == "1"
    assert rows["bnfold"][8].strip() == "0"
    assert {"`--help`", "`--version`", "start-up"} <= set(rows)
    assert (tmp_path / "page.md").read_text().strip() == shown.strip()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["page.md", "scaling.svg"]


def test_goals_can_be_missed():
    goals, run = import_module("goals"), import_module("measure").Run
    runs = {
        "cp + fsync": [run(1.0, 0, 0, 0)],
        "bnfold": [run(2.2, 0, 40e6, 0)],
        "quick": [run(2.1, 0, 50e6, 0)],
        "broken": [run(0.1, 0, 0, 0, "exit 1: no")],
    }
    marks = [line.split("|")[2:4] for line in goals.held("1 GB", 10**9, runs, 0.3)]
    assert [(goal.strip(), mark.strip()) for goal, mark in marks] == [
        ("time", "met"),
        ("memory", "met"),
        ("peers", "**missed**"),
        ("peers", "met"),
    ]
    runs["bnfold"] = [run(2.4, 0, 151e6, 0)]
    assert [line.split("|")[3].strip() for line in goals.held("1 GB", 10**9, runs, 0.3)] == ["**missed**"] * 4
    runs["bnfold"] = [run(0, 0, 0, 0, "no end in 1 s")]
    assert "no end in 1 s" in next(goals.held("1 GB", 10**9, runs, 0.3))
    assert "missed" in goals.held_help("`--help`", [run(0.2, 0, 0, 0)])


def test_foreign_models_are_read(tmp_path, monkeypatch):
    import bnfold

    foreign = import_module("foreign")
    for name, small in {
        "WIDTHS": (4, 0, 4, 0),
        "DENSE": ((8, 4 * 56 * 56),),
        "CHAIN": 2,
        "CHANNELS": 4,
    }.items():
        monkeypatch.setattr(foreign, name, small)
    for make in (foreign.caffe, foreign.darknet):
        result = bnfold.fold(bnfold.load(*make(tmp_path)))
        assert len(result.plan.folded) >= 2
        assert not result.plan.kept


def test_cases_are_judged_against_the_truth(models, tmp_path):
    """The judge on its own: an equal model, one with a wrong number, one without its batch norm."""
    cases = import_module("cases")
    source = tmp_path / "net.onnx"
    models.make(models.Chain(1, 4), source)
    feed = {"x": np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)}
    np.savez(tmp_path / "net.feed0.npz", **feed)
    np.savez(tmp_path / "net.ref.npz", **{"0|0": cases.results(str(source), feed)[0]})
    case = {
        "id": "net",
        "valid": True,
        "vanish": {"BatchNormalization": 0},
        "ops": {"BatchNormalization": 1},
        "tol": 1e-4,
        "ref": {"rel0": 0.0},
    }
    assert cases.judged(case, tmp_path, str(source)) == "kept"
    assert cases.judged({**case, "vanish": {"Gemm": 0}}, tmp_path, str(source)) == "folded"
    assert cases.judged({**case, "valid": False}, tmp_path, str(source)) == "kept"
    wrong = onnx.load(source)
    wrong.graph.node[1].attribute.append(onnx.helper.make_attribute("epsilon", 1e-2))
    onnx.save(wrong, tmp_path / "wrong.onnx")
    assert cases.judged(case, tmp_path, str(tmp_path / "wrong.onnx")) == "WRONG"
    wrong.graph.node[0].input[0] = "absent"
    onnx.save(wrong, tmp_path / "invalid.onnx")
    assert cases.judged(case, tmp_path, str(tmp_path / "invalid.onnx")) == "INVALID"


def test_a_batch_is_timed(tmp_path):
    batch = import_module("batch")
    batch.fill(tmp_path / "zoo", 3)
    assert sorted(path.name for path in (tmp_path / "zoo").iterdir()) == [
        "net0.onnx",
        "net1.cfg",
        "net1.weights",
        "net2.caffemodel",
        "net2.prototxt",
    ]
    first, second = (batch.timed(tmp_path / "zoo", tmp_path / "out", 2) for _ in range(2))
    assert len(list((tmp_path / "out").glob("*.onnx"))) == 3
    rows = batch.table(3, {1: [2 * first], 2: [first]}, {1: [second], 2: [second]})
    assert rows[3].startswith("| 2 | ")
    assert " | 2.00 | " in rows[3]
