"""The whole matrix on a machine with a GPU: does a folded model compute the same on CUDA, and what error is
whose?

    python -m benchmarks.cuda_verify [--ep cuda] [--out cuda_verify.json] [--quick]

Rows: the sample network and nets of 1-D to 3-D convolutions (grouped, depthwise, dilated, transposed), in
float32 and float16, folded rightly and with planted faults. Each row is one comparison on the CPU and on the
provider, TF32 off, with TF32 besides as information. The JSON holds every figure, the versions of
onnxruntime, CUDA, cuDNN and driver, the names of GPU and processor; the table is printed. Exit code 0 if
every verdict is as it must be, 1 if one is not, 5 if the provider is not there or does not do the work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bnfold
from bnfold.errors import NO_PROVIDER, NOT_EQUIVALENT, OK, ProviderUnavailable
from bnfold.ir.graph import ir
from bnfold.results.comparison import Comparison, Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.selftest_networks import Recipe, pair

ROOT = Path(__file__).resolve().parents[1]
FAULTS = (
    "epsilon 1e-6 for 1e-5",
    "dropped bias",
    "two channels swapped",
    "shift under padding",
    "folded across a relu",
)
SHOWN_IN_HALF = FAULTS[1:]


@dataclass(frozen=True)
class Row:
    """One comparison: two models, and whether they are the same."""

    name: str
    reference: Side
    candidate: Side
    same: bool


def rows(quick: bool) -> Iterator[Row]:
    sample = bnfold.load(ROOT / "samples" / "digits.onnx")
    yield Row("samples/digits.onnx", Side(_model(sample)), Side(_model(bnfold.fold(sample).model)), True)
    for dtype in ("float32", "float16"):
        for rank in (1, 2, 3):
            for depth in (4,) if quick else (4, 12):
                recipe = Recipe(
                    100 * rank + depth, depth, rank, channels=16, size=16 if rank < 3 else 8, dtype=dtype
                )
                yield _row(recipe, None)
                for fault in FAULTS if dtype == "float32" else SHOWN_IN_HALF:
                    yield _row(recipe, fault)


def _row(recipe: Recipe, fault: str | None) -> Row:
    reference, candidate = (Side(ir.from_proto(model)) for model in pair(recipe, fault))
    return Row(
        f"{recipe.rank}-D, {recipe.depth} blocks, {recipe.dtype}, {fault or 'right'}",
        reference,
        candidate,
        fault is None,
    )


def _model(loaded: Any) -> ir.Model:
    return loaded.model if hasattr(loaded, "model") else loaded


def shown(row: Row, found: Comparison, seconds: float) -> dict[str, Any]:
    """One line of the table, and everything for the JSON."""
    last = found.providers[-1] if found.providers else None
    good = bool(found) == row.same
    figures = found.reason
    if last:
        figures = "  ".join(
            (
                f"noise {last.noise:9.3g}",
                f"provider {_number(last.provider_error)}",
                f"TF32 {_number(last.tf32_error)}",
                f"spread {_number(last.spread)}",
            )
        )
    print(
        f"{'ok ' if good else 'BAD'} {row.name:<58} {'same' if found else 'differ':<7} {figures}  "
        f"{seconds:5.1f} s",
        flush=True,
    )
    return {
        "name": row.name,
        "wanted": row.same,
        "good": good,
        "seconds": seconds,
        "verification": json.loads(found.to_json()),
    }


def _number(value: float | None) -> str:
    return "      -" if value is None else f"{value:7.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--ep", default="cuda", help="the execution provider (default cuda)")
    parser.add_argument("--out", type=Path, default=Path("cuda_verify.json"))
    parser.add_argument("--quick", action="store_true", help="one depth instead of two")
    options = parser.parse_args()
    results = []
    providers = tuple(dict.fromkeys(("cpu", options.ep)))
    try:
        for row in rows(options.quick):
            started = time.perf_counter()
            found = compare(row.reference, row.candidate, VerifyOptions(providers=providers))
            results.append(shown(row, found, time.perf_counter() - started))
    except ProviderUnavailable as error:
        print(f"cuda_verify: {error}", file=sys.stderr)
        return NO_PROVIDER
    finally:
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    bad = sum(not result["good"] for result in results)
    print(f"{len(results) - bad} of {len(results)} verdicts as they must be; figures in {options.out}")
    return NOT_EQUIVALENT if bad else OK


if __name__ == "__main__":
    sys.exit(main())
