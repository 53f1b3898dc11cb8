"""Can this machine's libraries be trusted? A few seconds of small nets and sums with known answers.

installation   one onnxruntime, not two that overwrite each other
arithmetic     double precision matrix products that are exact in integers; numbers below the smallest normal
               one
operators      onnxruntime and the float64 interpreter agree on every linear operator and batch norm that
               folding touches
right folds    are accepted, in float32 and float16
wrong folds    every planted fault is refused
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from ..ir.graph import ir
from ..results.comparison import Check, Comparison, Side
from ..results.options import VerifyOptions
from . import selftest_networks
from .compare import compare
from .engines.environment import ONNXRUNTIMES, installed

DOUBTFUL = (
    1e-4  # a float32 net of a few layers that is further from float64 than this is not computed rightly
)


def selftest(progress: Callable[[str, float], None] | None = None) -> list[Check]:
    """One record per check. A fault means that verdicts on this machine are worth nothing."""
    results: list[Check] = []
    for index, (name, run) in enumerate(CHECKS.items()):
        if progress is not None:
            progress(name, index / len(CHECKS))
        started = time.perf_counter()
        level, detail = run()
        results.append(Check(name, level, detail, time.perf_counter() - started))
    return results


def _installation() -> tuple[str, str]:
    found = [f"{package} {version}" for package, version in installed(ONNXRUNTIMES)]
    import onnxruntime

    providers = ", ".join(onnxruntime.get_available_providers())
    if len(found) > 1:
        return (
            "note",
            f"{' and '.join(found)} are both installed and provide the same module; uninstall all, "
            "install the one you want",
        )
    return "ok", f"{', '.join(found) or 'onnxruntime ' + onnxruntime.__version__}; {providers}"


def _arithmetic() -> tuple[str, str]:
    random = np.random.default_rng(0)
    a, b = random.integers(-(2**20), 2**20, (257, 311)), random.integers(-(2**20), 2**20, (311, 129))
    if not np.array_equal(a.astype(np.float64) @ b.astype(np.float64), (a @ b).astype(np.float64)):
        return "fault", "numpy's matrix product in double precision is not exact where it must be"
    small = np.float32(1e-42) * np.ones(64, np.float32)
    if not np.all(small + small > 0):
        return "note", "numbers below the smallest normal float32 are flushed to zero"
    return "ok", "double precision products are exact; subnormal numbers are kept"


def _cases() -> Iterator[selftest_networks.Recipe]:
    for index, stats in enumerate(selftest_networks.STATISTICS):
        yield selftest_networks.Recipe(index, depth=4, rank=index % 3 + 1, stats=stats)


def _operators() -> tuple[str, str]:
    worst = 0.0
    for recipe in _cases():
        model = ir.from_proto(selftest_networks.pair(recipe)[0])
        found = compare(Side(model), Side(model), VerifyOptions(samples=1))
        if not found:
            return "fault", f"a model is not equal to itself ({recipe.stats}): {found.reason}"
        if recipe.stats != "far means":  # there float32 itself cancels
            worst = max(worst, *(f.reference_error for r in found.providers for f in r.outputs))
    if worst > DOUBTFUL:
        return "fault", f"onnxruntime is {worst:.1e} away from float64"
    return "ok", f"onnxruntime is within {worst:.1e} of float64"


def _right(dtype: str) -> Callable[[], tuple[str, str]]:
    def run() -> tuple[str, str]:
        found = [
            verdict(selftest_networks.Recipe(i, depth=6, rank=2, stats=s, dtype=dtype))
            for i, s in enumerate(selftest_networks.STATISTICS)
            if dtype == "float32" or s in ("healthy", "dead channels", "negative scales")
        ]
        refused = [f.reason for f in found if not f]
        worst = max(f.noise for f in found)
        return (
            ("fault", f"{len(refused)} refused: {refused[0]}")
            if refused
            else ("ok", f"{len(found)} accepted, noise up to {worst:.1f}")
        )

    return run


def _wrong() -> tuple[str, str]:
    faults = (*selftest_networks.FAULTS, *selftest_networks.STRUCTURAL)
    passed = [fault for fault in faults if verdict(selftest_networks.Recipe(0, depth=6), fault)]
    return (
        ("fault", f"not seen: {', '.join(passed)}")
        if passed
        else ("ok", f"{len(faults)} planted faults refused")
    )


def verdict(recipe: selftest_networks.Recipe, fault: str | None = None) -> Comparison:
    """The gate's verdict on one pair of nets."""
    reference, candidate = selftest_networks.pair(recipe, fault)
    return compare(
        Side(ir.from_proto(reference)), Side(ir.from_proto(candidate)), VerifyOptions(seed=recipe.seed)
    )


CHECKS: dict[str, Callable[[], tuple[str, str]]] = {
    "installation": _installation,
    "arithmetic": _arithmetic,
    "operators": _operators,
    "right folds, float32": _right("float32"),
    "right folds, float16": _right("float16"),
    "wrong folds": _wrong,
}
