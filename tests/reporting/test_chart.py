"""What charts show: positions that grow with the numbers, and plain warnings where few bits will hurt."""

from __future__ import annotations

from typing import Any

import pytest

from bnfold.reporting import chart


def figure(value: str, unfolded: float | None, folded: float | None) -> dict[str, Any]:
    return {"value": value, "reference_error": unfolded, "candidate_error": folded, "noise": 1.0}


def test_a_larger_error_stands_higher() -> None:
    made = chart.errors([figure("a", 1e-7, 2e-7), figure("b", 1e-6, 9e-6)], limit=4.0)
    assert made is not None
    y = {(dot.tip.split(":")[0], dot.kind): dot.y for dot in made.dots}
    assert y["a", "unfolded"] > y["a", "folded"] > y["b", "unfolded"] > y["b", "folded"]
    assert all(0 <= dot.y <= made.height for dot in made.dots)


def test_the_band_ends_where_the_noise_ratio_is_the_limit() -> None:
    at_the_limit = {**figure("a", 1e-7, 9e-7), "noise": 4.0}
    made = chart.errors([at_the_limit, figure("b", 1e-7, 1e-7)], limit=4.0)
    assert made is not None
    folded = next(dot for dot in made.dots if dot.tip.startswith("a: folded"))
    assert f"{folded.x:.1f} {folded.y:.1f}" in made.band


def test_errors_of_nought_and_of_nothing() -> None:
    assert chart.errors([figure("a", 0.0, 0.0)], limit=4.0) is None
    assert chart.errors([], limit=4.0) is None
    made = chart.errors([figure("a", 0.0, 1e-7), figure("b", None, 1e-7)], limit=4.0)
    assert made is not None
    assert len(made.dots) == 3


def test_an_axis_of_less_than_two_decades_has_marks_between_the_powers() -> None:
    made = chart.errors([figure("a", 2e-7, 3e-7)], limit=4.0)
    assert made is not None
    assert [label for _, label in made.ticks] == ["1e-07", "2e-07", "5e-07", "1e-06"]
    wide = chart.errors([figure("a", 1e-8, 1e-3)], limit=4.0)
    assert wide is not None
    assert [label for _, label in wide.ticks] == ["1e-08", "1e-07", "1e-06", "1e-05", "1e-04", "1e-03"]


def test_columns_have_names_while_there_is_room() -> None:
    few, many = (
        chart.errors([figure(f"v{i}", 1e-7, 1e-7) for i in range(n)], limit=4.0)
        for n in (chart.NAMED, chart.NAMED + 1)
    )
    assert few is not None and many is not None
    assert [label for _, label in few.labels] == [f"v{i}" for i in range(chart.NAMED)]
    assert many.labels == ()


def test_bars_of_negative_scales_hang_down() -> None:
    up, down = chart.bars([1.0, -0.5], width=20, height=10)
    assert up == (0.0, 0.0, 9.6, 5.0)
    assert down == (10.0, 5.0, 9.6, 2.5)
    assert chart.outline([up, down]) == "M0.0 0.0h9.6v5.0h-9.6zM10.0 5.0h9.6v2.5h-9.6z"


@pytest.mark.parametrize(
    ("before", "after", "tiny", "said"),
    [
        ((1, 0.5, 0.1), (2, 1, 0.1), 0.0, []),
        ((1, 0.5, 0.1), (100, 1, 0.1), 0.0, ["int8"]),
        ((100, 1, 0.1), (100, 1, 0.1), 0.0, []),
        ((1, 1, 1), (70000, 70000, 1), 0.0, ["overflows"]),
        ((1, 1, 1), (1, 1, 1), 0.25, ["25%"]),
    ],
)
def test_what_hurts_deployment_is_said(
    before: tuple[float, ...], after: tuple[float, ...], tiny: float, said: list[str]
) -> None:
    found = chart.hurts({"node": "conv", "before": before, "after": after, "tiny": tiny})
    assert len(found) == len(said)
    assert all(word in sentence for word, sentence in zip(said, found, strict=True))


def test_a_huge_graph_is_drawn_around_its_folds() -> None:
    count = 5000
    nodes = [[f"n{i}", "Relu", "folded" if i == 2500 else ""] for i in range(count)]
    edges = [[i, i + 1, "v"] for i in range(count - 1)]
    made = chart.picture({"nodes": nodes, "edges": edges})
    assert [box.name for box in made.boxes] == ["n2499", "n2500", "n2501"]
    assert made.left_out == count - 3


def test_long_names_keep_their_end() -> None:
    assert chart.shortened("features/block_17/conv", 12) == "…ock_17/conv"
    assert chart.shortened("conv", 12) == "conv"


def test_of_very_many_layers_those_that_changed_most_are_drawn_and_the_others_counted() -> None:
    rows = [
        {"node": f"n{i}", "before": (1.0, 1.0, 1.0), "after": (1.0 + i, 1.0, 1.0)}
        for i in range(chart.MOST_LAYERS + 30)
    ]
    found = chart.ranges(rows)
    assert found is not None
    assert found.left_out == 30
    assert len(found.labels) == chart.MOST_LAYERS
    assert found.labels[0][1] == "n30"


def test_a_histogram_has_a_bar_for_each_range_that_holds_something() -> None:
    bins = [{"low": i / 4, "high": (i + 1) / 4, "count": n} for i, n in enumerate((3, 0, 6, 1))]
    found = chart.histogram(bins)
    assert found is not None
    assert found.band.count("M") == 3
    assert [label for _, label in found.labels] == ["0", "0.25", "0.5", "0.75", "1"]
    assert chart.histogram([]) is None
