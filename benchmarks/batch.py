"""How many models a minute `bnfold batch` folds and verifies, by how many it works on at the same time.

    python benchmarks/batch.py                          600 models, with 1, 2 and 4 processes, three rounds
                                                        each: five minutes
    python benchmarks/batch.py --models 60 --rounds 1   mostly start-up, of which there is more with more
                                                        processes

A third are ONNX chains of Conv-BN-ReLU, the others the sample network as darknet and Caffe files. Rounds are
interleaved, so that a busy moment of the machine meets all of them; figures are medians, start-up included.
The last column is a second run, which finds all finished.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import compile_package
from models import Chain, make

ROOT = Path(__file__).resolve().parents[1]
CHAIN = Chain(12, 32)
COPIED = ((".cfg", ".weights"), (".prototxt", ".caffemodel"))


def main() -> None:
    options = parsed()
    compile_package()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        zoo = Path(folder) / "zoo"
        fill(zoo, options.models)
        seconds: dict[int, list[float]] = {jobs: [] for jobs in options.jobs}
        again: dict[int, list[float]] = {jobs: [] for jobs in options.jobs}
        for _ in range(options.rounds):
            for jobs in options.jobs:
                out = Path(folder) / "out"
                seconds[jobs].append(timed(zoo, out, jobs))
                again[jobs].append(timed(zoo, out, jobs))
                shutil.rmtree(out)
    print(f"\n{options.models} models, {os.cpu_count()} cores, {options.rounds} rounds\n")
    print("\n".join(table(options.models, seconds, again)))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=600)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="folder for the models and what is written")
    return parser.parse_args()


def fill(folder: Path, count: int) -> None:
    """So many models, the kinds in turn."""
    folder.mkdir()
    for index in range(count):
        if index % 3 == 0:
            make(CHAIN, folder / f"net{index}.onnx")
        else:
            for ending in COPIED[index % 3 - 1]:
                shutil.copyfile(ROOT / "samples" / f"digits{ending}", folder / f"net{index}{ending}")


def timed(zoo: Path, out: Path, jobs: int) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "bnfold",
        "batch",
        str(zoo),
        "--out",
        str(out),
        "--jobs",
        str(jobs),
        "-q",
    ]
    subprocess.run(
        command, check=True, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    return time.perf_counter() - start


def table(models: int, seconds: dict[int, list[float]], again: dict[int, list[float]]) -> list[str]:
    """A row for each number of processes; `times` is against the first of them."""
    rows = ["| processes | models a minute | times | second run |", "|---:|---:|---:|---:|"]
    base = statistics.median(next(iter(seconds.values())))
    for jobs, found in seconds.items():
        middle = statistics.median(found)
        rows.append(
            f"| {jobs} | {60 * models / middle:,.0f} | {base / middle:.2f} | "
            f"{statistics.median(again[jobs]):.1f} s |"
        )
    return rows


if __name__ == "__main__":
    main()
