"""Sizes in words, and a bound that holds: tried in processes of their own, since what a test run has taken
already would blur it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper, save

from bnfold.errors import UsageError
from bnfold.files import memory

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the bound is the Linux kernel's")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("1kB", 1000),
        ("2 MB", 2_000_000),
        ("3GiB", 3 << 30),
        ("1.5GB", None),
        ("2 mb", None),
        ("", None),
        ("-1", None),
        ("9" * 16, None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert memory.size_of(text) == size


def test_without_a_bound_nothing_changes() -> None:
    with memory.bounded(None):
        assert memory.limit() is None
        assert memory.at_most(1 << 40) == 1 << 40


@linux
def test_a_bound_below_what_is_in_use_is_refused() -> None:
    with pytest.raises(UsageError, match="in use already"), memory.bounded(1000):
        raise AssertionError("the body must not run")
    assert memory.limit() is None


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@linux
def test_beyond_the_bound_allocations_fail_and_behind_it_they_work_again() -> None:
    assert run("""
import numpy as np
from bnfold.files import memory
with memory.bounded(200_000_000):
    held = np.ones(100_000_000 // 8)
    with memory.also(200_000_000):
        more = np.ones(200_000_000 // 8)
    del more
    try:
        np.ones(200_000_000 // 8)
    except MemoryError:
        print("refused", memory.at_most(1 << 30))
print(np.ones(200_000_000 // 8).sum(), memory.limit())
""").splitlines() == ["refused 12500000", "25000000.0 None"]


def large_net(folder: Path) -> Path:
    """Conv-BN twice, 57 MB of weights: mapped by reference, and more than the bound below as float64."""
    random = np.random.default_rng(0)
    tensors, nodes, value = [], [], "x"
    for i in range(2):
        w = random.standard_normal((890, 890, 3, 3), np.float32) * np.float32(0.02)
        stats = {
            "g": random.uniform(0.5, 1.5, 890),
            "b": random.normal(0, 0.1, 890),
            "m": random.normal(0, 0.1, 890),
            "v": random.uniform(0.5, 1.5, 890),
        }
        arrays = {"w": w, **stats}
        tensors += [numpy_helper.from_array(a.astype(np.float32), f"{name}{i}") for name, a in arrays.items()]
        nodes += [
            helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{i}", *(f"{k}{i}" for k in stats)], [f"n{i}"]),
        ]
        value = f"n{i}"
    ends = [helper.make_tensor_value_info(name, 1, [1, 890, 6, 6]) for name in ("x", value)]
    path = folder / "large.onnx"
    save(
        helper.make_model(
            helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        ),
        path,
    )
    return path


@linux
def test_verification_keeps_to_its_bound(tmp_path: Path) -> None:
    path = large_net(tmp_path)
    peak, size = run(f"""
import bnfold, threading, time
from bnfold.files.memory import _own
peak, done = 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, _own()[0])
        time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
result = bnfold.fold_file({str(path)!r}, out={str(tmp_path / "out.onnx")!r}, max_memory=180_000_000)
done = True; thread.join()
assert result.report and result.report.truth == "float64", result.report
print(peak, result.before.size)
""").split()
    assert int(size) > 57_000_000
    assert int(peak) < 180_000_000


@linux
def test_what_cannot_be_verified_within_the_bound_is_not_written(tmp_path: Path) -> None:
    path, out = large_net(tmp_path), tmp_path / "out.onnx"

    def fold_within(bound: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bnfold", "fold", path, "-o", out, "--max-memory", bound]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    in_use = re.search(r"more than the ([\d,]+) that are in use", fold_within("1MB").stderr)
    assert in_use is not None
    done = fold_within(str(int(in_use[1].replace(",", "")) + 2_000_000))
    assert done.returncode in (1, 2), done.stderr  # 2: this machine's libraries alone take more
    assert "memory" in done.stderr.splitlines()[-1]
    assert not out.exists()


def test_a_lack_of_memory_in_the_coat_of_another_error() -> None:
    wrapped = RuntimeError("serializing failed")
    wrapped.__cause__ = MemoryError()
    assert memory.is_lack(wrapped) and memory.is_lack(MemoryError())
    assert not memory.is_lack(RuntimeError())
