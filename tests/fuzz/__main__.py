"""`python -m tests.fuzz TARGET... --seconds N | --runs N`: fuzz readers for as long as you like.

Workers are started again after a crash of native code until the time is over. The corpus, and one input and
one trace for every finding, lie in the folder of `--corpus` (by default below the temporary folder); a later
run goes on from there.

Exit code 1 where there are findings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .worker import has_atheris

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    *("prototxt", "caffemodel", "cfg", "weights", "onnx_wire", "onnx_fold"),
    *("prototxt_pair", "caffemodel_pair", "weights_pair"),
    *("drawn_prototxt", "drawn_cfg", "drawn_graph"),
    *("manifest", "policy", "certificate", "inputs", "h5"),
)


def main() -> int:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "targets",
        nargs="*",
        choices=[*NAMES, []],
        metavar="TARGET",
        help=f"any of {', '.join(NAMES)}; all by default",
    )
    parser.add_argument("-s", "--seconds", type=int, default=0, help="time for each target")
    parser.add_argument("-n", "--runs", type=int, default=0, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1)
    folder = Path(tempfile.gettempdir()) / "bnfold-fuzz"
    parser.add_argument("-c", "--corpus", type=Path, default=folder, help="folder of corpora and findings")
    parser.add_argument(
        "--engine", choices=("atheris", "plain"), default="atheris" if has_atheris() else "plain"
    )
    given = parser.parse_args()
    if not given.seconds and not given.runs:
        parser.error("how long? --seconds N or --runs N")
    if given.engine == "plain":
        print("plain engine: without coverage (atheris finds far more: pip install atheris)")
    return int(sum(fuzz(target, given) for target in given.targets or NAMES) > 0)


def fuzz(target: str, given: argparse.Namespace) -> bool:
    """Fuzz one target until its time is over or its runs are done. True where something was found."""
    folder = given.corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    began, runs, seed, counts = time.time(), 0, given.seed, {}
    while True:
        left = (
            [f"--seconds={max(1, given.seconds - int(time.time() - began))}"]
            if given.seconds
            else [f"--runs={given.runs - runs}"]
        )
        (folder / "runs.json").unlink(missing_ok=True)
        with (folder / "log.txt").open("ab") as log:
            call = [
                sys.executable,
                "-m",
                "tests.fuzz.worker",
                target,
                str(folder),
                f"--seed={seed}",
                f"--engine={given.engine}",
                *left,
            ]
            ended = subprocess.run(call, cwd=ROOT, stdout=log, stderr=log, check=False)
        done = (
            json.loads((folder / "runs.json").read_text())
            if (folder / "runs.json").exists()
            else {"runs": 0, "findings": {}}
        )
        runs += done["runs"]
        for key, count in done["findings"].items():
            counts[key] = counts.get(key, 0) + count
        if ended.returncode == 0:
            break
        key = f"the process ended with {ended.returncode} (see {folder / 'log.txt'})"
        counts[key] = counts.get(key, 0) + 1
        if (
            not done["runs"]
            or (given.seconds and time.time() - began >= given.seconds)
            or (given.runs and runs >= given.runs)
        ):
            break
        seed += 1
    print(f"{target}: {runs:,} inputs in {time.time() - began:.0f} s, {len(counts)} findings")
    print("".join(f"  {count} x {key}\n" for key, count in counts.items()), end="", flush=True)
    return bool(counts)


if __name__ == "__main__":
    sys.exit(main())
