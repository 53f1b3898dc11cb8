"""What happened, as one self-contained HTML page: a function of the JSON document alone, so that a page can
be made long after the run.

Rule 1: names in the document come from model files and are hostile: the template escapes all of them, and the
        page's content security policy lets no script run but our own, known by its hash, and nothing leave
        the page.
Rule 2: charts are computed in chart.py, places of nodes in layout.py; page/ holds the template, the style
        sheet and the script.
"""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from importlib import resources
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from ..errors import Malformed, one_line
from ..results.comparison import DECIDED
from ..results.options import NOISE_LIMIT
from . import chart
from .json import SCHEMA
from .units import in_bytes

MOST_ROWS = 500  # of the table of places where models differ


def page(document: dict[str, Any], at: Path | None = None) -> str:
    """The page of one document. `at` is the folder that it will lie in: links to other pages lead from there.
    Raises Malformed for a document of another schema."""
    check(document)
    script = _part("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {"style": _part("style.css"), "script": script, "digest": digest}
    page: str = _template().render(
        document=document, at=at, most_rows=MOST_ROWS, **parts, **_pictures(document), **_rows(document)
    )
    return page


@cache
def _template() -> Any:
    """Compiled once: that takes longer than a small page."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        num=_num, count=_count, size=in_bytes, short=chart.shortened, line=one_line, link=_link
    )
    environment.globals.update(
        decided=_decided, bars=chart.bars, outline=chart.outline, hurts=chart.hurts, spreads=chart.spreads
    )
    return environment.from_string(_part("report.html.j2"))


def check(document: object) -> None:
    """Is it a document that this version can show?"""
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise Malformed(f"the schema is {found!r}", expected=f"'{SCHEMA}', as 'bnfold fold --json' writes it")


def _pictures(document: dict[str, Any]) -> dict[str, Any]:
    detail = document.get("detail")
    if not detail:
        return {"pictures": {}, "range_chart": None, "ranges": [], "scales": {}, "gamma_chart": None}
    return {
        "pictures": {side: chart.picture(detail[side]) for side in ("before", "after")},
        "range_chart": chart.ranges(detail["ranges"]),
        "ranges": detail["ranges"],
        "scales": {b["node"]: b for b in detail["batch_norms"]},
        "gamma_chart": chart.histogram(detail.get("gammas", ())),
    }


def _rows(document: dict[str, Any]) -> dict[str, Any]:
    """The table of affine nodes in one list, and a chart for each provider, its values in the order of the
    network."""
    plan = document.get("plan") or {}
    verdicts = [
        {**row, "verdict": verdict}
        for verdict in ("withdrawn", "kept", "folded")
        for row in plan.get(verdict, ())
    ]
    report = document.get("verification") or {}
    limit = report.get("noise_limit", NOISE_LIMIT)
    made_by = {
        value: maker
        for maker, _, value in (document.get("detail") or {"before": {"edges": ()}})["before"]["edges"]
    }
    providers = [
        {**p, "outputs": sorted(p["outputs"], key=lambda f: made_by.get(f["value"], 0))}
        for p in report.get("providers", ())
    ]
    charts = [(p, chart.errors(p["outputs"], limit)) for p in providers]
    worst = max((f["noise"] for f in report.get("folds", ()) if f["noise"] is not None), default=None)
    totals = [
        {"op": what, **document[key]}
        for key, what in (("nodes", "all nodes"), ("parameters", "parameters"))
        if key in document
    ]
    return {
        "verdicts": verdicts,
        "error_charts": charts,
        "noise_limit": limit,
        "worst_fold": worst,
        "obligations": _obligations(report.get("proof") or {}),
        "operators": [*document.get("operators", ()), *totals],
        "copied": plan.get("copied", ()),
        "moved_chart": chart.moved((document.get("recalibrated") or {}).get("layers", ())),
    }


def _obligations(proof: dict[str, Any]) -> list[dict[str, Any]]:
    """Every place where the models differ; those that matter most to the verdict come first."""
    rank = {"failed": 0, "open": 1, "dropped": 2, "proved": 3}
    return sorted(proof.get("obligations", ()), key=lambda row: rank.get(row["verdict"], 0))


def _decided(figures: dict[str, Any]) -> bool:
    """Does an output that passed stand behind a decision, so that its numbers say nothing?"""
    return bool(figures["passed"] and figures["reason"].startswith(DECIDED))


def _part(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _link(place: str, at: Path | None) -> str:
    """From this page to another one: relative where that is possible, so that both can be moved together."""
    if "://" in place:
        return quote(place, safe=":/%~") if place.startswith(("http://", "https://")) else ""
    if at is not None:
        try:
            return "./" + quote(PurePath(os.path.relpath(place, at)).as_posix())
        except ValueError:  # another drive of Windows
            pass
    return Path(place).absolute().as_uri()


def _num(value: float | None, digits: int = 3) -> str:
    return "not finite" if value is None else f"{value:.{digits}g}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
