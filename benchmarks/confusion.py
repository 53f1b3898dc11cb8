"""The confusion table: which gate accepts right rewritings and refuses wrong ones?

    python -m benchmarks.confusion [--pairs 3] [--right 500] [--wrong 3] [--dtype float32] [--json FILE]
    python -m benchmarks.confusion --small        under a minute; ends with 1 where a gate of ours is wrong

families    small networks of ten families (confusion_networks.py), rewritten rightly in every way there is
            (confusion_rewritings.py), or with one planted fault (confusion_faults.py); under other names
            every second time
blocks      random nets of 1 to 150 blocks (bnfold/verifying/selftest_networks.py), folded rightly, or with
            one planted fault

Our gate stands beside the fixed tolerances of other tools, which compare two onnxruntime runs on one uniform
sample with numpy's allclose:

    onnxsim 1e-4/1e-5    onnxslim 1e-3/1e-4    polygraphy 1e-5/1e-5    (rtol/atol, their defaults)

A pair whose planted fault changes nothing in exact arithmetic (a dead channel's bias behind a ReLU, an
epsilon beside a variance of 1e28) is a right fold, and is counted as one: what decides is the float64 run of
both models, beyond what rounding the weights can do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bnfold.errors import BnfoldError
from bnfold.ir.graph import ir
from bnfold.results.comparison import Comparison, Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.engines.engines import Onnxruntime
from bnfold.verifying.selftest_networks import EVERYWHERE, FAULTS, STATISTICS, STRUCTURAL, Recipe, pair
from bnfold.verifying.truth.interpreter import Interpreter

from .confusion_faults import FAULTS as PLANTED
from .confusion_faults import Pair
from .confusion_networks import FAMILIES
from .confusion_rewritings import MISSING, REWRITINGS, copied, renamed

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
    weights: Counter[str] = field(default_factory=Counter)
    right: bool = True

    def count(self, sides: tuple[Side, Side], options: VerifyOptions, words: str) -> Comparison | None:
        """Ask our gate about one pair."""
        self.pairs += 1
        try:
            found = compare(*sides, options)
        except BnfoldError as error:
            if self.right:
                self.strays.append(f"{words}: {error}")
            return None
        self.accepted["ours"] += bool(found)
        self.accepted["ours, outputs alone"] += all(r.passed for r in found.providers) and bool(
            found.providers
        )
        self.noise.append(found.noise)
        self.folds.append(max((f.noise for f in found.folds), default=0.0))
        self.seconds.append(found.seconds)
        self.alone.append(sum(found.providers[0].seconds) if found.providers else 0.0)
        if found.proof is not None:
            proof = found.proof
            self.weights.update(proved=proof.proved, seen=proof.seen, unseen=proof.unseen)
        if bool(found) != self.right:
            self.strays.append(f"{words}: {found.reason or 'accepted'}")
        return found


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
    """Add one pair of random nets to its row."""
    made = [ir.from_proto(proto) for proto in pair(recipe, fault)]
    row.right = fault is None
    words = f"{recipe.stats}, depth {recipe.depth}, seed {recipe.seed}"
    found = row.count((Side(made[0]), Side(made[1])), VerifyOptions(seed=recipe.seed), words)
    a, b = uniform(made, recipe)
    for name, (rtol, atol) in TOLERANCES.items():
        row.accepted[name] += bool(np.allclose(b, a, rtol=rtol, atol=atol))
    if found and not row.right:
        row.strays[-1] += same(made, recipe, found)


# -- families


SIZES = {"N": 2, "H": 32, "W": 32, "T": 8}


def random_of(*words: object) -> np.random.Generator:
    return np.random.default_rng([sum(map(ord, str(word))) for word in words])


def rewritings(pairs: int, small: bool) -> Iterator[Row]:
    """Right pairs: every network of every family in every right form that onnxruntime runs (a tool may write
    files that no engine takes; those are none)."""
    for place, (name, rewriting) in enumerate(REWRITINGS.items()):
        row = Row(name)
        for at, (family, network) in enumerate(FAMILIES.items()):
            for seed in range(pairs):
                if small and (place + at) % 3:
                    continue
                reference = network(random_of(family, seed))
                candidate = rewriting(reference)
                if (
                    candidate is not None
                    and _answers(Side(ir.from_proto(candidate)), reference, seed) is not None
                ):
                    _add(row, reference, candidate, seed, f"{family} {seed}")
        yield row


def faults(pairs: int, small: bool) -> Iterator[Row]:
    """Wrong pairs: every fault in every family that it fits, in one right form after the other."""
    forms = [name for name in REWRITINGS if not name.endswith("renamed")]
    for name, fault in PLANTED.items():
        row = Row(name, right=False)
        for at, (family, network) in enumerate(FAMILIES.items()):
            for seed in range(pairs):
                if small and row.pairs >= 2:
                    continue
                random = random_of(family, seed)
                reference = network(random)
                form = forms[(at + seed + len(row.name)) % len(forms)]
                candidate = REWRITINGS[form](reference) or copied(reference)
                drawn = Pair(reference, candidate, random, SIZES)
                if not fault(drawn):
                    continue
                candidate = renamed(drawn.candidate) if (at + seed) % 2 else drawn.candidate
                _add(row, drawn.reference, candidate, seed, f"{family} {seed}, {form}")
        if row.pairs:
            yield row


def _add(row: Row, reference: onnx.ModelProto, candidate: onnx.ModelProto, seed: int, words: str) -> None:
    sides = (Side(ir.from_proto(reference)), Side(ir.from_proto(candidate)))
    row.count(sides, VerifyOptions(seed=seed), words)
    answers = [_answers(side, reference, seed) for side in sides]
    for name, (rtol, atol) in TOLERANCES.items():
        row.accepted[name] += _close(*answers, rtol, atol)


def _answers(side: Side, reference: onnx.ModelProto, seed: int) -> dict[str, np.ndarray] | None:
    """One uniform sample in onnxruntime, as other tools look at it; None where it does not run."""
    random = np.random.default_rng(seed)
    feed = {}
    for value in reference.graph.input:
        kind = value.type.tensor_type
        if not kind.shape.dim:
            continue  # has a default value
        shape = [d.dim_value or SIZES[d.dim_param] for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        whole = np.issubdtype(dtype, np.integer)
        feed[value.name] = (random.integers(0, 40, shape) if whole else random.random(shape)).astype(dtype)
    try:
        with Onnxruntime().open(side) as runner:
            return dict(runner.run(feed))
    except Exception:
        return None


def _close(
    ours: dict[str, np.ndarray] | None, theirs: dict[str, np.ndarray] | None, rtol: float, atol: float
) -> bool:
    if ours is None or theirs is None or ours.keys() != theirs.keys():
        return False
    return all(
        ours[name].shape == theirs[name].shape
        and np.allclose(theirs[name].astype(np.float64), ours[name].astype(np.float64), rtol=rtol, atol=atol)
        for name in ours
    )


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
        sum(map(sum, kind)) for kind in zip(*((r.seconds, r.alone) for r in rows), strict=True)
    )
    print(f"\nverification took {verified:.1f} s, the two onnxruntime runs alone {alone:.1f} s")
    for row in rows:
        for stray in row.strays:
            print(f"  {row.name}: {stray}")


def summary(rows: list[Row]) -> bool:
    """The totals; whether our gate was right about every pair."""
    good, bad = [r for r in rows if r.right], [r for r in rows if not r.right]
    pairs, planted = sum(r.pairs for r in good), sum(r.pairs for r in bad)
    for gate in GATES:
        refused = pairs - sum(r.accepted[gate] for r in good)
        passed = sum(r.accepted[gate] for r in bad)
        print(
            f"{gate:<22} faults passed {passed:>4} of {planted}, right pairs refused {refused:>4} of {pairs}"
        )
    weights: Counter[str] = sum((r.weights for r in good), Counter())
    total = max(sum(weights.values()), 1)
    print(f"weights of right pairs neither proved nor seen: {weights['unseen']} of {total}")
    if MISSING:
        print(f"not installed, and so not asked: {', '.join(MISSING)}")
    return all(r.accepted["ours"] == (r.pairs if r.right else 0) for r in rows)


def blocks(count: int, each: int, dtype: str) -> Iterator[Row]:
    """Random nets of many depths."""
    if count:
        row = Row("random nets, folded")
        for recipe in right(count, dtype):
            judged(row, recipe, None)
        yield row
    for fault in (*FAULTS, *STRUCTURAL) if each else ():
        row = Row(fault + (", in every block" if fault in EVERYWHERE else ""), right=False)
        for recipe in wrong(each, dtype):
            judged(row, recipe, fault)
        yield row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=3, help="networks of each family")
    parser.add_argument("--right", type=int, default=500, help="random nets that are folded rightly")
    parser.add_argument("--wrong", type=int, default=3, help="random nets per fault and depth (10, 50, 150)")
    parser.add_argument("--dtype", default="float32", help="of the random nets")
    parser.add_argument("--small", action="store_true", help="a part of the families and no random nets")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    pairs = min(options.pairs, 1) if options.small else options.pairs
    rows = [*rewritings(pairs, options.small), *faults(pairs, options.small)]
    if not options.small:
        rows += blocks(options.right, options.wrong, options.dtype)
    table(rows)
    fine = summary(rows)
    print(f"{time.perf_counter() - started:.0f} s in all")
    if options.json:
        content: list[dict[str, Any]] = [
            {**vars(row), "accepted": dict(row.accepted), "weights": dict(row.weights)} for row in rows
        ]
        options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
