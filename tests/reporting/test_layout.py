"""Places of nodes: edges point down, nothing overlaps, the same graph gives the same picture, large graphs
are quick."""

from __future__ import annotations

import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnfold.reporting.layout import ROW, layout


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    pairs = list(combinations(range(count), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []
    return draw(st.lists(st.floats(20, 200), min_size=count, max_size=count)), sorted(edges)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_edges_point_down_and_nodes_stand_apart(graph: tuple[list[float], list[tuple[int, int]]]) -> None:
    widths, edges = graph
    laid = layout(widths, edges)
    assert laid == layout(widths, edges)
    for (source, target), points in zip(edges, laid.edges, strict=True):
        assert points[0] == laid.nodes[source]
        assert points[-1] == laid.nodes[target]
        assert all(below[1] - above[1] == ROW for above, below in pairwise(points))
    for a, b in combinations(range(len(widths)), 2):
        (ax, ay), (bx, by) = laid.nodes[a], laid.nodes[b]
        assert ay != by or abs(ax - bx) >= (widths[a] + widths[b]) / 2 - 1e-6
    for (x, y), width in zip(laid.nodes, widths, strict=True):
        assert x - width / 2 >= 0
        assert x + width / 2 <= laid.width + 1e-6
        assert 0 < y < laid.height


def test_nothing_to_lay_out() -> None:
    assert layout([], []).nodes == ()


@pytest.mark.parametrize("skip", [1, 2, 40])
def test_a_thousand_nodes_are_quick(skip: int) -> None:
    edges = [(i, i + 1) for i in range(999)] + [(i, i + skip) for i in range(0, 1000 - skip, 3) if skip > 1]
    started = time.perf_counter()
    layout([80.0] * 1000, edges)
    assert time.perf_counter() - started < 4
