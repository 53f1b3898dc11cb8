"""How long folding takes and how much memory, beside copying the file and beside other tools.

    python benchmarks/speed.py                                  everything, a quarter of an hour
    python benchmarks/speed.py --sizes 100MB --rounds 5
    python benchmarks/speed.py --peers /path/to/venv/bin/python    where onnxsim, onnxslim, onnxoptimizer, onnxscript are installed

Every tool runs in a process of its own, in turn, so that a busy moment of the machine meets all of them; figures are medians. `cp + fsync`
is the floor: the file is read and written once and is on the disk. bnfold syncs its output too; the others do not.
What a tool takes for a model of a few bytes is its start-up; the third column is what the model itself costs. How many batch norms are left
in its output stands in the last.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import MB, Run, measured
from models import SIZES, make
from tools import TOOLS, command

MODULES = {"onnxsim": "onnxsim", "onnxslim": "onnxslim", "onnxoptimizer": "onnxoptimizer", "onnxscript": "onnxscript"}
NAMES = ["cp + fsync", "bnfold", *(name for name in TOOLS if name != "bnfold")]


def main() -> None:
    options = parsed()
    tools = [name for name in options.tools if installed(name, options.peers)]
    start_up: dict[str, float] = {}
    for size in ["start", *(size for size in options.sizes if size != "start")]:
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            source = Path(folder) / "model.onnx"
            files = make(SIZES[size], source)
            total = sum(file.stat().st_size for file in files)
            runs, left = compared(tools, source, options)
        if size == "start":
            start_up = {name: middle(found, "wall") for name, found in runs.items()}
        print(f"\n### {size}: {total / MB:,.1f} MB, {3 * SIZES[size].blocks:,} nodes, {options.rounds} rounds\n")
        print("\n".join(table(runs, left, start_up)), flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--tools", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=sys.executable, help="the Python of the environment where the peers are installed")
    parser.add_argument("--dir", help="folder for the models and what is written; on the disk to be measured")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a run is given up")
    return parser.parse_args()


def installed(name: str, python: str) -> bool:
    """Says on stderr which peers are left out."""
    module = MODULES.get(name)
    if module is None:
        return True
    question = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)"
    found = subprocess.run([python, "-c", question, module], check=False).returncode == 0
    if not found:
        print(f"{name} is not installed, left out", file=sys.stderr)
    return found


def compared(tools: list[str], source: Path, options: argparse.Namespace) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Runs of every tool, round after round, and how many batch norms each left."""
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    left: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in tools:
            if any(run.failure for run in runs[name]):
                continue
            target = source.parent / "out" / "model.onnx"
            target.parent.mkdir(exist_ok=True)
            run = measured(command(name, source, target, options.peers), options.limit)
            runs[name].append(run)
            if not run.failure and name not in left:
                left[name] = str(batch_norms(target))
            for file in target.parent.iterdir():
                file.unlink()
    return runs, left


def batch_norms(path: Path) -> int:
    import onnx

    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path, load_external_data=False).graph.node)


def table(runs: dict[str, list[Run]], left: dict[str, str], start_up: dict[str, float]) -> Iterator[str]:
    """A markdown table, the floor first."""
    floor = middle(runs["cp + fsync"], "wall") if runs.get("cp + fsync") else 0.0
    yield "| tool | wall s | times cp | beyond start-up, times cp | CPU s | own MB | mapped MB | batch norms left |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, found in runs.items():
        if failure := next((run.failure for run in found if run.failure), ""):
            yield f"| {name} | {failure} | | | | {max(run.own for run in found) / MB:,.0f} | | |"
            continue
        wall, cpu, own, mapped = (middle(found, what) for what in ("wall", "cpu", "own", "mapped"))
        ratios = (f"{seconds / floor:.1f}" if floor else "" for seconds in (wall, max(wall - start_up[name], 0.0)))
        yield f"| {name} | {wall:.2f} | {' | '.join(ratios)} | {cpu:.2f} | {own / MB:,.0f} | {mapped / MB:,.0f} | {left[name]} |"


def middle(runs: list[Run], what: str) -> float:
    return statistics.median(getattr(run, what) for run in runs)


if __name__ == "__main__":
    main()
