"""The confusion table: which gate accepts right folds and refuses wrong ones?

    python -m benchmarks.confusion [--right 500] [--wrong 3] [--dtype float32] [--json FILE]

Random nets of 1 to 150 blocks (bnfold/verifying/selftest_networks.py) are folded rightly, or with one planted
fault. Our gate stands beside the fixed tolerances of other tools, which compare two onnxruntime runs on one
uniform sample with numpy's allclose:

    onnxsim 1e-4/1e-5    onnxslim 1e-3/1e-4    polygraphy 1e-5/1e-5    (rtol/atol, their defaults)

A pair whose planted fault changes nothing in exact arithmetic (a dead channel's bias behind a ReLU, an
epsilon beside a variance of 1e28) is a right fold, and is counted as one: what decides is the float64 run of
both models, beyond what rounding the weights can do.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bnfold.ir.graph import ir
from bnfold.results.comparison import Comparison, Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.engines.engines import Onnxruntime
from bnfold.verifying.selftest_networks import EVERYWHERE, FAULTS, STATISTICS, STRUCTURAL, Recipe, pair
from bnfold.verifying.truth.interpreter import Interpreter

TOLERANCES = {
    "onnxslim 1e-3/1e-4": (1e-3, 1e-4),
    "onnxsim 1e-4/1e-5": (1e-4, 1e-5),
    "polygraphy 1e-5/1e-5": (1e-5, 1e-5),
}
GATES = ("ours", "ours, outputs alone", *TOLERANCES)
DEPTHS = (1, 2, 3, 5, 10, 20, 50, 150)
WRONG_DEPTHS = (10, 50, 150)


@dataclass
class Row:
    """One kind of pair: how many there were, how many each gate accepted, and our figures."""

    name: str
    pairs: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    noise: list[float] = field(default_factory=list)
    folds: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def right(count: int, dtype: str) -> Iterator[Recipe]:
    kinds = list(STATISTICS) if dtype == "float32" else ["healthy", "dead channels", "negative scales"]
    for seed in range(count):
        depth = DEPTHS[seed % len(DEPTHS)]
        rank = (1, 2, 2, 3)[(seed // len(DEPTHS)) % 4] if depth <= 20 else 2
        yield Recipe(
            10_000 + seed,
            depth,
            rank,
            channels=(8, 12, 24)[seed % 3],
            stats=kinds[seed % len(kinds)],
            dtype=dtype,
        )


def wrong(count: int, dtype: str) -> Iterator[Recipe]:
    for depth in WRONG_DEPTHS:
        for seed in range(count):
            yield Recipe(
                20_000 + 100 * depth + seed,
                depth,
                stats=("healthy", "negative scales", "dead channels")[seed % 3],
                dtype=dtype,
            )


def judged(row: Row, recipe: Recipe, fault: str | None) -> None:
    """Add one pair to its row."""
    made = [ir.from_proto(proto) for proto in pair(recipe, fault)]
    found = compare(Side(made[0]), Side(made[1]), VerifyOptions(seed=recipe.seed))
    row.pairs += 1
    row.accepted["ours"] += bool(found)
    row.accepted["ours, outputs alone"] += all(r.passed for r in found.providers) and bool(found.providers)
    row.noise.append(found.noise)
    row.folds.append(max((f.noise for f in found.folds), default=0.0))
    row.seconds.append(found.seconds)
    row.alone.append(sum(found.providers[0].seconds) if found.providers else 0.0)
    a, b = uniform(made, recipe)
    for name, (rtol, atol) in TOLERANCES.items():
        row.accepted[name] += bool(np.allclose(b, a, rtol=rtol, atol=atol))
    if bool(found) != (fault is None):
        why = (found.reason or "accepted") + same(made, recipe, found)
        row.strays.append(f"{recipe.stats}, depth {recipe.depth}, seed {recipe.seed}: {why}")


def uniform(made: list[ir.Model], recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """What other tools look at: both models in onnxruntime, one sample of U[0, 1)."""
    shape = (1, 3, *(recipe.size,) * recipe.rank)
    feed = {"x": np.random.default_rng(recipe.seed).random(shape).astype(recipe.dtype)}
    answers = []
    for model in made:
        with Onnxruntime().open(Side(model)) as runner:
            answers.append(runner.run(feed)["y"].astype(np.float64))
    return answers[0], answers[1]


def same(made: list[ir.Model], recipe: Recipe, found: Comparison) -> str:
    """Why an accepted fault may be none: how far apart the two are in exact arithmetic."""
    if not found:
        return ""
    shape = (2, 3, *(recipe.size,) * recipe.rank)
    feed = {"x": np.random.default_rng(recipe.seed).standard_normal(shape).astype(recipe.dtype)}
    a, b = (Interpreter(model).run(feed)["y"] for model in made)
    return f" (in float64 the outputs differ by {np.abs(a - b).max() / max(np.abs(a).max(), 1e-30):.1e})"


def table(rows: list[Row]) -> None:
    width = max(len(row.name) for row in rows)
    print(
        "\naccepted, of all pairs"
        + " " * (width - 14)
        + "  ".join(GATES)
        + "   noise (median, largest)   folds alone"
    )
    for row in rows:
        cells = "  ".join(f"{row.accepted[gate]:>{len(gate)}}" for gate in GATES)
        print(
            f"{row.name:<{width}} {row.pairs:>5}  {cells}   {np.median(row.noise):10.3g} "
            f"{max(row.noise):10.3g}   "
            f"{np.median(row.folds):9.3g} {max(row.folds):9.3g}"
        )
    verified, alone = (
        sum(sum(values) for values in kind)
        for kind in zip(*((r.seconds, r.alone) for r in rows), strict=True)
    )
    print(f"\nverification took {verified:.1f} s, the two onnxruntime runs alone {alone:.1f} s")
    for row in rows:
        for stray in row.strays:
            print(f"  {row.name}: {stray}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--right", type=int, default=500)
    parser.add_argument("--wrong", type=int, default=3, help="nets per fault and depth (10, 50, 150)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    rows = [Row("right folds")]
    for recipe in right(options.right, options.dtype):
        judged(rows[0], recipe, None)
    for fault in (*FAULTS, *STRUCTURAL):
        rows.append(Row(fault + (", in every block" if fault in EVERYWHERE else "")))
        for recipe in wrong(options.wrong, options.dtype):
            judged(rows[-1], recipe, fault)
    table(rows)
    print(f"{time.perf_counter() - started:.0f} s in all, {options.dtype}")
    if options.json:
        content: list[dict[str, Any]] = [{**vars(row), "accepted": dict(row.accepted)} for row in rows]
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
