"""Does time grow in a straight line? Processor time of `bnfold fold --no-verify` for models that grow along
one dimension (growing.py), beyond that of a model of a few bytes, and the exponent that fits it.

    python benchmarks/scaling.py                                  a table; about two minutes
    python benchmarks/scaling.py --rows nodes depth --rounds 3
    python benchmarks/scaling.py --picture docs/scaling.svg       the same as a picture
    python benchmarks/scaling.py --check                          exit 1 where an exponent is not below 1.1
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from growing import GROWING, nodes
from measure import compile_package, measured

LIMIT = 1.1  # an exponent below it is a straight line, within what a measurement shows
HEAD = "| grows | sizes | CPU s beyond start-up | exponent |\n|---|---|---|---:|"
SIDE, MARGIN = 360, 48
COLOURS = (
    "#1b6ca8",
    "#c8553d",
    "#588157",
    "#8e6c8a",
    "#d4a017",
    "#3d405b",
    "#e07a5f",
    "#2a9d8f",
    "#6a4c93",
    "#b5838d",
    "#457b9d",
)
Points = list[tuple[int, float]]


def main() -> None:
    options = parsed()
    compile_package()
    found = scaled(options.rows, options.rounds, options.limit)
    print("\n".join([HEAD, *table(found)]))
    if options.picture:
        options.picture.write_text(picture(found))
    if options.check and any(exponent(points) >= LIMIT for points in found.values()):
        sys.exit(1)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=GROWING, default=list(GROWING))
    parser.add_argument("--rounds", type=int, default=1, help="runs of each size; the quickest counts")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a run is given up")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def scaled(rows: Sequence[str], rounds: int, limit: float) -> dict[str, Points]:
    """For each row its sizes and seconds; a run that fails or is given up counts as endless."""
    with tempfile.TemporaryDirectory() as folder:
        start = seconds(nodes(3).saved(Path(folder) / "model.onnx")[0], max(rounds, 3), limit)
        found: dict[str, Points] = {}
        for name in rows:
            found[name] = []
            for count in GROWING[name].counts():
                (model,) = GROWING[name].make(count).saved(Path(folder) / "model.onnx")
                found[name].append((count, max(seconds(model, rounds, limit) - start, 1e-3)))
        return found


def seconds(model: Path, rounds: int, limit: float) -> float:
    """The least processor time of so many folds."""
    out = str(model.with_name("out.onnx"))
    command = [sys.executable, "-m", "bnfold", "fold", str(model), "-o", out, "-q", "--no-verify"]
    runs = [measured(command, limit) for _ in range(rounds)]
    return min(math.inf if run.failure else run.cpu for run in runs)


def exponent(points: Points) -> float:
    """The slope of the straight line through the logarithms, weighted by seconds: short runs are noise."""
    if any(math.isinf(value) for _, value in points):
        return math.inf
    xs, ys = [math.log(count) for count, _ in points], [math.log(value) for _, value in points]
    weights = [value for _, value in points]
    total = sum(weights)
    x0 = sum(w * x for w, x in zip(weights, xs, strict=True)) / total
    y0 = sum(w * y for w, y in zip(weights, ys, strict=True)) / total
    spread = sum(w * (x - x0) ** 2 for w, x in zip(weights, xs, strict=True))
    return sum(w * (x - x0) * (y - y0) for w, x, y in zip(weights, xs, ys, strict=True)) / spread


def table(found: Mapping[str, Points]) -> Iterator[str]:
    for name, points in found.items():
        sizes = ", ".join(f"{count:,}" for count, _ in points)
        times = ", ".join(f"{value:.2f}" for _, value in points)
        verdict = f"{exponent(points):.2f}" if exponent(points) < LIMIT else f"**{exponent(points):.2f}**"
        yield f"| {name} | {sizes} | {times} | {verdict} |"


def picture(found: Mapping[str, Points]) -> str:
    """Time against size, as multiples of the smallest, on logarithmic axes; the dashed line is straight."""
    largest = max((value / points[0][1] for points in found.values() for _, value in points), default=8.0)
    top = max(3.2, math.log2(max(min(largest, 1e6), 1.0)))

    def at(times: float, slower: float) -> tuple[float, float]:
        x, y = math.log2(times) / 3, math.log2(max(slower, 2**-1)) / top
        return MARGIN + x * SIDE, MARGIN + SIDE * (1 - y)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE + 2 * MARGIN + 190} '
        f'{SIDE + 2 * MARGIN}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#999"/>',
    ]
    for halved in range(4):
        x, y = at(2**halved, 1)
        lines.append(f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{2**halved}x size</text>')
        x, y = at(1, 2**halved)
        lines.append(f'<text x="{x - 6:.0f}" y="{y + 4:.0f}" text-anchor="end">{2**halved}x</text>')
    straight = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(1, 1), at(8, 8)))
    lines.append(f'<polyline points="{straight}" fill="none" stroke="#999" stroke-dasharray="5 4"/>')
    for number, (name, points) in enumerate(found.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [
            at(count / points[0][0], value / points[0][1]) for count, value in points if value < math.inf
        ]
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = MARGIN + 14 + 20 * number
        lines.append(
            f'<text x="{SIDE + MARGIN + 12}" y="{y}" fill="{colour}">{name}: {exponent(points):.2f}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    main()
