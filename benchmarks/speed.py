"""How long folding takes and how much memory, beside copying the file and beside other tools, and which goals
that meets.

    python benchmarks/speed.py --peers /path/to/venv/bin/python     everything, most of an hour; peers:
                                                                    onnxsim, onnxslim, ...
    python benchmarks/speed.py --rows "100 MB" --rounds 5
    python benchmarks/speed.py ... --page docs/benchmarks.md        the tables as a page
    python benchmarks/speed.py --quick --check                      what tells most, in some ten minutes;
                                                                    exit 1 where a ratio misses its goal

Every tool runs in a process of its own, in turn, so that a busy moment of the machine meets all of them;
figures are medians. A tool that takes longer than --patience is run once. `cp + fsync` is the floor: the file
is read and written once and is on the disk. bnfold syncs its output too; the others do not. What a tool takes
for a model of a few bytes is its start-up. How many batch norms are left stands in the last column: a tool
that leaves them has done another job.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from goals import COPY, IMPORTS, ONE_THREAD, OURS, OWN, VERIFIED, failed, held, held_help, middle
from growing import GROWING
from latency import HEADING
from measure import MB, Run, compile_package, measured
from rows import QUICK, ROWS, START, Row
from scaling import HEAD as SCALING_HEAD
from scaling import LIMIT as STRAIGHT
from scaling import exponent, picture, scaled
from scaling import table as scaling_table
from tools import TOOLS, command, environment

MODULES = {
    "onnxsim": "onnxsim",
    "onnxslim": "onnxslim",
    "onnxoptimizer": "onnxoptimizer",
    "onnxscript": "onnxscript",
}
PACKAGES = ("numpy", "onnx", "onnx_ir", "onnxruntime", *MODULES.values())
NAMES = [COPY, IMPORTS, OURS, VERIFIED, ONE_THREAD, *(name for name in TOOLS if name != OURS)]
INTRODUCTION = """# Speed and memory

`python benchmarks/speed.py` makes these tables. The networks are chains of 3x3 Conv-BN-ReLU, and VGG-16 for
Caffe. Every tool works from file to file, in a process of its own; the tools take turns, and the tables have
medians. `cp + fsync` is the lower bound. bnfold syncs the files that it writes, the other tools do not.
`bnfold` is `bnfold fold --no-verify`, and `bnfold, verified` is `bnfold fold` with its defaults. Own memory
is anonymous memory; mapped memory is pages of files, which the kernel may drop at any time. The
[goals](#goals) are at the end.
"""
REMARKS = (
    "",
    "What stands behind them:",
    "",
    "- **Many nodes, many tensors.** Each is an object of onnx_ir: about 0.25 ms and 14 kB for a node with",
    "  its tensors. Tools that only parse and write, or are C++, are faster.",
    "- **100 MB and less.** Start-up decides: Python, numpy, onnx and onnx_ir come before the first byte.",
    "  onnx alone folds nothing; its row is the time of load and save.",
    "- **Tools that do not sync** have a file that is not on the disk yet; `cp + fsync` shows its price.",
)
SCALING = (
    "## How time grows",
    "",
    "Processor time of `bnfold fold --no-verify` for models that grow along one dimension alone, and the",
    "exponent that fits it: 1 is a straight line. Made by `benchmarks/scaling.py`.",
    "",
    "![time against size](scaling.svg)",
)
HEAD = (
    "| tool | wall s | times cp | beyond start-up, times cp | CPU s | own MB | mapped MB | batch "
    "norms left |\n|---|" + "---:|" * 7
)


def main() -> None:
    options = parsed()
    compile_package()
    page = list(introduction(options))
    print("\n".join(page), flush=True)
    goals = []
    tools = [name for name in options.tools if installed(name, options.peers)]
    start_up: dict[str, float] = {}
    for name in [START, *(name for name in options.rows if name != START)]:
        if ROWS[name].exported and not options.torch:
            print(f"{name} is left out: torch makes it, see --torch", file=sys.stderr)
            continue
        size, runs, left = measured_row(ROWS[name], tools, options)
        if name == START:
            start_up = {tool: middle(found, "wall") for tool, found in runs.items() if not failed(found)}
            goals += helped(options.rounds)
        section = ["", f"## {name} ({size / MB:,.1f} MB)", "", HEAD, *table(runs, left, start_up)]
        goals += held(name, size, runs, start_up.get(OURS, 0.0))
        print("\n".join(section), flush=True)
        page += section
    grown = scaled(options.grow, 1, options.limit)
    section = ["", *SCALING, "", SCALING_HEAD, *scaling_table(grown), ""]
    section += ["## Goals", "", "| model | goal | verdict | figures |", "|---|---|---|---|", *goals]
    section += REMARKS
    print("\n".join(section))
    if options.page:
        before = options.page.read_text() if options.page.exists() else ""
        latency = [HEADING + before.split(HEADING)[1]] if HEADING in before else [""]  # latency.py's part
        options.page.write_text("\n".join([*page, *section, "", *latency]))
        options.page.with_name("scaling.svg").write_text(picture(grown))
    missed = any("| ratio | **missed**" in goal for goal in goals)
    if options.check and (missed or any(exponent(points) >= STRAIGHT for points in grown.values())):
        sys.exit(1)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--tools", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quick", action="store_true", help="few rows, and little patience with slow tools")
    parser.add_argument("--check", action="store_true", help="exit 1 where a ratio or an exponent is missed")
    parser.add_argument("--grow", nargs="*", choices=GROWING, default=list(GROWING), help="what grows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=20, help="seconds beyond which a tool is run once")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a run is given up")
    parser.add_argument(
        "--peers", default=sys.executable, help="the Python of the environment where the peers are installed"
    )
    parser.add_argument("--torch", help="the Python of an environment that has torch, torchvision and timm")
    parser.add_argument("--dir", help="folder for the models and what is written; on the disk to be measured")
    parser.add_argument("--page", type=Path, help="write everything as a page of Markdown, too")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.patience, options.limit = list(QUICK), 5, 30
    return options


def introduction(options: argparse.Namespace) -> Iterator[str]:
    """What the page says before its tables."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    asked = (
        "import importlib.metadata as m, sys\nfor name in sys.argv[1:]:\n try: print(name, "
        "m.version(name))\n except Exception: pass"
    )
    versions = subprocess.run(
        [options.peers, "-c", asked, *PACKAGES], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    yield from (*INTRODUCTION.splitlines(), "")
    machine = (
        f"{os.cpu_count()} processors, {memory / 1e9:.0f} GB of memory, {platform.system()} "
        f"{platform.release()}"
    )
    yield f"{date.today()}, {machine}, Python {platform.python_version()}; {', '.join(versions)}."
    yield (
        f"{options.rounds} rounds, one where a run takes over {options.patience:.0f} s; given up after "
        f"{options.limit:.0f} s."
    )


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


def measured_row(
    row: Row, tools: list[str], options: argparse.Namespace
) -> tuple[int, dict[str, list[Run]], dict[str, str]]:
    """Bytes of the model, runs of every tool that can read it, and how many batch norms each left."""
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        files = row.made(Path(folder), options.torch)
        size = sum(file.stat().st_size for file in files)
        os.sync()
        runs, left = compared([tool for tool in tools if row.peers or tool in OWN], files, row, options)
    return size, runs, left


def compared(
    tools: list[str], files: list[Path], row: Row, options: argparse.Namespace
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Runs of every tool, round after round, each onto a fresh target."""
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    left: dict[str, str] = {}
    out = files[0].parent / "out"
    out.mkdir()
    for _ in range(options.rounds):
        for name in tools:
            if any(run.failure or run.wall > options.patience for run in runs[name]):
                continue
            target = out / f"model{row.suffix}"
            words = command(name, files, row.arguments, target, options.peers)
            run = measured(words, options.limit, environment(name), out)
            runs[name].append(run)
            if not run.failure and name not in left:
                left[name] = str(batch_norms(target)) if target.exists() else ""
            shutil.rmtree(out)  # a tool that was given up may leave anything
            out.mkdir()
    return runs, left


def batch_norms(path: Path) -> int:
    """How many a model has, whatever its format."""
    if path.suffix != ".onnx":
        text = path.read_text()
        return text.count('"BatchNorm"') + text.count("batch_normalize=1")
    import onnx

    return sum(
        node.op_type == "BatchNormalization" for node in onnx.load(path, load_external_data=False).graph.node
    )


def helped(rounds: int) -> list[str]:
    """How long the answers take that need no model."""
    commands = {option: [sys.executable, "-m", "bnfold", option] for option in ("--help", "--version")}
    return [
        held_help(f"`{option}`", [measured(words, 10) for _ in range(max(rounds, 3))])
        for option, words in commands.items()
    ]


def table(runs: dict[str, list[Run]], left: dict[str, str], start_up: dict[str, float]) -> Iterator[str]:
    """A line for each tool, the floor first."""
    floor = middle(runs[COPY], "wall") if runs.get(COPY) else 0.0
    for name, found in runs.items():
        if failure := failed(found):
            yield (
                f"| {name} | {failure.replace('|', '/')} | | | | "
                f"{max(run.own for run in found) / MB:,.0f} | | |"
            )
            continue
        wall, cpu, own, mapped = (middle(found, what) for what in ("wall", "cpu", "own", "mapped"))
        ratios = (
            f"{seconds / floor:.1f}" if floor else ""
            for seconds in (wall, max(wall - start_up.get(name, 0.0), 0.0))
        )
        yield (
            f"| {name} | {wall:.2f} | {' | '.join(ratios)} | {cpu:.2f} | {own / MB:,.0f} | "
            f"{mapped / MB:,.0f} | {left[name]} |"
        )


if __name__ == "__main__":
    main()
