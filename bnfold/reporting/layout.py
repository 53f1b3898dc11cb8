"""Where the nodes of a drawing go: layers from top to bottom, as few crossings as a few sweeps find.

    rank     the longest path from a source, so that edges point down
    dummies  an edge over several layers gets a place in each, so that it passes between nodes
    order    within a layer by the mean place of the neighbours (barycentres), swept down and up
    place    x by the same means, pushed apart; linear in nodes and edges, so 1,000 nodes are quick

(Sugiyama, Tagawa, Toda 1981: layers, barycentres.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..records import dataclass

ROW, GAP, DUMMY = 46.0, 18.0, 10.0
SWEEPS = 6
Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """Centres of nodes, and the points of each edge from node to node; `width` and `height` hold them all."""

    nodes: tuple[Point, ...]
    edges: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def layout(widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> Layout:
    """Lay out a directed acyclic graph whose nodes come in topological order."""
    rank = _ranks(len(widths), edges)
    size, layer_of, chains = list(widths), list(rank), []
    for source, target in edges:
        dummies = list(range(len(size), len(size) + rank[target] - rank[source] - 1))
        size += [DUMMY] * len(dummies)
        layer_of += range(rank[source] + 1, rank[target])
        chains.append([source, *dummies, target])
    up, down = _neighbours(len(size), chains)
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for node, at in enumerate(layer_of):
        layers[at].append(node)
    x = _placed(layers, size, up, down)
    left = min((x[n] - size[n] / 2 for n in range(len(size))), default=0.0) - GAP
    points = [(x[n] - left, (layer_of[n] + 1) * ROW) for n in range(len(size))]
    width = max((p[0] + size[n] / 2 for n, p in enumerate(points)), default=0.0) + GAP
    return Layout(
        tuple(points[: len(widths)]),
        tuple(tuple(points[n] for n in chain) for chain in chains),
        width,
        (len(layers) + 1) * ROW,
    )


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Longest paths from the sources; then a source goes right above its first reader."""
    rank = [0] * count
    readers: list[list[int]] = [[] for _ in range(count)]
    has_source = [False] * count
    for source, target in sorted(edges):
        rank[target] = max(rank[target], rank[source] + 1)
        readers[source].append(target)
        has_source[target] = True
    for node in range(count):
        if not has_source[node] and readers[node]:
            rank[node] = min(rank[r] for r in readers[node]) - 1
    return rank


def _neighbours(count: int, chains: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    up: list[list[int]] = [[] for _ in range(count)]
    down: list[list[int]] = [[] for _ in range(count)]
    for chain in chains:
        for above, below in pairwise(chain):
            up[below].append(above)
            down[above].append(below)
    return up, down


def _placed(
    layers: list[list[int]], size: list[float], up: list[list[int]], down: list[list[int]]
) -> list[float]:
    """x of every node: swept down and up, each layer sorted by where its neighbours are, then pushed
    apart."""
    x = [0.0] * len(size)
    for layer in layers:
        _spread(layer, x, size)
    for sweep in range(SWEEPS):
        towards, order = (up, layers) if sweep % 2 == 0 else (down, layers[::-1])
        for layer in order:
            for node in layer:
                if towards[node]:
                    x[node] = sum(x[n] for n in towards[node]) / len(towards[node])
            layer.sort(key=lambda n: x[n])
            _spread(layer, x, size)
    return x


def _spread(layer: list[int], x: list[float], size: list[float]) -> None:
    """Push a layer's nodes apart from left to right, then shift all so that they stay, on average, where they
    wanted to be."""
    wanted = [x[n] for n in layer]
    edge = float("-inf")
    for node in layer:
        x[node] = max(x[node], edge + size[node] / 2)
        edge = x[node] + size[node] / 2 + GAP
    if layer:
        drift = sum(x[n] for n in layer) / len(layer) - sum(wanted) / len(layer)
        for node in layer:
            x[node] -= drift
