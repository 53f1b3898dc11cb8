"""Charts as inline SVG: points and shapes computed here, drawn by the template (page/report.html.j2),
coloured by its style sheet.

Every chart is a frozen value of plain numbers and texts; nothing here knows HTML, so nothing here can forget
to escape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..records import dataclass
from .layout import layout

Rows = Sequence[dict[str, Any]]
MOST_NODES = 2000  # beyond it only what stands around folds is drawn
WIDTH, HEIGHT, MARGIN = 760.0, 230.0, 56.0
LEFT = 230.0  # of a chart with a line for each layer: the room of their names
NAME = 24  # characters of a name that a node shows
MOST_LAYERS = 200  # lines of the chart of weights
NAMED = 8  # columns that have room for their names


@dataclass(frozen=True)
class Box:
    """One node: its centre, size, texts, and what folding did to it."""

    x: float
    y: float
    width: float
    name: str
    shown: str
    op: str
    state: str


@dataclass(frozen=True)
class Picture:
    """A graph: boxes, the paths of its edges, and how much was left out."""

    boxes: tuple[Box, ...]
    paths: tuple[str, ...]
    width: float
    height: float
    left_out: int


@dataclass(frozen=True)
class Dot:
    """One mark of a chart, with its tooltip."""

    x: float
    y: float
    kind: str
    tip: str


@dataclass(frozen=True)
class Chart:
    """Marks over a logarithmic axis: `ticks` are (position, label); `band` the path of the noise band;
    `labels` name the rows, or the columns where there are few; `left_out` rows are not drawn."""

    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    band: str = ""
    labels: tuple[tuple[float, str], ...] = ()
    left_out: int = 0


def picture(drawing: dict[str, Any]) -> Picture:
    """Lay out one drawing of the JSON document."""
    nodes, edges = drawing["nodes"], [(int(a), int(b)) for a, b, _ in drawing["edges"]]
    chosen = _chosen(nodes, edges)
    place = {old: new for new, old in enumerate(chosen)}
    inner = sorted({(place[a], place[b]) for a, b in edges if a in place and b in place})
    widths = [_node_width(nodes[i]) for i in chosen]
    laid = layout(widths, inner)
    boxes = tuple(
        Box(
            x=x,
            y=y,
            width=w,
            name=nodes[i][0],
            shown=shortened(nodes[i][0], NAME),
            op=nodes[i][1],
            state=nodes[i][2],
        )
        for i, w, (x, y) in zip(chosen, widths, laid.nodes, strict=True)
    )
    return Picture(
        boxes,
        tuple(_path(points) for points in laid.edges),
        laid.width,
        laid.height,
        len(nodes) - len(chosen),
    )


def _chosen(nodes: Sequence[Sequence[str]], edges: Iterable[tuple[int, int]]) -> list[int]:
    """All nodes, or those that a fold touched and their neighbours, as many as fit."""
    if len(nodes) <= MOST_NODES:
        return list(range(len(nodes)))
    touched = {i for i, node in enumerate(nodes) if node[2]}
    near = touched | {b for a, b in edges if a in touched} | {a for a, b in edges if b in touched}
    return sorted(near)[:MOST_NODES]


def _node_width(node: Sequence[str]) -> float:
    return max(44.0, 7.0 * len(node[1]) + 14, 6.1 * min(len(node[0]), NAME) + 12)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line from the lower edge of one box to the upper edge of the next, through the places kept
    free for it."""
    (x, y), rest = points[0], points[1:]
    text, y = f"M{x:.0f} {y + 15:.0f}", y + 15
    for i, (to_x, to_y) in enumerate(rest):
        end = to_y - 15 if i == len(rest) - 1 else to_y
        text += f"C{x:.0f} {(y + end) / 2:.0f} {to_x:.0f} {(y + end) / 2:.0f} {to_x:.0f} {end:.0f}"
        x, y = to_x, end
    return text


def errors(figures: Rows, limit: float) -> Chart | None:
    """Error of the unfolded and of the folded model at each value, in the order given, over the noise band: a
    point as far below the band's end as its noise ratio is below the limit."""
    rows = [f for f in figures if _positive(f["reference_error"]) or _positive(f["candidate_error"])]
    if not rows:
        return None
    floor = min(e for f in rows for e in (f["reference_error"], f["candidate_error"]) if _positive(e)) / 2
    top = max(max(f["reference_error"] or 0, f["candidate_error"] or 0) for f in rows) * 2
    low, high = math.log10(floor), math.log10(max(top, floor * 10))

    def y(error: float | None) -> float:
        share = (math.log10(max(error or 0, floor)) - low) / (high - low)
        return HEIGHT - 24 - max(0.0, min(1.0, share)) * (HEIGHT - 40)

    step = (WIDTH - MARGIN - 20) / max(1, len(rows) - 1)
    at = [MARGIN + 10 + i * step if len(rows) > 1 else WIDTH / 2 for i in range(len(rows))]
    dots = [
        Dot(x, y(f[key]), kind, f"{f['value']}: {kind} {f[key]:.2g}, noise {f['noise'] or math.nan:.2f}")
        for x, f in zip(at, rows, strict=True)
        for key, kind in (("reference_error", "unfolded"), ("candidate_error", "folded"))
        if f[key] is not None
    ]
    upper = [f"{x:.1f} {y(_allowed(f, limit)):.1f}" for x, f in zip(at, rows, strict=True)]
    ends = (
        f"{MARGIN} {HEIGHT - 24}",
        *upper[:1],
        *upper,
        f"{WIDTH} {upper[-1].split()[1]}",
        f"{WIDTH} {HEIGHT - 24}",
    )
    band = f"M{ends[0]}L{MARGIN} {upper[0].split()[1]}L" + "L".join(upper) + f"L{ends[-2]}L{ends[-1]}Z"
    labels = (
        tuple((x, shortened(f["value"], 14)) for x, f in zip(at, rows, strict=True))
        if len(rows) <= NAMED
        else ()
    )
    return Chart(
        tuple(dots), tuple((y(value), f"{value:.0e}") for value in _marks(low, high)), HEIGHT, band, labels
    )


def _marks(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten, given as exponents: the powers between, and 2 and 5 times them
    where these are few."""
    powers = range(math.floor(low), math.floor(high) + 1)
    steps = (1, 2, 5) if high - low < 2 else (1,)
    return [value for e in powers for step in steps if low <= math.log10(value := step * 10.0**e) <= high]


def _allowed(figure: dict[str, Any], limit: float) -> float:
    """The folded model's error at which its noise ratio would be the limit."""
    if _positive(figure["noise"]) and _positive(figure["candidate_error"]):
        return float(figure["candidate_error"] * limit / figure["noise"])
    return float(figure["reference_error"] or 0.0) * limit


def ranges(rows: Rows) -> Chart | None:
    """The largest weight of each layer before and after folding, on a logarithmic axis, one line for each
    layer; of very many those that changed most."""
    drawable = [r for r in rows if _positive(r["before"][0]) and _positive(r["after"][0])]
    if not drawable:
        return None
    changed = {id(r) for r in sorted(drawable, key=_change, reverse=True)[:MOST_LAYERS]}
    shown = [r for r in drawable if id(r) in changed]
    ends = [r[side][0] for r in shown for side in ("before", "after")]
    low, high = math.log10(min(ends)) - 0.1, math.log10(max(ends)) + 0.1

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - 20)

    dots = tuple(
        Dot(x(r[side][0]), 24.0 + 18 * i, kind, f"{r['node']}: {kind} {r[side][0]:.3g}")
        for i, r in enumerate(shown)
        for side, kind in (("before", "unfolded"), ("after", "folded"))
    )
    ticks = tuple((x(value), f"{value:g}") for value in _marks(low, high))
    labels = tuple((24.0 + 18 * i, shortened(r["node"], 34)) for i, r in enumerate(shown))
    left_out = len(drawable) - len(shown)
    return Chart(dots, ticks, 40.0 + 18 * len(shown), labels=labels, left_out=left_out)


def moved(rows: Rows) -> Chart | None:
    """How far mean and deviation of each batch norm moved, on a logarithmic axis, one line for each batch
    norm; of very many those that moved most."""
    drawable = [r for r in rows if _positive(r["mean_moved"]) or _positive(r["deviation_moved"])]
    if not drawable:
        return None
    far = {id(r) for r in sorted(drawable, key=_furthest, reverse=True)[:MOST_LAYERS]}
    shown = [r for r in drawable if id(r) in far]
    largest = max(_furthest(r) for r in shown)
    ends = [r[key] for r in shown for key in _MOVED if _positive(r[key]) and r[key] > largest / 1e6]
    low, high = math.log10(min(ends)) - 0.1, math.log10(max(ends)) + 0.1

    def x(value: float) -> float:
        share = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - 20)

    dots = tuple(
        Dot(x(r[key]), 24.0 + 18 * i, kind, f"{r['node']}: {what} moved by {r[key]:.3g} old deviations")
        for i, r in enumerate(shown)
        for key, (kind, what) in _MOVED.items()
        if _positive(r[key])
    )
    ticks = tuple((x(value), f"{value:g}") for value in _marks(low, high))
    labels = tuple((24.0 + 18 * i, shortened(r["node"], 34)) for i, r in enumerate(shown))
    return Chart(dots, ticks, 40.0 + 18 * len(shown), labels=labels, left_out=len(rows) - len(shown))


_MOVED = {"mean_moved": ("unfolded", "the mean"), "deviation_moved": ("folded", "the deviation")}


def _furthest(row: dict[str, Any]) -> float:
    return max(row[key] or 0.0 for key in _MOVED)


def spreads(row: dict[str, Any], width: float = 240.0, height: float = 54.0) -> tuple[str, str]:
    """Mean plus and minus one deviation of the drawn channels of a batch norm, as bars: (as they were, as
    they are now), on one scale."""
    pairs = list(zip(row["means"], row["deviations"], strict=True))
    pairs = [(m, d) for m, d in pairs if None not in m and None not in d]
    if not pairs:
        return "", ""
    low = min(m[side] - d[side] for m, d in pairs for side in (0, 1))
    high = max(m[side] + d[side] for m, d in pairs for side in (0, 1))
    unit, step = height / ((high - low) or 1.0), width / len(pairs)

    def bar(i: int, side: int, inset: float) -> tuple[float, float, float, float]:
        mean, deviation = pairs[i][0][side], pairs[i][1][side]
        top = (high - mean - deviation) * unit
        return i * step + inset, top, max(step - 2 * inset, 0.4), max(2 * deviation * unit, 0.6)

    was, now = ([bar(i, side, side * step / 4) for i in range(len(pairs))] for side in (0, 1))
    return outline(was), outline(now)


def _change(row: dict[str, Any]) -> float:
    """By how many powers the largest weight changed."""
    return abs(math.log(row["after"][0] / row["before"][0]))


def histogram(bins: Rows) -> Chart | None:
    """How many values lie in each range, as the outline of bars."""
    largest = max((b["count"] for b in bins), default=0)
    if not largest:
        return None
    step, floor = (WIDTH - MARGIN - 20) / len(bins), HEIGHT - 24
    heights = [b["count"] / largest * (HEIGHT - 40) for b in bins]
    shapes = [(MARGIN + i * step, floor - h, step - 1, h) for i, h in enumerate(heights) if h]
    marks = range(0, len(bins) + 1, max(1, len(bins) // 8))
    ends = [b["low"] for b in bins] + [bins[-1]["high"]]
    labels = tuple((MARGIN + i * step, f"{ends[i]:.3g}") for i in marks)
    return Chart((), ((16.0, f"{largest:,}"), (floor, "0")), HEIGHT, outline(shapes), labels)


def bars(
    values: Sequence[float | None], width: float = 128.0, height: float = 26.0
) -> list[tuple[float, float, float, float]]:
    """Small bars, one for each channel: (x, y, width, height), up for positive, down for negative."""
    finite = [v for v in values if v is not None]
    largest = max((abs(v) for v in finite), default=0.0) or 1.0
    step = width / max(1, len(values))
    middle = height / 2 if any(v < 0 for v in finite) else height
    heights = [(abs(v or 0.0) / largest * middle, (v or 0.0) < 0) for v in values]
    return [
        (i * step, middle if below else middle - h, max(step - 0.4, 0.4), max(h, 0.3))
        for i, (h, below) in enumerate(heights)
    ]


def outline(shapes: Sequence[tuple[float, float, float, float]]) -> str:
    """Bars as one path: a page of a large network has ten thousands of them."""
    return "".join(
        f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h-{width:.1f}z" for x, y, width, height in shapes
    )


def hurts(row: dict[str, Any]) -> list[str]:
    """What folding did to one layer's weights that deployment in few bits will feel, in plain words."""
    said = []
    spread, before = (_spread(row[side]) for side in ("after", "before"))
    if spread > 16 and spread > 2 * before:
        lost = math.log2(spread)
        said.append(
            f"int8 with one scale per tensor: the median channel now uses 1/{spread:.0f} of the range "
            f"({lost:.1f} of 8 bits are lost); quantise per channel"
        )
    if row["after"][0] is not None and row["after"][0] > 65504:
        said.append("float16: the largest weight overflows (65,504 is the largest number)")
    if row["tiny"] > 0.01:
        said.append(
            f"float16: {row['tiny']:.0%} of the weights are below the smallest normal number "
            "(6.1e-5) and lose precision"
        )
    return said


def _spread(summary: Sequence[float | None]) -> float:
    """The loudest channel over the median one."""
    loudest, median = summary[0] or 0.0, summary[1] or 0.0
    return loudest / median if median > 0 else 1.0


def shortened(name: str, length: int) -> str:
    """The end of a long name, which is what tells it from its neighbours."""
    return name if len(name) <= length else "…" + name[1 - length :]


def _positive(value: float | None) -> bool:
    return value is not None and value > 0
