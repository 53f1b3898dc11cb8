"""New statistics on the page and on the screen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bnfold.cli.main import run
from bnfold.reporting import chart, html, text
from bnfold.results.recalibration import ChangedOutput, LeftAlone, Recalibrated, Renewed

from ..models import saved
from ..recalibrating.nets import CHAIN, data


def row(node: str = "bn", **more: Any) -> Renewed:
    figures: dict[str, Any] = {"mean_moved": 0.5, "deviation_moved": 0.25, "most_moved": 1.0}
    return Renewed(node=node, source="", level=0, channels=4, values=100, **(figures | more))


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    np.save(tmp_path / "x.npy", data(8))
    net, out = saved(tmp_path, CHAIN), tmp_path / "r.json"
    words = ["recalibrate", net, "--inputs", tmp_path / "x.npy", "--json", out, "-q"]
    assert run([str(word) for word in words]) == 0
    return json.loads(out.read_text())


def test_every_fact_is_on_the_page(document: dict[str, Any]) -> None:
    page = html.page(document)
    assert "This is no fold" in page
    assert page.count('class="was"') == 2
    assert "statistics of fewer than 32 inputs are rough, and there are 8" in page
    assert "changed by" in page
    for layer in document["recalibrated"]["layers"]:
        assert f"{layer['mean_moved']:.3g}" in page


def test_hostile_names_stay_text(document: dict[str, Any]) -> None:
    evil = '<script>alert("x")</script>'
    layers = document["recalibrated"]["layers"]
    layers[0]["node"] = layers[0]["source"] = layers[1]["shared"] = evil
    document["recalibrated"]["left"] = [{"node": evil, "source": evil, "reason": evil}]
    document["recalibrated"]["data"] = [evil]
    document["recalibrated"]["outputs"][0]["name"] = evil
    page = html.page(document)
    assert "<script>alert" not in page


def test_the_chart_has_a_line_for_each_batch_norm() -> None:
    rows = [{"node": f"bn{i}", "mean_moved": 10.0**-i, "deviation_moved": 0.0} for i in range(3)]
    made = chart.moved(rows)
    assert made is not None
    assert [label for _, label in made.labels] == ["bn0", "bn1", "bn2"]
    assert [dot.x for dot in made.dots] == sorted((dot.x for dot in made.dots), reverse=True)
    assert chart.moved([]) is None
    assert chart.moved([{"node": "bn", "mean_moved": 0.0, "deviation_moved": None}]) is None


def test_of_very_many_those_that_moved_most_are_drawn() -> None:
    rows = [{"node": f"bn{i}", "mean_moved": 1e-9 + i, "deviation_moved": 0.1} for i in range(300)]
    made = chart.moved(rows)
    assert made is not None
    assert (len(made.labels), made.left_out) == (chart.MOST_LAYERS, 100)
    assert made.labels[-1][1] == "bn299"


def test_spreads_stand_where_means_are() -> None:
    was, now = chart.spreads({"means": [(0, 4), (0, None)], "deviations": [(1, 1), (1, 1)]}, 10, 12)
    assert was == "M0.0 8.0h10.0v4.0h-10.0z"
    assert now == "M2.5 0.0h5.0v4.0h-5.0z"
    assert chart.spreads({"means": [], "deviations": []}) == ("", "")


def printed(found: Recalibrated, *, verbose: bool = False) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        for part in text.statistics(found, verbose=verbose):
            console.print(part)
    return re.sub(r" +\n", "\n", capture.get())


def test_the_screen_says_what_moved_and_what_was_left_alone() -> None:
    found = Recalibrated(
        inputs=1000,
        passes=3,
        one_pass=False,
        layers=(row(died=(1, 2), woke=(3,), between_halves=0.01, shared=("other", "third")),),
        left=(LeftAlone("odd", "", "it is inside a body"),),
        outputs=(ChangedOutput("y", 256, 0.01, 0.99), ChangedOutput("z", 256, None)),
        engine="onnxruntime",
    )
    said = printed(found)
    for words in (
        "this is no fold",
        "'bn' shared its statistics with 'other' and 1 more, and has its own now",
        "left alone 'odd': it is inside a body",
        "output 'y': changed by 0.01 of its size, the same class in 99.0%",
        "output 'z': not finite before or after",
        "inputs: 1,000, in 3 passes (onnxruntime)",
    ):
        assert words in said


def test_of_many_batch_norms_those_that_moved_most_are_printed() -> None:
    layers = tuple(row(f"bn{i:02}", mean_moved=float(i)) for i in range(30))
    found = Recalibrated(inputs=100, passes=30, one_pass=False, layers=layers)
    said = printed(found)
    assert "bn29" in said and "bn00" not in said
    assert f"and {30 - text.MOST_MOVED} that moved less (-v shows them)" in said
    assert "bn00" in printed(found, verbose=True)
