"""What each tool makes of small models, one situation around folding each.

    python benchmarks/cases.py FOLDER --peers /path/to/venv/bin/python [--tools bnfold onnxsim] [--only REGEX]

FOLDER holds `cases.json`, the models, seeded inputs `ID.feedN.npz` and float64 results `ID.ref.npz` (arrays
`N|output number`). Of each case are read: `id`, `expect` (fold, keep, either), `tier`, `valid`, `may_refuse`,
`vanish` (operator -> how many may be left), `ops` (how many there were), `tol` and `ref.rel0` (the error that
the unfolded model has already). Every tool runs in a process of its own, and so does onnxruntime, which
judges what they write, with its optimisations off.

    folded   all that can vanish is gone, result equal      raised   an error in words, no file
    partly   some of it is gone, result equal               crash    the process died or did not answer
    kept     left in place, result equal                    WRONG    other numbers or other outputs
    unrun    onnxruntime cannot run the original either     INVALID  onnxruntime cannot run the result
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tools import HERE, TOOLS
from worker import Worker

Case = dict[str, Any]
LIMIT = 60.0  # seconds for one model of a few nodes
NAMES = ["bnfold", *(name for name in TOOLS if name not in ("bnfold", "onnx load + save"))]
GOOD = {
    "fold": {"folded"},
    "keep": {"kept"},
    "either": {"folded", "partly", "kept"},
    "broken": {"raised", "kept"},
}
NOISE = 30  # times the unfolded model's own error: rounding that fell another way


def main() -> None:
    options = parsed()
    if options.judge:
        judge_lines()
        return
    cases = [
        case
        for case in json.loads((options.folder / "cases.json").read_text())
        if re.search(options.only, case["id"])
    ]
    verdicts = {name: dict(tried(name, cases, options)) for name in options.tools}
    print("\n".join(table(cases, verdicts)))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tools", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--peers", default=sys.executable, help="the Python of the environment where the peers are installed"
    )
    parser.add_argument("--only", default="", help="regular expression on case ids")
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def tried(name: str, cases: list[Case], options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(case id, verdict) for one tool."""
    python = sys.executable if name == "bnfold" else options.peers
    tool = Worker([python, str(HERE / "tools.py"), name], LIMIT)
    judge = Worker([sys.executable, str(HERE / "cases.py"), str(options.folder), "--judge"], LIMIT)
    with contextlib.closing(tool), contextlib.closing(judge), tempfile.TemporaryDirectory() as folder:
        for case in cases:
            target = Path(folder) / f"{case['id']}.onnx"
            answer = tool.ask(f"{options.folder / target.name}\t{target}")
            if answer is None:
                verdict = "crash"
            elif answer != "ok" or not target.exists():
                verdict = "raised"
            else:
                verdict = judge.ask(f"{json.dumps(case)}\t{target}") or died(judge, case, options.folder)
            print(f"{name:18} {verdict:8} {case['id']}", file=sys.stderr, flush=True)
            yield case["id"], verdict


def died(judge: Worker, case: Case, folder: Path) -> str:
    """onnxruntime crashed: on the result alone, or on the original too?"""
    return "INVALID" if judge.ask(f"{json.dumps(case)}\t{folder / case['id']}.onnx") else "unrun"


def judge_lines() -> None:
    """The judging process: a case and a file for each line, a word for an answer."""
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        case, target = line.rstrip("\n").split("\t")
        print(judged(json.loads(case), folder, target), flush=True)


def judged(case: Case, folder: Path, target: str) -> str:
    source = folder / f"{case['id']}.onnx"
    left = census(target)
    gone = all(left[op] <= most for op, most in case["vanish"].items())
    if not case["valid"]:
        return "WRONG" if gone else "kept"
    feeds = [dict(np.load(path)) for path in sorted(folder.glob(f"{case['id']}.feed*.npz"))]
    feeds = [{name.replace("\\", "/"): values for name, values in feed.items()} for feed in feeds]
    if not all(results(str(source), feed) for feed in feeds):
        return "unrun"
    with np.load(folder / f"{case['id']}.ref.npz") as wanted:
        worst = 0.0
        for number, feed in enumerate(feeds):
            if (found := results(target, feed)) is None:
                return "INVALID"
            expected = [
                wanted[f"{number}|{i}"]
                for i in range(sum(key.startswith(f"{number}|") for key in wanted.files))
            ]
            worst = (
                max([worst, *map(relative_error, found, expected)]) if len(found) == len(expected) else np.inf
            )
    if not worst <= max(case["tol"], NOISE * case["ref"]["rel0"]):
        return "WRONG"
    fewer = any(left[op] < case["ops"].get(op, 0) for op in case["vanish"])
    return "folded" if gone else "partly" if fewer else "kept"


def census(path: str) -> collections.Counter[str]:
    """How many nodes of each operator, in all graphs and functions."""
    import onnx_ir as ir

    model = ir.load(path)
    graphs = [model.graph, *model.functions.values()]
    return collections.Counter(
        node.op_type for graph in graphs for node in ir.traversal.RecursiveGraphIterator(graph)
    )


def results(path: str, feed: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """All outputs without optimisations; None where onnxruntime cannot."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feed))
    except Exception:  # any refusal is the answer; the library has no common class for them
        return None


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest error relative to the largest magnitude in its channel; infinite where shapes or what is not
    finite differ."""
    if found.shape != expected.shape:
        return np.inf
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(
        np.where(finite, 0, expected), np.where(np.isfinite(found), 0, found), equal_nan=True
    ):
        return np.inf
    error, size = np.where(finite, np.abs(found - expected), 0), np.where(finite, np.abs(expected), 0)
    axes = tuple(axis for axis in range(error.ndim) if axis != 1) if error.ndim > 1 else None
    scale = np.maximum(size.max(axis=axes, initial=0), max(1e-3 * size.max(initial=0), 1e-30))
    return float((error.max(axis=axes, initial=0) / scale).max(initial=0))


def table(cases: list[Case], verdicts: dict[str, dict[str, str]]) -> Iterator[str]:
    """Every case, then how many of each kind are as they should be, then what went wrong."""
    tools, rule = " | ".join(verdicts), "|---|---:|---|" + "---|" * len(verdicts)
    yield from (f"| case | tier | should be | {tools} |", rule)
    for case in cases:
        yield (
            f"| {case['id']} | {case['tier']} | {wanted_of(case)} | "
            f"{' | '.join(found[case['id']] for found in verdicts.values())} |"
        )
    yield from ("", f"| as they should be | tier | kind | {tools} |", rule)
    for kind, tier in sorted({(wanted_of(case), case["tier"]) for case in cases}):
        these = [case for case in cases if (wanted_of(case), case["tier"]) == (kind, tier)]
        counts = (str(sum(good(case, found[case["id"]]) for case in these)) for found in verdicts.values())
        yield f"| of {len(these)} | {tier} | {kind} | {' | '.join(counts)} |"
    for word in ("WRONG", "INVALID", "crash", "raised", "unrun"):
        yield (
            f"| {word} | | | "
            f"{' | '.join(str(list(found.values()).count(word)) for found in verdicts.values())} |"
        )


def good(case: Case, word: str) -> bool:
    return word in GOOD[wanted_of(case)] or (word == "raised" and case.get("may_refuse", False))


def wanted_of(case: Case) -> str:
    return case["expect"] if case["valid"] else "broken"


if __name__ == "__main__":
    main()
