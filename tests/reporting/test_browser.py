"""The page under a user's hands, in a real browser: tabs, search, rows, keys, mouse; no complaint, no request
leaves the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.reporting import html
from bnfold.reporting import json as documents

from ..models import TWO_BLOCKS, saved

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; it drives the browser"
)
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The page of a fold of two blocks, opened; what it logs and asks for is collected and must be
    nothing."""
    result = pipeline.fold_file(Job(source=saved(tmp_path, TWO_BLOCKS), detail=True))
    document = json.loads(documents.text(documents.document("fold", 0, **documents.of_fold(result))))
    (tmp_path / "net.html").write_text(html.page(document), encoding="utf-8")
    said: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(color_scheme=request.param)
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda asked: said.append(asked.url))
        opened.goto((tmp_path / "net.html").as_uri())
        yield opened
        assert said == [(tmp_path / "net.html").as_uri()]
        browser.close()


def view(page: Any, graph: str = "before") -> list[float]:
    return [float(part) for part in page.get_attribute(f"#{graph}", "viewBox").split()]


def found(page: Any) -> str:
    return str(page.eval_on_selector(".found", "node => node.dataset.name"))


def test_tabs_show_one_graph_at_a_time(page: Any) -> None:
    assert (page.is_visible("#before"), page.is_visible("#after")) == (True, False)
    page.click("button[data-side=after]")
    assert (page.is_visible("#before"), page.is_visible("#after")) == (False, True)


def test_it_prints_dark_on_white_in_both_themes(page: Any) -> None:
    page.emulate_media(media="print")
    ink, ground = (
        page.evaluate(f"getComputedStyle(document.body)['{name}']") for name in ("color", "background-color")
    )
    assert (ink, ground) == ("rgb(29, 33, 38)", "rgb(255, 255, 255)")


def test_a_narrow_window_breaks_no_name_into_letters(page: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert (
        page.evaluate("Math.min(...[...document.querySelectorAll('td.wide')].map(cell => cell.clientWidth))")
        >= 140
    )


def test_nobody_is_left_out(page: Any) -> None:
    """axe knows the rules of WCAG: names of regions, contrast, headers of tables, what the keyboard reaches."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    for width in (1400, 400):
        page.set_viewport_size({"width": width, "height": 900})
        faults = axe.Axe().run(page).response["violations"]
        assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in faults] == []


def test_the_graph_opens_at_the_first_fold(page: Any) -> None:
    x, y, width, height = view(page)
    first = page.query_selector("#before g.folded, #before g.holds")
    assert x < float(first.get_attribute("data-x")) < x + width
    assert y < float(first.get_attribute("data-y")) < y + height


def test_search_goes_from_hit_to_hit(page: Any) -> None:
    page.fill("#search", "conv")
    assert (page.inner_text("#hits"), found(page)) == ("1 of 2", "Conv_c")
    page.keyboard.press("Enter")
    assert (page.inner_text("#hits"), found(page)) == ("2 of 2", "Conv_c2")
    page.keyboard.press("Enter")
    assert found(page) == "Conv_c"
    page.fill("#search", "nothing of this name")
    assert page.inner_text("#hits") == "0 found"


def test_a_row_shows_its_node_where_it_still_is(page: Any) -> None:
    page.click("button[data-side=after]")
    page.click("button[data-show='BatchNormalization_y']")
    assert page.is_visible("#before")
    assert found(page) == "BatchNormalization_y"


def test_keys_and_mouse_move_and_zoom(page: Any) -> None:
    page.focus("#before")
    start = view(page)
    page.keyboard.press("ArrowDown")
    assert view(page)[1] > start[1]
    page.keyboard.press("+")
    assert view(page)[2] < start[2]
    page.keyboard.press("0")
    assert view(page) == start
    box = page.locator("#before").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 100)
    page.mouse.up()
    assert view(page)[0] < start[0]
